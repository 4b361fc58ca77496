/* SPDX-License-Identifier: MIT */
/* The server's side of a login, by GNU SASL; XOAUTH2 and APOP by hand. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define SASL_APOP_STAMP "<1896.697170952@localhost>"

enum sasl_result { SASL_GOOD, SASL_BAD, SASL_CANCELLED };

/* Sends a challenge (base64) and reads the answer; false: the connection has ended. */
typedef bool sasl_ask_fn(void *ctx, const char *challenge, char *line, size_t size);

/* `arg`: what follows AUTH: the mechanism and perhaps an initial response. */
enum sasl_result sasl_serve(const char *arg, const char *user, const char *password, sasl_ask_fn *ask, void *ctx);

/* `arg`: what follows APOP. */
bool sasl_check_apop(const char *arg, const char *user, const char *password);
