/* SPDX-License-Identifier: MIT */
/*
 * The commands about a mount that stands: they speak to its daemon through the file system itself, with
 * fsync of the root and the extended attributes of the root. Each returns the exit status.
 */
#pragma once

int control_commit(const char *mountpoint);
int control_unmount(const char *mountpoint);
int control_status(const char *mountpoint);
