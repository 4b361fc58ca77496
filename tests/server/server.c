/* SPDX-License-Identifier: MIT */
/*
 * The protocol side: a command table, each command builds its whole reply, and one place sends it with the
 * faults that match. Threads: one accepts, one serves each connection; `lock` guards what they share.
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
#include "tests/server/fault.h"
#include "tests/server/maildrop.h"
#include "tests/server/sasl.h"

#define LINE_SIZE 8192

struct verb_count {
	char verb[16];
	unsigned count;
};

struct server {
	struct server_config config;
	SSL_CTX *ctx;
	int listener;
	uint16_t port;
	pthread_t acceptor;
	struct fault *faults;
	size_t n_faults;
	FILE *log;
	pthread_mutex_t lock;
	/* Under lock: */
	struct connection *connections;
	struct verb_count counts[32];
	bool stopping, locked;
};

struct connection {
	struct server *server;
	pthread_t thread;
	int fd;
	SSL *ssl;
	bool transaction, open, holds_lock, ended;
	char user[256];
	struct maildrop maildrop;
	char in[LINE_SIZE];
	size_t in_len;
	struct connection *prev, *next;
};

static bool is_without(const struct server *server, const char *verb)
{
	const char *found = server->config.no ? strcasestr(server->config.no, verb) : NULL;

	return found && (found[strlen(verb)] == ' ' || found[strlen(verb)] == '\0');
}

static unsigned count_verb(struct server *server, const char *verb, const char *line)
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
static bool read_line(struct connection *c, char *line)
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
	return SSL_accept(c->ssl) == 1;
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
static bool send_reply(struct connection *c, const struct fault *fault, const struct buffer *reply)
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
static bool instead(struct connection *c, const struct fault *fault, bool *handled_r)
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

static const struct fault *find_fault(const struct server *server, const char *verb, unsigned nth, unsigned message)
{
	for (size_t i = 0; i < server->n_faults; i++)
		if (fault_matches(&server->faults[i], verb, nth, message))
			return &server->faults[i];
	return NULL;
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

static void run_command(struct connection *c, const char *verb, const char *arg, struct buffer *reply,
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

	ok(&reply, "test server ready " SASL_APOP_STAMP);
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
