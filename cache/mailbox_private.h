/* SPDX-License-Identifier: MIT */
/* What the files of the mailbox share. `lock` guards all that is marked so; no call out under it. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "cache/index.h"
#include "cache/mailbox.h"
#include "cache/place.h"
#include "cache/store.h"

enum message_state {
	MESSAGE_NEW, /* listed by the server, its header still to come */
	MESSAGE_SHOWN,
	MESSAGE_PENDING, /* to be deleted */
	MESSAGE_REMOVED, /* out of the table; whoever holds it may still read it */
};

enum body_state { BODY_ABSENT, BODY_FETCHING, BODY_PRESENT };

struct message {
	struct mailbox *mailbox;
	atomic_uint refs;
	uint64_t ino; /* the row's id in the index */
	uint64_t listed;
	/* Under the mailbox's lock: */
	unsigned holds;   /* mailbox_hold() */
	int fd;           /* of the body, while it is held and since it was read; -1: none */
	uint32_t used;    /* when it was last opened, seconds since the epoch */
	enum message_state state : 8;
	enum body_state body : 8;
	enum index_header header : 8;
	bool exact : 1, in_commit : 1;
	bool unused : 1;  /* fetched ahead and not opened yet */
	bool seen : 1;    /* by the listing that is being taken in */
	bool dirty : 1;   /* the keeper has it on its list */
	bool synced : 1;  /* the index knows the body of this stamp */
	bool touched : 1; /* opened in this mount */
	bool doomed : 1;  /* to be deleted from the time it is shown: its row was lost, its deletion was not */
	bool drop : 1;    /* deleted: the body goes with the last reference */
	struct link_job *fetch; /* while the body is BODY_FETCHING */
	uint64_t octets;
	int64_t stamp;             /* of the body, store_open() */
	uint32_t mtime, ctime;     /* set with the envelope; seconds since the epoch, like `used` */
	struct envelope *envelope; /* until it is in the index */
	uint64_t header_digest;    /* of what TOP brought; 0: not known */
	char *name;                /* set before it is shown; NULL: none yet */
	struct message *prev, *next; /* in mailbox->bodies, while the body is BODY_PRESENT */
	UT_hash_handle hh;
	char key[];
};

/* Of the table, kept by mailbox_count_locked(). */
struct mailbox_counts {
	size_t shown, pending, cached;
	size_t estimated; /* shown or pending, and the size is not exact */
	uint64_t octets;  /* of those shown */
	uint64_t cached_octets;
};

struct mailbox {
	struct mailbox_hooks hooks;
	struct link *link;
	struct place *place; /* NULL: in memory */
	struct index *index;
	struct store *store;
	uint64_t cache_size;
	int64_t started;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a load or a commit has ended; under lock: */
	struct message *table;  /* by key */
	struct message *bodies; /* that are present, the one first that was opened longest ago */
	uint64_t gone_octets;   /* of bodies that are kept though their messages are gone */
	uint64_t last_session_ino;
	bool refreshing; /* a listing is under way */
	bool known;      /* a complete listing is remembered */
	bool loaded, aborted;
	int load_err;
	enum pop3_err load_cause;
	struct pop3_why load_why;
	size_t headers_done, headers_total;
	int64_t listed_time, asked_ms; /* since the epoch, s; by CLOCK_MONOTONIC */

	struct mailbox_counts counts;
	bool exact_only; /* what is new is fetched before it is shown, mailbox_promise_exact() */
	size_t ahead, unused;
	bool committing, commit_again;
	uint64_t ticket; /* of the newest commit that was started */
	struct commit_report report;

	struct keeper {
		pthread_t thread;
		pthread_cond_t wake;
		struct message **dirty; /* with a reference each */
		size_t n_dirty, room;
		bool running, stopping, failing; /* failing: the log knows */
	} keeper;
};

/* mailbox.c: */

/* A message with one reference, not in the table; NULL: out of memory. */
struct message *message_new(struct mailbox *mailbox, const char *key, uint64_t listed);

/* Takes what the index knows over, for a message that nobody knows yet. */
void message_recall(struct message *message, const struct index_row *row);

/* Its times, from its envelope. */
void message_set_times(struct message *message);

/* Puts a message into the table, which takes the reference; false: out of memory. */
bool mailbox_put_in_locked(struct mailbox *mailbox, struct message *message);

/* Takes a message out of the counts (-1) before its state, body or size changes, and in again (1) afterwards. */
void mailbox_count_locked(const struct message *message, int sign);

void mailbox_set_state_locked(struct message *message, enum message_state state);
void mailbox_set_body_locked(struct message *message, enum body_state body);

/* Takes a message out of the table, under lock; the caller gets the table's reference. */
void mailbox_take_out_locked(struct mailbox *mailbox, struct message *message);

/* Its key lives only as long as the session, so the index does not know it. */
bool message_is_transient(const struct message *message);

/* bodies.c: */

struct refresh;

/* The body may be removed from now on: where it is held it is opened, if it was not yet. */
void body_pin_locked(struct message *message);

/* Fetches what is new before it is shown; refresh_fetched() follows. 0 or -ENOMEM. */
int mailbox_fetch_fresh(struct message *message, struct refresh *refresh);

/* refresh.c: */

void refresh_fetched(struct refresh *refresh, struct message *message, int err);

/* recall.c: */

/* Opens place, index and store, and fills the table. 0 or -errno with *why; mailbox_free() closes what is open. */
int mailbox_recall(struct mailbox *mailbox, const struct mailbox_config *config, struct pop3_why *why);

/* keeper.c: */

int keeper_start(struct mailbox *mailbox); /* the thread; 0 or -errno */
/* Writes what is still to be written, and ends the thread, if it runs. */
void keeper_stop(struct mailbox *mailbox);
/* What the message has learnt is to be recorded. */
void keeper_mark_locked(struct message *message);

/* space.c: */

/* A full disk gets so much room from the bodies before the index is written once more. */
#define SHED_OCTETS (UINT64_C(1) << 20)

/* The message was opened: its body is the last to go. */
void space_touch_locked(struct message *message);
/* Removes bodies until the bound holds with `octets` less than is there; not that of `keep`, none that is open. */
void space_make(struct mailbox *mailbox, uint64_t octets, const struct message *keep);
