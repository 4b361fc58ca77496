/* SPDX-License-Identifier: MIT */
/*
 * Connections: each command (commands.c) builds its whole reply, and one place sends it with the faults that
 * match. Threads: one accepts, one serves each connection; `lock` guards what they share.
 */
#include "tests/server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "tests/server/certificate.h"
#include "tests/server/sasl.h"
#include "tests/server/server_private.h"

unsigned count_verb(struct server *server, const char *verb, const char *line)
{
	struct verb_count *slot = server->counts;
	unsigned count;

	pthread_mutex_lock(&server->lock);
	while (slot->verb[0] && strcasecmp(slot->verb, verb) != 0 && slot < &server->counts[31])
		slot++;
	snprintf(slot->verb, sizeof(slot->verb), "%s", verb);
	count = ++slot->count;
	if (server->log) {
		fprintf(server->log, "%s\n", line);
		fflush(server->log);
	}
	pthread_mutex_unlock(&server->lock);
	return count;
}

unsigned server_count(struct server *server, const char *verb)
{
	unsigned count = 0;

	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < 32; i++)
		if (strcasecmp(server->counts[i].verb, verb) == 0)
			count = server->counts[i].count;
	pthread_mutex_unlock(&server->lock);
	return count;
}

static bool send_octets(struct connection *c, const char *octets, size_t len)
{
	while (len > 0) {
		ssize_t n = c->ssl ? SSL_write(c->ssl, octets, len > 16384 ? 16384 : (int)len)
				   : send(c->fd, octets, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		octets += n;
		len -= (size_t)n;
	}
	return true;
}

/* The next line, without its end; false: the connection has ended. */
bool read_line(struct connection *c, char *line)
{
	for (;;) {
		char *lf = memchr(c->in, '\n', c->in_len);
		ssize_t n;

		if (lf) {
			size_t len = (size_t)(lf - c->in), used = len + 1;

			if (len > 0 && c->in[len - 1] == '\r')
				len--;
			memcpy(line, c->in, len);
			line[len] = '\0';
			memmove(c->in, c->in + used, c->in_len - used);
			c->in_len -= used;
			return true;
		}
		if (c->in_len == LINE_SIZE)
			return false;
		n = c->ssl ? SSL_read(c->ssl, c->in + c->in_len, (int)(LINE_SIZE - c->in_len))
			   : recv(c->fd, c->in + c->in_len, LINE_SIZE - c->in_len, 0);
		if (n <= 0)
			return false;
		c->in_len += (size_t)n;
	}
}

static bool start_tls(struct connection *c)
{
	c->ssl = SSL_new(c->server->ctx);
	SSL_set_fd(c->ssl, c->fd);
	if (SSL_accept(c->ssl) != 1)
		return false;
	if (SSL_session_reused(c->ssl))
		count_verb(c->server, "RESUMED", "RESUMED");
	return true;
}

/* Ends the connection, with TLS's close_notify or without. */
static bool hang_up(struct connection *c, bool politely)
{
	if (politely && c->ssl)
		SSL_shutdown(c->ssl);
	shutdown(c->fd, SHUT_RDWR);
	return false;
}

static bool send_slowly(struct connection *c, const struct buffer *reply, long rate)
{
	size_t step = rate > 20 ? (size_t)rate / 20 : 1;

	for (size_t at = 0; at < reply->len; at += step) {
		if (!send_octets(c, reply->octets + at, reply->len - at < step ? reply->len - at : step))
			return false;
		usleep((useconds_t)(1000000 * step / (size_t)rate));
	}
	return true;
}

/* Sends a reply, with what a fault does to it. false: the connection has ended. */
bool send_reply(struct connection *c, const struct fault *fault, const struct buffer *reply)
{
	size_t part;

	if (!fault)
		return send_octets(c, reply->octets, reply->len);
	switch (fault->action) {
	case FAULT_DROP:
	case FAULT_CLOSE:
		part = (size_t)fault->number < reply->len ? (size_t)fault->number : reply->len;
		return send_octets(c, reply->octets, part) && hang_up(c, fault->action == FAULT_CLOSE);
	case FAULT_APPEND:
	case FAULT_INJECT: {
		struct buffer both = { 0 };
		bool ok;

		if (fault->action == FAULT_INJECT)
			buffer_add(&both, fault->text, fault->text_len);
		buffer_add(&both, reply->octets, reply->len);
		if (fault->action == FAULT_APPEND)
			buffer_add(&both, fault->text, fault->text_len);
		ok = send_octets(c, both.octets, both.len);
		buffer_clear(&both);
		return ok;
	}
	case FAULT_SLOW:
		return send_slowly(c, reply, fault->number);
	default:
		return send_octets(c, reply->octets, reply->len);
	}
}

/* What a fault does in place of the command. *handled_r: nothing more is to be done for it. */
bool instead(struct connection *c, const struct fault *fault, bool *handled_r)
{
	char line[LINE_SIZE];

	*handled_r = true;
	switch (fault->action) {
	case FAULT_REPLY:
		return send_octets(c, fault->text, fault->text_len);
	case FAULT_LOSE:
		return hang_up(c, false);
	case FAULT_STALL:
		while (read_line(c, line))
			;
		return false;
	case FAULT_ENDLESS: {
		struct buffer much = { 0 };

		send_octets(c, "+OK\r\n", c->transaction ? 5 : 0);
		while (much.len < 60000)
			buffer_add(&much, fault->text, fault->text_len);
		while (send_octets(c, much.octets, much.len))
			;
		buffer_clear(&much);
		return false;
	}
	case FAULT_DELAY:
		usleep((useconds_t)fault->number * 1000);
		break;
	default:
		break;
	}
	*handled_r = false;
	return true;
}

const struct fault *find_fault(const struct server *server, const char *verb, unsigned nth, unsigned message)
{
	for (size_t i = 0; i < server->n_faults; i++)
		if (fault_matches(&server->faults[i], verb, nth, message))
			return &server->faults[i];
	return NULL;
}

/* One command and its reply. false: the connection has ended. */
static bool serve_line(struct connection *c, char *line)
{
	char *arg = strchrnul(line, ' ');
	struct buffer reply = { 0 };
	const struct fault *fault;
	bool handled = false, good = true;
	unsigned nth;
	char logged[64];

	snprintf(logged, sizeof(logged), "%.63s", strncasecmp(line, "PASS", 4) == 0 ? "PASS ****" : line);
	if (*arg)
		*arg++ = '\0';
	nth = count_verb(c->server, line, logged);
	fault = find_fault(c->server, line, nth, (unsigned)strtoul(arg, NULL, 10));
	if (fault)
		good = instead(c, fault, &handled);
	if (good && !handled) {
		run_command(c, line, arg, &reply, fault);
		good = send_reply(c, fault, &reply);
	}
	if (good && strcasecmp(line, "STLS") == 0 && reply.len > 0 && reply.octets[0] == '+')
		good = start_tls(c);
	if (strcasecmp(line, "QUIT") == 0 && !handled)
		good = false;
	buffer_clear(&reply);
	return good;
}

static bool greet(struct connection *c)
{
	const struct fault *fault = find_fault(c->server, "GREETING", count_verb(c->server, "GREETING", "GREETING"), 0);
	struct buffer reply = { 0 };
	bool handled = false, good = true;

	buffer_printf(&reply, "+OK test server ready %s\r\n", SASL_APOP_STAMP);
	if (fault)
		good = instead(c, fault, &handled);
	if (good && !handled)
		good = send_reply(c, fault, &reply);
	buffer_clear(&reply);
	return good;
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;
	char line[LINE_SIZE];

	if ((!c->server->config.tls || start_tls(c)) && greet(c))
		while (read_line(c, line) && serve_line(c, line))
			;
	hang_up(c, true);
	maildrop_close(&c->maildrop);
	pthread_mutex_lock(&c->server->lock);
	if (c->holds_lock)
		c->server->locked = false;
	c->ended = true;
	pthread_mutex_unlock(&c->server->lock);
	return NULL;
}

static void free_connection(struct connection *c)
{
	pthread_join(c->thread, NULL);
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
}

/* Takes connections whose thread has ended (or all) off the list. */
static void reap(struct server *server, bool all)
{
	struct connection *c, *next, *taken = NULL;

	pthread_mutex_lock(&server->lock);
	DL_FOREACH_SAFE(server->connections, c, next) {
		// cppcheck-suppress uninitvar
		if (!c->ended && !all)
			continue;
		DL_DELETE(server->connections, c);
		DL_APPEND(taken, c);
		if (all)
			shutdown(c->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&server->lock);
	while ((c = taken)) {
		DL_DELETE(taken, c);
		free_connection(c);
	}
}

static void *accept_main(void *arg)
{
	struct server *server = arg;
	int fd;

	while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
		struct connection *c = calloc(1, sizeof(*c));

		reap(server, false);
		c->server = server;
		c->fd = fd;
		pthread_mutex_lock(&server->lock);
		DL_APPEND(server->connections, c);
		pthread_create(&c->thread, NULL, connection_main, c);
		pthread_mutex_unlock(&server->lock);
	}
	return NULL;
}

static bool listen_on_loopback(struct server *server)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = htons(server->config.port) };
	socklen_t len = sizeof(addr);
	int one = 1;

	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server->listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(server->listener, 64) != 0 ||
	    getsockname(server->listener, (struct sockaddr *)&addr, &len) != 0)
		return false;
	server->port = ntohs(addr.sin_port);
	return true;
}

static bool read_faults(struct server *server)
{
	const char *const *line = server->config.faults;

	while (line && line[server->n_faults])
		server->n_faults++;
	if (!line)
		return true;
	server->faults = calloc(server->n_faults + 1, sizeof(*server->faults));
	for (size_t i = 0; i < server->n_faults; i++)
		if (!fault_parse(line[i], &server->faults[i]))
			return false;
	return true;
}

static void free_server(struct server *server)
{
	for (size_t i = 0; server->faults && i < server->n_faults; i++)
		fault_clear(&server->faults[i]);
	free(server->faults);
	SSL_CTX_free(server->ctx);
	if (server->listener > 0)
		close(server->listener);
	if (server->log)
		fclose(server->log);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

struct server *server_start(const struct server_config *config, const char **why)
{
	struct server *server = calloc(1, sizeof(*server));

	server->config = *config;
	pthread_mutex_init(&server->lock, NULL);
	if (!read_faults(server))
		*why = "a fault that is none";
	else if (config->log && !(server->log = fopen(config->log, "ae")))
		*why = "the log cannot be written";
	else if (!(server->ctx = certificate_context(config->cert, config->key)))
		*why = "no certificate";
	else if (!listen_on_loopback(server))
		*why = "the port cannot be had";
	else if (pthread_create(&server->acceptor, NULL, accept_main, server) != 0)
		*why = "no thread";
	else
		return server;
	free_server(server);
	return NULL;
}

void server_stop(struct server *server)
{
	shutdown(server->listener, SHUT_RDWR);
	pthread_join(server->acceptor, NULL);
	reap(server, true);
	free_server(server);
}

uint16_t server_port(const struct server *server)
{
	return server->port;
}
