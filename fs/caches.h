/* SPDX-License-Identifier: MIT */
/* --cache-info and --cache-clear: what is remembered of which account. Exit statuses; they print for people. */
#pragma once
#include "fs/options.h"

int caches_info(const struct options *options);

/* Of one account, in both forms of line ends, or of all; not where deletions are pending, unless forced. */
int caches_clear(const struct options *options);
