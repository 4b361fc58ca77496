/* SPDX-License-Identifier: MIT */
/*
 * One POP3 session, RFC 1939: from the login to QUIT. It has one listing, one lock on the maildrop, and
 * message numbers that mean nothing after it. Link thread only. After any error but POP3_E_SERVER and
 * POP3_E_GONE the session is of no more use and session_drop() is all that may follow.
 */
#pragma once
#include "pop3/listing.h"
#include "pop3/login.h"

struct session;

/* Logs in. */
__attribute__((warn_unused_result))
enum pop3_err session_open(const struct account *account, struct session **session_r, struct pop3_why *why);

/* Ends the connection without QUIT: the server must not enter the UPDATE state, RFC 1939 section 6. */
void session_drop(struct session *session);

/*
 * Sends QUIT and waits for the answer: POP3_OK says that the server has done the deletions of this session.
 * The session is gone afterwards, whatever is returned.
 */
__attribute__((warn_unused_result))
enum pop3_err session_quit(struct session *session, struct pop3_why *why);

/*
 * Asks for the listing (once) and keeps it: UIDL, LIST where sizes are wanted or copies are to be told apart,
 * and what stands in for UIDL where the server has none. *listing_r is the session's.
 */
__attribute__((warn_unused_result))
enum pop3_err session_list(struct session *session, bool sizes, const struct listing **listing_r,
			   struct pop3_why *why);

/* The listing, when session_list() has succeeded; else NULL. */
const struct listing *session_listing(const struct session *session);

/* The server has neither UIDL nor TOP: keys mean nothing after this session (DESIGN 7). */
bool session_is_identity(const struct session *session);

enum session_verb { SESSION_TOP, SESSION_RETR, SESSION_DELE };

struct session_request {
	enum session_verb verb;
	uint32_t number;
	uint64_t octets; /* the LIST size, or 0: bounds what RETR may bring */
	void *tag;
};

/*
 * A run of requests. next() hands out one at a time until it returns false; data() gets the octets (of TOP
 * the header only, with LF) and refuses with -errno; done() gets POP3_OK, or POP3_E_SERVER with the text in
 * *why. Requests that were handed out and not done when session_run() returns an error have failed with it.
 */
struct session_handler {
	bool (*next)(void *ctx, struct session_request *request_r);
	int (*data)(void *ctx, void *tag, const char *octets, size_t len);
	void (*done)(void *ctx, void *tag, enum pop3_err err, const struct pop3_why *why);
	void *ctx;
};

__attribute__((warn_unused_result))
enum pop3_err session_run(struct session *session, const struct session_handler *handler,
			  struct pop3_why *why);

/* Something was retrieved or deleted in this session. */
bool session_has_retrieved(const struct session *session);
bool session_has_deleted(const struct session *session);

const struct capa *session_capa(const struct session *session);

/* Nothing came in unasked, and the connection stands (QUIRKS F10). */
bool session_is_fresh(struct session *session);

/* "TLSv1.3, …; SCRAM-SHA-256", for --status. */
void session_describe(const struct session *session, char *text, size_t size);
