/* SPDX-License-Identifier: MIT */
/* The index: what it keeps, what it takes for damage, what it saves from it; and the place with its locks. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/index.h"
#include "cache/place.h"
#include "tests/unit/support.h"

struct bench {
	char dir[32], path[64];
	struct index_config config;
	struct index *index;
	char note[1000];
	struct index_row row; /* the newest that was handed out, */
	char key[100], name[100]; /* and its strings */
	size_t rows;
};

static void take_note(void *ctx, const char *text)
{
	struct bench *bench = ctx;

	snprintf(bench->note, sizeof(bench->note), "%s", text);
}

static void take_row(void *ctx, const struct index_row *row)
{
	struct bench *bench = ctx;

	bench->row = *row;
	snprintf(bench->key, sizeof(bench->key), "%s", row->key);
	snprintf(bench->name, sizeof(bench->name), "%s", row->name ? row->name : "");
	bench->rows++;
}

static void open_index(struct bench *bench)
{
	struct pop3_why why = { "" };

	cr_assert_eq(index_open(&bench->config, &bench->index, &why), 0, "%s", why.text);
}

static void bench_open(struct bench *bench)
{
	*bench = (struct bench){ .dir = "/tmp/pop3fs-index-XXXXXX" };
	cr_assert(mkdtemp(bench->dir));
	snprintf(bench->path, sizeof(bench->path), "%s/index.sqlite", bench->dir);
	bench->config = (struct index_config){ bench->path, "u@h:995, lf", "%s", true, take_note, bench };
	open_index(bench);
}

static void bench_close(struct bench *bench)
{
	char command[64];

	index_close(bench->index);
	snprintf(command, sizeof(command), "rm -r %s", bench->dir);
	cr_assert_eq(system(command), 0);
}

static uint64_t insert(struct bench *bench, const char *key)
{
	static const struct envelope envelope = { "From", "Name", "addr", "To", "Subject", "<id>", 1, 2 };
	const struct index_row row = { .key = key, .listed = 100, .octets = 100, .header = INDEX_HEADER_KNOWN,
				       .digest = 0xfedcba9876543210, .mtime = 1, .ctime = 2 };
	uint64_t id;

	index_begin(bench->index);
	id = index_insert(bench->index, &row, &envelope);
	cr_assert_eq(index_end(bench->index), 0);
	return id;
}

static bool find(struct bench *bench, const char *key)
{
	bool found;

	index_begin(bench->index);
	found = index_find(bench->index, key, take_row, bench);
	cr_assert_eq(index_end(bench->index), 0);
	return found;
}

static size_t count(struct bench *bench)
{
	bench->rows = 0;
	cr_assert_eq(index_each(bench->index, take_row, bench), 0);
	return bench->rows;
}

static void reopen(struct bench *bench)
{
	index_close(bench->index);
	open_index(bench);
}

Test(index, keeps_rows_and_envelopes)
{
	struct bench bench;
	struct index_row update = { .octets = 90, .exact = true, .stamp = 77, .name = "name.eml", .used = 5 };
	struct envelope *envelope;
	uint64_t a;

	bench_open(&bench);
	cr_assert(index_was_clean(bench.index));
	a = insert(&bench, "a");
	cr_assert_eq(a, 16, "the first inode number of a message");
	cr_assert_eq(insert(&bench, "with\nlines\xff"), 17);
	update.id = a;
	index_begin(bench.index);
	index_update(bench.index, &update);
	index_listed(bench.index, 1234);
	cr_assert_eq(index_end(bench.index), 0);
	reopen(&bench);
	cr_assert_eq(count(&bench), 2);
	cr_assert_str_eq(bench.key, "with\nlines\xff", "by id");
	cr_assert(find(&bench, "a"));
	cr_assert(bench.row.id == a && bench.row.octets == 90 && bench.row.listed == 100 && bench.row.exact);
	cr_assert(bench.row.stamp == 77 && bench.row.used == 5 && bench.row.mtime == 1 && bench.row.ctime == 2);
	cr_assert(bench.row.digest == 0xfedcba9876543210 && bench.row.header == INDEX_HEADER_KNOWN);
	cr_assert_str_eq(bench.name, "name.eml");
	cr_assert_not(find(&bench, "b"));
	envelope = index_envelope(bench.index, a);
	cr_assert_str_eq(envelope->from_addr, "addr");
	cr_assert_str_eq(envelope->message_id, "<id>");
	cr_assert(envelope->date == 1 && envelope->received == 2);
	free(envelope);
	cr_assert_null(index_envelope(bench.index, 99));
	bench_close(&bench);
}

Test(index, an_id_is_given_once)
{
	struct bench bench;
	uint64_t a, again;

	bench_open(&bench);
	a = insert(&bench, "a");
	index_begin(bench.index);
	index_remove(bench.index, "a");
	cr_assert_eq(index_end(bench.index), 0);
	again = insert(&bench, "a");
	cr_assert_gt(again, a, "after it was deleted");
	index_begin(bench.index);
	index_gone(bench.index, again);
	cr_assert_eq(index_end(bench.index), 0);
	cr_assert_eq(count(&bench), 0, "what has gone is not listed");
	cr_assert(find(&bench, "a"));
	cr_assert_gt(bench.row.id, again, "after it has come back");
	cr_assert_eq(count(&bench), 1);
	cr_assert_gt(insert(&bench, "b"), bench.row.id);
	bench_close(&bench);
}

Test(index, a_transaction_that_fails_does_nothing)
{
	struct bench bench;
	struct index_row row = { .key = "b", .header = INDEX_HEADER_KNOWN };

	bench_open(&bench);
	insert(&bench, "a");
	index_begin(bench.index);
	index_insert(bench.index, &row, NULL);
	row.key = "a";
	index_insert(bench.index, &row, NULL); /* there is one */
	row.key = "c";
	index_insert(bench.index, &row, NULL);
	cr_assert_lt(index_end(bench.index), 0);
	cr_assert_eq(count(&bench), 1);
	bench_close(&bench);
}

Test(index, pending_deletions)
{
	struct bench bench;
	struct index_summary summary;

	bench_open(&bench);
	insert(&bench, "a");
	insert(&bench, "b");
	cr_assert_eq(index_pend(bench.index, "a"), 0);
	cr_assert_eq(index_pend(bench.index, "a"), 0);
	cr_assert_eq(index_pend(bench.index, "elsewhere"), 0);
	reopen(&bench);
	cr_assert(find(&bench, "a") && bench.row.pending);
	cr_assert(find(&bench, "b") && !bench.row.pending);
	cr_assert_eq(index_is_pending(bench.index, "a"), 1);
	cr_assert_eq(index_is_pending(bench.index, "b"), 0);
	cr_assert_eq(index_summary(bench.index, &summary), 0);
	cr_assert(summary.pending == 2 && summary.messages == 2 && summary.listed == 0);
	index_begin(bench.index);
	index_listed(bench.index, 5);
	cr_assert_eq(index_end(bench.index), 0);
	cr_assert_eq(index_is_pending(bench.index, "elsewhere"), 0, "a complete listing did not have it");
	cr_assert_eq(index_is_pending(bench.index, "a"), 1);
	cr_assert_eq(index_unpend(bench.index, "a"), 0);
	cr_assert_eq(index_is_pending(bench.index, "a"), 0);
	bench_close(&bench);
}

Test(index, what_has_gone_is_taken_oldest_first)
{
	struct bench bench;
	char key[100];
	uint64_t a, b;

	bench_open(&bench);
	a = insert(&bench, "a");
	b = insert(&bench, "b");
	index_begin(bench.index);
	index_gone(bench.index, b);
	cr_assert_eq(index_end(bench.index), 0);
	cr_assert_eq(index_take_gone(bench.index, 1000, key, sizeof(key)), 0, "not since so long");
	cr_assert_eq(index_take_gone(bench.index, INT64_MAX, key, sizeof(key)), 1);
	cr_assert_str_eq(key, "b");
	cr_assert_eq(index_take_gone(bench.index, INT64_MAX, key, sizeof(key)), 0);
	cr_assert(find(&bench, "a") && bench.row.id == a);
	bench_close(&bench);
}

Test(index, names_belong_to_a_template)
{
	struct bench bench;
	struct index_row update = { .octets = 1, .name = "name.eml" };

	bench_open(&bench);
	update.id = insert(&bench, "a");
	index_begin(bench.index);
	index_update(bench.index, &update);
	cr_assert_eq(index_end(bench.index), 0);
	bench.config.template = "%f";
	reopen(&bench);
	cr_assert(find(&bench, "a"));
	cr_assert_str_eq(bench.name, "", "with another template it has another name");
	bench_close(&bench);
}

Test(index, knows_who_has_crashed)
{
	struct bench bench;
	struct index *other;
	struct pop3_why why;

	bench_open(&bench);
	reopen(&bench);
	cr_assert(index_was_clean(bench.index));
	bench.config.alone = false;
	cr_assert_eq(index_open(&bench.config, &other, &why), 0);
	index_close(bench.index); /* and the other never ends */
	bench.config.alone = true;
	open_index(&bench);
	cr_assert_not(index_was_clean(bench.index));
	reopen(&bench);
	cr_assert(index_was_clean(bench.index));
	bench_close(&bench);
	index_close(other);
}

/* Runs SQL on the index's file while nobody has it. */
static void run_sql(struct bench *bench, const char *sql)
{
	sqlite3 *db;

	index_close(bench->index);
	bench->index = NULL;
	cr_assert_eq(sqlite3_open(bench->path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

Test(index, sets_aside_what_it_cannot_use)
{
	static const struct { const char *sql, *note; int pending; } rows[] = {
		{ "PRAGMA user_version = 99", "newer version", 1 },
		{ "PRAGMA application_id = 1", "not pop3fs's", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bench bench;

		bench_open(&bench);
		insert(&bench, "a");
		cr_assert_eq(index_pend(bench.index, "a"), 0);
		run_sql(&bench, rows[i].sql);
		open_index(&bench);
		cr_assert(strstr(bench.note, "index set aside as") && strstr(bench.note, rows[i].note), "%s", bench.note);
		cr_assert_eq(count(&bench), 0);
		cr_assert_eq(index_is_pending(bench.index, "a"), rows[i].pending, "%s", rows[i].sql);
		bench_close(&bench);
	}
}

Test(index, is_not_set_aside_under_another_mount)
{
	struct bench bench;
	struct pop3_why why;

	bench_open(&bench);
	run_sql(&bench, "PRAGMA user_version = 99");
	bench.config.alone = false;
	cr_assert_lt(index_open(&bench.config, &bench.index, &why), 0);
	cr_assert(strstr(why.text, "another mount uses it"), "%s", why.text);
	bench.index = NULL;
	bench_close(&bench);
}

Test(index, a_file_cut_at_any_page)
{
	for (off_t size = 1; size < 60000; size += 4096) {
		struct bench bench;
		struct pop3_why why = { "" };

		bench_open(&bench);
		for (int i = 0; i < 50; i++) {
			char key[16];

			snprintf(key, sizeof(key), "k%d", i);
			insert(&bench, key);
		}
		index_close(bench.index);
		bench.index = NULL;
		cr_assert_eq(truncate(bench.path, size), 0);
		cr_assert_eq(index_open(&bench.config, &bench.index, &why), 0, "%lld: %s", (long long)size, why.text);
		count(&bench);
		insert(&bench, "new");
		bench_close(&bench);
	}
}

Test(index, a_copy_has_nothing_pending)
{
	struct bench bench;
	char command[200];

	bench_open(&bench);
	insert(&bench, "a");
	cr_assert_eq(index_pend(bench.index, "a"), 0);
	index_close(bench.index);
	snprintf(command, sizeof(command), "cd %s && cp -p index.sqlite x && mv x index.sqlite", bench.dir);
	cr_assert_eq(system(command), 0);
	open_index(&bench);
	cr_assert_eq(index_is_pending(bench.index, "a"), 0);
	cr_assert(strstr(bench.note, "was copied"), "%s", bench.note);
	cr_assert_eq(count(&bench), 1, "the rest is as good as before");
	cr_assert_eq(index_pend(bench.index, "a"), 0);
	reopen(&bench);
	cr_assert_eq(index_is_pending(bench.index, "a"), 1, "from now on it is an original");
	bench_close(&bench);
}

Test(index, in_memory)
{
	struct bench bench = { .config = { NULL, "", "%s", true, take_note, &bench } };

	open_index(&bench);
	insert(&bench, "a");
	cr_assert_eq(index_pend(bench.index, "a"), 0);
	cr_assert(find(&bench, "a") && bench.row.pending);
	index_close(bench.index);
}

static const struct account account = { .host = "h", .port = 995, .user = "u/../x", .lf = true };

static bool answer(void *ctx, const char *path)
{
	(void)path;
	return *(bool *)ctx;
}

Test(place, is_named_after_the_account_and_locked)
{
	char dir[] = "/tmp/pop3fs-place-XXXXXX", command[64];
	struct place *place, *second;
	bool yes = true, no = false;
	struct pop3_why why;
	char *path;
	int commit;

	cr_assert(mkdtemp(dir));
	path = place_path(dir, &account);
	cr_assert(strstr(path, "/u_.._x@h-995-lf-"), "%s", path);
	cr_assert_eq(place_open(dir, &account, &place, &why), 0, "%s", why.text);
	cr_assert(place_is_alone(place));
	cr_assert_str_eq(place_account(place), "u/../x@h:995, lf");
	place_share(place);
	cr_assert_eq(place_open(dir, &account, &second, &why), 0);
	cr_assert_not(place_is_alone(second));
	cr_assert_eq(place_clear(path, answer, &yes), -EBUSY);
	commit = place_lock_commit(second, false);
	cr_assert_geq(commit, 0);
	cr_assert_eq(place_lock_commit(place, true), -EBUSY, "nothing is taken back while somebody commits");
	close(commit);
	commit = place_lock_commit(place, true);
	cr_assert_geq(commit, 0);
	close(commit);
	place_close(second);
	place_close(place);
	cr_assert_eq(place_open(dir, &account, &place, &why), 0);
	cr_assert(place_is_alone(place), "the others have ended");
	place_close(place);
	cr_assert_eq(place_clear(path, answer, &no), -ECANCELED);
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert_eq(place_clear(path, answer, &yes), 0);
	cr_assert_eq(access(path, F_OK), -1);
	free(path);
	snprintf(command, sizeof(command), "rmdir %s", dir);
	cr_assert_eq(system(command), 0);
}

Test(place, waits_for_a_mount_that_ends)
{
	char dir[] = "/tmp/pop3fs-place-XXXXXX", command[64];
	struct place *place;
	struct pop3_why why;
	int ready[2];
	pid_t pid;
	char octet;

	cr_assert(mkdtemp(dir));
	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (place_open(dir, &account, &place, &why) != 0)
			_exit(1);
		place_share(place);
		place_end(place);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		usleep(700000); /* longer than it would wait for one that stays */
		_exit(0);
	}
	cr_assert_eq(read(ready[0], &octet, 1), 1);
	cr_assert_eq(place_open(dir, &account, &place, &why), 0);
	cr_assert(place_is_alone(place));
	place_close(place);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_assert_eq(system(command), 0);
}

Test(place, says_why_it_cannot_be_had)
{
	struct place *place;
	struct pop3_why why;

	cr_assert_lt(place_open("/proc/nowhere", &account, &place, &why), 0);
	cr_assert(strstr(why.text, "cache_dir=/proc/nowhere"), "%s", why.text);
	cr_assert_lt(place_open("/dev/null/x", &account, &place, &why), 0);
}
