/* SPDX-License-Identifier: MIT */
/*
 * The commands about a mount that stands: they speak to its daemon through the file system itself, with
 * fsync of the root and the extended attributes of the root. Each returns the exit status.
 */
#pragma once
#include <stdbool.h>
#include <sys/ioctl.h>

/* On the root: asks for new mail and waits until the listing has come. Holds no lock of the directory. */
#define CONTROL_REFRESH _IO('3', 1)

int control_commit(const char *mountpoint);
int control_unmount(const char *mountpoint);
int control_refresh(const char *mountpoint);
int control_status(const char *mountpoint, bool json);
