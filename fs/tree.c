/* SPDX-License-Identifier: MIT */
#include "fs/tree.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "fs/name.h"

struct node {
	struct message *message; /* which has the name */
	uint64_t ino;
	uint32_t lookups;  /* the kernel's count; it forgets long before this is full */
	unsigned dir : 2;   /* 0: it has no name any more */
	unsigned fresh : 1; /* the kernel holds the attributes, and holds them good */
	unsigned refs : 29; /* one for the name, one for all lookups, one for each listing */
	UT_hash_handle by_name, by_ino;
};

struct directory {
	size_t count;
	int64_t changed;
	struct tree_listing *listing; /* the newest, with a reference; or NULL */
	bool stale;                   /* something has changed since */
};

struct tree {
	const char *template;
	struct mailbox *mailbox;
	pthread_mutex_t lock;
	struct node *names, *inodes;
	struct tree_listing *listings;
	struct directory directories[3]; /* root, .deleted, hidden */
};

static struct directory *directory(struct tree *tree, uint64_t dir)
{
	return &tree->directories[dir - TREE_ROOT];
}

static void unref_locked(struct tree *tree, struct node *node)
{
	node->refs--;
	if (node->refs > 0)
		return;
	HASH_DELETE(by_ino, tree->inodes, node); /* NOLINT(clang-analyzer-core.NullDereference): it is in the table */
	message_unref(node->message);
	free(node);
}

static void drop_listing_locked(struct tree_listing *listing)
{
	if (!listing || --listing->refs > 0)
		return;
	for (size_t i = 0; i < listing->count; i++)
		unref_locked(listing->tree, listing->nodes[i]);
	DL_DELETE(listing->tree->listings, listing);
	free(listing);
}

static void touch_locked(struct tree *tree, uint64_t dir)
{
	struct directory *d = directory(tree, dir);

	d->stale = true;
	d->changed = time(NULL);
	if (d->count == 0) { /* it would keep all that has gone */
		drop_listing_locked(d->listing);
		d->listing = NULL;
	}
}

struct tree *tree_new(const char *template, struct mailbox *mailbox)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return NULL;
	tree->template = template;
	tree->mailbox = mailbox;
	for (uint64_t dir = TREE_ROOT; dir <= TREE_HIDDEN; dir++)
		directory(tree, dir)->changed = time(NULL);
	pthread_mutex_init(&tree->lock, NULL);
	return tree;
}

void tree_free(struct tree *tree)
{
	struct node *node, *next;

	if (!tree)
		return;
	while (tree->listings) {
		tree->listings->refs = 1;
		drop_listing_locked(tree->listings);
	}
	HASH_ITER(by_name, tree->names, node, next)
		HASH_DELETE(by_name, tree->names, node);
	HASH_ITER(by_ino, tree->inodes, node, next) {
		node->refs = 1;
		unref_locked(tree, node);
	}
	pthread_mutex_destroy(&tree->lock);
	free(tree);
}

static struct node *find_name_locked(struct tree *tree, const char *name)
{
	struct node *node;

	HASH_FIND(by_name, tree->names, name, strlen(name), node);
	return node;
}

static struct node *find_ino_locked(struct tree *tree, uint64_t ino)
{
	struct node *node;

	HASH_FIND(by_ino, tree->inodes, &ino, sizeof(ino), node);
	return node;
}

/* A name that nothing has: the template's, or longer by as much of the unique-id's hash as it takes. */
static void make_name(struct tree *tree, struct message *message, char name[NAME_SIZE])
{
	static const unsigned extras[] = { 0, 6, 12, 64 };
	struct envelope *envelope = mailbox_envelope(tree->mailbox, message);
	struct message_facts facts;
	bool taken = true;

	mailbox_facts(tree->mailbox, message, &facts);
	for (size_t i = 0; taken && i < sizeof(extras) / sizeof(extras[0]); i++) {
		name_make(tree->template, envelope, facts.mtime, message_key(message), extras[i], name);
		pthread_mutex_lock(&tree->lock);
		taken = find_name_locked(tree, name) != NULL;
		pthread_mutex_unlock(&tree->lock);
	}
	free(envelope);
}

/* Sees to it that the message has a name, the one of before or a new one. */
static int name_message(struct tree *tree, struct message *message)
{
	const char *known = message_name(message);
	char name[NAME_SIZE];
	bool free_to_use;

	pthread_mutex_lock(&tree->lock);
	free_to_use = known && !find_name_locked(tree, known);
	pthread_mutex_unlock(&tree->lock);
	if (free_to_use)
		return 0;
	make_name(tree, message, name);
	return mailbox_set_name(tree->mailbox, message, name);
}

static bool add_locked(struct tree *tree, struct node *node)
{
	HASH_ADD(by_ino, tree->inodes, ino, sizeof(node->ino), node);
	if (!node->by_ino.tbl)
		return false;
	HASH_ADD_KEYPTR(by_name, tree->names, node_name(node), strlen(node_name(node)), node);
	if (node->by_name.tbl)
		return true;
	HASH_DELETE(by_ino, tree->inodes, node);
	return false;
}

bool tree_add(struct tree *tree, struct message *message, uint64_t dir, char *name_r)
{
	struct node *node = calloc(1, sizeof(*node));
	bool added;

	if (!node || name_message(tree, message) != 0) {
		free(node);
		return false;
	}
	node->refs = 1;
	node->ino = message_ino(message);
	node->dir = dir & 3U;
	node->message = message;
	strcpy(name_r, node_name(node));
	pthread_mutex_lock(&tree->lock);
	added = add_locked(tree, node);
	if (added) {
		message_ref(message);
		directory(tree, dir)->count++;
		touch_locked(tree, dir);
	}
	pthread_mutex_unlock(&tree->lock);
	if (!added)
		free(node);
	return added;
}

bool tree_find(struct tree *tree, uint64_t ino, uint64_t *dir_r, char *name_r)
{
	struct node *node;
	bool stands;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	stands = node && node->dir != 0;
	if (stands) {
		*dir_r = node->dir;
		strcpy(name_r, node_name(node));
	}
	pthread_mutex_unlock(&tree->lock);
	return stands;
}

bool tree_remove(struct tree *tree, uint64_t ino)
{
	struct node *node;
	bool stood;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	stood = node && node->dir != 0;
	if (stood) {
		directory(tree, node->dir)->count--;
		touch_locked(tree, node->dir);
		node->dir = 0;
		HASH_DELETE(by_name, tree->names, node);
		unref_locked(tree, node);
	}
	pthread_mutex_unlock(&tree->lock);
	return stood;
}

void tree_move(struct tree *tree, uint64_t ino, uint64_t dir)
{
	struct node *node;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	if (node && node->dir != 0 && node->dir != dir) {
		directory(tree, node->dir)->count--;
		directory(tree, dir)->count++;
		touch_locked(tree, node->dir);
		touch_locked(tree, dir);
		node->dir = dir & 3U;
		node->fresh = false;
	}
	pthread_mutex_unlock(&tree->lock);
}

/* The kernel gets the attributes, and counts it. */
static void count_locked(struct node *node)
{
	if (node->lookups++ == 0)
		node->refs++;
	node->fresh = true;
}

struct message *tree_lookup(struct tree *tree, uint64_t dir, const char *name, bool counted)
{
	struct message *message = NULL;
	struct node *node;

	pthread_mutex_lock(&tree->lock);
	node = find_name_locked(tree, name);
	if (node && node->dir == dir) {
		message = message_ref(node->message);
		if (counted)
			count_locked(node);
	}
	pthread_mutex_unlock(&tree->lock);
	return message;
}

struct message *tree_message(struct tree *tree, uint64_t ino, bool counted)
{
	struct message *message = NULL;
	struct node *node;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	if (node) {
		message = message_ref(node->message);
		if (counted)
			count_locked(node);
	}
	pthread_mutex_unlock(&tree->lock);
	return message;
}

void tree_forget(struct tree *tree, uint64_t ino, uint64_t count)
{
	struct node *node;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	if (node && node->lookups > 0) {
		node->lookups -= count < node->lookups ? (uint32_t)count : node->lookups;
		if (node->lookups == 0)
			unref_locked(tree, node);
	}
	pthread_mutex_unlock(&tree->lock);
}

bool tree_is_known(struct tree *tree, uint64_t ino)
{
	struct node *node;
	bool known;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	known = node && node->lookups > 0;
	pthread_mutex_unlock(&tree->lock);
	return known;
}

static int compare_names(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;

	return strcmp(node_name(x), node_name(y));
}

static struct tree_listing *make_listing_locked(struct tree *tree, uint64_t dir)
{
	struct directory *d = directory(tree, dir);
	struct tree_listing *listing = malloc(sizeof(*listing) + d->count * sizeof(struct node *));
	struct node *node, *next;

	if (!listing)
		return NULL;
	listing->tree = tree;
	listing->refs = 1;
	listing->count = 0;
	HASH_ITER(by_name, tree->names, node, next) {
		if (node->dir != dir)
			continue;
		node->refs++;
		listing->nodes[listing->count++] = node;
	}
	DL_APPEND(tree->listings, listing);
	qsort(listing->nodes, listing->count, sizeof(struct node *), compare_names);
	return listing;
}

static struct tree_listing *take_listing(struct tree *tree, uint64_t dir, bool fresh)
{
	struct directory *d = directory(tree, dir);
	struct tree_listing *listing;

	pthread_mutex_lock(&tree->lock);
	if (d->stale && fresh) {
		drop_listing_locked(d->listing);
		d->listing = NULL;
	}
	if (!d->listing) {
		d->listing = make_listing_locked(tree, dir);
		d->stale = false;
	}
	listing = d->listing;
	if (listing)
		listing->refs++;
	pthread_mutex_unlock(&tree->lock);
	return listing;
}

struct tree_listing *tree_list(struct tree *tree, uint64_t dir)
{
	return take_listing(tree, dir, true);
}

struct tree_listing *tree_list_recent(struct tree *tree, uint64_t dir)
{
	return take_listing(tree, dir, false);
}

void tree_list_free(struct tree_listing *listing)
{
	struct tree *tree = listing->tree;

	pthread_mutex_lock(&tree->lock);
	drop_listing_locked(listing);
	pthread_mutex_unlock(&tree->lock);
}

bool tree_list_find(const struct tree_listing *listing, const struct message *message, size_t *place)
{
	struct node *node, *const *found = NULL;

	if (*place < listing->count && node_message(listing->nodes[*place]) == message)
		return true;
	pthread_mutex_lock(&listing->tree->lock);
	node = find_ino_locked(listing->tree, message_ino(message));
	if (node && listing->count > 0)
		found = bsearch(&node, listing->nodes, listing->count, sizeof(struct node *), compare_names);
	pthread_mutex_unlock(&listing->tree->lock);
	if (!found || node_message(*found) != message)
		return false;
	*place = (size_t)(found - listing->nodes);
	return true;
}

const char *node_name(const struct node *node)
{
	return message_name(node->message);
}

struct message *node_message(const struct node *node)
{
	return node->message;
}

bool tree_is_fresh(struct tree *tree, const struct node *node)
{
	bool fresh;

	pthread_mutex_lock(&tree->lock);
	fresh = node->lookups > 0 && node->fresh;
	pthread_mutex_unlock(&tree->lock);
	return fresh;
}

void tree_void(struct tree *tree, uint64_t ino)
{
	struct node *node;

	pthread_mutex_lock(&tree->lock);
	node = find_ino_locked(tree, ino);
	if (node)
		node->fresh = false;
	pthread_mutex_unlock(&tree->lock);
}

void tree_count(struct tree *tree, struct node *node)
{
	pthread_mutex_lock(&tree->lock);
	count_locked(node);
	pthread_mutex_unlock(&tree->lock);
}

int64_t tree_changed(struct tree *tree, uint64_t dir)
{
	int64_t changed;

	pthread_mutex_lock(&tree->lock);
	changed = directory(tree, dir)->changed;
	pthread_mutex_unlock(&tree->lock);
	return changed;
}
