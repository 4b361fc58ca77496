/* SPDX-License-Identifier: MIT */
/*
 * The table of messages and its life. Listings are in refresh.c, bodies in bodies.c, their bound in space.c,
 * deletions in deletions.c, and what outlives the mount in keeper.c.
 *
 * One lock guards the table and the messages. It is a leaf: nothing is called under it but the link's queue and the
 * opening of a body. The index has a lock of its own and may wait for the disk; it is never called under this one.
 */
#include "cache/mailbox.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "cache/mailbox_private.h"

/* How often progress() is called while a listing is read. */
#define PROGRESS_MS 100
/* With a listing that is remembered, the mount waits no longer than this for a server that says nothing. */
#define OFFLINE_WAIT_MS 5000

struct message *message_new(struct mailbox *mailbox, const char *key, uint64_t listed)
{
	size_t size = strlen(key) + 1;
	struct message *message = calloc(1, sizeof(*message) + size);

	if (!message)
		return NULL;
	memcpy(message->key, key, size);
	message->mailbox = mailbox;
	message->refs = 1;
	message->listed = listed;
	message->octets = listed > 0 ? listed : 1;
	message->fd = -1;
	return message;
}

void message_recall(struct message *message, const struct index_row *row)
{
	message->ino = row->id;
	message->listed = row->listed;
	message->octets = row->octets;
	message->exact = row->exact;
	message->stamp = row->stamp;
	message->body = row->stamp ? BODY_PRESENT : BODY_ABSENT;
	message->synced = row->stamp != 0;
	message->header = row->header;
	message->header_digest = row->digest;
	message->mtime = (uint32_t)row->mtime;
	message->ctime = (uint32_t)row->ctime;
	message->used = (uint32_t)row->used;
	message->name = row->name ? strdup(row->name) : NULL;
	message->doomed = row->pending;
}

void message_set_times(struct message *message)
{
	int64_t mtime, ctime;

	envelope_times(message->envelope, message->mailbox->started, &mtime, &ctime);
	message->mtime = (uint32_t)mtime; /* it is neither before 1971 nor far ahead */
	message->ctime = (uint32_t)ctime;
}

/* The body of a deleted message goes with it, unless a new message has come to its key. */
static void drop_body(struct message *message)
{
	struct mailbox *mailbox = message->mailbox;
	struct message *successor;

	pthread_mutex_lock(&mailbox->lock);
	HASH_FIND_STR(mailbox->table, message->key, successor);
	pthread_mutex_unlock(&mailbox->lock);
	if (!successor)
		store_remove(mailbox->store, message->key);
}

static void free_message(struct message *message)
{
	if (message->state == MESSAGE_REMOVED && message->body == BODY_PRESENT && (message->drop || message->stamp == 0))
		drop_body(message);
	if (message->fd >= 0)
		close(message->fd);
	free(message->envelope);
	free(message->name);
	free(message);
}

struct message *message_ref(struct message *message)
{
	atomic_fetch_add(&message->refs, 1);
	return message;
}

void message_unref(struct message *message)
{
	if (message && atomic_fetch_sub(&message->refs, 1) == 1)
		free_message(message);
}

uint64_t message_ino(const struct message *message)
{
	return message->ino;
}

const char *message_key(const struct message *message)
{
	return message->key;
}

bool message_is_transient(const struct message *message)
{
	return listing_key_kind(message->key) == LISTING_KEYS_SESSION;
}

const char *message_name(const struct message *message)
{
	return message->name;
}

int mailbox_set_name(struct mailbox *mailbox, struct message *message, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	pthread_mutex_lock(&mailbox->lock);
	free(message->name);
	message->name = copy;
	keeper_mark_locked(message);
	pthread_mutex_unlock(&mailbox->lock);
	return 0;
}

struct envelope *mailbox_envelope(struct mailbox *mailbox, struct message *message)
{
	struct envelope *envelope = NULL;
	bool recorded;

	pthread_mutex_lock(&mailbox->lock);
	recorded = !message->envelope;
	if (!recorded)
		envelope = envelope_copy(message->envelope);
	pthread_mutex_unlock(&mailbox->lock);
	return recorded ? index_envelope(mailbox->index, message->ino) : envelope;
}

void mailbox_facts(struct mailbox *mailbox, struct message *message, struct message_facts *facts_r)
{
	pthread_mutex_lock(&mailbox->lock);
	facts_r->octets = message->octets;
	facts_r->listed = message->listed;
	facts_r->exact = message->exact;
	facts_r->pending = message->state == MESSAGE_PENDING;
	facts_r->mtime = message->mtime;
	facts_r->ctime = message->ctime;
	pthread_mutex_unlock(&mailbox->lock);
}

void mailbox_count_locked(const struct message *message, int sign)
{
	struct mailbox_counts *counts = &message->mailbox->counts;
	const uint64_t octets = sign < 0 ? -message->octets : message->octets; /* modulo 2^64, as the sums are */
	bool shown = message->state == MESSAGE_SHOWN, pending = message->state == MESSAGE_PENDING;
	bool cached = message->state != MESSAGE_REMOVED && message->body == BODY_PRESENT;

	counts->shown += shown ? sign : 0;
	counts->octets += shown ? octets : 0;
	counts->pending += pending ? sign : 0;
	counts->estimated += (shown || pending) && !message->exact ? sign : 0;
	counts->cached += cached ? sign : 0;
	counts->cached_octets += cached ? octets : 0;
}

void mailbox_set_state_locked(struct message *message, enum message_state state)
{
	mailbox_count_locked(message, -1);
	message->state = state;
	mailbox_count_locked(message, 1);
}

void mailbox_set_body_locked(struct message *message, enum body_state body)
{
	struct mailbox *mailbox = message->mailbox;
	bool listed = message->state != MESSAGE_REMOVED;

	if (listed && message->body == BODY_PRESENT)
		DL_DELETE(mailbox->bodies, message);
	mailbox_count_locked(message, -1);
	message->body = body;
	mailbox_count_locked(message, 1);
	if (listed && message->body == BODY_PRESENT)
		DL_APPEND(mailbox->bodies, message);
}

bool mailbox_put_in_locked(struct mailbox *mailbox, struct message *message)
{
	size_t len = strlen(message->key);

	HASH_ADD_KEYPTR(hh, mailbox->table, message->key, len, message);
	if (!message->hh.tbl)
		return false;
	mailbox_count_locked(message, 1);
	if (message->body == BODY_PRESENT)
		DL_APPEND(mailbox->bodies, message);
	return true;
}

void mailbox_take_out_locked(struct mailbox *mailbox, struct message *message)
{
	body_pin_locked(message);
	HASH_DEL(mailbox->table, message);
	if (message->body == BODY_PRESENT)
		DL_DELETE(mailbox->bodies, message);
	mailbox->unused -= message->unused;
	message->unused = false;
	mailbox_set_state_locked(message, MESSAGE_REMOVED);
}

bool mailbox_promise_exact(struct mailbox *mailbox)
{
	bool promised;

	pthread_mutex_lock(&mailbox->lock);
	if (mailbox->loaded && mailbox->counts.estimated == 0)
		mailbox->exact_only = true;
	promised = mailbox->exact_only;
	pthread_mutex_unlock(&mailbox->lock);
	return promised;
}

int64_t mailbox_age_ms(struct mailbox *mailbox)
{
	int64_t age;

	pthread_mutex_lock(&mailbox->lock);
	age = transport_now_ms() - mailbox->asked_ms;
	pthread_mutex_unlock(&mailbox->lock);
	return age;
}

/* Shows what is remembered. */
static int show_known(struct mailbox *mailbox)
{
	struct message **known = calloc(HASH_COUNT(mailbox->table) + 1, sizeof(struct message *));
	struct message *message, *next;
	size_t count = 0;

	if (!known)
		return -ENOMEM;
	HASH_ITER(hh, mailbox->table, message, next)
		known[count++] = message;
	if (count > 0)
		mailbox->hooks.listed(mailbox->hooks.ctx, known, count, NULL, 0);
	free(known);
	return 0;
}

/* The server is not there for now: what is remembered has to do. */
static bool is_absence(enum pop3_err err)
{
	return err == POP3_E_RESOLVE || err == POP3_E_REFUSED || err == POP3_E_UNREACHABLE || err == POP3_E_TIMEOUT ||
	       err == POP3_E_CLOSED || err == POP3_E_IN_USE || err == POP3_E_TEMPORARY || err == POP3_E_LOGIN_DELAY;
}

/* Waits for the listing, under lock; false: it takes longer than a remembered one need wait. */
static bool wait_for_listing_locked(struct mailbox *mailbox, void (*progress)(void *ctx, size_t done, size_t total),
				    void *ctx)
{
	int64_t end = transport_now_ms() + OFFLINE_WAIT_MS;

	while (mailbox->refreshing && !mailbox->aborted) {
		size_t done = mailbox->headers_done, total = mailbox->headers_total;
		struct timespec until;

		if (mailbox->known && total == 0 && transport_now_ms() > end)
			return false;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += PROGRESS_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&mailbox->changed, &mailbox->lock, &until);
		if (progress && total > 0) {
			pthread_mutex_unlock(&mailbox->lock);
			progress(ctx, done, total);
			pthread_mutex_lock(&mailbox->lock);
		}
	}
	return true;
}

/* Goes on with the listing that is remembered. */
static void start_offline(struct mailbox *mailbox, const struct pop3_why *why)
{
	struct tm tm;
	char text[700], when[32] = "";
	time_t listed = (time_t)mailbox->listed_time;

	if (gmtime_r(&listed, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", &tm);
	snprintf(text, sizeof(text), "%s; showing the mailbox as it was at %s, looking again from time to time", why->text, when);
	mailbox->hooks.note(mailbox->hooks.ctx, text);
}

int mailbox_load(struct mailbox *mailbox, void (*progress)(void *ctx, size_t done, size_t total), void *ctx,
		 struct pop3_why *why)
{
	bool offline;
	int err = show_known(mailbox);

	if (!err)
		err = mailbox_refresh(mailbox, true);
	if (err) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return err;
	}
	pthread_mutex_lock(&mailbox->lock);
	if (!wait_for_listing_locked(mailbox, progress, ctx)) {
		err = -ETIMEDOUT;
		pop3_fail(why, POP3_E_TIMEOUT, "the server has not answered yet");
		offline = true;
	} else {
		err = mailbox->load_err;
		*why = mailbox->load_why;
		offline = mailbox->known && is_absence(mailbox->load_cause);
	}
	if (mailbox->aborted)
		err = pop3_errno(pop3_fail(why, POP3_E_STOPPED, "interrupted"));
	mailbox->loaded |= err && offline && !mailbox->aborted;
	err = mailbox->aborted ? -EINTR : mailbox->loaded ? 0 : err;
	pthread_mutex_unlock(&mailbox->lock);
	if (!err && offline)
		start_offline(mailbox, why);
	malloc_trim(0); /* what it took to fill the table */
	return err;
}

void mailbox_abort(struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	mailbox->aborted = true;
	pthread_cond_broadcast(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
}

/* What the link has to say. */
static void note(void *ctx, const char *text)
{
	const struct mailbox *mailbox = ctx;

	mailbox->hooks.note(mailbox->hooks.ctx, text);
}

/* The server could not be reached for a while: all that may be different now comes with a listing. */
static void look_again(void *ctx)
{
	(void)mailbox_refresh(ctx, true);
}

int mailbox_new(const struct mailbox_config *config, struct mailbox **mailbox_r, struct pop3_why *why)
{
	struct link_config link_config = { .account = config->account,
					   .idle_ms = config->idle_ms,
					   .pipelining = config->pipelining,
					   .note = note };
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	enum pop3_err link_err;
	int err;

	if (!mailbox) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return -ENOMEM;
	}
	envelope_init();
	mailbox->hooks = config->hooks;
	mailbox->cache_size = config->cache_size;
	mailbox->started = time(NULL);
	pthread_mutex_init(&mailbox->lock, NULL);
	pthread_cond_init(&mailbox->changed, NULL);
	err = mailbox_recall(mailbox, config, why);
	if (!err && (err = keeper_start(mailbox)) != 0)
		pop3_fail(why, POP3_E_MEMORY, "cannot start a thread");
	if (err) {
		mailbox_free(mailbox);
		return err;
	}
	link_config.keys = mailbox->table ? listing_key_kind(mailbox->table->key) : LISTING_KEYS_NONE;
	link_config.look_again = look_again;
	link_config.ctx = mailbox;
	link_err = link_new(&link_config, &mailbox->link, why);
	if (link_err) {
		mailbox_free(mailbox);
		return pop3_errno(link_err);
	}
	*mailbox_r = mailbox;
	return 0;
}

void mailbox_stop(struct mailbox *mailbox)
{
	link_free(mailbox->link);
	mailbox->link = NULL;
	keeper_stop(mailbox);
}

void mailbox_free(struct mailbox *mailbox)
{
	struct message *message, *next;

	if (!mailbox)
		return;
	keeper_stop(mailbox);
	HASH_ITER(hh, mailbox->table, message, next) {
		HASH_DEL(mailbox->table, message); /* NOLINT(clang-analyzer-unix.Malloc): counted */
		message_unref(message);
	}
	store_free(mailbox->store);
	index_close(mailbox->index);
	place_close(mailbox->place);
	pthread_cond_destroy(&mailbox->changed);
	pthread_mutex_destroy(&mailbox->lock);
	free(mailbox);
}

void mailbox_status(struct mailbox *mailbox, struct mailbox_status *status_r)
{
	*status_r = (struct mailbox_status){ 0 };
	link_status(mailbox->link, &status_r->link);
	pthread_mutex_lock(&mailbox->lock);
	status_r->messages = mailbox->counts.shown;
	status_r->octets = mailbox->counts.octets;
	status_r->pending = mailbox->counts.pending;
	status_r->cached = mailbox->counts.cached;
	status_r->cached_octets = mailbox->counts.cached_octets + mailbox->gone_octets;
	status_r->cache_size = mailbox->cache_size;
	status_r->cache = mailbox->place ? place_bodies(mailbox->place) : NULL;
	status_r->ahead = mailbox->ahead;
	status_r->unused = mailbox->unused;
	status_r->listed = mailbox->listed_time;
	status_r->commit = mailbox->report;
	pthread_mutex_unlock(&mailbox->lock);
}
