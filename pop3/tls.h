/* SPDX-License-Identifier: MIT */
/*
 * TLS for a client: what is trusted, and the verdict on a server. One struct tls serves all connections of
 * a mount and keeps the last TLS session, so that the next connection resumes it. Only the link's thread
 * uses it.
 */
#pragma once
#include <openssl/ssl.h>

#include "pop3/err.h"

struct tls_config {
	const char *ca;          /* PEM file or directory instead of the system's CAs; or NULL */
	const char *fingerprint; /* SHA-256 of the server's certificate, hex, colons allowed; or NULL */
	const char *cert, *key;  /* the client's certificate and key, PEM; or NULL */
};

struct tls;

/* POP3_E_TLS where a file cannot be used. tls_free() takes NULL. */
__attribute__((warn_unused_result))
enum pop3_err tls_new(const struct tls_config *config, struct tls **tls_r, struct pop3_why *why);
void tls_free(struct tls *tls);

/* A client's SSL on `fd`: server name sent, name and chain to be verified. The caller frees it. */
__attribute__((warn_unused_result))
enum pop3_err tls_attach(struct tls *tls, int fd, const char *host, SSL **ssl_r, struct pop3_why *why);

/* After the handshake: the pinned fingerprint, where there is one, must match. */
__attribute__((warn_unused_result))
enum pop3_err tls_check_pin(const struct tls *tls, SSL *ssl, struct pop3_why *why);

/* Says why a handshake failed, with the certificate's fault and fingerprint; POP3_E_TLS or _CLOSED. */
enum pop3_err tls_explain(SSL *ssl, const char *host, struct pop3_why *why);
