/* SPDX-License-Identifier: MIT */
#include "fs/wait.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

struct wait_list {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	void (*expired)(void *ctx, struct wait *wait);
	void *ctx;
	struct wait *head; /* under lock */
	bool stopping;	   /* under lock */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The request whose deadline comes first; NULL: none has one. */
static struct wait *first_due_locked(struct wait_list *list)
{
	struct wait *wait, *first = NULL;

	DL_FOREACH(list->head, wait)
		// cppcheck-suppress nullPointerRedundantCheck
		if (wait->deadline_ms && (!first || wait->deadline_ms < first->deadline_ms))
			first = wait;
	return first;
}

/* Waits for a change of the list, or until a deadline. */
static void sleep_locked(struct wait_list *list, const struct wait *first)
{
	struct timespec until;

	if (!first) {
		pthread_cond_wait(&list->changed, &list->lock);
		return;
	}
	until.tv_sec = first->deadline_ms / 1000;
	until.tv_nsec = first->deadline_ms % 1000 * 1000000;
	pthread_cond_timedwait(&list->changed, &list->lock, &until);
}

static void *wait_main(void *arg)
{
	struct wait_list *list = arg;

	pthread_mutex_lock(&list->lock);
	while (!list->stopping) {
		struct wait *first = first_due_locked(list);

		if (!first || first->deadline_ms > now_ms()) {
			sleep_locked(list, first);
			continue;
		}
		DL_DELETE(list->head, first);
		pthread_mutex_unlock(&list->lock);
		list->expired(list->ctx, first);
		pthread_mutex_lock(&list->lock);
	}
	pthread_mutex_unlock(&list->lock);
	return NULL;
}

struct wait_list *wait_new(void (*expired)(void *ctx, struct wait *wait), void *ctx)
{
	struct wait_list *list = calloc(1, sizeof(*list));
	pthread_condattr_t attr;

	if (!list)
		return NULL;
	list->expired = expired;
	list->ctx = ctx;
	pthread_mutex_init(&list->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&list->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&list->thread, NULL, wait_main, list) != 0) {
		free(list);
		return NULL;
	}
	return list;
}

void wait_free(struct wait_list *list)
{
	if (!list)
		return;
	pthread_mutex_lock(&list->lock);
	list->stopping = true;
	pthread_cond_signal(&list->changed);
	pthread_mutex_unlock(&list->lock);
	pthread_join(list->thread, NULL);
	pthread_cond_destroy(&list->changed);
	pthread_mutex_destroy(&list->lock);
	free(list);
}

/*
 * Called by libfuse, with the request held, when the caller was interrupted. The request may have been
 * answered meanwhile: only one that is still on the list is ours to answer.
 */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct wait_list *list = data;
	struct wait *wait;

	pthread_mutex_lock(&list->lock);
	DL_FOREACH(list->head, wait)
		// cppcheck-suppress nullPointerRedundantCheck
		if (wait->req == req)
			break;
	if (wait)
		DL_DELETE(list->head, wait);
	pthread_mutex_unlock(&list->lock);
	if (!wait)
		return;
	fuse_reply_err(req, EINTR);
	free(wait);
}

int wait_begin(struct wait_list *list, fuse_req_t req, const struct wait *what, int limit_ms, wait_start_fn *start,
	       void *ctx)
{
	struct wait *wait = malloc(sizeof(*wait));
	int status;

	if (!wait)
		return -ENOMEM;
	*wait = *what;
	wait->req = req;
	wait->deadline_ms = limit_ms ? now_ms() + limit_ms : 0;
	fuse_req_interrupt_func(req, on_interrupt, list);
	pthread_mutex_lock(&list->lock);
	status = fuse_req_interrupted(req) ? -EINTR : start(ctx, &wait->id);
	if (status == -EINPROGRESS) {
		DL_APPEND(list->head, wait);
		if (wait->deadline_ms)
			pthread_cond_signal(&list->changed);
	}
	pthread_mutex_unlock(&list->lock);
	if (status != -EINPROGRESS)
		free(wait);
	return status;
}

size_t wait_readers(struct wait_list *list)
{
	struct wait *wait;
	size_t count = 0;

	pthread_mutex_lock(&list->lock);
	DL_FOREACH(list->head, wait)
		// cppcheck-suppress nullPointerRedundantCheck
		count += wait->kind == WAIT_BODY;
	pthread_mutex_unlock(&list->lock);
	return count;
}

struct wait *wait_take(struct wait_list *list, enum wait_kind kind, uint64_t id)
{
	struct wait *wait, *next, *taken = NULL;

	pthread_mutex_lock(&list->lock);
	DL_FOREACH_SAFE(list->head, wait, next) {
		// cppcheck-suppress uninitvar
		if (wait->kind != kind || (wait->id != id && id != WAIT_ANY_ID))
			continue;
		DL_DELETE(list->head, wait);
		DL_APPEND(taken, wait);
	}
	pthread_mutex_unlock(&list->lock);
	return taken;
}
