/* SPDX-License-Identifier: MIT */
/*
 * What changes without the kernel's doing is told to it, and to those who watch the directory, from a thread
 * of its own, in order. New and vanished mail is announced (DESIGN 12): a process of ours calls mknod() and unlink()
 * on the mount point, and the file system recognises the request, so that inotify has its event. Where that cannot
 * be (a read-only mount), or is too much at once, the kernel's entries are invalidated.
 *
 * The thread may block: the kernel takes the directory's lock, which an fsync of the directory holds while
 * it waits for the link's thread.
 */
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "fs/announcer.h"
#include "fs/tree.h"

struct notify;

struct notify_config {
	struct fuse_session *session;
	struct tree *tree;
	const char *mountpoint;
	struct announcer *announcer; /* NULL: nothing is announced */
	/* A listing has come (0 or -errno), and what it changed can be seen by now. On the thread. */
	void (*refreshed)(void *ctx, int err);
	void *ctx;
};

/* Starts the thread, once the mount stands; NULL: it cannot. */
struct notify *notify_new(const struct notify_config *config);

/* Ends it; what has not been told is dropped. When the kernel asks no more. Takes NULL. */
void notify_free(struct notify *notify);

/* Shows a message in the root; takes one away from where it stands; says that a listing has come. Any thread. */
void notify_added(struct notify *notify, struct message *message);
void notify_removed(struct notify *notify, struct message *message);
void notify_refreshed(struct notify *notify, int err);

/* The inode number that a MKNOD or UNLINK of this process and name announces; 0: it is somebody else's. */
uint64_t notify_announced(struct notify *notify, pid_t pid, const char *name);
