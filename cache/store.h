/* SPDX-License-Identifier: MIT */
/*
 * Message bodies. In a directory: one file a message, 0600, named by a digest of its key, written to a temporary
 * file and renamed into place when it is whole, so that what stands under its name is never cut. Or in memory, one
 * memfd a message; a store in a directory turns to memory too while the disk takes no more, up to a limit.
 * Any thread; one writer has one thread. Mounts of one account may share the directory.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* `path` exists; NULL: in memory. 0 or -errno. */
__attribute__((warn_unused_result))
int store_new(const char *path, struct store **store_r);
void store_free(struct store *store); /* takes NULL */

/* A body that is being written. */
struct store_writer {
	struct store *store;
	int fd; /* -1: none */
	bool in_memory;
	uint64_t number, octets;
	char *buffer; /* octets that are still to be written */
	size_t buffered;
};

__attribute__((warn_unused_result))
int store_begin(struct store *store, struct store_writer *writer_r);
__attribute__((warn_unused_result))
int store_write(struct store_writer *writer, const char *octets, size_t len);

/*
 * Puts the body in place. *stamp_r: by which store_open() knows it again; 0: it is in memory, and ends with us.
 * *fd_r: open for reading, the caller's. Where another mount has put the same body already, it is that one. On an
 * error the body is dropped.
 */
__attribute__((warn_unused_result))
int store_finish(struct store_writer *writer, const char *key, int64_t *stamp_r, int *fd_r);

/* Drops what was written; nothing where nothing was begun. */
void store_abandon(struct store_writer *writer);

/* A descriptor for reading, the caller's; -ENOENT: there is no body, or not this one; or -errno. */
__attribute__((warn_unused_result))
int store_open(struct store *store, const char *key, uint64_t octets, int64_t stamp);

/* Removes a body, if there is one, and returns its octets; open descriptors go on. */
uint64_t store_remove(struct store *store, const char *key);

/* Waits until bodies are on the disk, as far as they are there. 0 or -errno. */
__attribute__((warn_unused_result))
int store_sync(struct store *store, const char *const *keys, size_t count);

/* For the only mount: store_keep() the bodies that are known, then everything else is removed. */
__attribute__((warn_unused_result))
int store_keep(struct store *store, const char *key);
void store_tidy(struct store *store);

/* Removes bodies, whichever come first, until so many octets are free that were not: a full disk. */
void store_shed(struct store *store, uint64_t octets);
