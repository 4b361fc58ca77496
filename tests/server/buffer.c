/* SPDX-License-Identifier: MIT */
#include "tests/server/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_add(struct buffer *buffer, const char *octets, size_t len)
{
	if (buffer->len + len > buffer->room) {
		buffer->room = 2 * (buffer->len + len);
		buffer->octets = realloc(buffer->octets, buffer->room);
		if (!buffer->octets)
			abort();
	}
	if (len > 0)
		memcpy(buffer->octets + buffer->len, octets, len);
	buffer->len += len;
}

void buffer_printf(struct buffer *buffer, const char *fmt, ...)
{
	char text[4096];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	buffer_add(buffer, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

void buffer_clear(struct buffer *buffer)
{
	free(buffer->octets);
	*buffer = (struct buffer){ 0 };
}
