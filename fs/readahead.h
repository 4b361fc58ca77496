/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead (DESIGN 8): when files are opened in directory order, the following ones are fetched before
 * they are opened: 1, 2, 4, ... of them; when several readers wait at once, which may take them in any order,
 * those on both sides. One file that is opened alone brings nothing but itself. Any thread.
 */
#pragma once
#include "fs/tree.h"

struct readahead;

/* NULL: out of memory. readahead_free() takes NULL. */
struct readahead *readahead_new(struct tree *tree, struct mailbox *mailbox);
void readahead_free(struct readahead *readahead);

/* A file was opened, and so many readers wait for theirs. */
void readahead_opened(struct readahead *readahead, struct message *message, size_t readers);
