/* SPDX-License-Identifier: MIT */
/*
 * The directories: which message stands under which name, and what the kernel holds of it. Two of them: the
 * root, and .deleted, which holds the messages whose deletion is pending. A name belongs to its message from
 * the time it is shown until it is gone from the server, in either directory.
 *
 * THE RULE OF LOOKUP COUNTS: tree_lookup() and a READDIRPLUS entry (tree_count()) add one for each entry
 * that reaches the kernel, tree_forget() takes away what FORGET says; a node lives while its name stands,
 * or the kernel or a listing holds it. Any thread; one lock inside, and only the mailbox's is taken under it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/mailbox.h"

#define TREE_ROOT 1
#define TREE_DELETED 2
#define TREE_DELETED_NAME ".deleted"
#define TREE_HIDDEN 3 /* no inode: where a message has its name before it is shown */

struct tree;
struct node;

/* `template` as in fs/name.h; it and the mailbox outlive the tree. NULL: out of memory. */
struct tree *tree_new(const char *template, struct mailbox *mailbox);
void tree_free(struct tree *tree);

/* Names a message, in name_r (256 octets), and puts it into a directory; false: out of memory. */
__attribute__((warn_unused_result))
bool tree_add(struct tree *tree, struct message *message, uint64_t dir, char *name_r);

/* Where a message stands, *dir_r, and its name (256 octets); false: it has none any more. */
bool tree_find(struct tree *tree, uint64_t ino, uint64_t *dir_r, char *name_r);

/* Takes a message's name away; false: it had none. */
bool tree_remove(struct tree *tree, uint64_t ino);

/* Moves a message to another directory; its name stays. */
void tree_move(struct tree *tree, uint64_t ino, uint64_t dir);

/* The message of a name, with a reference; NULL: there is none. counted: a lookup count is added. */
struct message *tree_lookup(struct tree *tree, uint64_t dir, const char *name, bool counted);
/* The message of an inode that the kernel holds, with a reference; NULL: there is none. counted: likewise. */
struct message *tree_message(struct tree *tree, uint64_t ino, bool counted);
void tree_forget(struct tree *tree, uint64_t ino, uint64_t count);
bool tree_is_known(struct tree *tree, uint64_t ino); /* the kernel has looked it up */

/* A directory as it stood at one moment, in name order; shared and counted. NULL: out of memory. */
struct tree_listing {
	struct tree *tree;
	unsigned refs;
	struct tree_listing *prev, *next; /* of all: a RELEASEDIR may never come when a mount ends */
	size_t count;
	struct node *nodes[];
};
struct tree_listing *tree_list(struct tree *tree, uint64_t dir);
/* One that may be a few changes behind, at no cost. */
struct tree_listing *tree_list_recent(struct tree *tree, uint64_t dir);
void tree_list_free(struct tree_listing *listing);
/* The place of a message in a listing, looked for first at *place; false: it is not in it. */
bool tree_list_find(const struct tree_listing *listing, const struct message *message, size_t *place);
const char *node_name(const struct node *node);
struct message *node_message(const struct node *node); /* without a reference: the node has one */
void tree_count(struct tree *tree, struct node *node); /* a lookup count, for READDIRPLUS */

/*
 * Whether the kernel holds the attributes as it got them last: then READDIRPLUS need not renew them. It may be wrong, and
 * then the kernel asks. tree_void(): it has been told to forget them, or will by itself, as the atime after a READ.
 */
bool tree_is_fresh(struct tree *tree, const struct node *node);
void tree_void(struct tree *tree, uint64_t ino);

/* When the contents of a directory last changed, seconds since the epoch. */
int64_t tree_changed(struct tree *tree, uint64_t dir);
