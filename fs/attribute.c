/* SPDX-License-Identifier: MIT */
#include "fs/attribute.h"

#include <stdio.h>
#include <time.h>

/* snprintf's result, as the length of what is there. */
static int fit(int n, size_t size)
{
	return n < 0 ? -1 : (size_t)n >= size ? (int)size - 1 : n;
}

int attribute_text(char *value, size_t size, const char *text)
{
	return text[0] ? fit(snprintf(value, size, "%s", text), size) : -1;
}

int attribute_number(char *value, size_t size, uint64_t number)
{
	return fit(snprintf(value, size, "%llu", (unsigned long long)number), size);
}

int attribute_time(char *value, size_t size, int64_t seconds)
{
	time_t time = (time_t)seconds;
	struct tm tm;

	if (seconds == 0 || !gmtime_r(&time, &tm))
		return -1;
	return (int)strftime(value, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
