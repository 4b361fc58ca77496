/* SPDX-License-Identifier: MIT */
/* Values of extended attributes: written without their NUL, cut to `size`; the length, or -1: not there. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int attribute_text(char *value, size_t size, const char *text); /* "" is not there */
int attribute_number(char *value, size_t size, uint64_t number);
int attribute_time(char *value, size_t size, int64_t seconds); /* as 2026-11-20T08:30:12Z; 0 is not there */
