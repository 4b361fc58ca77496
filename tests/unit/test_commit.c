/* SPDX-License-Identifier: MIT */
/* Deletions: exactly those that were asked for, and the truth about what became of them (QUIRKS S6). */
#include <stdio.h>
#include <string.h>

#include "tests/unit/support.h"

#define MESSAGES 6

/* Messages m0 to m5; m1, m3 and m4 are to be deleted. */
static enum link_pipelining pipelining = LINK_PIPELINING_AUTO;

static struct peer *with(const char *const *faults, struct commit_item items[3])
{
	static const char *const keys[] = { "m1", "m3", "m4" };
	struct peer *peer = peer_new();
	char name[16];

	for (int i = 0; i < MESSAGES; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		peer_message(peer, name, "Subject: x\n\nbody\n");
	}
	for (int i = 0; i < 3; i++)
		items[i] = (struct commit_item){ .key = keys[i] };
	peer->config.account.timeout_ms = 600;
	peer->config.pipelining = pipelining;
	peer_start(peer, faults);
	return peer;
}

/* Whatever happened: what was not asked for is there, and no item says "deleted" of a message that is. */
static void check_truth(struct peer *peer, const struct commit_item items[3], const char *what)
{
	cr_assert(peer_has(peer, "m0") && peer_has(peer, "m2") && peer_has(peer, "m5"), "%s: a wrong message", what);
	for (int i = 0; i < 3; i++) {
		bool said = items[i].state == COMMIT_DELETED || items[i].state == COMMIT_GONE;

		cr_assert_neq(said, peer_has(peer, items[i].key), "%s: %s is said to be %s", what, items[i].key,
			      said ? "deleted" : "there");
	}
}

static void check_all_deleted(const struct commit_item items[3], const char *what)
{
	for (int i = 0; i < 3; i++)
		cr_assert_eq(items[i].state, COMMIT_DELETED, "%s: %s", what, items[i].key);
}

Test(commit, deletes_exactly_what_was_asked)
{
	struct commit_item items[3];
	struct peer *peer = with(NULL, items);

	cr_assert_eq(peer_commit(peer, items, 3), POP3_OK, "%s", peer->why.text);
	check_truth(peer, items, "no fault");
	check_all_deleted(items, "no fault");
	cr_assert_eq(server_count(peer->server, "GREETING"), 1);
	peer_free(peer);
}

Test(commit, uses_the_session_that_is_open)
{
	struct commit_item items[3];
	struct peer *peer = with(NULL, items);

	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(peer_commit(peer, items, 3), POP3_OK);
	cr_assert_eq(server_count(peer->server, "GREETING"), 1);
	check_all_deleted(items, "open session");
	peer_free(peer);
}

Test(commit, s16_nothing_is_sent_before)
{
	struct commit_item items[3];
	struct peer *peer = with(NULL, items);

	cr_assert_eq(peer_fetch(peer, "m1"), POP3_OK);
	cr_assert_eq(peer_list(peer), POP3_OK);
	cr_assert_eq(server_count(peer->server, "DELE"), 0);
	peer_free(peer);
}

/* Faults that a second attempt or a look at a new listing mends: everything is deleted in the end. */
static void check_repaired(void)
{
	static const char *const faults[] = {
		"DELE#1 drop 0",    "DELE#2 drop 0",     "DELE#3 drop 0",    "DELE#1 lose",   "DELE#2 lose",
		"DELE#3 drop 3",    "QUIT#1 lose",       "QUIT#1 drop 0",    "QUIT#1 drop 2", "QUIT#1 close 0",
		"QUIT#1 partial 1", "QUIT#1 partial 0",  "QUIT#1 partial 2", "UIDL#1 drop 9", "UIDL#1 lose",
		"AUTH#1 lose",      "GREETING#1 drop 0", "QUIT#1 reply -ERR [SYS/TEMP] disk\\r\\n",
		"QUIT#1 reply nonsense\\r\\n", "DELE#2 reply nonsense\\r\\n",
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct commit_item items[3];
		struct peer *peer = with(FAULTS(faults[i]), items);

		cr_assert_eq(peer_commit(peer, items, 3), POP3_OK, "%s: %s", faults[i], peer->why.text);
		check_truth(peer, items, faults[i]);
		check_all_deleted(items, faults[i]);
		peer_free(peer);
	}
}

/* Faults that stay: an error, and the truth about each message. */
static void check_failures(void)
{
	static const char *const faults[] = {
		"DELE#1+ drop 0", "DELE#2+ drop 0", "QUIT#1+ lose", "QUIT#1+ partial 1", "QUIT#1+ partial 0",
		"QUIT#1+ reply -ERR no\\r\\n", "UIDL#1+ drop 9", "GREETING drop 0", "DELE#2+ reply -ERR no\\r\\n",
		"DELE stall", "QUIT#1 stall",
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct commit_item items[3];
		struct peer *peer = with(FAULTS(faults[i]), items);
		enum pop3_err err = peer_commit(peer, items, 3);
		bool kept = false;

		check_truth(peer, items, faults[i]);
		for (int k = 0; k < 3; k++)
			kept |= items[k].state == COMMIT_WAITING || items[k].state == COMMIT_SENT;
		cr_assert(err || kept, "%s: success for what did not happen", faults[i]);
		peer_free(peer);
	}
}

Test(commit, s6_is_repaired) { check_repaired(); }
Test(commit, s6_fails_truly) { check_failures(); }
Test(commit, s6_is_repaired_lock_step) { pipelining = LINK_PIPELINING_OFF; check_repaired(); }
Test(commit, s6_fails_truly_lock_step) { pipelining = LINK_PIPELINING_OFF; check_failures(); }

/* The server deletes, but nobody can be asked about it: the outcome stays open, not "deleted". */
Test(commit, s6_unknown_outcome_stays_open)
{
	struct commit_item items[3];
	struct peer *peer = with(FAULTS("QUIT drop 0", "GREETING#2+ drop 0"), items);

	cr_assert_neq(peer_commit(peer, items, 3), POP3_OK);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(items[i].state, COMMIT_SENT);
	peer_free(peer);
}

Test(commit, already_gone)
{
	struct commit_item items[3];
	struct peer *peer = with(NULL, items);

	items[1].key = "never was";
	cr_assert_eq(peer_commit(peer, items, 3), POP3_OK);
	cr_assert_eq(items[0].state, COMMIT_DELETED);
	cr_assert_eq(items[1].state, COMMIT_GONE);
	cr_assert(peer_has(peer, "m3"));
	peer_free(peer);
}

Test(commit, nothing_left_to_delete_sends_no_dele)
{
	struct commit_item item = { .key = "never was" }, unused[3];
	struct peer *peer = with(NULL, unused);

	cr_assert_eq(peer_commit(peer, &item, 1), POP3_OK);
	cr_assert_eq(item.state, COMMIT_GONE);
	cr_assert_eq(server_count(peer->server, "DELE"), 0);
	peer_free(peer);
}

Test(commit, l6_cut_listing_resolves_nothing)
{
	struct commit_item items[3];
	struct peer *peer = with(FAULTS("UIDL drop 20"), items);

	cr_assert_neq(peer_commit(peer, items, 3), POP3_OK);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(items[i].state, COMMIT_WAITING);
	check_truth(peer, items, "cut listing");
	peer_free(peer);
}

Test(commit, l3_copies_after_a_lost_quit)
{
	struct peer *peer = peer_new();
	struct commit_item items[2] = { 0 };

	peer_message(peer, "a", "Subject: x\n\nbody\n");
	peer_message(peer, "b", "Subject: x\n\nbody\n");
	peer_start(peer, FAULTS("UIDL#1 reply +OK\\r\\n1 twin\\r\\n2 twin\\r\\n.\\r\\n",
				"UIDL#2+ reply +OK\\r\\n1 twin\\r\\n.\\r\\n", "QUIT#1 drop 0"));
	cr_assert_eq(peer_list(peer), POP3_OK);
	items[0].key = peer->keys[0];
	cr_assert_eq(peer_commit(peer, items, 1), POP3_OK, "%s", peer->why.text);
	cr_assert_eq(items[0].state, COMMIT_DELETED, "one of two is left, as it should be");
	cr_assert(!peer_has(peer, "a") && peer_has(peer, "b"));
	peer_free(peer);
}
