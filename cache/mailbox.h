/* SPDX-License-Identifier: MIT */
/*
 * The mailbox with a memory: which messages exist, what is known of them, their bodies once fetched, and
 * which are to be deleted. It offers what the link offers (list, fetch, delete, commit) and asks the link
 * only for what it does not have. What it learns it remembers for the next mount (cache/index.h, cache/store.h).
 * No call but mailbox_load(), mailbox_settle() and mailbox_stop() waits for the network; what takes its time ends
 * in a hook. mailbox_delete() and mailbox_restore() wait for the disk.
 *
 * Any thread may call. Hooks run on the link's thread, listed() also in mailbox_load() and note() on any, with no lock
 * held; they must not wait.
 */
#pragma once
#include "cache/envelope.h"
#include "pop3/link.h"

struct mailbox;
struct message; /* counted: message_ref(), message_unref() */

struct mailbox_hooks {
	/* Messages to show from now on, and others that are gone from the server. */
	void (*listed)(void *ctx, struct message *const *added, size_t n_added,
		       struct message *const *removed, size_t n_removed);
	/* The size `was` shown and is exactly `now` from here on; the body is open in `fd` for the call. */
	void (*sized)(void *ctx, struct message *message, uint64_t was, uint64_t now, int fd);
	/* A listing that mailbox_refresh() asked for has come (0) or not (-errno). */
	void (*refreshed)(void *ctx, int err);
	/* A fetch has ended: mailbox_open() will succeed, or err (-errno). */
	void (*fetched)(void *ctx, struct message *message, int err);
	/* The commit of this ticket has ended: 0, or -errno where something was not deleted. */
	void (*committed)(void *ctx, uint64_t ticket, int err);
	void (*note)(void *ctx, const char *text); /* one line for the log */
	void *ctx;
};

struct mailbox_config {
	struct account account; /* its strings live as long as the mailbox */
	int idle_ms;
	enum link_pipelining pipelining;
	const char *cache_dir; /* NULL: in memory, and nothing is left behind */
	uint64_t cache_size;   /* octets of bodies */
	const char *template;  /* names are remembered together with it */
	struct mailbox_hooks hooks;
};

/* Reads what is remembered and starts the link; no connection yet. 0 or -errno with *why. */
__attribute__((warn_unused_result))
int mailbox_new(const struct mailbox_config *config, struct mailbox **mailbox_r, struct pop3_why *why);

/* Ends the link; every fetch and commit under way ends in its hook. No hook is called afterwards. */
void mailbox_stop(struct mailbox *mailbox);

/* After mailbox_stop(), and when no message is held any more. Takes NULL. */
void mailbox_free(struct mailbox *mailbox);

/*
 * Shows what is remembered, logs in and waits until the listing and all headers are there; progress() is called now
 * and then from this thread. Where a listing is remembered and the server cannot be reached, that will do: a note
 * says so. 0 or -errno with *why; -EINTR after mailbox_abort().
 */
__attribute__((warn_unused_result))
int mailbox_load(struct mailbox *mailbox, void (*progress)(void *ctx, size_t done, size_t total), void *ctx,
		 struct pop3_why *why);
void mailbox_abort(struct mailbox *mailbox);

/*
 * Asks for a new listing, unless one is under way: 0, and refreshed() follows in both cases. Or -ENOMEM, or another
 * -errno where the server cannot be reached; `insist` tries all the same.
 */
int mailbox_refresh(struct mailbox *mailbox, bool insist);

/* Milliseconds since a listing was last asked for. */
int64_t mailbox_age_ms(struct mailbox *mailbox);

struct message *message_ref(struct message *message);
void message_unref(struct message *message); /* takes NULL */

/* What never changes. The inode number is 64-bit, never reused, and FIRST_INO at least. */
#define MAILBOX_FIRST_INO 16
uint64_t message_ino(const struct message *message);
const char *message_key(const struct message *message);

/* The name that it was shown under, if that is remembered, else NULL; and what it is now, before it is shown. */
const char *message_name(const struct message *message);
__attribute__((warn_unused_result))
int mailbox_set_name(struct mailbox *mailbox, struct message *message, const char *name);

struct message_facts {
	uint64_t octets;  /* the exact size once it was fetched, an estimate of at least 1 before */
	uint64_t listed;  /* the LIST size */
	bool exact, pending;
	int64_t mtime, ctime; /* seconds since the epoch */
};
void mailbox_facts(struct mailbox *mailbox, struct message *message, struct message_facts *facts_r);

/* To be freed with free(); NULL: not known (no TOP). */
struct envelope *mailbox_envelope(struct mailbox *mailbox, struct message *message);

/* The body: a descriptor, to be closed; -EINPROGRESS: being fetched, fetched() will follow; or -errno. */
__attribute__((warn_unused_result))
int mailbox_open(struct mailbox *mailbox, struct message *message);

/* For one who will read later: 0, and the body stays where it is until mailbox_release(); else as mailbox_open(). */
__attribute__((warn_unused_result))
int mailbox_hold(struct mailbox *mailbox, struct message *message);
void mailbox_release(struct mailbox *mailbox, struct message *message);

/*
 * A body that is held: one descriptor for all who hold it, opened with the first read, so that it can be read to its
 * end whatever comes; the last release closes it. -errno: it is not where it was, and mailbox_open() may bring it back.
 */
__attribute__((warn_unused_result))
int mailbox_held(struct mailbox *mailbox, struct message *message);

/*
 * true: every message that is shown has its exact size, and from now on a new one is fetched before it is
 * shown (DESIGN 11). false: not yet.
 */
bool mailbox_promise_exact(struct mailbox *mailbox);

/* Fetches the body, if it is not there and the server is, behind all that is waited for; fetched() follows if so. */
void mailbox_fetch_ahead(struct mailbox *mailbox, struct message *message);

/*
 * Marks for deletion at the next commit, of this mount or of a later one; -ENOENT where it is so already. No network;
 * it is on the disk when this returns 0.
 */
__attribute__((warn_unused_result))
int mailbox_delete(struct mailbox *mailbox, struct message *message);

/* Takes it back, likewise; -EBUSY while a commit runs, -ENOENT where there is nothing to take back. */
__attribute__((warn_unused_result))
int mailbox_restore(struct mailbox *mailbox, struct message *message);

/* Starts a commit: 0 where nothing is pending; else 1, and committed() follows with the ticket. -errno. */
__attribute__((warn_unused_result))
int mailbox_commit(struct mailbox *mailbox, uint64_t *ticket_r);

struct commit_report {
	int64_t time; /* seconds since the epoch; 0: no commit yet */
	size_t deleted, gone, kept; /* gone: others had deleted it; kept: still on the server */
	int err;              /* 0 or -errno */
	struct pop3_why why;
};

/*
 * The end of a mount: commits what is pending and waits for the outcome. After a commit that failed less
 * than `fresh_s` seconds ago it does not try again.
 */
void mailbox_settle(struct mailbox *mailbox, int64_t fresh_s, struct commit_report *report_r);

struct mailbox_status {
	size_t messages, pending, cached;
	size_t ahead, unused; /* bodies fetched ahead so far, and those that nobody has opened since */
	uint64_t octets, cached_octets;
	uint64_t cache_size;
	const char *cache; /* the directory of its bodies; NULL: in memory */
	int64_t listed;    /* when the newest listing came */
	struct commit_report commit;
	struct link_status link;
};
void mailbox_status(struct mailbox *mailbox, struct mailbox_status *status_r);
