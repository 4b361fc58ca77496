/* SPDX-License-Identifier: MIT */
/* The system's time, by which a link waits where a test does not give it another. */
#include <time.h>

#include "pop3/link_private.h"
#include "pop3/transport.h"

/* The clocks that count a suspend and that do not are this far apart only after one. */
#define SUSPEND_MS 1000

static struct timespec deadline_after(int64_t ms)
{
	struct timespec at;

	if (ms < 0)
		ms = 0;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

static int64_t system_now_ms(void *ctx)
{
	(void)ctx;
	return transport_now_ms();
}

static int system_wait(void *ctx, pthread_cond_t *wake, pthread_mutex_t *lock, int64_t ms)
{
	const struct timespec until = deadline_after(ms);

	(void)ctx;
	return pthread_cond_timedwait(wake, lock, &until);
}

static int64_t system_slept_ms(void *ctx)
{
	struct timespec with, without;

	(void)ctx;
	clock_gettime(CLOCK_BOOTTIME, &with);
	clock_gettime(CLOCK_MONOTONIC, &without);
	return (int64_t)(with.tv_sec - without.tv_sec) * 1000 + (with.tv_nsec - without.tv_nsec) / 1000000;
}

const struct link_clock link_system_clock = { system_now_ms, system_slept_ms, system_wait, NULL };

int64_t link_now_ms(const struct link *link)
{
	return link->config.clock->now_ms(link->config.clock->ctx);
}

int link_wait_ms_locked(struct link *link, int64_t ms)
{
	return link->config.clock->wait(link->config.clock->ctx, &link->wake, &link->lock, ms);
}

int64_t link_slept_ms(const struct link *link)
{
	return link->config.clock->slept_ms(link->config.clock->ctx);
}

bool link_has_slept(const struct link *link, int64_t since_ms)
{
	return link_slept_ms(link) - since_ms > SUSPEND_MS;
}
