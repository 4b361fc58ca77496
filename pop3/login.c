/* SPDX-License-Identifier: MIT */
#include "pop3/login.h"

#include <stdlib.h>
#include <string.h>

#include "pop3/limits.h"

/* One login. */
struct attempt {
	const struct account *account;
	struct dialogue *dialogue;
	bool greeted;           /* the greeting has been read, */
	struct secret greeting; /* and is this: APOP's time stamp is in it */
};

struct capa_lines {
	struct capa *capa;
	unsigned count;
};

static enum pop3_err add_capa(void *ctx, const char *line, size_t len, struct pop3_why *why)
{
	struct capa_lines *lines = ctx;

	if (++lines->count > POP3_MAX_CAPA)
		return pop3_fail(why, POP3_E_LIMIT, "CAPA has more than %u lines", POP3_MAX_CAPA);
	capa_add(lines->capa, line, len);
	return POP3_OK;
}

/* Asks for the capabilities; a server that refuses leaves what was known before (S18). */
static enum pop3_err ask_capa(struct dialogue *dialogue, struct capa *capa, struct pop3_why *why)
{
	struct capa fresh = { .answered = true };
	struct capa_lines lines = { .capa = &fresh };
	enum pop3_err err = dialogue_send(dialogue, why, "CAPA");
	struct reply reply = { 0 };

	if (!err)
		err = dialogue_reply(dialogue, &reply, why);
	if (err || reply.status != REPLY_OK)
		return err;
	err = dialogue_lines(dialogue, add_capa, &lines, why);
	if (!err)
		*capa = fresh;
	return err;
}

/* Reads the greeting, once. */
static enum pop3_err read_greeting(struct attempt *attempt, struct pop3_why *why)
{
	struct pop3_why cause;
	struct reply reply = { 0 };
	enum pop3_err err;

	if (attempt->greeted)
		return POP3_OK;
	err = dialogue_reply(attempt->dialogue, &reply, &cause);
	if (err == POP3_E_PROTOCOL || err == POP3_E_LIMIT || (!err && reply.status == REPLY_CONTINUE))
		return pop3_fail(why, POP3_E_PROTOCOL, "not a POP3 server: %s", err ? cause.text : "it greets with \"+\"");
	if (err)
		return pop3_fail(why, err, "waiting for the greeting: %s", cause.text);
	if (reply.status != REPLY_OK)
		return dialogue_refusal(&reply, "the server does not serve us", why);
	if (!secret_set(&attempt->greeting, reply.text, reply.text_len))
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	attempt->greeted = true;
	return POP3_OK;
}

/* A reply to the login, after the greeting where that was not waited for. */
static enum pop3_err login_reply(struct attempt *attempt, struct reply *reply_r, struct pop3_why *why)
{
	enum pop3_err err = read_greeting(attempt, why);

	return err ? err : dialogue_reply(attempt->dialogue, reply_r, why);
}

/* STLS is tried even where CAPA does not have it; without TLS the login does not go on (S10). */
static enum pop3_err start_tls(struct dialogue *dialogue, const struct account *account, struct pop3_why *why)
{
	struct reply reply = { 0 };
	enum pop3_err err = dialogue_send(dialogue, why, "STLS");

	if (!err)
		err = dialogue_reply(dialogue, &reply, why);
	if (err)
		return err;
	if (reply.status != REPLY_OK) {
		struct pop3_why cause;

		dialogue_refusal(&reply, "STLS", &cause);
		return pop3_fail(why, POP3_E_TLS, "no TLS, so no password was sent (%s)", cause.text);
	}
	return transport_start_tls(dialogue_transport(dialogue), account->tls, why);
}

/* A login that was refused without a code is a refused login, whatever else the text may say. */
static enum pop3_err expect_login(const struct reply *reply, enum auth_method method, struct pop3_why *why)
{
	enum pop3_err err;

	if (reply->status == REPLY_OK)
		return POP3_OK;
	err = dialogue_refusal(reply, auth_method_name(method), why);
	if (err == POP3_E_SERVER && reply->code == REPLY_CODE_NONE)
		return POP3_E_AUTH;
	return err;
}

static enum pop3_err login_user(struct attempt *attempt, const struct secret *secret, struct pop3_why *why)
{
	struct reply reply = { 0 };
	enum pop3_err err = dialogue_send(attempt->dialogue, why, "USER %s", attempt->account->user);

	if (!err)
		err = login_reply(attempt, &reply, why);
	if (!err)
		err = expect_login(&reply, AUTH_USER, why);
	if (!err)
		err = dialogue_send_secret(attempt->dialogue, "PASS", secret, why);
	if (!err)
		err = login_reply(attempt, &reply, why);
	return err ? err : expect_login(&reply, AUTH_USER, why);
}

static enum pop3_err login_apop(struct attempt *attempt, const struct secret *secret, struct pop3_why *why)
{
	char digest[33];
	struct reply reply = { 0 };
	enum pop3_err err;

	if (!auth_apop_digest(attempt->greeting.text, attempt->greeting.len, secret, digest))
		return pop3_fail(why, POP3_E_AUTH, "APOP: the greeting has no valid time stamp");
	err = dialogue_send(attempt->dialogue, why, "APOP %s %s", attempt->account->user, digest);
	if (!err)
		err = login_reply(attempt, &reply, why);
	return err ? err : expect_login(&reply, AUTH_APOP, why);
}

/* Sends AUTH, with the initial response where the line stays short (S7). */
static enum pop3_err begin_sasl(struct attempt *attempt, struct auth *auth, enum auth_method method,
				struct pop3_why *why)
{
	const char *name = auth_method_name(method);
	struct secret initial = { 0 };
	enum pop3_err err;
	char verb[32] = "AUTH ";

	strncat(verb, name, sizeof(verb) - strlen(verb) - 1);
	if (!auth_is_client_first(auth))
		return dialogue_send(attempt->dialogue, why, "%s", verb);
	err = auth_answer(auth, "", 0, &initial, why);
	if (err)
		return err;
	if (strlen(verb) + 1 + initial.len + 2 <= POP3_MAX_COMMAND) {
		err = dialogue_send_secret(attempt->dialogue, verb, &initial, why);
	} else {
		struct reply reply = { 0 };

		err = dialogue_send(attempt->dialogue, why, "%s", verb);
		if (!err)
			err = login_reply(attempt, &reply, why);
		if (!err && reply.status == REPLY_ERR)
			err = expect_login(&reply, method, why);
		if (!err && reply.status == REPLY_OK && !auth_is_tolerant(auth))
			err = pop3_fail(why, POP3_E_PROTOCOL, "%s: +OK in place of a challenge", name);
		if (!err)
			err = dialogue_send_secret(attempt->dialogue, "", &initial, why);
	}
	secret_wipe(&initial);
	return err;
}

/* Ends an exchange whose challenge we refuse (RFC 5034); its own outcome no longer matters. */
static enum pop3_err cancel_sasl(struct attempt *attempt, enum pop3_err err)
{
	struct pop3_why ignored;
	struct reply reply = { 0 };

	if (!dialogue_send(attempt->dialogue, &ignored, "*"))
		if (login_reply(attempt, &reply, &ignored))
			return err;
	return err;
}

static enum pop3_err run_sasl(struct attempt *attempt, struct auth *auth, enum auth_method method,
			      struct pop3_why *why)
{
	enum pop3_err err = begin_sasl(attempt, auth, method, why);

	while (!err) {
		struct secret answer = { 0 };
		struct reply reply = { 0 };

		err = login_reply(attempt, &reply, why);
		if (err)
			break;
		if (reply.status == REPLY_ERR)
			return expect_login(&reply, method, why);
		if (reply.status == REPLY_OK) {
			if (auth_is_complete(auth))
				return POP3_OK;
			if (!auth_is_tolerant(auth))
				return pop3_fail(why, POP3_E_PROTOCOL, "%s: the server has not proven itself",
						 auth_method_name(method));
		}
		err = auth_answer(auth, reply.text, reply.text_len, &answer, why);
		if (err)
			return cancel_sasl(attempt, err);
		err = dialogue_send_secret(attempt->dialogue, "", &answer, why);
		secret_wipe(&answer);
	}
	return err;
}

static enum pop3_err authenticate(struct attempt *attempt, enum auth_method method, struct pop3_why *why)
{
	const struct account *account = attempt->account;
	struct secret secret = { 0 };
	struct auth *auth = NULL;
	enum pop3_err err = account->secret(account->ctx, account->cancel_fd, &secret, why);

	if (!err && (secret.len > POP3_MAX_SECRET || !secret_fits_a_line(secret.text, secret.len) ||
		     !secret_fits_a_line(account->user, strlen(account->user))))
		err = pop3_fail(why, POP3_E_SECRET,
				"the user name or the password holds a line's end or a NUL, or is too long");
	if (!err && method == AUTH_USER) {
		err = login_user(attempt, &secret, why);
	} else if (!err && method == AUTH_APOP) {
		err = login_apop(attempt, &secret, why);
	} else if (!err) {
		err = auth_new(method, account->user, &secret, account->host, &auth, why);
		if (!err)
			err = run_sasl(attempt, auth, method, why);
		auth_free(auth);
	}
	secret_wipe(&secret);
	return err;
}

/* From the greeting to where the login can begin. What is remembered was said over TLS, or never is. */
static enum pop3_err prepare(struct dialogue *dialogue, const struct account *account, bool remembered,
			     struct capa *capa, struct pop3_why *why)
{
	enum pop3_err err = POP3_OK;

	if (!remembered)
		err = ask_capa(dialogue, capa, why);
	if (err || account->security != ACCOUNT_STLS)
		return err;
	err = start_tls(dialogue, account, why);
	if (err || remembered)
		return err;
	*capa = (struct capa){ 0 }; /* what was said in the clear counts no more, RFC 2595 section 4 */
	return ask_capa(dialogue, capa, why);
}

/*
 * A server that announces pipelining and that we know from an earlier session gets the first word of the login together
 * with the end of the TLS handshake: one round trip less. Never before TLS stands, and not for APOP, which answers the
 * greeting.
 */
static bool need_not_wait(const struct account *account, const struct capa_memory *memory)
{
	return memory->known && !memory->in_turn && memory->after.pipelining && account->security == ACCOUNT_TLS &&
	       account->auth != AUTH_APOP;
}

/* What only a server says that has understood the login. */
static bool is_answer(enum pop3_err err)
{
	return err == POP3_OK || err == POP3_E_IN_USE || err == POP3_E_TEMPORARY || err == POP3_E_LOGIN_DELAY;
}

static enum pop3_err log_in(struct attempt *attempt, struct capa_memory *memory, enum auth_method *method_r,
			    struct pop3_why *why)
{
	const struct account *account = attempt->account;
	bool remembered = memory->known, early = need_not_wait(account, memory);
	enum pop3_err err = early ? POP3_OK : read_greeting(attempt, why);

	memory->known = false; /* until this login has shown that it still holds */
	if (!err)
		err = prepare(attempt->dialogue, account, remembered, &memory->before, why);
	if (!err) {
		*method_r = auth_choose(&memory->before, account->security != ACCOUNT_CLEAR, account->auth);
		err = authenticate(attempt, *method_r, why);
	}
	if (early && !is_answer(err))
		memory->in_turn = true;
	if (!err && !remembered) {
		memory->after = memory->before;
		err = ask_capa(attempt->dialogue, &memory->after, why);
	}
	memory->known = !err;
	return err;
}

enum pop3_err login(const struct account *account, struct dialogue **dialogue_r, struct capa *capa_r,
		    enum auth_method *method_r, struct pop3_why *why)
{
	const struct dialogue_config config = {
		.transport = { account->host, account->port, account->timeout_ms, account->cancel_fd },
		.tls = account->security == ACCOUNT_TLS ? account->tls : NULL,
		.trace = account->trace,
		.ctx = account->ctx,
	};
	struct capa_memory none = { 0 }, *memory = account->memory ? account->memory : &none;
	struct attempt attempt = { .account = account };
	enum pop3_err err = dialogue_open(&config, &attempt.dialogue, why);

	if (err)
		return err;
	if (!memory->known)
		*memory = (struct capa_memory){ .in_turn = memory->in_turn };
	err = log_in(&attempt, memory, method_r, why);
	secret_wipe(&attempt.greeting);
	*capa_r = memory->after;
	if (err) {
		dialogue_free(attempt.dialogue);
		return err;
	}
	*dialogue_r = attempt.dialogue;
	return POP3_OK;
}
