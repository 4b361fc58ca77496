/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead (DESIGN 8): when files are opened in directory order, the following ones are fetched before
 * they are opened: 4, 16, ... of them, from the second file in order on; 16, 64, ... from the first one when who opens
 * it has just listed the directory; when several readers wait at once, which may take them in any order, those on both
 * sides. One file that is opened alone brings nothing but itself. Any thread.
 *
 * What is in the cache already is not put into the kernel's page cache ahead of its READ (NOTIFY_STORE). That was built
 * and halved the time of the first grep -r after a mount. But a store waits, and cannot be killed, for a page that the
 * kernel has asked for; a daemon that is killed meanwhile never ends, nor does the reader.
 */
#pragma once
#include <sys/types.h>

#include "fs/tree.h"

struct readahead;

/* NULL: out of memory. readahead_free() takes NULL. */
struct readahead *readahead_new(struct tree *tree, struct mailbox *mailbox);
void readahead_free(struct readahead *readahead);

/* The root was listed to its end by this thread (of any process). */
void readahead_listed(struct readahead *readahead, pid_t reader);

/* A file was opened by this thread, and so many readers wait for theirs. */
void readahead_opened(struct readahead *readahead, struct message *message, pid_t reader, size_t readers);
