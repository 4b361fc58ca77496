/* SPDX-License-Identifier: MIT */
/*
 * A maildrop on the test server in this process, and a link to it, whose jobs are waited for. For tests that
 * want to see what the code below the cache makes of a server.
 */
#pragma once
#include <criterion/criterion.h>
#include <pthread.h>

#include "pop3/link.h"
#include "pop3/tls.h"
#include "tests/server/buffer.h"
#include "tests/server/server.h"

#define USER "u"
#define PASSWORD "secret word"
#define MAX_LISTED 64

struct peer {
	char dir[64];
	struct server_config server_config;
	struct server *server;
	struct link_config config;
	struct tls *tls;
	struct tls_config tls_config;
	char cert[96], key[96];
	const char *password;
	struct link *link;
	struct pop3_why why; /* of the last failure */
	char notes[2000];    /* what the link had to say, a line each */
	char trace[8000];    /* the dialogue */
	/* the newest listing */
	size_t count;
	char *keys[MAX_LISTED];
	uint64_t octets[MAX_LISTED];
	/* a job that is waited for */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done;
	enum pop3_err err;
	struct buffer received;
	/* of peer_all(), in step with keys */
	struct buffer all[MAX_LISTED];
	enum pop3_err all_err[MAX_LISTED];
	size_t left;
};

/* An empty Maildir and a configuration for a TLS server with no faults; change it, then peer_start(). */
struct peer *peer_new(void);
/* A message in the Maildir, 0-terminated or of len octets. */
void peer_message(struct peer *peer, const char *name, const char *text);
void peer_message_octets(struct peer *peer, const char *name, const char *octets, size_t len);
bool peer_has(struct peer *peer, const char *name);
/* Server and link; `faults` end with NULL. */
void peer_start(struct peer *peer, const char *const *faults);
/* Ends the server and starts it anew, on the same port. */
void peer_restart_server(struct peer *peer, const char *const *faults);
void peer_free(struct peer *peer);

/* A server with messages "a" (which reads SHOWN) and "b", started with these faults. */
#define SHOWN "Subject: one\n\nbody\n"
struct peer *peer_with(const char *const *faults);
/* The same, and the outcome of fetching "a" from it. */
enum pop3_err peer_fetch_with(const char *const *faults, struct peer **peer_r);

/* Jobs, waited for. What failed is in peer->why. */
enum pop3_err peer_list(struct peer *peer);
enum pop3_err peer_fetch(struct peer *peer, const char *key); /* into peer->received */
enum pop3_err peer_headers(struct peer *peer, const char *key); /* likewise */
/* All that is listed at once, as one HEADERS or as so many FETCHes; into peer->all and all_err. */
void peer_all(struct peer *peer, enum link_kind kind);
enum pop3_err peer_commit(struct peer *peer, struct commit_item *items, size_t count);

/* The file holds just this (less than 256 octets). */
bool file_holds(int fd, const char *text);

/* A list of faults, as an argument. */
#define FAULTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

#define cr_assert_octets(buffer, text) \
	cr_assert((buffer).len == sizeof(text) - 1 && memcmp((buffer).octets, text, sizeof(text) - 1) == 0, \
		  "received \"%.*s\"", (int)(buffer).len, (buffer).octets)
