/* SPDX-License-Identifier: MIT */
/* Mounting, and the daemon's life until the unmount. */
#pragma once
#include "fs/options.h"

/*
 * Reads the listing, mounts, and returns the exit status: to the shell when the mount stands (its daemon
 * goes on), or with -f when it has ended. A failure was said on standard error.
 */
int mount_run(const struct options *options);
