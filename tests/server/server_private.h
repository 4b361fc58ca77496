/* SPDX-License-Identifier: MIT */
/* What server.c (connections, faults) and commands.c (what each command answers) share. */
#pragma once
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>

#include "tests/server/fault.h"
#include "tests/server/maildrop.h"
#include "tests/server/server.h"

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

/* commands.c: runs a command and writes its reply. */
void run_command(struct connection *c, const char *verb, const char *arg, struct buffer *reply,
		 const struct fault *fault);

/* server.c: for the lines of an AUTH exchange, which may have faults of their own. */
bool read_line(struct connection *c, char *line);
bool instead(struct connection *c, const struct fault *fault, bool *handled_r);
bool send_reply(struct connection *c, const struct fault *fault, const struct buffer *reply);
const struct fault *find_fault(const struct server *server, const char *verb, unsigned nth, unsigned message);
unsigned count_verb(struct server *server, const char *verb, const char *line);
