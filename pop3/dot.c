/* SPDX-License-Identifier: MIT */
#include "pop3/dot.h"

#include <string.h>

void dot_init(struct dot *dot, bool lf)
{
	dot->state = DOT_LINE_START;
	dot->lf = lf;
}

/* Writes a line's end. */
static char *end_line(const struct dot *dot, char *out)
{
	if (!dot->lf)
		*out++ = '\r';
	*out++ = '\n';
	return out;
}

/* One octet through the automaton; text goes past it in runs (dot_decode). */
static char *step(struct dot *dot, char c, char *out)
{
	switch (dot->state) {
	case DOT_LINE_START:
		if (c == '.') {
			dot->state = DOT_DOT;
			return out;
		}
		break;
	case DOT_CR:
		if (c == '\n') {
			dot->state = DOT_LINE_START;
			return end_line(dot, out);
		}
		*out++ = '\r';
		break;
	case DOT_DOT:
		if (c == '\r') {
			dot->state = DOT_DOT_CR;
			return out;
		}
		break;
	case DOT_DOT_CR:
		if (c == '\n') {
			dot->state = DOT_END;
			return out;
		}
		*out++ = '\r';
		break;
	case DOT_TEXT:
	case DOT_END:
		break;
	}
	if (c == '\r') {
		dot->state = DOT_CR;
		return out;
	}
	*out++ = c;
	dot->state = DOT_TEXT;
	return out;
}

size_t dot_decode(struct dot *dot, const char *in, size_t in_len, size_t *used_r, char *out)
{
	const char *const begin = in, *const end = in + in_len;
	const char *const out_begin = out;

	while (in < end && dot->state != DOT_END) {
		if (dot->state == DOT_TEXT) {
			const char *cr = memchr(in, '\r', (size_t)(end - in));
			size_t run = (size_t)((cr ? cr : end) - in);

			memcpy(out, in, run);
			out += run;
			in += run;
			if (!cr)
				break;
		}
		out = step(dot, *in++, out);
	}
	*used_r = (size_t)(in - begin);
	return (size_t)(out - out_begin);
}
