/* SPDX-License-Identifier: MIT */
/* The first octet says where to split: decoding in two pieces and whole must give the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pop3/dot.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	size_t split, used, whole_used, whole_len, len_1, len_2 = 0;
	struct dot dot, pieces;
	char *whole, *parts;

	if (len < 2)
		return 0;
	split = octets[0] % len;
	octets++;
	len--;
	whole = malloc(len + 1);
	parts = malloc(len + 2);
	dot_init(&dot, len % 2);
	whole_len = dot_decode(&dot, (const char *)octets, len, &whole_used, whole);
	assert(whole_len <= len + 1 && (whole_used == len || dot.state == DOT_END));
	dot_init(&pieces, len % 2);
	len_1 = dot_decode(&pieces, (const char *)octets, split, &used, parts);
	if (pieces.state != DOT_END) {
		len_2 = dot_decode(&pieces, (const char *)octets + split, len - split, &used, parts + len_1);
		used += split;
	}
	assert(pieces.state == dot.state && used == whole_used && len_1 + len_2 == whole_len);
	assert(memcmp(whole, parts, whole_len) == 0);
	free(whole);
	free(parts);
	return 0;
}
