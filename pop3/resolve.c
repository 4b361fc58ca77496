/* SPDX-License-Identifier: MIT */
/*
 * getaddrinfo() cannot be interrupted, and where a name server is silent it takes half a minute. So it runs on a thread
 * of its own, which is left behind when nobody waits for it any more: the last of the two to let go of the lookup frees
 * it.
 */
#include "pop3/resolve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pop3/transport.h"

struct lookup {
	atomic_int refs;
	char *host;
	char port[8];
	int done_fd; /* an eventfd, for whoever waits */
	atomic_bool done; /* what follows stands */
	int gai;
	struct addrinfo *list;
};

static void lookup_unref(struct lookup *lookup)
{
	if (!lookup || atomic_fetch_sub(&lookup->refs, 1) > 1)
		return;
	if (lookup->list)
		freeaddrinfo(lookup->list);
	if (lookup->done_fd >= 0)
		close(lookup->done_fd);
	free(lookup->host);
	free(lookup);
}

static struct lookup *lookup_new(const char *host, uint16_t port)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup)
		return NULL;
	atomic_init(&lookup->refs, 1);
	lookup->host = strdup(host);
	snprintf(lookup->port, sizeof(lookup->port), "%u", port);
	lookup->done_fd = eventfd(0, EFD_CLOEXEC);
	if (lookup->host && lookup->done_fd >= 0)
		return lookup;
	lookup_unref(lookup);
	return NULL;
}

static void *lookup_main(void *arg)
{
	const struct addrinfo known = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	const struct addrinfo any = { .ai_socktype = SOCK_STREAM };
	struct lookup *lookup = arg;

	lookup->gai = getaddrinfo(lookup->host, lookup->port, &known, &lookup->list);
	if (lookup->gai == EAI_ADDRFAMILY || lookup->gai == EAI_NONAME) /* a machine with nothing but loopback */
		lookup->gai = getaddrinfo(lookup->host, lookup->port, &any, &lookup->list);
	atomic_store(&lookup->done, true);
	eventfd_write(lookup->done_fd, 1);
	lookup_unref(lookup);
	return NULL;
}

/* Starts the thread, which has a reference. */
static bool start(struct lookup *lookup)
{
	pthread_t thread;

	atomic_fetch_add(&lookup->refs, 1);
	if (pthread_create(&thread, NULL, lookup_main, lookup) != 0) {
		atomic_fetch_sub(&lookup->refs, 1);
		return false;
	}
	pthread_detach(thread);
	return true;
}

static enum pop3_err wait_for(const struct lookup *lookup, int timeout_ms, int cancel_fd, struct pop3_why *why)
{
	struct pollfd fds[2] = { { .fd = lookup->done_fd, .events = POLLIN }, { .fd = cancel_fd, .events = POLLIN } };
	const int64_t end = transport_now_ms() + timeout_ms;
	int n;

	do {
		int64_t left = end - transport_now_ms();

		n = poll(fds, 2, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return pop3_fail(why, POP3_E_RESOLVE, "%s: poll: %s", lookup->host, strerror(errno));
	if (atomic_load(&lookup->done))
		return POP3_OK;
	if (n > 0)
		return pop3_fail(why, POP3_E_STOPPED, "ended by us");
	return pop3_fail(why, POP3_E_TIMEOUT, "%s: no answer from the name service within %g s", lookup->host,
			 timeout_ms / 1000.0);
}

enum pop3_err resolve(const char *host, uint16_t port, int timeout_ms, int cancel_fd, struct addrinfo **list_r,
		      struct pop3_why *why)
{
	struct lookup *lookup = lookup_new(host, port);
	enum pop3_err err;

	if (!lookup || !start(lookup)) {
		lookup_unref(lookup);
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	}
	err = wait_for(lookup, timeout_ms, cancel_fd, why);
	if (!err && lookup->gai) {
		err = pop3_fail(why, POP3_E_RESOLVE, "%s: %s", host, gai_strerror(lookup->gai));
	} else if (!err) {
		*list_r = lookup->list;
		lookup->list = NULL;
	}
	lookup_unref(lookup);
	return err;
}
