/* SPDX-License-Identifier: MIT */
#include "pop3/commit.h"

#include <stdlib.h>
#include <string.h>

static bool is_unresolved(const struct commit_item *item)
{
	return item->state == COMMIT_WAITING || item->state == COMMIT_SENT;
}

/* How many of the items have the unique-id of `key` and were sent. */
static size_t count_sent(const struct commit_item *items, size_t count, const char *key)
{
	size_t len = listing_uid_len(key), sent = 0;

	for (size_t i = 0; i < count; i++)
		if (items[i].state != COMMIT_WAITING && listing_uid_len(items[i].key) == len &&
		    memcmp(items[i].key, key, len) == 0)
			sent++;
	return sent;
}

/* Copies there were when the key of one of several copies was made: its "k/n". */
static size_t copies_of(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? strtoul(slash + 1, NULL, 10) : 1;
}

/*
 * What an item that the listing does not have has become. One of several copies of a unique-id (L3) is
 * resolved only when the copies that are left are as many as there should be: when in doubt it stays.
 */
static enum commit_state absent_state(const struct commit_item *items, size_t count,
				      const struct commit_item *item, const struct listing *listing)
{
	bool is_copy = item->key[listing_uid_len(item->key)] == '\n' && listing_uid_len(item->key) > 0;

	if (listing_key_kind(item->key) == LISTING_KEYS_SESSION)
		return COMMIT_LOST;
	if (is_copy) {
		size_t left = listing_count_uid(listing, item->key);
		size_t due = copies_of(item->key) - count_sent(items, count, item->key);

		if (left > 0 && (item->state != COMMIT_SENT || left != due))
			return COMMIT_LOST;
	}
	return item->state == COMMIT_SENT ? COMMIT_DELETED : COMMIT_GONE;
}

size_t commit_compare(struct commit_item *items, size_t count, const struct listing *listing)
{
	enum commit_state *states = calloc(count + 1, sizeof(*states));
	size_t left = 0;

	for (size_t i = 0; i < count; i++) {
		bool there = !is_unresolved(&items[i]) || listing_find(listing, items[i].key);

		if (states)
			states[i] = there ? items[i].state : absent_state(items, count, &items[i], listing);
	}
	for (size_t i = 0; i < count; i++) {
		if (states)
			items[i].state = states[i];
		left += is_unresolved(&items[i]);
	}
	free(states);
	return left;
}

struct deletion_run {
	struct commit_item *items;
	size_t count, next;
	const struct listing *listing;
	struct pop3_why *refusal;
};

static bool next_deletion(void *ctx, struct session_request *request_r)
{
	struct deletion_run *run = ctx;

	for (; run->next < run->count; run->next++) {
		struct commit_item *item = &run->items[run->next];
		const struct listing_entry *entry =
			is_unresolved(item) ? listing_find(run->listing, item->key) : NULL;

		if (!entry)
			continue;
		item->state = COMMIT_SENT;
		*request_r = (struct session_request){ SESSION_DELE, entry->number, 0, item };
		run->next++;
		return true;
	}
	return false;
}

static void deletion_done(void *ctx, void *tag, enum pop3_err err, const struct pop3_why *why)
{
	struct deletion_run *run = ctx;
	struct commit_item *item = tag;

	if (!err)
		return;
	item->state = COMMIT_WAITING;
	*run->refusal = *why;
}

enum pop3_err commit_send(struct commit_item *items, size_t count, struct session *session,
			  bool pipelined, struct pop3_why *why)
{
	struct pop3_why refusal = { "" };
	struct deletion_run run = { items, count, 0, session_listing(session), &refusal };
	const struct session_handler handler = { .next = next_deletion, .done = deletion_done, .ctx = &run };
	void *culprit;
	bool alone;
	enum pop3_err err = session_run(session, &handler, pipelined, &culprit, &alone, why);

	if (err) {
		session_drop(session);
		return err;
	}
	err = session_quit(session, why);
	for (size_t i = 0; !err && i < count; i++)
		if (items[i].state == COMMIT_SENT)
			items[i].state = COMMIT_DELETED;
	if (!err && refusal.text[0])
		*why = refusal;
	return err;
}
