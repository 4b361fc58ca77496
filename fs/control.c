/* SPDX-License-Identifier: MIT */
#include "fs/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/status.h"
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

/* Ends the line with what became of the newest commit; false: there was none. */
static bool print_commit(FILE *to, int dir)
{
	char time[VALUE_MAX], deleted[VALUE_MAX], gone[VALUE_MAX], kept[VALUE_MAX], error[VALUE_MAX];

	if (!attribute(dir, "user.pop3.commit", time)[0])
		return false;
	attribute(dir, "user.pop3.commit-error", error);
	fprintf(to, "%s: %s deleted, %s already gone, %s still pending%s%s\n", time,
		attribute(dir, "user.pop3.commit-deleted", deleted), attribute(dir, "user.pop3.commit-gone", gone),
		attribute(dir, "user.pop3.commit-pending", kept), error[0] ? ": " : "", error);
	return true;
}

/* Commits and reports; 0, or 1 where something was not deleted. */
static int commit(int dir, const char *mountpoint)
{
	char pending[VALUE_MAX];
	int err;

	attribute(dir, "user.pop3.pending", pending);
	err = fsync(dir) == 0 ? 0 : errno;
	if (err) {
		fprintf(stderr, "pop3fs: %s: ", mountpoint);
		if (!print_commit(stderr, dir))
			fprintf(stderr, "%s\n", strerror(err));
		print_pending(dir);
	} else if (strcmp(pending, "0") == 0 || !print_commit(stdout, dir)) {
		printf("nothing to delete\n");
	}
	return err ? 1 : 0;
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
		complain(mountpoint, attribute(dir, "user.pop3.error", value)[0] ? value : strerror(err));
	else
		printf("messages: %s\n", attribute(dir, "user.pop3.messages", value));
	close(dir);
	return err ? 1 : 0;
}

/* A line for people, with a second value between two texts; not where the first one is not there. */
struct line {
	const char *label, *first, *before, *second, *after;
};

static void print_line(int dir, const struct line *line)
{
	char value[VALUE_MAX];

	if (!attribute(dir, line->first, value)[0])
		return;
	printf("%-14s %s", line->label, value);
	if (line->second)
		printf("%s%s%s", line->before, attribute(dir, line->second, value), line->after);
	printf("\n");
}

static void print_status(int dir)
{
	static const struct line lines[] = {
		{ .label = "server", .first = "user.pop3.server" },
		{ .label = "user", .first = "user.pop3.user" },
		{ "session", "user.pop3.session", " (", "user.pop3.logins", " logins)" },
		{ .label = "offline since", .first = "user.pop3.offline-since" },
		{ "messages", "user.pop3.messages", " (", "user.pop3.octets", " octets)" },
		{ .label = "listed", .first = "user.pop3.listed" },
		{ .label = "to be deleted", .first = "user.pop3.pending" },
		{ "fetched", "user.pop3.cached", " (", "user.pop3.cached-octets", " octets)" },
		{ "fetched ahead", "user.pop3.ahead", " (", "user.pop3.ahead-unused", " not opened since)" },
		{ "cache", "user.pop3.cache", " (", "user.pop3.cache-size", " octets at most)" },
		{ "last error", "user.pop3.error-time", ": ", "user.pop3.error", "" },
		{ .label = "daemon", .first = "user.pop3.pid" },
		{ .label = "version", .first = "user.pop3.version" },
	};
	char value[VALUE_MAX];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		print_line(dir, &lines[i]);
	if (attribute(dir, "user.pop3.commit", value)[0]) {
		printf("%-14s ", "last commit");
		print_commit(stdout, dir);
	}
}

/* A string as JSON has it; SQLite knows how. false: out of memory. */
static bool print_json_string(sqlite3_stmt *quote, const char *text)
{
	bool ok = sqlite3_bind_text(quote, 1, text, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(quote) == SQLITE_ROW;

	if (ok)
		printf("%s", (const char *)sqlite3_column_text(quote, 0));
	sqlite3_reset(quote);
	return ok;
}

/* All facts, one a member, under their names without the prefix. */
static bool print_json(int dir)
{
	char value[VALUE_MAX];
	const char *comma = "{";
	sqlite3_stmt *quote = NULL;
	sqlite3 *db = NULL;
	bool ok = sqlite3_open(":memory:", &db) == SQLITE_OK &&
		  sqlite3_prepare_v2(db, "SELECT json_quote(?1)", -1, &quote, NULL) == SQLITE_OK;

	for (size_t i = 0; ok && i < status_count(); i++) {
		if (!attribute(dir, status_name(i), value)[0])
			continue;
		printf("%s\n  \"%s\": ", comma, status_name(i) + strlen(STATUS_PREFIX));
		if (status_is_number(i))
			printf("%s", value);
		else
			ok = print_json_string(quote, value);
		comma = ",";
	}
	printf("\n}\n");
	sqlite3_finalize(quote);
	sqlite3_close(db);
	return ok;
}

int control_status(const char *mountpoint, bool json)
{
	bool dead, ok = true;
	int dir = open_mount(mountpoint, &dead);

	if (dir < 0)
		return 1;
	if (json)
		ok = print_json(dir);
	else
		print_status(dir);
	close(dir);
	return ok ? 0 : complain(mountpoint, "out of memory");
}
