/* SPDX-License-Identifier: MIT */
/*
 * Tells the kernel what has changed without its doing, from a thread of its own: the kernel takes a
 * directory's lock for that, which an fsync of the directory holds while it waits for the link's thread.
 */
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

struct notify;

/* Starts the thread; NULL: it cannot. */
struct notify *notify_new(struct fuse_session *session);

/* Ends it; what has not been told is dropped. After the last request was answered. Takes NULL. */
void notify_free(struct notify *notify);

/* A name in a directory has gone or come: what the kernel knows of it, and of the directory, is old. Any thread. */
void notify_name(struct notify *notify, fuse_ino_t dir, const char *name);
