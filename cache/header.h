/* SPDX-License-Identifier: MIT */
/* The fields of a message's header, RFC 5322 section 2.2, in LF or CRLF form. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct header_field {
	const char *name, *value; /* into the header; the value as it is folded there, without its line end */
	size_t name_len, value_len;
};

/*
 * Takes the next field off the front of a header; lines that are none are passed over. false: the header
 * has ended.
 */
bool header_next(const char **header, size_t *len, struct header_field *field_r);

/* The field has this name, in any case. */
bool header_is(const struct header_field *field, const char *name);

/*
 * A digest of a header, fed in pieces of any size, up to its first empty line; what follows and all CRs do not
 * count, so that TOP and RETR of one message agree. To tell two headers apart, not to withstand forgery.
 */
struct header_digest {
	uint64_t value; /* 0: nothing came */
	bool in_line, past;
};
void header_digest_add(struct header_digest *digest, const char *octets, size_t len);

/*
 * The value on one line: folds and NULs become blanks, blanks at its ends go. Cut to dst_size - 1, always
 * ended. Returns dst.
 */
char *header_unfold(const struct header_field *field, char *dst, size_t dst_size);
