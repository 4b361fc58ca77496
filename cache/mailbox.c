/* SPDX-License-Identifier: MIT */
/*
 * The table of messages and its life. Listings are in refresh.c, bodies in bodies.c, deletions in
 * deletions.c.
 *
 * One lock guards the table and the messages. It is a leaf: nothing is called under it but the link's queue.
 */
#include "cache/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/mailbox_private.h"

/* How often progress() is called while a listing is read. */
#define PROGRESS_MS 100

static void free_message(struct message *message)
{
	if (message->state == MESSAGE_REMOVED && message->body == BODY_PRESENT)
		store_remove(message->mailbox->store, message->key);
	free(message->envelope);
	free(message->key);
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

void mailbox_facts(struct mailbox *mailbox, struct message *message, struct message_facts *facts_r)
{
	pthread_mutex_lock(&mailbox->lock);
	facts_r->octets = message->octets;
	facts_r->listed = message->listed;
	facts_r->exact = message->exact;
	facts_r->envelope = message->envelope;
	pthread_mutex_unlock(&mailbox->lock);
	envelope_times(facts_r->envelope, mailbox->started, &facts_r->mtime, &facts_r->ctime);
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

void mailbox_take_out_locked(struct mailbox *mailbox, struct message *message)
{
	HASH_DEL(mailbox->table, message);
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

int mailbox_load(struct mailbox *mailbox, void (*progress)(void *ctx, size_t done, size_t total), void *ctx,
		 struct pop3_why *why)
{
	int err;

	err = mailbox_refresh(mailbox);
	if (err) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return err;
	}
	pthread_mutex_lock(&mailbox->lock);
	while (mailbox->refreshing && !mailbox->aborted) {
		size_t done = mailbox->headers_done, total = mailbox->headers_total;
		struct timespec until;

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
	err = mailbox->aborted ? -EINTR : mailbox->load_err;
	if (mailbox->aborted)
		pop3_fail(why, POP3_E_STOPPED, "interrupted");
	else if (err)
		*why = mailbox->load_why;
	pthread_mutex_unlock(&mailbox->lock);
	return err;
}

void mailbox_abort(struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	mailbox->aborted = true;
	pthread_cond_broadcast(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
}

int mailbox_new(const struct mailbox_config *config, struct mailbox **mailbox_r, struct pop3_why *why)
{
	const struct link_config link_config = { .account = config->account,
						 .idle_ms = config->idle_ms,
						 .pipelining = config->pipelining,
						 .note = config->hooks.note,
						 .ctx = config->hooks.ctx };
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	enum pop3_err link_err;
	int err;

	if (!mailbox) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return -ENOMEM;
	}
	envelope_init();
	mailbox->hooks = config->hooks;
	mailbox->started = time(NULL);
	mailbox->last_ino = MAILBOX_FIRST_INO - 1;
	pthread_mutex_init(&mailbox->lock, NULL);
	pthread_cond_init(&mailbox->changed, NULL);
	err = store_new(config->cache_dir, &mailbox->store);
	if (err) {
		pop3_fail(why, POP3_E_LOCAL, "cache_dir=%s: %s", config->cache_dir, strerror(-err));
		mailbox_free(mailbox);
		return err;
	}
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
}

void mailbox_free(struct mailbox *mailbox)
{
	struct message *message, *next;

	if (!mailbox)
		return;
	HASH_ITER(hh, mailbox->table, message, next) {
		HASH_DEL(mailbox->table, message); /* NOLINT(clang-analyzer-unix.Malloc): counted */
		message_unref(message);
	}
	store_free(mailbox->store);
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
	status_r->cached_octets = mailbox->counts.cached_octets;
	status_r->ahead = mailbox->ahead;
	status_r->unused = mailbox->unused;
	status_r->listed = mailbox->listed_time;
	status_r->commit = mailbox->report;
	pthread_mutex_unlock(&mailbox->lock);
}
