/* SPDX-License-Identifier: MIT */
/*
 * The life of the link's session: when one is opened and when that must wait, whether it is good for another job,
 * how it is left; and what is known of a server that cannot be reached.
 */
#include <errno.h>
#include <time.h>

#include "pop3/link_private.h"

/* After a refused login none is tried for this long but for a commit: servers lock accounts (S3, S21). */
#define REFUSED_LOGIN_MS 60000
/* First wait when the maildrop is in use (S1); doubles until one time-out is spent. */
#define IN_USE_WAIT_MS 250
/* How long to wait before looking for a server that cannot be reached: at first, and at most. */
#define LOOK_WAIT_MS 1000
#define LOOK_WAIT_MAX_MS 60000

void link_set_connected(struct link *link, bool connected)
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
	link_set_connected(link, false);
}

/* With EXPIRE 0 a QUIT would remove what was retrieved (S5). */
void link_hang_up(struct link *link)
{
	struct session *session = link->session;
	struct pop3_why why;

	if (!session)
		return;
	link->session = NULL;
	link_set_connected(link, false);
	if (session_has_deleted(session) || (session_capa(session)->expire_0 && session_has_retrieved(session)))
		session_drop(session);
	else if (session_quit(session, &why))
		link_failed(link, &why);
}

/* Sleeps, but not past the end of the link. */
static void pause_ms(struct link *link, int64_t ms)
{
	int64_t end = link_now_ms(link) + ms;

	pthread_mutex_lock(&link->lock);
	while (!link->stopping && link_now_ms(link) < end)
		if (link_wait_ms_locked(link, end - link_now_ms(link)) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&link->lock);
}

/* A login; while another client has the maildrop, or the server has a passing fault, again for a time. */
static enum pop3_err open_session(struct link *link, struct pop3_why *why)
{
	int64_t end = link_now_ms(link) + link->config.account.timeout_ms;
	int64_t wait = IN_USE_WAIT_MS;

	for (;;) {
		enum pop3_err err = session_open(&link->config.account, &link->session, why);
		bool passing = err == POP3_E_IN_USE || err == POP3_E_TEMPORARY || err == POP3_E_LOGIN_DELAY;

		if (!passing || link_now_ms(link) + wait > end || link_is_stopping(link))
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
	link->look_ms = link_now_ms(link) + link->look_wait_ms;
	pthread_mutex_lock(&link->lock);
	link->down_err = err;
	link->down_slept_ms = link_slept_ms(link);
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
	err = link->down_err && !link_has_slept(link, link->down_slept_ms) ? pop3_errno(link->down_err) : 0;
	pthread_mutex_unlock(&link->lock);
	return err;
}

static bool is_unreachable(enum pop3_err err)
{
	return err == POP3_E_RESOLVE || err == POP3_E_REFUSED || err == POP3_E_UNREACHABLE || err == POP3_E_TIMEOUT;
}

/* A session, but not so soon after a refused login. */
static enum pop3_err begin_session(struct link *link, struct pop3_why *why)
{
	enum pop3_err err;

	if (link_now_ms(link) < link->refused_until_ms) {
		*why = link->refused_why;
		return link->refused_err;
	}
	err = open_session(link, why);
	if (err == POP3_E_AUTH || err == POP3_E_SECRET) {
		link->refused_until_ms = link_now_ms(link) + REFUSED_LOGIN_MS;
		link->refused_err = err;
		link->refused_why = *why;
	}
	if (is_unreachable(err))
		go_down(link, err, why);
	if (err)
		return err;
	go_up(link);
	link->had_session = true;
	link->login_ms = link_now_ms(link);
	link_set_connected(link, true);
	return POP3_OK;
}

enum pop3_err link_try_session(struct link *link, bool sizes, struct pop3_why *why)
{
	const struct listing *listing;
	enum pop3_err err = POP3_OK;

	if (link->session && (link_has_slept(link, link->session_slept_ms) || !session_is_fresh(link->session)))
		link_drop_session(link);
	link->session_slept_ms = link_slept_ms(link);
	if (link->renew)
		link_hang_up(link);
	link->renew = false;
	if (!link->session)
		err = begin_session(link, why);
	if (err)
		return err;
	err = session_list(link->session, sizes, &listing, why);
	if (!err)
		err = check_keys(link, why);
	if (err)
		link_drop_session(link);
	link->used_ms = link_now_ms(link);
	return err;
}

bool link_is_loss(enum pop3_err err)
{
	return err == POP3_E_CLOSED || err == POP3_E_PROTOCOL || err == POP3_E_TEMPORARY;
}

enum pop3_err link_need_session(struct link *link, bool sizes, struct pop3_why *why)
{
	enum pop3_err err = link_try_session(link, sizes, why);

	if (!link_is_loss(err))
		return err;
	link_note(link, "session lost", why, "trying again");
	return link_try_session(link, sizes, why);
}
