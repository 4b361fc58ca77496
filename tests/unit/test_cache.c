/* SPDX-License-Identifier: MIT */
/* The mailbox over the test server, and the tree of names over the mailbox. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/mailbox.h"
#include "fs/secret_source.h"
#include "fs/tree.h"
#include "tests/unit/support.h"

/* A mailbox on the test server, with hooks that remember. */
struct box {
	struct peer *peer;
	struct mailbox *mailbox;
	struct tree *tree;
	struct message *messages[16];
	size_t count, removed;
	uint64_t ticket, sized_was, sized_now;
	int fetched_err, committed_err;
	bool fetched, committed, refreshed;
	int refreshed_err;
	char note[700];
};

static void wake(struct box *box, bool *flag)
{
	pthread_mutex_lock(&box->peer->lock);
	*flag = true;
	pthread_cond_signal(&box->peer->ended);
	pthread_mutex_unlock(&box->peer->lock);
}

static void on_listed(void *ctx, struct message *const *added, size_t n_added, struct message *const *removed,
		      size_t n_removed)
{
	struct box *box = ctx;
	char name[256];

	for (size_t i = 0; i < n_added; i++) {
		box->messages[box->count++] = message_ref(added[i]);
		cr_assert(tree_add(box->tree, added[i], TREE_ROOT, name));
	}
	for (size_t i = 0; i < n_removed; i++)
		tree_remove(box->tree, message_ino(removed[i]));
	box->removed += n_removed;
}

static void on_refreshed(void *ctx, int err)
{
	struct box *box = ctx;

	box->refreshed_err = err;
	wake(box, &box->refreshed);
}

static void on_sized(void *ctx, struct message *message, uint64_t was, uint64_t now, int fd)
{
	struct box *box = ctx;
	struct stat st;

	(void)message;
	box->sized_was = was;
	box->sized_now = now;
	cr_assert(fstat(fd, &st) == 0 && (uint64_t)st.st_size == now);
}

static void wait_for(struct box *box, bool *flag)
{
	pthread_mutex_lock(&box->peer->lock);
	while (!*flag)
		pthread_cond_wait(&box->peer->ended, &box->peer->lock);
	*flag = false;
	pthread_mutex_unlock(&box->peer->lock);
}

static void on_fetched(void *ctx, struct message *message, int err)
{
	struct box *box = ctx;

	(void)message;
	box->fetched_err = err;
	wake(box, &box->fetched);
}

static void on_committed(void *ctx, uint64_t ticket, int err)
{
	struct box *box = ctx;

	box->ticket = ticket;
	box->committed_err = err;
	wake(box, &box->committed);
}

static void on_note(void *ctx, const char *text)
{
	struct box *box = ctx;

	snprintf(box->note, sizeof(box->note), "%s", text);
}

#define BODY "From: A <a@example.org>\nSubject: %s\nDate: Fri, 20 Nov 2026 08:12:00 +0000\n\nbody %s\n"

static enum link_pipelining pipelining = LINK_PIPELINING_AUTO;
static uint64_t cache_size = 1 << 20;

static const char *cache_dir(struct peer *peer)
{
	static char dir[100];

	snprintf(dir, sizeof(dir), "%s/cache", peer->dir);
	return dir;
}

/* The subject that the mailbox knows of a message; "" for none. */
static bool subject_is(struct mailbox *mailbox, struct message *message, const char *subject)
{
	struct envelope *envelope = mailbox_envelope(mailbox, message);
	bool is = envelope && strcmp(envelope->subject, subject) == 0;

	free(envelope);
	return is;
}

static struct box *box_new(const char *const *faults)
{
	struct box *box = calloc(1, sizeof(*box));
	struct peer *peer = box->peer = peer_new();
	struct mailbox_config config;
	char text[300], name[16];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		snprintf(text, sizeof(text), BODY, i < 2 ? "same" : name, name);
		peer_message(peer, name, text);
	}
	peer_start(peer, faults);
	config = (struct mailbox_config){ .account = peer->config.account,
					  .idle_ms = 30000,
					  .pipelining = pipelining,
					  .cache_dir = cache_dir(peer),
					  .cache_size = cache_size,
					  .template = "%Y-%m-%d_%H%M_%f_%s",
					  .hooks = { on_listed, on_sized, on_refreshed, on_fetched, on_committed, on_note, box } };
	cr_assert_eq(mailbox_new(&config, &box->mailbox, &peer->why), 0, "%s", peer->why.text);
	box->tree = tree_new("%Y-%m-%d_%H%M_%f_%s", box->mailbox);
	return box;
}

static struct box *box_loaded(const char *const *faults)
{
	struct box *box = box_new(faults);

	cr_assert_eq(mailbox_load(box->mailbox, NULL, NULL, &box->peer->why), 0, "%s", box->peer->why.text);
	wait_for(box, &box->refreshed); /* its hook comes after the load has returned, or before */
	return box;
}

static void box_free(struct box *box)
{
	mailbox_stop(box->mailbox);
	for (size_t i = 0; i < box->count; i++)
		message_unref(box->messages[i]);
	tree_free(box->tree);
	mailbox_free(box->mailbox);
	peer_free(box->peer);
	free(box);
}

/* Opens, waiting for the fetch where there is one. */
static int open_body(struct box *box, struct message *message)
{
	int fd = mailbox_open(box->mailbox, message);

	if (fd != -EINPROGRESS)
		return fd;
	wait_for(box, &box->fetched);
	return box->fetched_err ? box->fetched_err : mailbox_open(box->mailbox, message);
}

Test(mailbox, lists_fetches_and_remembers)
{
	struct box *box = box_loaded(NULL);
	struct message_facts facts;
	struct mailbox_status status;
	char text[300];
	int fd;

	cr_assert_eq(box->count, 4);
	cr_assert_eq(message_ino(box->messages[0]), MAILBOX_FIRST_INO);
	mailbox_facts(box->mailbox, box->messages[2], &facts);
	cr_assert(subject_is(box->mailbox, box->messages[2], "m2"));
	cr_assert_eq(facts.mtime, 1795162320);
	cr_assert_not(facts.exact);
	fd = open_body(box, box->messages[2]);
	snprintf(text, sizeof(text), BODY, "m2", "m2");
	cr_assert(file_holds(fd, text));
	close(fd);
	mailbox_facts(box->mailbox, box->messages[2], &facts);
	cr_assert(facts.exact && facts.octets == strlen(text));
	cr_assert(box->sized_now == strlen(text) && box->sized_was == strlen(text) + 5, "LIST counts CRLF");
	fd = mailbox_open(box->mailbox, box->messages[2]);
	cr_assert_geq(fd, 0, "the second time from the store");
	close(fd);
	cr_assert_eq(server_count(box->peer->server, "RETR"), 1);
	mailbox_status(box->mailbox, &status);
	cr_assert(status.messages == 4 && status.cached == 1 && status.pending == 0 && status.link.connected);
	box_free(box);
}

static void sh(struct peer *peer, const char *command)
{
	char line[300];

	snprintf(line, sizeof(line), "cd %s && %s", peer->dir, command);
	cr_assert_eq(system(line), 0);
}

#define TIDY "find cache/*/bodies -type f -delete"

Test(mailbox, fetches_again_what_somebody_took_out_of_the_cache)
{
	struct box *box = box_loaded(NULL);
	int fd = open_body(box, box->messages[0]);

	close(fd);
	sh(box->peer, TIDY);
	fd = open_body(box, box->messages[0]);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(server_count(box->peer->server, "RETR"), 2);
	box_free(box);
}

/* Another client deletes a message. */
static void vanish(struct box *box, const char *command)
{
	size_t removed = box->removed;

	sh(box->peer, command);
	cr_assert_eq(mailbox_refresh(box->mailbox, true), 0);
	wait_for(box, &box->refreshed);
	cr_assert_eq(box->removed, removed + 1);
}

Test(mailbox, what_is_held_can_be_read_whatever_goes)
{
	struct box *box = box_loaded(NULL);
	struct message *message = box->messages[2];
	char text[300];
	int fd = open_body(box, message);

	close(fd);
	cr_assert_eq(mailbox_hold(box->mailbox, message), 0);
	cr_assert_eq(mailbox_hold(box->mailbox, message), 0);
	vanish(box, "rm new/m2");
	sh(box->peer, TIDY);
	mailbox_release(box->mailbox, message);
	fd = mailbox_held(box->mailbox, message);
	snprintf(text, sizeof(text), BODY, "m2", "m2");
	cr_assert(fd >= 0 && file_holds(fd, text));
	mailbox_release(box->mailbox, message);

	message = box->messages[3];
	close(open_body(box, message));
	cr_assert_eq(mailbox_hold(box->mailbox, message), 0);
	sh(box->peer, TIDY);
	vanish(box, "rm new/m3");
	cr_assert_lt(mailbox_held(box->mailbox, message), 0, "it was gone before anybody could know");
	mailbox_release(box->mailbox, message);
	cr_assert_eq(server_count(box->peer->server, "RETR"), 2);
	box_free(box);
}

Test(mailbox, a_failed_load_says_why)
{
	static const struct { const char *fault; int err; } rows[] = {
		{ "AUTH reply -ERR [AUTH] no\\r\\n", -EACCES }, { "GREETING stall", -ETIMEDOUT },
		{ "UIDL drop 7", -EIO },                         { "TOP drop 7", -EIO },
		{ "GREETING reply hello\\r\\n", -EIO },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct box *box = box_new(FAULTS(rows[i].fault));

		cr_assert_eq(mailbox_load(box->mailbox, NULL, NULL, &box->peer->why), rows[i].err, "%s", rows[i].fault);
		cr_assert(box->peer->why.text[0]);
		cr_assert_eq(box->count, 0);
		box_free(box);
	}
}

Test(mailbox, a_load_can_be_interrupted)
{
	struct box *box = box_new(FAULTS("GREETING stall"));

	mailbox_abort(box->mailbox);
	cr_assert_eq(mailbox_load(box->mailbox, NULL, NULL, &box->peer->why), -EINTR);
	box_free(box);
}

Test(mailbox, a_message_without_a_header_gets_its_envelope_with_its_body)
{
	struct box *box = box_loaded(FAULTS("TOP reply -ERR no\\r\\n"));
	struct message_facts facts;

	cr_assert_null(mailbox_envelope(box->mailbox, box->messages[3]));
	close(open_body(box, box->messages[3]));
	cr_assert(subject_is(box->mailbox, box->messages[3], "m3"));
	mailbox_facts(box->mailbox, box->messages[3], &facts);
	cr_assert_eq(facts.mtime, 1795162320);
	box_free(box);
}

Test(mailbox, deletes_restores_commits)
{
	struct box *box = box_loaded(NULL);
	uint64_t ticket;
	int fd = open_body(box, box->messages[1]);
	char text[300];

	cr_assert_eq(mailbox_commit(box->mailbox, &ticket), 0, "nothing to do");
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[0]), 0);
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[0]), -ENOENT);
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[1]), 0);
	cr_assert_eq(mailbox_restore(box->mailbox, box->messages[0]), 0);
	cr_assert_eq(mailbox_restore(box->mailbox, box->messages[0]), -ENOENT);
	cr_assert_eq(mailbox_commit(box->mailbox, &ticket), 1);
	wait_for(box, &box->committed);
	cr_assert(box->ticket == ticket && box->committed_err == 0);
	cr_assert(peer_has(box->peer, "m0") && !peer_has(box->peer, "m1"));
	cr_assert_eq(box->removed, 1);
	snprintf(text, sizeof(text), BODY, "same", "m1");
	cr_assert(file_holds(fd, text), "deleted while open");
	close(fd);
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[1]), -ENOENT);
	box_free(box);
}

Test(mailbox, settles_at_the_end)
{
	struct box *box = box_loaded(FAULTS("QUIT#1+ reply -ERR no\\r\\n"));
	struct commit_report report;

	mailbox_settle(box->mailbox, 10, &report);
	cr_assert_eq(report.time, 0, "nothing was asked for");
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[1]), 0);
	mailbox_settle(box->mailbox, 10, &report);
	cr_assert(report.err == -EIO && report.kept == 1 && report.deleted == 0, "%s", report.why.text);
	mailbox_settle(box->mailbox, 10, &report);
	cr_assert_eq(server_count(box->peer->server, "DELE"), 2, "not again right after it");
	cr_assert(peer_has(box->peer, "m1"));
	box_free(box);
}

Test(mailbox, commits_that_meet_wait_for_one_another)
{
	struct box *box = box_loaded(FAULTS("QUIT#1 delay 300"));
	uint64_t first, second, third;

	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[0]), 0);
	cr_assert_eq(mailbox_commit(box->mailbox, &first), 1);
	cr_assert_eq(mailbox_restore(box->mailbox, box->messages[0]), -EBUSY);
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[1]), 0);
	cr_assert_eq(mailbox_commit(box->mailbox, &second), 1);
	cr_assert_eq(mailbox_commit(box->mailbox, &third), 1);
	cr_assert(second == first + 1 && third == second);
	wait_for(box, &box->committed);
	if (box->ticket != second)
		wait_for(box, &box->committed);
	cr_assert_eq(box->ticket, second);
	cr_assert(!peer_has(box->peer, "m0") && !peer_has(box->peer, "m1") && peer_has(box->peer, "m2"));
	box_free(box);
}

Test(mailbox, s17_a_vanished_message_leaves_the_list)
{
	struct box *box = box_loaded(FAULTS("RETR#1 gone"));

	cr_assert_eq(open_body(box, box->messages[2]), -ENOENT);
	for (int i = 0; i < 100 && box->removed == 0; i++)
		usleep(20000);
	cr_assert_eq(box->removed, 1);
	box_free(box);
}

Test(mailbox, new_mail_comes_with_a_new_listing)
{
	struct box *box = box_loaded(FAULTS("UIDL#3 drop 9", "UIDL#4 drop 9"));

	peer_message(box->peer, "m9", "Subject: new\n\n");
	cr_assert_eq(mailbox_refresh(box->mailbox, true), 0);
	wait_for(box, &box->refreshed);
	cr_assert(box->refreshed_err == 0 && box->count == 5 && box->removed == 0);
	cr_assert_lt(mailbox_age_ms(box->mailbox), 5000);
	cr_assert_eq(mailbox_refresh(box->mailbox, true), 0);
	wait_for(box, &box->refreshed);
	cr_assert(box->refreshed_err == -EIO && box->removed == 0, "L6: a listing that breaks off changes nothing");
	cr_assert_eq(server_count(box->peer->server, "TOP"), 5, "no header twice");
	box_free(box);
}

/* The server answers a pipelined RETR with another message: it reaches nobody, and is asked for again. */
Test(mailbox, f9_an_answer_that_was_meant_for_another)
{
	struct box *box = box_loaded(FAULTS("RETR#1 reply +OK\\r\\nSubject: not this\\r\\n\\r\\nx\\r\\n.\\r\\n"));
	char text[300];
	int fd = open_body(box, box->messages[2]);

	snprintf(text, sizeof(text), BODY, "m2", "m2");
	cr_assert(file_holds(fd, text));
	close(fd);
	cr_assert(strstr(box->note, "not to what was asked"), "%s", box->note);
	box_free(box);
}

/* T4: it differs in lock-step too: what RETR brings is the truth. */
Test(mailbox, t4_a_header_that_differs_each_time)
{
	struct box *box = box_loaded(FAULTS("RETR reply +OK\\r\\nSubject: changed\\r\\n\\r\\nx\\r\\n.\\r\\n"));
	struct message_facts facts;
	int fd = open_body(box, box->messages[2]);

	cr_assert(file_holds(fd, "Subject: changed\n\nx\n"));
	close(fd);
	mailbox_facts(box->mailbox, box->messages[2], &facts);
	cr_assert(subject_is(box->mailbox, box->messages[2], "m2"), "the name given first stays");
	cr_assert_eq(server_count(box->peer->server, "RETR"), 2);
	box_free(box);
}

/* A commit finds a message gone while a listing that has missed it too is still waiting for headers. */
Test(mailbox, a_message_that_two_find_gone)
{
	struct mailbox_status status;
	struct box *box;
	uint64_t ticket;
	char path[128];

	pipelining = LINK_PIPELINING_OFF;
	box = box_loaded(FAULTS("TOP#5+ delay 200"));
	cr_assert_eq(mailbox_delete(box->mailbox, box->messages[1]), 0);
	snprintf(path, sizeof(path), "%s/new/m1", box->peer->dir);
	cr_assert_eq(unlink(path), 0);
	peer_message(box->peer, "m8", "Subject: new\n\n");
	peer_message(box->peer, "m9", "Subject: new\n\n");
	cr_assert_eq(mailbox_refresh(box->mailbox, true), 0);
	usleep(150000); /* the first of the new headers is on the way */
	cr_assert_eq(mailbox_commit(box->mailbox, &ticket), 1);
	wait_for(box, &box->committed);
	cr_assert_eq(box->committed_err, 0);
	wait_for(box, &box->refreshed);
	cr_assert(box->refreshed_err == 0 && box->count == 6);
	mailbox_status(box->mailbox, &status);
	cr_assert(status.messages == 5 && status.pending == 0 && status.commit.gone == 1);
	box_free(box);
}

/* DESIGN 11: once the exact sizes are promised, nothing is shown whose size is an estimate. */
Test(mailbox, what_is_new_is_fetched_before_it_is_shown)
{
	struct box *box = box_loaded(FAULTS("RETR@5 reply -ERR not this one\\r\\n"));
	struct message_facts facts;

	for (int i = 0; i < 4; i++) {
		cr_assert_not(mailbox_promise_exact(box->mailbox));
		close(open_body(box, box->messages[i]));
	}
	cr_assert(mailbox_promise_exact(box->mailbox));
	peer_message(box->peer, "m7", "Subject: refused at first\n\nbody\n");
	peer_message(box->peer, "m8", "Subject: new\n\nbody\n");
	cr_assert_eq(mailbox_refresh(box->mailbox, true), 0);
	wait_for(box, &box->refreshed);
	cr_assert_neq(box->refreshed_err, 0, "one could not be fetched");
	cr_assert_eq(box->count, 5, "and is not shown");
	cr_assert(strstr(box->note, "new mail could not be fetched"), "%s", box->note);
	mailbox_facts(box->mailbox, box->messages[4], &facts);
	cr_assert(facts.exact && facts.octets == strlen("Subject: new\n\nbody\n"));
	peer_restart_server(box->peer, NULL);
	cr_assert_eq(mailbox_refresh(box->mailbox, true), 0);
	wait_for(box, &box->refreshed);
	cr_assert(box->refreshed_err == 0 && box->count == 6, "the next listing brings it");
	cr_assert(mailbox_promise_exact(box->mailbox));
	box_free(box);
}

Test(mailbox, reads_on_when_the_cache_is_removed_under_it)
{
	struct box *box = box_loaded(NULL);
	char text[300];
	int fd;

	sh(box->peer, "rm -rf cache");
	fd = open_body(box, box->messages[0]);
	snprintf(text, sizeof(text), BODY, "same", "m0");
	cr_assert(file_holds(fd, text));
	close(fd);
	box_free(box);
}

Test(tree, names_lookups_and_listings)
{
	struct box *box = box_loaded(NULL);
	struct tree_listing *listing = tree_list(box->tree, TREE_ROOT), *later;
	uint64_t ino = message_ino(box->messages[0]), dir = 0;
	struct message *message;
	char name[256], found[256];

	cr_assert_eq(listing->count, 4);
	for (size_t i = 1; i < 4; i++)
		cr_assert_lt(strcmp(node_name(listing->nodes[i - 1]), node_name(listing->nodes[i])), 0, "sorted, no two equal");
	cr_assert(strstr(node_name(listing->nodes[2]), "_A_same.eml"), "the first of two equal names stays short");
	cr_assert(strstr(node_name(listing->nodes[3]), "_A_same_"), "the second is told apart by its hash");
	snprintf(name, sizeof(name), "%s", node_name(listing->nodes[2]));
	message = tree_lookup(box->tree, TREE_ROOT, name, true);
	cr_assert_eq(message, box->messages[0]);
	message_unref(message);
	cr_assert(tree_is_known(box->tree, ino));
	tree_move(box->tree, ino, TREE_DELETED);
	cr_assert_null(tree_lookup(box->tree, TREE_ROOT, name, false));
	message = tree_lookup(box->tree, TREE_DELETED, name, false);
	cr_assert_eq(message, box->messages[0]);
	message_unref(message);
	cr_assert_eq(listing->count, 4, "a listing stays as it was");
	later = tree_list(box->tree, TREE_DELETED);
	cr_assert_eq(later->count, 1);
	tree_list_free(later);
	cr_assert(tree_find(box->tree, ino, &dir, found));
	cr_assert(dir == TREE_DELETED && strcmp(found, name) == 0);
	cr_assert(tree_remove(box->tree, ino));
	cr_assert_not(tree_remove(box->tree, ino));
	cr_assert_not(tree_find(box->tree, ino, &dir, found));
	message = tree_message(box->tree, ino, false);
	cr_assert_eq(message, box->messages[0], "the kernel still holds it");
	message_unref(message);
	tree_forget(box->tree, ino, 5);
	cr_assert_not(tree_is_known(box->tree, ino));
	tree_list_free(listing);
	tree_list_free(tree_list(box->tree, TREE_ROOT));
	cr_assert_null(tree_message(box->tree, ino, false), "now nobody does");
	tree_forget(box->tree, ino, 1);
	box_free(box);
}

static enum pop3_err get(const char *file, const char *command, struct secret *secret, struct pop3_why *why)
{
	struct options options = { .password_file = (char *)(uintptr_t)file,
				   .password_command = (char *)(uintptr_t)command };
	struct secret_source source;
	enum pop3_err err;

	cr_assert(secret_source_open(&source, &options, why));
	err = secret_source_get(&source, -1, secret, why);
	secret_source_close(&source);
	return err;
}

Test(secret, from_a_file_or_a_command)
{
	char path[] = "/tmp/pop3fs-secret-XXXXXX";
	struct secret secret = { 0 };
	struct pop3_why why;
	int fd = mkstemp(path);

	cr_assert_eq(write(fd, "one two\r\nthree\n", 15), 15);
	cr_assert_eq(get(path, NULL, &secret, &why), POP3_OK, "%s", why.text);
	cr_assert_str_eq(secret.text, "one two");
	cr_assert_eq(fchmod(fd, 0644), 0);
	cr_assert_eq(get(path, NULL, &secret, &why), POP3_E_SECRET);
	cr_assert(strstr(why.text, "others can read it"), "%s", why.text);
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_assert_eq(fchmod(fd, 0600), 0);
	cr_assert_eq(get(path, NULL, &secret, &why), POP3_E_SECRET);
	cr_assert_eq(get("/nonexistent", NULL, &secret, &why), POP3_E_SECRET);
	cr_assert(strstr(why.text, "/nonexistent"), "%s", why.text);
	close(fd);
	unlink(path);
	cr_assert_eq(get(NULL, "printf 'a b\\nc\\n'", &secret, &why), POP3_OK, "%s", why.text);
	cr_assert_str_eq(secret.text, "a b");
	cr_assert_eq(get(NULL, "echo x; exit 3", &secret, &why), POP3_E_SECRET);
	cr_assert(strstr(why.text, "exit status 3"), "%s", why.text);
	cr_assert_eq(get(NULL, "true", &secret, &why), POP3_E_SECRET);
	cr_assert_eq(get(NULL, "head -c 100000 /dev/zero | tr '\\0' x", &secret, &why), POP3_E_SECRET);
	secret_wipe(&secret);
}
