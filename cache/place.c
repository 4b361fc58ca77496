/* SPDX-License-Identifier: MIT */
#include "cache/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A mount that is ending is waited for no longer than this: its server may be silent. */
#define END_WAIT_MS 5000
/* So long after an umount its daemon knows of it for certain. */
#define NOTICE_MS 250
#define STEP_MS 5
/* Hex digits of the account's hash, which tells directories of similar names apart. */
#define HASH_DIGITS 16

static const char lock_name[] = "lock", end_name[] = "end", commit_name[] = "commit";

struct place {
	char *path, *index, *bodies, *account;
	int lock, end; /* the lock files, open */
	bool alone;
};

/* mkdir -p, with 0700 for what is made. */
static int make_path(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(copy, 0700);
		*slash = '/';
	}
	mkdir(copy, 0700);
	free(copy);
	return access(path, W_OK | X_OK) == 0 ? 0 : -errno;
}

/* Opens a lock file in a directory. */
static int open_lock(const char *path, const char *name)
{
	char file[4096];
	int fd;

	if (snprintf(file, sizeof(file), "%s/%s", path, name) >= (int)sizeof(file))
		return -ENAMETOOLONG;
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static int lock_wait(int fd, int operation)
{
	while (flock(fd, operation) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Appends what a file name can hold of a text, others as '_', at most `max` octets. */
static void append(char *name, size_t size, const char *text, size_t max)
{
	size_t len = strlen(name);

	for (; *text && max > 0 && len + 1 < size; text++, max--) {
		name[len] = *text;
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@+_-", *text))
			name[len] = '_';
		len++;
	}
	name[len] = '\0';
}

char *place_path(const char *cache_dir, const struct account *account)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char name[200] = "", text[40], *identity, *path;
	int n;

	n = asprintf(&identity, "%s\n%u\n%s\n%d", account->host, (unsigned)account->port, account->user, account->lf);
	if (n < 0)
		return NULL;
	SHA256((unsigned char *)identity, (size_t)n, digest);
	free(identity);
	append(name, sizeof(name), account->user[0] == '.' ? "_" : "", 1);
	append(name, sizeof(name), account->user, 60);
	append(name, sizeof(name), "@", 1);
	append(name, sizeof(name), account->host, 60);
	snprintf(text, sizeof(text), "-%u-%s-", (unsigned)account->port, account->lf ? "lf" : "crlf");
	append(name, sizeof(name), text, sizeof(text));
	for (size_t i = 0; i < HASH_DIGITS / 2; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	append(name, sizeof(name), text, HASH_DIGITS);
	return asprintf(&path, "%s/%s", cache_dir, name) < 0 ? NULL : path;
}

char *place_index_in(const char *path)
{
	char *index;

	return asprintf(&index, "%s/index.sqlite", path) < 0 ? NULL : index;
}

/* Whether a mount of the place is ending. */
static bool is_ending(const struct place *place)
{
	if (flock(place->end, LOCK_EX | LOCK_NB) != 0)
		return true;
	flock(place->end, LOCK_UN);
	return false;
}

/*
 * Takes the lock, alone where that can be. What a mount that is ending has fetched is to be seen here, so its end is
 * waited for; after an umount it takes a moment until it knows of it.
 */
static int lock_place(struct place *place)
{
	const struct timespec step = { .tv_nsec = STEP_MS * 1000000L };

	for (int ms = 0; flock(place->lock, LOCK_EX | LOCK_NB) != 0; ms += STEP_MS) {
		if (ms >= (is_ending(place) ? END_WAIT_MS : NOTICE_MS))
			return lock_wait(place->lock, LOCK_SH);
		nanosleep(&step, NULL);
	}
	place->alone = true;
	return 0;
}

/* Makes the directory and takes the lock; -EAGAIN: it was cleared just now. */
static int take(struct place *place)
{
	struct stat st;
	int err = make_path(place->path);

	if (err)
		return err;
	place->lock = open_lock(place->path, lock_name);
	place->end = place->lock < 0 ? -1 : open_lock(place->path, end_name);
	if (place->lock < 0 || place->end < 0)
		return place->lock < 0 ? place->lock : place->end;
	err = lock_place(place);
	if (!err && fstat(place->lock, &st) == 0 && st.st_nlink == 0) {
		close(place->lock);
		close(place->end);
		place->lock = place->end = -1;
		err = -EAGAIN;
	}
	return err;
}

int place_open(const char *cache_dir, const struct account *account, struct place **place_r, struct pop3_why *why)
{
	struct place *place = calloc(1, sizeof(*place));
	int err = -ENOMEM, commit;

	if (place) {
		place->lock = place->end = -1;
		place->path = place_path(cache_dir, account);
		place->index = place->path ? place_index_in(place->path) : NULL;
		if (!place->index || asprintf(&place->bodies, "%s/bodies", place->path) < 0)
			place->bodies = NULL;
		if (!place->bodies || asprintf(&place->account, "%s@%s:%u, %s", account->user, account->host,
					       (unsigned)account->port, account->lf ? "lf" : "crlf") < 0)
			place->account = NULL;
	}
	while (place && place->account && (err = take(place)) == -EAGAIN)
		;
	if (!err && mkdir(place->bodies, 0700) != 0 && errno != EEXIST)
		err = -errno;
	if (!err && (commit = open_lock(place->path, commit_name)) >= 0)
		close(commit); /* it is there, also when the disk is full */
	if (err) {
		pop3_fail(why, POP3_E_LOCAL, "cache_dir=%s: %s", cache_dir, strerror(-err));
		place_close(place);
		return err;
	}
	*place_r = place;
	return 0;
}

void place_close(struct place *place)
{
	if (!place)
		return;
	if (place->lock >= 0)
		close(place->lock);
	if (place->end >= 0)
		close(place->end);
	free(place->path);
	free(place->index);
	free(place->bodies);
	free(place->account);
	free(place);
}

const char *place_account(const struct place *place)
{
	return place->account;
}

const char *place_index(const struct place *place)
{
	return place->index;
}

const char *place_bodies(const struct place *place)
{
	return place->bodies;
}

bool place_is_alone(const struct place *place)
{
	return place->alone;
}

void place_share(struct place *place)
{
	(void)lock_wait(place->lock, LOCK_SH);
}

void place_end(struct place *place)
{
	(void)lock_wait(place->end, LOCK_SH);
}

int place_lock_commit(struct place *place, bool take_back)
{
	int fd = open_lock(place->path, commit_name), err;

	if (fd < 0)
		return fd;
	err = lock_wait(fd, take_back ? LOCK_EX | LOCK_NB : LOCK_SH);
	if (err) {
		close(fd);
		return err == -EWOULDBLOCK ? -EBUSY : err;
	}
	return fd;
}

int place_each(const char *cache_dir, bool (*fn)(void *ctx, const char *path), void *ctx)
{
	DIR *list = opendir(cache_dir);
	struct dirent *entry;
	bool more = true;

	if (!list)
		return errno == ENOENT ? 0 : -errno;
	while (more && (entry = readdir(list))) {
		char path[4096], lock[4096 + 8];

		if (snprintf(path, sizeof(path), "%s/%s", cache_dir, entry->d_name) >= (int)sizeof(path))
			continue;
		snprintf(lock, sizeof(lock), "%s/%s", path, lock_name);
		if (entry->d_name[0] != '.' && access(lock, F_OK) == 0)
			more = fn(ctx, path);
	}
	closedir(list);
	return 0;
}

/* Removes the files of a directory but the one named last, then that one and the directory. */
static int remove_directory(const char *path, const char *last)
{
	DIR *list = opendir(path);
	struct dirent *entry;
	int err = 0;

	if (!list)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(list)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, last) != 0 &&
		    unlinkat(dirfd(list), entry->d_name, 0) != 0 && !err)
			err = -errno;
	if (!err && last[0] && unlinkat(dirfd(list), last, 0) != 0)
		err = -errno;
	closedir(list);
	if (!err && rmdir(path) != 0)
		err = -errno;
	return err;
}

int place_clear(const char *path, bool (*allowed)(void *ctx, const char *path), void *ctx)
{
	int lock = open_lock(path, lock_name), err;
	char bodies[4096];

	if (lock < 0)
		return lock;
	err = flock(lock, LOCK_EX | LOCK_NB) != 0 ? -EBUSY : allowed(ctx, path) ? 0 : -ECANCELED;
	snprintf(bodies, sizeof(bodies), "%s/bodies", path);
	if (!err)
		err = remove_directory(bodies, "");
	if (!err)
		err = remove_directory(path, lock_name);
	close(lock);
	return err;
}
