/* SPDX-License-Identifier: MIT */
#include "pop3/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pop3/limits.h"

/* Keys, one after the other: they all end with the listing. */
struct key_block {
	struct key_block *next;
	size_t used;
	char octets[65536 - 2 * sizeof(void *)];
};

struct listing {
	struct listing_entry *entries;       /* in number order once sorted */
	const struct listing_entry **by_key; /* in key order once sealed */
	size_t count, room;
	struct key_block *keys; /* the newest first */
};

struct listing *listing_new(void)
{
	return calloc(1, sizeof(struct listing));
}

/* A copy of a key, which lives as long as the listing; NULL: out of memory. */
static const char *keep_key(struct listing *listing, const char *key, size_t len)
{
	struct key_block *block = listing->keys;
	char *copy;

	if (!block || sizeof(block->octets) - block->used < len + 1) {
		block = malloc(sizeof(*block));
		if (!block)
			return NULL;
		block->next = listing->keys;
		block->used = 0;
		listing->keys = block;
	}
	copy = block->octets + block->used;
	memcpy(copy, key, len);
	copy[len] = '\0';
	block->used += len + 1;
	return copy;
}

void listing_free(struct listing *listing)
{
	struct key_block *block;

	if (!listing)
		return;
	while ((block = listing->keys)) {
		listing->keys = block->next;
		free(block);
	}
	free(listing->entries);
	free(listing->by_key);
	free(listing);
}

enum pop3_err listing_add(struct listing *listing, uint32_t number, const char *uid, size_t uid_len,
			  uint64_t octets, struct pop3_why *why)
{
	const char *key = NULL;

	if (listing->count == POP3_MAX_MESSAGES)
		return pop3_fail(why, POP3_E_LIMIT, "the maildrop has more than %u messages", POP3_MAX_MESSAGES);
	if (listing->count == listing->room) {
		size_t room = listing->room ? 2 * listing->room : 64;
		struct listing_entry *entries = realloc(listing->entries, room * sizeof(*entries));

		if (!entries)
			return pop3_fail(why, POP3_E_MEMORY, "out of memory");
		listing->entries = entries;
		listing->room = room;
	}
	if (uid && !(key = keep_key(listing, uid, uid_len)))
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	listing->entries[listing->count++] = (struct listing_entry){ number, !uid, octets, key };
	return POP3_OK;
}

static int compare_numbers(const void *a, const void *b)
{
	const struct listing_entry *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

enum pop3_err listing_sort(struct listing *listing, struct pop3_why *why)
{
	struct listing_entry *entries = realloc(listing->entries, (listing->count + 1) * sizeof(*entries));

	if (entries) { /* no more room than it takes */
		listing->entries = entries;
		listing->room = listing->count + 1;
	}
	if (listing->count > 0)
		qsort(listing->entries, listing->count, sizeof(*listing->entries), compare_numbers);
	for (size_t i = 1; i < listing->count; i++)
		if (listing->entries[i].number == listing->entries[i - 1].number)
			return pop3_fail(why, POP3_E_PROTOCOL, "the server lists message %u twice",
					 listing->entries[i].number);
	return POP3_OK;
}

static struct listing_entry *find_number(const struct listing *listing, uint32_t number)
{
	const struct listing_entry wanted = { .number = number };

	if (listing->count == 0)
		return NULL;
	return bsearch(&wanted, listing->entries, listing->count, sizeof(wanted), compare_numbers);
}

enum pop3_err listing_set_octets(struct listing *listing, uint32_t number, uint64_t octets,
				 struct pop3_why *why)
{
	struct listing_entry *entry = find_number(listing, number);

	if (!entry)
		return pop3_fail(why, POP3_E_PROTOCOL, "LIST shows message %u, UIDL does not", number);
	if (entry->sized)
		return pop3_fail(why, POP3_E_PROTOCOL, "LIST shows message %u twice", number);
	entry->sized = true;
	entry->octets = octets;
	return POP3_OK;
}

enum pop3_err listing_set_key(struct listing *listing, size_t i, const char *key, struct pop3_why *why)
{
	listing->entries[i].key = keep_key(listing, key, strlen(key));
	return listing->entries[i].key ? POP3_OK : pop3_fail(why, POP3_E_MEMORY, "out of memory");
}

/* By key; equal keys in number order, which is the order in which copies are counted. */
static int compare_keys(const void *a, const void *b)
{
	const struct listing_entry *x = *(const struct listing_entry *const *)a;
	const struct listing_entry *y = *(const struct listing_entry *const *)b;
	int order = strcmp(x->key, y->key);

	return order ? order : compare_numbers(x, y);
}

/* Fills by_key; every entry has a key. */
static bool order_keys(struct listing *listing)
{
	if (!listing->by_key)
		listing->by_key = calloc(listing->count + 1, sizeof(listing->by_key[0]));
	if (!listing->by_key)
		return false;
	for (size_t i = 0; i < listing->count; i++)
		listing->by_key[i] = &listing->entries[i];
	qsort(listing->by_key, listing->count, sizeof(listing->by_key[0]), compare_keys);
	return true;
}

enum pop3_err listing_find_copies(struct listing *listing, bool *copies_r, struct pop3_why *why)
{
	*copies_r = false;
	if (!order_keys(listing))
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	for (size_t i = 1; i < listing->count; i++)
		if (strcmp(listing->by_key[i]->key, listing->by_key[i - 1]->key) == 0)
			*copies_r = true;
	return POP3_OK;
}

/* by_key[from..to) share one unique-id: each gets its size and its place among them. */
static bool name_copies(struct listing *listing, size_t from, size_t to)
{
	char *uid = strdup(listing->by_key[from]->key);

	for (size_t i = from; uid && i < to; i++) {
		struct listing_entry *entry = &listing->entries[listing->by_key[i] - listing->entries];
		char key[LISTING_MAX_KEY];

		snprintf(key, sizeof(key), "%s\n%llu\n%zu/%zu", uid, (unsigned long long)entry->octets,
			 i - from + 1, to - from);
		entry->key = keep_key(listing, key, strlen(key));
		if (!entry->key)
			break;
		if (i + 1 == to) {
			free(uid);
			return true;
		}
	}
	free(uid);
	return false;
}

enum pop3_err listing_seal(struct listing *listing, struct pop3_why *why)
{
	size_t to;

	if (!order_keys(listing))
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	for (size_t from = 0; from < listing->count; from = to) {
		for (to = from + 1; to < listing->count; to++)
			if (strcmp(listing->by_key[to]->key, listing->by_key[from]->key) != 0)
				break;
		if (to - from > 1 && !name_copies(listing, from, to))
			return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	}
	if (!order_keys(listing))
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	return POP3_OK;
}

size_t listing_count(const struct listing *listing)
{
	return listing->count;
}

const struct listing_entry *listing_at(const struct listing *listing, size_t i)
{
	return &listing->entries[i];
}

const struct listing_entry *listing_find(const struct listing *listing, const char *key)
{
	size_t low = 0, high = listing->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(key, listing->by_key[mid]->key);

		if (order == 0)
			return listing->by_key[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

size_t listing_count_uid(const struct listing *listing, const char *key)
{
	size_t len = listing_uid_len(key), count = 0;

	for (size_t i = 0; len > 0 && i < listing->count; i++) {
		const char *other = listing->entries[i].key;

		if (listing_uid_len(other) == len && memcmp(other, key, len) == 0)
			count++;
	}
	return count;
}

size_t listing_uid_len(const char *key)
{
	return strcspn(key, "\n");
}

enum listing_keys listing_key_kind(const char *key)
{
	if (listing_uid_len(key) > 0)
		return LISTING_KEYS_UIDS;
	if (strncmp(key, LISTING_SESSION_PREFIX, strlen(LISTING_SESSION_PREFIX)) == 0)
		return LISTING_KEYS_SESSION;
	return LISTING_KEYS_DIGESTS;
}
