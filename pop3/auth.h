/* SPDX-License-Identifier: MIT */
/*
 * The ways to log in, without the I/O: which one to take, and what to answer to a challenge. GNU SASL does
 * the mechanisms that it knows; XOAUTH2 (Gmail's and Outlook's) is one line and done here. The session
 * sends and receives (RFC 5034, RFC 1939 section 7).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "pop3/err.h"
#include "pop3/reply.h"
#include "pop3/secret.h"

enum auth_method {
	AUTH_AUTO,
	AUTH_USER, /* USER and PASS */
	AUTH_APOP, /* by name only: its MD5 is broken (S12) */
	AUTH_PLAIN,
	AUTH_LOGIN,
	AUTH_CRAM_MD5,
	AUTH_SCRAM_SHA_1,
	AUTH_SCRAM_SHA_256,
	AUTH_XOAUTH2, /* by name only: the secret is an access token */
};

/* The method of a name as in the option auth=, in any case; false: unknown. */
bool auth_method_from_name(const char *name, enum auth_method *method_r);
const char *auth_method_name(enum auth_method method);

/* The best method that the server offers; `wanted` itself where it names one. */
enum auth_method auth_choose(const struct capa *capa, bool encrypted, enum auth_method wanted);

/*
 * APOP's digest over the greeting's time stamp, as 32 hex digits. false: the greeting has none, or one that
 * is no RFC 822 msg-id (S12).
 */
bool auth_apop_digest(const char *greeting, size_t len, const struct secret *secret, char digest_r[33]);

/* One SASL exchange. */
struct auth;

__attribute__((warn_unused_result))
enum pop3_err auth_new(enum auth_method method, const char *user, const struct secret *secret,
		       const char *host, struct auth **auth_r, struct pop3_why *why);
void auth_free(struct auth *auth);

/* The client speaks first: an initial response may go along with the AUTH command. */
bool auth_is_client_first(const struct auth *auth);

/*
 * Answers a challenge (base64, as it came after "+ "; empty for the initial response) with base64 in
 * *answer_r, which the caller wipes and frees. POP3_E_PROTOCOL for a challenge that cannot be right; the
 * mechanisms that only send a secret tolerate nonsense in its place (S11).
 */
__attribute__((warn_unused_result))
enum pop3_err auth_answer(struct auth *auth, const char *challenge, size_t len, struct secret *answer_r,
			  struct pop3_why *why);

/* All that is ours to send was sent, and the server has proven what the mechanism asks of it. */
bool auth_is_complete(const struct auth *auth);

/* The mechanism does not look at challenges: "+OK" in place of "+ " is taken for one (S11). */
bool auth_is_tolerant(const struct auth *auth);
