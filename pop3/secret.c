/* SPDX-License-Identifier: MIT */
#include "pop3/secret.h"

#include <stdlib.h>
#include <string.h>

bool secret_set(struct secret *secret, const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	secret_wipe(secret);
	secret->text = copy;
	secret->len = len;
	return true;
}

void secret_wipe(struct secret *secret)
{
	if (secret->text)
		explicit_bzero(secret->text, secret->len);
	free(secret->text);
	secret->text = NULL;
	secret->len = 0;
}

bool secret_fits_a_line(const char *text, size_t len)
{
	return !memchr(text, '\r', len) && !memchr(text, '\n', len) && !memchr(text, '\0', len);
}
