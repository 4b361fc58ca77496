/* SPDX-License-Identifier: MIT */
/*
 * A process of our own that makes and removes names on our mount point, so that those who watch the directory hear of
 * mail that comes and goes (DESIGN 12). A thread of the daemon must not do it: were the daemon killed while it waits
 * for the daemon's answer, it would wait for ever, and with it everybody who uses the mount, because a thread that
 * waits in the kernel keeps /dev/fuse open.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

struct announcer;

/* Forks, so before there are threads. The path is absolute. NULL: it cannot. */
struct announcer *announcer_new(const char *mountpoint);

/* Ends the process. Takes NULL. */
void announcer_free(struct announcer *announcer);

/* Whose requests to the mount are the announcements. */
pid_t announcer_pid(const struct announcer *announcer);

/*
 * Calls mknod() or unlink() for a name in the root of the mount that is this device, and waits for its end. false:
 * nobody has heard. One thread at a time.
 */
bool announcer_tell(struct announcer *announcer, dev_t mount, const char *name, bool added);
