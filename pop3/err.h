/* SPDX-License-Identifier: MIT */
/*
 * What can go wrong with a server, as a kind for the program and as a text for a person.
 * Every function of pop3/ that can fail returns the kind and writes the text.
 */
#pragma once
#include <stddef.h>

enum pop3_err {
	POP3_OK = 0,
	POP3_E_RESOLVE,     /* the host name is not found */
	POP3_E_REFUSED,     /* nothing listens there */
	POP3_E_UNREACHABLE, /* no way to the host */
	POP3_E_TIMEOUT,     /* silent for longer than the time-out */
	POP3_E_CLOSED,      /* the connection ended where it should not */
	POP3_E_TLS,         /* no TLS, or a certificate that does not hold */
	POP3_E_PROTOCOL,    /* what came is not POP3 */
	POP3_E_LIMIT,       /* more than pop3/limits.h allows */
	POP3_E_SERVER,      /* -ERR */
	POP3_E_TEMPORARY,   /* -ERR [SYS/TEMP], RFC 3206 */
	POP3_E_IN_USE,      /* -ERR [IN-USE], RFC 2449: another session has the maildrop */
	POP3_E_LOGIN_DELAY, /* -ERR [LOGIN-DELAY], RFC 2449: the last login was too recent */
	POP3_E_AUTH,        /* the login was refused */
	POP3_E_SECRET,      /* no password to be had, or one that cannot be sent */
	POP3_E_GONE,        /* a complete listing shows that the message is no longer there */
	POP3_E_LOCAL,       /* the receiver of the octets refused them (a full disk) */
	POP3_E_MEMORY,
	POP3_E_STOPPED,     /* we are ending */
};

struct pop3_why {
	char text[512];
};

/* The errno of `err`, negative; 0 for POP3_OK. The one place where the two meet. */
int pop3_errno(enum pop3_err err);

/* Writes the text and returns `err`, so that a failure is one statement. `why` may be NULL. */
__attribute__((format(printf, 3, 4)))
enum pop3_err pop3_fail(struct pop3_why *why, enum pop3_err err, const char *fmt, ...);

/* Copies server text for a person: control bytes and backslashes as \xHH, cut to fit, always ended. */
char *pop3_escape(char *dst, size_t dst_size, const char *src, size_t len);
