/* SPDX-License-Identifier: MIT */
/* A certificate for localhost and 127.0.0.1 that is its own CA, made on the spot. */
#pragma once
#include <openssl/ssl.h>

/* A server's context. Where the files do not exist they are made; both NULL: nothing is written. */
SSL_CTX *certificate_context(const char *cert_path, const char *key_path);
