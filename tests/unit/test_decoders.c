/* SPDX-License-Identifier: MIT */
/* Status lines, listing lines, CAPA, dot-unstuffing: whole, split at every offset, and what comes after. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "pop3/dot.h"
#include "pop3/err.h"
#include "pop3/limits.h"
#include "pop3/reply.h"

Test(reply, lines_end_in_lf_or_crlf)
{
	static const struct { const char *text; bool complete; size_t line, used; } rows[] = {
		{ "+OK\r\nrest", true, 3, 5 }, { "+OK\nrest", true, 3, 4 }, { "+OK\r", false, 0, 0 },
		{ "+OK", false, 0, 0 },        { "\n", true, 0, 1 },        { "a\r\r\n", true, 2, 4 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t line = 0, used = 0;

		cr_assert_eq(reply_line(rows[i].text, strlen(rows[i].text), &line, &used), rows[i].complete);
		cr_assert_eq(line, rows[i].line, "row %zu: %zu", i, line);
		cr_assert_eq(used, rows[i].used, "row %zu: %zu", i, used);
	}
}

Test(reply, f7_success_is_ok_alone)
{
	static const struct { const char *line; enum reply_status status; const char *text; } rows[] = {
		{ "+OK", REPLY_OK, "" },           { "+OK fine", REPLY_OK, "fine" },
		{ "-ERR", REPLY_ERR, "" },         { "-ERR no", REPLY_ERR, "no" },
		{ "+", REPLY_CONTINUE, "" },       { "+ abc=", REPLY_CONTINUE, "abc=" },
		{ "+OKAY", REPLY_BAD, "+OKAY" },   { "+ERR", REPLY_BAD, "+ERR" },
		{ "-ERRno", REPLY_BAD, "-ERRno" }, { "hello", REPLY_BAD, "hello" },
		{ "", REPLY_BAD, "" },             { "+ok", REPLY_BAD, "+ok" },
		{ " +OK", REPLY_BAD, " +OK" },     { "-", REPLY_BAD, "-" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reply reply = reply_decode(rows[i].line, strlen(rows[i].line));

		cr_assert_eq(reply.status, rows[i].status, "%s", rows[i].line);
		cr_assert(reply.text_len == strlen(rows[i].text) && memcmp(reply.text, rows[i].text, reply.text_len) == 0,
			  "%s", rows[i].line);
	}
}

Test(reply, s3_response_codes)
{
	static const struct { const char *line; enum reply_code code; } rows[] = {
		{ "-ERR [IN-USE] busy", REPLY_CODE_IN_USE },     { "-ERR [in-use] busy", REPLY_CODE_IN_USE },
		{ "-ERR [LOGIN-DELAY] later", REPLY_CODE_LOGIN_DELAY }, { "-ERR [SYS/TEMP] x", REPLY_CODE_SYS_TEMP },
		{ "-ERR [SYS/PERM] x", REPLY_CODE_SYS_PERM },    { "-ERR [AUTH] x", REPLY_CODE_AUTH },
		{ "-ERR [AUTH", REPLY_CODE_NONE },               { "-ERR [UNKNOWN/THING] x", REPLY_CODE_NONE },
		{ "-ERR AUTH] x", REPLY_CODE_NONE },             { "-ERR []", REPLY_CODE_NONE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_eq(reply_decode(rows[i].line, strlen(rows[i].line)).code, rows[i].code, "%s", rows[i].line);
}

Test(reply, list_lines)
{
	static const struct { const char *line; bool good; uint32_t number; uint64_t octets; } rows[] = {
		{ "1 120", true, 1, 120 },          { "  7   99  ", true, 7, 99 },
		{ "1\t5", true, 1, 5 },             { "3 -4", true, 3, 0 },
		{ "2000000000 1", true, 2000000000, 1 }, { "2000000001 1", false, 0, 0 },
		{ "1000000000000 1", false, 0, 0 }, { "0 1", false, 0, 0 },
		{ "x 1", false, 0, 0 },             { "1", false, 0, 0 },
		{ "1 x", false, 0, 0 },             { "1 99999999999999999999", false, 0, 0 },
		{ "", false, 0, 0 },                { "-1 4", false, 0, 0 },
		{ "1 120 extra", true, 1, 120 },    { "1 -", false, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t number = 0;
		uint64_t octets = 0;

		cr_assert_eq(reply_decode_list(rows[i].line, strlen(rows[i].line), &number, &octets), rows[i].good, "%s",
			     rows[i].line);
		cr_assert(!rows[i].good || (number == rows[i].number && octets == rows[i].octets), "%s", rows[i].line);
	}
}

Test(reply, l4_l5_uidl_lines_are_opaque)
{
	static const struct { const char *line; bool good; uint32_t number; const char *uid; } rows[] = {
		{ "1 abc", true, 1, "abc" },           { " 2    x y", true, 2, "x y" },
		{ "3 ../../etc/passwd", true, 3, "../../etc/passwd" }, { "4 %s%n", true, 4, "%s%n" },
		{ "5 ", true, 5, "" },                 { "6", true, 6, "" },
		{ "7 \xff\xfe", true, 7, "\xff\xfe" }, { "8 tail ", true, 8, "tail " },
		{ "x abc", false, 0, "" },             { "1000000000000 a", false, 0, "" },
	};
	char line[POP3_MAX_UID + 20];
	const char *uid;
	uint32_t number;
	size_t len;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(reply_decode_uidl(rows[i].line, strlen(rows[i].line), &number, &uid, &len), rows[i].good, "%s",
			     rows[i].line);
		cr_assert(!rows[i].good || (number == rows[i].number && len == strlen(rows[i].uid) &&
					    memcmp(uid, rows[i].uid, len) == 0), "%s", rows[i].line);
	}
	memset(line, 'u', sizeof(line));
	memcpy(line, "1 ", 2);
	cr_assert(reply_decode_uidl(line, 2 + POP3_MAX_UID, &number, &uid, &len));
	cr_assert_not(reply_decode_uidl(line, 3 + POP3_MAX_UID, &number, &uid, &len));
	cr_assert_not(reply_decode_uidl("1 a\0b", 5, &number, &uid, &len));
}

Test(reply, s18_capabilities)
{
	static const char *const lines[] = { "USER", "top", "UIDL", "STLS", "PIPELINING", "EXPIRE 0 USER",
					     "LOGIN-DELAY 900 USER", "SASL PLAIN SCRAM-SHA-256 X-NEW", "XSOMETHING 1" };
	struct capa capa = { 0 }, odd = { 0 };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		capa_add(&capa, lines[i], strlen(lines[i]));
	cr_assert(capa.user && capa.top && capa.uidl && capa.stls && capa.pipelining && capa.expire_0);
	cr_assert_eq(capa.login_delay, 900);
	cr_assert_eq(capa.sasl, CAPA_SASL_PLAIN | CAPA_SASL_SCRAM_SHA_256);
	capa_add(&odd, "PIPELINE", 8);
	capa_add(&odd, "EXPIRENEVER", 11);
	capa_add(&odd, "EXPIRE NEVER", 12);
	capa_add(&odd, "LOGIN-DELAY x", 13);
	capa_add(&odd, "", 0);
	cr_assert(!odd.pipelining && !odd.expire_0 && odd.login_delay == 0);
}

/* A message as it comes, what follows it on the wire, and how it is to be shown. */
static const struct dot_row {
	const char *wire;
	size_t wire_len;
	const char *lf, *crlf;
	size_t lf_len, crlf_len;
	bool ends;
} dot_rows[] = {
#define ROW(wire, lf, crlf, ends) { wire, sizeof(wire) - 1, lf, crlf, sizeof(lf) - 1, sizeof(crlf) - 1, ends }
	ROW("a\r\nb\r\n.\r\n+OK", "a\nb\n", "a\r\nb\r\n", true),
	ROW(".\r\nnext", "", "", true),                                         /* F5: empty */
	ROW("a\n.\nb\r\n.\r\n", "a\n.\nb\n", "a\n.\nb\r\n", true),               /* F2 */
	ROW("a\n.\r\nb\r\n.\r\n", "a\n.\nb\n", "a\n.\r\nb\r\n", true),           /* F2 */
	ROW("..x\r\n.\r\n", ".x\n", ".x\r\n", true),
	ROW(".dot\r\n.\r\n", "dot\n", "dot\r\n", true),                          /* F3 */
	ROW("a\r\n..\r\n.\r\n", "a\n.\n", "a\r\n.\r\n", true),
	ROW("\r\r\n.\r\n", "\r\n", "\r\r\n", true),
	ROW("a\rb\r\n.\r\n", "a\rb\n", "a\rb\r\n", true),
	ROW("\0\xff\x80\r\n.\r\n", "\0\xff\x80\n", "\0\xff\x80\r\n", true),      /* F4 */
	ROW(".\rx\r\n.\r\n", "\rx\n", "\rx\r\n", true),
	ROW(".\r\r\n.\r\n", "\r\n", "\r\r\n", true),
	ROW(".\n.\r\n", "\n.\n", "\n.\r\n", false),
	ROW("glued.\r\n", "glued.\n", "glued.\r\n", false),                      /* F5 */
	ROW("a\r\n.\n", "a\n\n", "a\r\n\n", false),                              /* F6 */
};

static void decode_in_pieces(const struct dot_row *row, bool lf, size_t first, size_t piece)
{
	const char *expected = lf ? row->lf : row->crlf;
	size_t expected_len = lf ? row->lf_len : row->crlf_len, at = 0, got = 0;
	char out[128];
	struct dot dot;

	dot_init(&dot, lf);
	while (at < row->wire_len && dot.state != DOT_END) {
		size_t n = at == 0 && first ? first : piece, used;

		if (n > row->wire_len - at)
			n = row->wire_len - at;
		got += dot_decode(&dot, row->wire + at, n, &used, out + got);
		cr_assert(used == n || dot.state == DOT_END);
		at += used;
	}
	cr_assert_eq(dot.state == DOT_END, row->ends, "\"%s\"", row->wire);
	cr_assert(got == expected_len && memcmp(out, expected, got) == 0, "\"%s\" split at %zu", row->wire, first);
	if (row->ends) /* what follows the end is not touched */
		cr_assert(memcmp(row->wire + at - 3, ".\r\n", 3) == 0);
}

Test(dot, unstuffs_whole_and_in_pieces)
{
	for (size_t i = 0; i < sizeof(dot_rows) / sizeof(dot_rows[0]); i++) {
		for (int lf = 0; lf < 2; lf++) {
			decode_in_pieces(&dot_rows[i], lf, 0, dot_rows[i].wire_len);
			decode_in_pieces(&dot_rows[i], lf, 0, 1);
			for (size_t split = 1; split < dot_rows[i].wire_len; split++)
				decode_in_pieces(&dot_rows[i], lf, split, dot_rows[i].wire_len);
		}
	}
}

Test(err, server_text_is_shown_without_control_bytes)
{
	char text[32];

	cr_assert_str_eq(pop3_escape(text, sizeof(text), "a\033[1m\r\\\0b", 9), "a\\x1b[1m\\x0d\\x5c\\x00b");
	cr_assert_str_eq(pop3_escape(text, 6, "ab\ncd", 5), "ab");
	cr_assert_str_eq(pop3_escape(text, 5, "abcdef", 6), "abcd");
}

Test(err, every_kind_has_an_errno)
{
	cr_assert_eq(pop3_errno(POP3_OK), 0);
	for (int err = POP3_E_RESOLVE; err <= POP3_E_STOPPED; err++)
		cr_assert_lt(pop3_errno((enum pop3_err)err), 0);
}
