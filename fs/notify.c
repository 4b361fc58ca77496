/* SPDX-License-Identifier: MIT */
#include "fs/notify.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utlist.h>

#include "fs/log.h"
#include "fs/name.h"

/* With more than this waiting, nothing is announced: 1,000 take over a second, and file managers list anew. */
#define ANNOUNCED_MAX 1000

struct change {
	enum { CHANGE_ADDED, CHANGE_REMOVED, CHANGE_REFRESHED } kind;
	struct message *message; /* with a reference; NULL for CHANGE_REFRESHED */
	int err;
	struct change *prev, *next;
};

struct notify {
	struct notify_config config;
	dev_t mount; /* tells our mount from one that stands over it */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under lock: */
	struct change *changes;
	size_t count;
	bool stopping;
	uint64_t announced;  /* the message that is being announced; 0: none */
	char name[NAME_SIZE]; /* its name */
};

static void set_announced(struct notify *notify, uint64_t ino, const char *name)
{
	pthread_mutex_lock(&notify->lock);
	notify->announced = ino;
	strcpy(notify->name, name);
	pthread_mutex_unlock(&notify->lock);
}

/* Has a name made or removed as by any program; the request comes back to us. false: nobody has heard. */
static bool announce(struct notify *notify, uint64_t ino, const char *name, bool added)
{
	bool heard;

	set_announced(notify, ino, name);
	heard = announcer_tell(notify->config.announcer, notify->mount, name, added);
	set_announced(notify, 0, "");
	return heard;
}

static void invalidate(struct notify *notify, const char *name)
{
	fuse_lowlevel_notify_inval_entry(notify->config.session, TREE_ROOT, name, strlen(name));
	fuse_lowlevel_notify_inval_inode(notify->config.session, TREE_ROOT, 0, 0);
}

static void tell_added(struct notify *notify, struct message *message, bool aloud)
{
	struct tree *tree = notify->config.tree;
	char name[NAME_SIZE];
	uint64_t dir;
	/* It has a name where another mount has taken its deletion back. */
	bool known = tree_find(tree, message_ino(message), &dir, name);

	if (!known && !tree_add(tree, message, TREE_HIDDEN, name)) {
		log_error("a message is not shown: out of memory");
	} else if (known || !aloud || !announce(notify, message_ino(message), name, true)) {
		tree_move(tree, message_ino(message), TREE_ROOT);
		invalidate(notify, name);
	}
}

static void tell_removed(struct notify *notify, struct message *message, bool aloud)
{
	struct tree *tree = notify->config.tree;
	uint64_t ino = message_ino(message), dir;
	char name[NAME_SIZE];

	if (!tree_find(tree, ino, &dir, name))
		return;
	if (dir == TREE_ROOT && aloud && announce(notify, ino, name, false))
		return;
	if (tree_remove(tree, ino) && dir == TREE_ROOT)
		invalidate(notify, name);
}

/* The next change to tell; NULL: the end. */
static struct change *next_change(struct notify *notify, bool *aloud_r)
{
	struct change *change = NULL;

	pthread_mutex_lock(&notify->lock);
	while (!notify->stopping && !notify->changes)
		pthread_cond_wait(&notify->wake, &notify->lock);
	if (!notify->stopping) {
		change = notify->changes;
		*aloud_r = notify->count <= ANNOUNCED_MAX;
		DL_DELETE(notify->changes, change);
		notify->count--;
	}
	pthread_mutex_unlock(&notify->lock);
	return change;
}

static void free_change(struct change *change)
{
	message_unref(change->message);
	free(change);
}

static void *notify_main(void *arg)
{
	struct notify *notify = arg;
	struct change *change;
	bool aloud;

	while ((change = next_change(notify, &aloud))) {
		if (change->kind == CHANGE_ADDED)
			tell_added(notify, change->message, aloud);
		else if (change->kind == CHANGE_REMOVED)
			tell_removed(notify, change->message, aloud);
		else
			notify->config.refreshed(notify->config.ctx, change->err);
		free_change(change);
	}
	return NULL;
}

struct notify *notify_new(const struct notify_config *config)
{
	struct notify *notify = calloc(1, sizeof(*notify));
	struct statx mount;

	if (!notify)
		return NULL;
	notify->config = *config;
	pthread_mutex_init(&notify->lock, NULL);
	pthread_cond_init(&notify->wake, NULL);
	/* Answered from the kernel's memory: nobody serves the mount yet. */
	if (statx(AT_FDCWD, config->mountpoint, AT_STATX_DONT_SYNC, STATX_INO, &mount) == 0)
		notify->mount = makedev(mount.stx_dev_major, mount.stx_dev_minor);
	if (!notify->mount || pthread_create(&notify->thread, NULL, notify_main, notify) != 0) {
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
		free_change(change);
	}
	pthread_cond_destroy(&notify->wake);
	pthread_mutex_destroy(&notify->lock);
	free(notify);
}

static void queue(struct notify *notify, int kind, struct message *message, int err)
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change) {
		log_error("a change of the directory is not shown: out of memory");
		return;
	}
	change->kind = kind;
	change->message = message ? message_ref(message) : NULL;
	change->err = err;
	pthread_mutex_lock(&notify->lock);
	DL_APPEND(notify->changes, change);
	notify->count++;
	pthread_cond_signal(&notify->wake);
	pthread_mutex_unlock(&notify->lock);
}

void notify_added(struct notify *notify, struct message *message)
{
	queue(notify, CHANGE_ADDED, message, 0);
}

void notify_removed(struct notify *notify, struct message *message)
{
	queue(notify, CHANGE_REMOVED, message, 0);
}

void notify_refreshed(struct notify *notify, int err)
{
	queue(notify, CHANGE_REFRESHED, NULL, err);
}

uint64_t notify_announced(struct notify *notify, pid_t pid, const char *name)
{
	uint64_t ino = 0;

	pthread_mutex_lock(&notify->lock);
	if (notify->announced && pid == announcer_pid(notify->config.announcer) && strcmp(name, notify->name) == 0)
		ino = notify->announced;
	pthread_mutex_unlock(&notify->lock);
	return ino;
}
