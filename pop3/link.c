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

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "pop3/link_private.h"

/* After a refused login none is tried for this long but for a commit: servers lock accounts (S3, S21). */
#define REFUSED_LOGIN_MS 60000
/* First wait when the maildrop is in use (S1); doubles until one time-out is spent. */
#define IN_USE_WAIT_MS 250

/* How long to wait before looking for a server that cannot be reached: at first, and at most. */
#define LOOK_WAIT_MS 1000
#define LOOK_WAIT_MAX_MS 60000
/* At the end, what is on the line gets so long to come in: else it would have to be asked for again. */
#define DRAIN_MS 2000
/* The clocks that count a suspend and that do not are this far apart only after one. */
#define SUSPEND_MS 1000

static int64_t now_ms(const struct link *link)
{
	return link->config.clock->now_ms(link->config.clock->ctx);
}

/* Waits for a job or the end; ETIMEDOUT after so long. Under lock. */
static int wait_ms(struct link *link, int64_t ms)
{
	return link->config.clock->wait(link->config.clock->ctx, &link->wake, &link->lock, ms);
}

static int64_t slept_ms(const struct link *link)
{
	return link->config.clock->slept_ms(link->config.clock->ctx);
}

static bool has_slept(const struct link *link, int64_t since_ms)
{
	return slept_ms(link) - since_ms > SUSPEND_MS;
}

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

void link_drop_session(struct link *link)
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
		link_failed(link, &why);
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

/* Sleeps, but not past the end of the link. */
static void pause_ms(struct link *link, int64_t ms)
{
	int64_t end = now_ms(link) + ms;

	pthread_mutex_lock(&link->lock);
	while (!link->stopping && now_ms(link) < end)
		if (wait_ms(link, end - now_ms(link)) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&link->lock);
}

/* A login; while another client has the maildrop, or the server has a passing fault, again for a time. */
static enum pop3_err open_session(struct link *link, struct pop3_why *why)
{
	int64_t end = now_ms(link) + link->config.account.timeout_ms;
	int64_t wait = IN_USE_WAIT_MS;

	for (;;) {
		enum pop3_err err = session_open(&link->config.account, &link->session, why);
		bool passing = err == POP3_E_IN_USE || err == POP3_E_TEMPORARY || err == POP3_E_LOGIN_DELAY;

		if (!passing || now_ms(link) + wait > end || link_is_stopping(link))
			return err;
		if (wait == IN_USE_WAIT_MS)
			link_note(link, "login", why, "trying again");
		pause_ms(link, wait);
		wait *= 2;
	}
}

/* Keys are of one kind: a server that loses its UIDL, or gets one, must not make all messages look new. */
static enum pop3_err check_keys(struct link *link, struct pop3_why *why)
{
	static const char *const names[] = { "", "unique-ids", "their headers", "their numbers only" };
	const struct listing *listing = session_listing(link->session);
	enum listing_keys keys;

	if (listing_count(listing) == 0)
		return POP3_OK;
	keys = listing_key_kind(listing_at(listing, 0)->key);
	if (link->keys != LISTING_KEYS_NONE && link->keys != keys)
		return pop3_fail(why, POP3_E_PROTOCOL,
				 "the server has changed: messages can be known by %s now, and were known by %s before",
				 names[keys], names[link->keys]);
	link->keys = keys;
	return POP3_OK;
}

/* The server cannot be reached: from now on it is looked for now and then, and nobody waits for it. */
static void go_down(struct link *link, enum pop3_err err, const struct pop3_why *why)
{
	bool first = link->look_wait_ms == 0;

	link->look_wait_ms = first ? LOOK_WAIT_MS : 2 * link->look_wait_ms;
	if (link->look_wait_ms > LOOK_WAIT_MAX_MS)
		link->look_wait_ms = LOOK_WAIT_MAX_MS;
	link->look_ms = now_ms(link) + link->look_wait_ms;
	pthread_mutex_lock(&link->lock);
	link->down_err = err;
	link->down_slept_ms = slept_ms(link);
	if (first)
		link->status.down_since = time(NULL);
	pthread_mutex_unlock(&link->lock);
	if (first && link->had_session) /* else it is for the caller to say what becomes of a first login */
		link_note(link, "offline", why, "looking again from time to time");
}

static void go_up(struct link *link)
{
	bool was_down = link->look_wait_ms > 0;

	link->look_wait_ms = 0;
	pthread_mutex_lock(&link->lock);
	link->down_err = POP3_OK;
	link->status.down_since = 0;
	pthread_mutex_unlock(&link->lock);
	if (was_down)
		link->config.note(link->config.ctx, "online again");
}

int link_down(struct link *link)
{
	int err;

	pthread_mutex_lock(&link->lock);
	err = link->down_err && !has_slept(link, link->down_slept_ms) ? pop3_errno(link->down_err) : 0;
	pthread_mutex_unlock(&link->lock);
	return err;
}

static bool is_unreachable(enum pop3_err err)
{
	return err == POP3_E_RESOLVE || err == POP3_E_REFUSED || err == POP3_E_UNREACHABLE || err == POP3_E_TIMEOUT;
}

/* A session with its listing; sizes: with LIST's sizes. */
static enum pop3_err need_session(struct link *link, bool sizes, struct pop3_why *why)
{
	const struct listing *listing;
	enum pop3_err err = POP3_OK;

	if (link->session && (has_slept(link, link->session_slept_ms) || !session_is_fresh(link->session)))
		link_drop_session(link);
	link->session_slept_ms = slept_ms(link);
	if (link->renew)
		hang_up(link);
	link->renew = false;
	if (!link->session) {
		if (now_ms(link) < link->refused_until_ms) {
			*why = link->refused_why;
			return link->refused_err;
		}
		err = open_session(link, why);
		if (err == POP3_E_AUTH || err == POP3_E_SECRET) {
			link->refused_until_ms = now_ms(link) + REFUSED_LOGIN_MS;
			link->refused_err = err;
			link->refused_why = *why;
		}
		if (is_unreachable(err))
			go_down(link, err, why);
		if (err)
			return err;
		go_up(link);
		link->had_session = true;
		link->login_ms = now_ms(link);
		set_connected(link, true);
	}
	err = session_list(link->session, sizes, &listing, why);
	if (!err)
		err = check_keys(link, why);
	if (err)
		link_drop_session(link);
	link->used_ms = now_ms(link);
	return err;
}

/* A loss that a new session may repair. */
bool link_is_loss(enum pop3_err err)
{
	return err == POP3_E_CLOSED || err == POP3_E_PROTOCOL || err == POP3_E_TEMPORARY;
}

/* need_session(), once more after a loss. */
enum pop3_err link_need_session(struct link *link, bool sizes, struct pop3_why *why)
{
	enum pop3_err err = need_session(link, sizes, why);

	if (!link_is_loss(err))
		return err;
	link_note(link, "session lost", why, "trying again");
	return need_session(link, sizes, why);
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
	int64_t since_s = (now_ms(link) - link->login_ms) / 1000;

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
	if (err && is_open(job) && !need_session(link, false, &ignored) &&
	    commit_compare(job->deletions, job->count, session_listing(link->session)) == 0)
		err = POP3_OK;
	link_finish(link, job, err, &why);
}

static void look_again(struct link *link)
{
	link->look_ms = now_ms(link) + link->look_wait_ms;
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
		return hang_up;
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
		} else if (now_ms(link) < due_ms) {
			(void)wait_ms(link, due_ms - now_ms(link));
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
	hang_up(link);
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
	for (end = now_ms(link) + DRAIN_MS; link->on_line && now_ms(link) < end;)
		(void)wait_ms(link, end - now_ms(link));
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
