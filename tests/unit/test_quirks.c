/* SPDX-License-Identifier: MIT */
/*
 * What real servers do, row by row, named as the rows are (F framing, L listing, T TOP, S session, in a file of their own): the test
 * server plays it, and the link must make of it what is right.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pop3/limits.h"
#include "tests/unit/support.h"

Test(framing, f1_cut_message_is_an_error_and_is_tried_once_more)
{
	static const char *const always[] = { "RETR drop 0", "RETR drop 5", "RETR drop 20", "RETR close 20" };
	struct peer *peer;

	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		cr_assert_eq(peer_fetch_with(FAULTS(always[i]), &peer), POP3_E_CLOSED, "%s", always[i]);
		cr_assert_eq(server_count(peer->server, "RETR"), 2);
		peer_free(peer);
	}
}

Test(framing, f1_second_try_is_whole)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR#1 drop 20"), &peer), POP3_OK, "%s", peer->why.text);
	cr_assert_octets(peer->received, SHOWN);
	cr_assert(strstr(peer->notes, "session lost"));
	peer_free(peer);
}

Test(framing, f2_bare_line_feeds_do_not_end_a_message)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR reply +OK\\r\\nx\\n.\\ny\\n.\\r\\nz\\r\\n.\\r\\n"), &peer), POP3_OK);
	cr_assert_octets(peer->received, "x\n.\ny\n.\nz\n");
	peer_free(peer);
}

Test(framing, f3_unstuffed_dot)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR reply +OK\\r\\n.dot\\r\\n..dot\\r\\n.\\r\\n"), &peer), POP3_OK);
	cr_assert_octets(peer->received, "dot\n.dot\n");
	peer_free(peer);
}

Test(framing, f4_every_octet_and_long_lines_are_kept)
{
	struct peer *peer = peer_new();
	size_t len = 300000;
	char *text = malloc(len);

	for (size_t i = 0; i < len; i++)
		text[i] = (char)(i * 7 % 256);
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n' || text[i] == '\r')
			text[i] = 'x';
	text[len - 1] = '\n';
	peer_message_octets(peer, "a", text, len);
	peer_start(peer, NULL);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert(peer->received.len == len && memcmp(peer->received.octets, text, len) == 0);
	free(text);
	peer_free(peer);
}

Test(framing, f5_empty_message_and_first_dot)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR reply +OK\\r\\n.\\r\\n"), &peer), POP3_OK);
	cr_assert_eq(peer->received.len, 0);
	cr_assert_eq(peer_fetch(peer, "b"), POP3_OK);
	peer_free(peer);
}

Test(framing, f5_glued_dot_is_a_time_out)
{
	struct peer *peer = peer_new();

	peer_message(peer, "a", SHOWN);
	peer->config.account.timeout_ms = 300;
	peer_start(peer, FAULTS("RETR reply +OK\\r\\nglued.\\r\\n"));
	cr_assert_eq(peer_fetch(peer, "a"), POP3_E_TIMEOUT);
	peer_free(peer);
}

Test(framing, f6_status_lines_and_lists_may_end_in_lf)
{
	struct peer *peer = peer_with(FAULTS("UIDL reply +OK\\n1 a\\n2 b\\n.\\n", "LIST reply +OK\\n1 5\\n2 7\\n.\\n",
					"RETR reply +OK\\n" "text\\r\\n.\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(peer->count, 2);
	cr_assert_eq(peer->octets[1], 7);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert_octets(peer->received, "text\n");
	peer_free(peer);
}

Test(framing, f7_no_status)
{
	static const char *const replies[] = { "RETR reply +OKAY\\r\\nx\\r\\n.\\r\\n", "RETR reply x\\r\\n.\\r\\n",
					       "RETR reply +ERR no\\r\\n", "RETR reply + \\r\\nx\\r\\n.\\r\\n" };
	struct peer *peer;

	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		cr_assert_eq(peer_fetch_with(FAULTS(replies[i]), &peer), POP3_E_PROTOCOL, "%s", replies[i]);
		peer_free(peer);
	}
}

Test(framing, f8_endless_status_line)
{
	struct peer *peer = peer_with(FAULTS("GREETING endless +OK and so on "));

	cr_assert_eq(peer_list(peer), POP3_E_PROTOCOL);
	cr_assert(strstr(peer->why.text, "not a POP3 server"), "%s", peer->why.text);
	peer_free(peer);
}

Test(framing, f8_endless_list)
{
	struct peer *peer = peer_with(FAULTS("UIDL endless 1 x\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_E_LIMIT, "%s", peer->why.text);
	peer_free(peer);
}

Test(framing, f8_endless_capabilities)
{
	struct peer *peer = peer_with(FAULTS("CAPA#2 endless X-MORE\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_E_LIMIT, "%s", peer->why.text);
	peer_free(peer);
}

Test(framing, f8_endless_message, .timeout = 60)
{
	struct peer *peer = peer_with(FAULTS("RETR endless a line that goes on and on and on and on\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_OK);
	/* LIST is asked for once the listing is made: the bound follows from it. */
	cr_assert_eq(peer_fetch(peer, "a"), POP3_E_LIMIT, "%s", peer->why.text);
	cr_assert_leq(peer->received.len, POP3_MAX_OVERRUN + 1000);
	cr_assert_eq(server_count(peer->server, "RETR"), 1);
	peer_free(peer);
}

Test(framing, f10_message_in_an_idle_session)
{
	struct peer *peer;

	cr_assert_eq(peer_fetch_with(FAULTS("RETR#1 append -ERR Disconnected for inactivity\\r\\n"), &peer), POP3_OK);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK, "%s", peer->why.text);
	cr_assert_octets(peer->received, SHOWN);
	cr_assert_eq(server_count(peer->server, "GREETING"), 2);
	peer_free(peer);
}

Test(listing_quirks, l1_sizes_are_estimates)
{
	struct peer *peer = peer_with(FAULTS("LIST size -1000000"));

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(peer->octets[0], 0);
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK);
	cr_assert_octets(peer->received, SHOWN);
	peer_free(peer);
}

Test(listing_quirks, l2_without_uidl_the_header_is_the_identity)
{
	struct peer *peer = peer_new();
	struct commit_item item = { 0 };
	char key[128];

	peer->server_config.no = "UIDL";
	peer->server_config.capa = "TOP\nSASL PLAIN\n";
	peer_message(peer, "a", SHOWN);
	peer_message(peer, "b", "Subject: two\n\nb\n");
	peer_start(peer, NULL);
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(peer->count, 2);
	cr_assert_eq(strncmp(peer->keys[0], LISTING_DIGEST_PREFIX, strlen(LISTING_DIGEST_PREFIX)), 0);
	cr_assert_str_neq(peer->keys[0], peer->keys[1]);
	snprintf(key, sizeof(key), "%s", peer->keys[0]);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_str_eq(peer->keys[0], key);
	cr_assert_eq(peer_fetch(peer, key), POP3_OK);
	cr_assert_octets(peer->received, SHOWN);
	item.key = key;
	cr_assert_eq(peer_commit(peer, &item, 1), POP3_OK);
	cr_assert_eq(item.state, COMMIT_DELETED);
	cr_assert(!peer_has(peer, "a") && peer_has(peer, "b"));
	peer_free(peer);
}

Test(listing_quirks, l2_without_top_too_identity_holds_for_one_session)
{
	struct peer *peer = peer_new();
	struct commit_item items[2] = { 0 };
	char key[128];

	peer->server_config.no = "UIDL TOP";
	peer->server_config.capa = "SASL PLAIN\n";
	peer->config.idle_ms = 50;
	peer_message(peer, "a", SHOWN);
	peer_message(peer, "b", SHOWN);
	peer_start(peer, FAULTS("RETR#2 drop 0"));
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	snprintf(key, sizeof(key), "%s", peer->keys[0]);
	struct timespec pause = { 0, 200000000 };
	nanosleep(&pause, NULL); /* well past the idle time */
	cr_assert_eq(peer_fetch(peer, key), POP3_OK);
	cr_assert_eq(server_count(peer->server, "GREETING"), 1, "the session is kept");
	cr_assert_eq(peer_fetch(peer, key), POP3_E_GONE, "it is lost, and the key with it");
	items[0].key = key;
	cr_assert_eq(peer_commit(peer, items, 1), POP3_OK);
	cr_assert_eq(items[0].state, COMMIT_LOST);
	cr_assert(peer_has(peer, "a") && peer_has(peer, "b"));
	cr_assert_eq(peer_list(peer), POP3_OK);
	items[1].key = peer->keys[1];
	cr_assert_eq(peer_commit(peer, items + 1, 1), POP3_OK);
	cr_assert_eq(items[1].state, COMMIT_DELETED);
	cr_assert(peer_has(peer, "a") && !peer_has(peer, "b"));
	peer_free(peer);
}

Test(listing_quirks, l2_uidl_that_fails_where_it_is_announced_is_an_error)
{
	struct peer *peer = peer_with(FAULTS("UIDL reply -ERR internal error\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_E_SERVER);
	peer_free(peer);
}

Test(listing_quirks, l2_unique_ids_that_vanish_are_an_error)
{
	struct peer *peer = peer_new();

	peer->server_config.capa = "SASL PLAIN\n";
	peer_message(peer, "a", SHOWN);
	peer_start(peer, FAULTS("UIDL#2+ reply -ERR what is that\\r\\n"));
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer_list(peer), POP3_E_PROTOCOL);
	cr_assert(strstr(peer->why.text, "unique-ids"), "%s", peer->why.text);
	peer_free(peer);
}

Test(listing_quirks, l3_s19_copies_are_deleted_by_place)
{
	struct peer *peer = peer_with(FAULTS("UIDL reply +OK\\r\\n1 twin\\r\\n2 twin\\r\\n.\\r\\n"));
	struct commit_item item = { 0 };

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(peer->count, 2);
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert_octets(peer->received, SHOWN);
	item.key = peer->keys[1];
	cr_assert_eq(peer_commit(peer, &item, 1), POP3_OK);
	cr_assert(peer_has(peer, "a") && !peer_has(peer, "b"));
	peer_free(peer);
}

Test(listing_quirks, l3_when_in_doubt_it_stays)
{
	struct peer *peer = peer_with(FAULTS("UIDL#1 reply +OK\\r\\n1 twin\\r\\n2 twin\\r\\n.\\r\\n",
					"UIDL#2+ reply +OK\\r\\n1 twin\\r\\n2 other\\r\\n.\\r\\n", "RETR drop 0"));
	struct commit_item item = { 0 };

	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer_fetch(peer, peer->keys[1]), POP3_E_GONE);
	item.key = peer->keys[1];
	cr_assert_eq(peer_commit(peer, &item, 1), POP3_OK);
	cr_assert_eq(item.state, COMMIT_LOST);
	cr_assert(peer_has(peer, "a") && peer_has(peer, "b"));
	peer_free(peer);
}

Test(listing_quirks, l4_l5_odd_unique_ids)
{
	struct peer *peer = peer_with(FAULTS("UIDL reply +OK\\r\\n 1    ../../x y\\r\\n2 \\r\\n.\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_str_eq(peer->keys[0], "../../x y");
	cr_assert_str_eq(peer->keys[1], " ", "the empty one");
	cr_assert_eq(peer_fetch(peer, "../../x y"), POP3_OK);
	cr_assert_octets(peer->received, SHOWN);
	peer_free(peer);
}

Test(listing_quirks, l3_l4_copies_of_the_empty_unique_id)
{
	struct peer *peer = peer_with(FAULTS("UIDL reply +OK\\r\\n1\\r\\n2 \\r\\n.\\r\\n"));
	struct commit_item item = { 0 };

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	item.key = peer->keys[1];
	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	item.key = peer->keys[1];
	cr_assert_eq(peer_commit(peer, &item, 1), POP3_OK);
	cr_assert_eq(item.state, COMMIT_DELETED);
	cr_assert(peer_has(peer, "a") && !peer_has(peer, "b"));
	peer_free(peer);
}

Test(listing_quirks, l6_list_that_breaks_off_is_no_listing)
{
	static const char *const cuts[] = { "UIDL drop 12", "LIST drop 12", "UIDL close 12" };

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct peer *peer = peer_with(FAULTS(cuts[i]));

		cr_assert_eq(peer_list(peer), POP3_E_CLOSED, "%s", cuts[i]);
		cr_assert_eq(peer->count, 0);
		peer_free(peer);
	}
}

Test(listing_quirks, l7_absurd_numbers)
{
	static const char *const lists[] = {
		"UIDL reply +OK\\r\\n1 a\\r\\n1 b\\r\\n.\\r\\n",
		"UIDL reply +OK\\r\\n1000000000000 a\\r\\n.\\r\\n",
		"UIDL reply +OK\\r\\n0 a\\r\\n.\\r\\n",
		"LIST reply +OK\\r\\n1 5\\r\\n1 5\\r\\n.\\r\\n",
		"LIST reply +OK\\r\\n3 5\\r\\n.\\r\\n",
		"LIST reply +OK\\r\\nnonsense\\r\\n.\\r\\n",
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct peer *peer = peer_with(FAULTS(lists[i]));

		cr_assert_eq(peer_list(peer), POP3_E_PROTOCOL, "%s", lists[i]);
		peer_free(peer);
	}
}

Test(listing_quirks, l7_gaps)
{
	struct peer *peer = peer_with(FAULTS("UIDL reply +OK\\r\\n900 z\\r\\n2 b\\r\\n.\\r\\n",
					"LIST reply +OK\\r\\n2 30\\r\\n900 40\\r\\n.\\r\\n"));

	cr_assert_eq(peer_list(peer), POP3_OK, "%s", peer->why.text);
	cr_assert_str_eq(peer->keys[0], "b");
	cr_assert_eq(peer->octets[1], 40);
	cr_assert_eq(peer_fetch(peer, "b"), POP3_OK);
	peer_free(peer);
}

Test(listing_quirks, l9_numbers_do_not_outlive_a_session)
{
	struct peer *peer = peer_with(FAULTS("UIDL#2+ reply +OK\\r\\n1 b\\r\\n2 a\\r\\n.\\r\\n", "RETR#1 drop 0"));

	cr_assert_eq(peer_list(peer), POP3_OK);
	/* The session is lost under RETR 1; in the new one "a" is number 2. */
	cr_assert_eq(peer_fetch(peer, "a"), POP3_OK, "%s", peer->why.text);
	cr_assert_octets(peer->received, "Subject: two\n\n..dots\n.\nend\n");
	peer_free(peer);
}

Test(top, t1_refused)
{
	struct peer *peer = peer_new();

	peer->server_config.no = "TOP";
	peer->server_config.capa = "UIDL\nSASL PLAIN\n";
	peer_message(peer, "a", SHOWN);
	peer_message(peer, "b", SHOWN);
	peer_start(peer, NULL);
	cr_assert_eq(peer_headers(peer, "a"), POP3_E_SERVER);
	cr_assert_eq(peer_headers(peer, "b"), POP3_E_SERVER);
	cr_assert_eq(server_count(peer->server, "TOP"), 1, "once is enough");
	peer_free(peer);
}

Test(top, t2_what_follows_the_header_is_thrown_away)
{
	struct peer *peer = peer_with(FAULTS("TOP reply +OK\\r\\nSubject: x\\r\\n\\r\\nand\\r\\nbody\\r\\n.\\r\\n"));

	cr_assert_eq(peer_headers(peer, "a"), POP3_OK);
	cr_assert_octets(peer->received, "Subject: x\n\n");
	peer_free(peer);
}

/* L2: keys of another kind than those that are remembered would make all messages look new, and all deletions done. */
Test(quirks, l2_the_kind_of_keys_stays_from_mount_to_mount)
{
	static const struct { enum listing_keys keys; const char *no, *capa, *why; } rows[] = {
		{ LISTING_KEYS_DIGESTS, NULL, NULL, "by unique-ids now, and were known by their headers" },
		{ LISTING_KEYS_UIDS, "UIDL", "TOP\nSASL PLAIN\n", "by their headers now, and were known by unique-ids" },
		{ LISTING_KEYS_DIGESTS, "UIDL TOP", "SASL PLAIN\n", "by their numbers only now, and were known by their headers" },
		{ LISTING_KEYS_UIDS, NULL, NULL, NULL },
		{ LISTING_KEYS_DIGESTS, "UIDL", "TOP\nSASL PLAIN\n", NULL },
		{ LISTING_KEYS_NONE, "UIDL TOP", "SASL PLAIN\n", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *peer = peer_new();

		peer_message(peer, "a", SHOWN);
		peer->config.keys = rows[i].keys;
		peer->server_config.no = rows[i].no;
		peer->server_config.capa = rows[i].capa;
		peer_start(peer, NULL);
		cr_assert_eq(peer_list(peer), rows[i].why ? POP3_E_PROTOCOL : POP3_OK, "%zu: %s", i, peer->why.text);
		cr_assert(!rows[i].why || strstr(peer->why.text, rows[i].why), "%s", peer->why.text);
		peer_free(peer);
	}
}
