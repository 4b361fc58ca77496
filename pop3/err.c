/* SPDX-License-Identifier: MIT */
#include "pop3/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int pop3_errno(enum pop3_err err)
{
	switch (err) {
	case POP3_OK:
		return 0;
	case POP3_E_RESOLVE:
	case POP3_E_REFUSED:
	case POP3_E_UNREACHABLE:
		return -EHOSTUNREACH;
	case POP3_E_TIMEOUT:
		return -ETIMEDOUT;
	case POP3_E_AUTH:
	case POP3_E_SECRET:
		return -EACCES;
	case POP3_E_IN_USE:
	case POP3_E_LOGIN_DELAY:
		return -EBUSY;
	case POP3_E_TEMPORARY:
		return -EAGAIN;
	case POP3_E_GONE:
		return -ENOENT;
	case POP3_E_MEMORY:
		return -ENOMEM;
	case POP3_E_LIMIT:
		return -EFBIG;
	case POP3_E_STOPPED:
		return -ENOTCONN;
	case POP3_E_CLOSED:
	case POP3_E_TLS:
	case POP3_E_PROTOCOL:
	case POP3_E_SERVER:
	case POP3_E_LOCAL:
		break;
	}
	return -EIO;
}

enum pop3_err pop3_fail(struct pop3_why *why, enum pop3_err err, const char *fmt, ...)
{
	va_list args;

	if (why) {
		va_start(args, fmt);
		vsnprintf(why->text, sizeof(why->text), fmt, args);
		va_end(args);
	}
	return err;
}

char *pop3_escape(char *dst, size_t dst_size, const char *src, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)src[i];
		bool plain = c >= 0x20 && c != 0x7f && c != '\\';

		if (out + (plain ? 1 : 4) >= dst_size)
			break;
		if (plain)
			dst[out++] = (char)c;
		else
			out += (size_t)snprintf(dst + out, dst_size - out, "\\x%02x", c);
	}
	dst[out] = '\0';
	return dst;
}
