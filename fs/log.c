/* SPDX-License-Identifier: MIT */
#include "fs/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>

static atomic_bool use_syslog;

void log_to_syslog(void)
{
	openlog("pop3fs", LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

__attribute__((format(printf, 2, 0))) static void write_line(int priority, const char *fmt, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), fmt, args);
	if (atomic_load(&use_syslog))
		syslog(priority, "%s", line);
	else
		fprintf(stderr, "pop3fs: %s\n", line);
}

void log_info(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_INFO, fmt, args);
	va_end(args);
}

void log_warning(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_WARNING, fmt, args);
	va_end(args);
}

void log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_ERR, fmt, args);
	va_end(args);
}
