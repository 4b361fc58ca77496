/* SPDX-License-Identifier: MIT */
#include "cache/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define NAME_SIZE (2 * SHA256_DIGEST_LENGTH + 1)
/* So much is held in memory when the disk takes no more; the oldest goes first. */
#define SPILL_MAX (UINT64_C(64) << 20)
/* What comes in small pieces is written in such large ones. */
#define BUFFER_SIZE 65536
/* From so many bodies on, one syncfs() is quicker than a sync of each. */
#define SYNC_EACH_MAX 8

/* A body in memory. */
struct held {
	char *key;
	int fd;
	uint64_t octets;
	UT_hash_handle hh; /* in the order in which they came */
};

struct store {
	int dir; /* -1: all is in memory */
	uint64_t mount; /* a random number: temporary files of several mounts do not meet */
	pthread_mutex_t lock;
	uint64_t writers; /* so far, under lock: names temporary files; likewise: */
	struct held *held;
	uint64_t held_octets;
	/* of store_keep() */
	char (*kept)[NAME_SIZE];
	size_t n_kept, room;
};

static void body_name(const char *key, char name[NAME_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)key, strlen(key), digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		name[2 * i] = digits[digest[i] >> 4];
		name[2 * i + 1] = digits[digest[i] & 15];
	}
	name[NAME_SIZE - 1] = '\0';
}

static void temporary_name(const struct store *store, uint64_t number, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "new-%016llx-%llu", (unsigned long long)store->mount, (unsigned long long)number);
}

/* Each body in memory takes a descriptor. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int store_new(const char *path, struct store **store_r)
{
	struct store *store = calloc(1, sizeof(*store));
	int err = 0;

	if (!store)
		return -ENOMEM;
	pthread_mutex_init(&store->lock, NULL);
	store->dir = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (path && store->dir < 0)
		err = -errno;
	else if (getrandom(&store->mount, sizeof(store->mount), 0) != sizeof(store->mount))
		err = -EIO;
	if (!path)
		raise_descriptors();
	if (err) {
		store_free(store);
		return err;
	}
	*store_r = store;
	return 0;
}

/* Lets a body in memory go, under lock. */
static void release_locked(struct store *store, struct held *held)
{
	HASH_DEL(store->held, held);
	store->held_octets -= held->octets;
	close(held->fd);
	free(held->key);
	free(held);
}

void store_free(struct store *store)
{
	if (!store)
		return;
	while (store->held)
		release_locked(store, store->held);
	if (store->dir >= 0)
		close(store->dir);
	pthread_mutex_destroy(&store->lock);
	free(store->kept);
	free(store);
}

/* A new body in memory; when there are no descriptors left, the oldest is given up for it. */
static int new_memfd(struct store *store)
{
	int fd = memfd_create("pop3fs", MFD_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	if (err == -EMFILE || err == -ENFILE) {
		pthread_mutex_lock(&store->lock);
		if (store->held)
			release_locked(store, store->held);
		pthread_mutex_unlock(&store->lock);
		fd = memfd_create("pop3fs", MFD_CLOEXEC);
		err = fd < 0 ? -errno : 0;
	}
	return err ? err : fd;
}

/* The disk takes no more, for now or for good, or somebody has removed the directory: memory can do it. */
static bool is_disk_trouble(int err)
{
	return err == -ENOENT || err == -ENOSPC || err == -EDQUOT || err == -EIO || err == -EROFS || err == -EFBIG;
}

int store_begin(struct store *store, struct store_writer *writer_r)
{
	char name[NAME_SIZE];
	int err = 0;

	pthread_mutex_lock(&store->lock);
	*writer_r = (struct store_writer){ .store = store, .fd = -1, .number = ++store->writers };
	pthread_mutex_unlock(&store->lock);
	writer_r->in_memory = store->dir < 0;
	if (!writer_r->in_memory) {
		temporary_name(store, writer_r->number, name);
		writer_r->fd = openat(store->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		err = writer_r->fd < 0 ? -errno : 0;
		writer_r->in_memory = is_disk_trouble(err);
	}
	if (writer_r->in_memory) {
		writer_r->fd = new_memfd(store);
		err = writer_r->fd < 0 ? writer_r->fd : 0;
	}
	return err;
}

/* Writes all of it; *done_r: as much as was written. */
static int write_all(int fd, const char *octets, size_t len, size_t *done_r)
{
	*done_r = 0;
	while (*done_r < len) {
		ssize_t n = write(fd, octets + *done_r, len - *done_r);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		*done_r += (size_t)n;
	}
	return 0;
}

/* Closes what was written, and removes it. */
static void drop_file(struct store_writer *writer)
{
	char name[NAME_SIZE];

	if (!writer->in_memory) {
		temporary_name(writer->store, writer->number, name);
		unlinkat(writer->store->dir, name, 0);
	}
	close(writer->fd);
	writer->fd = -1;
}

/* The disk is full: what is written already goes to memory, and so does what follows. */
static int move_to_memory(struct store_writer *writer)
{
	struct store_writer moved = *writer;
	char buf[65536];
	uint64_t at = 0;
	size_t done;
	int err = 0;

	if (writer->octets > SPILL_MAX)
		return -ENOSPC;
	moved.in_memory = true;
	moved.fd = new_memfd(writer->store);
	if (moved.fd < 0)
		return -ENOSPC;
	while (!err && at < writer->octets) {
		size_t want = writer->octets - at < sizeof(buf) ? (size_t)(writer->octets - at) : sizeof(buf);
		ssize_t n = pread(writer->fd, buf, want, (off_t)at);

		err = n <= 0 ? -EIO : write_all(moved.fd, buf, (size_t)n, &done);
		at += n > 0 ? (uint64_t)n : 0;
	}
	if (err) {
		close(moved.fd);
		return err;
	}
	drop_file(writer);
	*writer = moved;
	return 0;
}

/* Writes octets to the file, or where the disk takes no more, to memory. */
static int write_through(struct store_writer *writer, const char *octets, size_t len)
{
	size_t done;
	int err = write_all(writer->fd, octets, len, &done);

	writer->octets += done;
	if (err && !writer->in_memory && is_disk_trouble(err)) {
		err = move_to_memory(writer);
		if (!err)
			err = write_all(writer->fd, octets + done, len - done, &done);
		if (!err)
			writer->octets += done;
	}
	if (!err && writer->in_memory && writer->store->dir >= 0 && writer->octets > SPILL_MAX)
		err = -ENOSPC;
	return err;
}

static int flush(struct store_writer *writer)
{
	size_t len = writer->buffered;

	writer->buffered = 0;
	return len > 0 ? write_through(writer, writer->buffer, len) : 0;
}

int store_write(struct store_writer *writer, const char *octets, size_t len)
{
	int err = 0;

	if (writer->buffered + len > BUFFER_SIZE)
		err = flush(writer);
	if (err || len > BUFFER_SIZE)
		return err ? err : write_through(writer, octets, len);
	if (!writer->buffer && !(writer->buffer = malloc(BUFFER_SIZE)))
		return write_through(writer, octets, len);
	memcpy(writer->buffer + writer->buffered, octets, len);
	writer->buffered += len;
	return 0;
}

/* What a later file of the same name does not have; never 0. */
static int64_t stamp_of(const struct stat *st)
{
	int64_t stamp = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;

	return stamp ? stamp : 1;
}

static struct held *find_locked(struct store *store, const char *key)
{
	struct held *held;

	HASH_FIND_STR(store->held, key, held);
	return held;
}

/* Takes a body in memory over from its writer. */
static int hold(struct store_writer *writer, const char *key, int *fd_r)
{
	struct store *store = writer->store;
	struct held *held = calloc(1, sizeof(*held)), *old;
	int fd = held ? fcntl(writer->fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (fd < 0 || !(held->key = strdup(key))) {
		if (fd >= 0)
			close(fd);
		free(held);
		return -ENOMEM;
	}
	held->fd = writer->fd;
	held->octets = writer->octets;
	writer->fd = -1;
	pthread_mutex_lock(&store->lock);
	old = find_locked(store, key);
	if (old)
		release_locked(store, old);
	HASH_ADD_KEYPTR(hh, store->held, held->key, strlen(held->key), held);
	if (!held->hh.tbl) { /* out of memory: whoever has fd reads it, nobody after that */
		close(held->fd);
		free(held->key);
		free(held);
	} else {
		store->held_octets += held->octets;
	}
	while (store->dir >= 0 && store->held_octets > SPILL_MAX && store->held != held)
		release_locked(store, store->held);
	pthread_mutex_unlock(&store->lock);
	*fd_r = fd;
	return 0;
}

/* Puts a file under its name. What stands there already, of the same size, is another mount's: it stays. */
static int place_file(struct store_writer *writer, const char *temporary, const char *name)
{
	const int dir = writer->store->dir;
	struct stat st;
	int fd;

	if (renameat2(dir, temporary, dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	fd = errno == EEXIST ? openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == writer->octets) {
		unlinkat(dir, temporary, 0);
		close(writer->fd);
		writer->fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return renameat(dir, temporary, dir, name) == 0 ? 0 : -errno;
}

static int finish_file(struct store_writer *writer, const char *key, int64_t *stamp_r, int *fd_r)
{
	char temporary[NAME_SIZE], name[NAME_SIZE];
	struct stat st;
	int err;

	temporary_name(writer->store, writer->number, temporary);
	body_name(key, name);
	err = place_file(writer, temporary, name);
	if (err)
		return err;
	if (fstat(writer->fd, &st) != 0)
		return -errno;
	*stamp_r = stamp_of(&st);
	*fd_r = writer->fd;
	writer->fd = -1;
	return 0;
}

int store_finish(struct store_writer *writer, const char *key, int64_t *stamp_r, int *fd_r)
{
	int err = flush(writer);

	*stamp_r = 0;
	if (!err)
		err = writer->in_memory ? hold(writer, key, fd_r) : finish_file(writer, key, stamp_r, fd_r);
	store_abandon(writer); /* what is left of it */
	return err;
}

void store_abandon(struct store_writer *writer)
{
	free(writer->buffer);
	writer->buffer = NULL;
	writer->buffered = 0;
	if (writer->fd >= 0)
		drop_file(writer);
}

static int open_held(struct store *store, const char *key)
{
	struct held *held;
	int fd = -ENOENT;

	pthread_mutex_lock(&store->lock);
	held = store->held ? find_locked(store, key) : NULL;
	if (held) {
		fd = fcntl(held->fd, F_DUPFD_CLOEXEC, 0);
		fd = fd < 0 ? -errno : fd;
	}
	pthread_mutex_unlock(&store->lock);
	return fd;
}

int store_open(struct store *store, const char *key, uint64_t octets, int64_t stamp)
{
	char name[NAME_SIZE];
	struct stat st;
	int fd;

	if (stamp == 0)
		return open_held(store, key);
	body_name(key, name);
	fd = openat(store->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size == octets && stamp_of(&st) == stamp)
		return fd;
	close(fd);
	unlinkat(store->dir, name, 0);
	return -ENOENT;
}

uint64_t store_remove(struct store *store, const char *key)
{
	char name[NAME_SIZE];
	struct held *held;
	uint64_t octets = 0;
	struct stat st;

	pthread_mutex_lock(&store->lock);
	held = store->held ? find_locked(store, key) : NULL;
	if (held) {
		octets = held->octets;
		release_locked(store, held);
	}
	pthread_mutex_unlock(&store->lock);
	if (store->dir < 0)
		return octets;
	body_name(key, name);
	if (fstatat(store->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && unlinkat(store->dir, name, 0) == 0)
		octets += (uint64_t)st.st_size;
	return octets;
}

static int sync_one(struct store *store, const char *key)
{
	char name[NAME_SIZE];
	int fd, err;

	body_name(key, name);
	fd = openat(store->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	err = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return err;
}

int store_sync(struct store *store, const char *const *keys, size_t count)
{
	int err = 0;

	if (store->dir < 0 || count == 0)
		return 0;
	if (count > SYNC_EACH_MAX)
		return syncfs(store->dir) == 0 ? 0 : -errno;
	for (size_t i = 0; !err && i < count; i++)
		err = sync_one(store, keys[i]);
	if (!err && fsync(store->dir) != 0)
		err = -errno;
	return err;
}

int store_keep(struct store *store, const char *key)
{
	if (store->n_kept == store->room) {
		size_t room = store->room ? 2 * store->room : 1024;
		void *kept = realloc(store->kept, room * NAME_SIZE);

		if (!kept)
			return -ENOMEM;
		store->kept = kept;
		store->room = room;
	}
	body_name(key, store->kept[store->n_kept++]);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The files of the store one after the other; NULL: it cannot be read. */
static DIR *list_files(struct store *store)
{
	int fd = store->dir >= 0 ? openat(store->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	DIR *list = fd >= 0 ? fdopendir(fd) : NULL;

	if (!list && fd >= 0)
		close(fd);
	return list;
}

void store_tidy(struct store *store)
{
	DIR *list = list_files(store);
	struct dirent *entry;

	if (store->n_kept > 0)
		qsort(store->kept, store->n_kept, NAME_SIZE, compare_names);
	while (list && (entry = readdir(list)))
		if (entry->d_name[0] != '.' &&
		    (store->n_kept == 0 ||
		     !bsearch(entry->d_name, store->kept, store->n_kept, NAME_SIZE, compare_names)))
			unlinkat(store->dir, entry->d_name, 0);
	if (list)
		closedir(list);
	free(store->kept);
	store->kept = NULL;
	store->n_kept = store->room = 0;
}

void store_shed(struct store *store, uint64_t octets)
{
	DIR *list = list_files(store);
	struct dirent *entry;
	uint64_t shed = 0;
	struct stat st;

	while (list && shed < octets && (entry = readdir(list)))
		if (entry->d_name[0] != '.' && fstatat(store->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    unlinkat(store->dir, entry->d_name, 0) == 0)
			shed += (uint64_t)st.st_blocks * 512;
	if (list)
		closedir(list);
}
