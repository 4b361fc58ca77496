/* SPDX-License-Identifier: MIT */
/* What real servers do about sessions, logins and TLS: the S rows, see test_quirks.c. */
#include <string.h>

#include "tests/unit/support.h"

Test(session, s3_kinds_of_refusal)
{
	static const struct { const char *fault; enum pop3_err err; unsigned logins; } rows[] = {
		{ "AUTH reply -ERR [AUTH] no\\r\\n", POP3_E_AUTH, 1 },
		{ "AUTH reply -ERR wrong\\r\\n", POP3_E_AUTH, 1 },
		{ "AUTH reply -ERR [SYS/PERM] never\\r\\n", POP3_E_SERVER, 1 },
		{ "AUTH reply -ERR [SYS/TEMP] not now\\r\\n", POP3_E_TEMPORARY, 3 },
		{ "AUTH reply -ERR [IN-USE] busy\\r\\n", POP3_E_IN_USE, 3 },
		{ "AUTH reply -ERR unable to lock maildrop\\r\\n", POP3_E_IN_USE, 3 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();

		peer->config.account.timeout_ms = 1000;
		peer_start(peer, FAULTS(rows[i].fault));
		cr_assert_eq(peer_list(peer), rows[i].err, "%s: %s", rows[i].fault, peer->why.text);
		if (rows[i].logins == 1)
			cr_assert_eq(server_count(peer->server, "AUTH"), 1, "%s", rows[i].fault);
		else
			cr_assert_geq(server_count(peer->server, "AUTH"), 2, "%s", rows[i].fault);
		peer_free(peer);
	}
}

Test(session, s3_temporary_fault_passes)
{
	struct peer *peer = peer_with(FAULTS("AUTH#1 reply -ERR [SYS/TEMP] not now\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	peer_free(peer);
}

Test(session, s21_refused_login_is_not_repeated)
{
	struct peer *peer = peer_with(NULL);

	peer->password = "wrong";
	cr_assert_eq(peer_list(peer), POP3_E_AUTH);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_E_AUTH);
	cr_assert_eq(peer_fetch(peer, "b"), POP3_E_AUTH);
	cr_assert_eq(server_count(peer->server, "AUTH"), 1);
	peer_free(peer);
}

Test(session, s5_expire_0_ends_without_quit)
{
	struct peer *peer = peer_new();
	struct commit_item item = { .key = "b" };

	peer->server_config.capa = "UIDL\nTOP\nEXPIRE 0\nSASL PLAIN\n";
	peer_message(peer, "a", SHOWN);
	peer_message(peer, "b", SHOWN);
	peer_start(peer, NULL);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert_eq(peer_list(peer), POP3_OK); /* a new session: the old one ended */
	cr_assert_eq(server_count(peer->server, "QUIT"), 0);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert_eq(peer_commit(peer, &item, 1), POP3_OK);
	cr_assert_eq(server_count(peer->server, "QUIT"), 1);
	cr_assert_eq(server_count(peer->server, "GREETING"), 3, "a commit has a session of its own");
	peer_free(peer);
}

Test(session, s7_long_initial_response_takes_two_steps)
{
	struct peer *peer = peer_new();
	static char token[2000];

	memset(token, 't', sizeof(token) - 1);
	peer->password = token;
	peer->server_config.password = token;
	peer->config.account.auth = AUTH_XOAUTH2;
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert(strstr(peer->trace, "AUTH XOAUTH2\n"));
	peer_free(peer);
}

Test(session, s9_octets_before_tls_are_refused)
{
	struct peer *peer = peer_new();

	peer->server_config.tls = false;
	peer->config.account.security = ACCOUNT_STLS;
	peer_start(peer, FAULTS("STLS reply +OK begin TLS\\r\\n+OK injected\\r\\n"));
	cr_assert_eq(peer_list(peer), POP3_E_PROTOCOL);
	cr_assert(strstr(peer->why.text, "before TLS"), "%s", peer->why.text);
	cr_assert_eq(server_count(peer->server, "AUTH"), 0);
	peer_free(peer);
}

Test(session, s10_no_tls_no_credentials)
{
	static const char *const faults[] = { "STLS reply -ERR no TLS here\\r\\n", "CAPA reply -ERR what\\r\\n" };

	for (size_t i = 0; i < 2; i++) {
		struct peer *peer = peer_new();

		peer->server_config.tls = false;
		peer->server_config.plain = true;
		peer->server_config.capa = "USER\nUIDL\nTOP\nSASL PLAIN\n"; /* no STLS */
		peer->config.account.security = ACCOUNT_STLS;
		peer_start(peer, FAULTS(faults[i]));
		cr_assert_eq(peer_list(peer), i == 0 ? POP3_E_TLS : POP3_OK, "%s: %s", faults[i], peer->why.text);
		cr_assert_eq(server_count(peer->server, "STLS"), 1, "it is tried all the same");
		if (i == 0) {
			cr_assert_eq(server_count(peer->server, "AUTH"), 0);
			cr_assert_eq(server_count(peer->server, "PASS"), 0);
		}
		peer_free(peer);
	}
}

Test(session, s11_challenges_that_are_none)
{
	static const struct { enum auth_method method; const char *fault; enum pop3_err err; } rows[] = {
		{ AUTH_LOGIN, "AUTH-LINE reply + !!! not base64\\r\\n", POP3_OK },
		{ AUTH_LOGIN, "AUTH-LINE reply +OK go on\\r\\n", POP3_OK },
		{ AUTH_PLAIN, "AUTH#9 delay 0", POP3_OK },
		{ AUTH_CRAM_MD5, "AUTH-LINE reply + !!! not base64\\r\\n", POP3_E_PROTOCOL },
		{ AUTH_CRAM_MD5, "AUTH-LINE reply +OK go on\\r\\n", POP3_E_PROTOCOL },
		{ AUTH_SCRAM_SHA_256, "AUTH-LINE reply + !!! not base64\\r\\n", POP3_E_PROTOCOL },
		{ AUTH_SCRAM_SHA_256, "AUTH-LINE#2+ reply +OK welcome\\r\\n", POP3_E_PROTOCOL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();

		peer->config.account.auth = rows[i].method;
		peer_start(peer, FAULTS(rows[i].fault));
		cr_assert_eq(peer_list(peer), rows[i].err, "%s, %s: %s", auth_method_name(rows[i].method),
			     rows[i].fault, peer->why.text);
		peer_free(peer);
	}
}

Test(session, s12_apop_by_name_and_with_a_strict_stamp)
{
	static const struct { const char *fault; enum pop3_err err; } rows[] = {
		{ "NOOP delay 0", POP3_OK },
		{ "GREETING reply +OK no stamp\\r\\n", POP3_E_AUTH },
		{ "GREETING reply +OK <no-at-sign>\\r\\n", POP3_E_AUTH },
		{ "GREETING reply +OK <a@>\\r\\n", POP3_E_AUTH },
		{ "GREETING reply +OK <a b@c>\\r\\n", POP3_E_AUTH },
		{ "GREETING reply +OK <a\\x01@c>\\r\\n", POP3_E_AUTH },
		{ "GREETING reply +OK <a@b@c>\\r\\n", POP3_E_AUTH },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();

		peer->config.account.auth = AUTH_APOP;
		peer_start(peer, FAULTS(rows[i].fault));
		cr_assert_eq(peer_list(peer), rows[i].err, "%s: %s", rows[i].fault, peer->why.text);
		cr_assert_eq(server_count(peer->server, "APOP"), rows[i].err ? 0 : 1);
		peer_free(peer);
	}
}

Test(session, s13_line_ends_in_credentials)
{
	static const char *const passwords[] = { "a\r\nDELE 1", "a\nb", "a\rb" };

	for (size_t i = 0; i < 3; i++) {
		struct peer *peer = peer_new();

		peer->password = passwords[i];
		peer->config.account.auth = AUTH_USER;
		peer_start(peer, NULL);
		cr_assert_eq(peer_list(peer), POP3_E_SECRET);
		cr_assert_eq(server_count(peer->server, "USER"), 0);
		cr_assert_eq(server_count(peer->server, "PASS"), 0);
		peer_free(peer);
	}
}

Test(session, s13_line_end_in_the_user)
{
	struct peer *peer = peer_new();

	peer->config.account.user = "u\r\nQUIT";
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_E_SECRET);
	peer_free(peer);
}

Test(session, s14_silence_is_a_time_out)
{
	static const char *const faults[] = { "GREETING stall", "CAPA stall", "AUTH stall", "UIDL stall", "LIST stall",
					      "RETR stall", "RETR slow 20" };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct peer *peer = peer_new();
		int64_t begin = transport_now_ms();
		enum pop3_err err;

		peer_message(peer, "a", SHOWN);
		peer->config.account.timeout_ms = 400;
		peer_start(peer, FAULTS(faults[i]));
		err = peer_list(peer);
		if (!err)
			err = peer_fetch(peer, "a");
		cr_assert_eq(err, POP3_E_TIMEOUT, "%s: %s", faults[i], peer->why.text);
		cr_assert_lt(transport_now_ms() - begin, 1500, "%s", faults[i]);
		peer_free(peer);
	}
}

Test(session, s17_message_that_another_client_deleted)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR gone"), &peer), POP3_E_GONE, "%s", peer->why.text);
	cr_assert_eq(peer_fetch(peer, "b"), POP3_E_GONE);
	peer_free(peer);
}

Test(session, s17_refused_but_still_there)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR reply -ERR I would rather not\\r\\n"), &peer), POP3_E_SERVER);
	cr_assert_eq(server_count(peer->server, "RETR"), 2);
	peer_free(peer);
}

Test(session, s18_capa_unknown)
{
	struct peer *peer = peer_new();

	peer->server_config.no = "CAPA";
	peer_message(peer, "a", SHOWN);
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_str_eq(peer->keys[0], "a");
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	peer_free(peer);
}
