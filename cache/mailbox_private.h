/* SPDX-License-Identifier: MIT */
/* What mailbox.c, bodies.c and deletions.c share. `lock` guards all that is marked so; no call out under it. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "cache/mailbox.h"
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
	uint64_t ino;
	char *key;
	uint64_t listed;
	/* Under the mailbox's lock: */
	enum message_state state;
	enum body_state body;
	bool exact, in_commit;
	bool unused; /* fetched ahead and not opened yet */
	struct link_job *fetch; /* while the body is BODY_FETCHING */
	bool seen; /* by the listing that is being taken in */
	uint64_t octets;
	struct envelope *envelope; /* set once */
	uint64_t header_digest;    /* of what TOP brought; 0: not known */
	UT_hash_handle hh;
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
	struct store *store;
	int64_t started;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a load or a commit has ended; under lock: */
	struct message *table;  /* by key */
	uint64_t last_ino;
	bool refreshing; /* a listing is under way */
	bool loaded, aborted;
	int load_err;
	struct pop3_why load_why;
	size_t headers_done, headers_total;
	int64_t listed_time, asked_ms; /* since the epoch, s; by CLOCK_MONOTONIC */

	struct mailbox_counts counts;
	bool exact_only; /* what is new is fetched before it is shown, mailbox_promise_exact() */
	size_t ahead, unused;
	bool committing, commit_again;
	uint64_t ticket; /* of the newest commit that was started */
	struct commit_report report;
};

/* mailbox.c: */

/* Takes a message out of the counts (-1) before its state, body or size changes, and in again (1) afterwards. */
void mailbox_count_locked(const struct message *message, int sign);

void mailbox_set_state_locked(struct message *message, enum message_state state);

/* Takes a message out of the table, under lock; the caller gets the table's reference. */
void mailbox_take_out_locked(struct mailbox *mailbox, struct message *message);

/* bodies.c: */

struct refresh;

/* Fetches what is new before it is shown; refresh_fetched() follows. 0 or -ENOMEM. */
int mailbox_fetch_fresh(struct message *message, struct refresh *refresh);

/* refresh.c: */

void refresh_fetched(struct refresh *refresh, struct message *message, int err);
