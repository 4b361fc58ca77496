/* SPDX-License-Identifier: MIT */
/*
 * To a server that it knows, over TLS and where pipelining is allowed, the link says the first word of a login without
 * waiting for the greeting.
 */
#include <string.h>
#include <unistd.h>

#include "tests/unit/support.h"

static void let_go(struct peer *peer)
{
	struct link_status status;

	for (link_status(peer->link, &status); status.connected; link_status(peer->link, &status))
		usleep(1000);
}

/* Listed in a session that has ended since. */
static struct peer *known(struct peer *peer, const char *const *faults)
{
	peer->config.idle_ms = 20;
	peer_message(peer, "a", SHOWN);
	peer_start(peer, faults);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	let_go(peer);
	return peer;
}

static void check_fetch(struct peer *peer, const char *what)
{
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_OK, "%s: %s", what, peer->why.text);
	cr_assert_octets(peer->received, SHOWN);
}

/* In the newest session, after one that has ended well. */
static bool waited_for_greeting(const struct peer *peer)
{
	const char *greeting = NULL;

	for (const char *at = peer->trace; (at = strstr(at, "\n+OK test server ready")); at++)
		greeting = at;
	cr_assert(greeting, "%s", peer->trace);
	return strncmp(greeting - 8, "\n+OK bye", 8) == 0;
}

Test(early, the_greeting_is_not_waited_for)
{
	static const enum auth_method methods[] = { AUTH_USER,	   AUTH_PLAIN,		AUTH_LOGIN,
						    AUTH_CRAM_MD5, AUTH_SCRAM_SHA_256, AUTH_XOAUTH2 };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		const char *name = auth_method_name(methods[i]);
		struct peer *peer = peer_new();

		peer->config.account.auth = methods[i];
		known(peer, NULL);
		check_fetch(peer, name);
		cr_assert_not(waited_for_greeting(peer), "%s", peer->trace);
		cr_assert_eq(server_count(peer->server, "GREETING"), 2, "%s", name);
		cr_assert_str_empty(peer->notes);
		peer_free(peer);
	}
}

Test(early, s7_a_long_initial_response_still_takes_two_steps)
{
	struct peer *peer = peer_new();
	char password[300];

	memset(password, 'x', sizeof(password));
	password[sizeof(password) - 1] = '\0';
	peer->config.account.auth = AUTH_PLAIN;
	peer->password = peer->server_config.password = password;
	known(peer, NULL);
	check_fetch(peer, "long");
	cr_assert(strstr(peer->trace, "\nAUTH PLAIN\n+OK test server ready"), "%s", peer->trace);
	peer_free(peer);
}

Test(early, not_where_the_greeting_or_its_turn_is_needed)
{
	static const struct {
		const char *capa;
		enum link_pipelining pipelining;
		enum auth_method auth;
		enum account_security security;
	} rows[] = {
		{ "UIDL\nTOP\nSASL PLAIN\n", LINK_PIPELINING_ON, AUTH_AUTO, ACCOUNT_TLS },
		{ NULL, LINK_PIPELINING_OFF, AUTH_AUTO, ACCOUNT_TLS },
		{ NULL, LINK_PIPELINING_AUTO, AUTH_APOP, ACCOUNT_TLS },
		{ NULL, LINK_PIPELINING_AUTO, AUTH_AUTO, ACCOUNT_STLS },
		{ NULL, LINK_PIPELINING_AUTO, AUTH_AUTO, ACCOUNT_CLEAR },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();

		peer->config.pipelining = rows[i].pipelining;
		peer->config.account.auth = rows[i].auth;
		peer->config.account.security = rows[i].security;
		peer->server_config.capa = rows[i].capa;
		peer->server_config.tls = rows[i].security == ACCOUNT_TLS;
		peer->server_config.plain = rows[i].security == ACCOUNT_CLEAR;
		known(peer, NULL);
		check_fetch(peer, "a row");
		cr_assert(waited_for_greeting(peer), "row %zu: %s", i, peer->trace);
		peer_free(peer);
	}
}

Test(early, a_server_that_cannot_cope_is_spoken_to_in_turn)
{
	static const char *const faults[] = { "AUTH#2 lose", "AUTH#2 reply what\\r\\n", "AUTH#2 drop 3", "GREETING#2 lose",
					      "GREETING#2 drop 2", "GREETING#2 reply 220 ready\\r\\n" };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct peer *peer = known(peer_new(), FAULTS(faults[i]));

		check_fetch(peer, faults[i]);
		cr_assert_eq(server_count(peer->server, "GREETING"), 3, "%s", faults[i]);
		for (int more = 0; more < 2; more++) {
			let_go(peer);
			check_fetch(peer, faults[i]);
			cr_assert(waited_for_greeting(peer), "%s: %s", faults[i], peer->trace);
		}
		peer_free(peer);
	}
}

Test(early, s15_a_server_that_loses_what_came_before_its_greeting)
{
	struct peer *peer = peer_new();

	peer->config.account.timeout_ms = 300;
	known(peer, FAULTS("AUTH#2 stall"));
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_E_TIMEOUT);
	check_fetch(peer, "the next reader");
	let_go(peer);
	check_fetch(peer, "and the one after that");
	cr_assert(waited_for_greeting(peer), "%s", peer->trace);
	peer_free(peer);
}

/* What the link says after `line` (its first one, or the newest); the server has taken its time over the reply. */
static const char *follows(const struct peer *peer, const char *line, bool newest)
{
	const char *at = strstr(peer->trace, line);

	for (const char *next = at; newest && next; next = strstr(next + 1, line))
		at = next;
	cr_assert(at, "%s\n%s", line, peer->trace);
	return at + strlen(line);
}

Test(early, s15_nothing_follows_the_last_line_of_a_login)
{
	static const struct { enum auth_method auth; const char *last; } rows[] = {
		{ AUTH_USER, "\nPASS ********\n" }, { AUTH_PLAIN, "\nAUTH PLAIN ********\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();
		const char *reply;

		peer->config.account.auth = rows[i].auth;
		known(peer, FAULTS("AUTH delay 50", "PASS delay 50"));
		check_fetch(peer, "a row");
		cr_assert_eq(strncmp(follows(peer, rows[i].last, false), "+OK welcome\nCAPA\n", 17), 0, "%s", peer->trace);
		reply = follows(peer, rows[i].last, true);
		if (rows[i].auth == AUTH_PLAIN)
			reply = strchr(reply, '\n') + 1; /* the greeting */
		cr_assert_eq(strncmp(reply, "+OK welcome\nUIDL\n", 17), 0, "%s", peer->trace);
		peer_free(peer);
	}
}

Test(early, s15_nothing_follows_stls)
{
	struct peer *peer = peer_new();

	peer->config.account.security = ACCOUNT_STLS;
	peer->server_config.tls = false;
	known(peer, FAULTS("STLS delay 50"));
	check_fetch(peer, "STLS");
	cr_assert_eq(strncmp(follows(peer, "\nSTLS\n", false), "+OK", 3), 0, "%s", peer->trace);
	cr_assert_eq(strncmp(follows(peer, "\nSTLS\n", true), "+OK", 3), 0, "%s", peer->trace);
	peer_free(peer);
}

Test(early, f9_where_pipelining_has_failed_all_is_said_in_turn)
{
	struct peer *peer = known(peer_new(), FAULTS("RETR#1 delay 100", "RETR#2 reply nonsense\r\n"));

	peer_message(peer, "b", SHOWN);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	peer_all(peer, LINK_FETCH);
	cr_assert_octets(peer->all[0], SHOWN);
	cr_assert_octets(peer->all[1], SHOWN);
	cr_assert(strstr(peer->notes, "going on without it"), "%s", peer->notes);
	let_go(peer);
	check_fetch(peer, "later");
	cr_assert(waited_for_greeting(peer), "%s", peer->trace);
	peer_free(peer);
}

Test(early, s1_a_busy_server_has_understood)
{
	struct peer *peer = known(peer_new(), FAULTS("AUTH#2 reply -ERR [IN-USE] busy\\r\\n"));

	check_fetch(peer, "busy");
	let_go(peer);
	check_fetch(peer, "busy no more");
	cr_assert_not(waited_for_greeting(peer), "%s", peer->trace);
	peer_free(peer);
}

Test(early, s3_a_refused_login_is_not_tried_again)
{
	struct peer *peer = known(peer_new(), FAULTS("AUTH#2 reply -ERR [AUTH] wrong\\r\\n"));

	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_E_AUTH);
	cr_assert_eq(server_count(peer->server, "AUTH"), 2);
	peer_free(peer);
}

Test(early, a_greeting_that_refuses_says_why)
{
	struct peer *peer = known(peer_new(), FAULTS("GREETING#2 reply -ERR [SYS/PERM] closed for good\\r\\n"));

	cr_assert_neq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert(strstr(peer->why.text, "closed for good"), "%s", peer->why.text);
	peer_free(peer);
}
