/* SPDX-License-Identifier: MIT */
/*
 * SOURCE on the command line: which maildrop of which server. source_parse() is pure; source_find_host()
 * asks the resolver.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pop3/login.h"

enum source_kind {
	SOURCE_SERVER,  /* a URL, or user@host with a port or a second @ */
	SOURCE_ADDRESS, /* local@domain: the server is to be found */
	SOURCE_ACCOUNT, /* a name from the configuration file */
};

struct source {
	enum source_kind kind;
	enum account_security security;
	char user[256]; /* for SOURCE_ADDRESS the whole address; "" where SOURCE has none */
	char host[256]; /* for SOURCE_ADDRESS the domain; for SOURCE_ACCOUNT the name */
	uint16_t port;  /* 0: none given */
};

/* false with *why where the text is none of the forms. */
__attribute__((warn_unused_result))
bool source_parse(const char *text, struct source *source_r, struct pop3_why *why);

/*
 * Finds the server of an address: that of a large provider, else the first of pop.DOMAIN and mail.DOMAIN
 * that exists, with the address as the user; else DOMAIN itself, with the local part.
 */
void source_find_host(struct source *source);
