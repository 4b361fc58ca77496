/* SPDX-License-Identifier: MIT */
#include "pop3/session.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "pop3/limits.h"

struct session {
	struct dialogue *dialogue;
	struct capa capa;
	enum auth_method method;
	bool lf;
	bool identity, retrieved, deleted;
	struct listing *listing;
	bool have_uids, sized, sealed; /* of the listing: UIDL was answered, LIST was, it is complete */
};

enum pop3_err session_open(const struct account *account, struct session **session_r, struct pop3_why *why)
{
	struct session *session = calloc(1, sizeof(*session));
	enum pop3_err err;

	if (!session)
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	err = login(account, &session->dialogue, &session->capa, &session->method, why);
	if (err) {
		free(session);
		return err;
	}
	session->lf = account->lf;
	*session_r = session;
	return POP3_OK;
}

void session_drop(struct session *session)
{
	if (!session)
		return;
	dialogue_free(session->dialogue);
	listing_free(session->listing);
	free(session);
}

enum pop3_err session_quit(struct session *session, struct pop3_why *why)
{
	enum pop3_err err = dialogue_send(session->dialogue, why, "QUIT");

	if (!err)
		err = dialogue_expect_ok(session->dialogue, "QUIT", why);
	session_drop(session);
	return err;
}

static enum pop3_err add_uid(void *ctx, const char *line, size_t len, struct pop3_why *why)
{
	struct session *session = ctx;
	const char *uid;
	size_t uid_len;
	uint32_t number;
	char shown[200];

	if (!reply_decode_uidl(line, len, &number, &uid, &uid_len))
		return pop3_fail(why, POP3_E_PROTOCOL, "UIDL: a line that is none: \"%s\"",
				 pop3_escape(shown, sizeof(shown), line, len));
	if (uid_len == 0) { /* an id cannot begin with a blank: this stands for the empty one */
		uid = " ";
		uid_len = 1;
	}
	return listing_add(session->listing, number, uid, uid_len, 0, why);
}

/* A line of LIST: adds to the listing that UIDL made, or makes it. */
static enum pop3_err add_size(void *ctx, const char *line, size_t len, struct pop3_why *why)
{
	struct session *session = ctx;
	uint64_t octets;
	uint32_t number;
	char shown[200];

	if (!reply_decode_list(line, len, &number, &octets))
		return pop3_fail(why, POP3_E_PROTOCOL, "LIST: a line that is none: \"%s\"",
				 pop3_escape(shown, sizeof(shown), line, len));
	if (session->have_uids)
		return listing_set_octets(session->listing, number, octets, why);
	return listing_add(session->listing, number, NULL, 0, octets, why);
}

/* *refused_r: the server answered -ERR; the listing is as before. */
static enum pop3_err ask_listing(struct session *session, const char *verb, dialogue_line_fn *each,
				 bool *refused_r, struct pop3_why *why)
{
	enum pop3_err err = dialogue_send(session->dialogue, why, "%s", verb);

	*refused_r = false;
	if (!err)
		err = dialogue_expect_ok(session->dialogue, verb, why);
	if (err == POP3_E_SERVER) {
		*refused_r = true;
		return POP3_OK;
	}
	return err ? err : dialogue_lines(session->dialogue, each, session, why);
}

/*
 * Cuts a header at its first empty line, which it includes: what odd servers send after it (QUIRKS T2) is
 * read and thrown away. Works on LF line ends.
 */
struct header_end {
	bool line_start, past;
};

static size_t until_header_end(struct header_end *end, const char *octets, size_t len)
{
	for (size_t i = 0; i < len && !end->past; i++) {
		end->past = octets[i] == '\n' && end->line_start;
		end->line_start = octets[i] == '\n';
		if (end->past)
			return i + 1;
	}
	return end->past ? 0 : len;
}

struct digest_sink {
	EVP_MD_CTX *ctx;
	struct header_end end;
};

static int digest_octets(void *ctx, const char *octets, size_t len)
{
	struct digest_sink *sink = ctx;

	EVP_DigestUpdate(sink->ctx, octets, until_header_end(&sink->end, octets, len));
	return 0;
}

/* A key from header and size. POP3_E_SERVER: no TOP. */
static enum pop3_err digest_key(struct session *session, const struct listing_entry *entry, EVP_MD_CTX *ctx,
				char *key, size_t key_size, struct pop3_why *why)
{
	struct digest_sink sink = { .ctx = ctx, .end = { .line_start = true } };
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned digest_len;
	size_t n;
	enum pop3_err err = dialogue_send(session->dialogue, why, "TOP %u 0", entry->number);

	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	if (!err)
		err = dialogue_expect_ok(session->dialogue, "TOP", why);
	if (!err)
		err = dialogue_octets(session->dialogue, true, POP3_MAX_TOP, digest_octets, &sink, why);
	if (err)
		return err;
	EVP_DigestUpdate(ctx, &entry->octets, sizeof(entry->octets));
	EVP_DigestFinal_ex(ctx, digest, &digest_len);
	n = (size_t)snprintf(key, key_size, "%s", LISTING_DIGEST_PREFIX);
	for (unsigned i = 0; i < digest_len; i++)
		n += (size_t)snprintf(key + n, key_size - n, "%02x", digest[i]);
	return POP3_OK;
}

/* Gives keys to messages that have no unique-id: by header and size, or for this session only. */
static enum pop3_err make_keys(struct session *session, struct pop3_why *why)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	enum pop3_err err = ctx ? POP3_OK : pop3_fail(why, POP3_E_MEMORY, "out of memory");
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		random = (uint64_t)transport_now_ms();
	for (size_t i = 0; !err && i < listing_count(session->listing); i++) {
		const struct listing_entry *entry = listing_at(session->listing, i);
		char key[LISTING_MAX_KEY];

		if (!session->identity)
			err = digest_key(session, entry, ctx, key, sizeof(key), why);
		if (err == POP3_E_SERVER && i == 0 && !session->capa.top) {
			session->identity = true;
			err = POP3_OK;
		}
		if (session->identity)
			snprintf(key, sizeof(key), "%s%016llx %u", LISTING_SESSION_PREFIX,
				 (unsigned long long)random, entry->number);
		if (!err)
			err = listing_set_key(session->listing, i, key, why);
	}
	EVP_MD_CTX_free(ctx);
	return err;
}

static enum pop3_err ask_sizes(struct session *session, struct pop3_why *why)
{
	bool refused;
	enum pop3_err err = ask_listing(session, "LIST", add_size, &refused, why);

	if (!err && refused)
		return POP3_E_SERVER;
	session->sized = !err;
	return err;
}

static enum pop3_err make_listing(struct session *session, bool sizes, struct pop3_why *why)
{
	bool refused, copies = false;
	enum pop3_err err = ask_listing(session, "UIDL", add_uid, &refused, why);

	if (!err && refused && session->capa.uidl)
		return POP3_E_SERVER; /* it has unique-ids: other keys would hide what is pending */
	session->have_uids = !err && !refused;
	if (!err && session->have_uids)
		err = listing_sort(session->listing, why);
	if (!err && session->have_uids)
		err = listing_find_copies(session->listing, &copies, why);
	if (!err && (sizes || copies || !session->have_uids))
		err = ask_sizes(session, why);
	if (!err && !session->have_uids)
		err = listing_sort(session->listing, why);
	if (!err && !session->have_uids)
		err = make_keys(session, why);
	return err ? err : listing_seal(session->listing, why);
}

enum pop3_err session_list(struct session *session, bool sizes, const struct listing **listing_r,
			   struct pop3_why *why)
{
	enum pop3_err err = POP3_OK;

	if (!session->listing) {
		session->listing = listing_new();
		if (!session->listing)
			return pop3_fail(why, POP3_E_MEMORY, "out of memory");
		err = make_listing(session, sizes, why);
		session->sealed = !err;
	} else if (sizes && !session->sized) {
		err = ask_sizes(session, why);
	}
	*listing_r = session_listing(session);
	return err;
}

const struct listing *session_listing(const struct session *session)
{
	return session->sealed ? session->listing : NULL;
}

bool session_is_identity(const struct session *session)
{
	return session->identity;
}

/* One multi-line answer on its way to the handler. */
struct delivery {
	const struct session_handler *handler;
	void *tag;
	bool header_only;
	struct header_end end;
};

static int deliver(void *ctx, const char *octets, size_t len)
{
	struct delivery *delivery = ctx;

	if (delivery->header_only)
		len = until_header_end(&delivery->end, octets, len);
	return len > 0 ? delivery->handler->data(delivery->handler->ctx, delivery->tag, octets, len) : 0;
}

static const char *const verbs[] = { "TOP", "RETR", "DELE" };

static enum pop3_err send_request(struct session *session, const struct session_request *request,
				  struct pop3_why *why)
{
	session->retrieved |= request->verb == SESSION_RETR;
	session->deleted |= request->verb == SESSION_DELE;
	return dialogue_send(session->dialogue, why, "%s %u%s", verbs[request->verb], request->number,
			     request->verb == SESSION_TOP ? " 0" : "");
}

static uint64_t most_octets(const struct session_request *request)
{
	uint64_t by_list = 2 * request->octets + POP3_MAX_OVERRUN;

	if (request->verb == SESSION_TOP)
		return POP3_MAX_TOP;
	return request->octets > 0 && by_list < POP3_MAX_MESSAGE ? by_list : POP3_MAX_MESSAGE;
}

/* What follows the status line of a request that was not refused. */
static enum pop3_err read_octets(struct session *session, const struct session_request *request,
				 const struct session_handler *handler, struct pop3_why *why)
{
	struct delivery delivery = { .handler = handler,
				     .tag = request->tag,
				     .header_only = request->verb == SESSION_TOP,
				     .end = { .line_start = true } };
	int refused = handler->begin ? handler->begin(handler->ctx, request->tag) : 0;

	if (refused)
		return pop3_fail(why, POP3_E_LOCAL, "%s", strerror(-refused));
	if (request->verb == SESSION_DELE)
		return POP3_OK;
	return dialogue_octets(session->dialogue, delivery.header_only || session->lf, most_octets(request),
			       deliver, &delivery, why);
}

/* The requests on the way, a ring; and one that is answered and waits for the next status line to be valid. */
struct window {
	struct session_request requests[SESSION_WINDOW];
	size_t first, count, octets; /* octets: of their commands */
	bool pipelined;
	bool mixed_up; /* an answer was not to its request */
	bool held;
	void *held_tag;
	enum pop3_err held_err;
	struct pop3_why held_why;
};

/* Octets of the longest of our commands, with its line's end. */
#define COMMAND_OCTETS 20

static size_t command_octets(const struct session_request *request)
{
	return (size_t)snprintf(NULL, 0, "%s %u%s\r\n", verbs[request->verb], request->number,
				request->verb == SESSION_TOP ? " 0" : "");
}

static bool has_room(const struct window *window)
{
	if (window->count == 0 || !window->pipelined)
		return window->count == 0;
	return window->count < SESSION_WINDOW && window->octets + COMMAND_OCTETS <= POP3_MAX_UNANSWERED;
}

static enum pop3_err fill_window(struct session *session, struct window *window,
				 const struct session_handler *handler, struct pop3_why *why)
{
	struct session_request request;

	while (has_room(window) && handler->next(handler->ctx, &request)) {
		enum pop3_err err;

		window->octets += command_octets(&request);
		window->requests[(window->first + window->count++) % SESSION_WINDOW] = request;
		err = send_request(session, &request, why);
		if (err)
			return err;
	}
	return POP3_OK;
}

static void release_held(struct window *window, const struct session_handler *handler)
{
	if (window->held)
		handler->done(handler->ctx, window->held_tag, window->held_err, &window->held_why);
	window->held = false;
}

/* The answer to the first request on the way. */
static enum pop3_err read_answer(struct session *session, struct window *window,
				 const struct session_handler *handler, struct pop3_why *why)
{
	const struct session_request *request = &window->requests[window->first];
	char what[32];
	enum pop3_err err;

	snprintf(what, sizeof(what), "%s %u", verbs[request->verb], request->number);
	err = dialogue_expect_ok(session->dialogue, what, why);
	if (!err || err == POP3_E_SERVER)
		release_held(window, handler);
	if (!err)
		err = read_octets(session, request, handler, why);
	if (!err && window->pipelined && handler->matches && !handler->matches(handler->ctx, request->tag)) {
		window->mixed_up = true;
		return pop3_fail(why, POP3_E_PROTOCOL, "%s: the answer is not to what was asked", what);
	}
	if (err && err != POP3_E_SERVER)
		return err;
	window->held = true;
	window->held_tag = request->tag;
	window->held_err = err;
	window->held_why = *why;
	window->octets -= command_octets(request);
	window->first = (window->first + 1) % SESSION_WINDOW;
	if (--window->count == 0)
		release_held(window, handler);
	return POP3_OK;
}

struct run {
	struct session *session;
	struct window window;
	const struct session_handler *handler;
};

static enum pop3_err fill_again(void *ctx, struct pop3_why *why)
{
	struct run *run = ctx;

	return fill_window(run->session, &run->window, run->handler, why);
}

static enum pop3_err run_all(struct run *run, struct pop3_why *why)
{
	for (;;) {
		enum pop3_err err = fill_window(run->session, &run->window, run->handler, why);

		if (err || run->window.count == 0)
			return err;
		err = read_answer(run->session, &run->window, run->handler, why);
		if (err)
			return err;
	}
}

enum pop3_err session_run(struct session *session, const struct session_handler *handler, bool pipelined,
			  void **culprit_r, bool *alone_r, struct pop3_why *why)
{
	struct run run = { session, { .pipelined = pipelined }, handler };
	struct transport *transport = dialogue_transport(session->dialogue);
	enum pop3_err err;

	if (handler->wake_fd)
		transport_set_wake(transport, *handler->wake_fd, fill_again, &run);
	err = run_all(&run, why);
	transport_set_wake(transport, -1, NULL, NULL);
	if (err) {
		*culprit_r = run.window.requests[run.window.first].tag;
		*alone_r = run.window.count == 1 && !run.window.held && !run.window.mixed_up;
	}
	return err;
}

bool session_has_retrieved(const struct session *session)
{
	return session->retrieved;
}

bool session_has_deleted(const struct session *session)
{
	return session->deleted;
}

const struct capa *session_capa(const struct session *session)
{
	return &session->capa;
}

bool session_is_fresh(struct session *session)
{
	return !transport_is_stale(dialogue_transport(session->dialogue));
}

void session_describe(const struct session *session, char *text, size_t size)
{
	size_t len;

	transport_describe(dialogue_transport(session->dialogue), text, size);
	len = strlen(text);
	snprintf(text + len, size - len, "; %s", auth_method_name(session->method));
}
