/* SPDX-License-Identifier: MIT */
/* One session's snapshot of a Maildir: names in order, wire sizes, marks of deletion. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/server/buffer.h"

struct maildrop_message {
	char *path, *uid;
	uint64_t octets; /* on the wire, with CRLF */
	bool deleted;
};

struct maildrop {
	struct maildrop_message *messages;
	size_t count;
};

/* false: the directory cannot be read. */
bool maildrop_open(struct maildrop *maildrop, const char *maildir);
void maildrop_close(struct maildrop *maildrop);

/* Adds a message as a multi-line response: CRLF line ends, dots stuffed, the final dot. lines: -1 all. */
bool maildrop_write(const struct maildrop_message *message, long lines, struct buffer *out);

/* Removes what is marked, at most `most`; how many there were. */
size_t maildrop_expunge(struct maildrop *maildrop, size_t most);
