/* SPDX-License-Identifier: MIT */
/*
 * THE LINK'S THREAD owns the session and everything below it; nothing else touches the network. Other
 * threads reach it through the queue, under `lock`, which is never held across I/O or a callback.
 *
 * Jobs run in the order of the queue; headers yield to every other job between two messages. FETCH and
 * HEADERS share a session run, which ends when a LIST or a COMMIT is due. An interrupted job stays at its
 * place in the queue and goes on in the next session; the second loss under the same message fails it. When
 * the server is silent or cannot be reached, all that is queued fails at once, so that no reader waits for
 * more than one time-out.
 */
#include "pop3/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

/* After a refused login none is tried for this long but for a commit: servers lock accounts (S3, S21). */
#define REFUSED_LOGIN_MS 60000
/* First wait when the maildrop is in use (S1); doubles until one time-out is spent. */
#define IN_USE_WAIT_MS 250

struct link {
	struct link_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct link_job *queue, *headers; /* under lock */
	bool stopping;                    /* under lock */
	struct link_status status;        /* under lock */
	/* The link thread's: */
	struct session *session;
	struct link_job *flight; /* what is on the line */
	int64_t used_ms;         /* when the session was last used */
	bool renew;              /* the session is to be left before the next job goes on */
	bool no_top;             /* the server does not know TOP */
	bool had_uids;   /* the first session's keys were unique-ids: all must be */
	bool had_session;
	int64_t refused_until_ms;
	enum pop3_err refused_err;
	struct pop3_why refused_why;
};

static void note(struct link *link, const char *what, const struct pop3_why *why, const char *next)
{
	char text[700];

	snprintf(text, sizeof(text), "%s: %s; %s", what, why->text, next);
	link->config.note(link->config.ctx, text);
}

static void remember_failure(struct link *link, const struct pop3_why *why)
{
	pthread_mutex_lock(&link->lock);
	link->status.last = *why;
	link->status.last_time = time(NULL);
	pthread_mutex_unlock(&link->lock);
}

static void set_connected(struct link *link, bool connected)
{
	pthread_mutex_lock(&link->lock);
	link->status.connected = connected;
	if (connected) {
		link->status.logins++;
		session_describe(link->session, link->status.session, sizeof(link->status.session));
	}
	pthread_mutex_unlock(&link->lock);
}

static void drop_session(struct link *link)
{
	session_drop(link->session);
	link->session = NULL;
	set_connected(link, false);
}

/* Ends a session in which nothing was deleted. With EXPIRE 0 a QUIT would remove what was retrieved (S5). */
static void hang_up(struct link *link)
{
	struct session *session = link->session;
	struct pop3_why why;

	if (!session)
		return;
	link->session = NULL;
	set_connected(link, false);
	if (session_has_deleted(session) || (session_capa(session)->expire_0 && session_has_retrieved(session)))
		session_drop(session);
	else if (session_quit(session, &why))
		remember_failure(link, &why);
}

static bool is_stopping(struct link *link)
{
	bool stopping;

	pthread_mutex_lock(&link->lock);
	stopping = link->stopping;
	pthread_mutex_unlock(&link->lock);
	return stopping;
}

static struct timespec deadline_after(int64_t ms)
{
	struct timespec at;

	if (ms < 0)
		ms = 0;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

/* Sleeps, but not past the end of the link. */
static void pause_ms(struct link *link, int64_t ms)
{
	const struct timespec until = deadline_after(ms);

	pthread_mutex_lock(&link->lock);
	while (!link->stopping)
		if (pthread_cond_timedwait(&link->wake, &link->lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&link->lock);
}

/* A login; while another client has the maildrop, or the server has a passing fault, again for a time. */
static enum pop3_err open_session(struct link *link, struct pop3_why *why)
{
	int64_t end = transport_now_ms() + link->config.account.timeout_ms;
	int64_t wait = IN_USE_WAIT_MS;

	for (;;) {
		enum pop3_err err = session_open(&link->config.account, &link->session, why);
		bool passing = err == POP3_E_IN_USE || err == POP3_E_TEMPORARY || err == POP3_E_LOGIN_DELAY;

		if (!passing || transport_now_ms() + wait > end || is_stopping(link))
			return err;
		if (wait == IN_USE_WAIT_MS)
			note(link, "login", why, "trying again");
		pause_ms(link, wait);
		wait *= 2;
	}
}

/* The keys of a mount are of one kind: a server that loses its UIDL must not make all messages look new. */
static enum pop3_err check_keys(struct link *link, struct pop3_why *why)
{
	const struct listing *listing = session_listing(link->session);
	bool uids = listing_count(listing) == 0 || listing_uid_len(listing_at(listing, 0)->key) > 0 ||
		    listing_at(listing, 0)->key[0] == '\0';

	if (link->had_session && link->had_uids && !uids)
		return pop3_fail(why, POP3_E_PROTOCOL, "the server no longer tells unique-ids");
	if (listing_count(listing) > 0) {
		link->had_session = true;
		link->had_uids = uids;
	}
	return POP3_OK;
}

/* A session with its listing; sizes: with LIST's sizes. */
static enum pop3_err need_session(struct link *link, bool sizes, struct pop3_why *why)
{
	const struct listing *listing;
	enum pop3_err err = POP3_OK;

	if (link->session && !session_is_fresh(link->session))
		drop_session(link);
	if (link->renew)
		hang_up(link);
	link->renew = false;
	if (!link->session) {
		if (transport_now_ms() < link->refused_until_ms) {
			*why = link->refused_why;
			return link->refused_err;
		}
		err = open_session(link, why);
		if (err == POP3_E_AUTH || err == POP3_E_SECRET) {
			link->refused_until_ms = transport_now_ms() + REFUSED_LOGIN_MS;
			link->refused_err = err;
			link->refused_why = *why;
		}
		if (err)
			return err;
		set_connected(link, true);
	}
	err = session_list(link->session, sizes, &listing, why);
	if (!err)
		err = check_keys(link, why);
	if (err)
		drop_session(link);
	link->used_ms = transport_now_ms();
	return err;
}

/* A loss that a new session may repair. */
static bool is_loss(enum pop3_err err)
{
	return err == POP3_E_CLOSED || err == POP3_E_PROTOCOL || err == POP3_E_TEMPORARY;
}

/* need_session(), once more after a loss. */
static enum pop3_err need_session_surely(struct link *link, bool sizes, struct pop3_why *why)
{
	enum pop3_err err = need_session(link, sizes, why);

	if (!is_loss(err))
		return err;
	note(link, "session lost", why, "trying again");
	return need_session(link, sizes, why);
}

static void finish(struct link *link, struct link_job **list, struct link_job *job, enum pop3_err err,
		   const struct pop3_why *why)
{
	pthread_mutex_lock(&link->lock);
	DL_DELETE(*list, job);
	pthread_mutex_unlock(&link->lock);
	job->done(job, err, why);
}

static void fail_list(struct link *link, struct link_job **list, enum pop3_err err, const struct pop3_why *why)
{
	struct link_job *job, *taken;

	pthread_mutex_lock(&link->lock);
	taken = *list;
	*list = NULL;
	pthread_mutex_unlock(&link->lock);
	while ((job = taken)) {
		DL_DELETE(taken, job);
		job->done(job, err, why);
	}
}

static void fail_queued(struct link *link, enum pop3_err err, const struct pop3_why *why)
{
	remember_failure(link, why);
	fail_list(link, &link->queue, err, why);
	fail_list(link, &link->headers, err, why);
}

/* The job to go on with: what waits, then headers. */
static struct link_job *next_job(struct link *link)
{
	struct link_job *job;

	pthread_mutex_lock(&link->lock);
	job = link->queue ? link->queue : link->headers;
	pthread_mutex_unlock(&link->lock);
	return job;
}

static struct link_job **list_of(struct link *link, const struct link_job *job)
{
	return job->kind == LINK_HEADERS ? &link->headers : &link->queue;
}

/* A FETCH or HEADERS has message `at` behind it. */
static void advance(struct link *link, struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	job->lost = 0;
	if (job->kind == LINK_FETCH) {
		finish(link, &link->queue, job, err, why);
		return;
	}
	job->item(job, job->at, err);
	if (++job->at == job->count)
		finish(link, &link->headers, job, POP3_OK, NULL);
}

/* What goes on the line next; jobs whose message is not in this session end here. */
static bool next_request(void *ctx, struct session_request *request_r)
{
	struct link *link = ctx;
	const struct listing *listing = session_listing(link->session);
	struct link_job *job;

	while (!link->renew && !is_stopping(link) && (job = next_job(link))) {
		const struct listing_entry *entry;
		struct pop3_why why;
		int err;

		if (job->kind == LINK_LIST || job->kind == LINK_COMMIT)
			return false;
		if (job->kind == LINK_HEADERS && link->no_top) {
			advance(link, job, POP3_E_SERVER, NULL);
			continue;
		}
		entry = listing_find(listing, job->key(job, job->at));
		if (!entry) {
			pop3_fail(&why, POP3_E_GONE, "the message is no longer on the server");
			advance(link, job, POP3_E_GONE, &why);
			continue;
		}
		err = job->begin(job, job->at);
		if (err) {
			pop3_fail(&why, POP3_E_LOCAL, "%s", strerror(-err));
			advance(link, job, POP3_E_LOCAL, &why);
			continue;
		}
		*request_r = (struct session_request){ job->kind == LINK_FETCH ? SESSION_RETR : SESSION_TOP,
						       entry->number, entry->octets, job };
		link->flight = job;
		return true;
	}
	return false;
}

static int take_data(void *ctx, void *tag, const char *octets, size_t len)
{
	struct link_job *job = tag;

	(void)ctx;
	return job->data(job, job->at, octets, len);
}

/*
 * A refused RETR may mean that the message has gone meanwhile (S17): a new session's listing tells. A
 * refused TOP is a message without an envelope.
 */
static void request_done(void *ctx, void *tag, enum pop3_err err, const struct pop3_why *why)
{
	struct link *link = ctx;
	struct link_job *job = tag;

	if (err == POP3_E_SERVER && job->kind == LINK_FETCH && job->lost++ == 0 &&
	    !session_is_identity(link->session)) {
		link->renew = true;
		return;
	}
	if (err)
		remember_failure(link, why);
	if (err == POP3_E_SERVER && job->kind == LINK_HEADERS && !session_capa(link->session)->top)
		link->no_top = true;
	advance(link, job, err, why);
}

/* The session broke while `job` was on the line. */
static void job_lost(struct link *link, struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	drop_session(link);
	if (err == POP3_E_TIMEOUT || err == POP3_E_STOPPED) {
		fail_queued(link, err, why);
		return;
	}
	remember_failure(link, why);
	if (!is_loss(err))
		advance(link, job, err, why);
	else if (job->lost++ == 0)
		note(link, "session lost", why, "asking once more in a new one");
	else
		finish(link, list_of(link, job), job, err, why);
}

static void run_requests(struct link *link)
{
	const struct session_handler handler = { next_request, take_data, request_done, link };
	struct pop3_why why = { "" };
	enum pop3_err err = need_session_surely(link, false, &why);

	if (err) {
		fail_queued(link, err, &why);
		return;
	}
	err = session_run(link->session, &handler, &why);
	link->used_ms = transport_now_ms();
	if (err)
		job_lost(link, link->flight, err, &why);
}

static void run_list(struct link *link, struct link_job *job)
{
	struct pop3_why why = { "" };
	enum pop3_err err;

	link->renew = link->session && !session_is_identity(link->session);
	err = need_session_surely(link, true, &why);
	if (err == POP3_E_TIMEOUT || err == POP3_E_UNREACHABLE) {
		fail_queued(link, err, &why);
		return;
	}
	if (err)
		remember_failure(link, &why);
	else
		job->listing(job, session_listing(link->session));
	finish(link, &link->queue, job, err, &why);
}

/* Deletes in the session that there is; where QUIT would have a second meaning (S5), in one of its own. */
static enum pop3_err try_commit(struct link *link, struct link_job *job, struct pop3_why *why)
{
	struct session *session = link->session;
	enum pop3_err err;

	link->refused_until_ms = 0; /* somebody asks for it: once more, whatever was refused before */
	if (session && session_capa(session)->expire_0 && session_has_retrieved(session))
		link->renew = true;
	err = need_session_surely(link, false, why);
	if (err)
		return err;
	if (commit_compare(job->deletions, job->count, session_listing(link->session)) == 0)
		return POP3_OK;
	session = link->session;
	link->session = NULL;
	err = commit_send(job->deletions, job->count, session, why);
	set_connected(link, false);
	return err;
}

/* Deletions were sent whose outcome is not known. */
static bool is_open(const struct link_job *job)
{
	for (size_t i = 0; i < job->count; i++)
		if (job->deletions[i].state == COMMIT_SENT)
			return true;
	return false;
}

/* Twice at most, then a last look at what has become of the deletions whose outcome is open. */
static void run_commit(struct link *link, struct link_job *job)
{
	struct pop3_why why = { "" }, ignored;
	enum pop3_err err = try_commit(link, job, &why);

	if (is_loss(err) || err == POP3_E_SERVER) {
		remember_failure(link, &why);
		note(link, "commit", &why, "comparing with a new listing and trying once more");
		err = try_commit(link, job, &why);
	}
	if (err)
		remember_failure(link, &why);
	if (err && is_open(job) && !need_session(link, false, &ignored) &&
	    commit_compare(job->deletions, job->count, session_listing(link->session)) == 0)
		err = POP3_OK;
	finish(link, &link->queue, job, err, &why);
}

/* Waits for a job; ends an idle session meanwhile. NULL: the link ends. */
static struct link_job *wait_for_job(struct link *link)
{
	struct link_job *job = NULL;
	bool expired = false;

	pthread_mutex_lock(&link->lock);
	while (!link->stopping && !(job = link->queue ? link->queue : link->headers)) {
		struct timespec until;

		if (!link->session || session_is_identity(link->session)) {
			pthread_cond_wait(&link->wake, &link->lock);
			continue;
		}
		until = deadline_after(link->used_ms + link->config.idle_ms - transport_now_ms());
		if (pthread_cond_timedwait(&link->wake, &link->lock, &until) == ETIMEDOUT)
			expired = !link->queue && !link->headers;
		if (expired) {
			pthread_mutex_unlock(&link->lock);
			hang_up(link);
			pthread_mutex_lock(&link->lock);
			expired = false;
		}
	}
	if (link->stopping)
		job = NULL;
	pthread_mutex_unlock(&link->lock);
	return job;
}

static void *link_main(void *arg)
{
	struct link *link = arg;
	struct pop3_why why = { "the mount ends" };
	struct link_job *job;

	while ((job = wait_for_job(link))) {
		if (job->kind == LINK_LIST)
			run_list(link, job);
		else if (job->kind == LINK_COMMIT)
			run_commit(link, job);
		else
			run_requests(link);
	}
	fail_list(link, &link->queue, POP3_E_STOPPED, &why);
	fail_list(link, &link->headers, POP3_E_STOPPED, &why);
	hang_up(link);
	return NULL;
}

enum pop3_err link_new(const struct link_config *config, struct link **link_r, struct pop3_why *why)
{
	struct link *link = calloc(1, sizeof(*link));
	pthread_condattr_t attr;

	if (!link)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	link->config = *config;
	link->config.account.cancel_fd = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&link->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (link->config.account.cancel_fd < 0 || pthread_create(&link->thread, NULL, link_main, link) != 0) {
		pop3_fail(why, POP3_E_MEMORY, "cannot start a thread");
		if (link->config.account.cancel_fd >= 0)
			close(link->config.account.cancel_fd);
		free(link);
		return POP3_E_MEMORY;
	}
	*link_r = link;
	return POP3_OK;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	pthread_mutex_lock(&link->lock);
	link->stopping = true;
	pthread_cond_broadcast(&link->wake);
	pthread_mutex_unlock(&link->lock);
	eventfd_write(link->config.account.cancel_fd, 1);
	pthread_join(link->thread, NULL);
	close(link->config.account.cancel_fd);
	pthread_cond_destroy(&link->wake);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

void link_queue(struct link *link, struct link_job *job)
{
	job->at = 0;
	job->lost = 0;
	pthread_mutex_lock(&link->lock);
	if (job->kind == LINK_HEADERS)
		DL_APPEND(link->headers, job);
	else
		DL_APPEND(link->queue, job);
	pthread_cond_signal(&link->wake);
	pthread_mutex_unlock(&link->lock);
}

void link_status(struct link *link, struct link_status *status_r)
{
	pthread_mutex_lock(&link->lock);
	*status_r = link->status;
	pthread_mutex_unlock(&link->lock);
}
