/* SPDX-License-Identifier: MIT */
#include "tests/server/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	enum fault_action action;
	bool text, number;
} actions[] = {
	{ "reply", FAULT_REPLY, true, false },     { "append", FAULT_APPEND, true, false },
	{ "inject", FAULT_INJECT, true, false },   { "delay", FAULT_DELAY, false, true },
	{ "slow", FAULT_SLOW, false, true },       { "drop", FAULT_DROP, false, true },
	{ "close", FAULT_CLOSE, false, true },     { "lose", FAULT_LOSE, false, false },
	{ "stall", FAULT_STALL, false, false },    { "endless", FAULT_ENDLESS, true, false },
	{ "size", FAULT_SIZE, false, true },       { "partial", FAULT_PARTIAL, false, true },
	{ "gone", FAULT_GONE, false, false },
};

/* Copies text with its escapes done. */
static char *unescape(const char *text, size_t *len_r)
{
	char *out = malloc(strlen(text) + 1), *to = out;

	for (; out && *text; text++) {
		if (*text != '\\' || !text[1]) {
			*to++ = *text;
			continue;
		}
		switch (*++text) {
		case 'r':
			*to++ = '\r';
			break;
		case 'n':
			*to++ = '\n';
			break;
		case 't':
			*to++ = '\t';
			break;
		case 'x': {
			const char hex[3] = { text[1], (char)(text[1] ? text[2] : '\0'), '\0' };

			*to++ = (char)strtol(hex, NULL, 16);
			text += strlen(hex);
			break;
		}
		default:
			*to++ = *text;
		}
	}
	*len_r = out ? (size_t)(to - out) : 0;
	return out;
}

static bool parse_when(const char *when, struct fault *fault)
{
	size_t n = strcspn(when, "#@");
	char *end;

	if (n == 0 || n >= sizeof(fault->verb))
		return false;
	memcpy(fault->verb, when, n);
	when += n;
	if (*when == '#') {
		fault->nth = (unsigned)strtoul(when + 1, &end, 10);
		fault->onwards = *end == '+';
		when = end + fault->onwards;
	}
	if (*when == '@') {
		fault->message = (unsigned)strtoul(when + 1, &end, 10);
		when = end;
	}
	return *when == '\0';
}

bool fault_parse(const char *line, struct fault *fault_r)
{
	char when[32], name[16];
	int used = 0;

	*fault_r = (struct fault){ 0 };
	if (sscanf(line, "%31s %15s %n", when, name, &used) != 2 || !parse_when(when, fault_r))
		return false;
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(name, actions[i].name) != 0)
			continue;
		fault_r->action = actions[i].action;
		if (actions[i].number)
			fault_r->number = strtol(line + used, NULL, 10);
		if (actions[i].text)
			fault_r->text = unescape(line + used, &fault_r->text_len);
		return !actions[i].text || fault_r->text;
	}
	return false;
}

void fault_clear(struct fault *fault)
{
	free(fault->text);
}

bool fault_matches(const struct fault *fault, const char *verb, unsigned nth, unsigned message)
{
	if (strcasecmp(fault->verb, verb) != 0 || (fault->message && fault->message != message))
		return false;
	return fault->nth == 0 || nth == fault->nth || (fault->onwards && nth > fault->nth);
}
