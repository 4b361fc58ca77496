/* SPDX-License-Identifier: MIT */
/*
 * Message bodies in files: one a message, 0600, named by a digest of its key, in a directory of 0700.
 * A body is written to a temporary file and renamed into place when it is whole, so that what stands under
 * its name is never cut. The directory is the mount's own and is removed at the end. Any thread; one writer
 * has one thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct store;

/* Makes the directory below `parent` (which is made too). 0 or -errno. store_free() removes it all. */
__attribute__((warn_unused_result))
int store_new(const char *parent, struct store **store_r);
void store_free(struct store *store);

/* A body that is being written. */
struct store_writer {
	struct store *store;
	int fd; /* -1: none */
	uint64_t number, octets;
};

__attribute__((warn_unused_result))
int store_begin(struct store *store, struct store_writer *writer_r);
__attribute__((warn_unused_result))
int store_write(struct store_writer *writer, const char *octets, size_t len);

/* Puts the body in place. *fd_r: open for reading, the caller's. On an error the body is dropped. */
__attribute__((warn_unused_result))
int store_finish(struct store_writer *writer, const char *key, int *fd_r);

/* Drops what was written; nothing where nothing was begun. */
void store_abandon(struct store_writer *writer);

/* A descriptor for reading, the caller's; or -errno, -ENOENT: there is no body. */
__attribute__((warn_unused_result))
int store_open(struct store *store, const char *key);

/* Removes a body, if there is one; open descriptors go on. */
void store_remove(struct store *store, const char *key);
