/* SPDX-License-Identifier: MIT */
#include "fs/readahead.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Parallel readers open in nearly the directory's order: so far off still counts as in it. */
#define NEAR 32
/* The most messages, and estimated octets, ahead of the reader. */
#define WINDOW_MAX 128
#define OCTETS_MAX (UINT64_C(8) << 20)

struct readahead {
	struct tree *tree;
	struct mailbox *mailbox;
	pthread_mutex_t lock;
	/* Under lock: */
	bool begun;
	size_t last;   /* the place of the newest file that was opened in order */
	size_t window; /* messages to be ahead of it */
};

struct readahead *readahead_new(struct tree *tree, struct mailbox *mailbox)
{
	struct readahead *readahead = calloc(1, sizeof(*readahead));

	if (!readahead)
		return NULL;
	readahead->tree = tree;
	readahead->mailbox = mailbox;
	pthread_mutex_init(&readahead->lock, NULL);
	return readahead;
}

void readahead_free(struct readahead *readahead)
{
	if (!readahead)
		return;
	pthread_mutex_destroy(&readahead->lock);
	free(readahead);
}

/* How far to be ahead after an open at `place`: the window grows while the order holds, else it begins anew. */
static size_t next_window_locked(struct readahead *readahead, size_t place)
{
	size_t near = readahead->window > 0 ? NEAR : 1; /* it takes a neighbour to see an order */

	if (readahead->begun && place > readahead->last && place - readahead->last <= near) {
		readahead->window = readahead->window ? 2 * readahead->window : 1;
		if (readahead->window > WINDOW_MAX)
			readahead->window = WINDOW_MAX;
		readahead->last = place;
	} else if (!readahead->begun || place > readahead->last || readahead->last - place >= near) {
		readahead->begun = true;
		readahead->window = 0;
		readahead->last = place;
	} /* else: a straggler of parallel readers, or the same file again */
	return readahead->window;
}

void readahead_opened(struct readahead *readahead, struct message *message)
{
	struct tree_listing *listing = tree_list(readahead->tree, TREE_ROOT);
	uint64_t octets = 0;
	size_t place, window = 0;

	if (!listing)
		return;
	if (tree_list_find(listing, message, &place)) {
		pthread_mutex_lock(&readahead->lock);
		window = next_window_locked(readahead, place);
		place = readahead->last;
		pthread_mutex_unlock(&readahead->lock);
	}
	for (size_t i = place + 1; window > 0 && i < listing->count && octets < OCTETS_MAX; i++, window--) {
		struct message *next = node_message(listing->nodes[i]);
		struct message_facts facts;

		mailbox_facts(readahead->mailbox, next, &facts);
		octets += facts.octets;
		mailbox_fetch_ahead(readahead->mailbox, next);
	}
	tree_list_free(listing);
}
