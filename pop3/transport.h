/* SPDX-License-Identifier: MIT */
/*
 * Octets to and from one server, over TCP or TLS: non-blocking, one deadline a reply, what is to be sent
 * goes out while replies are read. Belongs to one thread. Errors name what happened in *why.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pop3/err.h"

struct tls;
struct transport;

struct transport_config {
	const char *host;
	uint16_t port;
	int timeout_ms;
	int cancel_fd; /* readable: every wait ends with POP3_E_STOPPED; -1: none */
};

/* Connects: all addresses of the host in turn, within one time-out. transport_free() takes NULL. */
__attribute__((warn_unused_result))
enum pop3_err transport_connect(const struct transport_config *config, struct transport **transport_r,
				struct pop3_why *why);

/* Ends the connection, with TLS's close_notify; what was not sent is dropped. */
void transport_free(struct transport *transport);

/* The TLS handshake. Octets that the server sent before it are refused (QUIRKS S9). */
__attribute__((warn_unused_result))
enum pop3_err transport_start_tls(struct transport *transport, struct tls *tls, struct pop3_why *why);

/* "TLSv1.3, TLS_AES_256_GCM_SHA384"; or "none". */
void transport_describe(const struct transport *transport, char *text, size_t size);

/* Adds to what is to be sent; transport_fill() sends it. The octets are wiped once they are out. */
__attribute__((warn_unused_result))
enum pop3_err transport_send(struct transport *transport, const char *octets, size_t len,
			     struct pop3_why *why);

/* A reply is due from now on: starts the deadline. */
void transport_expect(struct transport *transport);

/*
 * While octets are awaited and the eventfd is written to, wake() is called, which may transport_send() more; the
 * deadline stays that of the reply which is awaited. fd -1: no more.
 */
typedef enum pop3_err transport_wake_fn(void *ctx, struct pop3_why *why);
void transport_set_wake(struct transport *transport, int fd, transport_wake_fn *wake, void *ctx);

/* Waits until at least one more octet has come in, sending meanwhile. The buffer must not be full. */
__attribute__((warn_unused_result))
enum pop3_err transport_fill(struct transport *transport, struct pop3_why *why);

/* What has come in and was not consumed. */
const char *transport_octets(const struct transport *transport, size_t *len_r);
void transport_consume(struct transport *transport, size_t len);

/* Between replies: octets nobody asked for, or the end, are waiting (QUIRKS F10). */
bool transport_is_stale(struct transport *transport);

/* CLOCK_MONOTONIC in milliseconds. */
int64_t transport_now_ms(void);
