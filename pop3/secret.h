/* SPDX-License-Identifier: MIT */
/* A password or an access token in memory: wiped when it is let go. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct secret {
	char *text; /* NUL-terminated; NULL: none */
	size_t len;
};

/* Takes a copy; false without memory. */
bool secret_set(struct secret *secret, const char *text, size_t len);

/* Wipes and frees; the secret is none afterwards. */
void secret_wipe(struct secret *secret);

/* CR, LF or NUL in what is sent as part of a line would begin a line of its own (QUIRKS S13). */
bool secret_fits_a_line(const char *text, size_t len);
