/* SPDX-License-Identifier: MIT */
/*
 * The command line and the configuration file, as one set of options: defaults, then the account's group in
 * the file, then -o. One table (options.c) says which there are, and makes --help.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/source.h"
#include "pop3/link.h"

enum command {
	COMMAND_MOUNT,
	COMMAND_UNMOUNT,
	COMMAND_COMMIT,
	COMMAND_REFRESH,
	COMMAND_STATUS,
	COMMAND_CACHE_INFO,
	COMMAND_CACHE_CLEAR, /* of source_text, or of all where that is NULL */
	COMMAND_HELP,
	COMMAND_VERSION,
};

struct options {
	enum command command;
	bool foreground, debug;
	bool json, force; /* of --status; of --cache-clear */
	char *source_text, *mountpoint;
	struct source source;
	/* Strings are the options' own; NULL: not given. */
	char *user, *password_file, *password_command;
	char *tls_ca, *tls_fingerprint, *tls_cert, *tls_key;
	char *path, *cache_dir;
	char *fuse; /* what is left for libfuse: "ro,allow_other"; NULL: nothing */
	enum auth_method auth;
	int timeout_ms, idle_ms, refresh_ms;
	enum link_pipelining pipelining;
	enum { CACHE_DISK, CACHE_MEMORY } cache;
	uint64_t cache_size; /* octets */
	enum { EOL_LF, EOL_CRLF } eol;
	enum {
		PREFETCH_AUTO, /* read ahead of a reader */
		PREFETCH_ALL,  /* and download everything in idle time */
		PREFETCH_OFF,
	} prefetch;
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/*
 * Reads the command line (and the file, where SOURCE is an account's name). false: *why says what is wrong.
 * options_free() afterwards in both cases.
 */
__attribute__((warn_unused_result))
bool options_read(int argc, char **argv, struct options *options_r, struct pop3_why *why);
void options_free(struct options *options);

/* What --help prints. */
void options_print_help(void);
