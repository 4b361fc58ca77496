/* SPDX-License-Identifier: MIT */
/*
 * Deletions (DESIGN 5): marked here, hidden by fs/, sent by the link in one commit, and taken out of the
 * table only when the link is sure of their end. One commit runs at a time; whoever asks meanwhile waits
 * for the one after it, which takes in what was marked since.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/mailbox_private.h"

struct commit {
	struct link_job job;
	struct mailbox *mailbox;
	uint64_t ticket;
	struct message **messages; /* with a reference each, in step with job.deletions */
};

int mailbox_delete(struct mailbox *mailbox, struct message *message)
{
	int err = -ENOENT;

	pthread_mutex_lock(&mailbox->lock);
	if (message->state == MESSAGE_SHOWN) {
		mailbox_set_state_locked(message, MESSAGE_PENDING);
		err = 0;
	}
	pthread_mutex_unlock(&mailbox->lock);
	return err;
}

int mailbox_restore(struct mailbox *mailbox, struct message *message)
{
	int err = -ENOENT;

	pthread_mutex_lock(&mailbox->lock);
	if (message->state == MESSAGE_PENDING) {
		err = message->in_commit ? -EBUSY : 0;
		if (!err)
			mailbox_set_state_locked(message, MESSAGE_SHOWN);
	}
	pthread_mutex_unlock(&mailbox->lock);
	return err;
}

static struct commit *commit_of(struct link_job *job)
{
	return (struct commit *)job; /* the job is its first member */
}

static void free_commit(struct commit *commit)
{
	free(commit->job.deletions);
	free(commit->messages);
	free(commit);
}

/* Takes over what became of one message; true: it is out of the table. */
static bool resolve_locked(struct mailbox *mailbox, struct message *message, enum commit_state state,
			   struct commit_report *report)
{
	message->in_commit = false;
	report->deleted += state == COMMIT_DELETED;
	report->gone += state == COMMIT_GONE;
	report->kept += state != COMMIT_DELETED && state != COMMIT_GONE;
	if (state == COMMIT_WAITING || state == COMMIT_SENT || message->state == MESSAGE_REMOVED)
		return false;
	mailbox_take_out_locked(mailbox, message);
	message_unref(message); /* the table's; the commit has its own */
	return true;
}

static void start_locked(struct mailbox *mailbox);

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
	bool again, idle;
	size_t removed;
	int failed, later;

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

	if (removed > 0)
		hooks->listed(hooks->ctx, NULL, 0, commit->messages, removed);
	hooks->committed(hooks->ctx, commit->ticket, failed);
	if (idle) /* those who came later: all is done, or it could not be started again */
		hooks->committed(hooks->ctx, commit->ticket + 1, later);
	if (strncmp(job->deletions[0].key, LISTING_SESSION_PREFIX, strlen(LISTING_SESSION_PREFIX)) == 0)
		(void)mailbox_refresh(mailbox); /* the session is over, and all keys with it */
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
