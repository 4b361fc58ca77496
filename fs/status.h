/* SPDX-License-Identifier: MIT */
/*
 * The facts about a mount. The daemon has them as extended attributes of the mount's root, one fact each;
 * `pop3fs --status` reads them there. One table for both sides.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct fs;

#define STATUS_PREFIX "user.pop3."

size_t status_count(void);
const char *status_name(size_t i); /* with STATUS_PREFIX */
bool status_is_number(size_t i);

/* The value of fact i, not ended, at most `size` octets; -1: there is none now. In the daemon. */
int status_value(struct fs *fs, size_t i, char *value, size_t size);
