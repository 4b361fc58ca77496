/* SPDX-License-Identifier: MIT */
/* The log: standard error in the foreground and until the mount stands, then syslog. Any thread. */
#pragma once

/* Until log_to_syslog(), lines go to standard error, after "pop3fs: ". */
void log_to_syslog(void);

__attribute__((format(printf, 1, 2))) void log_info(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void log_warning(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void log_error(const char *fmt, ...);
