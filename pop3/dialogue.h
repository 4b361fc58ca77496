/* SPDX-License-Identifier: MIT */
/*
 * Commands and replies over one connection, RFC 1939 section 3, without knowing what they mean: a line out,
 * a status line in, the lines or the octets of a multi-line response after it. Each may be traced for -d;
 * what is secret is shown as asterisks, message text not at all. After any error but POP3_E_SERVER the
 * dialogue is of no more use. Belongs to one thread.
 */
#pragma once
#include "pop3/reply.h"
#include "pop3/secret.h"
#include "pop3/transport.h"

struct dialogue_config {
	struct transport_config transport;
	struct tls *tls; /* TLS from the start; NULL: none yet */
	/* direction '>' or '<'; the line without its end, server text not yet escaped; or NULL */
	void (*trace)(void *ctx, char direction, const char *line, size_t len);
	void *ctx;
};

struct dialogue;

__attribute__((warn_unused_result))
enum pop3_err dialogue_open(const struct dialogue_config *config, struct dialogue **dialogue_r,
			    struct pop3_why *why);
void dialogue_free(struct dialogue *dialogue);
struct transport *dialogue_transport(struct dialogue *dialogue);

/* A command, without its CRLF. */
__attribute__((warn_unused_result, format(printf, 3, 4)))
enum pop3_err dialogue_send(struct dialogue *dialogue, struct pop3_why *why, const char *fmt, ...);

/* `verb` and a blank (or nothing where verb is ""), then a secret, which the trace does not show. */
__attribute__((warn_unused_result))
enum pop3_err dialogue_send_secret(struct dialogue *dialogue, const char *verb, const struct secret *secret,
				   struct pop3_why *why);

/* A status line; its text lives until the next call. POP3_E_PROTOCOL where it is none. */
__attribute__((warn_unused_result))
enum pop3_err dialogue_reply(struct dialogue *dialogue, struct reply *reply_r, struct pop3_why *why);

/* The kind of error that a -ERR is, with "`what`: the server says …". */
enum pop3_err dialogue_refusal(const struct reply *reply, const char *what, struct pop3_why *why);

/* A status line that must be +OK. */
__attribute__((warn_unused_result))
enum pop3_err dialogue_expect_ok(struct dialogue *dialogue, const char *what, struct pop3_why *why);

/* The lines of a listing, up to the final dot. `each` returns an error to refuse. */
typedef enum pop3_err dialogue_line_fn(void *ctx, const char *line, size_t len, struct pop3_why *why);
__attribute__((warn_unused_result))
enum pop3_err dialogue_lines(struct dialogue *dialogue, dialogue_line_fn *each, void *ctx,
			     struct pop3_why *why);

/* The octets of a message, up to the final dot, `max` of them at most. `sink` returns 0 or -errno. */
typedef int dialogue_octets_fn(void *ctx, const char *octets, size_t len);
__attribute__((warn_unused_result))
enum pop3_err dialogue_octets(struct dialogue *dialogue, bool lf, uint64_t max, dialogue_octets_fn *sink,
			      void *ctx, struct pop3_why *why);
