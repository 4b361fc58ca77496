/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait for the network, without a thread. Whoever takes a request off the list answers it: the
 * link's thread when its event has come, or the thread that handles the caller's interrupt, with EINTR.
 */
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

enum wait_kind { WAIT_BODY, WAIT_COMMIT };

struct wait {
	fuse_req_t req;
	enum wait_kind kind;
	uint64_t id; /* the message's inode number, or the commit's ticket */
	struct fuse_file_info fi;
	struct wait *prev, *next;
};

struct wait_list;

struct wait_list *wait_new(void); /* NULL: out of memory */
void wait_free(struct wait_list *list);

/*
 * Asks `start` whether the request has to wait, and puts it on the list if so, in one step: an event that
 * comes right after start() finds it. start() runs under the list's lock; it returns -EINPROGRESS to wait,
 * with *id_r set, or any other value, which wait_begin() returns and the caller answers. -EINPROGRESS: the
 * request is no longer the caller's.
 */
typedef int wait_start_fn(void *ctx, uint64_t *id_r);
int wait_begin(struct wait_list *list, fuse_req_t req, enum wait_kind kind, const struct fuse_file_info *fi,
	       wait_start_fn *start, void *ctx);

/* Takes all that wait for this event off the list; the caller answers and frees each. */
struct wait *wait_take(struct wait_list *list, enum wait_kind kind, uint64_t id);
