/* SPDX-License-Identifier: MIT */
/*
 * THE KEEPER'S THREAD writes behind: what messages have learnt (exact sizes, bodies, names) goes into the index in
 * batches, bodies only after they are on the disk (DESIGN 2). It waits until nothing more comes for a moment, so
 * that no sync stands in a reader's way. What it cannot write is asked of the server again at the next mount.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/mailbox_private.h"

/* A batch is written when nothing has come for this long, and at least this often. */
#define QUIET_MS 1000
#define BATCH_MS 5000
/* Rows of one transaction: nobody waits for the index for longer than that takes. */
#define ROWS_MAX 1000

/* What is to be recorded of a message, as it was when its batch began. */
struct record {
	struct message *message; /* with a reference */
	struct index_row row;
	char *name;
	bool sync; /* the body is to be on the disk before */
};

void keeper_mark_locked(struct message *message)
{
	struct keeper *keeper = &message->mailbox->keeper;

	if (message->dirty || message_is_transient(message))
		return;
	if (keeper->n_dirty == keeper->room) {
		size_t room = keeper->room ? 2 * keeper->room : 256;
		struct message **dirty = realloc(keeper->dirty, room * sizeof(struct message *));

		if (!dirty)
			return;
		keeper->dirty = dirty;
		keeper->room = room;
	}
	keeper->dirty[keeper->n_dirty++] = message_ref(message);
	message->dirty = true;
	if (keeper->n_dirty == 1)
		pthread_cond_signal(&keeper->wake);
}

/* Takes at most ROWS_MAX messages off the list; returns how many. */
static size_t take_batch_locked(struct mailbox *mailbox, struct record *records)
{
	struct keeper *keeper = &mailbox->keeper;
	size_t count = keeper->n_dirty < ROWS_MAX ? keeper->n_dirty : ROWS_MAX;

	for (size_t i = 0; i < count; i++) {
		struct message *message = keeper->dirty[--keeper->n_dirty];

		message->dirty = false;
		records[i] = (struct record){ .message = message,
					      .name = message->name ? strdup(message->name) : NULL,
					      .sync = message->stamp != 0 && !message->synced,
					      .row = { .id = message->ino,
						       .octets = message->octets,
						       .exact = message->exact,
						       .stamp = message->stamp,
						       .used = message->used } };
		records[i].row.name = records[i].name;
	}
	return count;
}

static int sync_bodies(struct mailbox *mailbox, const struct record *records, size_t count)
{
	const char **keys = calloc(count, sizeof(*keys));
	size_t n = 0;
	int err;

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (records[i].sync)
			keys[n++] = records[i].message->key;
	err = store_sync(mailbox->store, keys, n);
	free(keys);
	return err;
}

static int write_rows(struct mailbox *mailbox, const struct record *records, size_t count)
{
	index_begin(mailbox->index);
	for (size_t i = 0; i < count; i++)
		index_update(mailbox->index, &records[i].row);
	return index_end(mailbox->index);
}

/* Says once what goes wrong, until it goes right again. */
static void report(struct mailbox *mailbox, int err)
{
	struct keeper *keeper = &mailbox->keeper;
	char text[300];

	if (err && !keeper->failing) {
		snprintf(text, sizeof(text), "cache: %s; what cannot be recorded is fetched again at the next mount",
			 strerror(-err));
		mailbox->hooks.note(mailbox->hooks.ctx, text);
	}
	keeper->failing = err != 0;
}

static void write_batch(struct mailbox *mailbox, struct record *records, size_t count)
{
	int sync_err = sync_bodies(mailbox, records, count), err;

	pthread_mutex_lock(&mailbox->lock);
	for (size_t i = 0; i < count; i++)
		if (records[i].sync && (sync_err || records[i].message->stamp != records[i].row.stamp))
			records[i].row.stamp = 0;
	pthread_mutex_unlock(&mailbox->lock);
	err = write_rows(mailbox, records, count);
	if (err == -ENOSPC) {
		space_make(mailbox, SHED_OCTETS, NULL);
		err = write_rows(mailbox, records, count);
	}
	report(mailbox, err ? err : sync_err);
	pthread_mutex_lock(&mailbox->lock);
	for (size_t i = 0; i < count && !err; i++)
		if (records[i].row.stamp && records[i].message->stamp == records[i].row.stamp)
			records[i].message->synced = true;
	pthread_mutex_unlock(&mailbox->lock);
	for (size_t i = 0; i < count; i++) {
		message_unref(records[i].message);
		free(records[i].name);
	}
}

static void sleep_locked(struct mailbox *mailbox, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&mailbox->keeper.wake, &mailbox->lock, &until);
}

/* Waits for something to write, and until no more of it comes. */
static void wait_for_batch_locked(struct mailbox *mailbox)
{
	struct keeper *keeper = &mailbox->keeper;
	size_t seen = 0;

	while (!keeper->stopping && keeper->n_dirty == 0)
		pthread_cond_wait(&keeper->wake, &mailbox->lock);
	for (int ms = 0; !keeper->stopping && ms < BATCH_MS && keeper->n_dirty > seen; ms += QUIET_MS) {
		seen = keeper->n_dirty;
		sleep_locked(mailbox, QUIET_MS);
	}
}

static void *keeper_main(void *arg)
{
	struct mailbox *mailbox = arg;
	struct keeper *keeper = &mailbox->keeper;
	struct record *records = calloc(ROWS_MAX, sizeof(*records));

	pthread_mutex_lock(&mailbox->lock);
	while (records && (!keeper->stopping || keeper->n_dirty > 0)) {
		wait_for_batch_locked(mailbox);
		while (keeper->n_dirty > 0) {
			size_t count = take_batch_locked(mailbox, records);

			pthread_mutex_unlock(&mailbox->lock);
			write_batch(mailbox, records, count);
			pthread_mutex_lock(&mailbox->lock);
		}
		free(keeper->dirty); /* after a first listing it is long */
		keeper->dirty = NULL;
		keeper->room = 0;
	}
	pthread_mutex_unlock(&mailbox->lock);
	free(records);
	return NULL;
}

int keeper_start(struct mailbox *mailbox)
{
	struct keeper *keeper = &mailbox->keeper;
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->wake, &attr);
	pthread_condattr_destroy(&attr);
	keeper->running = pthread_create(&keeper->thread, NULL, keeper_main, mailbox) == 0;
	return keeper->running ? 0 : -EAGAIN;
}

void keeper_stop(struct mailbox *mailbox)
{
	struct keeper *keeper = &mailbox->keeper;
	struct message *message, *next;

	if (!keeper->running)
		return;
	pthread_mutex_lock(&mailbox->lock);
	HASH_ITER(hh, mailbox->table, message, next)
		if (message->touched) /* when it was used last */
			keeper_mark_locked(message);
	keeper->stopping = true;
	pthread_cond_signal(&keeper->wake);
	pthread_mutex_unlock(&mailbox->lock);
	pthread_join(keeper->thread, NULL);
	keeper->running = false;
	for (size_t i = 0; i < keeper->n_dirty; i++)
		message_unref(keeper->dirty[i]);
	free(keeper->dirty);
	pthread_cond_destroy(&keeper->wake);
}
