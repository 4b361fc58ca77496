/* SPDX-License-Identifier: MIT */
/*
 * One connection. The deadline is set when a reply is expected and moves on only when a decent number of
 * octets has come (POP3_MIN_PROGRESS), so that a server which sends an octet a minute is as silent as one
 * which sends none. An end without TLS's close_notify needs no rule of its own: an end inside a reply is an
 * error with or without it, and after the answer to QUIT nothing is read any more.
 */
#include "pop3/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pop3/limits.h"
#include "pop3/resolve.h"
#include "pop3/tls.h"

#define IN_SIZE (64U << 10)
#define OUT_SIZE (32U << 10)

struct transport {
	int fd, cancel_fd, timeout_ms;
	int wake_fd;
	transport_wake_fn *wake;
	void *wake_ctx;
	SSL *ssl;
	int64_t deadline_ms;
	size_t progress; /* octets since the deadline moved */
	size_t in_begin, in_end, out_len;
	char host[256];
	char in[IN_SIZE], out[OUT_SIZE];
};

int64_t transport_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void transport_expect(struct transport *transport)
{
	transport->deadline_ms = transport_now_ms() + transport->timeout_ms;
	transport->progress = 0;
}

void transport_set_wake(struct transport *transport, int fd, transport_wake_fn *wake, void *ctx)
{
	transport->wake_fd = fd;
	transport->wake = wake;
	transport->wake_ctx = ctx;
}

/* There may be more to send. */
static enum pop3_err wake_up(struct transport *transport, struct pop3_why *why)
{
	const int64_t deadline_ms = transport->deadline_ms;
	const size_t progress = transport->progress;
	enum pop3_err err;
	eventfd_t count;

	eventfd_read(transport->wake_fd, &count);
	err = transport->wake(transport->wake_ctx, why);
	transport->deadline_ms = deadline_ms;
	transport->progress = progress;
	return err;
}

/* Waits for `events` on the socket, or for more to send, until the deadline or the cancel descriptor. */
static enum pop3_err wait_for(struct transport *transport, short events, struct pop3_why *why)
{
	struct pollfd fds[] = { { .fd = transport->fd, .events = events },
				{ .fd = transport->cancel_fd, .events = POLLIN },
				{ .fd = transport->wake_fd, .events = POLLIN } };

	for (;;) {
		int64_t left = transport->deadline_ms - transport_now_ms();
		int n = left > 0 ? poll(fds, 3, (int)left) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pop3_fail(why, POP3_E_CLOSED, "poll: %s", strerror(errno));
		if (n == 0)
			return pop3_fail(why, POP3_E_TIMEOUT, "%s: no answer within %g s", transport->host,
					 transport->timeout_ms / 1000.0);
		if (fds[1].revents)
			return pop3_fail(why, POP3_E_STOPPED, "ended by us");
		return fds[2].revents ? wake_up(transport, why) : POP3_OK;
	}
}

static enum pop3_err connect_error(const char *host, int error, struct pop3_why *why)
{
	enum pop3_err err = error == ECONNREFUSED ? POP3_E_REFUSED
			    : error == ETIMEDOUT  ? POP3_E_TIMEOUT
						  : POP3_E_UNREACHABLE;

	return pop3_fail(why, err, "%s: %s", host, strerror(error));
}

static enum pop3_err connect_address(struct transport *transport, const struct addrinfo *ai,
				     struct pop3_why *why)
{
	int one = 1, error = 0;
	socklen_t len = sizeof(error);
	enum pop3_err err;

	transport->fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
	if (transport->fd < 0)
		return connect_error(transport->host, errno, why);
	setsockopt(transport->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(transport->fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return POP3_OK;
	if (errno != EINPROGRESS)
		return connect_error(transport->host, errno, why);
	err = wait_for(transport, POLLOUT, why);
	if (err)
		return err;
	if (getsockopt(transport->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	return error ? connect_error(transport->host, error, why) : POP3_OK;
}

static void close_socket(struct transport *transport)
{
	if (transport->fd >= 0)
		close(transport->fd);
	transport->fd = -1;
}

/* Each address gets an equal part of the time that is left, so that a dead first one leaves some. */
static enum pop3_err connect_any(struct transport *transport, const struct addrinfo *list,
				 struct pop3_why *why)
{
	int64_t end = transport_now_ms() + transport->timeout_ms;
	enum pop3_err err = POP3_E_RESOLVE;
	int left = 0;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		left++;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next, left--) {
		int64_t now = transport_now_ms();

		transport->deadline_ms = now + (end - now) / left;
		err = connect_address(transport, ai, why);
		if (!err || err == POP3_E_STOPPED)
			return err;
		close_socket(transport);
	}
	return err;
}

enum pop3_err transport_connect(const struct transport_config *config, struct transport **transport_r,
				struct pop3_why *why)
{
	struct transport *transport = calloc(1, sizeof(*transport));
	struct addrinfo *list = NULL;
	enum pop3_err err;

	if (!transport)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	transport->fd = transport->wake_fd = -1;
	transport->cancel_fd = config->cancel_fd;
	transport->timeout_ms = config->timeout_ms;
	snprintf(transport->host, sizeof(transport->host), "%s", config->host);
	err = resolve(config->host, config->port, config->timeout_ms, config->cancel_fd, &list, why);
	if (!err)
		err = connect_any(transport, list, why);
	if (list)
		freeaddrinfo(list);
	if (err) {
		transport_free(transport);
		return err;
	}
	transport_expect(transport);
	*transport_r = transport;
	return POP3_OK;
}

void transport_free(struct transport *transport)
{
	if (!transport)
		return;
	if (transport->ssl) {
		ERR_clear_error();
		SSL_shutdown(transport->ssl);
		SSL_free(transport->ssl);
	}
	close_socket(transport);
	explicit_bzero(transport->out, sizeof(transport->out));
	free(transport);
}

enum pop3_err transport_start_tls(struct transport *transport, struct tls *tls, struct pop3_why *why)
{
	enum pop3_err err;

	if (transport->in_end > transport->in_begin)
		return pop3_fail(why, POP3_E_PROTOCOL,
				 "%s sent more after its answer to STLS, before TLS began: refused", transport->host);
	err = tls_attach(tls, transport->fd, transport->host, &transport->ssl, why);
	if (err)
		return err;
	transport_expect(transport);
	for (;;) {
		int n, ssl_err;

		ERR_clear_error();
		n = SSL_do_handshake(transport->ssl);
		if (n == 1)
			return tls_check_pin(tls, transport->ssl, why);
		ssl_err = SSL_get_error(transport->ssl, n);
		if (ssl_err != SSL_ERROR_WANT_READ && ssl_err != SSL_ERROR_WANT_WRITE)
			return tls_explain(transport->ssl, transport->host, why);
		err = wait_for(transport, ssl_err == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, why);
		if (err)
			return err;
	}
}

void transport_describe(const struct transport *transport, char *text, size_t size)
{
	if (transport->ssl)
		snprintf(text, size, "%s, %s", SSL_get_version(transport->ssl), SSL_get_cipher(transport->ssl));
	else
		snprintf(text, size, "none");
}

enum pop3_err transport_send(struct transport *transport, const char *octets, size_t len,
			     struct pop3_why *why)
{
	if (len > OUT_SIZE - transport->out_len)
		return pop3_fail(why, POP3_E_LIMIT, "a command of %zu octets is too long", len);
	memcpy(transport->out + transport->out_len, octets, len);
	transport->out_len += len;
	return POP3_OK;
}

/* What one attempt at the socket came to: octets moved, or the events to wait for. */
struct attempt {
	size_t moved;
	short wait;
	bool failed;
};

static struct attempt from_ssl(SSL *ssl, int n)
{
	if (n > 0)
		return (struct attempt){ .moved = (size_t)n };
	switch (SSL_get_error(ssl, n)) {
	case SSL_ERROR_WANT_READ:
		return (struct attempt){ .wait = POLLIN };
	case SSL_ERROR_WANT_WRITE:
		return (struct attempt){ .wait = POLLOUT };
	default:
		return (struct attempt){ .failed = true };
	}
}

static struct attempt from_socket(ssize_t n, short wait)
{
	if (n > 0)
		return (struct attempt){ .moved = (size_t)n };
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return (struct attempt){ .wait = wait };
	return (struct attempt){ .failed = true };
}

static struct attempt try_read(struct transport *transport, char *buf, size_t size)
{
	if (!transport->ssl)
		return from_socket(recv(transport->fd, buf, size, 0), POLLIN);
	ERR_clear_error();
	return from_ssl(transport->ssl, SSL_read(transport->ssl, buf, (int)size));
}

static struct attempt try_write(struct transport *transport)
{
	struct attempt attempt;

	if (transport->ssl) {
		ERR_clear_error();
		attempt = from_ssl(transport->ssl, SSL_write(transport->ssl, transport->out, (int)transport->out_len));
	} else {
		attempt = from_socket(send(transport->fd, transport->out, transport->out_len, MSG_NOSIGNAL), POLLOUT);
	}
	if (attempt.moved > 0) {
		size_t left = transport->out_len - attempt.moved;

		memmove(transport->out, transport->out + attempt.moved, left);
		explicit_bzero(transport->out + left, attempt.moved);
		transport->out_len = left;
	}
	return attempt;
}

static void made_progress(struct transport *transport, size_t octets)
{
	transport->progress += octets;
	if (transport->progress >= POP3_MIN_PROGRESS)
		transport_expect(transport);
}

enum pop3_err transport_fill(struct transport *transport, struct pop3_why *why)
{
	if (transport->in_begin > 0) {
		memmove(transport->in, transport->in + transport->in_begin, transport->in_end - transport->in_begin);
		transport->in_end -= transport->in_begin;
		transport->in_begin = 0;
	}
	for (;;) {
		struct attempt sent = { 0 }, got;
		enum pop3_err err;

		while (transport->out_len > 0 && !sent.wait && !sent.failed)
			sent = try_write(transport);
		got = try_read(transport, transport->in + transport->in_end, IN_SIZE - transport->in_end);
		if (got.moved > 0) {
			transport->in_end += got.moved;
			made_progress(transport, got.moved);
			return POP3_OK;
		}
		if (got.failed)
			return pop3_fail(why, POP3_E_CLOSED, "%s closed the connection", transport->host);
		err = wait_for(transport, (short)(got.wait | sent.wait), why);
		if (err)
			return err;
	}
}

const char *transport_octets(const struct transport *transport, size_t *len_r)
{
	*len_r = transport->in_end - transport->in_begin;
	return transport->in + transport->in_begin;
}

void transport_consume(struct transport *transport, size_t len)
{
	transport->in_begin += len;
}

bool transport_is_stale(struct transport *transport)
{
	struct pollfd fd = { .fd = transport->fd, .events = POLLIN };
	char octet;

	if (transport->in_end > transport->in_begin)
		return true;
	if (!transport->ssl || !SSL_has_pending(transport->ssl))
		if (poll(&fd, 1, 0) <= 0)
			return false;
	/* Readable may be a TLS session ticket, which is no data: only what comes through counts. */
	return try_read(transport, &octet, 1).wait == 0;
}
