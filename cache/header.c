/* SPDX-License-Identifier: MIT */
#include "cache/header.h"

#include <string.h>
#include <strings.h>

/* Octets of the first line, with its LF. */
static size_t line_len(const char *text, size_t len)
{
	const char *lf = memchr(text, '\n', len);

	return lf ? (size_t)(lf - text) + 1 : len;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Octets of the first line and the folded lines that belong to it. */
static size_t folded_len(const char *text, size_t len)
{
	size_t n = line_len(text, len);

	while (n < len && is_blank(text[n]))
		n += line_len(text + n, len - n);
	return n;
}

static size_t without_line_end(const char *text, size_t len)
{
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	return len;
}

bool header_next(const char **header, size_t *len, struct header_field *field_r)
{
	while (*len > 0) {
		const char *line = *header;
		size_t n = folded_len(line, *len), first = without_line_end(line, line_len(line, n));
		const char *colon = memchr(line, ':', first);

		if (first == 0)
			return false;
		*header += n;
		*len -= n;
		if (!colon || colon == line || is_blank(line[0]))
			continue;
		field_r->name = line;
		field_r->name_len = (size_t)(colon - line);
		while (field_r->name_len > 0 && is_blank(line[field_r->name_len - 1]))
			field_r->name_len--;
		field_r->value = colon + 1;
		field_r->value_len = without_line_end(colon + 1, n - (size_t)(colon + 1 - line));
		return true;
	}
	return false;
}

bool header_is(const struct header_field *field, const char *name)
{
	return field->name_len == strlen(name) && strncasecmp(field->name, name, field->name_len) == 0;
}

/* FNV-1a, 64 bits. */
#define DIGEST_BASIS UINT64_C(14695981039346656037)
#define DIGEST_PRIME UINT64_C(1099511628211)

void header_digest_add(struct header_digest *digest, const char *octets, size_t len)
{
	if (digest->value == 0)
		digest->value = DIGEST_BASIS;
	for (size_t i = 0; i < len && !digest->past; i++) {
		if (octets[i] == '\r')
			continue;
		digest->past = octets[i] == '\n' && !digest->in_line;
		digest->in_line = octets[i] != '\n';
		digest->value = (digest->value ^ (unsigned char)octets[i]) * DIGEST_PRIME;
	}
}

char *header_unfold(const struct header_field *field, char *dst, size_t dst_size)
{
	size_t out = 0;

	for (size_t i = 0; i < field->value_len && out + 1 < dst_size; i++) {
		char c = field->value[i];

		if (c == '\n' || c == '\r')
			continue;
		if (c == '\0' || c == '\t')
			c = ' ';
		if (c != ' ' || out > 0)
			dst[out++] = c;
	}
	while (out > 0 && dst[out - 1] == ' ')
		out--;
	dst[out] = '\0';
	return dst;
}
