/* SPDX-License-Identifier: MIT */
/*
 * The chain and the host name are verified by OpenSSL during the handshake, so no octet of ours follows
 * a certificate that does not hold. A pinned fingerprint replaces that: then any chain passes the
 * handshake, and the fingerprint is compared before anything is sent.
 */
#include "pop3/tls.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIGEST_HEX 65

#define READ_BUFFER 65536

struct tls {
	SSL_CTX *ctx;
	SSL_SESSION *session;
	char pin[DIGEST_HEX];  /* lower-case hex; empty: none */
	char seen[DIGEST_HEX]; /* of the certificate that was refused last */
};

/* OpenSSL's own words for the last error of this thread. */
static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "unknown error";
}

/* Reads "AB:cd:…" as 64 hex digits. */
static bool parse_fingerprint(const char *text, char hex[DIGEST_HEX])
{
	size_t n = 0;

	for (; *text; text++) {
		if (*text == ':')
			continue;
		if (!isxdigit((unsigned char)*text) || n == DIGEST_HEX - 1)
			return false;
		hex[n++] = (char)tolower((unsigned char)*text);
	}
	hex[n] = '\0';
	return n == DIGEST_HEX - 1;
}

static bool fingerprint(X509 *cert, char hex[DIGEST_HEX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	bool ok = cert && X509_digest(cert, EVP_sha256(), digest, &len) == 1 && len == 32;

	for (unsigned i = 0; ok && i < len; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
	return ok;
}

/* OpenSSL's verdict on a chain, unchanged; of a refused one the server's own certificate is remembered. */
static int verify(int good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (!good)
		fingerprint(X509_STORE_CTX_get0_cert(store), tls->seen);
	return good;
}

/* Keeps the newest session that the server offers for resumption; OpenSSL hands over its reference. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(tls->session);
	tls->session = session;
	return 1;
}

static enum pop3_err load_ca(SSL_CTX *ctx, const char *ca, struct pop3_why *why)
{
	struct stat st;
	int ok;

	if (!ca) {
		SSL_CTX_set_default_verify_paths(ctx);
		return POP3_OK;
	}
	if (stat(ca, &st) != 0)
		return pop3_fail(why, POP3_E_TLS, "tls_ca=%s: %s", ca, strerror(errno));
	ok = S_ISDIR(st.st_mode) ? SSL_CTX_load_verify_dir(ctx, ca) : SSL_CTX_load_verify_file(ctx, ca);
	if (!ok)
		return pop3_fail(why, POP3_E_TLS, "tls_ca=%s: %s", ca, reason());
	return POP3_OK;
}

static enum pop3_err load_client(SSL_CTX *ctx, const struct tls_config *config, struct pop3_why *why)
{
	const char *key = config->key ? config->key : config->cert;

	if (!config->cert)
		return config->key ? pop3_fail(why, POP3_E_TLS, "tls_key= needs tls_cert=") : POP3_OK;
	if (SSL_CTX_use_certificate_chain_file(ctx, config->cert) != 1)
		return pop3_fail(why, POP3_E_TLS, "tls_cert=%s: %s", config->cert, reason());
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return pop3_fail(why, POP3_E_TLS, "tls_key=%s: %s", key, reason());
	return POP3_OK;
}

enum pop3_err tls_new(const struct tls_config *config, struct tls **tls_r, struct pop3_why *why)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	enum pop3_err err;

	if (!tls)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	tls->ctx = SSL_CTX_new(TLS_client_method());
	if (!tls->ctx) {
		err = pop3_fail(why, POP3_E_TLS, "OpenSSL: %s", reason());
		goto fail;
	}
	SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(tls->ctx, 1); /* several records with one read(): servers make them small */
	SSL_CTX_set_default_read_buffer_len(tls->ctx, READ_BUFFER);
	SSL_CTX_set_app_data(tls->ctx, tls);
	SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(tls->ctx, keep_session);
	if (config->fingerprint && !parse_fingerprint(config->fingerprint, tls->pin)) {
		err = pop3_fail(why, POP3_E_TLS, "tls_fingerprint=%s: not 64 hex digits (SHA-256)",
				config->fingerprint);
		goto fail;
	}
	SSL_CTX_set_verify(tls->ctx, tls->pin[0] ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, verify);
	err = load_ca(tls->ctx, config->ca, why);
	if (err)
		goto fail;
	err = load_client(tls->ctx, config, why);
	if (err)
		goto fail;
	*tls_r = tls;
	return POP3_OK;
fail:
	tls_free(tls);
	return err;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_SESSION_free(tls->session);
	SSL_CTX_free(tls->ctx);
	free(tls);
}

static bool is_address(const char *host)
{
	struct in6_addr addr;

	return inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1;
}

enum pop3_err tls_attach(struct tls *tls, int fd, const char *host, SSL **ssl_r, struct pop3_why *why)
{
	SSL *ssl = SSL_new(tls->ctx);
	X509_VERIFY_PARAM *param = ssl ? SSL_get0_param(ssl) : NULL;
	int ok = ssl && SSL_set_fd(ssl, fd);

	if (ok && is_address(host)) {
		ok = X509_VERIFY_PARAM_set1_ip_asc(param, host);
	} else if (ok) {
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		ok = X509_VERIFY_PARAM_set1_host(param, host, 0) && SSL_set_tlsext_host_name(ssl, host);
	}
	if (!ok) {
		SSL_free(ssl);
		return pop3_fail(why, POP3_E_TLS, "TLS for %s: %s", host, reason());
	}
	if (tls->session)
		SSL_set_session(ssl, tls->session);
	SSL_set_connect_state(ssl);
	*ssl_r = ssl;
	return POP3_OK;
}

enum pop3_err tls_check_pin(const struct tls *tls, SSL *ssl, struct pop3_why *why)
{
	char seen[DIGEST_HEX] = "";
	X509 *cert;
	bool known;

	if (!tls->pin[0])
		return POP3_OK;
	cert = SSL_get1_peer_certificate(ssl);
	known = fingerprint(cert, seen);
	X509_free(cert);
	if (!known)
		return pop3_fail(why, POP3_E_TLS, "the server showed no certificate");
	if (strcmp(seen, tls->pin) != 0)
		return pop3_fail(why, POP3_E_TLS,
				 "the certificate's SHA-256 fingerprint is %s, not the one in tls_fingerprint=", seen);
	return POP3_OK;
}

enum pop3_err tls_explain(SSL *ssl, const char *host, struct pop3_why *why)
{
	long verdict = SSL_get_verify_result(ssl);
	unsigned long last = ERR_peek_last_error();
	const struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (verdict != X509_V_OK && !tls->pin[0]) {
		return pop3_fail(why, POP3_E_TLS, "the certificate of %s is not valid: %s; its SHA-256 fingerprint is %s",
				 host, X509_verify_cert_error_string(verdict), tls->seen);
	}
	if (last == 0 || ERR_GET_REASON(last) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return pop3_fail(why, POP3_E_CLOSED, "%s closed the connection during the TLS handshake", host);
	if (ERR_GET_REASON(last) == SSL_R_WRONG_VERSION_NUMBER)
		return pop3_fail(why, POP3_E_TLS, "%s does not speak TLS on this port (STLS: pop3://, port 110)", host);
	return pop3_fail(why, POP3_E_TLS, "TLS with %s: %s", host, reason());
}
