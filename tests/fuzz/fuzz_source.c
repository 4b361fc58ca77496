/* SPDX-License-Identifier: MIT */
/* SOURCE, and templates of file names. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fs/name.h"
#include "fs/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	char *text = malloc(len + 1), name[NAME_SIZE];
	const struct envelope envelope = { .from_name = "A", .from_addr = "a@x", .subject = "s" };
	struct source source;
	struct pop3_why why;

	memcpy(text, octets, len);
	text[len] = '\0';
	if (source_parse(text, &source, &why))
		assert(source.host[0] && !strchr(source.host, '@'));
	if (!name_check_template(text)) {
		name_make(text, &envelope, 0, "key", 0, name);
		assert(strlen(name) < NAME_SIZE && !strchr(name, '/'));
	}
	free(text);
	return 0;
}
