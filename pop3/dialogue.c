/* SPDX-License-Identifier: MIT */
#include "pop3/dialogue.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pop3/dot.h"
#include "pop3/limits.h"

#define PIECE (16U << 10)

struct dialogue {
	struct transport *transport;
	void (*trace)(void *ctx, char direction, const char *line, size_t len);
	void *ctx;
	char line[POP3_MAX_LINE + 1]; /* the last status line */
};

enum pop3_err dialogue_open(const struct dialogue_config *config, struct dialogue **dialogue_r,
			    struct pop3_why *why)
{
	struct dialogue *dialogue = calloc(1, sizeof(*dialogue));
	enum pop3_err err;

	if (!dialogue)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	dialogue->trace = config->trace;
	dialogue->ctx = config->ctx;
	err = transport_connect(&config->transport, &dialogue->transport, why);
	if (!err && config->tls)
		err = transport_start_tls(dialogue->transport, config->tls, why);
	if (err) {
		dialogue_free(dialogue);
		return err;
	}
	*dialogue_r = dialogue;
	return POP3_OK;
}

void dialogue_free(struct dialogue *dialogue)
{
	if (!dialogue)
		return;
	transport_free(dialogue->transport);
	free(dialogue);
}

struct transport *dialogue_transport(struct dialogue *dialogue)
{
	return dialogue->transport;
}

static void trace(const struct dialogue *dialogue, char direction, const char *line, size_t len)
{
	if (dialogue->trace)
		dialogue->trace(dialogue->ctx, direction, line, len);
}

enum pop3_err dialogue_send(struct dialogue *dialogue, struct pop3_why *why, const char *fmt, ...)
{
	char line[POP3_MAX_LINE];
	enum pop3_err err;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 2, fmt, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(line) - 2)
		return pop3_fail(why, POP3_E_LIMIT, "a command is too long");
	trace(dialogue, '>', line, (size_t)len);
	memcpy(line + len, "\r\n", 2);
	err = transport_send(dialogue->transport, line, (size_t)len + 2, why);
	transport_expect(dialogue->transport);
	return err;
}

enum pop3_err dialogue_send_secret(struct dialogue *dialogue, const char *verb, const struct secret *secret,
				   struct pop3_why *why)
{
	enum pop3_err err = POP3_OK;
	char shown[64];

	snprintf(shown, sizeof(shown), "%s%s********", verb, verb[0] ? " " : "");
	trace(dialogue, '>', shown, strlen(shown));
	if (verb[0])
		err = transport_send(dialogue->transport, shown, strlen(verb) + 1, why);
	if (!err)
		err = transport_send(dialogue->transport, secret->text, secret->len, why);
	if (!err)
		err = transport_send(dialogue->transport, "\r\n", 2, why);
	transport_expect(dialogue->transport);
	return err;
}

/* The next line, as it lies in the transport's buffer; *used_r is to be consumed after its use. */
static enum pop3_err next_line(struct dialogue *dialogue, const char **line_r, size_t *len_r, size_t *used_r,
			       struct pop3_why *why)
{
	for (;;) {
		enum pop3_err err;
		size_t have;

		*line_r = transport_octets(dialogue->transport, &have);
		if (reply_line(*line_r, have, len_r, used_r) && *len_r <= POP3_MAX_LINE)
			return POP3_OK;
		if (have > POP3_MAX_LINE)
			return pop3_fail(why, POP3_E_LIMIT, "the server sends a line of more than %u octets",
					 POP3_MAX_LINE);
		err = transport_fill(dialogue->transport, why);
		if (err)
			return err;
	}
}

enum pop3_err dialogue_reply(struct dialogue *dialogue, struct reply *reply_r, struct pop3_why *why)
{
	char shown[200];
	const char *line;
	size_t len, used;
	enum pop3_err err = next_line(dialogue, &line, &len, &used, why);

	if (err)
		return err;
	memcpy(dialogue->line, line, len);
	transport_consume(dialogue->transport, used);
	transport_expect(dialogue->transport);
	*reply_r = reply_decode(dialogue->line, len);
	if (reply_r->status == REPLY_CONTINUE && reply_r->text_len > 0)
		trace(dialogue, '<', "+ ********", 10); /* a challenge is as little for a log as its answer */
	else
		trace(dialogue, '<', dialogue->line, len);
	if (reply_r->status == REPLY_BAD)
		return pop3_fail(why, POP3_E_PROTOCOL, "no POP3 reply: \"%s\"",
				 pop3_escape(shown, sizeof(shown), dialogue->line, len));
	return POP3_OK;
}

static bool mentions_lock(const struct reply *reply)
{
	return memmem(reply->text, reply->text_len, "lock", 4) || memmem(reply->text, reply->text_len, "Lock", 4);
}

enum pop3_err dialogue_refusal(const struct reply *reply, const char *what, struct pop3_why *why)
{
	enum pop3_err err = POP3_E_SERVER;
	char shown[300];

	switch (reply->code) {
	case REPLY_CODE_IN_USE:
		err = POP3_E_IN_USE;
		break;
	case REPLY_CODE_LOGIN_DELAY:
		err = POP3_E_LOGIN_DELAY;
		break;
	case REPLY_CODE_SYS_TEMP:
		err = POP3_E_TEMPORARY;
		break;
	case REPLY_CODE_AUTH:
		err = POP3_E_AUTH;
		break;
	case REPLY_CODE_SYS_PERM:
		break;
	case REPLY_CODE_NONE:
		if (mentions_lock(reply))
			err = POP3_E_IN_USE;
		break;
	}
	pop3_escape(shown, sizeof(shown), reply->text, reply->text_len);
	return pop3_fail(why, err, "%s: the server says \"%s\"", what, shown);
}

enum pop3_err dialogue_expect_ok(struct dialogue *dialogue, const char *what, struct pop3_why *why)
{
	struct reply reply;
	enum pop3_err err = dialogue_reply(dialogue, &reply, why);

	if (err)
		return err;
	if (reply.status == REPLY_CONTINUE)
		return pop3_fail(why, POP3_E_PROTOCOL, "%s: the server answers with a challenge", what);
	return reply.status == REPLY_OK ? POP3_OK : dialogue_refusal(&reply, what, why);
}

enum pop3_err dialogue_lines(struct dialogue *dialogue, dialogue_line_fn *each, void *ctx,
			     struct pop3_why *why)
{
	for (;;) {
		const char *line;
		size_t len, used;
		enum pop3_err err = next_line(dialogue, &line, &len, &used, why);
		bool last = !err && len == 1 && line[0] == '.';

		if (err)
			return err;
		if (!last)
			err = each(ctx, line, len, why);
		transport_consume(dialogue->transport, used);
		if (last || err)
			return err;
	}
}

enum pop3_err dialogue_octets(struct dialogue *dialogue, bool lf, uint64_t max, dialogue_octets_fn *sink,
			      void *ctx, struct pop3_why *why)
{
	char piece[PIECE + 1];
	uint64_t total = 0;
	struct dot dot;

	dot_init(&dot, lf);
	for (;;) {
		size_t have, used, n;
		const char *octets = transport_octets(dialogue->transport, &have);
		int refused;

		n = dot_decode(&dot, octets, have < PIECE ? have : PIECE, &used, piece);
		transport_consume(dialogue->transport, used);
		total += n;
		if (total > max)
			return pop3_fail(why, POP3_E_LIMIT, "the server sends more than %llu octets for one message",
					 (unsigned long long)max);
		refused = n > 0 ? sink(ctx, piece, n) : 0;
		if (refused)
			return pop3_fail(why, POP3_E_LOCAL, "%s", strerror(-refused));
		if (dot.state == DOT_END)
			return POP3_OK;
		if (have == used) {
			enum pop3_err err = transport_fill(dialogue->transport, why);

			if (err)
				return err;
		}
	}
}
