/* SPDX-License-Identifier: MIT */
#include "fs/wait.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

struct wait_list {
	pthread_mutex_t lock;
	struct wait *head;
};

struct wait_list *wait_new(void)
{
	struct wait_list *list = calloc(1, sizeof(*list));

	if (list)
		pthread_mutex_init(&list->lock, NULL);
	return list;
}

void wait_free(struct wait_list *list)
{
	if (!list)
		return;
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

int wait_begin(struct wait_list *list, fuse_req_t req, enum wait_kind kind, const struct fuse_file_info *fi,
	       wait_start_fn *start, void *ctx)
{
	struct wait *wait = calloc(1, sizeof(*wait));
	int status;

	if (!wait)
		return -ENOMEM;
	wait->req = req;
	wait->kind = kind;
	wait->fi = *fi;
	fuse_req_interrupt_func(req, on_interrupt, list);
	pthread_mutex_lock(&list->lock);
	status = fuse_req_interrupted(req) ? -EINTR : start(ctx, &wait->id);
	if (status == -EINPROGRESS)
		DL_APPEND(list->head, wait);
	pthread_mutex_unlock(&list->lock);
	if (status != -EINPROGRESS)
		free(wait);
	return status;
}

struct wait *wait_take(struct wait_list *list, enum wait_kind kind, uint64_t id)
{
	struct wait *wait, *next, *taken = NULL;

	pthread_mutex_lock(&list->lock);
	DL_FOREACH_SAFE(list->head, wait, next) {
		// cppcheck-suppress uninitvar
		if (wait->kind != kind || wait->id != id)
			continue;
		DL_DELETE(list->head, wait);
		DL_APPEND(taken, wait);
	}
	pthread_mutex_unlock(&list->lock);
	return taken;
}
