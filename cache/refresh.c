/* SPDX-License-Identifier: MIT */
/*
 * How a listing gets into the table: LIST from the link, headers of what is new, then the hook that shows it.
 * Where exact sizes are promised (DESIGN 11), what is new is fetched before it is shown, each when it has come.
 * A listing that fails on the way changes nothing (QUIRKS L6).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/header.h"
#include "cache/mailbox_private.h"
#include "pop3/limits.h"

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
	size_t left;   /* messages that have to be fetched before they are shown, and finish_refresh() itself */
	int fetch_err; /* of the last of them that failed */
};

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
		free(message->key);
		free(message);
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

/* Takes away what is gone, and shows what is new, unless that has to be fetched before. */
static void publish(struct refresh *refresh)
{
	struct mailbox *mailbox = refresh->mailbox;
	size_t shown = 0;

	pthread_mutex_lock(&mailbox->lock);
	refresh->left = 1;
	if (mailbox->exact_only)
		refresh->left += refresh->n_fresh;
	else
		shown = refresh->n_fresh;
	for (size_t i = 0; i < shown; i++)
		mailbox_set_state_locked(refresh->fresh[i], MESSAGE_SHOWN);
	for (size_t i = 0; i < refresh->n_gone; i++) {
		if (refresh->gone[i]->state == MESSAGE_REMOVED)
			continue; /* a commit has found it gone meanwhile */
		mailbox_take_out_locked(mailbox, refresh->gone[i]);
		message_unref(refresh->gone[i]); /* the table's */
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (shown + refresh->n_gone > 0)
		mailbox->hooks.listed(mailbox->hooks.ctx, refresh->fresh, shown, refresh->gone, refresh->n_gone);
}

/* Forgets a new message that is not to be shown; the next refresh finds it again. */
static void withdraw(struct message *message)
{
	pthread_mutex_lock(&message->mailbox->lock);
	mailbox_take_out_locked(message->mailbox, message);
	message_unref(message); /* the table's */
	pthread_mutex_unlock(&message->mailbox->lock);
}

static void withdraw_all(struct refresh *refresh)
{
	for (size_t i = 0; i < refresh->n_fresh; i++)
		withdraw(refresh->fresh[i]);
}

static void release(struct refresh *refresh)
{
	if (--refresh->left == 0)
		end_refresh(refresh, refresh->fetch_err, &(struct pop3_why){ "new mail could not be fetched" });
}

void refresh_fetched(struct refresh *refresh, struct message *message, int err)
{
	struct mailbox *mailbox = refresh->mailbox;

	if (err) {
		if (!refresh->fetch_err)
			mailbox->hooks.note(mailbox->hooks.ctx, "new mail could not be fetched; it is shown when it can be");
		refresh->fetch_err = err;
		withdraw(message);
	} else {
		pthread_mutex_lock(&mailbox->lock);
		mailbox_set_state_locked(message, MESSAGE_SHOWN);
		pthread_mutex_unlock(&mailbox->lock);
		mailbox->hooks.listed(mailbox->hooks.ctx, &message, 1, NULL, 0);
	}
	release(refresh);
}

/* The end of a listing with its headers. */
static void finish_refresh(struct refresh *refresh)
{
	size_t fetching;

	publish(refresh);
	fetching = refresh->left - 1;
	for (size_t i = 0; i < fetching; i++) {
		int err = mailbox_fetch_fresh(refresh->fresh[i], refresh);

		if (err)
			refresh_fetched(refresh, refresh->fresh[i], err);
	}
	release(refresh);
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

	if (err) {
		withdraw_all(refresh);
		end_refresh(refresh, pop3_errno(err), why);
	} else {
		finish_refresh(refresh);
	}
}

/* Sorts a listing's messages into known, new and gone. */
static void take_listing(struct link_job *job, const struct listing *listing)
{
	struct refresh *refresh = refresh_of(job);
	struct mailbox *mailbox = refresh->mailbox;
	size_t n = listing_count(listing);
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
		withdraw_all(refresh);
		end_refresh(refresh, pop3_errno(err), why);
	} else if (refresh->n_fresh == 0) {
		finish_refresh(refresh);
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

