/* SPDX-License-Identifier: MIT */
/*
 * Deletions, sent and verified (RFC 1939 section 6; QUIRKS S6). Only a +OK to QUIT, or a complete listing
 * without the message after its DELE was sent, counts as deleted. Link thread only.
 */
#pragma once
#include "pop3/session.h"

struct commit_item {
	const char *key;
	enum commit_state {
		COMMIT_WAITING, /* not tried yet, or refused */
		COMMIT_SENT,    /* DELE was sent, the outcome is not known */
		COMMIT_DELETED,
		COMMIT_GONE, /* was not there when we looked, and we had not asked */
		COMMIT_WITHDRAWN, /* no longer wanted: by the caller's prepare() */
		COMMIT_LOST, /* its key means nothing any more: it stays on the server */
	} state;
};

/* Resolves what the session's listing can resolve; returns how many items still want deleting. */
size_t commit_compare(struct commit_item *items, size_t count, const struct listing *listing);

/*
 * One attempt: DELE for every item that is waiting or sent, then QUIT; the session is gone afterwards.
 * An error leaves items SENT whose outcome a new listing must tell. POP3_OK with items left WAITING: the
 * server refused their DELE, *why has its words.
 */
__attribute__((warn_unused_result))
enum pop3_err commit_send(struct commit_item *items, size_t count, struct session *session,
			  bool pipelined, struct pop3_why *why);
