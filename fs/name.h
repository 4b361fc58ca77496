/* SPDX-License-Identifier: MIT */
/*
 * File names for people and scripts (DESIGN 10), from a template. Pure. A name has no blank, slash, control
 * or direction-override character, does not begin with a dot or a dash, is valid UTF-8 cut at whole
 * characters, and ends in ".eml".
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "cache/envelope.h"

/* With its NUL: NAME_MAX and one. */
#define NAME_SIZE 256

/*
 * Checks a template: % and one of Y m d H M S (the time, UTC), f (the sender's name or address), a (the
 * sender's address), s (the subject), i (six hex digits of the unique-id's hash), or %. NULL: it is good;
 * else what is wrong with it.
 */
const char *name_check_template(const char *template);

/*
 * The name of a message; `time` in seconds since the epoch. Without an envelope it is made of the
 * unique-id. `extra` hex digits of the unique-id's hash (at most 64) go before ".eml": 0, or more where the
 * shorter name is taken.
 */
void name_make(const char *template, const struct envelope *envelope, int64_t time, const char *key,
	       unsigned extra, char name_r[NAME_SIZE]);
