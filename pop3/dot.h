/* SPDX-License-Identifier: MIT */
/*
 * The octets of a multi-line response, RFC 1939 section 3: the first dot of a line is removed, a line that
 * is one dot ends the response. A line ends in CRLF and nothing else, so a message that holds "\n.\n" is
 * not cut (QUIRKS F2). Pure and incremental: feed it what arrived, in pieces of any size.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct dot {
	enum dot_state {
		DOT_LINE_START, /* before the first octet of a line */
		DOT_TEXT,
		DOT_CR,     /* a CR that may begin a CRLF is held back */
		DOT_DOT,    /* a line began with a dot, which is dropped */
		DOT_DOT_CR, /* that dot, then a CR that is held back */
		DOT_END,
	} state;
	bool lf; /* write CRLF as LF; bare CR and bare LF stay as they are */
};

/* Begins a response. */
void dot_init(struct dot *dot, bool lf);

/*
 * Decodes `in` to `out`, which must have room for in_len + 1 octets; returns how many were written.
 * *used_r: how many of `in` were taken; less than in_len only after the end, what follows is not ours.
 * dot->state == DOT_END: the final line was seen.
 */
size_t dot_decode(struct dot *dot, const char *in, size_t in_len, size_t *used_r, char *out);
