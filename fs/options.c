/* SPDX-License-Identifier: MIT */
#include "fs/options.h"

#include <errno.h>
#include <getopt.h>
#include <glib.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/name.h"

#define DEFAULT_PATH "%Y-%m-%d_%H%M_%f_%s"
#define DEFAULT_TIMEOUT_MS 30000
#define DEFAULT_IDLE_MS 30000
#define DEFAULT_REFRESH_MS 60000
#define DEFAULT_CACHE_SIZE (UINT64_C(2) << 30)
#define PORT_TLS 995
#define PORT_STLS 110

/* Sets one option; NULL: done, else what is wrong with the value. */
typedef const char *set_fn(struct options *options, const char *value, size_t offset);

static const char *set_string(struct options *options, const char *value, size_t offset)
{
	char **field = (char **)((char *)options + offset);

	if (!value[0])
		return "it is empty";
	free(*field);
	*field = strdup(value);
	return *field ? NULL : "out of memory";
}

/* A file: made absolute, because the daemon changes its directory. */
static const char *set_path(struct options *options, const char *value, size_t offset)
{
	char *absolute = value[0] ? g_canonicalize_filename(value, NULL) : NULL;
	const char *wrong = absolute ? set_string(options, absolute, offset) : "it is empty";

	g_free(absolute);
	return wrong;
}

/* Seconds, with a fraction if need be, as milliseconds. */
static const char *set_seconds(struct options *options, const char *value, size_t offset)
{
	char *end;
	double seconds = g_ascii_strtod(value, &end);

	if (end == value || *end || !(seconds >= 0.001 && seconds <= 86400))
		return "it takes seconds, from 0.001 to 86400";
	*(int *)((char *)options + offset) = (int)(seconds * 1000);
	return NULL;
}

static const char *set_auth(struct options *options, const char *value, size_t offset)
{
	(void)offset;
	return auth_method_from_name(value, &options->auth)
		       ? NULL
		       : "it takes auto, user, apop, plain, login, cram-md5, scram-sha-1, scram-sha-256 or xoauth2";
}

/* The place of a value among names; false: it is none of them. The enums of the options are in this order. */
static bool choose(const char *value, const char *const *names, unsigned *choice_r)
{
	for (unsigned i = 0; names[i]; i++) {
		if (strcmp(value, names[i]) == 0) {
			*choice_r = i;
			return true;
		}
	}
	return false;
}

static const char *set_tls(struct options *options, const char *value, size_t offset)
{
	static const char *const names[] = { "on", "starttls", "off", NULL };

	(void)offset;
	return choose(value, names, &options->source.security) ? NULL : "it takes on, starttls or off";
}

static const char *set_pipelining(struct options *options, const char *value, size_t offset)
{
	static const char *const names[] = { "auto", "on", "off", NULL };

	(void)offset;
	return choose(value, names, &options->pipelining) ? NULL : "it takes auto, on or off";
}

static const char *set_prefetch(struct options *options, const char *value, size_t offset)
{
	static const char *const names[] = { "auto", "all", "off", NULL };

	(void)offset;
	return choose(value, names, &options->prefetch) ? NULL : "it takes auto, all or off";
}

static const char *set_cache(struct options *options, const char *value, size_t offset)
{
	static const char *const names[] = { "disk", "memory", NULL };

	(void)offset;
	return choose(value, names, &options->cache) ? NULL : "it takes disk or memory";
}

/* Octets; K, M, G or T behind the number multiplies by powers of 1024. */
static const char *set_size(struct options *options, const char *value, size_t offset)
{
	static const char units[] = "KMGT";
	char *end;
	guint64 number = g_ascii_strtoull(value, &end, 10);
	const char *unit = *end ? strchr(units, g_ascii_toupper(*end)) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (!g_ascii_isdigit(value[0]) || (*end && !unit) || (unit && end[1]) || number > (UINT64_MAX >> 1) >> shift)
		return "it takes a number of octets, as 500M or 2G";
	*(uint64_t *)((char *)options + offset) = number << shift;
	return NULL;
}

static const char *set_eol(struct options *options, const char *value, size_t offset)
{
	static const char *const names[] = { "lf", "crlf", NULL };

	(void)offset;
	return choose(value, names, &options->eol) ? NULL : "it takes lf or crlf";
}

static const char *set_template(struct options *options, const char *value, size_t offset)
{
	const char *wrong = name_check_template(value);

	return wrong ? wrong : set_string(options, value, offset);
}

static const char *set_id(struct options *options, const char *value, size_t offset)
{
	char *end;
	unsigned long id = strtoul(value, &end, 10);

	if (!g_ascii_isdigit(value[0]) || *end || id >= UINT32_MAX)
		return "it takes a number";
	*(uint32_t *)((char *)options + offset) = (uint32_t)id;
	return NULL;
}

static const char *set_umask(struct options *options, const char *value, size_t offset)
{
	char *end;
	unsigned long mask = strtoul(value, &end, 8);

	(void)offset;
	if (!g_ascii_isdigit(value[0]) || *end || mask > 0777)
		return "it takes an octal number, from 0 to 777";
	options->umask = (mode_t)mask;
	return NULL;
}

_Static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t), "set_id");

#define FIELD(name) offsetof(struct options, name)

static const struct option_row {
	const char *name, *value, *help;
	set_fn *set;
	size_t offset;
} rows[] = {
	{ "user", "NAME", "login name, where SOURCE has none", set_string, FIELD(user) },
	{ "password_file", "FILE", "first line is the password; nobody else may read it", set_path, FIELD(password_file) },
	{ "password_command", "CMD", "first line of its output is the password, asked at each login", set_string, FIELD(password_command) },
	{ "auth", "METHOD", "auto, user, apop, plain, login, cram-md5, scram-sha-1,\nscram-sha-256 or xoauth2 (auto)", set_auth, 0 },
	{ "tls", "MODE", "on, starttls or off (by scheme)", set_tls, 0 },
	{ "tls_ca", "PATH", "trust these CAs (PEM file or directory), not the system's", set_path, FIELD(tls_ca) },
	{ "tls_fingerprint", "HEX", "trust only the certificate with this SHA-256 fingerprint", set_string, FIELD(tls_fingerprint) },
	{ "tls_cert", "FILE", "certificate to show to the server (PEM)", set_path, FIELD(tls_cert) },
	{ "tls_key", "FILE", "its key (PEM; default: in tls_cert)", set_path, FIELD(tls_key) },
	{ "timeout", "SECONDS", "longest wait for one reply (30)", set_seconds, FIELD(timeout_ms) },
	{ "idle", "SECONDS", "end a session that is not used for this long (30)", set_seconds, FIELD(idle_ms) },
	{ "refresh", "SECONDS", "age from which opening the directory looks for new mail (60)", set_seconds, FIELD(refresh_ms) },
	{ "prefetch", "MODE", "auto reads ahead, all downloads everything, off (auto)", set_prefetch, 0 },
	{ "pipelining", "MODE", "auto, on or off: several commands on the way at once (auto)", set_pipelining, 0 },
	{ "cache", "WHERE", "disk, or memory to leave nothing behind (disk)", set_cache, 0 },
	{ "cache_dir", "DIR", "what is remembered from mount to mount ($XDG_CACHE_HOME/pop3fs)", set_path, FIELD(cache_dir) },
	{ "cache_size", "OCTETS", "the most of bodies in the cache, as 500M or 2G (2G)", set_size, FIELD(cache_size) },
	{ "path", "TEMPLATE", "file names (" DEFAULT_PATH ")", set_template, FIELD(path) },
	{ "eol", "KIND", "lf, or crlf as on the wire (lf)", set_eol, 0 },
	{ "uid", "N", "owner of the files (who mounts)", set_id, FIELD(uid) },
	{ "gid", "N", "group of the files (who mounts)", set_id, FIELD(gid) },
	{ "umask", "OCTAL", "permissions to take away (077)", set_umask, 0 },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static bool set_option(struct options *options, const char *name, const char *value, struct pop3_why *why)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		const char *wrong;

		if (strcmp(name, rows[i].name) != 0)
			continue;
		wrong = rows[i].set(options, value, rows[i].offset);
		if (wrong)
			pop3_fail(why, POP3_E_LOCAL, "%s=%s: %s", name, value, wrong);
		return !wrong;
	}
	pop3_fail(why, POP3_E_LOCAL, "%s: no such option (pop3fs --help)", name);
	return false;
}

/* Options of the kernel and of libfuse, which go there as they are; others are refused by name. */
static bool is_fuse_option(const char *option)
{
	static const char *const names[] = { "ro",    "rw",     "allow_other", "allow_root", "nodev",  "dev",
					     "nosuid", "suid",  "noexec",      "exec",       "noatime", "atime",
					     "sync",  "async",  "dirsync",     "default_permissions" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(option, names[i]) == 0)
			return true;
	return strncmp(option, "max_read=", 9) == 0 || strncmp(option, "context=", 8) == 0;
}

/* What mount(8) and fstab may leave in the list and what is not ours to act upon. */
static bool is_mount_option(const char *option)
{
	static const char *const names[] = { "defaults", "auto", "noauto", "nofail", "_netdev", "users", "nouser",
					     "user", "relatime", "nodiratime" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(option, names[i]) == 0)
			return true;
	return strncmp(option, "x-", 2) == 0 || strncmp(option, "comment=", 8) == 0;
}

static bool add_fuse_option(struct options *options, const char *option, struct pop3_why *why)
{
	char *joined;
	int n = options->fuse ? asprintf(&joined, "%s,%s", options->fuse, option) : asprintf(&joined, "%s", option);

	if (n < 0) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return false;
	}
	free(options->fuse);
	options->fuse = joined;
	return true;
}

static bool set_one(struct options *options, char *option, struct pop3_why *why)
{
	char *equals = strchr(option, '=');

	if (is_fuse_option(option))
		return add_fuse_option(options, option, why);
	if (is_mount_option(option))
		return true;
	if (!equals) {
		for (size_t i = 0; i < N_ROWS; i++)
			if (strcmp(option, rows[i].name) == 0) {
				pop3_fail(why, POP3_E_LOCAL, "%s: it takes a value (%s=%s)", option, option, rows[i].value);
				return false;
			}
		return set_option(options, option, "", why);
	}
	*equals = '\0';
	return set_option(options, option, equals + 1, why);
}

/* "a=b,c": a comma within a value is written "\,". */
static bool set_list(struct options *options, const char *list, struct pop3_why *why)
{
	char *copy = strdup(list), *from = copy, *to = copy, *begin = copy;
	bool ok = copy != NULL;

	if (!ok)
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
	while (ok) {
		bool last = *from == '\0', end = last || *from == ',';

		if (*from == '\\' && from[1] == ',')
			from++;
		if (end)
			*to = '\0';
		else
			*to = *from;
		if (end && to > begin)
			ok = set_one(options, begin, why);
		if (last)
			break;
		to++;
		from++;
		if (end)
			begin = to;
	}
	free(copy);
	return ok;
}

static char *default_cache_dir(void)
{
	const char *home = getenv("HOME"), *xdg = getenv("XDG_CACHE_HOME");
	char *dir = NULL;
	int n;

	if (xdg && xdg[0] == '/')
		n = asprintf(&dir, "%s/pop3fs", xdg);
	else if (!home && geteuid() == 0)
		n = asprintf(&dir, "/var/cache/pop3fs");
	else /* without HOME as the user database has it: nobody else may write there, as in /tmp */
		n = asprintf(&dir, "%s/.cache/pop3fs", g_get_home_dir());
	return n < 0 ? NULL : dir;
}

static char *configuration_file(void)
{
	const char *home = getenv("HOME"), *xdg = getenv("XDG_CONFIG_HOME");

	if (xdg && xdg[0] == '/')
		return g_build_filename(xdg, "pop3fs", "config", NULL);
	if (home && home[0] == '/')
		return g_build_filename(home, ".config", "pop3fs", "config", NULL);
	return g_strdup("/etc/pop3fs/config");
}

/* Sets every option of an account's group; its `source` becomes the source. */
static bool use_group(struct options *options, GKeyFile *file, const char *group, struct pop3_why *why)
{
	char **keys = g_key_file_get_keys(file, group, NULL, NULL);
	bool ok = true, source = false;

	for (char **key = keys; ok && *key; key++) {
		char *value = g_key_file_get_string(file, group, *key, NULL);

		if (!value) {
			pop3_fail(why, POP3_E_LOCAL, "%s: its value cannot be read", *key);
			ok = false;
		} else if (strcmp(*key, "source") == 0) {
			struct source found;

			ok = source_parse(value, &found, why);
			if (ok && found.kind == SOURCE_ACCOUNT) {
				pop3_fail(why, POP3_E_LOCAL, "source=%s: no server", value);
				ok = false;
			}
			source = ok;
			if (ok)
				options->source = found;
		}
		g_free(value);
	}
	if (ok && !source) {
		pop3_fail(why, POP3_E_LOCAL, "it has no source=");
		ok = false;
	}
	for (char **key = keys; ok && *key; key++) {
		char *value = g_key_file_get_string(file, group, *key, NULL);

		if (strcmp(*key, "options") == 0)
			ok = set_list(options, value, why);
		else if (strcmp(*key, "source") != 0)
			ok = set_option(options, *key, value, why);
		g_free(value);
	}
	g_strfreev(keys);
	return ok;
}

/* SOURCE is the name of an account in the configuration file. */
static bool read_account(struct options *options, struct pop3_why *why)
{
	const char *name = options->source_text;
	char *path = configuration_file();
	GKeyFile *file = g_key_file_new();
	GError *error = NULL;
	struct pop3_why cause;
	bool ok = false;

	if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error))
		pop3_fail(why, POP3_E_LOCAL, "SOURCE \"%s\" is no server, and %s: %s", name, path, error->message);
	else if (!g_key_file_has_group(file, name))
		pop3_fail(why, POP3_E_LOCAL, "SOURCE \"%s\" is no server, and %s has no account [%s]", name, path, name);
	else if (!use_group(options, file, name, &cause))
		pop3_fail(why, POP3_E_LOCAL, "%s: [%s]: %s", path, name, cause.text);
	else
		ok = true;
	g_clear_error(&error);
	g_key_file_free(file);
	g_free(path);
	return ok;
}

static bool read_source(struct options *options, const char *lists[], size_t n_lists, struct pop3_why *why)
{
	bool ok = source_parse(options->source_text, &options->source, why);

	if (ok && options->source.kind == SOURCE_ACCOUNT)
		ok = read_account(options, why);
	for (size_t i = 0; ok && i < n_lists; i++)
		ok = set_list(options, lists[i], why);
	if (ok && options->source.kind == SOURCE_ADDRESS)
		source_find_host(&options->source);
	if (ok && options->source.port == 0)
		options->source.port = options->source.security == ACCOUNT_TLS ? PORT_TLS : PORT_STLS;
	if (ok && !options->user && set_string(options, options->source.user, FIELD(user))) {
		pop3_fail(why, POP3_E_LOCAL, "SOURCE \"%s\": no user name (user@host, or -o user=)", options->source_text);
		ok = false;
	}
	if (ok && options->password_file && options->password_command) {
		pop3_fail(why, POP3_E_LOCAL, "password_file= and password_command= exclude each other");
		ok = false;
	}
	return ok;
}

/* Commands as long options: their value is COMMAND_BASE and the command. */
#define COMMAND_BASE 256
enum { LONG_JSON = 512, LONG_FORCE };

static const struct option long_options[] = {
	{ "unmount", no_argument, NULL, COMMAND_BASE + COMMAND_UNMOUNT },
	{ "commit", no_argument, NULL, COMMAND_BASE + COMMAND_COMMIT },
	{ "refresh", no_argument, NULL, COMMAND_BASE + COMMAND_REFRESH },
	{ "status", no_argument, NULL, COMMAND_BASE + COMMAND_STATUS },
	{ "json", no_argument, NULL, LONG_JSON },
	{ "cache-info", no_argument, NULL, COMMAND_BASE + COMMAND_CACHE_INFO },
	{ "cache-clear", no_argument, NULL, COMMAND_BASE + COMMAND_CACHE_CLEAR },
	{ "force", no_argument, NULL, LONG_FORCE },
	{ "help", no_argument, NULL, COMMAND_BASE + COMMAND_HELP },
	{ "version", no_argument, NULL, COMMAND_BASE + COMMAND_VERSION },
	{ 0 },
};

/* The operands of each command: SOURCE, MOUNTPOINT, both or none. */
static bool read_operands(struct options *options, int argc, char **argv, struct pop3_why *why)
{
	const enum command command = options->command;
	bool cache = command == COMMAND_CACHE_INFO || command == COMMAND_CACHE_CLEAR;
	int wanted = command == COMMAND_MOUNT ? 2 : cache ? 0 : 1, given = argc - optind;

	if (given != wanted && !(command == COMMAND_CACHE_CLEAR && given == 1)) {
		pop3_fail(why, POP3_E_LOCAL, "%s (pop3fs --help)",
			  wanted == 2				 ? "it takes SOURCE and MOUNTPOINT"
			  : wanted == 1				 ? "it takes one MOUNTPOINT"
			  : command == COMMAND_CACHE_CLEAR ? "it takes one SOURCE or none"
								 : "it takes no operand");
		return false;
	}
	if (given > 0 && (wanted == 2 || cache) && !(options->source_text = strdup(argv[optind])))
		return false;
	if (cache)
		return true;
	if (set_path(options, argv[argc - 1], FIELD(mountpoint)) && argv[argc - 1][0] == '\0')
		pop3_fail(why, POP3_E_LOCAL, "MOUNTPOINT is empty");
	return options->mountpoint != NULL;
}

/* One option of the command line; false: *why says what is wrong. */
static bool read_option(struct options *options, int option, const char *text, struct pop3_why *why)
{
	switch (option) {
	case 'd':
		options->debug = options->foreground = true;
		break;
	case 'f':
		options->foreground = true;
		break;
	case 'h':
		options->command = COMMAND_HELP;
		break;
	case 'V':
		options->command = COMMAND_VERSION;
		break;
	case LONG_JSON:
		options->json = true;
		break;
	case LONG_FORCE:
		options->force = true;
		break;
	case ':':
	case '?':
		pop3_fail(why, POP3_E_LOCAL, "%s: %s (pop3fs --help)", text,
			  option == ':' ? "it takes a value" : "no such option");
		return false;
	default:
		options->command = (enum command)(option - COMMAND_BASE);
	}
	return true;
}

/* What belongs together with one command only. */
static bool check_command(const struct options *options, struct pop3_why *why)
{
	const char *wrong = options->json && options->command != COMMAND_STATUS	     ? "--json: only with --status"
			    : options->force && options->command != COMMAND_CACHE_CLEAR ? "--force: only with --cache-clear"
											 : NULL;

	if (wrong)
		pop3_fail(why, POP3_E_LOCAL, "%s (pop3fs --help)", wrong);
	return !wrong;
}

bool options_read(int argc, char **argv, struct options *options_r, struct pop3_why *why)
{
	const char **lists = calloc((size_t)argc + 1, sizeof(*lists));
	size_t n_lists = 0;
	bool ok;
	int c;

	*options_r = (struct options){ .timeout_ms = DEFAULT_TIMEOUT_MS,
				       .idle_ms = DEFAULT_IDLE_MS,
				       .refresh_ms = DEFAULT_REFRESH_MS,
				       .uid = getuid(),
				       .gid = getgid(),
				       .umask = 077,
				       .cache_size = DEFAULT_CACHE_SIZE,
				       .path = strdup(DEFAULT_PATH),
				       .cache_dir = default_cache_dir() };
	ok = lists && options_r->path && options_r->cache_dir;
	why->text[0] = '\0';
	opterr = 0;
	while (ok && (c = getopt_long(argc, argv, ":o:fdhV", long_options, NULL)) != -1)
		if (c == 'o')
			lists[n_lists++] = optarg;
		else
			ok = read_option(options_r, c, argv[optind - 1], why);
	if (ok && options_r->command != COMMAND_HELP && options_r->command != COMMAND_VERSION)
		ok = check_command(options_r, why) && read_operands(options_r, argc, argv, why);
	if (ok && options_r->source_text)
		ok = read_source(options_r, lists, n_lists, why);
	else
		for (size_t i = 0; ok && i < n_lists; i++)
			ok = set_list(options_r, lists[i], why);
	free(lists);
	if (!ok && !why->text[0])
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
	return ok;
}

void options_free(struct options *options)
{
	free(options->source_text);
	free(options->mountpoint);
	free(options->user);
	free(options->password_file);
	free(options->password_command);
	free(options->tls_ca);
	free(options->tls_fingerprint);
	free(options->tls_cert);
	free(options->tls_key);
	free(options->path);
	free(options->cache_dir);
	free(options->fuse);
}

void options_print_help(void)
{
	printf("usage: pop3fs [-df] [-o OPTION[,OPTION...]] SOURCE MOUNTPOINT\n"
	       "       pop3fs --unmount MOUNTPOINT   commit the deletions, unmount, report\n"
	       "       pop3fs --commit MOUNTPOINT    delete on the server now, stay mounted\n"
	       "       pop3fs --refresh MOUNTPOINT   look for new mail now\n"
	       "       pop3fs --status [--json] MOUNTPOINT\n"
	       "                                     server, TLS, messages, pending deletions\n"
	       "       pop3fs --cache-info           what is remembered, of which account\n"
	       "       pop3fs --cache-clear [--force] [SOURCE]\n"
	       "                                     forget it; with --force also pending deletions\n"
	       "       pop3fs --help | --version\n"
	       "\n"
	       "SOURCE is pop3s://USER@HOST[:PORT], pop3://USER@HOST[:PORT] (STLS), an e-mail\n"
	       "address, or the name of an account in the configuration file.\n"
	       "\n"
	       "  -f   stay in the foreground, log to standard error\n"
	       "  -d   show the POP3 dialogue, without secrets (implies -f)\n"
	       "\n"
	       "Options for -o:\n");
	for (size_t i = 0; i < N_ROWS; i++) {
		const char *help = rows[i].help, *end;
		char column[64];

		snprintf(column, sizeof(column), "%s=%s", rows[i].name, rows[i].value);
		for (; (end = strchrnul(help, '\n')); help = end + 1) {
			printf("  %-22s %.*s\n", column, (int)(end - help), help);
			column[0] = '\0';
			if (!*end)
				break;
		}
	}
	printf("  ro, allow_other, ...   as for every file system: see mount(8) and mount.fuse3(8)\n");
}
