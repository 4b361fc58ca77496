/* SPDX-License-Identifier: MIT */
/* Header fields, envelopes, file names, SOURCE and the options: what is decoded from text. */
#include <criterion/criterion.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/envelope.h"
#include "cache/header.h"
#include "fs/name.h"
#include "fs/options.h"

Test(header, fields)
{
	static const char text[] = "Subject: one\n two\n\tthree  \r\nX-Empty:\nFrom : a@b\nno field\n: none\n"
				   " stray fold\nLast: z";
	static const struct { const char *name, *value; } rows[] = {
		{ "subject", "one two three" }, { "x-empty", "" }, { "from", "a@b" }, { "last", "z" },
	};
	const char *at = text;
	size_t left = sizeof(text) - 1;
	struct header_field field;
	char value[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert(header_next(&at, &left, &field), "%s", rows[i].name);
		cr_assert(header_is(&field, rows[i].name), "%s", rows[i].name);
		cr_assert_str_eq(header_unfold(&field, value, sizeof(value)), rows[i].value);
	}
	cr_assert_not(header_next(&at, &left, &field));
}

Test(header, ends_at_the_empty_line)
{
	const char *at = "A: 1\n\nB: 2\n";
	size_t left = strlen(at);
	struct header_field field;

	cr_assert(header_next(&at, &left, &field));
	cr_assert_not(header_next(&at, &left, &field));
}

Test(header, digest)
{
	static const char *const same[] = { "A: 1\nB: 2\n\nbody", "A: 1\r\nB: 2\r\n\r\nother", "A: 1\nB: 2\n\n" };
	struct header_digest first = { 0 }, none = { 0 };

	header_digest_add(&first, same[0], strlen(same[0]));
	for (size_t i = 0; i < 3; i++) {
		struct header_digest pieces = { 0 };

		for (size_t k = 0; k < strlen(same[i]); k++)
			header_digest_add(&pieces, same[i] + k, 1);
		cr_assert_eq(pieces.value, first.value, "%zu", i);
	}
	header_digest_add(&none, "A: 2\nB: 2\n\n", 12);
	cr_assert_neq(none.value, first.value);
}

Test(header, cuts_long_values)
{
	const char *at = "A: 123456789";
	size_t left = strlen(at);
	struct header_field field;
	char value[5];

	cr_assert(header_next(&at, &left, &field));
	cr_assert_str_eq(header_unfold(&field, value, sizeof(value)), "1234");
}

static struct envelope *parse(const char *text)
{
	envelope_init();
	return envelope_parse(text, strlen(text));
}

Test(envelope, decodes)
{
	struct envelope *envelope = parse("Received: from x by y;\n\tFri, 20 Nov 2026 09:13:00 +0100\n"
					  "Received: from w; Fri, 20 Nov 2026 01:00:00 +0000\n"
					  "From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <jm@example.org>, b@example.org\n"
					  "To: \"A, B\" <ab@example.org>\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?=\n folded\n"
					  "Date: Fri, 20 Nov 2026 09:12:00 +0100\nMessage-ID: <1@x>\nSubject: second\n\nbody");

	cr_assert_str_eq(envelope->from_name, "Jürgen Müller");
	cr_assert_str_eq(envelope->from_addr, "jm@example.org");
	cr_assert(strstr(envelope->from, "b@example.org"));
	cr_assert_str_eq(envelope->to, "\"A, B\" <ab@example.org>");
	cr_assert_str_eq(envelope->subject, "Grüße folded");
	cr_assert_str_eq(envelope->message_id, "<1@x>");
	cr_assert_eq(envelope->date, 1795162320);
	cr_assert_eq(envelope->received, 1795162380);
	free(envelope);
}

Test(envelope, survives_what_is_no_header)
{
	static const char *const texts[] = { "", "\n", "From:\nTo:\nSubject:\nDate:\nReceived:\n", "From: <<<>>>\nDate: x\n",
					     "Subject: \xff\xfe\x80\n", "From: =?x?y?z?=\nTo: ,,;\n", "Received: no date" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct envelope *envelope = parse(texts[i]);

		cr_assert(g_utf8_validate(envelope->subject, -1, NULL) && g_utf8_validate(envelope->from, -1, NULL));
		cr_assert_eq(envelope->date, ENVELOPE_NO_TIME);
		free(envelope);
	}
}

Test(envelope, times)
{
	static const int64_t now = 1795162320, old = 1000, day = 86400, none = ENVELOPE_NO_TIME;
	const struct { int64_t date, received, mtime, ctime; } rows[] = {
		{ now - 5, now - 3, now - 5, now - 3 }, { none, now, now, now },     { now, none, now, now },
		{ old, now, now, now },                 { now + 2 * day, now, now, now }, { none, none, 0, 0 },
		{ now + day, now, now + day, now },     { now, now + 2 * day, now, now },
	};
	int64_t mtime, ctime;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct envelope envelope = { .date = rows[i].date, .received = rows[i].received };

		envelope_times(&envelope, now, &mtime, &ctime);
		cr_assert(mtime == rows[i].mtime && ctime == rows[i].ctime, "row %zu", i);
	}
	envelope_times(NULL, now, &mtime, &ctime);
	cr_assert(mtime == 0 && ctime == 0);
}

#define TEMPLATE "%Y-%m-%d_%H%M_%f_%s"
#define TIME 1795162320 /* 2026-11-20 08:12 UTC */

static const char *name_of(const char *template, const char *from, const char *addr, const char *subject,
			   unsigned extra)
{
	const struct envelope envelope = { .from_name = from, .from_addr = addr, .subject = subject };
	static char name[NAME_SIZE];

	name_make(template, &envelope, TIME, "key", extra, name);
	cr_assert(g_utf8_validate(name, -1, NULL));
	return name;
}

Test(name, for_people_and_scripts)
{
	static const struct { const char *from, *addr, *subject, *name; } rows[] = {
		{ "Alice Martin", "a@x", "Re: budget", "2026-11-20_0812_Alice-Martin_Re-budget.eml" },
		{ "", "alice@example.org", "hello", "2026-11-20_0812_alice@example.org_hello.eml" },
		{ "", "", "", "2026-11-20_0812_unknown_no-subject.eml" },
		{ "Jürgen", "a@x", "Grüße  /  ../..", "2026-11-20_0812_Jürgen_Grüße-..-...eml" },
		{ "a\tb\nc", "a@x", "x\033[1my", "2026-11-20_0812_a-b-c_x-1my.eml" },
		{ "A", "a@x", "\u202egnp.exe", "2026-11-20_0812_A_gnp.exe.eml" },
		{ "A", "a@x", "a\u00a0b\u3000c\u200bd", "2026-11-20_0812_A_a-b-cd.eml" },
		{ "A", "a@x", "$(rm -rf ~) `x` 'y' \"z\" *?!", "2026-11-20_0812_A_rm-rf-x-y-z.eml" },
		{ "A_B", "a@x", "c_d", "2026-11-20_0812_A-B_c-d.eml" },
		{ "日本", "a@x", "テスト", "2026-11-20_0812_日本_テスト.eml" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_str_eq(name_of(TEMPLATE, rows[i].from, rows[i].addr, rows[i].subject, 0), rows[i].name);
}

Test(name, templates)
{
	cr_assert_str_eq(name_of("%s", "A", "a@x", "..hidden", 0), "hidden.eml");
	cr_assert_str_eq(name_of("%s", "A", "a@x", "-rf", 0), "rf.eml");
	cr_assert_str_eq(name_of("-%%-%a", "A", "a@x", "", 0), "%-a@x.eml");
	cr_assert_str_eq(name_of("a b", "A", "a@x", "", 0), "a-b.eml");
	cr_assert_str_eq(name_of("%H%M%S", "A", "a@x", "", 0), "081200.eml");
	cr_assert_str_eq(name_of("x", "A", "a@x", "", 6), "x_2c70e1.eml");
	cr_assert_str_eq(name_of("%i", "A", "a@x", "", 0), "2c70e1.eml");
	cr_assert_str_eq(name_of(".", "A", "a@x", "", 0), "message.eml");
	cr_assert_null(name_check_template(TEMPLATE));
	cr_assert_null(name_check_template("%%%a%i%S"));
	cr_assert_not_null(name_check_template(""));
	cr_assert_not_null(name_check_template("a/b"));
	cr_assert_not_null(name_check_template("%q"));
	cr_assert_not_null(name_check_template("%"));
	cr_assert_not_null(name_check_template("\xff"));
}

Test(name, is_cut_at_whole_characters)
{
	char subject[2000] = "", template[400];

	for (int i = 0; i < 240; i++)
		strcat(subject, "ü€");
	for (unsigned extra = 0; extra <= 64; extra += 8) {
		const char *name = name_of(TEMPLATE, subject, "a@x", subject, extra);

		cr_assert_leq(strlen(name), 255);
		cr_assert_str_eq(name + strlen(name) - 4, ".eml");
	}
	for (size_t n = 250; n < 260; n++) {
		memset(template, 'x', n);
		strcpy(template + n, "€€€");
		cr_assert_leq(strlen(name_of(template, "", "", "", 6)), 255);
	}
}

Test(name, without_an_envelope)
{
	char name[NAME_SIZE];

	name_make(TEMPLATE, NULL, 0, "../UID/1 2", 0, name);
	cr_assert_str_eq(name, "message_..-UID-1-2.eml");
	name_make(TEMPLATE, NULL, 0, "\xff", 0, name);
	cr_assert(g_utf8_validate(name, -1, NULL));
	name_make(TEMPLATE, NULL, 0, "", 0, name);
	cr_assert(strncmp(name, "message_e3b0c4", 14) == 0, "%s", name);
}

Test(source, forms)
{
	static const struct {
		const char *text;
		enum source_kind kind;
		enum account_security security;
		const char *user, *host;
		uint16_t port;
	} rows[] = {
		{ "pop3s://u@h", SOURCE_SERVER, ACCOUNT_TLS, "u", "h", 0 },
		{ "pop3s://u@h:1995/", SOURCE_SERVER, ACCOUNT_TLS, "u", "h", 1995 },
		{ "POP3://u@h:110", SOURCE_SERVER, ACCOUNT_STLS, "u", "h", 110 },
		{ "pop3s://me@example.org@pop.example.org", SOURCE_SERVER, ACCOUNT_TLS, "me@example.org", "pop.example.org", 0 },
		{ "pop3s://me%40x%2f@h", SOURCE_SERVER, ACCOUNT_TLS, "me@x/", "h", 0 },
		{ "pop3://u@[::1]:2110", SOURCE_SERVER, ACCOUNT_STLS, "u", "::1", 2110 },
		{ "pop3s://h", SOURCE_SERVER, ACCOUNT_TLS, "", "h", 0 },
		{ "u@h:995", SOURCE_SERVER, ACCOUNT_TLS, "u", "h", 995 },
		{ "me@example.org@h", SOURCE_SERVER, ACCOUNT_TLS, "me@example.org", "h", 0 },
		{ "me@example.org", SOURCE_ADDRESS, ACCOUNT_TLS, "me@example.org", "example.org", 0 },
		{ "work", SOURCE_ACCOUNT, ACCOUNT_TLS, "", "work", 0 },
	};
	static const char *const bad[] = { "", "imap://u@h", "pop3s://u@", "pop3s://@h", "u@h:0", "u@h:70000", "u@h:x", "u@h:",
					   "pop3s://u:secret@h", "pop3s://u@h/INBOX", "pop3s://u@[::1", "pop3s://u@[::1]x",
					   "pop3s://%00@h", "pop3s://u@h:123456789" };
	struct source source;
	struct pop3_why why;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert(source_parse(rows[i].text, &source, &why), "%s: %s", rows[i].text, why.text);
		cr_assert(source.kind == rows[i].kind && source.security == rows[i].security && source.port == rows[i].port,
			  "%s", rows[i].text);
		cr_assert_str_eq(source.user, rows[i].user);
		cr_assert_str_eq(source.host, rows[i].host);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(source_parse(bad[i], &source, &why), "%s", bad[i]);
}

Test(source, finds_the_server_of_an_address)
{
	struct source source;
	struct pop3_why why;

	cr_assert(source_parse("me@gmail.com", &source, &why));
	source_find_host(&source);
	cr_assert_str_eq(source.host, "pop.gmail.com");
	cr_assert_str_eq(source.user, "me@gmail.com");
	cr_assert(source_parse("me@nosuch.invalid", &source, &why));
	source_find_host(&source);
	cr_assert_str_eq(source.host, "nosuch.invalid");
	cr_assert_str_eq(source.user, "me");
}

#define ARGV(...) ((const char *[]){ "pop3fs", __VA_ARGS__, NULL })

static bool read_options(const char **argv, struct options *options, struct pop3_why *why)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	optind = 0;
	return options_read(argc, (char **)(uintptr_t)argv, options, why);
}

Test(options, of_a_mount)
{
	struct options options;
	struct pop3_why why;

	cr_assert(read_options(ARGV("-d", "-o", "timeout=2.5,idle=7,ro,eol=crlf,umask=022,path=%s", "-o",
				    "password_command=echo a\\,b,uid=5,gid=6,auth=plain,_netdev,x-systemd.automount,noauto",
				    "pop3://u@h", "/mnt"), &options, &why), "%s", why.text);
	cr_assert(options.command == COMMAND_MOUNT && options.foreground && options.debug);
	cr_assert(options.timeout_ms == 2500 && options.idle_ms == 7000 && options.eol == EOL_CRLF && options.umask == 022);
	cr_assert(options.uid == 5 && options.gid == 6 && options.auth == AUTH_PLAIN);
	cr_assert_str_eq(options.fuse, "ro");
	cr_assert_str_eq(options.password_command, "echo a,b");
	cr_assert_str_eq(options.path, "%s");
	cr_assert_str_eq(options.user, "u");
	cr_assert_eq(options.source.port, 110);
	options_free(&options);
	cr_assert(read_options(ARGV("u@h:1", "/mnt", "-o", "tls=starttls,user=other"), &options, &why), "%s", why.text);
	cr_assert_eq(options.source.security, ACCOUNT_STLS);
	cr_assert_str_eq(options.user, "other");
	options_free(&options);
}

Test(options, of_commands)
{
	static const struct { const char *argument; enum command command; } rows[] = {
		{ "--unmount", COMMAND_UNMOUNT }, { "--commit", COMMAND_COMMIT }, { "--status", COMMAND_STATUS },
	};
	struct options options;
	struct pop3_why why;

	for (size_t i = 0; i < 3; i++) {
		cr_assert(read_options(ARGV(rows[i].argument, "/mnt"), &options, &why));
		cr_assert_eq(options.command, rows[i].command);
		cr_assert_str_eq(options.mountpoint, "/mnt");
		options_free(&options);
	}
	cr_assert(read_options(ARGV("--help"), &options, &why) && options.command == COMMAND_HELP);
	options_free(&options);
	cr_assert(read_options(ARGV("-V"), &options, &why) && options.command == COMMAND_VERSION);
	options_free(&options);
}

Test(options, bad_ones_are_named)
{
	static const struct { const char *list, *named; } rows[] = {
		{ "timeout=0", "timeout=0" },   { "timeout=x", "timeout=x" },     { "timeout=", "timeout=" },
		{ "timeout", "timeout" },       { "idle=-1", "idle=-1" },         { "nonsense", "nonsense" },
		{ "nonsense=1", "nonsense" },   { "auth=kerberos", "auth=kerberos" }, { "tls=maybe", "tls=maybe" },
		{ "eol=cr", "eol=cr" },         { "umask=999", "umask=999" },     { "uid=root", "uid=root" },
		{ "path=a/b", "path=a/b" },     { "path=%q", "path=%q" },         { "user=", "user=" },
		{ "tls_ca=", "tls_ca=" },       { "password_file=a,password_command=b", "password_file=" },
		{ "refresh=x", "refresh=x" },
	};
	struct options options;
	struct pop3_why why;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_not(read_options(ARGV("-o", rows[i].list, "u@h:1", "/mnt"), &options, &why), "%s", rows[i].list);
		cr_assert(strstr(why.text, rows[i].named), "%s: %s", rows[i].list, why.text);
		options_free(&options);
	}
	cr_assert_not(read_options(ARGV("--nonsense"), &options, &why));
	options_free(&options);
	cr_assert_not(read_options(ARGV("-o"), &options, &why));
	options_free(&options);
	cr_assert_not(read_options(ARGV("u@h:1"), &options, &why));
	options_free(&options);
	cr_assert_not(read_options(ARGV("--status"), &options, &why));
	options_free(&options);
	cr_assert_not(read_options(ARGV("pop3s://h", "/mnt"), &options, &why));
	cr_assert(strstr(why.text, "no user name"), "%s", why.text);
	options_free(&options);
}

static void write_configuration(const char *text)
{
	char path[256], dir[] = "/tmp/pop3fs-config-XXXXXX";
	FILE *file;

	cr_assert(mkdtemp(dir));
	setenv("XDG_CONFIG_HOME", dir, 1);
	snprintf(path, sizeof(path), "%s/pop3fs", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/pop3fs/config", dir);
	file = fopen(path, "w");
	cr_assert(file);
	fputs(text, file);
	fclose(file);
}

static void remove_configuration(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf %s", getenv("XDG_CONFIG_HOME"));
	cr_expect_eq(system(command), 0);
}

Test(options, of_an_account)
{
	struct options options;
	struct pop3_why why;

	write_configuration("[work]\nsource = pop3s://me@example.org@pop.example.org:1995\npassword_command = pass work\n"
			    "timeout = 5\noptions = allow_other,idle=9\n[bad]\nsource=pop3s://u@h\nnonsense=1\n"
			    "[none]\nidle=1\n[loop]\nsource=work\n");
	cr_assert(read_options(ARGV("-o", "idle=11", "work", "/mnt"), &options, &why), "%s", why.text);
	cr_assert_str_eq(options.user, "me@example.org");
	cr_assert_str_eq(options.source.host, "pop.example.org");
	cr_assert_eq(options.source.port, 1995);
	cr_assert_eq(options.timeout_ms, 5000);
	cr_assert_eq(options.idle_ms, 11000, "the command line overrides the file");
	cr_assert_str_eq(options.fuse, "allow_other");
	options_free(&options);
	cr_assert_not(read_options(ARGV("bad", "/mnt"), &options, &why));
	cr_assert(strstr(why.text, "nonsense") && strstr(why.text, "[bad]"), "%s", why.text);
	options_free(&options);
	cr_assert_not(read_options(ARGV("none", "/mnt"), &options, &why));
	cr_assert(strstr(why.text, "no source="), "%s", why.text);
	options_free(&options);
	cr_assert_not(read_options(ARGV("loop", "/mnt"), &options, &why));
	options_free(&options);
	cr_assert_not(read_options(ARGV("missing", "/mnt"), &options, &why));
	cr_assert(strstr(why.text, "has no account [missing]"), "%s", why.text);
	options_free(&options);
	remove_configuration();
	cr_assert_not(read_options(ARGV("work", "/mnt"), &options, &why));
	options_free(&options);
}
