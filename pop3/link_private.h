/* SPDX-License-Identifier: MIT */
/*
 * What link.c (thread, queue, listings, commits), link_session.c (the session's life) and requests.c (headers and
 * bodies) share.
 */
#pragma once
#include <pthread.h>

#include "pop3/link.h"

/* One message of a FETCH or HEADERS, asked for. */
struct flight {
	struct link_job *job;
	size_t i;
	unsigned lost; /* sessions that broke under it */
	struct flight *prev, *next;
};

struct link {
	struct link_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under lock: */
	struct link_job *queue, *ahead, *headers; /* in the order in which they are worked off */
	uint64_t ahead_octets;                    /* of those of `ahead` that are on the line */
	bool stopping; /* nothing new is begun */
	bool on_line;  /* messages are asked for and awaited, */
	bool hungry;   /* and nothing more was there to be asked for */
	struct link_status status;
	enum pop3_err down_err; /* why the server cannot be reached; POP3_OK: it can */
	int64_t down_slept_ms;  /* slept_ms() then: after a suspend everything may be different */
	int wake_fd;            /* an eventfd: there is */
	/* The link thread's: */
	struct session *session;
	int64_t session_slept_ms;   /* slept_ms() when it was last used */
	int64_t look_ms;            /* while it cannot be reached: when to look again, */
	int64_t look_wait_ms;       /* and how long to wait after that */
	struct flight *flights; /* what is on the line, in its order */
	struct flight *again;   /* what was, when the session broke: it goes first in the next one */
	int64_t login_ms;       /* when it began */
	bool had_session;       /* there was one */
	int64_t used_ms;        /* when the session was last used */
	bool renew;             /* the session is to be left before the next job goes on */
	bool no_top;            /* the server does not know TOP */
	bool no_pipelining;     /* answers have been mixed up */
	enum listing_keys keys; /* that messages have had so far */
	struct capa_memory capabilities;
	int64_t refused_until_ms;
	enum pop3_err refused_err;
	struct pop3_why refused_why;
};

/* requests.c, all on the link's thread: */

/* Works off FETCHes and HEADERS until there are none, or a LIST or COMMIT is due. */
void link_run_requests(struct link *link);
bool link_is_pipelined(const struct link *link);
/* Ends pipelining for the mount, once and with one line in the log. */
void link_stop_pipelining(struct link *link, const struct pop3_why *why);
void flights_free(struct flight **flights);

/* What is fetched ahead is bounded, so that a reader who comes meanwhile waits behind little. */
bool link_may_go_ahead_locked(const struct link *link, const struct link_job *job);

/* link_clock.c: */

extern const struct link_clock link_system_clock;
int64_t link_now_ms(const struct link *link);
int64_t link_slept_ms(const struct link *link);
bool link_has_slept(const struct link *link, int64_t since_ms);
/* Waits for a job or the end; ETIMEDOUT after so long. */
int link_wait_ms_locked(struct link *link, int64_t ms);

/* link_session.c, all on the link's thread: */

/* A session with its listing, tried twice; sizes: with LIST's sizes. */
enum pop3_err link_need_session(struct link *link, bool sizes, struct pop3_why *why);
/* The same, tried once. */
enum pop3_err link_try_session(struct link *link, bool sizes, struct pop3_why *why);
/* Ends a session in which nothing was deleted, with QUIT where that has no second meaning. */
void link_hang_up(struct link *link);
void link_drop_session(struct link *link);
void link_set_connected(struct link *link, bool connected); /* for --status */
bool link_is_loss(enum pop3_err err); /* a loss that a new session may repair */

/* link.c, likewise: */

void link_note(struct link *link, const char *what, const struct pop3_why *why, const char *next);
void link_failed(struct link *link, const struct pop3_why *why); /* for --status */
bool link_is_stopping(struct link *link);
void link_set_on_line(struct link *link, bool on_line);
/* Takes a job off its list and ends it. */
void link_finish(struct link *link, struct link_job *job, enum pop3_err err, const struct pop3_why *why);
void link_fail_queued(struct link *link, enum pop3_err err, const struct pop3_why *why);
