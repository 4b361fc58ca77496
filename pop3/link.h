/* SPDX-License-Identifier: MIT */
/*
 * The link to the maildrop: one thread, one session at a time, a queue of jobs. It logs in when a job needs
 * it, keeps the session while it is used, ends it after the idle time, and repairs a lost one: what was
 * interrupted is asked for once more in a new session, found again by its key.
 *
 * A job is the caller's, and lives until its done() has been called. All callbacks run on the link's thread,
 * with no lock held; they may queue jobs and must not wait.
 */
#pragma once
#include <pthread.h>

#include "pop3/commit.h"

struct link;
struct link_job;

struct link_config {
	struct account account; /* its strings live as long as the link; cancel_fd is set by the link */
	int idle_ms;
	enum link_pipelining {
		LINK_PIPELINING_AUTO, /* where CAPA announces it */
		LINK_PIPELINING_ON,
		LINK_PIPELINING_OFF,
	} pipelining;
	enum listing_keys keys; /* of earlier sessions: their kind may not change */
	void (*note)(void *ctx, const char *text); /* one line for the log: what happened, what is done about it */
	/* The server could not be reached, and it is time to look again: queue a LIST. Link thread. NULL: never. */
	void (*look_again)(void *ctx);
	void *ctx;
	const struct link_clock *clock; /* NULL: the system's */
};

/* The time by which the link waits, for tests to replace. */
struct link_clock {
	int64_t (*now_ms)(void *ctx);
	/* For how long the machine has been suspended since it was started; now_ms() does not count that. */
	int64_t (*slept_ms)(void *ctx);
	/* As pthread_cond_timedwait(), for so long. */
	int (*wait)(void *ctx, pthread_cond_t *wake, pthread_mutex_t *lock, int64_t ms);
	void *ctx;
};

/* Starts the thread. No connection is made before the first job. */
__attribute__((warn_unused_result))
enum pop3_err link_new(const struct link_config *config, struct link **link_r, struct pop3_why *why);

/*
 * Gives the messages on the line a moment to come in, interrupts what then still runs, fails the other jobs with
 * POP3_E_STOPPED, ends thread and session. Takes NULL.
 */
void link_free(struct link *link);

enum link_kind {
	LINK_LIST,    /* a new listing, from a session that begins now */
	LINK_HEADERS, /* the headers of `count` messages, when nothing else is wanted */
	LINK_FETCH,   /* one message; `ahead`: nobody waits for it yet */
	LINK_COMMIT,  /* delete `count` messages */
};

struct link_job {
	enum link_kind kind;
	size_t count;
	/* FETCH: goes behind all that is waited for, and is bounded by POP3_MAX_AHEAD of its LIST octets. */
	bool ahead;
	uint64_t octets;
	/* HEADERS, FETCH: the key of a message, while the job lives. */
	const char *(*key)(struct link_job *job, size_t i);
	/* HEADERS, FETCH: octets of message i follow, from its first one (again, after a repair). 0 or -errno. */
	int (*begin)(struct link_job *job, size_t i);
	int (*data)(struct link_job *job, size_t i, const char *octets, size_t len);
	/* FETCH: what came under pipelining is the message that was meant; false: it is asked for again. Or NULL. */
	bool (*matches)(struct link_job *job, size_t i);
	/* HEADERS: message i has ended, or the server refused it. */
	void (*item)(struct link_job *job, size_t i, enum pop3_err err);
	/* LIST: a complete listing, valid during the call. */
	void (*listing)(struct link_job *job, const struct listing *listing);
	/* COMMIT: the caller's array; the states are final at done(). prepare(), just before, withdraws some; or NULL. */
	struct commit_item *deletions;
	void (*prepare)(struct link_job *job);
	/* The end. For FETCH, POP3_E_GONE where a new listing does not have the message. */
	void (*done)(struct link_job *job, enum pop3_err err, const struct pop3_why *why);

	/* The link's. */
	struct link_job *prev, *next;
	size_t given, finished; /* messages that were handed out, that have ended */
};

/* Adds to the queue. Any thread. */
void link_queue(struct link *link, struct link_job *job);

/* Somebody waits for a FETCH that was queued `ahead`. Any thread, while the job lives. */
void link_promote(struct link *link, struct link_job *job);

/* The server cannot be reached: the -errno that waiting for it would end in; 0: it can, as far as is known. Any thread. */
int link_down(struct link *link);

struct link_status {
	bool connected;
	int64_t down_since;   /* seconds since the epoch; 0: it can be reached, as far as is known */
	char session[200];    /* TLS and login method of the newest session; "" before the first */
	unsigned logins;      /* sessions so far */
	struct pop3_why last; /* the newest failure; "" for none */
	int64_t last_time;    /* when, seconds since the epoch */
};

/* Any thread. */
void link_status(struct link *link, struct link_status *status_r);
