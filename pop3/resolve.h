/* SPDX-License-Identifier: MIT */
/* A host's addresses, waited for no longer than wanted. Any thread. */
#pragma once
#include <netdb.h>
#include <stdint.h>

#include "pop3/err.h"

/*
 * *list_r is to be freed with freeaddrinfo(). POP3_E_RESOLVE: there are none; POP3_E_TIMEOUT: the name service has not
 * answered in so many milliseconds; POP3_E_STOPPED: cancel_fd became readable; POP3_E_MEMORY.
 */
__attribute__((warn_unused_result))
enum pop3_err resolve(const char *host, uint16_t port, int timeout_ms, int cancel_fd, struct addrinfo **list_r,
		      struct pop3_why *why);
