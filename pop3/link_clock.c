/* SPDX-License-Identifier: MIT */
/* The system's time, by which a link waits where a test does not give it another. */
#include <time.h>

#include "pop3/link_private.h"
#include "pop3/transport.h"

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
