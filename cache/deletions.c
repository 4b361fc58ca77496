/* SPDX-License-Identifier: MIT */
/*
 * Deletions (DESIGN 5): marked here and in the index, hidden by fs/, sent by the link in one commit, and taken out
 * of table and index only when the link is sure of their end. One commit runs at a time; whoever asks meanwhile
 * waits for the one after it, which takes in what was marked since.
 *
 * Another mount of the account may take back what is pending here too: each commit looks into the index just before
 * it sends anything, and holds a lock under which nothing is taken back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/mailbox_private.h"

struct commit {
	struct link_job job;
	struct mailbox *mailbox;
	uint64_t ticket;
	struct message **messages; /* with a reference each, in step with job.deletions */
	int lock;                  /* of place_lock_commit(); -1: none */
};

/* Makes a deletion, or its being taken back, durable. */
static int record(struct message *message, int (*write)(struct index *index, const char *key))
{
	struct mailbox *mailbox = message->mailbox;
	int err;

	if (message_is_transient(message))
		return 0; /* it ends with the session */
	err = write(mailbox->index, message->key);
	if (err != -ENOSPC)
		return err;
	space_make(mailbox, SHED_OCTETS, NULL);
	return write(mailbox->index, message->key);
}

int mailbox_delete(struct mailbox *mailbox, struct message *message)
{
	bool shown;
	int err;

	pthread_mutex_lock(&mailbox->lock);
	shown = message->state == MESSAGE_SHOWN;
	pthread_mutex_unlock(&mailbox->lock);
	err = shown ? record(message, index_pend) : -ENOENT;
	if (err)
		return err;
	pthread_mutex_lock(&mailbox->lock);
	if (message->state == MESSAGE_SHOWN)
		mailbox_set_state_locked(message, MESSAGE_PENDING);
	pthread_mutex_unlock(&mailbox->lock);
	return 0;
}

/* It is shown first, so that no commit takes it in while the index is written. */
static int take_back(struct mailbox *mailbox, struct message *message)
{
	int err = -ENOENT;

	pthread_mutex_lock(&mailbox->lock);
	if (message->state == MESSAGE_PENDING) {
		err = message->in_commit ? -EBUSY : 0;
		if (!err)
			mailbox_set_state_locked(message, MESSAGE_SHOWN);
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (err)
		return err;
	err = record(message, index_unpend);
	pthread_mutex_lock(&mailbox->lock);
	if (err && message->state == MESSAGE_SHOWN)
		mailbox_set_state_locked(message, MESSAGE_PENDING);
	message->doomed = false;
	pthread_mutex_unlock(&mailbox->lock);
	return err;
}

int mailbox_restore(struct mailbox *mailbox, struct message *message)
{
	int lock = mailbox->place ? place_lock_commit(mailbox->place, true) : -1, err;

	if (mailbox->place && lock < 0)
		return lock;
	err = take_back(mailbox, message);
	if (lock >= 0)
		close(lock);
	return err;
}

static struct commit *commit_of(struct link_job *job)
{
	return (struct commit *)job; /* the job is its first member */
}

static void free_commit(struct commit *commit)
{
	if (commit->lock >= 0)
		close(commit->lock);
	free(commit->job.deletions);
	free(commit->messages);
	free(commit);
}

static bool is_over(enum commit_state state)
{
	return state == COMMIT_DELETED || state == COMMIT_GONE || state == COMMIT_LOST;
}

/* Takes over what became of one message; true: it is out of the table. */
static bool resolve_locked(struct mailbox *mailbox, struct message *message, enum commit_state state,
			   struct commit_report *report)
{
	message->in_commit = false;
	report->deleted += state == COMMIT_DELETED;
	report->gone += state == COMMIT_GONE;
	report->kept += state != COMMIT_DELETED && state != COMMIT_GONE && state != COMMIT_WITHDRAWN;
	if (state == COMMIT_WITHDRAWN && message->state == MESSAGE_PENDING) {
		mailbox_set_state_locked(message, MESSAGE_SHOWN);
		message->doomed = false;
	}
	if (!is_over(state) || message->state == MESSAGE_REMOVED)
		return false;
	message->drop = true;
	mailbox_take_out_locked(mailbox, message);
	message_unref(message); /* the table's; the commit has its own */
	return true;
}

static void start_locked(struct mailbox *mailbox);

/* Brings those that are over to the front, and those withdrawn after them. */
static void sort_outcomes(struct commit *commit, size_t *over_r, size_t *withdrawn_r)
{
	size_t ends[2], at = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = at; i < commit->job.count; i++) {
			struct commit_item item = commit->job.deletions[i];
			struct message *message = commit->messages[i];

			if (pass == 0 ? !is_over(item.state) : item.state != COMMIT_WITHDRAWN)
				continue;
			commit->job.deletions[i] = commit->job.deletions[at];
			commit->messages[i] = commit->messages[at];
			commit->job.deletions[at] = item;
			commit->messages[at++] = message;
		}
		ends[pass] = at;
	}
	*over_r = ends[0];
	*withdrawn_r = ends[1] - ends[0];
}

/* What is over leaves the index. Where that fails, the next listing finds it gone. */
static void record_outcomes(const struct commit *commit, size_t over)
{
	struct mailbox *mailbox = commit->mailbox;
	char text[300];
	int err;

	index_begin(mailbox->index);
	for (size_t i = 0; i < over; i++)
		if (!message_is_transient(commit->messages[i]))
			index_remove(mailbox->index, commit->messages[i]->key);
	err = index_end(mailbox->index);
	if (err) {
		snprintf(text, sizeof(text), "cache: deletions that are done cannot be recorded: %s", strerror(-err));
		mailbox->hooks.note(mailbox->hooks.ctx, text);
	}
}

/* Just before anything is sent: what another mount has taken back is not deleted. */
static void prepare(struct link_job *job)
{
	struct commit *commit = commit_of(job);
	struct mailbox *mailbox = commit->mailbox;

	if (!mailbox->place)
		return;
	commit->lock = place_lock_commit(mailbox->place, false);
	for (size_t i = 0; i < job->count; i++)
		if (!message_is_transient(commit->messages[i]) &&
		    index_is_pending(mailbox->index, job->deletions[i].key) == 0)
			job->deletions[i].state = COMMIT_WITHDRAWN;
}

/* Books the outcome; the messages that are out of the table come first in commit->messages. */
static size_t book_locked(struct mailbox *mailbox, struct commit *commit, enum pop3_err err,
			  const struct pop3_why *why)
{
	struct commit_report *report = &mailbox->report;
	size_t removed = 0;

	*report = (struct commit_report){ .time = time(NULL) };
	for (size_t i = 0; i < commit->job.count; i++) {
		struct message *message = commit->messages[i];

		if (!resolve_locked(mailbox, message, commit->job.deletions[i].state, report))
			continue;
		commit->messages[i] = commit->messages[removed];
		commit->messages[removed++] = message;
	}
	if (report->kept > 0) {
		report->err = err ? pop3_errno(err) : -EIO;
		if (why)
			report->why = *why;
		if (!report->why.text[0])
			pop3_fail(&report->why, err, "the messages can no longer be told apart on the server");
	}
	return removed;
}

static void commit_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct commit *commit = commit_of(job);
	struct mailbox *mailbox = commit->mailbox;
	const struct mailbox_hooks *hooks = &mailbox->hooks;
	size_t removed, over, withdrawn;
	bool again, idle;
	int failed, later;

	sort_outcomes(commit, &over, &withdrawn);
	record_outcomes(commit, over);
	pthread_mutex_lock(&mailbox->lock);
	removed = book_locked(mailbox, commit, err, why);
	failed = mailbox->report.err;
	again = mailbox->commit_again;
	mailbox->commit_again = false;
	mailbox->committing = false;
	if (again && mailbox->counts.pending > 0)
		start_locked(mailbox);
	idle = again && !mailbox->committing;
	if (idle)
		mailbox->ticket++;
	later = mailbox->counts.pending > 0 && !failed ? -ENOMEM : failed;
	pthread_mutex_unlock(&mailbox->lock);

	if (removed + withdrawn > 0)
		hooks->listed(hooks->ctx, commit->messages + over, withdrawn, commit->messages, removed);
	hooks->committed(hooks->ctx, commit->ticket, failed);
	if (idle) /* those who came later: all is done, or it could not be started again */
		hooks->committed(hooks->ctx, commit->ticket + 1, later);
	if (listing_key_kind(job->deletions[0].key) == LISTING_KEYS_SESSION)
		(void)mailbox_refresh(mailbox, true); /* the session is over, and all keys with it */
	pthread_mutex_lock(&mailbox->lock);
	pthread_cond_broadcast(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
	for (size_t i = 0; i < job->count; i++)
		message_unref(commit->messages[i]);
	free_commit(commit);
}

/* All that is pending, as one job. NULL: out of memory. */
static struct commit *gather_locked(struct mailbox *mailbox)
{
	struct commit *commit = calloc(1, sizeof(*commit));
	struct message *message, *next;

	if (!commit)
		return NULL;
	commit->lock = -1;
	commit->messages = calloc(mailbox->counts.pending + 1, sizeof(struct message *));
	commit->job.deletions = calloc(mailbox->counts.pending + 1, sizeof(struct commit_item));
	if (!commit->messages || !commit->job.deletions) {
		free_commit(commit);
		return NULL;
	}
	HASH_ITER(hh, mailbox->table, message, next) {
		if (message->state != MESSAGE_PENDING)
			continue;
		message->in_commit = true;
		commit->job.deletions[commit->job.count].key = message->key;
		commit->messages[commit->job.count++] = message_ref(message);
	}
	return commit;
}

/* mailbox->committing tells whether there was memory for it. */
static void start_locked(struct mailbox *mailbox)
{
	struct commit *commit = gather_locked(mailbox);

	if (!commit)
		return;
	commit->mailbox = mailbox;
	commit->ticket = ++mailbox->ticket;
	commit->job.kind = LINK_COMMIT;
	commit->job.prepare = prepare;
	commit->job.done = commit_done;
	mailbox->committing = true;
	link_queue(mailbox->link, &commit->job);
}

int mailbox_commit(struct mailbox *mailbox, uint64_t *ticket_r)
{
	int started = 0;

	pthread_mutex_lock(&mailbox->lock);
	if (mailbox->committing) {
		mailbox->commit_again = true;
		*ticket_r = mailbox->ticket + 1;
		started = 1;
	} else if (mailbox->counts.pending > 0) {
		start_locked(mailbox);
		*ticket_r = mailbox->ticket;
		started = mailbox->committing ? 1 : -ENOMEM;
	}
	pthread_mutex_unlock(&mailbox->lock);
	return started;
}

void mailbox_settle(struct mailbox *mailbox, int64_t fresh_s, struct commit_report *report_r)
{
	bool known;

	if (mailbox->place)
		place_end(mailbox->place);
	pthread_mutex_lock(&mailbox->lock);
	known = mailbox->report.err && mailbox->report.time + fresh_s > time(NULL) &&
		mailbox->report.kept == mailbox->counts.pending;
	if (mailbox->counts.pending > 0 && !known && !mailbox->committing)
		start_locked(mailbox);
	while (mailbox->committing)
		pthread_cond_wait(&mailbox->changed, &mailbox->lock);
	*report_r = mailbox->report;
	pthread_mutex_unlock(&mailbox->lock);
}
