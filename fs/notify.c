/* SPDX-License-Identifier: MIT */
#include "fs/notify.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct change {
	fuse_ino_t dir;
	struct change *prev, *next;
	char name[];
};

struct notify {
	struct fuse_session *session;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct change *changes; /* under lock */
	bool stopping;		/* under lock */
};

/* The next change to tell; NULL: the end. */
static struct change *next_change(struct notify *notify)
{
	struct change *change = NULL;

	pthread_mutex_lock(&notify->lock);
	while (!notify->stopping && !notify->changes)
		pthread_cond_wait(&notify->wake, &notify->lock);
	if (!notify->stopping) {
		change = notify->changes;
		DL_DELETE(notify->changes, change);
	}
	pthread_mutex_unlock(&notify->lock);
	return change;
}

static void *notify_main(void *arg)
{
	struct notify *notify = arg;
	struct change *change;

	while ((change = next_change(notify))) {
		fuse_lowlevel_notify_inval_entry(notify->session, change->dir, change->name, strlen(change->name));
		fuse_lowlevel_notify_inval_inode(notify->session, change->dir, 0, 0);
		free(change);
	}
	return NULL;
}

struct notify *notify_new(struct fuse_session *session)
{
	struct notify *notify = calloc(1, sizeof(*notify));

	if (!notify)
		return NULL;
	notify->session = session;
	pthread_mutex_init(&notify->lock, NULL);
	pthread_cond_init(&notify->wake, NULL);
	if (pthread_create(&notify->thread, NULL, notify_main, notify) != 0) {
		free(notify);
		return NULL;
	}
	return notify;
}

void notify_free(struct notify *notify)
{
	struct change *change;

	if (!notify)
		return;
	pthread_mutex_lock(&notify->lock);
	notify->stopping = true;
	pthread_cond_signal(&notify->wake);
	pthread_mutex_unlock(&notify->lock);
	pthread_join(notify->thread, NULL);
	while ((change = notify->changes)) {
		DL_DELETE(notify->changes, change);
		free(change);
	}
	pthread_cond_destroy(&notify->wake);
	pthread_mutex_destroy(&notify->lock);
	free(notify);
}

void notify_name(struct notify *notify, fuse_ino_t dir, const char *name)
{
	size_t size = strlen(name) + 1;
	struct change *change = malloc(sizeof(*change) + size);

	if (!change)
		return; /* the kernel finds out when its entry is looked up: the message's inode is gone */
	change->dir = dir;
	memcpy(change->name, name, size);
	pthread_mutex_lock(&notify->lock);
	DL_APPEND(notify->changes, change);
	pthread_cond_signal(&notify->wake);
	pthread_mutex_unlock(&notify->lock);
}
