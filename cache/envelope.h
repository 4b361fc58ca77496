/* SPDX-License-Identifier: MIT */
/*
 * What a header says about its message, decoded for people: RFC 2047 words, addresses and dates by GMime.
 * Strings are valid UTF-8, may hold any character, and are bounded. Immutable once made.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define ENVELOPE_NO_TIME INT64_MIN

struct envelope {
	const char *from, *from_name, *from_addr; /* the field; the first sender's name or "", address or "" */
	const char *to, *subject, *message_id;    /* "" where the header has none */
	int64_t date;                             /* Date, in seconds since the epoch; or ENVELOPE_NO_TIME */
	int64_t received;                         /* the top Received, likewise */
	char strings[];
};

/* Once, before the first envelope_parse(). */
void envelope_init(void);

/* From the octets of a header. One allocation, to be freed with free(); NULL: out of memory. */
struct envelope *envelope_parse(const char *header, size_t len);

/* A copy; one allocation, to be freed with free(); NULL: out of memory. */
struct envelope *envelope_copy(const struct envelope *envelope);

/*
 * The times to show, DESIGN 10: mtime is the Date's, ctime the top Received's; a missing or absurd one
 * (before 1971, or more than a day after `now`) is replaced by the other, both by 0. NULL: both 0.
 */
void envelope_times(const struct envelope *envelope, int64_t now, int64_t *mtime_r, int64_t *ctime_r);
