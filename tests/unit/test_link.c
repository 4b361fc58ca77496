/* SPDX-License-Identifier: MIT */
/* The link: logins of every kind, TLS that does not hold, the life of a session, the order of jobs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/support.h"

#define TEXT "Subject: x\n\nbody\n"

static void sleep_ms(long ms)
{
	const struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&pause, NULL);
}

Test(login, every_method)
{
	static const enum auth_method methods[] = { AUTH_AUTO,	    AUTH_USER,	      AUTH_APOP,	AUTH_PLAIN,
						    AUTH_LOGIN,	    AUTH_CRAM_MD5,    AUTH_SCRAM_SHA_256, AUTH_XOAUTH2 };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		for (int good = 0; good < 2; good++) {
			struct peer *peer = peer_new();
			enum pop3_err err;

			peer->config.account.auth = methods[i];
			if (!good)
				peer->password = "wrong";
			peer_start(peer, NULL);
			err = peer_list(peer);
			cr_assert_eq(err, good ? POP3_OK : POP3_E_AUTH, "%s: %d %s", auth_method_name(methods[i]), err,
				     peer->why.text);
			cr_assert_null(strstr(peer->trace, PASSWORD), "a password in the dialogue");
			cr_assert_null(strstr(peer->trace, "wrong\n"), "a password in the dialogue");
			for (const char *at = peer->trace; (at = strstr(at, "\n+ ")); at++)
				cr_assert_eq(strncmp(at, "\n+ ********\n", 12), 0, "a challenge in the dialogue");
			peer_free(peer);
		}
	}
}

Test(login, auto_takes_the_best)
{
	static const struct { unsigned sasl; bool user, encrypted; enum auth_method method; } rows[] = {
		{ CAPA_SASL_PLAIN | CAPA_SASL_SCRAM_SHA_256, true, true, AUTH_SCRAM_SHA_256 },
		{ CAPA_SASL_PLAIN | CAPA_SASL_CRAM_MD5, true, true, AUTH_PLAIN },
		{ CAPA_SASL_PLAIN | CAPA_SASL_CRAM_MD5, true, false, AUTH_CRAM_MD5 },
		{ CAPA_SASL_PLAIN, true, false, AUTH_USER },
		{ CAPA_SASL_PLAIN, false, false, AUTH_PLAIN },
		{ CAPA_SASL_XOAUTH2, true, true, AUTH_USER },
		{ 0, false, true, AUTH_USER },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct capa capa = { .user = rows[i].user, .sasl = rows[i].sasl };

		cr_assert_eq(auth_choose(&capa, rows[i].encrypted, AUTH_AUTO), rows[i].method, "row %zu", i);
	}
	cr_assert_eq(auth_choose(&(struct capa){ 0 }, true, AUTH_APOP), AUTH_APOP);
}

Test(login, names_of_methods)
{
	enum auth_method method;

	cr_assert(auth_method_from_name("scram-sha-256", &method) && method == AUTH_SCRAM_SHA_256);
	cr_assert(auth_method_from_name("Auto", &method) && method == AUTH_AUTO);
	cr_assert_not(auth_method_from_name("", &method));
	cr_assert_not(auth_method_from_name("md5", &method));
}

static enum pop3_err list_with_tls(struct peer *peer, struct tls_config tls)
{
	peer->tls_config = tls;
	peer_start(peer, NULL);
	return peer_list(peer);
}

Test(tls, self_signed_certificate_is_refused_and_named)
{
	struct peer *peer = peer_new();

	cr_assert_eq(list_with_tls(peer, (struct tls_config){ 0 }), POP3_E_TLS);
	cr_assert(strstr(peer->why.text, "not valid") && strstr(peer->why.text, "fingerprint is "), "%s", peer->why.text);
	cr_assert_eq(server_count(peer->server, "CAPA"), 0);
	peer_free(peer);
}

Test(tls, fingerprint_replaces_the_chain)
{
	struct peer *peer = peer_new(), *other = peer_new();
	char *fingerprint;

	list_with_tls(peer, (struct tls_config){ 0 });
	fingerprint = strdup(strstr(peer->why.text, "fingerprint is ") + strlen("fingerprint is "));
	peer_free(peer);
	cr_assert_eq(list_with_tls(other, (struct tls_config){ .fingerprint = fingerprint }), POP3_E_TLS);
	cr_assert(strstr(other->why.text, "not the one in tls_fingerprint="), "%s", other->why.text);
	free(fingerprint);
	fingerprint = strdup(strstr(other->why.text, "fingerprint is ") + strlen("fingerprint is "));
	fingerprint[64] = '\0';
	tls_free(other->tls);
	link_free(other->link);
	other->tls_config = (struct tls_config){ .fingerprint = fingerprint };
	cr_assert_eq(tls_new(&other->tls_config, &other->tls, &other->why), POP3_OK);
	other->config.account.tls = other->tls;
	cr_assert_eq(link_new(&other->config, &other->link, &other->why), POP3_OK);
	cr_assert_eq(peer_list(other), POP3_OK, "%s", other->why.text);
	peer_free(other);
	free(fingerprint);
}

Test(tls, other_name_is_refused)
{
	struct peer *peer = peer_new();

	peer->config.account.host = "127.1"; /* resolves to 127.0.0.1 and is no name of the certificate */
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_E_TLS, "%s", peer->why.text);
	cr_assert(strstr(peer->why.text, "mismatch"), "%s", peer->why.text);
	peer_free(peer);
}

Test(tls, bad_files_are_named)
{
	static const struct { struct tls_config config; const char *named; } rows[] = {
		{ { .ca = "/nonexistent" }, "tls_ca=/nonexistent" },
		{ { .ca = "/dev/null" }, "tls_ca=/dev/null" },
		{ { .cert = "/nonexistent" }, "tls_cert=/nonexistent" },
		{ { .key = "/nonexistent" }, "tls_key=" },
		{ { .fingerprint = "12:34" }, "tls_fingerprint=12:34" },
		{ { .fingerprint = "xx" }, "tls_fingerprint=xx" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls *tls = NULL;
		struct pop3_why why = { "" };

		cr_assert_eq(tls_new(&rows[i].config, &tls, &why), POP3_E_TLS);
		cr_assert(strstr(why.text, rows[i].named), "%s", why.text);
	}
	tls_free(NULL);
}

Test(tls, stls)
{
	struct peer *peer = peer_new();

	peer->server_config.tls = false;
	peer->config.account.security = ACCOUNT_STLS;
	peer_message(peer, "a", TEXT);
	peer_start(peer, NULL);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK, "%s", peer->why.text);
	cr_assert_octets(peer->received, TEXT);
	cr_assert_eq(server_count(peer->server, "CAPA"), 3, "before TLS, after it, after the login");
	peer_free(peer);
}

Test(tls, plain_text_port)
{
	struct peer *peer = peer_new();

	peer->server_config.tls = false;
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_E_TLS);
	cr_assert(strstr(peer->why.text, "does not speak TLS"), "%s", peer->why.text);
	peer_free(peer);
}

Test(tls, clear)
{
	struct peer *peer = peer_new();
	struct link_status status;

	peer->server_config.tls = false;
	peer->server_config.plain = true;
	peer->config.account.security = ACCOUNT_CLEAR;
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	link_status(peer->link, &status);
	cr_assert_str_eq(status.session, "none; SCRAM-SHA-256");
	peer_free(peer);
}

Test(link, unreachable)
{
	struct peer *peer = peer_new();

	peer_start(peer, NULL);
	peer->server_config.port = server_port(peer->server);
	server_stop(peer->server);
	cr_assert_eq(peer_list(peer), POP3_E_REFUSED, "%s", peer->why.text);
	cr_assert(strstr(peer->why.text, "localhost"), "%s", peer->why.text);
	peer->server = server_start(&peer->server_config, &(const char *){ NULL });
	cr_assert_eq(peer_list(peer), POP3_OK, "it goes on when the server is back");
	peer_free(peer);
}

Test(link, unknown_host)
{
	struct peer *peer = peer_new();

	peer->config.account.host = "nonexistent.invalid";
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_E_RESOLVE);
	peer_free(peer);
}

Test(link, not_a_pop3_server)
{
	struct peer *peer = peer_new();

	peer_start(peer, FAULTS("GREETING reply 220 smtp.example.org ESMTP\\r\\n"));
	cr_assert_eq(peer_list(peer), POP3_E_PROTOCOL);
	cr_assert(strstr(peer->why.text, "not a POP3 server: no POP3 reply: \"220 smtp.example.org ESMTP\""), "%s",
		  peer->why.text);
	peer_free(peer);
}

Test(link, one_session_for_many_jobs)
{
	struct peer *peer = peer_new();

	peer_message(peer, "a", TEXT);
	peer_message(peer, "b", TEXT);
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer_headers(peer, "a"), POP3_OK);
	cr_assert_octets(peer->received, "Subject: x\n\n");
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert_eq(peer_fetch(peer, "b"), POP3_OK);
	cr_assert_eq(server_count(peer->server, "GREETING"), 1);
	cr_assert_eq(server_count(peer->server, "UIDL"), 1);
	peer_free(peer);
}

Test(link, a_new_session_takes_no_needless_round_trip)
{
	struct peer *peer = peer_new();

	peer->config.idle_ms = 50;
	peer->config.account.auth = AUTH_PLAIN;
	peer_message(peer, "a", TEXT);
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(server_count(peer->server, "CAPA"), 2, "before the login and after it");
	sleep_ms(300);
	peer->trace[0] = '\0';
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert_eq(server_count(peer->server, "CAPA"), 2, "capabilities are remembered");
	cr_assert_eq(server_count(peer->server, "RESUMED"), 1, "the TLS session is resumed");
	cr_assert_eq(server_count(peer->server, "LIST"), 1, "UIDL is enough");
	peer_free(peer);
}

Test(link, what_was_remembered_is_forgotten_after_a_refusal)
{
	struct peer *peer = peer_new();

	peer_start(peer, FAULTS("AUTH#2 reply -ERR [SYS/TEMP] that method is off\\r\\n"));
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(server_count(peer->server, "CAPA"), 4);
	peer_free(peer);
}

Test(link, a_listing_wants_a_session_of_its_own)
{
	struct peer *peer = peer_new();

	peer_message(peer, "a", TEXT);
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK);
	peer_message(peer, "b", TEXT);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer->count, 2, "new mail is there only in a new session");
	peer_free(peer);
}

Test(link, s2_a_listing_keeps_to_the_login_delay)
{
	struct peer *peer = peer_new();

	peer->config.idle_ms = 50;
	peer->server_config.capa = "UIDL\nTOP\nLOGIN-DELAY 300\nSASL PLAIN\n";
	peer_message(peer, "a", TEXT);
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer_list(peer), POP3_E_LOGIN_DELAY);
	sleep_ms(300);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK, "a reader does not wait for it");
	cr_assert_eq(server_count(peer->server, "GREETING"), 2);
	peer_free(peer);
}

Test(link, idle_session_is_ended)
{
	struct peer *peer = peer_new();
	struct link_status status;

	peer->config.idle_ms = 100;
	peer->server_config.lock = true;
	peer_message(peer, "a", TEXT);
	peer_start(peer, NULL);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	link_status(peer->link, &status);
	cr_assert(status.connected);
	sleep_ms(400);
	link_status(peer->link, &status);
	cr_assert_not(status.connected);
	cr_assert_eq(server_count(peer->server, "QUIT"), 1);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	peer_free(peer);
}

Test(link, s1_maildrop_in_use_for_a_while)
{
	struct peer *peer = peer_new();

	peer_message(peer, "a", TEXT);
	peer_start(peer, FAULTS("AUTH#1 reply -ERR [IN-USE] busy\\r\\n"));
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(server_count(peer->server, "AUTH"), 2);
	peer_free(peer);
}

static enum pop3_err ended_with;

static void note_end(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	(void)job, (void)why;
	ended_with = err;
}

Test(link, ends_at_once_under_a_stalled_server)
{
	struct link_job job = { .kind = LINK_LIST, .done = note_end };
	struct peer *peer = peer_new();
	int64_t begin;

	peer->config.account.timeout_ms = 30000;
	peer_start(peer, FAULTS("GREETING stall"));
	link_queue(peer->link, &job);
	sleep_ms(100);
	begin = transport_now_ms();
	link_free(peer->link);
	peer->link = NULL;
	cr_assert_lt(transport_now_ms() - begin, 1000);
	cr_assert_eq(ended_with, POP3_E_STOPPED);
	peer_free(peer);
}

struct noted {
	struct link_job job;
	const char *key;
	_Atomic(enum pop3_err) err; /* POP3_E_MEMORY: it has not ended yet */
};

static const char *noted_key(struct link_job *job, size_t i)
{
	(void)i;
	return ((struct noted *)job)->key;
}

static int noted_begin(struct link_job *job, size_t i)
{
	(void)job, (void)i;
	return 0;
}

static int noted_data(struct link_job *job, size_t i, const char *octets, size_t len)
{
	(void)job, (void)i, (void)octets, (void)len;
	return 0;
}

static void noted_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	(void)why;
	((struct noted *)job)->err = err;
}

struct two {
	struct link_job list;
	struct peer *peer;
	struct noted a, b;
};

static void ignore_listing(struct link_job *job, const struct listing *listing)
{
	(void)job, (void)listing;
}

/* On the link's thread, so that both are there when it looks for more to do. */
static void queue_two(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct two *two = (struct two *)job;

	(void)why;
	cr_assert_eq(err, POP3_OK);
	link_queue(two->peer->link, &two->a.job);
	link_queue(two->peer->link, &two->b.job);
}

/* Fetches "a" and "b"; ends the link when both are on the line. The time that took, in milliseconds. */
static int64_t end_under_two_fetches(const char *const *faults, enum pop3_err *a_r, enum pop3_err *b_r)
{
	const struct link_job fetch = { .kind = LINK_FETCH, .count = 1, .ahead = true, .key = noted_key,
					.begin = noted_begin, .data = noted_data, .done = noted_done };
	struct two two = { .list = { .kind = LINK_LIST, .listing = ignore_listing, .done = queue_two },
			   .peer = peer_new(),
			   .a = { fetch, "a", POP3_E_MEMORY },
			   .b = { fetch, "b", POP3_E_MEMORY } };
	int64_t begin;

	two.peer->config.account.timeout_ms = 30000;
	peer_message(two.peer, "a", TEXT);
	peer_message(two.peer, "b", TEXT);
	peer_start(two.peer, faults);
	link_queue(two.peer->link, &two.list);
	while (server_count(two.peer->server, "RETR") == 0)
		sleep_ms(1);
	begin = transport_now_ms();
	link_free(two.peer->link);
	two.peer->link = NULL;
	begin = transport_now_ms() - begin;
	peer_free(two.peer);
	*a_r = two.a.err;
	*b_r = two.b.err;
	return begin;
}

Test(link, what_is_on_the_line_comes_in_before_the_end)
{
	enum pop3_err a, b;

	cr_assert_lt(end_under_two_fetches(FAULTS("RETR#1 delay 300", "QUIT stall"), &a, &b), 1500);
	cr_assert_eq(a, POP3_OK);
	cr_assert_eq(b, POP3_OK);
}

Test(link, the_end_does_not_wait_long_for_it)
{
	enum pop3_err a, b;

	cr_assert_lt(end_under_two_fetches(FAULTS("RETR#2 stall"), &a, &b), 4000);
	cr_assert_eq(a, POP3_E_STOPPED); /* whole, but nothing that came after it says so */
	cr_assert_eq(b, POP3_E_STOPPED);
}

#define READERS 5

/* Fetches by readers who come one after the other, the second when the server has got the first one's RETR. */
struct readers {
	struct peer *peer;
	struct noted noted[READERS];
	int64_t took_ms; /* from the first to the last one's end */
};

static void read_in_turns(struct readers *readers, size_t count, long apart_ms, const char *const *faults)
{
	const struct link_job fetch = { .kind = LINK_FETCH, .count = 1, .key = noted_key,
					.begin = noted_begin, .data = noted_data, .done = noted_done };

	readers->peer = peer_new();
	readers->peer->config.account.timeout_ms = 1000;
	peer_message(readers->peer, "a", TEXT);
	peer_message(readers->peer, "b", TEXT);
	peer_start(readers->peer, faults);
	cr_assert_eq(peer_list(readers->peer), POP3_OK);
	readers->took_ms = transport_now_ms();
	for (size_t i = 0; i < count; i++) {
		readers->noted[i] = (struct noted){ fetch, i == 0 ? "a" : "b", POP3_E_MEMORY };
		link_queue(readers->peer->link, &readers->noted[i].job);
		while (server_count(readers->peer->server, "RETR") == 0)
			sleep_ms(1);
		sleep_ms(apart_ms);
	}
	while (readers->noted[count - 1].err == POP3_E_MEMORY)
		sleep_ms(1);
	readers->took_ms = transport_now_ms() - readers->took_ms;
}

Test(link, what_is_wanted_while_an_answer_is_awaited_is_asked_for_at_once)
{
	struct readers readers;

	read_in_turns(&readers, 2, 0, FAULTS("RETR#1 delay 500"));
	cr_assert_eq(readers.noted[0].err, POP3_OK);
	cr_assert_eq(readers.noted[1].err, POP3_OK);
	cr_assert(strstr(readers.peer->trace, "RETR 1\nRETR 2\n+OK"), "%s", readers.peer->trace);
	peer_free(readers.peer);
}

Test(link, what_is_asked_for_meanwhile_moves_no_deadline)
{
	struct readers readers;

	read_in_turns(&readers, READERS, 180, FAULTS("RETR#1 stall"));
	cr_assert_lt(readers.took_ms, 1500);
	for (size_t i = 0; i < READERS; i++)
		cr_assert_eq(readers.noted[i].err, POP3_E_TIMEOUT, "reader %zu", i);
	peer_free(readers.peer);
}

Test(link, the_lost_octets_of_every_point_of_a_download)
{
	/* The connection breaks at every octet of a reply: the second session brings it whole. */
	for (int at = 0; at < 40; at++) {
		struct peer *peer = peer_new();
		char fault[32];

		snprintf(fault, sizeof(fault), "RETR#1 drop %d", at);
		peer_message(peer, "a", TEXT);
		peer_start(peer, FAULTS(fault));
		cr_assert_eq(peer_fetch(peer, "a"), POP3_OK, "%s: %s", fault, peer->why.text);
		cr_assert_octets(peer->received, TEXT);
		peer_free(peer);
	}
}
