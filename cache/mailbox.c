/* SPDX-License-Identifier: MIT */
/*
 * The table of messages, and how a listing gets into it: LIST from the link, headers of what is new, then
 * the hook that shows it. A listing that fails on the way changes nothing (QUIRKS L6). Bodies are in
 * bodies.c, deletions in deletions.c.
 *
 * One lock guards the table and the messages. It is a leaf: nothing is called under it but the link's queue.
 */
#include "cache/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/header.h"
#include "cache/mailbox_private.h"
#include "pop3/limits.h"

/* How often progress() is called while a listing is read. */
#define PROGRESS_MS 100

/* A refresh on its way: the listing, then the headers of what is new. */
struct refresh {
	struct link_job job;
	struct mailbox *mailbox;
	struct message **fresh, **gone; /* with a reference each */
	size_t n_fresh, n_gone;
	char *header; /* of the message that is being read */
	size_t header_len;
	struct header_digest digest;
	bool incomplete; /* out of memory while the listing was taken in */
};

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

void mailbox_take_out_locked(struct mailbox *mailbox, struct message *message)
{
	HASH_DEL(mailbox->table, message);
	if (message->state == MESSAGE_PENDING)
		mailbox->pending--;
	if (message->body == BODY_PRESENT) {
		mailbox->cached--;
		mailbox->cached_octets -= message->octets;
	}
	mailbox->unused -= message->unused;
	message->unused = false;
	message->state = MESSAGE_REMOVED;
}

/* A message that the table does not have yet; NULL: out of memory. */
static struct message *add_locked(struct mailbox *mailbox, const struct listing_entry *entry)
{
	struct message *message = calloc(1, sizeof(*message));

	if (!message || !(message->key = strdup(entry->key))) {
		free(message);
		return NULL;
	}
	message->mailbox = mailbox;
	message->refs = 1;
	message->listed = entry->octets;
	message->octets = entry->octets > 0 ? entry->octets : 1;
	message->seen = true;
	message->ino = ++mailbox->last_ino;
	HASH_ADD_KEYPTR(hh, mailbox->table, message->key, strlen(message->key), message);
	if (!message->hh.tbl) {
		free_message(message);
		return NULL;
	}
	return message;
}

static void free_refresh(struct refresh *refresh)
{
	for (size_t i = 0; i < refresh->n_fresh; i++)
		message_unref(refresh->fresh[i]); /* NOLINT(clang-analyzer-unix.Malloc): counted */
	for (size_t i = 0; i < refresh->n_gone; i++)
		message_unref(refresh->gone[i]);
	free(refresh->fresh);
	free(refresh->gone);
	free(refresh->header);
	free(refresh);
}

/* The end of a refresh, good or bad: whoever waits for the first one goes on. */
static void end_refresh(struct refresh *refresh, int err, const struct pop3_why *why)
{
	struct mailbox *mailbox = refresh->mailbox;

	pthread_mutex_lock(&mailbox->lock);
	mailbox->refreshing = false;
	if (!mailbox->loaded) {
		mailbox->load_err = err;
		if (err)
			mailbox->load_why = *why;
	}
	if (!err) {
		mailbox->loaded = true;
		mailbox->listed_time = time(NULL);
	}
	pthread_cond_broadcast(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
	mailbox->hooks.refreshed(mailbox->hooks.ctx, err);
	free_refresh(refresh);
}

/* Shows what is new and takes away what is gone. */
static void publish(struct refresh *refresh)
{
	struct mailbox *mailbox = refresh->mailbox;

	pthread_mutex_lock(&mailbox->lock);
	for (size_t i = 0; i < refresh->n_fresh; i++)
		refresh->fresh[i]->state = MESSAGE_SHOWN;
	for (size_t i = 0; i < refresh->n_gone; i++) {
		if (refresh->gone[i]->state == MESSAGE_REMOVED)
			continue; /* a commit has found it gone meanwhile */
		mailbox_take_out_locked(mailbox, refresh->gone[i]);
		message_unref(refresh->gone[i]); /* the table's */
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (refresh->n_fresh + refresh->n_gone > 0)
		mailbox->hooks.listed(mailbox->hooks.ctx, refresh->fresh, refresh->n_fresh, refresh->gone,
				      refresh->n_gone);
}

/* Forgets the new messages of a refresh that did not come to its end; the next one finds them again. */
static void withdraw(struct refresh *refresh)
{
	pthread_mutex_lock(&refresh->mailbox->lock);
	for (size_t i = 0; i < refresh->n_fresh; i++) {
		mailbox_take_out_locked(refresh->mailbox, refresh->fresh[i]);
		message_unref(refresh->fresh[i]); /* the table's */
	}
	pthread_mutex_unlock(&refresh->mailbox->lock);
}

static struct refresh *refresh_of(struct link_job *job)
{
	return (struct refresh *)job; /* the job is its first member */
}

static const char *header_key(struct link_job *job, size_t i)
{
	return refresh_of(job)->fresh[i]->key;
}

static int header_begin(struct link_job *job, size_t i)
{
	(void)i;
	refresh_of(job)->header_len = 0;
	refresh_of(job)->digest = (struct header_digest){ 0 };
	return 0;
}

/* Keeps the first POP3_MAX_HEADER octets (T3). */
static int header_data(struct link_job *job, size_t i, const char *octets, size_t len)
{
	struct refresh *refresh = refresh_of(job);
	size_t room = POP3_MAX_HEADER - refresh->header_len;

	(void)i;
	header_digest_add(&refresh->digest, octets, len);
	if (len > room)
		len = room;
	memcpy(refresh->header + refresh->header_len, octets, len);
	refresh->header_len += len;
	return 0;
}

static void header_item(struct link_job *job, size_t i, enum pop3_err err)
{
	struct refresh *refresh = refresh_of(job);
	struct envelope *envelope = err ? NULL : envelope_parse(refresh->header, refresh->header_len);

	pthread_mutex_lock(&refresh->mailbox->lock);
	refresh->fresh[i]->envelope = envelope;
	refresh->fresh[i]->header_digest = err ? 0 : refresh->digest.value;
	refresh->mailbox->headers_done++;
	pthread_mutex_unlock(&refresh->mailbox->lock);
}

static void headers_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct refresh *refresh = refresh_of(job);

	if (err)
		withdraw(refresh);
	else
		publish(refresh);
	end_refresh(refresh, pop3_errno(err), why);
}

/* Sorts a listing's messages into known, new and gone. */
static void take_listing(struct link_job *job, const struct listing *listing)
{
	struct refresh *refresh = refresh_of(job);
	struct mailbox *mailbox = refresh->mailbox;
	size_t n = listing_count(listing), known = 0;
	struct message *message, *next;

	pthread_mutex_lock(&mailbox->lock);
	refresh->fresh = calloc(n + 1, sizeof(struct message *));
	refresh->gone = calloc(HASH_COUNT(mailbox->table) + 1, sizeof(struct message *));
	refresh->incomplete = !refresh->fresh || !refresh->gone;
	HASH_ITER(hh, mailbox->table, message, next)
		message->seen = false;
	for (size_t i = 0; !refresh->incomplete && i < n; i++) {
		const struct listing_entry *entry = listing_at(listing, i);

		HASH_FIND_STR(mailbox->table, entry->key, message);
		if (message) {
			message->seen = true;
			known++;
		} else if ((message = add_locked(mailbox, entry))) {
			refresh->fresh[refresh->n_fresh++] = message_ref(message);
		} else {
			refresh->incomplete = true;
		}
	}
	HASH_ITER(hh, mailbox->table, message, next)
		if (!refresh->incomplete && !message->seen && !message->in_commit)
			refresh->gone[refresh->n_gone++] = message_ref(message);
	mailbox->headers_total = refresh->n_fresh;
	mailbox->headers_done = 0;
	pthread_mutex_unlock(&mailbox->lock);
}

/* The listing is in: now the headers of what is new, in the same session. */
static void listing_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	static const struct pop3_why no_memory = { "out of memory" };
	struct refresh *refresh = refresh_of(job);

	if (!err && !refresh->incomplete && refresh->n_fresh > 0)
		refresh->header = malloc(POP3_MAX_HEADER);
	if (!err && (refresh->incomplete || (refresh->n_fresh > 0 && !refresh->header))) {
		err = POP3_E_MEMORY;
		why = &no_memory;
	}
	if (err) {
		withdraw(refresh);
		end_refresh(refresh, pop3_errno(err), why);
	} else if (refresh->n_fresh == 0) {
		publish(refresh);
		end_refresh(refresh, 0, NULL);
	} else {
		refresh->job = (struct link_job){ .kind = LINK_HEADERS,
						  .count = refresh->n_fresh,
						  .key = header_key,
						  .begin = header_begin,
						  .data = header_data,
						  .item = header_item,
						  .done = headers_done };
		link_queue(refresh->mailbox->link, &refresh->job);
	}
}

int mailbox_refresh(struct mailbox *mailbox)
{
	struct refresh *refresh = calloc(1, sizeof(*refresh));

	if (!refresh)
		return -ENOMEM;
	refresh->mailbox = mailbox;
	refresh->job = (struct link_job){ .kind = LINK_LIST, .listing = take_listing, .done = listing_done };
	pthread_mutex_lock(&mailbox->lock);
	if (mailbox->refreshing) {
		free(refresh);
	} else {
		mailbox->refreshing = true;
		mailbox->asked_ms = transport_now_ms();
		link_queue(mailbox->link, &refresh->job);
	}
	pthread_mutex_unlock(&mailbox->lock);
	return 0;
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
	struct message *message, *next;

	*status_r = (struct mailbox_status){ 0 };
	link_status(mailbox->link, &status_r->link);
	pthread_mutex_lock(&mailbox->lock);
	HASH_ITER(hh, mailbox->table, message, next) {
		if (message->state != MESSAGE_SHOWN)
			continue;
		status_r->messages++;
		status_r->octets += message->octets;
	}
	status_r->pending = mailbox->pending;
	status_r->cached = mailbox->cached;
	status_r->ahead = mailbox->ahead;
	status_r->unused = mailbox->unused;
	status_r->cached_octets = mailbox->cached_octets;
	status_r->listed = mailbox->listed_time;
	status_r->commit = mailbox->report;
	pthread_mutex_unlock(&mailbox->lock);
}
