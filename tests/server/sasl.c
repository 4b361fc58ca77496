/* SPDX-License-Identifier: MIT */
#include "tests/server/sasl.h"

#include <gsasl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_SIZE 8192

struct credentials {
	const char *user, *password;
};

static int on_property(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
	const struct credentials *wanted = gsasl_callback_hook_get(gsasl);
	const char *user = gsasl_property_fast(session, GSASL_AUTHID);

	switch (property) {
	case GSASL_PASSWORD:
		if (!user || strcmp(user, wanted->user) != 0)
			return GSASL_AUTHENTICATION_ERROR;
		gsasl_property_set(session, GSASL_PASSWORD, wanted->password);
		return GSASL_OK;
	case GSASL_SERVICE:
		gsasl_property_set(session, GSASL_SERVICE, "pop");
		return GSASL_OK;
	case GSASL_HOSTNAME:
		gsasl_property_set(session, GSASL_HOSTNAME, "localhost");
		return GSASL_OK;
	default:
		return GSASL_NO_CALLBACK;
	}
}

/* The token in, or a reason (as Gmail gives it) and then -ERR. */
static enum sasl_result serve_xoauth2(const char *initial, const struct credentials *wanted, sasl_ask_fn *ask, void *ctx)
{
	char line[LINE_SIZE], form[LINE_SIZE], *base64 = NULL;
	bool good;

	if (initial)
		snprintf(line, sizeof(line), "%s", initial);
	else if (!ask(ctx, "", line, sizeof(line)))
		return SASL_BAD;
	snprintf(form, sizeof(form), "user=%s\1auth=Bearer %s\1\1", wanted->user, wanted->password);
	gsasl_base64_to(form, strlen(form), &base64, NULL);
	good = base64 && strcmp(base64, line) == 0;
	gsasl_free(base64);
	if (!good)
		ask(ctx, "eyJzdGF0dXMiOiI0MDAifQ==", line, sizeof(line));
	return good ? SASL_GOOD : SASL_BAD;
}

static enum sasl_result serve_steps(Gsasl_session *session, const char *initial, sasl_ask_fn *ask, void *ctx)
{
	char line[LINE_SIZE];
	char *challenge = NULL;
	int rc;

	snprintf(line, sizeof(line), "%s", initial ? initial : "");
	for (;;) {
		rc = gsasl_step64(session, line, &challenge);
		if (rc != GSASL_NEEDS_MORE && rc != GSASL_OK)
			return SASL_BAD;
		if (rc == GSASL_OK && (!challenge || !challenge[0])) {
			gsasl_free(challenge);
			return SASL_GOOD;
		}
		if (!ask(ctx, challenge ? challenge : "", line, sizeof(line)))
			line[0] = '*';
		gsasl_free(challenge);
		challenge = NULL;
		if (line[0] == '*')
			return SASL_CANCELLED;
		if (rc == GSASL_OK)
			return SASL_GOOD;
	}
}

enum sasl_result sasl_serve(const char *arg, const char *user, const char *password, sasl_ask_fn *ask, void *ctx)
{
	struct credentials wanted = { user, password };
	const char *initial = strchr(arg, ' ');
	enum sasl_result result = SASL_BAD;
	Gsasl_session *session = NULL;
	Gsasl *gsasl = NULL;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", (int)(strchrnul(arg, ' ') - arg), arg);
	if (initial)
		initial++;
	if (strcasecmp(name, "XOAUTH2") == 0)
		return serve_xoauth2(initial, &wanted, ask, ctx);
	if (gsasl_init(&gsasl) != GSASL_OK)
		return SASL_BAD;
	gsasl_callback_set(gsasl, on_property);
	gsasl_callback_hook_set(gsasl, &wanted);
	if (gsasl_server_start(gsasl, name, &session) == GSASL_OK) {
		result = serve_steps(session, initial, ask, ctx);
		gsasl_finish(session);
	}
	gsasl_done(gsasl);
	return result;
}

bool sasl_check_apop(const char *arg, const char *user, const char *password)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[1024], expected[1024];
	unsigned len = 0;
	size_t n;

	snprintf(text, sizeof(text), SASL_APOP_STAMP "%s", password);
	EVP_Digest(text, strlen(text), digest, &len, EVP_md5(), NULL);
	n = (size_t)snprintf(expected, sizeof(expected), "%s ", user);
	for (unsigned i = 0; i < len; i++)
		n += (size_t)snprintf(expected + n, sizeof(expected) - n, "%02x", digest[i]);
	return strcmp(arg, expected) == 0;
}
