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

	size_t pending, cached, ahead, unused;
	uint64_t cached_octets;
	bool committing, commit_again;
	uint64_t ticket; /* of the newest commit that was started */
	struct commit_report report;
};

/* Takes a message out of the table, under lock; the caller gets the table's reference. */
void mailbox_take_out_locked(struct mailbox *mailbox, struct message *message);
