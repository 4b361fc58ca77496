/* SPDX-License-Identifier: MIT */
#include "fs/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/tree.h"

#define VALUE_MAX 8192
/* So many messages that were not deleted are named; the others are counted. */
#define NAMED_MAX 20

extern char **environ;

static int complain(const char *mountpoint, const char *text)
{
	fprintf(stderr, "pop3fs: %s: %s\n", mountpoint, text);
	return 1;
}

/* The value of an attribute of the mount's root; "" where it is not there. */
static char *attribute(int dir, const char *name, char value[VALUE_MAX])
{
	ssize_t n = fgetxattr(dir, name, value, VALUE_MAX - 1);

	value[n > 0 ? n : 0] = '\0';
	return value;
}

/* The mount's root, opened; -1 after a complaint. *dead_r: nobody answers for the mount any more. */
static int open_mount(const char *mountpoint, bool *dead_r)
{
	char value[VALUE_MAX];
	int dir = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*dead_r = dir < 0 && errno == ENOTCONN;
	if (dir < 0) {
		complain(mountpoint, *dead_r ? "its daemon has died" : strerror(errno));
		return -1;
	}
	if (!attribute(dir, "user.pop3.version", value)[0]) {
		complain(mountpoint, "not a pop3fs mount");
		close(dir);
		return -1;
	}
	return dir;
}

/* Names what is still to be deleted. */
static void print_pending(int dir)
{
	int fd = openat(dir, TREE_DELETED_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	size_t count = 0;

	while (list && (entry = readdir(list)))
		if (entry->d_name[0] != '.' && ++count <= NAMED_MAX)
			fprintf(stderr, "  not deleted: %s\n", entry->d_name);
	if (count > NAMED_MAX)
		fprintf(stderr, "  and %zu more\n", count - NAMED_MAX);
	if (list)
		closedir(list);
}

/* Commits and reports; 0, or 1 where something was not deleted. */
static int commit(int dir, const char *mountpoint)
{
	char before[VALUE_MAX], after[VALUE_MAX], pending[VALUE_MAX];
	int err;

	attribute(dir, "user.pop3.last-commit", before);
	attribute(dir, "user.pop3.pending", pending);
	err = fsync(dir) == 0 ? 0 : errno;
	attribute(dir, "user.pop3.last-commit", after);
	if (err) {
		fprintf(stderr, "pop3fs: %s: %s\n", mountpoint, after[0] ? after : strerror(err));
		print_pending(dir);
		return 1;
	}
	if (strcmp(pending, "0") == 0)
		printf("nothing to delete\n");
	else
		printf("%s\n", after);
	return 0;
}

int control_commit(const char *mountpoint)
{
	bool dead;
	int dir = open_mount(mountpoint, &dead), status;

	if (dir < 0)
		return 1;
	status = commit(dir, mountpoint);
	close(dir);
	return status;
}

/* Unmounts: root by itself, others through fusermount3, which says itself what is wrong. */
static int unmount(const char *mountpoint, bool lazy)
{
	char name[] = "fusermount3", unmount_it[] = "-u", lazily[] = "-z", no_more[] = "--";
	char *const argv[] = { name, unmount_it, lazy ? lazily : no_more, (char *)(uintptr_t)mountpoint, NULL };
	int err, status = 0;
	pid_t pid;

	if (geteuid() == 0) {
		if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
			return 0;
		return complain(mountpoint, errno == EBUSY ? "in use, so not unmounted" : strerror(errno));
	}
	err = posix_spawnp(&pid, name, NULL, NULL, argv, environ);
	if (err)
		return complain(name, strerror(err));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static void wait_for_end(int pid_fd)
{
	struct pollfd fd = { .fd = pid_fd, .events = POLLIN };

	if (pid_fd < 0)
		return;
	while (poll(&fd, 1, -1) < 0 && errno == EINTR)
		;
	close(pid_fd);
}

int control_unmount(const char *mountpoint)
{
	char value[VALUE_MAX];
	int dir, pid_fd, status;
	bool dead;

	dir = open_mount(mountpoint, &dead);
	if (dir < 0) {
		if (dead && unmount(mountpoint, true) == 0)
			fprintf(stderr, "pop3fs: %s: unmounted; what was to be deleted is still on the server\n",
				mountpoint);
		return 1;
	}
	pid_fd = pidfd_open(atoi(attribute(dir, "user.pop3.pid", value)), 0);
	status = commit(dir, mountpoint);
	close(dir);
	if (unmount(mountpoint, false) != 0) {
		if (pid_fd >= 0)
			close(pid_fd);
		return 1;
	}
	wait_for_end(pid_fd);
	return status;
}

int control_refresh(const char *mountpoint)
{
	char value[VALUE_MAX];
	bool dead;
	int dir = open_mount(mountpoint, &dead), err;

	if (dir < 0)
		return 1;
	err = ioctl(dir, CONTROL_REFRESH) == 0 ? 0 : errno;
	if (err)
		complain(mountpoint, attribute(dir, "user.pop3.last-error", value)[0] ? value : strerror(err));
	else
		printf("messages: %s\n", attribute(dir, "user.pop3.messages", value));
	close(dir);
	return err ? 1 : 0;
}

int control_status(const char *mountpoint)
{
	static const struct {
		const char *label, *attribute;
	} lines[] = {
		{ "server", "user.pop3.server" },
		{ "user", "user.pop3.user" },
		{ "session", "user.pop3.session" },
		{ "messages", "user.pop3.messages" },
		{ "to be deleted", "user.pop3.pending" },
		{ "fetched", "user.pop3.cached" },
		{ "fetched ahead", "user.pop3.ahead" },
		{ "listed", "user.pop3.listed" },
		{ "last commit", "user.pop3.last-commit" },
		{ "last error", "user.pop3.last-error" },
		{ "daemon", "user.pop3.pid" },
		{ "version", "user.pop3.version" },
	};
	char value[VALUE_MAX];
	bool dead;
	int dir = open_mount(mountpoint, &dead);

	if (dir < 0)
		return 1;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (attribute(dir, lines[i].attribute, value)[0])
			printf("%-14s %s\n", lines[i].label, value);
	close(dir);
	return 0;
}
