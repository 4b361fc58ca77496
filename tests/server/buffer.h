/* SPDX-License-Identifier: MIT */
/* Octets that grow, for a reply of the test server. Out of memory ends the process: it is a test's. */
#pragma once
#include <stddef.h>

struct buffer {
	char *octets;
	size_t len, room;
};

void buffer_add(struct buffer *buffer, const char *octets, size_t len);
__attribute__((format(printf, 2, 3))) void buffer_printf(struct buffer *buffer, const char *fmt, ...);
void buffer_clear(struct buffer *buffer);
