/* SPDX-License-Identifier: MIT */
/*
 * A long line on one machine: relays TCP connections on loopback, every octet half a round trip later. No
 * kernel module, no root. Usage: relay TARGET-PORT ROUND-TRIP-MS [OCTETS-PER-SECOND]; prints "port N", runs
 * until it is killed. A number on a line of standard input cuts the line, once, after so many octets more from
 * the server.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE 16384
/* What a direction may hold: enough for 100 ms at 160 MB/s. */
#define PIECES 1024

struct piece {
	int64_t due_us;
	size_t len;
	char octets[PIECE];
};

/* One direction of one connection: a reader puts pieces into the ring, a writer takes them out when due. */
struct direction {
	int from, to;
	int64_t free_us; /* when the line has taken what came before */
	int down;	 /* from the server */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t first, count;
	int ended;
	struct piece ring[PIECES];
};

static int target_port;
static int64_t delay_us, octets_per_s;
static _Atomic int64_t left = -1; /* octets until the line is cut; -1: it is not */

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* How many of n octets from the server come before the cut. */
static ssize_t until_cut(ssize_t n, int *cut_r)
{
	if (n <= 0 || left < 0)
		return n;
	*cut_r = n >= left;
	if (*cut_r)
		n = left;
	left = *cut_r ? -1 : left - n;
	return n;
}

/* When so many octets that come now have got through. */
static int64_t due_us(struct direction *d, size_t len)
{
	int64_t now = now_us();

	if (d->free_us < now)
		d->free_us = now;
	if (octets_per_s > 0)
		d->free_us += (int64_t)len * 1000000 / octets_per_s;
	return d->free_us + delay_us;
}

static void *read_main(void *arg)
{
	struct direction *d = arg;
	int cut = 0;

	for (;;) {
		struct piece *piece;
		ssize_t n;

		pthread_mutex_lock(&d->lock);
		while (d->count == PIECES && !d->ended)
			pthread_cond_wait(&d->changed, &d->lock);
		piece = &d->ring[(d->first + d->count) % PIECES];
		pthread_mutex_unlock(&d->lock);
		n = d->ended || cut ? 0 : recv(d->from, piece->octets, PIECE, 0);
		if (d->down)
			n = until_cut(n, &cut);
		pthread_mutex_lock(&d->lock);
		piece->len = n > 0 ? (size_t)n : 0;
		piece->due_us = due_us(d, piece->len);
		d->count++;
		pthread_cond_broadcast(&d->changed);
		pthread_mutex_unlock(&d->lock);
		if (n <= 0)
			return NULL;
	}
}

static void *write_main(void *arg)
{
	struct direction *d = arg;

	for (;;) {
		struct piece *piece;
		int64_t wait;
		size_t sent = 0;

		pthread_mutex_lock(&d->lock);
		while (d->count == 0)
			pthread_cond_wait(&d->changed, &d->lock);
		piece = &d->ring[d->first];
		pthread_mutex_unlock(&d->lock);
		wait = piece->due_us - now_us();
		if (wait > 0)
			usleep((useconds_t)wait);
		while (sent < piece->len) {
			ssize_t n = send(d->to, piece->octets + sent, piece->len - sent, MSG_NOSIGNAL);

			if (n <= 0)
				break;
			sent += (size_t)n;
		}
		if (piece->len == 0 || sent < piece->len) {
			shutdown(d->to, SHUT_WR);
			shutdown(d->from, SHUT_RD);
			pthread_mutex_lock(&d->lock);
			d->ended = 1;
			pthread_cond_broadcast(&d->changed);
			pthread_mutex_unlock(&d->lock);
			return NULL;
		}
		pthread_mutex_lock(&d->lock);
		d->first = (d->first + 1) % PIECES;
		d->count--;
		pthread_cond_broadcast(&d->changed);
		pthread_mutex_unlock(&d->lock);
	}
}

static void start_direction(struct direction *d, int from, int to, int down, pthread_t threads[2])
{
	d->down = down;
	d->from = from;
	d->to = to;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	pthread_create(&threads[0], NULL, read_main, d);
	pthread_create(&threads[1], NULL, write_main, d);
}

static void *connection_main(void *arg)
{
	int client = (int)(intptr_t)arg, server = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = htons((uint16_t)target_port) };
	struct direction *up = calloc(1, sizeof(*up)), *down = calloc(1, sizeof(*down));
	pthread_t threads[4];

	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	usleep((useconds_t)(2 * delay_us)); /* the connection itself takes a round trip */
	if (up && down && connect(server, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		start_direction(up, client, server, 0, threads);
		start_direction(down, server, client, 1, threads + 2);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	close(client);
	close(server);
	free(up);
	free(down);
	return NULL;
}

static void *control_main(void *arg)
{
	char line[32];

	while (fgets(line, sizeof(line), stdin))
		left = strtoll(line, NULL, 10);
	return arg;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client;

	pthread_t control;

	if (argc < 3 || argc > 4)
		return 2;
	octets_per_s = argc > 3 ? strtoll(argv[3], NULL, 10) : 0;
	target_port = atoi(argv[1]);
	delay_us = (int64_t)(strtod(argv[2], NULL) * 500);
	signal(SIGPIPE, SIG_IGN);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(listener, 16) != 0 ||
	    getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
		return 1;
	printf("port %u\n", ntohs(addr.sin_port));
	fflush(stdout);
	if (pthread_create(&control, NULL, control_main, NULL) == 0)
		pthread_detach(control);
	while ((client = accept(listener, NULL, NULL)) >= 0) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, connection_main, (void *)(intptr_t)client) == 0)
			pthread_detach(thread);
	}
	return 0;
}
