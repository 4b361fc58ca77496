/* SPDX-License-Identifier: MIT */
/*
 * A long line on one machine: relays TCP connections on loopback, every octet half a round trip later. No
 * kernel module, no root. Usage: relay TARGET-PORT ROUND-TRIP-MS; prints "port N", runs until it is killed.
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
	int64_t delay_us;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t first, count;
	int ended;
	struct piece ring[PIECES];
};

static int target_port;
static int64_t delay_us;

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *read_main(void *arg)
{
	struct direction *d = arg;

	for (;;) {
		struct piece *piece;
		ssize_t n;

		pthread_mutex_lock(&d->lock);
		while (d->count == PIECES && !d->ended)
			pthread_cond_wait(&d->changed, &d->lock);
		piece = &d->ring[(d->first + d->count) % PIECES];
		pthread_mutex_unlock(&d->lock);
		n = d->ended ? 0 : recv(d->from, piece->octets, PIECE, 0);
		pthread_mutex_lock(&d->lock);
		piece->len = n > 0 ? (size_t)n : 0;
		piece->due_us = now_us() + d->delay_us;
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

static void start_direction(struct direction *d, int from, int to, pthread_t threads[2])
{
	d->from = from;
	d->to = to;
	d->delay_us = delay_us;
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
		start_direction(up, client, server, threads);
		start_direction(down, server, client, threads + 2);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	close(client);
	close(server);
	free(up);
	free(down);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client;

	if (argc != 3)
		return 2;
	target_port = atoi(argv[1]);
	delay_us = (int64_t)(strtod(argv[2], NULL) * 500);
	signal(SIGPIPE, SIG_IGN);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(listener, 16) != 0 ||
	    getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
		return 1;
	printf("port %u\n", ntohs(addr.sin_port));
	fflush(stdout);
	while ((client = accept(listener, NULL, NULL)) >= 0) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, connection_main, (void *)(intptr_t)client) == 0)
			pthread_detach(thread);
	}
	return 0;
}
