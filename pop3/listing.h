/* SPDX-License-Identifier: MIT */
/*
 * One session's view of the maildrop: message numbers, LIST sizes, and a key for each message that outlives
 * the session. The key is the unique-id (RFC 1939 section 7). Copies with one unique-id (QUIRKS L3) get
 * "unique-id LF size LF k/n": when their number or a size changes, the old keys fit nothing any more, so a
 * key never comes to mean another message. Without UIDL the key is a digest of header and size; without TOP
 * too it is the number within one session (DESIGN 7).
 * Filled by one thread, then only read.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pop3/err.h"

/* The longest key: a unique-id and what tells copies apart. */
#define LISTING_MAX_KEY 600U

struct listing_entry {
	uint32_t number;
	bool sized;       /* LIST was asked */
	uint64_t octets;  /* by LIST, an estimate */
	const char *key;  /* the listing's; NULL until one was given */
};

struct listing;

struct listing *listing_new(void);
void listing_free(struct listing *listing);

/* Adds a message: of UIDL, or (uid NULL) of a LIST that stands alone. Over POP3_MAX_MESSAGES: an error. */
__attribute__((warn_unused_result))
enum pop3_err listing_add(struct listing *listing, uint32_t number, const char *uid, size_t uid_len,
			  uint64_t octets, struct pop3_why *why);

/* After the last listing_add(): puts the entries in number order and refuses duplicate numbers (L7). */
__attribute__((warn_unused_result))
enum pop3_err listing_sort(struct listing *listing, struct pop3_why *why);

/* A LIST size, for a message of the sorted listing; twice, or where UIDL shows none, is an error. */
__attribute__((warn_unused_result))
enum pop3_err listing_set_octets(struct listing *listing, uint32_t number, uint64_t octets,
				 struct pop3_why *why);

/* Another key in place of a unique-id, for entry i of the sorted listing. */
__attribute__((warn_unused_result))
enum pop3_err listing_set_key(struct listing *listing, size_t i, const char *key, struct pop3_why *why);

/* In a sorted listing, every message with its unique-id: some share one. Their sizes tell them apart. */
__attribute__((warn_unused_result))
enum pop3_err listing_find_copies(struct listing *listing, bool *copies_r, struct pop3_why *why);

/* Tells copies apart and makes keys searchable. Every message must have its key by now. */
__attribute__((warn_unused_result))
enum pop3_err listing_seal(struct listing *listing, struct pop3_why *why);

/* Entries in number order. */
size_t listing_count(const struct listing *listing);
const struct listing_entry *listing_at(const struct listing *listing, size_t i);

/* The message of a key, in a sealed listing; NULL: it is not in this session's maildrop. */
const struct listing_entry *listing_find(const struct listing *listing, const char *key);

/* How many messages have the unique-id of this key, copies told apart or not. */
size_t listing_count_uid(const struct listing *listing, const char *key);

/* Octets of the unique-id within a key, without what tells copies apart; 0: the key holds none. */
size_t listing_uid_len(const char *key);

/* What messages are known by. */
enum listing_keys {
	LISTING_KEYS_NONE, /* there are none yet */
	LISTING_KEYS_UIDS,
	LISTING_KEYS_DIGESTS,
	LISTING_KEYS_SESSION, /* good for one session */
};
enum listing_keys listing_key_kind(const char *key);

/* Keys that are no unique-id begin with LF, which none can hold. */
#define LISTING_DIGEST_PREFIX "\nsha256 "   /* then the digest of header and size */
#define LISTING_SESSION_PREFIX "\nsession " /* then one session's random number and the message's */
