/* SPDX-License-Identifier: MIT */
#include "fs/announcer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/name.h"

struct announcer {
	pid_t pid;
	int socket;
};

/* What is asked of the process; the answer is an errno. */
struct announcement {
	dev_t mount;
	bool added;
	char name[NAME_SIZE];
};

/* The mount's root, so that nothing is ever made in what stands below or over it; -1: it is not there. */
static int open_root(const char *mountpoint, dev_t mount)
{
	int root = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statx found;

	if (root < 0)
		return -1;
	if (statx(root, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &found) == 0 &&
	    makedev(found.stx_dev_major, found.stx_dev_minor) == mount)
		return root;
	close(root);
	errno = ESTALE;
	return -1;
}

static int announce(const char *mountpoint, const struct announcement *announcement)
{
	int root = open_root(mountpoint, announcement->mount), err;

	if (root < 0)
		return errno;
	err = announcement->added ? mknodat(root, announcement->name, S_IFREG | 0600, 0)
				  : unlinkat(root, announcement->name, 0);
	err = err ? errno : 0;
	close(root);
	return err;
}

/* Keeps nothing of the program that started it: no descriptor, no terminal, no directory. */
static int leave_all_but(int socket)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	socket = dup2(socket, STDERR_FILENO + 1);
	close_range((unsigned)socket + 1, ~0U, 0);
	setsid();
	return chdir("/") == 0 ? socket : -1;
}

/* The process: until the daemon's end of the socket is closed. */
static void serve(const char *mountpoint, int socket)
{
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE };
	struct announcement announcement;

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_NAME, "pop3fs-announce");
	prctl(PR_SET_DUMPABLE, 0);
	socket = leave_all_but(socket);
	while (recv(socket, &announcement, sizeof(announcement), 0) == (ssize_t)sizeof(announcement)) {
		int err = announce(mountpoint, &announcement);

		if (send(socket, &err, sizeof(err), 0) < 0)
			break;
	}
	_exit(0);
}

struct announcer *announcer_new(const char *mountpoint)
{
	struct announcer *announcer = calloc(1, sizeof(*announcer));
	int sockets[2];

	if (!announcer || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
		free(announcer);
		return NULL;
	}
	announcer->socket = sockets[0];
	announcer->pid = fork();
	if (announcer->pid == 0)
		serve(mountpoint, sockets[1]);
	close(sockets[1]);
	if (announcer->pid > 0)
		return announcer;
	close(sockets[0]);
	free(announcer);
	return NULL;
}

void announcer_free(struct announcer *announcer)
{
	if (!announcer)
		return;
	close(announcer->socket);
	while (waitpid(announcer->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(announcer);
}

pid_t announcer_pid(const struct announcer *announcer)
{
	return announcer ? announcer->pid : -1;
}

bool announcer_tell(struct announcer *announcer, dev_t mount, const char *name, bool added)
{
	struct announcement announcement = { .mount = mount, .added = added };
	int err;

	if (!announcer || strlen(name) >= sizeof(announcement.name))
		return false;
	strcpy(announcement.name, name);
	if (send(announcer->socket, &announcement, sizeof(announcement), MSG_NOSIGNAL) < 0)
		return false;
	return recv(announcer->socket, &err, sizeof(err), 0) == (ssize_t)sizeof(err) && err == 0;
}
