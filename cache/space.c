/* SPDX-License-Identifier: MIT */
/*
 * The bound of the cache. First goes what is no longer on the server, then what was opened longest ago. A file
 * that is open is left alone: to remove it would free nothing. The index learns of it later; until then a body that
 * is not there is just fetched again.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "cache/mailbox_private.h"

void space_touch_locked(struct message *message)
{
	struct mailbox *mailbox = message->mailbox;

	message->used = (uint32_t)time(NULL);
	message->touched = true;
	if (message->body != BODY_PRESENT || message->state == MESSAGE_REMOVED)
		return;
	DL_DELETE(mailbox->bodies, message);
	DL_APPEND(mailbox->bodies, message);
}

/* The body that goes next: its message, with a reference. NULL: none can go. */
static struct message *evict_locked(struct mailbox *mailbox, const struct message *keep)
{
	struct message *message;

	DL_FOREACH(mailbox->bodies, message)
		// cppcheck-suppress nullPointerRedundantCheck
		if (message != keep && message->holds == 0)
			break;
	if (!message)
		return NULL;
	mailbox_set_body_locked(message, BODY_ABSENT);
	message->stamp = 0;
	keeper_mark_locked(message);
	return message_ref(message);
}

/* Removes the body that has been gone longest. What counts is the file: the index may not know yet that it is gone. */
static void remove_gone(struct mailbox *mailbox)
{
	char key[LISTING_MAX_KEY + 1];
	bool taken = index_take_gone(mailbox->index, INT64_MAX, key, sizeof(key)) == 1;
	uint64_t octets = taken ? store_remove(mailbox->store, key) : UINT64_MAX;

	pthread_mutex_lock(&mailbox->lock);
	mailbox->gone_octets -= octets < mailbox->gone_octets ? octets : mailbox->gone_octets;
	pthread_mutex_unlock(&mailbox->lock);
}

void space_make(struct mailbox *mailbox, uint64_t octets, const struct message *keep)
{
	uint64_t bound = mailbox->cache_size;

	pthread_mutex_lock(&mailbox->lock);
	if (octets > 0) {
		uint64_t there = mailbox->counts.cached_octets + mailbox->gone_octets;

		bound = there > octets ? there - octets : 0;
	}
	while (mailbox->counts.cached_octets + mailbox->gone_octets > bound) {
		struct message *victim = mailbox->gone_octets > 0 ? NULL : evict_locked(mailbox, keep);
		bool gone = mailbox->gone_octets > 0;

		pthread_mutex_unlock(&mailbox->lock);
		if (gone)
			remove_gone(mailbox);
		else if (victim)
			store_remove(mailbox->store, victim->key);
		message_unref(victim);
		pthread_mutex_lock(&mailbox->lock);
		if (!gone && !victim)
			break;
	}
	pthread_mutex_unlock(&mailbox->lock);
}
