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
 * A run of requests. next() hands out one at a time until it returns false. Answers come in the same order:
 * begin(), then data() with the octets (of TOP the header only, with LF); both refuse with -errno. Under
 * pipelining matches() then says whether this can be the answer. These three may be NULL. done() gets POP3_OK,
 * or POP3_E_SERVER with the text in *why.
 *
 * Pipelined (RFC 2449 section 6.6), several requests are on the way at once. A message is done() only when
 * the status line after it is valid or nothing more is on the way, so that answers that got mixed up reach
 * nobody (QUIRKS F9).
 *
 * When session_run() returns an error, the requests that were handed out and not done have failed with it;
 * *culprit_r is the tag of the one whose answer was awaited, *alone_r says that no other was on the way.
 */
struct session_handler {
	bool (*next)(void *ctx, struct session_request *request_r);
	int (*begin)(void *ctx, void *tag);
	int (*data)(void *ctx, void *tag, const char *octets, size_t len);
	bool (*matches)(void *ctx, void *tag);
	void (*done)(void *ctx, void *tag, enum pop3_err err, const struct pop3_why *why);
	void *ctx;
	const int *wake_fd; /* an eventfd: next() is asked again while an answer is awaited; or NULL */
};

/* The most requests that are on the way at once. */
#define SESSION_WINDOW 128

__attribute__((warn_unused_result))
enum pop3_err session_run(struct session *session, const struct session_handler *handler, bool pipelined,
			  void **culprit_r, bool *alone_r, struct pop3_why *why);

/* Something was retrieved or deleted in this session. */
bool session_has_retrieved(const struct session *session);
bool session_has_deleted(const struct session *session);

const struct capa *session_capa(const struct session *session);

/* Nothing came in unasked, and the connection stands (QUIRKS F10). */
bool session_is_fresh(struct session *session);

/* "TLSv1.3, …; SCRAM-SHA-256", for --status. */
void session_describe(const struct session *session, char *text, size_t size);
