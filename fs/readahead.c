/* SPDX-License-Identifier: MIT */
#include "fs/readahead.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Parallel readers open in nearly the directory's order: so far off still counts as in it. */
#define NEAR 32
/* So many readers at once work through the directory, in whatever order. */
#define PARALLEL 4
/* After a pause of more seconds than this, who opens a file is not one of them. */
#define PAUSE_S 1
/*
 * Messages that the second file in order brings, or the first when its reader comes from listing the directory, and by
 * what each further one multiplies them. Each step costs a round trip: to begin with 1 and to double takes 150 ms more
 * at 50 ms until the line is full.
 */
#define FIRST 4
#define FIRST_WALK 16
#define GROWTH 4
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
	size_t reached;  /* the place up to which they have been asked for, in order */
	uint64_t octets; /* that are thought to lie between `last` and `reached` */
	bool parallel; /* and behind it: readers come from anywhere */
	time_t opened; /* the newest open */
	pid_t walker;  /* who listed the directory last and has opened nothing since; 0: nobody */
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

static void grow_locked(struct readahead *readahead, size_t first)
{
	readahead->window = readahead->window ? GROWTH * readahead->window : first;
	if (readahead->window > WINDOW_MAX)
		readahead->window = WINDOW_MAX;
}

/* The order is broken: what is known of it is void. */
static void begin_locked(struct readahead *readahead, size_t place)
{
	readahead->begun = true;
	readahead->window = 0;
	readahead->last = readahead->reached = place;
	readahead->octets = 0;
}

/* How far to be ahead after an open at `place`: the window grows while the order holds, else it begins anew. */
static void follow_locked(struct readahead *readahead, size_t place, pid_t reader, size_t readers)
{
	bool walk = readahead->walker && reader == readahead->walker && place == 0;
	size_t near = readahead->window > 0 ? NEAR : 1; /* it takes a neighbour to see an order */
	size_t off = place > readahead->last ? place - readahead->last : readahead->last - place;
	time_t pause = time(NULL) - readahead->opened;

	readahead->opened += pause;
	if (readers >= PARALLEL)
		readahead->parallel = readahead->begun = true;
	else if (readahead->parallel && (off > WINDOW_MAX || pause > PAUSE_S))
		readahead->parallel = readahead->begun = false;
	if (readahead->parallel) {
		readahead->last = readahead->reached = place;
		readahead->octets = 0;
		grow_locked(readahead, 1);
	} else if (walk) {
		begin_locked(readahead, place);
		grow_locked(readahead, FIRST_WALK);
	} else if (readahead->begun && place > readahead->last && off <= near) {
		grow_locked(readahead, FIRST);
	} else if (!readahead->begun || place > readahead->last || off >= near) {
		begin_locked(readahead, place);
	} /* else: a straggler of parallel readers, or the same file again */
	if (reader == readahead->walker)
		readahead->walker = 0;
}

static uint64_t octets_of(struct readahead *readahead, const struct tree_listing *listing, size_t place)
{
	struct message_facts facts;

	mailbox_facts(readahead->mailbox, node_message(listing->nodes[place]), &facts);
	return facts.octets;
}

static uint64_t fetch(struct readahead *readahead, const struct tree_listing *listing, size_t place)
{
	mailbox_fetch_ahead(readahead->mailbox, node_message(listing->nodes[place]));
	return octets_of(readahead, listing, place);
}

/* The reader has come to `place`: what lies behind it is no longer ahead. */
static void pass_locked(struct readahead *readahead, const struct tree_listing *listing, size_t place)
{
	for (; readahead->last < place; readahead->last++) {
		uint64_t octets = octets_of(readahead, listing, readahead->last + 1);

		readahead->octets -= octets < readahead->octets ? octets : readahead->octets;
	}
	if (readahead->reached < place)
		readahead->reached = place;
}

/* Asks for what follows, as far as it was not asked for before. */
static void fetch_next_locked(struct readahead *readahead, const struct tree_listing *listing)
{
	while (readahead->reached < readahead->last + readahead->window && readahead->octets < OCTETS_MAX &&
	       readahead->reached + 1 < listing->count)
		readahead->octets += fetch(readahead, listing, ++readahead->reached);
}

/* The same for readers that come from anywhere: on both sides, and each time anew. */
static void fetch_around_locked(struct readahead *readahead, const struct tree_listing *listing)
{
	const size_t place = readahead->last;
	uint64_t octets = 0;

	for (size_t i = 1; i <= readahead->window && octets < OCTETS_MAX; i++) {
		if (place + i < listing->count)
			octets += fetch(readahead, listing, place + i);
		if (place >= i)
			octets += fetch(readahead, listing, place - i);
	}
}

void readahead_listed(struct readahead *readahead, pid_t reader)
{
	pthread_mutex_lock(&readahead->lock);
	readahead->walker = reader;
	pthread_mutex_unlock(&readahead->lock);
}

void readahead_opened(struct readahead *readahead, struct message *message, pid_t reader, size_t readers)
{
	struct tree_listing *listing = tree_list_recent(readahead->tree, TREE_ROOT);
	size_t place;

	if (!listing)
		return;
	pthread_mutex_lock(&readahead->lock);
	place = readahead->last + 1;
	if (tree_list_find(listing, message, &place)) {
		follow_locked(readahead, place, reader, readers);
		if (readahead->parallel) {
			fetch_around_locked(readahead, listing);
		} else {
			pass_locked(readahead, listing, place);
			fetch_next_locked(readahead, listing);
		}
	}
	pthread_mutex_unlock(&readahead->lock);
	tree_list_free(listing);
}
