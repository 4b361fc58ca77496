/* SPDX-License-Identifier: MIT */
/* The store: whole bodies only, on the disk and in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/store.h"
#include "tests/unit/support.h"

/* A whole body under a key; returns its stamp. */
static int64_t put_body(struct store *store, const char *key, const char *text)
{
	struct store_writer writer;
	int64_t stamp;
	int fd;

	cr_assert_eq(store_begin(store, &writer), 0);
	cr_assert_eq(store_write(&writer, text, strlen(text)), 0);
	cr_assert_eq(store_finish(&writer, key, &stamp, &fd), 0);
	cr_assert(file_holds(fd, text));
	close(fd);
	return stamp;
}

static bool store_holds(struct store *store, const char *key, const char *text, int64_t stamp)
{
	int fd = store_open(store, key, strlen(text), stamp);
	bool held = fd >= 0 && file_holds(fd, text);

	if (fd >= 0)
		close(fd);
	return held;
}

static struct store *new_store(char *dir)
{
	struct store *store;

	strcpy(dir, "/tmp/pop3fs-store-XXXXXX");
	cr_assert(mkdtemp(dir));
	cr_assert_eq(store_new(dir, &store), 0);
	return store;
}

static void remove_store(struct store *store, const char *dir)
{
	char command[64];

	store_free(store);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_assert_eq(system(command), 0);
}

Test(store, keeps_whole_bodies_only)
{
	struct store_writer writer;
	struct store *store;
	char dir[32];
	int64_t stamp;
	int fd;

	store = new_store(dir);
	cr_assert_eq(store_open(store, "../key", 5, 1), -ENOENT);
	cr_assert_eq(store_begin(store, &writer), 0);
	cr_assert_eq(store_write(&writer, "half", 4), 0);
	cr_assert_eq(store_open(store, "../key", 4, 1), -ENOENT, "not before it is whole");
	store_abandon(&writer);
	store_abandon(&writer);
	stamp = put_body(store, "../key", "whole");
	cr_assert_neq(stamp, 0);
	fd = store_open(store, "../key", 5, stamp);
	cr_assert(file_holds(fd, "whole"));
	store_remove(store, "../key");
	cr_assert_eq(store_open(store, "../key", 5, stamp), -ENOENT);
	cr_assert(file_holds(fd, "whole"), "an open file is read to its end");
	close(fd);
	remove_store(store, dir);
	store_free(NULL);
}

Test(store, believes_only_the_body_that_it_knows)
{
	struct store *store;
	char dir[32];
	int64_t stamp;

	store = new_store(dir);
	stamp = put_body(store, "k", "whole");
	cr_assert_eq(store_open(store, "k", 4, stamp), -ENOENT, "another size");
	cr_assert_not(store_holds(store, "k", "whole", stamp), "what is not believed is removed");
	stamp = put_body(store, "k", "whole");
	cr_assert_eq(store_open(store, "k", 5, stamp - 1), -ENOENT, "another time");
	stamp = put_body(store, "k", "whole");
	cr_assert(store_holds(store, "k", "whole", stamp));
	cr_assert_eq(put_body(store, "k", "whole"), stamp, "another mount has put it there: that one stays");
	stamp = put_body(store, "k", "longer");
	cr_assert(store_holds(store, "k", "longer", stamp), "of another size it is put in its place");
	remove_store(store, dir);
}

Test(store, removes_what_nobody_knows)
{
	struct store_writer writer;
	struct store *store;
	char dir[32];
	int64_t a, b;

	store = new_store(dir);
	a = put_body(store, "a", "aa");
	b = put_body(store, "b", "bb");
	cr_assert_eq(store_begin(store, &writer), 0);
	cr_assert_eq(store_keep(store, "b"), 0);
	cr_assert_eq(store_keep(store, "elsewhere"), 0);
	store_tidy(store);
	cr_assert_not(store_holds(store, "a", "aa", a));
	cr_assert(store_holds(store, "b", "bb", b));
	store_abandon(&writer);
	store_shed(store, 1);
	cr_assert_not(store_holds(store, "b", "bb", b));
	remove_store(store, dir);
}

Test(store, in_memory_leaves_nothing_behind)
{
	struct store *store;

	cr_assert_eq(store_new(NULL, &store), 0);
	cr_assert_eq(put_body(store, "a", "aa"), 0);
	cr_assert_eq(put_body(store, "a", "AA"), 0);
	cr_assert(store_holds(store, "a", "AA", 0));
	cr_assert_eq(store_open(store, "b", 2, 0), -ENOENT);
	store_remove(store, "a");
	cr_assert_eq(store_open(store, "a", 2, 0), -ENOENT);
	cr_assert_eq(put_body(store, "b", "bb"), 0);
	store_free(store);
}

/* What happens in the middle of a message is seen in tests/e2e/test_kill.sh. */
Test(store, a_full_disk_turns_it_to_memory)
{
	struct store_writer writer;
	struct store *store;
	char dir[32];
	int64_t stamp;
	int fd, full = open("/dev/full", O_RDWR | O_CLOEXEC);

	store = new_store(dir);
	cr_assert_eq(store_begin(store, &writer), 0);
	cr_assert_eq(dup2(full, writer.fd), writer.fd);
	close(full);
	cr_assert_eq(store_write(&writer, "whole", 5), 0);
	cr_assert_eq(store_finish(&writer, "k", &stamp, &fd), 0);
	cr_assert_eq(stamp, 0, "nobody believes in it later");
	cr_assert(file_holds(fd, "whole"));
	close(fd);
	cr_assert(store_holds(store, "k", "whole", 0));
	remove_store(store, dir);
}

/* So many MiB of one letter, while the disk is full. */
static int put_large(struct store *store, const char *key, size_t mib)
{
	static char octets[1 << 20];
	struct store_writer writer;
	int64_t stamp;
	int fd, err, full = open("/dev/full", O_RDWR | O_CLOEXEC);

	memset(octets, key[0], sizeof(octets));
	cr_assert_eq(store_begin(store, &writer), 0);
	cr_assert_eq(dup2(full, writer.fd), writer.fd);
	close(full);
	for (err = 0; !err && mib > 0; mib--)
		err = store_write(&writer, octets, sizeof(octets));
	if (err) {
		store_abandon(&writer);
		return err;
	}
	err = store_finish(&writer, key, &stamp, &fd);
	if (!err)
		close(fd);
	return err;
}

Test(store, memory_takes_64_mib_of_a_full_disk)
{
	struct store *store;
	char dir[32];
	int fd;

	store = new_store(dir);
	cr_assert_eq(put_large(store, "large", 65), -ENOSPC);
	cr_assert_eq(put_large(store, "a", 40), 0);
	cr_assert_eq(put_large(store, "b", 20), 0);
	fd = store_open(store, "a", 40 << 20, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(put_large(store, "c", 30), 0);
	cr_assert_eq(store_open(store, "a", 40 << 20, 0), -ENOENT, "the oldest goes");
	cr_assert_eq(lseek(fd, 0, SEEK_END), 40 << 20, "who has it open reads on");
	close(fd);
	fd = store_open(store, "b", 20 << 20, 0);
	cr_assert_geq(fd, 0);
	close(fd);
	remove_store(store, dir);
}

Test(store, says_why_it_cannot_be_opened)
{
	struct store *store;

	cr_assert_eq(store_new("/proc/nowhere", &store), -ENOENT);
	cr_assert_eq(store_new("/dev/null/x", &store), -ENOTDIR);
}
