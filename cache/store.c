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
#include <sys/stat.h>
#include <unistd.h>

#define NAME_SIZE (2 * SHA256_DIGEST_LENGTH + 1)

struct store {
	char *path;
	int dir;
	pthread_mutex_t lock;
	uint64_t writers; /* so far, under lock: names temporary files */
};

static void body_name(const char *key, char name[NAME_SIZE])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)key, strlen(key), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(name + 2 * i, 3, "%02x", digest[i]);
}

static void temporary_name(uint64_t number, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "new-%llu", (unsigned long long)number);
}

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

int store_new(const char *parent, struct store **store_r)
{
	struct store *store;
	int err = make_path(parent);

	if (err)
		return err;
	store = calloc(1, sizeof(*store));
	if (!store)
		return -ENOMEM;
	pthread_mutex_init(&store->lock, NULL);
	store->dir = -1;
	if (asprintf(&store->path, "%s/mount-XXXXXX", parent) < 0) {
		store->path = NULL;
		err = -ENOMEM;
	} else if (!mkdtemp(store->path)) {
		err = -errno;
	} else {
		store->dir = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = store->dir < 0 ? -errno : 0;
	}
	if (err) {
		store_free(store);
		return err;
	}
	*store_r = store;
	return 0;
}

static void remove_files(int dir)
{
	DIR *list = fdopendir(dir);
	struct dirent *entry;

	if (!list) {
		close(dir);
		return;
	}
	while ((entry = readdir(list)))
		unlinkat(dirfd(list), entry->d_name, 0);
	closedir(list);
}

void store_free(struct store *store)
{
	if (!store)
		return;
	if (store->path && store->dir >= 0) {
		remove_files(store->dir);
		rmdir(store->path);
	}
	pthread_mutex_destroy(&store->lock);
	free(store->path);
	free(store);
}

int store_begin(struct store *store, struct store_writer *writer_r)
{
	char name[NAME_SIZE];

	pthread_mutex_lock(&store->lock);
	*writer_r = (struct store_writer){ .store = store, .fd = -1, .number = ++store->writers };
	pthread_mutex_unlock(&store->lock);
	temporary_name(writer_r->number, name);
	writer_r->fd = openat(store->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return writer_r->fd < 0 ? -errno : 0;
}

int store_write(struct store_writer *writer, const char *octets, size_t len)
{
	while (len > 0) {
		ssize_t n = write(writer->fd, octets, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		octets += n;
		len -= (size_t)n;
		writer->octets += (uint64_t)n;
	}
	return 0;
}

int store_finish(struct store_writer *writer, const char *key, int *fd_r)
{
	char temporary[NAME_SIZE], name[NAME_SIZE];

	temporary_name(writer->number, temporary);
	body_name(key, name);
	if (renameat(writer->store->dir, temporary, writer->store->dir, name) != 0) {
		int err = -errno;

		store_abandon(writer);
		return err;
	}
	*fd_r = writer->fd;
	writer->fd = -1;
	return 0;
}

void store_abandon(struct store_writer *writer)
{
	char name[NAME_SIZE];

	if (writer->fd < 0)
		return;
	temporary_name(writer->number, name);
	unlinkat(writer->store->dir, name, 0);
	close(writer->fd);
	writer->fd = -1;
}

int store_open(struct store *store, const char *key)
{
	char name[NAME_SIZE];
	int fd;

	body_name(key, name);
	fd = openat(store->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

void store_remove(struct store *store, const char *key)
{
	char name[NAME_SIZE];

	body_name(key, name);
	unlinkat(store->dir, name, 0);
}
