/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait for the network, without a thread. Whoever takes a request off the list answers it: the
 * link's thread when its event has come, the thread that handles the caller's interrupt, with EINTR, or the
 * list's own thread when the request is to wait no longer.
 */
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

enum wait_kind {
	WAIT_BODY,    /* an open, or a read without one */
	WAIT_COMMIT,  /* an fsync of a directory */
	WAIT_OPENDIR, /* a directory whose listing is old, while it is renewed */
	WAIT_REFRESH, /* an ioctl that asks for a new listing */
};

struct wait {
	fuse_req_t req;
	enum wait_kind kind;
	uint64_t id; /* the message's or directory's inode number, the commit's ticket, or 0 */
	struct fuse_file_info fi;
	size_t size; /* of a read; 0: an open */
	off_t off;
	int64_t deadline_ms; /* by CLOCK_MONOTONIC; 0: none */
	struct wait *prev, *next;
};

struct wait_list;

/* expired() answers and frees a request whose deadline has come, on the list's thread. NULL: it cannot start. */
struct wait_list *wait_new(void (*expired)(void *ctx, struct wait *wait), void *ctx);
/* Ends the thread; the list must be empty, or nobody be left to answer. Takes NULL. */
void wait_free(struct wait_list *list);

/*
 * Asks `start` whether the request has to wait, and puts it on the list if so, in one step: an event that
 * comes right after start() finds it. `what` gives kind, fi, size and off, and is copied. start() runs under the list's lock; it returns -EINPROGRESS to wait,
 * with *id_r set, or any other value, which wait_begin() returns and the caller answers. -EINPROGRESS: the
 * request is no longer the caller's. limit_ms: the longest wait; 0: as long as it takes.
 */
typedef int wait_start_fn(void *ctx, uint64_t *id_r);
int wait_begin(struct wait_list *list, fuse_req_t req, const struct wait *what, int limit_ms, wait_start_fn *start,
	       void *ctx);

/* How many requests wait for bodies. */
size_t wait_readers(struct wait_list *list);

/* Takes all that wait for this event off the list; the caller answers and frees each. */
struct wait *wait_take(struct wait_list *list, enum wait_kind kind, uint64_t id);
#define WAIT_ANY_ID UINT64_MAX
