/* SPDX-License-Identifier: MIT */
/* What each command answers: one function a verb, and the table of them. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tests/server/sasl.h"
#include "tests/server/server_private.h"

static bool is_without(const struct server *server, const char *verb)
{
	const char *found = server->config.no ? strcasestr(server->config.no, verb) : NULL;

	return found && (found[strlen(verb)] == ' ' || found[strlen(verb)] == '\0');
}

static void ok(struct buffer *reply, const char *text)
{
	buffer_printf(reply, "+OK %s\r\n", text);
}

static void err(struct buffer *reply, const char *text)
{
	buffer_printf(reply, "-ERR %s\r\n", text);
}

static void capa(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	const struct server_config *config = &c->server->config;

	(void)arg, (void)fault;
	ok(reply, "capabilities");
	if (config->capa) {
		for (const char *line = config->capa, *end; (end = strchr(line, '\n')); line = end + 1)
			buffer_printf(reply, "%.*s\r\n", (int)(end - line), line);
	} else {
		buffer_printf(reply, "UIDL\r\nTOP\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n");
		if (!c->ssl)
			buffer_printf(reply, "STLS\r\n");
		if (c->ssl || config->plain)
			buffer_printf(reply, "USER\r\nSASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2\r\n");
	}
	buffer_printf(reply, ".\r\n");
}

static void enter(struct connection *c, bool good, struct buffer *reply)
{
	struct server *server = c->server;

	if (!good) {
		err(reply, "[AUTH] wrong user name or password");
		return;
	}
	pthread_mutex_lock(&server->lock);
	c->holds_lock = server->config.lock && !server->locked;
	if (c->holds_lock)
		server->locked = true;
	good = !server->config.lock || c->holds_lock;
	pthread_mutex_unlock(&server->lock);
	if (!good) {
		err(reply, "[IN-USE] another session has the maildrop");
		return;
	}
	c->transaction = true;
	maildrop_open(&c->maildrop, server->config.maildir);
	ok(reply, "welcome");
}

static void user(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)fault;
	snprintf(c->user, sizeof(c->user), "%s", arg);
	ok(reply, "and the password?");
}

static void pass(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)fault;
	enter(c, strcmp(c->user, c->server->config.user) == 0 && strcmp(arg, c->server->config.password) == 0, reply);
}

static void apop(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)fault;
	enter(c, sasl_check_apop(arg, c->server->config.user, c->server->config.password), reply);
}

/* The exchange's lines go and come through here; each may have a fault of its own. */
static bool ask_line(void *ctx, const char *challenge, char *line, size_t size)
{
	struct connection *c = ctx;
	const struct fault *fault;
	struct buffer reply = { 0 };
	char answer[LINE_SIZE];
	bool good = true, handled = false;

	fault = find_fault(c->server, "AUTH-LINE", count_verb(c->server, "AUTH-LINE", "AUTH-LINE"), 0);
	if (fault)
		good = instead(c, fault, &handled);
	buffer_printf(&reply, "+ %s\r\n", challenge);
	if (good && !handled)
		good = send_reply(c, fault, &reply);
	buffer_clear(&reply);
	if (!good || !read_line(c, answer) || strlen(answer) >= size)
		return false;
	strcpy(line, answer);
	return true;
}

static void auth(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	const struct server_config *config = &c->server->config;
	enum sasl_result result;

	(void)fault;
	if (!c->ssl && !config->plain) {
		err(reply, "not without TLS");
		return;
	}
	result = sasl_serve(arg, config->user, config->password, ask_line, c);
	if (result == SASL_CANCELLED)
		err(reply, "cancelled");
	else
		enter(c, result == SASL_GOOD, reply);
}

static void stat_(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	uint64_t octets = 0;

	(void)arg, (void)fault;
	for (size_t i = 0; i < c->maildrop.count; i++)
		octets += c->maildrop.messages[i].octets;
	buffer_printf(reply, "+OK %zu %llu\r\n", c->maildrop.count, (unsigned long long)octets);
}

static void list(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	long lie = fault && fault->action == FAULT_SIZE ? fault->number : 0;

	(void)arg;
	ok(reply, "sizes");
	for (size_t i = 0; i < c->maildrop.count; i++)
		if (!c->maildrop.messages[i].deleted)
			buffer_printf(reply, "%zu %lld\r\n", i + 1, (long long)c->maildrop.messages[i].octets + lie);
	buffer_printf(reply, ".\r\n");
}

static void uidl(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)arg, (void)fault;
	ok(reply, "unique-ids");
	for (size_t i = 0; i < c->maildrop.count; i++)
		if (!c->maildrop.messages[i].deleted)
			buffer_printf(reply, "%zu %s\r\n", i + 1, c->maildrop.messages[i].uid);
	buffer_printf(reply, ".\r\n");
}

static struct maildrop_message *message_of(struct connection *c, const char *arg)
{
	unsigned long n = strtoul(arg, NULL, 10);

	if (n == 0 || n > c->maildrop.count || c->maildrop.messages[n - 1].deleted)
		return NULL;
	return &c->maildrop.messages[n - 1];
}

static void top(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	struct maildrop_message *message = message_of(c, arg);
	const char *lines = strchr(arg, ' ');

	(void)fault;
	if (message && lines) {
		ok(reply, "header");
		if (maildrop_write(message, strtol(lines, NULL, 10), reply))
			return;
		reply->len = 0;
	}
	err(reply, "no such message");
}

static void retr(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	struct maildrop_message *message = message_of(c, arg);

	if (message && fault && fault->action == FAULT_GONE)
		unlink(message->path);
	if (message) {
		ok(reply, "message");
		if (maildrop_write(message, -1, reply))
			return;
		reply->len = 0;
	}
	err(reply, "no such message");
}

static void dele(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	struct maildrop_message *message = message_of(c, arg);

	(void)fault;
	if (message) {
		message->deleted = true;
		ok(reply, "marked");
	} else {
		err(reply, "no such message");
	}
}

static void rset(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)arg, (void)fault;
	for (size_t i = 0; i < c->maildrop.count; i++)
		c->maildrop.messages[i].deleted = false;
	ok(reply, "unmarked");
}

static void noop(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)c, (void)arg, (void)fault;
	ok(reply, "still here");
}

static void stls(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)arg, (void)fault;
	if (c->ssl)
		err(reply, "TLS is on");
	else
		ok(reply, "begin TLS");
}

static void quit(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault)
{
	(void)arg;
	if (fault && fault->action == FAULT_PARTIAL) {
		maildrop_expunge(&c->maildrop, (size_t)fault->number);
		err(reply, "some deleted messages not removed");
	} else {
		maildrop_expunge(&c->maildrop, SIZE_MAX);
		ok(reply, "bye");
	}
}

enum state { BEFORE = 1, AFTER = 2, ANY = 3 };

static const struct command {
	const char *verb;
	void (*run)(struct connection *c, const char *arg, struct buffer *reply, const struct fault *fault);
	enum state state;
} commands[] = {
	{ "CAPA", capa, ANY },    { "STLS", stls, BEFORE },  { "USER", user, BEFORE }, { "PASS", pass, BEFORE },
	{ "APOP", apop, BEFORE }, { "AUTH", auth, BEFORE },  { "STAT", stat_, AFTER }, { "LIST", list, AFTER },
	{ "UIDL", uidl, AFTER },  { "TOP", top, AFTER },     { "RETR", retr, AFTER },  { "DELE", dele, AFTER },
	{ "RSET", rset, AFTER },  { "NOOP", noop, AFTER },   { "QUIT", quit, ANY },
};

void run_command(struct connection *c, const char *verb, const char *arg, struct buffer *reply,
		 const struct fault *fault)
{
	enum state state = c->transaction ? AFTER : BEFORE;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcasecmp(commands[i].verb, verb) != 0 || is_without(c->server, verb))
			continue;
		if (!(commands[i].state & state))
			break;
		commands[i].run(c, arg, reply, fault);
		return;
	}
	err(reply, "unknown command");
}

