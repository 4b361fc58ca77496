/* SPDX-License-Identifier: MIT */
/* Where the password comes from: the terminal (asked once, before the mount), a file, or a command. */
#pragma once
#include "fs/options.h"

struct secret_source {
	const struct options *options;
	struct secret asked; /* from the terminal */
};

/* Asks on the terminal, without echo, where neither a file nor a command is given. false with *why. */
__attribute__((warn_unused_result))
bool secret_source_open(struct secret_source *source, const struct options *options, struct pop3_why *why);

/* struct account's secret(): the password for one login. Files and commands are read again each time. */
__attribute__((warn_unused_result))
enum pop3_err secret_source_get(struct secret_source *source, int cancel_fd, struct secret *secret_r,
				struct pop3_why *why);

/* Wipes what was asked. */
void secret_source_close(struct secret_source *source);
