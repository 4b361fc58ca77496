/* SPDX-License-Identifier: MIT */
/* Several commands on the way at once, and servers that cannot cope (QUIRKS F9, S8). */
#include <stdio.h>
#include <string.h>

#include "tests/unit/support.h"

#define MESSAGES 60

static struct peer *with(const char *const *faults)
{
	struct peer *peer = peer_new();
	char name[16], text[64];

	for (int i = 0; i < MESSAGES; i++) {
		snprintf(name, sizeof(name), "m%02d", i);
		snprintf(text, sizeof(text), "Subject: %d\n\nbody of %d\n", i, i);
		peer_message(peer, name, text);
	}
	peer->config.account.timeout_ms = 1000;
	peer_start(peer, faults);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(peer->count, MESSAGES);
	return peer;
}

static void check_all(struct peer *peer, enum link_kind kind, const char *what)
{
	char text[64];

	peer_all(peer, kind);
	for (int i = 0; i < MESSAGES; i++) {
		int n = snprintf(text, sizeof(text), "Subject: %d\n\n", i);

		if (kind == LINK_FETCH)
			n += snprintf(text + n, sizeof(text) - (size_t)n, "body of %d\n", i);
		cr_assert_eq(peer->all_err[i], POP3_OK, "%s: message %d: %s", what, i, peer->why.text);
		cr_assert(peer->all[i].len == (size_t)n && memcmp(peer->all[i].octets, text, (size_t)n) == 0,
			  "%s: message %d is \"%.*s\"", what, i, (int)peer->all[i].len, peer->all[i].octets);
	}
}

Test(pipelining, saves_round_trips)
{
	struct peer *peer = with(FAULTS("TOP delay 10"));

	check_all(peer, LINK_HEADERS, "headers");
	cr_assert(strstr(peer->trace, "TOP 1 0\nTOP 2 0\n"), "the second is sent before the first is answered");
	check_all(peer, LINK_FETCH, "fetches");
	cr_assert_eq(server_count(peer->server, "GREETING"), 1);
	cr_assert_str_empty(peer->notes);
	peer_free(peer);
}

Test(pipelining, f9_nonsense_is_done_again_lock_step)
{
	static const char *const faults[] = {
		"RETR#5 reply nonsense\\r\\n", "RETR#5 append one line too many\\r\\n",
		"RETR#5 reply +OK\\r\\ncut\\r\\n.\\r\\nof another\\r\\n.\\r\\n", "RETR#20 inject +\\r\\n",
		"RETR#2 append .\\r\\n",
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		/* The first answer takes its time, so that all the others are asked for meanwhile. */
		struct peer *peer = with(FAULTS("RETR#1 delay 100", faults[i]));

		check_all(peer, LINK_FETCH, faults[i]);
		cr_assert(strstr(peer->notes, "going on without it"), "%s: %s", faults[i], peer->notes);
		check_all(peer, LINK_HEADERS, faults[i]);
		peer_free(peer);
	}
}

Test(pipelining, f9_nonsense_among_headers)
{
	struct peer *peer = with(FAULTS("TOP#7 append one line too many\\r\\n"));

	check_all(peer, LINK_HEADERS, "headers");
	cr_assert(strstr(peer->notes, "going on without it"), "%s", peer->notes);
	peer_free(peer);
}

Test(pipelining, a_lost_session_is_repaired)
{
	static const char *const faults[] = { "RETR#1 drop 0", "RETR#9 drop 20", "RETR#30 drop 3", "RETR#60 lose" };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct peer *peer = with(FAULTS(faults[i]));

		check_all(peer, LINK_FETCH, faults[i]);
		cr_assert_eq(server_count(peer->server, "GREETING"), 2, "%s", faults[i]);
		peer_free(peer);
	}
}

Test(pipelining, a_message_that_is_always_cut_fails_alone)
{
	struct peer *peer = with(FAULTS("RETR@17 drop 12"));

	peer_all(peer, LINK_FETCH);
	for (int i = 0; i < MESSAGES; i++)
		cr_assert_eq(peer->all_err[i], i == 16 ? POP3_E_CLOSED : POP3_OK, "message %d", i);
	peer_free(peer);
}

Test(pipelining, s17_messages_that_vanish_among_others)
{
	struct peer *peer = with(FAULTS("RETR#3 gone", "RETR#40 gone"));
	char name[16];
	int gone = 0;

	peer_all(peer, LINK_FETCH);
	for (int i = 0; i < MESSAGES; i++) {
		snprintf(name, sizeof(name), "m%02d", i);
		cr_assert_eq(peer->all_err[i], peer_has(peer, name) ? POP3_OK : POP3_E_GONE, "%s", name);
		gone += peer->all_err[i] == POP3_E_GONE;
	}
	cr_assert_eq(gone, 2);
	peer_free(peer);
}

Test(pipelining, auto_on_off)
{
	static const struct { const char *capa; enum link_pipelining wanted; bool pipelined; } rows[] = {
		{ "UIDL\nTOP\nSASL PLAIN\n", LINK_PIPELINING_AUTO, false },
		{ "UIDL\nTOP\nSASL PLAIN\n", LINK_PIPELINING_ON, true },
		{ "UIDL\nTOP\nPIPELINING\nSASL PLAIN\n", LINK_PIPELINING_AUTO, true },
		{ "UIDL\nTOP\nPIPELINING\nSASL PLAIN\n", LINK_PIPELINING_OFF, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();

		peer->server_config.capa = rows[i].capa;
		peer->config.pipelining = rows[i].wanted;
		peer_message(peer, "a", "Subject: a\n\n");
		peer_message(peer, "b", "Subject: b\n\n");
		peer_start(peer, NULL);
		cr_assert_eq(peer_list(peer), POP3_OK);
		peer_all(peer, LINK_HEADERS);
		cr_assert(peer->all_err[0] == POP3_OK && peer->all_err[1] == POP3_OK);
		cr_assert_eq(strstr(peer->trace, "TOP 1 0\nTOP 2 0\n") != NULL, rows[i].pipelined, "row %zu", i);
		peer_free(peer);
	}
}

Test(pipelining, s8_unanswered_commands_are_bounded)
{
	struct peer *peer = peer_new();
	static char text[200000];
	char name[16];

	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < MESSAGES; i++) {
		snprintf(name, sizeof(name), "m%02d", i);
		peer_message(peer, name, text);
	}
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK);
	peer_all(peer, LINK_FETCH);
	for (int i = 0; i < MESSAGES; i++)
		cr_assert(peer->all_err[i] == POP3_OK && peer->all[i].len == sizeof(text), "message %d", i);
	peer_free(peer);
}
