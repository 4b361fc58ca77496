/* SPDX-License-Identifier: MIT */
/*
 * How a listing gets into the table: LIST from the link, headers of what is new, then the hook that shows it.
 * Where exact sizes are promised (DESIGN 11), what is new is fetched before it is shown, each when it has come.
 * A listing that fails on the way changes nothing (QUIRKS L6).
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/header.h"
#include "cache/mailbox_private.h"
#include "pop3/limits.h"

/* Headers that are put into the index at once. */
#define CHUNK 1000
/* After so many new messages, what they took for a moment goes back to the system. */
#define TRIM_MIN 10000
/* Inode numbers of messages that the index does not know. */
#define FIRST_SESSION_INO (UINT64_C(1) << 62)

/* A refresh on its way: the listing, then the headers of what is new. */
struct refresh {
	struct link_job job;
	struct mailbox *mailbox;
	struct message **fresh, **gone; /* with a reference each */
	size_t n_fresh, n_gone;
	size_t n_unknown; /* of `fresh`, the first ones: their headers are wanted */
	char *header; /* of the message that is being read */
	size_t header_len;
	struct header_digest digest;
	struct message *chunk[CHUNK]; /* of `fresh`: their headers have come */
	size_t n_chunk;
	int err; /* of the memory or the index, -errno */
	size_t left;   /* messages that have to be fetched before they are shown, and finish_refresh() itself */
	int fetch_err; /* of the last of them that failed */
};

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
static void end_refresh(struct refresh *refresh, enum pop3_err cause, int err, const struct pop3_why *why)
{
	struct mailbox *mailbox = refresh->mailbox;
	bool large;

	pthread_mutex_lock(&mailbox->lock);
	mailbox->refreshing = false;
	if (!mailbox->loaded) {
		mailbox->load_err = err;
		mailbox->load_cause = cause;
		if (err)
			mailbox->load_why = *why;
	}
	if (!err) {
		mailbox->loaded = mailbox->known = true;
		mailbox->listed_time = time(NULL);
	}
	pthread_cond_broadcast(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
	mailbox->hooks.refreshed(mailbox->hooks.ctx, err);
	large = refresh->n_fresh >= TRIM_MIN;
	free_refresh(refresh);
	if (large)
		malloc_trim(0);
}

/* What is gone, and that the listing was complete, goes into the index. */
static int record_listing(struct refresh *refresh)
{
	struct index *index = refresh->mailbox->index;

	index_begin(index);
	for (size_t i = 0; i < refresh->n_gone; i++)
		if (refresh->gone[i]->drop)
			index_remove(index, refresh->gone[i]->key);
		else if (!message_is_transient(refresh->gone[i]))
			index_gone(index, refresh->gone[i]->ino);
	index_listed(index, time(NULL));
	return index_end(index);
}

/* What is gone: to be deleted anyhow, or its body is kept for a while. */
static void take_out_gone_locked(struct mailbox *mailbox, struct message *message)
{
	mailbox_take_out_locked(mailbox, message);
	if (message->body == BODY_PRESENT && message->stamp && !message->drop)
		mailbox->gone_octets += message->octets;
	message_unref(message); /* the table's; the refresh has its own */
}

/* What was to be deleted and is gone already is not kept; the log tells, since no commit will. */
static void drop_pending(struct refresh *refresh)
{
	struct mailbox *mailbox = refresh->mailbox;
	size_t dropped = 0;
	char text[100];

	pthread_mutex_lock(&mailbox->lock);
	for (size_t i = 0; i < refresh->n_gone; i++) {
		refresh->gone[i]->drop = refresh->gone[i]->state == MESSAGE_PENDING;
		dropped += refresh->gone[i]->drop;
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (dropped > 0) {
		snprintf(text, sizeof(text), "%zu of the messages to be deleted are gone from the server", dropped);
		mailbox->hooks.note(mailbox->hooks.ctx, text);
	}
}

/* Takes away what is gone, and shows what is new, unless that has to be fetched before. */
static int publish(struct refresh *refresh)
{
	struct mailbox *mailbox = refresh->mailbox;
	size_t shown = 0;
	int err;

	drop_pending(refresh);
	err = record_listing(refresh);
	if (err == -ENOSPC) {
		space_make(mailbox, SHED_OCTETS, NULL);
		err = record_listing(refresh);
	}
	if (err)
		return err;
	pthread_mutex_lock(&mailbox->lock);
	refresh->left = 1;
	if (mailbox->exact_only)
		refresh->left += refresh->n_fresh;
	else
		shown = refresh->n_fresh;
	for (size_t i = 0; i < shown; i++)
		mailbox_set_state_locked(refresh->fresh[i], refresh->fresh[i]->doomed ? MESSAGE_PENDING : MESSAGE_SHOWN);
	for (size_t i = 0; i < refresh->n_gone; i++)
		if (refresh->gone[i]->state != MESSAGE_REMOVED) /* else a commit has found it gone meanwhile */
			take_out_gone_locked(mailbox, refresh->gone[i]);
	pthread_mutex_unlock(&mailbox->lock);
	if (shown + refresh->n_gone > 0)
		mailbox->hooks.listed(mailbox->hooks.ctx, refresh->fresh, shown, refresh->gone, refresh->n_gone);
	return 0;
}

/* Forgets a new message that is not to be shown; the next refresh finds it again. */
static void withdraw(struct message *message)
{
	struct mailbox *mailbox = message->mailbox;

	pthread_mutex_lock(&mailbox->lock);
	if (message->hh.tbl && message->state == MESSAGE_NEW) {
		mailbox_take_out_locked(mailbox, message);
		message_unref(message); /* the table's */
	}
	pthread_mutex_unlock(&mailbox->lock);
}

static void withdraw_all(struct refresh *refresh)
{
	for (size_t i = 0; i < refresh->n_fresh; i++)
		withdraw(refresh->fresh[i]);
}

static void release(struct refresh *refresh)
{
	if (--refresh->left == 0)
		end_refresh(refresh, POP3_OK, refresh->fetch_err, &(struct pop3_why){ "new mail could not be fetched" });
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
		mailbox_set_state_locked(message, message->doomed ? MESSAGE_PENDING : MESSAGE_SHOWN);
		pthread_mutex_unlock(&mailbox->lock);
		mailbox->hooks.listed(mailbox->hooks.ctx, &message, 1, NULL, 0);
	}
	release(refresh);
}

/* A refresh that does not come to its end changes nothing (QUIRKS L6). */
static void fail_refresh(struct refresh *refresh, enum pop3_err cause, const struct pop3_why *why)
{
	struct pop3_why own;

	if (!cause) {
		pop3_fail(&own, POP3_E_LOCAL, "the cache's index: %s", strerror(-refresh->err));
		why = &own;
	}
	withdraw_all(refresh);
	end_refresh(refresh, cause, cause ? pop3_errno(cause) : refresh->err, why);
}

/* The end of a listing with its headers. */
static void finish_refresh(struct refresh *refresh)
{
	size_t fetching;

	if (!refresh->err)
		refresh->err = publish(refresh);
	if (refresh->err) {
		fail_refresh(refresh, POP3_OK, NULL);
		return;
	}
	fetching = refresh->left - 1;
	for (size_t i = 0; i < fetching; i++) {
		struct message *message = refresh->fresh[i];
		int err = message->exact ? 0 : mailbox_fetch_fresh(message, refresh);

		if (err || message->exact)
			refresh_fetched(refresh, message, err);
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

static void insert_chunk(struct refresh *refresh)
{
	index_begin(refresh->mailbox->index);
	for (size_t i = 0; i < refresh->n_chunk; i++) {
		struct message *message = refresh->chunk[i];
		const struct index_row row = { .key = message->key,
					       .listed = message->listed,
					       .octets = message->octets,
					       .header = message->header,
					       .digest = message->header_digest,
					       .mtime = message->mtime,
					       .ctime = message->ctime };

		message->ino = index_insert(refresh->mailbox->index, &row, message->envelope);
	}
	refresh->err = index_end(refresh->mailbox->index);
}

/* Puts the messages whose headers have come into the index, which keeps their envelopes from then on. */
static void record_chunk(struct refresh *refresh)
{
	if (refresh->n_chunk == 0 || refresh->err)
		return;
	insert_chunk(refresh);
	if (refresh->err == -ENOSPC) {
		space_make(refresh->mailbox, SHED_OCTETS, NULL);
		insert_chunk(refresh);
	}
	pthread_mutex_lock(&refresh->mailbox->lock);
	for (size_t i = 0; i < refresh->n_chunk && !refresh->err; i++) {
		free(refresh->chunk[i]->envelope);
		refresh->chunk[i]->envelope = NULL;
	}
	refresh->n_chunk = 0;
	pthread_mutex_unlock(&refresh->mailbox->lock);
}

/* What is not remembered in any case: a key of this session. */
static void number_transient(struct message *message)
{
	message->ino = FIRST_SESSION_INO + message->mailbox->last_session_ino++;
}

static void header_item(struct link_job *job, size_t i, enum pop3_err err)
{
	struct refresh *refresh = refresh_of(job);
	struct mailbox *mailbox = refresh->mailbox;
	struct message *message = refresh->fresh[i];
	struct envelope *envelope = err ? NULL : envelope_parse(refresh->header, refresh->header_len);

	pthread_mutex_lock(&mailbox->lock);
	message->envelope = envelope;
	message->header = envelope ? INDEX_HEADER_KNOWN : INDEX_HEADER_REFUSED;
	message->header_digest = err ? 0 : refresh->digest.value;
	message_set_times(message);
	mailbox->headers_done++;
	pthread_mutex_unlock(&mailbox->lock);
	if (message_is_transient(message)) {
		number_transient(message);
		return;
	}
	refresh->chunk[refresh->n_chunk++] = message;
	if (refresh->n_chunk == CHUNK)
		record_chunk(refresh);
}

static void headers_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct refresh *refresh = refresh_of(job);

	record_chunk(refresh); /* also when the rest did not come: it need not come again */
	if (err)
		fail_refresh(refresh, err, why);
	else
		finish_refresh(refresh);
}

/* A message that the table does not have; what is remembered of it is taken over. */
static void recall_row(void *ctx, const struct index_row *row)
{
	message_recall(ctx, row);
}

/* Takes over what is remembered of a new message; false: its header is wanted. */
static bool recall(struct message *message)
{
	struct index *index = message->mailbox->index;

	if (message_is_transient(message))
		return false;
	if (index_find(index, message->key, recall_row, message))
		return true;
	message->doomed = index_dooms(index, message->key);
	return false;
}

/*
 * Makes messages of what the table does not know: those whose headers are wanted first, then those that the index
 * remembers, which were gone for a while or which another mount has found.
 */
static void make_fresh(struct refresh *refresh, const struct listing *listing)
{
	struct message **from_start = refresh->fresh, **from_end = refresh->fresh + refresh->n_fresh;

	index_begin(refresh->mailbox->index);
	for (size_t i = 0; i < listing_count(listing); i++) {
		const struct listing_entry *entry = listing_at(listing, i);
		struct message *message;

		HASH_FIND_STR(refresh->mailbox->table, entry->key, message);
		if (message)
			continue;
		message = message_new(refresh->mailbox, entry->key, entry->octets);
		if (!message) {
			refresh->err = -ENOMEM;
			break;
		}
		if (!recall(message))
			*from_start++ = message;
		else
			*--from_end = message;
	}
	refresh->n_unknown = (size_t)(from_start - refresh->fresh);
	if (from_start != from_end) { /* out of memory on the way */
		memmove(from_start, from_end, (size_t)(refresh->fresh + refresh->n_fresh - from_end) * sizeof(*from_end));
		refresh->n_fresh -= (size_t)(from_end - from_start);
	}
	if (!refresh->err)
		refresh->err = index_end(refresh->mailbox->index);
	else
		(void)index_end(refresh->mailbox->index);
}

/* Counts what is new and lists what is gone; the table changes on this thread only. */
static void compare_locked(struct refresh *refresh, const struct listing *listing)
{
	struct mailbox *mailbox = refresh->mailbox;
	struct message *message, *next;

	refresh->gone = calloc(HASH_COUNT(mailbox->table) + 1, sizeof(struct message *));
	HASH_ITER(hh, mailbox->table, message, next)
		message->seen = false;
	for (size_t i = 0; i < listing_count(listing); i++) {
		HASH_FIND_STR(mailbox->table, listing_at(listing, i)->key, message);
		if (message)
			message->seen = true;
		else
			refresh->n_fresh++;
	}
	refresh->fresh = calloc(refresh->n_fresh + 1, sizeof(struct message *));
	if (!refresh->gone || !refresh->fresh) {
		refresh->n_fresh = 0;
		refresh->err = -ENOMEM;
		return;
	}
	HASH_ITER(hh, mailbox->table, message, next)
		if (!message->seen && !message->in_commit)
			refresh->gone[refresh->n_gone++] = message_ref(message);
}

/* Sorts a listing's messages into known, new and gone. */
static void take_listing(struct link_job *job, const struct listing *listing)
{
	struct refresh *refresh = refresh_of(job);
	struct mailbox *mailbox = refresh->mailbox;

	pthread_mutex_lock(&mailbox->lock);
	compare_locked(refresh, listing);
	pthread_mutex_unlock(&mailbox->lock);
	if (refresh->n_fresh > 0)
		make_fresh(refresh, listing);
	pthread_mutex_lock(&mailbox->lock);
	for (size_t i = 0; i < refresh->n_fresh; i++) {
		message_ref(refresh->fresh[i]); /* the refresh's */
		if (!mailbox_put_in_locked(mailbox, refresh->fresh[i])) {
			message_unref(refresh->fresh[i]);
			refresh->err = -ENOMEM;
		}
	}
	mailbox->headers_total = refresh->n_unknown;
	mailbox->headers_done = 0;
	pthread_mutex_unlock(&mailbox->lock);
}

/* The listing is in: now the headers of what is new, in the same session. */
static void listing_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct refresh *refresh = refresh_of(job);

	if (!err && !refresh->err && refresh->n_unknown > 0 && !(refresh->header = malloc(POP3_MAX_HEADER)))
		refresh->err = -ENOMEM;
	if (err || refresh->err) {
		fail_refresh(refresh, err, why);
	} else if (refresh->n_unknown == 0) {
		finish_refresh(refresh);
	} else {
		refresh->job = (struct link_job){ .kind = LINK_HEADERS,
						  .count = refresh->n_unknown,
						  .key = header_key,
						  .begin = header_begin,
						  .data = header_data,
						  .item = header_item,
						  .done = headers_done };
		link_queue(refresh->mailbox->link, &refresh->job);
	}
}

int mailbox_refresh(struct mailbox *mailbox, bool insist)
{
	int down = insist ? 0 : link_down(mailbox->link);
	struct refresh *refresh = down ? NULL : calloc(1, sizeof(*refresh));

	if (down)
		return down;
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

