/* SPDX-License-Identifier: MIT */
/*
 * THE LINK'S THREAD owns the session and everything below it; nothing else touches the network. Other
 * threads reach it through the queue, under `lock`, which is never held across I/O or a callback.
 *
 * Jobs run in the order of the queue; then what is fetched ahead of its readers, then headers. FETCH and
 * HEADERS share a session run, which ends when a LIST or a COMMIT is due. A flight is one message on the
 * line. When the session breaks, all flights are flown again in the next one; the second break under the
 * same message fails it. Answers that make no sense under pipelining end it for the mount, and everything on
 * the line is asked for again one by one (QUIRKS F9). When the server is silent or cannot be reached, all
 * that is queued fails at once, so that no reader waits for more than one time-out.
 */
#include "pop3/link.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "pop3/link_private.h"

/* At the end, what is on the line gets so long to come in: else it would have to be asked for again. */
#define DRAIN_MS 2000

void link_note(struct link *link, const char *what, const struct pop3_why *why, const char *next)
{
	char text[700];

	snprintf(text, sizeof(text), "%s: %s; %s", what, why->text, next);
	link->config.note(link->config.ctx, text);
}

void link_failed(struct link *link, const struct pop3_why *why)
{
	pthread_mutex_lock(&link->lock);
	link->status.last = *why;
	link->status.last_time = time(NULL);
	pthread_mutex_unlock(&link->lock);
}

bool link_is_stopping(struct link *link)
{
	bool stopping;

	pthread_mutex_lock(&link->lock);
	stopping = link->stopping;
	pthread_mutex_unlock(&link->lock);
	return stopping;
}

void link_set_on_line(struct link *link, bool on_line)
{
	pthread_mutex_lock(&link->lock);
	link->on_line = on_line;
	pthread_cond_broadcast(&link->wake);
	pthread_mutex_unlock(&link->lock);
}

static struct link_job **list_of(struct link *link, const struct link_job *job)
{
	return job->kind == LINK_HEADERS ? &link->headers : job->ahead ? &link->ahead : &link->queue;
}

void link_finish(struct link *link, struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct link_job **list;

	pthread_mutex_lock(&link->lock);
	list = list_of(link, job);
	DL_DELETE(*list, job);
	if (job->ahead && job->given)
		link->ahead_octets -= job->octets;
	pthread_mutex_unlock(&link->lock);
	job->done(job, err, why);
}

static void fail_list(struct link *link, struct link_job **list, enum pop3_err err, const struct pop3_why *why)
{
	struct link_job *job, *taken;

	pthread_mutex_lock(&link->lock);
	taken = *list;
	*list = NULL;
	DL_FOREACH(taken, job)
		job->given = job->count; /* out of link_promote()'s reach */
	if (list == &link->ahead)
		link->ahead_octets = 0;
	pthread_mutex_unlock(&link->lock);
	while ((job = taken)) {
		DL_DELETE(taken, job);
		job->done(job, err, why);
	}
}

void link_fail_queued(struct link *link, enum pop3_err err, const struct pop3_why *why)
{
	flights_free(&link->flights);
	flights_free(&link->again);
	link_failed(link, why);
	fail_list(link, &link->queue, err, why);
	fail_list(link, &link->ahead, err, why);
	fail_list(link, &link->headers, err, why);
}

/* A login that nobody waits for keeps to the delay that the server announced (S2). */
static bool login_is_too_soon(const struct link *link, struct pop3_why *why)
{
	int64_t delay_s = link->capabilities.known ? link->capabilities.after.login_delay : 0;
	int64_t since_s = (link_now_ms(link) - link->login_ms) / 1000;

	if (delay_s == 0 || since_s >= delay_s)
		return false;
	pop3_fail(why, POP3_E_LOGIN_DELAY, "the server wants %lld s between logins, %lld are left", (long long)delay_s,
		  (long long)(delay_s - since_s));
	return true;
}

static void run_list(struct link *link, struct link_job *job)
{
	struct pop3_why why = { "" };
	enum pop3_err err;

	if (login_is_too_soon(link, &why)) {
		link_finish(link, job, POP3_E_LOGIN_DELAY, &why);
		return;
	}
	link->renew = link->session && !session_is_identity(link->session);
	err = link_need_session(link, true, &why);
	if (err == POP3_E_TIMEOUT || err == POP3_E_UNREACHABLE) {
		link_fail_queued(link, err, &why);
		return;
	}
	if (err)
		link_failed(link, &why);
	else
		job->listing(job, session_listing(link->session));
	link_finish(link, job, err, &why);
}

/* Deletes in the session that there is; where QUIT would have a second meaning (S5), in one of its own. */
static enum pop3_err try_commit(struct link *link, struct link_job *job, struct pop3_why *why)
{
	struct session *session = link->session;
	enum pop3_err err;
	bool pipelined;

	link->refused_until_ms = 0; /* somebody asks for it: once more, whatever was refused before */
	if (session && session_capa(session)->expire_0 && session_has_retrieved(session))
		link->renew = true;
	err = link_need_session(link, false, why);
	if (err)
		return err;
	if (commit_compare(job->deletions, job->count, session_listing(link->session)) == 0)
		return POP3_OK;
	pipelined = link_is_pipelined(link);
	session = link->session;
	link->session = NULL;
	err = commit_send(job->deletions, job->count, session, pipelined, why);
	if (pipelined && err == POP3_E_PROTOCOL)
		link_stop_pipelining(link, why);
	link_set_connected(link, false);
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
	enum pop3_err err;

	if (job->prepare)
		job->prepare(job);
	err = try_commit(link, job, &why);
	if (link_is_loss(err) || err == POP3_E_SERVER) {
		link_failed(link, &why);
		link_note(link, "commit", &why, "comparing with a new listing and trying once more");
		err = try_commit(link, job, &why);
	}
	if (err)
		link_failed(link, &why);
	if (err && is_open(job) && !link_try_session(link, false, &ignored) &&
	    commit_compare(job->deletions, job->count, session_listing(link->session)) == 0)
		err = POP3_OK;
	link_finish(link, job, err, &why);
}

static void look_again(struct link *link)
{
	link->look_ms = link_now_ms(link) + link->look_wait_ms;
	link->config.look_again(link->config.ctx);
}

static struct link_job *first_job_locked(const struct link *link)
{
	return link->queue ? link->queue : link->ahead ? link->ahead : link->headers;
}

/* What is to be done when no job comes until then: end an idle session, or look for the server. NULL: nothing. */
static void (*next_chore(struct link *link, int64_t *due_ms_r))(struct link *link)
{
	if (link->session && !session_is_identity(link->session)) {
		*due_ms_r = link->used_ms + link->config.idle_ms;
		return link_hang_up;
	}
	*due_ms_r = link->look_ms;
	return link->look_wait_ms > 0 && link->config.look_again ? look_again : NULL;
}

/* Waits for a job; does the chores meanwhile. NULL: the link ends. */
static struct link_job *wait_for_job(struct link *link)
{
	struct link_job *job = NULL;

	pthread_mutex_lock(&link->lock);
	while (!link->stopping && !(job = first_job_locked(link))) {
		int64_t due_ms;
		void (*chore)(struct link *link) = next_chore(link, &due_ms);

		if (!chore) {
			pthread_cond_wait(&link->wake, &link->lock);
		} else if (link_now_ms(link) < due_ms) {
			(void)link_wait_ms_locked(link, due_ms - link_now_ms(link));
		} else {
			pthread_mutex_unlock(&link->lock);
			chore(link);
			pthread_mutex_lock(&link->lock);
		}
	}
	if (link->stopping)
		job = NULL;
	pthread_mutex_unlock(&link->lock);
	return job;
}

/*
 * Where all processors are busy the link's thread waits for its turn instead of taking it at each packet: it finds more
 * in the socket then, and a scan costs a fifth less of its time.
 */
static void be_patient(void)
{
	pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){ 0 });
}

static void *link_main(void *arg)
{
	struct link *link = arg;
	struct pop3_why why = { "the mount ends" };
	struct link_job *job;

	be_patient();
	while ((job = wait_for_job(link))) {
		if (job->kind == LINK_LIST)
			run_list(link, job);
		else if (job->kind == LINK_COMMIT)
			run_commit(link, job);
		else
			link_run_requests(link);
	}
	link_fail_queued(link, POP3_E_STOPPED, &why);
	link_hang_up(link);
	return NULL;
}

static void release(struct link *link)
{
	if (link->config.account.cancel_fd >= 0)
		close(link->config.account.cancel_fd);
	if (link->wake_fd >= 0)
		close(link->wake_fd);
	pthread_cond_destroy(&link->wake);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

enum pop3_err link_new(const struct link_config *config, struct link **link_r, struct pop3_why *why)
{
	struct link *link = calloc(1, sizeof(*link));
	pthread_condattr_t attr;

	if (!link)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	link->config = *config;
	link->config.account.cancel_fd = eventfd(0, EFD_CLOEXEC);
	link->wake_fd = eventfd(0, EFD_CLOEXEC);
	link->config.account.memory = &link->capabilities;
	link->capabilities.in_turn = config->pipelining == LINK_PIPELINING_OFF;
	link->keys = config->keys;
	if (!link->config.clock)
		link->config.clock = &link_system_clock;
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&link->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (link->config.account.cancel_fd < 0 || link->wake_fd < 0 ||
	    pthread_create(&link->thread, NULL, link_main, link) != 0) {
		pop3_fail(why, POP3_E_MEMORY, "cannot start a thread");
		release(link);
		return POP3_E_MEMORY;
	}
	*link_r = link;
	return POP3_OK;
}

void link_free(struct link *link)
{
	int64_t end;

	if (!link)
		return;
	pthread_mutex_lock(&link->lock);
	link->stopping = true;
	pthread_cond_broadcast(&link->wake);
	for (end = link_now_ms(link) + DRAIN_MS; link->on_line && link_now_ms(link) < end;)
		(void)link_wait_ms_locked(link, end - link_now_ms(link));
	pthread_mutex_unlock(&link->lock);
	eventfd_write(link->config.account.cancel_fd, 1);
	pthread_join(link->thread, NULL);
	release(link);
}

/* The link's thread is to look for more to do: where it sleeps, and where it awaits answers and could ask for this. */
static void wake_up_locked(struct link *link, const struct link_job *job)
{
	pthread_cond_signal(&link->wake);
	if (!link->on_line || !link->hungry || (job->ahead && !link_may_go_ahead_locked(link, job)))
		return;
	link->hungry = false;
	eventfd_write(link->wake_fd, 1);
}

void link_queue(struct link *link, struct link_job *job)
{
	struct link_job **list = list_of(link, job);

	job->given = job->finished = 0;
	pthread_mutex_lock(&link->lock);
	DL_APPEND(*list, job);
	wake_up_locked(link, job);
	pthread_mutex_unlock(&link->lock);
}

void link_promote(struct link *link, struct link_job *job)
{
	pthread_mutex_lock(&link->lock);
	if (job->ahead && job->given == 0) { /* else it is on its way, or was promoted before */
		DL_DELETE(link->ahead, job);
		job->ahead = false;
		DL_APPEND(link->queue, job);
		wake_up_locked(link, job);
	}
	pthread_mutex_unlock(&link->lock);
}

void link_status(struct link *link, struct link_status *status_r)
{
	pthread_mutex_lock(&link->lock);
	*status_r = link->status;
	pthread_mutex_unlock(&link->lock);
}
