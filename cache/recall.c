/* SPDX-License-Identifier: MIT */
/*
 * The start of a mount: its place, its index and its store are opened, what a crash left behind is removed, and the
 * table is filled with what is remembered. The only mount of an account holds the place until this is done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "cache/mailbox_private.h"

/* Seconds for which the body of a message that has gone is kept, unless the space is wanted. */
#define GONE_S (INT64_C(30) * 86400)

struct recall {
	struct mailbox *mailbox;
	int err;
};

static void recall_row(void *ctx, const struct index_row *row)
{
	struct recall *recall = ctx;
	struct mailbox *mailbox = recall->mailbox;
	struct message *message = recall->err ? NULL : message_new(mailbox, row->key, row->listed);

	if (message) {
		message_recall(message, row);
		message->state = row->pending ? MESSAGE_PENDING : MESSAGE_SHOWN;
	}
	pthread_mutex_lock(&mailbox->lock);
	if (!message || !mailbox_put_in_locked(mailbox, message))
		recall->err = -ENOMEM;
	pthread_mutex_unlock(&mailbox->lock);
}

static int by_use(const struct message *a, const struct message *b)
{
	return a->used < b->used ? -1 : a->used > b->used;
}

static int fill_table(struct mailbox *mailbox)
{
	struct recall recall = { mailbox, 0 };
	struct index_summary summary;
	int err = index_each(mailbox->index, recall_row, &recall);

	if (!err)
		err = recall.err;
	if (!err)
		err = index_summary(mailbox->index, &summary);
	if (err)
		return err;
	pthread_mutex_lock(&mailbox->lock);
	DL_SORT(mailbox->bodies, by_use);
	mailbox->listed_time = summary.listed;
	mailbox->known = summary.listed != 0;
	mailbox->gone_octets = summary.gone_octets;
	pthread_mutex_unlock(&mailbox->lock);
	return 0;
}

static void keep_body(void *ctx, const char *key)
{
	struct recall *recall = ctx;

	if (!recall->err)
		recall->err = store_keep(recall->mailbox->store, key);
}

/* Removes files that no row knows: a mount before us had no time to record them, or to remove them. */
static void tidy(struct mailbox *mailbox)
{
	struct recall recall = { mailbox, 0 };
	int err = index_bodies(mailbox->index, keep_body, &recall);

	if (!err && !recall.err)
		store_tidy(mailbox->store);
}

/* Messages that have been gone for so long that they will not come back. */
static void forget_gone(struct mailbox *mailbox)
{
	char key[LISTING_MAX_KEY + 1];

	while (index_take_gone(mailbox->index, time(NULL) - GONE_S, key, sizeof(key)) == 1)
		store_remove(mailbox->store, key);
}

static int open_index(struct mailbox *mailbox, const struct mailbox_config *config, bool alone, struct pop3_why *why)
{
	const struct index_config index_config = { .path = mailbox->place ? place_index(mailbox->place) : NULL,
						   .account = mailbox->place ? place_account(mailbox->place) : "",
						   .template = config->template,
						   .alone = alone,
						   .note = config->hooks.note,
						   .ctx = config->hooks.ctx };
	int err = index_open(&index_config, &mailbox->index, why);

	if ((err == -ENOSPC || err == -EIO) && mailbox->place && alone) {
		store_shed(mailbox->store, SHED_OCTETS);
		err = index_open(&index_config, &mailbox->index, why);
	}
	return err;
}

int mailbox_recall(struct mailbox *mailbox, const struct mailbox_config *config, struct pop3_why *why)
{
	bool alone = true;
	int err = 0;

	if (config->cache_dir) {
		err = place_open(config->cache_dir, &config->account, &mailbox->place, why);
		if (err)
			return err;
		alone = place_is_alone(mailbox->place);
	}
	err = store_new(mailbox->place ? place_bodies(mailbox->place) : NULL, &mailbox->store);
	if (err) {
		pop3_fail(why, POP3_E_LOCAL, "cache_dir=%s: %s", config->cache_dir, strerror(-err));
		return err;
	}
	err = open_index(mailbox, config, alone, why);
	if (err)
		return err;
	if (alone && !index_was_clean(mailbox->index))
		tidy(mailbox);
	forget_gone(mailbox);
	err = fill_table(mailbox);
	if (err)
		pop3_fail(why, POP3_E_LOCAL, "the cache cannot be read: %s", strerror(-err));
	else if (mailbox->place && alone)
		place_share(mailbox->place);
	return err;
}
