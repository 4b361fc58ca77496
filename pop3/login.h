/* SPDX-License-Identifier: MIT */
/*
 * From an address to the TRANSACTION state: connection, greeting, TLS, capabilities, login. What a session
 * needs to know about its server stands in struct account. Link thread only.
 */
#pragma once
#include "pop3/auth.h"
#include "pop3/dialogue.h"

enum account_security {
	ACCOUNT_TLS,  /* from the first octet, port 995 */
	ACCOUNT_STLS, /* RFC 2595; no TLS, no login */
	ACCOUNT_CLEAR,
};

/* What CAPA said to an earlier session: the next one need not ask, which saves round trips. */
struct capa_memory {
	bool known;
	struct capa before, after; /* the login */
	bool in_turn; /* the greeting is waited for all the same: no pipelining is wanted, or it has failed here */
};

struct account {
	const char *host;
	uint16_t port;
	enum account_security security;
	const char *user;
	enum auth_method auth;
	int timeout_ms; /* for one reply */
	struct capa_memory *memory; /* filled by one login, used by the next; or NULL */
	int cancel_fd;  /* readable: everything ends with POP3_E_STOPPED; -1: none */
	struct tls *tls; /* NULL where security is ACCOUNT_CLEAR */
	bool lf;         /* show messages with LF line ends */
	/* Gets the password or token, which the caller wipes, for each login; cancel_fd readable ends its wait. */
	enum pop3_err (*secret)(void *ctx, int cancel_fd, struct secret *secret_r, struct pop3_why *why);
	void (*trace)(void *ctx, char direction, const char *line, size_t len); /* or NULL */
	void *ctx;
};

/* On success the dialogue is in the TRANSACTION state, and capa_r is what CAPA said after the login. */
__attribute__((warn_unused_result))
enum pop3_err login(const struct account *account, struct dialogue **dialogue_r, struct capa *capa_r,
		    enum auth_method *method_r, struct pop3_why *why);
