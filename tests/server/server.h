/* SPDX-License-Identifier: MIT */
/*
 * A POP3 server to test and demonstrate against: a Maildir in, POP3 with TLS out, on loopback only, and
 * faults that a test writes down by verb. Good and small, not fast. One thread a connection.
 *
 * A fault is "VERB[#N[+]][@M] ACTION [ARG]": at the Nth time (from the Nth on with +; else always) that VERB
 * comes (for message M), do ACTION. GREETING is a verb too; AUTH-LINE is each answer to a challenge.
 *
 *   reply TEXT     send TEXT as the whole reply, and do nothing
 *   append TEXT    send TEXT right after the reply
 *   inject TEXT    send TEXT right before the reply
 *   delay MS       wait before the reply
 *   slow N         send the reply at N octets a second
 *   drop N         send N octets of the reply, then close without TLS's close_notify
 *   close N        the same with it
 *   lose           close before doing anything
 *   stall          never reply
 *   endless TEXT   send TEXT for ever
 *   size N         LIST: say N octets more (or, -N, less) than there are
 *   partial N      QUIT: delete only the first N of the marked, answer -ERR
 *   gone           RETR: another client has deleted the message: -ERR, and it is
 *
 * In TEXT, \r \n \t \\ and \xHH are escapes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server_config {
	const char *maildir;         /* messages in its new/ and cur/ */
	const char *user, *password; /* the password is also the token of XOAUTH2 */
	uint16_t port;               /* 0: any */
	bool tls;                    /* from the first octet; else STLS */
	bool plain;                  /* logins without TLS are allowed */
	bool lock;                   /* one session at a time: [IN-USE] */
	const char *cert, *key;      /* PEM; made for localhost where there are none */
	const char *capa;            /* lines, each ended by \n, in place of the usual capabilities; NULL */
	const char *no;              /* verbs that it does not know: "UIDL TOP"; or NULL */
	const char *log;             /* file for a line a command; or NULL */
	const char *const *faults;   /* NULL-terminated; or NULL */
};

struct server;

/* NULL with *why (static text) where it cannot start. */
struct server *server_start(const struct server_config *config, const char **why);
void server_stop(struct server *server);
uint16_t server_port(const struct server *server);

/* How often a verb has come so far. */
unsigned server_count(struct server *server, const char *verb);
