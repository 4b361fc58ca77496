/* SPDX-License-Identifier: MIT */
#include "fs/source.h"

#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool refuse(struct pop3_why *why, const char *text, const char *reason)
{
	char shown[200];

	pop3_fail(why, POP3_E_PROTOCOL, "SOURCE \"%s\": %s", pop3_escape(shown, sizeof(shown), text, strlen(text)),
		  reason);
	return false;
}

/* Copies [from, to), with %XX decoded where asked; false: too long, empty, or a NUL. */
static bool copy_part(char *dst, size_t size, const char *from, const char *to, bool decode)
{
	size_t n = 0;

	for (; from < to; from++) {
		char c = *from;

		if (decode && c == '%' && to - from > 2 && isxdigit((unsigned char)from[1]) &&
		    isxdigit((unsigned char)from[2])) {
			const char hex[3] = { from[1], from[2], '\0' };

			c = (char)strtol(hex, NULL, 16);
			from += 2;
		}
		if (c == '\0' || n + 1 >= size)
			return false;
		dst[n++] = c;
	}
	dst[n] = '\0';
	return n > 0;
}

static bool parse_port(const char *text, uint16_t *port_r)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)text[0]) || *end || port == 0 || port > 65535)
		return false;
	*port_r = (uint16_t)port;
	return true;
}

/* "host", "host:port", "[address]:port", a final slash allowed. */
static bool parse_host(const char *text, const char *part, struct source *source, bool *port_given,
		       struct pop3_why *why)
{
	const char *end = part + strcspn(part, "/"), *host_end, *port = NULL;
	char number[8];

	if (*end && end[1])
		return refuse(why, text, "nothing may follow the host and the port");
	if (part[0] == '[') {
		host_end = memchr(part, ']', (size_t)(end - part));
		if (!host_end)
			return refuse(why, text, "a [ without its ]");
		part++;
		port = host_end + 1;
	} else {
		host_end = memchr(part, ':', (size_t)(end - part));
		if (!host_end)
			host_end = end;
		port = host_end;
	}
	if (!copy_part(source->host, sizeof(source->host), part, host_end, false))
		return refuse(why, text, "no host name, or one that is too long");
	*port_given = port < end;
	if (!*port_given)
		return true;
	if (*port != ':' || !copy_part(number, sizeof(number), port + 1, end, false) ||
	    !parse_port(number, &source->port))
		return refuse(why, text, "the port is no number from 1 to 65535");
	return true;
}

bool source_parse(const char *text, struct source *source_r, struct pop3_why *why)
{
	const char *rest = text, *at;
	bool scheme = true, port_given = false;

	*source_r = (struct source){ .security = ACCOUNT_TLS };
	if (strncasecmp(text, "pop3s://", 8) == 0) {
		rest += 8;
	} else if (strncasecmp(text, "pop3://", 7) == 0) {
		rest += 7;
		source_r->security = ACCOUNT_STLS;
	} else if (strstr(text, "://")) {
		return refuse(why, text, "the scheme is neither pop3s nor pop3");
	} else {
		scheme = false;
	}
	at = strrchr(rest, '@');
	if (!scheme && !at) {
		source_r->kind = SOURCE_ACCOUNT;
		if (!copy_part(source_r->host, sizeof(source_r->host), text, text + strlen(text), false))
			return refuse(why, text, "no name, or one that is too long");
		return true;
	}
	if (at && memchr(rest, ':', (size_t)(at - rest)))
		return refuse(why, text, "a password does not belong here, others can read it (password_file=, password_command=)");
	if (at && !copy_part(source_r->user, sizeof(source_r->user), rest, at, scheme))
		return refuse(why, text, "no user name before the @, or one that is too long");
	if (!parse_host(text, at ? at + 1 : rest, source_r, &port_given, why))
		return false;
	if (!scheme && !port_given && memchr(rest, '@', strlen(rest)) == at) {
		source_r->kind = SOURCE_ADDRESS;
		if (!copy_part(source_r->user, sizeof(source_r->user), text, text + strcspn(text, "/"), false))
			return refuse(why, text, "the address is too long");
	}
	return true;
}

static bool exists(const char *host)
{
	struct addrinfo *list = NULL;
	bool found = getaddrinfo(host, NULL, NULL, &list) == 0;

	if (found)
		freeaddrinfo(list);
	return found;
}

void source_find_host(struct source *source)
{
	static const struct {
		const char *domain, *host;
	} providers[] = {
		{ "gmail.com", "pop.gmail.com" },
		{ "googlemail.com", "pop.gmail.com" },
		{ "outlook.com", "outlook.office365.com" },
		{ "hotmail.com", "outlook.office365.com" },
		{ "live.com", "outlook.office365.com" },
		{ "msn.com", "outlook.office365.com" },
		{ "yahoo.com", "pop.mail.yahoo.com" },
		{ "aol.com", "pop.aol.com" },
		{ "gmx.com", "pop.gmx.com" },
		{ "gmx.net", "pop.gmx.net" },
		{ "gmx.de", "pop.gmx.net" },
		{ "web.de", "pop3.web.de" },
		{ "zoho.com", "pop.zoho.com" },
		{ "fastmail.com", "pop.fastmail.com" },
	};
	static const char *const prefixes[] = { "pop.", "mail." };
	char host[sizeof(source->host) + 8];

	for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++) {
		if (strcasecmp(source->host, providers[i].domain) == 0) {
			snprintf(source->host, sizeof(source->host), "%s", providers[i].host);
			return;
		}
	}
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		snprintf(host, sizeof(host), "%s%s", prefixes[i], source->host);
		if (strlen(host) < sizeof(source->host) && exists(host)) {
			memcpy(source->host, host, strlen(host) + 1);
			return;
		}
	}
	*strrchr(source->user, '@') = '\0';
}
