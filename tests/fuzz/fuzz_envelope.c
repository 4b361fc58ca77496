/* SPDX-License-Identifier: MIT */
/* A header of any kind: its envelope, and the file name made of that. */
#include <assert.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "cache/envelope.h"
#include "fs/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	static int ready;
	struct envelope *envelope;
	char name[NAME_SIZE];
	int64_t mtime, ctime;

	if (!ready++)
		envelope_init();
	envelope = envelope_parse((const char *)octets, len);
	assert(g_utf8_validate(envelope->subject, -1, NULL) && g_utf8_validate(envelope->from, -1, NULL));
	envelope_times(envelope, 1795162320, &mtime, &ctime);
	name_make("%Y-%m-%d_%H%M_%f_%a_%s", envelope, mtime, "key", len % 2 ? 6 : 0, name);
	assert(strlen(name) < NAME_SIZE && g_utf8_validate(name, -1, NULL) && !strpbrk(name, "/ \n\r\t\033"));
	assert(name[0] != '.' && name[0] != '-' && strcmp(name + strlen(name) - 4, ".eml") == 0);
	free(envelope);
	return 0;
}
