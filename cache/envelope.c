/* SPDX-License-Identifier: MIT */
#include "cache/envelope.h"

#include <gmime/gmime.h>
#include <stdlib.h>
#include <string.h>

#include "cache/header.h"

/* Octets of one field before and after decoding: what a name or an extended attribute can use. */
#define FIELD_MAX 4096

/* 1971-01-01: a clock that was never set shows 1970. */
#define FIRST_TIME 31536000
#define ONE_DAY 86400

enum { FROM, FROM_NAME, FROM_ADDR, TO, SUBJECT, MESSAGE_ID, STRINGS };

struct parts {
	char *text[STRINGS]; /* of GLib; NULL: none */
	int64_t date, received;
	bool seen_date, seen_received;
};

static GMimeParserOptions *options(void)
{
	return g_mime_parser_options_get_default();
}

void envelope_init(void)
{
	static const char *charsets[] = { "utf-8", "windows-1252", NULL };

	g_mime_init();
	g_mime_parser_options_set_fallback_charsets(options(), charsets);
}

static int64_t decode_date(const char *text)
{
	GDateTime *date = g_mime_utils_header_decode_date(text);
	int64_t seconds = date ? g_date_time_to_unix(date) : ENVELOPE_NO_TIME;

	if (date)
		g_date_time_unref(date);
	return seconds;
}

static void set(struct parts *parts, int which, char *text)
{
	g_free(parts->text[which]);
	parts->text[which] = text;
}

static void decode_from(struct parts *parts, const char *value)
{
	InternetAddressList *list = internet_address_list_parse(options(), value);
	InternetAddress *first = list && internet_address_list_length(list) > 0
					 ? internet_address_list_get_address(list, 0)
					 : NULL;

	if (first) {
		const char *name = internet_address_get_name(first);

		set(parts, FROM, internet_address_list_to_string(list, NULL, FALSE));
		if (name)
			set(parts, FROM_NAME, g_strdup(name));
		if (INTERNET_ADDRESS_IS_MAILBOX(first))
			set(parts, FROM_ADDR, g_strdup(INTERNET_ADDRESS_MAILBOX(first)->addr));
	} else {
		set(parts, FROM, g_mime_utils_header_decode_text(options(), value));
	}
	if (list)
		g_object_unref(list);
}

static void decode_to(struct parts *parts, const char *value)
{
	InternetAddressList *list = internet_address_list_parse(options(), value);

	if (list && internet_address_list_length(list) > 0)
		set(parts, TO, internet_address_list_to_string(list, NULL, FALSE));
	else
		set(parts, TO, g_mime_utils_header_decode_text(options(), value));
	if (list)
		g_object_unref(list);
}

/* The first of several fields of one name counts; for Received that is the last hop. */
static void take_field(struct parts *parts, const struct header_field *field)
{
	char value[FIELD_MAX];

	if (header_is(field, "From") && !parts->text[FROM]) {
		decode_from(parts, header_unfold(field, value, sizeof(value)));
	} else if (header_is(field, "To") && !parts->text[TO]) {
		decode_to(parts, header_unfold(field, value, sizeof(value)));
	} else if (header_is(field, "Subject") && !parts->text[SUBJECT]) {
		header_unfold(field, value, sizeof(value));
		set(parts, SUBJECT, g_mime_utils_header_decode_text(options(), value));
	} else if (header_is(field, "Message-ID") && !parts->text[MESSAGE_ID]) {
		set(parts, MESSAGE_ID, g_strdup(header_unfold(field, value, sizeof(value))));
	} else if (header_is(field, "Date") && !parts->seen_date) {
		parts->seen_date = true;
		parts->date = decode_date(header_unfold(field, value, sizeof(value)));
	} else if (header_is(field, "Received") && !parts->seen_received) {
		const char *semicolon = strrchr(header_unfold(field, value, sizeof(value)), ';');

		parts->seen_received = true;
		parts->received = semicolon ? decode_date(semicolon + 1) : ENVELOPE_NO_TIME;
	}
}

/* Makes a string valid UTF-8 of at most FIELD_MAX octets, whole characters. */
static char *tidy(char *text)
{
	char *valid = g_utf8_make_valid(text ? text : "", -1);
	const char *end;

	g_free(text);
	if (strlen(valid) > FIELD_MAX) {
		valid[FIELD_MAX] = '\0';
		if (!g_utf8_validate(valid, -1, &end))
			valid[end - valid] = '\0';
	}
	return valid;
}

/* Copies a string to *at and moves on behind it. */
static const char *put(char **at, const char *text)
{
	const char *copy = *at;

	*at = stpcpy(*at, text) + 1;
	return copy;
}

struct envelope *envelope_copy(const struct envelope *envelope)
{
	size_t size = strlen(envelope->from) + strlen(envelope->from_name) + strlen(envelope->from_addr) +
		      strlen(envelope->to) + strlen(envelope->subject) + strlen(envelope->message_id) + STRINGS;
	struct envelope *copy = malloc(sizeof(*copy) + size);
	char *at = copy ? copy->strings : NULL;

	if (!copy)
		return NULL;
	copy->from = put(&at, envelope->from);
	copy->from_name = put(&at, envelope->from_name);
	copy->from_addr = put(&at, envelope->from_addr);
	copy->to = put(&at, envelope->to);
	copy->subject = put(&at, envelope->subject);
	copy->message_id = put(&at, envelope->message_id);
	copy->date = envelope->date;
	copy->received = envelope->received;
	return copy;
}

static struct envelope *pack(struct parts *parts)
{
	struct envelope *envelope;

	for (int i = 0; i < STRINGS; i++)
		parts->text[i] = tidy(parts->text[i]);
	envelope = envelope_copy(&(struct envelope){ .from = parts->text[FROM],
						     .from_name = parts->text[FROM_NAME],
						     .from_addr = parts->text[FROM_ADDR],
						     .to = parts->text[TO],
						     .subject = parts->text[SUBJECT],
						     .message_id = parts->text[MESSAGE_ID],
						     .date = parts->date,
						     .received = parts->received });
	for (int i = 0; i < STRINGS; i++)
		g_free(parts->text[i]);
	return envelope;
}

struct envelope *envelope_parse(const char *header, size_t len)
{
	struct parts parts = { .date = ENVELOPE_NO_TIME, .received = ENVELOPE_NO_TIME };
	struct header_field field;

	while (header_next(&header, &len, &field))
		take_field(&parts, &field);
	return pack(&parts);
}

static bool is_sane(int64_t time, int64_t now)
{
	return time >= FIRST_TIME && time <= now + ONE_DAY;
}

void envelope_times(const struct envelope *envelope, int64_t now, int64_t *mtime_r, int64_t *ctime_r)
{
	int64_t date = envelope && is_sane(envelope->date, now) ? envelope->date : 0;
	int64_t received = envelope && is_sane(envelope->received, now) ? envelope->received : 0;

	*mtime_r = date ? date : received;
	*ctime_r = received ? received : date;
}
