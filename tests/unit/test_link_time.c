/* SPDX-License-Identifier: MIT */
/* What the link does with its time: a day of idling, a day without the server, a night's sleep, by a clock that jumps. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct day {
	struct peer *peer;
	struct link_clock clock;
	_Atomic int64_t now_ms;
	_Atomic int64_t slept_ms;
	atomic_bool still;   /* the time does not pass by itself */
	atomic_bool waiting; /* the link waits in it */
	_Atomic int64_t end_ms; /* of the looking for the server */
	atomic_uint looked;
	atomic_uint failed;
	struct link_job look;
};

static int64_t day_now_ms(void *ctx)
{
	struct day *day = ctx;

	return atomic_load(&day->now_ms);
}

static int64_t day_slept_ms(void *ctx)
{
	struct day *day = ctx;

	return atomic_load(&day->slept_ms);
}

/* Nothing comes: the time is over at once. */
static int day_wait(void *ctx, pthread_cond_t *wake, pthread_mutex_t *lock, int64_t ms)
{
	struct day *day = ctx;

	if (atomic_load(&day->still)) {
		atomic_store(&day->waiting, true);
		return pthread_cond_wait(wake, lock);
	}
	atomic_fetch_add(&day->now_ms, ms);
	return ETIMEDOUT;
}

static void take_note(void *ctx, const char *text)
{
	const struct day *day = ctx;

	strncat(day->peer->notes, text, sizeof(day->peer->notes) - strlen(day->peer->notes) - 2);
	strcat(day->peer->notes, "\n");
}

static void ignore_listing(struct link_job *job, const struct listing *listing)
{
	(void)job, (void)listing;
}

static void look_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct day *day = (struct day *)((char *)job - offsetof(struct day, look));

	(void)why;
	atomic_fetch_add(&day->failed, err != POP3_OK);
	atomic_fetch_add(&day->looked, 1);
}

static void look_again(void *ctx)
{
	struct day *day = ctx;

	if (atomic_load(&day->now_ms) >= atomic_load(&day->end_ms)) {
		usleep(1000);
		return;
	}
	day->look = (struct link_job){ .kind = LINK_LIST, .listing = ignore_listing, .done = look_done };
	link_queue(day->peer->link, &day->look);
}

static struct day *day_new(void)
{
	struct day *day = calloc(1, sizeof(*day));

	day->clock = (struct link_clock){ day_now_ms, day_slept_ms, day_wait, day };
	atomic_store(&day->now_ms, 1000000);
	day->peer = peer_new();
	peer_message(day->peer, "a", SHOWN);
	day->peer->config.clock = &day->clock;
	day->peer->config.note = take_note;
	day->peer->config.look_again = look_again;
	day->peer->config.ctx = day;
	peer_start(day->peer, NULL);
	return day;
}

static void day_free(struct day *day)
{
	atomic_store(&day->end_ms, 0);
	peer_free(day->peer);
	free(day);
}

static bool is_connected(struct peer *peer)
{
	struct link_status status;

	link_status(peer->link, &status);
	return status.connected;
}

Test(link_time, a_day_of_idling)
{
	struct day *day = day_new();
	struct peer *peer = day->peer;
	int64_t used_ms = atomic_load(&day->now_ms);

	cr_assert_eq(peer_list(peer), POP3_OK);
	while (is_connected(peer))
		usleep(1000);
	cr_assert_eq(atomic_load(&day->now_ms) - used_ms, 30000, "the session is let go after the idle time");
	atomic_fetch_add(&day->now_ms, DAY_MS);
	usleep(100000);
	cr_assert_eq(server_count(peer->server, "QUIT"), 1);
	cr_assert_eq(server_count(peer->server, "UIDL"), 1, "nobody asked for anything");
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert_octets(peer->received, SHOWN);
	cr_assert_eq(server_count(peer->server, "UIDL"), 2);
	cr_assert_str_eq(peer->notes, "");
	cr_assert_eq(link_down(peer->link), 0);
	day_free(day);
}

Test(link_time, a_day_without_the_server)
{
	struct day *day = day_new();
	struct peer *peer = day->peer;
	struct link_status status;
	const char *why;

	cr_assert_eq(peer_list(peer), POP3_OK);
	peer->server_config.port = server_port(peer->server);
	server_stop(peer->server);
	atomic_store(&day->end_ms, atomic_load(&day->now_ms) + DAY_MS);
	cr_assert_neq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert_eq(link_down(peer->link), -EHOSTUNREACH);
	while (atomic_load(&day->now_ms) < atomic_load(&day->end_ms))
		usleep(1000);
	cr_assert_eq(atomic_load(&day->looked), atomic_load(&day->failed));
	cr_assert(atomic_load(&day->looked) >= 24 * 60 - 1 && atomic_load(&day->looked) <= 24 * 60 + 8,
		  "once a minute, at first more often: %u", atomic_load(&day->looked));
	link_status(peer->link, &status);
	cr_assert_neq(status.down_since, 0);
	cr_assert_eq(strstr(strstr(peer->notes, "offline: ") + 1, "offline: "), NULL, "said once: %s", peer->notes);
	peer->server = server_start(&peer->server_config, &why);
	cr_assert(peer->server);
	atomic_store(&day->end_ms, INT64_MAX);
	while (link_down(peer->link))
		usleep(1000);
	cr_assert(strstr(peer->notes, "online again"), "%s", peer->notes);
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	day_free(day);
}

/* A session of before may be dead without a word: to ask in it could take a time-out. */
Test(link_time, a_session_does_not_outlive_a_suspend)
{
	struct day *day = day_new();
	struct peer *peer = day->peer;

	atomic_store(&day->still, true);
	cr_assert_eq(peer_list(peer), POP3_OK);
	while (!atomic_load(&day->waiting))
		usleep(1000);
	cr_assert(is_connected(peer));
	atomic_fetch_add(&day->slept_ms, 8 * 3600 * 1000);
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert_octets(peer->received, SHOWN);
	cr_assert_eq(server_count(peer->server, "UIDL"), 2, "in a new session");
	cr_assert_eq(server_count(peer->server, "QUIT"), 0);
	cr_assert_str_eq(peer->notes, "");
	day_free(day);
}

Test(link_time, after_a_suspend_the_server_may_be_back)
{
	struct day *day = day_new();
	struct peer *peer = day->peer;
	const char *why;

	cr_assert_eq(peer_list(peer), POP3_OK);
	peer->server_config.port = server_port(peer->server);
	server_stop(peer->server);
	cr_assert_neq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert_eq(link_down(peer->link), -EHOSTUNREACH);
	peer->server = server_start(&peer->server_config, &why);
	cr_assert(peer->server);
	cr_assert_eq(link_down(peer->link), -EHOSTUNREACH, "it has not been looked for");
	atomic_fetch_add(&day->slept_ms, 8 * 3600 * 1000);
	cr_assert_eq(link_down(peer->link), 0);
	cr_assert_eq(peer_fetch(peer, peer->keys[0]), POP3_OK);
	cr_assert_eq(atomic_load(&day->looked), 0);
	day_free(day);
}
