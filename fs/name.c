/* SPDX-License-Identifier: MIT */
#include "fs/name.h"

#include <glib.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SUFFIX ".eml"
#define HEX_SIZE (2 * SHA256_DIGEST_LENGTH + 1)
/* Octets of one field: a long sender must leave room for the subject. */
#define SENDER_MAX 60
#define FIELD_MAX 200

const char *name_check_template(const char *template)
{
	if (!template[0])
		return "it is empty";
	if (strchr(template, '/'))
		return "it may not hold a slash";
	if (!g_utf8_validate(template, -1, NULL))
		return "it is not UTF-8";
	for (const char *p = template; *p; p++)
		if (*p == '%' && (!p[1] || !strchr("YmdHMSfasi%", *++p)))
			return "after % it takes one of Y m d H M S f a s i %";
	return NULL;
}

/* What stands in a name for a character of a header: itself, a dash, or nothing. */
static gunichar map(gunichar c)
{
	if (c < 0x80)
		return g_ascii_isalnum((char)c) || strchr("-.+@=,", (int)c) ? c : '-';
	switch (g_unichar_type(c)) {
	case G_UNICODE_CONTROL:
	case G_UNICODE_FORMAT: /* direction overrides and zero-width characters */
	case G_UNICODE_SURROGATE:
	case G_UNICODE_PRIVATE_USE:
	case G_UNICODE_UNASSIGNED:
	case G_UNICODE_LINE_SEPARATOR:
	case G_UNICODE_PARAGRAPH_SEPARATOR:
		return 0;
	case G_UNICODE_SPACE_SEPARATOR:
		return '-';
	default:
		return c;
	}
}

/*
 * Adds a field of a header: runs of what a name cannot hold become one dash, none at the ends. At most
 * `max` octets, whole characters.
 */
static void add_field(GString *name, const char *text, size_t max, const char *fallback)
{
	char *normal = g_utf8_normalize(text, -1, G_NORMALIZE_NFC);
	size_t begin = name->len;
	bool dash = false;

	for (const char *p = normal ? normal : ""; *p; p = g_utf8_next_char(p)) {
		gunichar c = g_utf8_get_char(p);
		char encoded[6];
		int n;

		c = map(c);
		if (c == 0)
			continue;
		if (c == '-') {
			dash = true;
			continue;
		}
		n = g_unichar_to_utf8(c, encoded);
		if (name->len - begin + (size_t)n + 1 > max)
			break;
		if (dash && name->len > begin)
			g_string_append_c(name, '-');
		dash = false;
		g_string_append_len(name, encoded, n);
	}
	if (name->len == begin)
		g_string_append(name, fallback);
	g_free(normal);
}

static void hash_hex(const char *key, char hex[HEX_SIZE])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)key, strlen(key), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void add_time(GString *name, char letter, int64_t time)
{
	time_t seconds = (time_t)time;
	struct tm tm = { 0 };

	gmtime_r(&seconds, &tm);
	if (letter == 'Y')
		g_string_append_printf(name, "%04d", tm.tm_year + 1900);
	else
		g_string_append_printf(name, "%02d", letter == 'm'   ? tm.tm_mon + 1
						     : letter == 'd' ? tm.tm_mday
						     : letter == 'H' ? tm.tm_hour
						     : letter == 'M' ? tm.tm_min
								     : tm.tm_sec);
}

static void fill_template(GString *name, const char *template, const struct envelope *envelope, int64_t time,
			  const char *hex)
{
	for (const char *p = template; *p; p++) {
		if (*p != '%') {
			g_string_append_c(name, *p);
			continue;
		}
		switch (*++p) {
		case 'f':
			add_field(name, envelope->from_name[0] ? envelope->from_name : envelope->from_addr,
				  SENDER_MAX, "unknown");
			break;
		case 'a':
			add_field(name, envelope->from_addr, SENDER_MAX, "unknown");
			break;
		case 's':
			add_field(name, envelope->subject, FIELD_MAX, "no-subject");
			break;
		case 'i':
			g_string_append_len(name, hex, 6);
			break;
		case '%':
			g_string_append_c(name, '%');
			break;
		default:
			add_time(name, *p, time);
		}
	}
}

/* Literal parts of a template and cut fields: makes the whole a name that no program trips over. */
static void tidy(GString *name, size_t max)
{
	const char *end;

	if (name->len > max) {
		if (!g_utf8_validate(name->str, (gssize)max, &end))
			max = (size_t)(end - name->str);
		g_string_truncate(name, max);
	}
	for (char *p = name->str; *p; p++)
		if (g_ascii_iscntrl(*p) || *p == ' ' || *p == '/')
			*p = '-';
	while (name->len > 0 && strchr(".-", name->str[0]))
		g_string_erase(name, 0, 1);
	while (name->len > 0 && name->str[name->len - 1] == '-')
		g_string_truncate(name, name->len - 1);
	if (name->len == 0)
		g_string_append(name, "message");
}

void name_make(const char *template, const struct envelope *envelope, int64_t time, const char *key,
	       unsigned extra, char name_r[NAME_SIZE])
{
	size_t tail = strlen(SUFFIX) + (extra ? 1 + extra : 0);
	GString *name = g_string_new(NULL);
	char hex[HEX_SIZE];

	hash_hex(key, hex);
	if (envelope) {
		fill_template(name, template, envelope, time, hex);
	} else {
		char *valid = g_utf8_make_valid(key, -1);

		g_string_append(name, "message_");
		add_field(name, valid, FIELD_MAX, hex);
		g_free(valid);
	}
	tidy(name, NAME_SIZE - 1 - tail);
	snprintf(name_r, NAME_SIZE, "%s%s%.*s" SUFFIX, name->str, extra ? "_" : "", (int)extra, hex);
	g_string_free(name, TRUE);
}
