/* SPDX-License-Identifier: MIT */
#include "pop3/auth.h"

#include <gsasl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pop3/limits.h"

/* Best first: the order in which `auto` looks for what the server offers. */
static const struct method {
	enum auth_method method;
	const char *name;
	unsigned sasl;      /* its bit in capa.sasl; 0: no SASL mechanism */
	bool hides;         /* does not send the secret itself: preferred without TLS */
	bool tolerant;      /* see auth_is_tolerant() */
	bool client_first;
	bool by_name_only;
} methods[] = {
	{ AUTH_SCRAM_SHA_256, "SCRAM-SHA-256", CAPA_SASL_SCRAM_SHA_256, true, false, true, false },
	{ AUTH_SCRAM_SHA_1, "SCRAM-SHA-1", CAPA_SASL_SCRAM_SHA_1, true, false, true, false },
	{ AUTH_PLAIN, "PLAIN", CAPA_SASL_PLAIN, false, true, true, false },
	{ AUTH_LOGIN, "LOGIN", CAPA_SASL_LOGIN, false, true, false, false },
	{ AUTH_CRAM_MD5, "CRAM-MD5", CAPA_SASL_CRAM_MD5, true, false, false, false },
	{ AUTH_XOAUTH2, "XOAUTH2", CAPA_SASL_XOAUTH2, false, true, true, true },
	{ AUTH_USER, "USER", 0, false, false, false, false },
	{ AUTH_APOP, "APOP", 0, true, false, false, true },
	{ AUTH_AUTO, "AUTO", 0, false, false, false, true },
};
#define N_METHODS (sizeof(methods) / sizeof(methods[0]))

struct auth {
	const struct method *method;
	Gsasl *gsasl;
	Gsasl_session *session;
	const char *user;            /* for XOAUTH2; the caller's, as the secret is */
	const struct secret *secret;
	unsigned answers;
	bool complete;
};

static const struct method *find_method(enum auth_method method)
{
	const struct method *m = methods;

	while (m->method != method)
		m++;
	return m;
}

bool auth_method_from_name(const char *name, enum auth_method *method_r)
{
	for (size_t i = 0; i < N_METHODS; i++) {
		if (strcasecmp(name, methods[i].name) == 0) {
			*method_r = methods[i].method;
			return true;
		}
	}
	return false;
}

const char *auth_method_name(enum auth_method method)
{
	return find_method(method)->name;
}

enum auth_method auth_choose(const struct capa *capa, bool encrypted, enum auth_method wanted)
{
	if (wanted != AUTH_AUTO)
		return wanted;
	for (size_t i = 0; i < N_METHODS; i++)
		if (!methods[i].by_name_only && (capa->sasl & methods[i].sasl) && (encrypted || methods[i].hides))
			return methods[i].method;
	for (size_t i = 0; i < N_METHODS; i++)
		if (!methods[i].by_name_only && (capa->sasl & methods[i].sasl) && !capa->user)
			return methods[i].method;
	return AUTH_USER;
}

/* "<" local "@" domain ">" with nothing between that a msg-id cannot hold. */
static bool is_msg_id(const char *text, size_t len)
{
	const char *at = memchr(text, '@', len);

	if (len < 5 || text[0] != '<' || text[len - 1] != '>' || !at || at == text + 1 || at == text + len - 2)
		return false;
	for (size_t i = 1; i < len - 1; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f || strchr("<>()\\\",;", text[i]) ||
		    (text[i] == '@' && text + i != at))
			return false;
	return true;
}

bool auth_apop_digest(const char *greeting, size_t len, const struct secret *secret, char digest_r[33])
{
	const char *open = memchr(greeting, '<', len);
	const char *close = open ? memchr(open, '>', len - (size_t)(open - greeting)) : NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned digest_len = 0;
	EVP_MD_CTX *ctx;
	bool ok;

	if (!close || !is_msg_id(open, (size_t)(close - open) + 1))
		return false;
	ctx = EVP_MD_CTX_new();
	ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) &&
	     EVP_DigestUpdate(ctx, open, (size_t)(close - open) + 1) &&
	     EVP_DigestUpdate(ctx, secret->text, secret->len) && EVP_DigestFinal_ex(ctx, digest, &digest_len) &&
	     digest_len == 16;
	EVP_MD_CTX_free(ctx);
	for (unsigned i = 0; ok && i < 16; i++)
		snprintf(digest_r + 2 * (size_t)i, 3, "%02x", digest[i]);
	return ok;
}

enum pop3_err auth_new(enum auth_method method, const char *user, const struct secret *secret,
		       const char *host, struct auth **auth_r, struct pop3_why *why)
{
	struct auth *auth = calloc(1, sizeof(*auth));
	int rc;

	if (!auth)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	auth->method = find_method(method);
	auth->user = user;
	auth->secret = secret;
	if (method != AUTH_XOAUTH2) {
		rc = gsasl_init(&auth->gsasl);
		if (rc == GSASL_OK)
			rc = gsasl_client_start(auth->gsasl, auth->method->name, &auth->session);
		if (rc == GSASL_OK)
			rc = gsasl_property_set(auth->session, GSASL_AUTHID, user);
		if (rc == GSASL_OK)
			rc = gsasl_property_set(auth->session, GSASL_PASSWORD, secret->text);
		if (rc == GSASL_OK)
			rc = gsasl_property_set(auth->session, GSASL_SERVICE, "pop");
		if (rc == GSASL_OK)
			rc = gsasl_property_set(auth->session, GSASL_HOSTNAME, host);
		if (rc != GSASL_OK) {
			auth_free(auth);
			return pop3_fail(why, POP3_E_AUTH, "auth=%s: %s", auth_method_name(method),
					 gsasl_strerror(rc));
		}
	}
	*auth_r = auth;
	return POP3_OK;
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	if (auth->session)
		gsasl_finish(auth->session);
	if (auth->gsasl)
		gsasl_done(auth->gsasl);
	free(auth);
}

bool auth_is_client_first(const struct auth *auth)
{
	return auth->method->client_first;
}

bool auth_is_complete(const struct auth *auth)
{
	return auth->complete;
}

bool auth_is_tolerant(const struct auth *auth)
{
	return auth->method->tolerant;
}

static enum pop3_err take_answer(char *base64, struct secret *answer_r, struct pop3_why *why)
{
	size_t len = strlen(base64);
	bool ok = secret_set(answer_r, base64, len);

	explicit_bzero(base64, len);
	gsasl_free(base64);
	return ok ? POP3_OK : pop3_fail(why, POP3_E_MEMORY, "out of memory");
}

/*
 * The first answer is the token; a second challenge is the server's reason for refusing it, as JSON, and
 * wants an empty line before the -ERR.
 */
static enum pop3_err answer_xoauth2(struct auth *auth, struct secret *answer_r, struct pop3_why *why)
{
	static const char form[] = "user=%s\1auth=Bearer %s\1\1";
	size_t size = sizeof(form) + strlen(auth->user) + auth->secret->len;
	char *line, *base64 = NULL;
	size_t base64_len;
	int rc;

	if (auth->answers++ > 0)
		return secret_set(answer_r, "", 0) ? POP3_OK : pop3_fail(why, POP3_E_MEMORY, "out of memory");
	line = malloc(size);
	if (!line)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	snprintf(line, size, form, auth->user, auth->secret->text);
	rc = gsasl_base64_to(line, strlen(line), &base64, &base64_len);
	explicit_bzero(line, size);
	free(line);
	if (rc != GSASL_OK)
		return pop3_fail(why, POP3_E_MEMORY, "%s", gsasl_strerror(rc));
	auth->complete = true;
	return take_answer(base64, answer_r, why);
}

enum pop3_err auth_answer(struct auth *auth, const char *challenge, size_t len, struct secret *answer_r,
			  struct pop3_why *why)
{
	char text[POP3_MAX_LINE], *base64 = NULL;
	int rc;

	if (auth->method->method == AUTH_XOAUTH2)
		return answer_xoauth2(auth, answer_r, why);
	if (len >= sizeof(text) || memchr(challenge, '\0', len))
		return pop3_fail(why, POP3_E_PROTOCOL, "the server's %s challenge is not base64", auth->method->name);
	if (auth->complete)
		return pop3_fail(why, POP3_E_PROTOCOL, "the server asks for more than %s has", auth->method->name);
	if (auth->method->tolerant)
		len = 0;
	memcpy(text, challenge, len);
	text[len] = '\0';
	rc = gsasl_step64(auth->session, text, &base64);
	auth->answers++;
	if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE) {
		gsasl_free(base64);
		return pop3_fail(why, POP3_E_PROTOCOL, "the server's %s challenge is refused: %s",
				 auth->method->name, gsasl_strerror(rc));
	}
	auth->complete = rc == GSASL_OK;
	return take_answer(base64, answer_r, why);
}
