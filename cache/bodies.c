/* SPDX-License-Identifier: MIT */
/*
 * Bodies: from the store when it has them, else fetched over the link into a temporary file that takes its
 * name when the message is whole (DESIGN 2). The size becomes exact, the kernel is told by sized(), and only
 * then does the body count as present: no opener gets past a size that the kernel does not know yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/header.h"
#include "cache/mailbox_private.h"
#include "pop3/limits.h"

struct fetch {
	struct link_job job;
	struct message *message; /* with a reference */
	struct store_writer writer;
	struct header_digest digest;
	struct refresh *refresh; /* that waits for it before it shows the message; NULL: none */
	int err;		 /* of the store, -errno */
};

static struct fetch *fetch_of(struct link_job *job)
{
	return (struct fetch *)job; /* the job is its first member */
}

static const char *fetch_key(struct link_job *job, size_t i)
{
	(void)i;
	return fetch_of(job)->message->key;
}

static int fetch_begin(struct link_job *job, size_t i)
{
	struct fetch *fetch = fetch_of(job);

	(void)i;
	store_abandon(&fetch->writer);
	fetch->digest = (struct header_digest){ 0 };
	fetch->err = store_begin(fetch->message->mailbox->store, &fetch->writer);
	return fetch->err;
}

static int fetch_data(struct link_job *job, size_t i, const char *octets, size_t len)
{
	struct fetch *fetch = fetch_of(job);

	(void)i;
	header_digest_add(&fetch->digest, octets, len);
	fetch->err = store_write(&fetch->writer, octets, len);
	return fetch->err;
}

/* Is it the message whose header TOP brought? (QUIRKS F9) An empty one has none to compare. */
static bool fetch_matches(struct link_job *job, size_t i)
{
	const struct fetch *fetch = fetch_of(job);
	uint64_t known;

	(void)i;
	pthread_mutex_lock(&fetch->message->mailbox->lock);
	known = fetch->message->header_digest;
	pthread_mutex_unlock(&fetch->message->mailbox->lock);
	return known == 0 || fetch->digest.value == known;
}

/* Learns the envelope of a message whose header could not be had alone (QUIRKS T1). */
static void learn_envelope(struct message *message, int fd)
{
	struct index *index = message->mailbox->index;
	struct envelope *envelope;
	char *header;
	bool known;
	ssize_t n;

	pthread_mutex_lock(&message->mailbox->lock);
	known = message->header == INDEX_HEADER_KNOWN;
	pthread_mutex_unlock(&message->mailbox->lock);
	header = known ? NULL : malloc(POP3_MAX_HEADER);
	n = header ? pread(fd, header, POP3_MAX_HEADER, 0) : -1;
	envelope = n >= 0 ? envelope_parse(header, (size_t)n) : NULL;
	free(header);
	if (!envelope)
		return;
	pthread_mutex_lock(&message->mailbox->lock);
	message->envelope = envelope;
	message->header = INDEX_HEADER_KNOWN;
	message_set_times(message);
	pthread_mutex_unlock(&message->mailbox->lock);
	if (message_is_transient(message))
		return;
	index_begin(index);
	index_learn(index, &(struct index_row){ .id = message->ino, .mtime = message->mtime, .ctime = message->ctime },
		    envelope);
	(void)index_end(index); /* else it is learnt again from the next fetch */
}

/*
 * A whole body is in place and open in `fd`: its size is the message's from now on. It counts as exact only
 * when the kernel knows it too, in end_fetch().
 */
static void set_size(struct message *message, uint64_t octets, int fd)
{
	struct mailbox *mailbox = message->mailbox;
	uint64_t was;

	pthread_mutex_lock(&mailbox->lock);
	was = message->octets;
	mailbox_count_locked(message, -1);
	message->octets = octets;
	mailbox_count_locked(message, 1);
	pthread_mutex_unlock(&mailbox->lock);
	mailbox->hooks.sized(mailbox->hooks.ctx, message, was, octets, fd);
}

static void end_fetch(struct message *message, bool present, int64_t stamp)
{
	struct mailbox *mailbox = message->mailbox;

	pthread_mutex_lock(&mailbox->lock);
	message->stamp = stamp;
	message->synced = false;
	if (present && !message->exact) {
		mailbox_count_locked(message, -1);
		message->exact = true;
		mailbox_count_locked(message, 1);
	}
	mailbox_set_body_locked(message, present ? BODY_PRESENT : BODY_ABSENT);
	message->fetch = NULL;
	if (!present && message->unused) {
		message->unused = false;
		mailbox->unused--;
		mailbox->ahead--;
	}
	if (present)
		keeper_mark_locked(message);
	if (present && stamp && message->state == MESSAGE_REMOVED && !message->drop)
		mailbox->gone_octets += message->octets; /* it went while it was fetched */
	pthread_mutex_unlock(&mailbox->lock);
}

static void fetch_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct fetch *fetch = fetch_of(job);
	struct message *message = fetch->message;
	struct mailbox *mailbox = message->mailbox;
	int64_t stamp = 0;
	int fd = -1, failed = err == POP3_E_LOCAL ? fetch->err : pop3_errno(err);

	(void)why;
	if (failed)
		store_abandon(&fetch->writer);
	else
		failed = store_finish(&fetch->writer, message->key, &stamp, &fd);
	if (!failed) {
		learn_envelope(message, fd);
		set_size(message, fetch->writer.octets, fd);
		close(fd);
	}
	end_fetch(message, !failed, stamp);
	if (!failed)
		space_make(mailbox, 0, message);
	if (fetch->refresh)
		refresh_fetched(fetch->refresh, message, failed);
	mailbox->hooks.fetched(mailbox->hooks.ctx, message, failed);
	if (err == POP3_E_GONE)
		(void)mailbox_refresh(mailbox, false);
	message_unref(message);
	free(fetch);
}

/* Queues a fetch; the message is marked as being fetched. -errno at once where the server cannot be reached. */
static int begin_fetch_locked(struct message *message, bool ahead, struct refresh *refresh)
{
	int down = link_down(message->mailbox->link);
	struct fetch *fetch = down ? NULL : calloc(1, sizeof(*fetch));

	if (down)
		return down;
	if (!fetch)
		return -ENOMEM;
	fetch->message = message_ref(message);
	fetch->refresh = refresh;
	fetch->writer.fd = -1;
	fetch->job = (struct link_job){ .kind = LINK_FETCH,
					.count = 1,
					.ahead = ahead,
					.octets = message->listed,
					.key = fetch_key,
					.begin = fetch_begin,
					.data = fetch_data,
					.matches = fetch_matches,
					.done = fetch_done };
	message->body = BODY_FETCHING;
	message->fetch = &fetch->job;
	link_queue(message->mailbox->link, &fetch->job);
	return -EINPROGRESS;
}

/* Somebody wants the body now: 0 where it is present, -EINPROGRESS, or -errno. */
static int want_body_locked(struct message *message)
{
	struct mailbox *mailbox = message->mailbox;

	if (message->unused) {
		message->unused = false;
		mailbox->unused--;
	}
	if (message->body == BODY_ABSENT)
		return begin_fetch_locked(message, false, NULL);
	if (message->body == BODY_FETCHING) {
		link_promote(mailbox->link, message->fetch);
		return -EINPROGRESS;
	}
	space_touch_locked(message);
	return 0;
}

/* Opens a body that is present; where somebody has tidied or changed the cache it is absent from now on. */
static int open_body_locked(struct message *message)
{
	int fd = -ENOENT;

	if (message->body == BODY_PRESENT)
		fd = store_open(message->mailbox->store, message->key, message->octets, message->stamp);
	if (message->body == BODY_PRESENT && fd == -ENOENT)
		mailbox_set_body_locked(message, BODY_ABSENT);
	return fd;
}

int mailbox_open(struct mailbox *mailbox, struct message *message)
{
	int fd, err;

	pthread_mutex_lock(&mailbox->lock);
	fd = open_body_locked(message);
	err = want_body_locked(message);
	pthread_mutex_unlock(&mailbox->lock);
	return err ? err : fd;
}

int mailbox_hold(struct mailbox *mailbox, struct message *message)
{
	int err;

	pthread_mutex_lock(&mailbox->lock);
	err = want_body_locked(message);
	message->holds += err == 0;
	pthread_mutex_unlock(&mailbox->lock);
	return err;
}

void body_pin_locked(struct message *message)
{
	int fd = message->holds > 0 && message->fd < 0 ? open_body_locked(message) : -1;

	if (fd >= 0)
		message->fd = fd;
}

int mailbox_held(struct mailbox *mailbox, struct message *message)
{
	int fd;

	pthread_mutex_lock(&mailbox->lock);
	fd = message->fd >= 0 ? message->fd : open_body_locked(message);
	message->fd = fd >= 0 ? fd : -1;
	pthread_mutex_unlock(&mailbox->lock);
	return fd;
}

void mailbox_release(struct mailbox *mailbox, struct message *message)
{
	int fd = -1;

	pthread_mutex_lock(&mailbox->lock);
	if (--message->holds == 0) {
		fd = message->fd;
		message->fd = -1;
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (fd >= 0)
		close(fd);
}

void mailbox_fetch_ahead(struct mailbox *mailbox, struct message *message)
{
	pthread_mutex_lock(&mailbox->lock);
	if (message->body == BODY_ABSENT && message->state == MESSAGE_SHOWN &&
	    begin_fetch_locked(message, true, NULL) == -EINPROGRESS) {
		message->unused = true;
		mailbox->ahead++;
		mailbox->unused++;
	}
	pthread_mutex_unlock(&mailbox->lock);
}

int mailbox_fetch_fresh(struct message *message, struct refresh *refresh)
{
	int err;

	pthread_mutex_lock(&message->mailbox->lock);
	err = begin_fetch_locked(message, true, refresh);
	pthread_mutex_unlock(&message->mailbox->lock);
	return err == -EINPROGRESS ? 0 : err;
}
