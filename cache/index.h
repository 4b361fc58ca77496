/* SPDX-License-Identifier: MIT */
/*
 * What a mailbox remembers from mount to mount, in SQLite: its messages, their envelopes and names, which bodies
 * can be believed, and which messages are to be deleted. Any thread; one lock inside, held from index_begin()
 * to index_end(). Several mounts may have one index open at once.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/envelope.h"
#include "pop3/err.h"

struct index;

struct index_config {
	const char *path;     /* NULL: in memory, gone at the end */
	const char *account;  /* whose it is, for people */
	const char *template; /* names are remembered together with it */
	bool alone;           /* no other mount has it open: it may be checked, and set aside when it is damaged */
	void (*note)(void *ctx, const char *text);
	void *ctx;
};

/*
 * Opens or makes it. One that is damaged, foreign or of a newer version is set aside under another name, with a
 * note; deletions pending in it are taken over where they can be read. In one that was copied they are not: what
 * was asked of the original may have been taken back there. 0, or -errno with *why.
 */
__attribute__((warn_unused_result))
int index_open(const struct index_config *config, struct index **index_r, struct pop3_why *why);

/* The mounts before this one have all come to index_close(). */
bool index_was_clean(const struct index *index);

/* Takes NULL. */
void index_close(struct index *index);

struct index_summary {
	int64_t listed; /* when the newest complete listing came, seconds since the epoch; 0: never */
	size_t messages, pending, bodies, gone; /* gone: bodies of messages that are no longer listed */
	uint64_t octets, gone_octets;           /* of the bodies, of both kinds and of the latter */
	char account[300];
};
int index_summary(struct index *index, struct index_summary *summary_r);

/* The same of an index that is only looked at. */
int index_peek(const char *path, struct index_summary *summary_r);

enum index_header {
	INDEX_HEADER_KNOWN = 1,
	INDEX_HEADER_REFUSED = 2, /* the server has no TOP; the envelope comes with the body */
};

/* Strings are valid during the call that hands the row out. */
struct index_row {
	uint64_t id; /* the inode number: of the listed ones, never given twice */
	const char *key;
	uint64_t listed, octets;
	bool exact;
	int64_t stamp; /* of the body, store_stamp(); 0: there is none to believe */
	enum index_header header;
	uint64_t digest; /* of the header */
	int64_t mtime, ctime, used;
	const char *name; /* NULL: none is remembered */
	bool pending;
};
typedef void index_row_fn(void *ctx, const struct index_row *row);

/* All that the newest listing had, by id. 0 or -errno. */
int index_each(struct index *index, index_row_fn *fn, void *ctx);

/* The keys of all bodies that can be believed, in no order. 0 or -errno. */
int index_bodies(struct index *index, void (*fn)(void *ctx, const char *key), void *ctx);

/* A copy of an envelope, to be freed with free(); NULL: not known. */
struct envelope *index_envelope(struct index *index, uint64_t id);

/*
 * A transaction. Errors stick, and index_end() returns the first of them: then nothing of it has happened.
 * What is written is safe from a crash of ours at once, and from a power cut some time later.
 */
void index_begin(struct index *index);
int index_end(struct index *index);

/* In a transaction: */

/* The message of a key, if it was ever listed; one that was gone gets a new id. false: there is none. */
bool index_find(struct index *index, const char *key, index_row_fn *fn, void *ctx);
/* Its deletion is pending, whether there is a row or not. */
bool index_dooms(struct index *index, const char *key);
/* A new message; returns its id. `envelope` may be NULL. */
uint64_t index_insert(struct index *index, const struct index_row *row, const struct envelope *envelope);
/* What changes while it is listed: octets, exact, stamp, name, used. */
void index_update(struct index *index, const struct index_row *row);
/* Its envelope, learnt later; with mtime and ctime. */
void index_learn(struct index *index, const struct index_row *row, const struct envelope *envelope);
void index_gone(struct index *index, uint64_t id);   /* no longer listed; the body is kept for a time */
void index_remove(struct index *index, const char *key); /* deleted: nothing is kept, nothing is pending */
void index_listed(struct index *index, int64_t time); /* a complete listing; pending without message: done */

/* A transaction each; 0 when it is safe from a power cut too, or -errno. */
__attribute__((warn_unused_result))
int index_pend(struct index *index, const char *key);
__attribute__((warn_unused_result))
int index_unpend(struct index *index, const char *key);
/* 1, 0 or -errno. */
int index_is_pending(struct index *index, const char *key);

/* Forgets the message that has been gone longest, if that is `before`: 1 and its key; 0: there is none; -errno. */
int index_take_gone(struct index *index, int64_t before, char *key_r, size_t key_size);
