/* SPDX-License-Identifier: MIT */
/*
 * Pure decoders for what a server says in lines: status lines, CAPA, LIST and UIDL.
 * Octets in, facts out, no I/O, nothing kept: the session, the unit tests and the fuzzer call the same.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The first line of `buf`: its length without LF or CRLF (status lines and listings end in LF alone at
 * some servers, QUIRKS F6) in *line_r, the octets it takes with its end in *used_r.
 * false: no complete line yet. The caller bounds what it collects (POP3_MAX_LINE).
 */
bool reply_line(const char *buf, size_t len, size_t *line_r, size_t *used_r);

enum reply_status {
	REPLY_OK,       /* "+OK", then the line's end or a space */
	REPLY_ERR,      /* "-ERR", likewise */
	REPLY_CONTINUE, /* "+", then the line's end or a space: a SASL challenge, RFC 5034 */
	REPLY_BAD,      /* anything else */
};

/* Extended response codes, RFC 2449 section 8 and RFC 3206. */
enum reply_code {
	REPLY_CODE_NONE,
	REPLY_CODE_IN_USE,
	REPLY_CODE_LOGIN_DELAY,
	REPLY_CODE_SYS_TEMP,
	REPLY_CODE_SYS_PERM,
	REPLY_CODE_AUTH,
};

struct reply {
	enum reply_status status;
	enum reply_code code;
	const char *text; /* what follows the status, within the line; with the code's brackets */
	size_t text_len;
};

/* Decodes one status line, as reply_line() cuts it. */
struct reply reply_decode(const char *line, size_t len);

/* A line of LIST: "number octets", blanks as they come (L5), a negative size counts as 0 (L1). */
bool reply_decode_list(const char *line, size_t len, uint32_t *number_r, uint64_t *octets_r);

/*
 * A line of UIDL: "number unique-id". The id is opaque octets, pointing into `line`; it may be empty and
 * may hold blanks (L4). false where the number is absurd, the id holds a NUL or is over POP3_MAX_UID.
 */
bool reply_decode_uidl(const char *line, size_t len, uint32_t *number_r, const char **uid_r,
		       size_t *uid_len_r);

enum capa_sasl {
	CAPA_SASL_PLAIN = 1 << 0,
	CAPA_SASL_LOGIN = 1 << 1,
	CAPA_SASL_CRAM_MD5 = 1 << 2,
	CAPA_SASL_SCRAM_SHA_1 = 1 << 3,
	CAPA_SASL_SCRAM_SHA_256 = 1 << 4,
	CAPA_SASL_XOAUTH2 = 1 << 5,
};

/* What CAPA said, RFC 2449. All false where it was refused. */
struct capa {
	bool answered; /* the server knows CAPA */
	bool user, top, uidl, stls, pipelining;
	bool expire_0;        /* EXPIRE 0: what was retrieved may go at QUIT (S5) */
	uint32_t login_delay; /* seconds; 0: none */
	unsigned sasl;        /* of enum capa_sasl */
};

/* Adds one line of a CAPA reply; unknown words are ignored (S18). */
void capa_add(struct capa *capa, const char *line, size_t len);

/* The bit of a SASL mechanism's name, in any case; 0: unknown. */
unsigned capa_sasl_bit(const char *name, size_t len);
