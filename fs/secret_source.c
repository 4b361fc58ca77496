/* SPDX-License-Identifier: MIT */
#include "fs/secret_source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "pop3/limits.h"

/* A password manager may ask a person. */
#define COMMAND_MS 120000
#define INTERRUPT_KEY 3

extern char **environ;

/* Takes the first line of what was read, without its end. */
static enum pop3_err take_line(const char *text, size_t len, const char *from, struct secret *secret_r,
			       struct pop3_why *why)
{
	const char *end = memchr(text, '\n', len);
	size_t n = end ? (size_t)(end - text) : len;

	if (n > 0 && text[n - 1] == '\r')
		n--;
	if (n == 0)
		return pop3_fail(why, POP3_E_SECRET, "%s: no password in its first line", from);
	if (n >= POP3_MAX_SECRET)
		return pop3_fail(why, POP3_E_SECRET, "%s: longer than %u octets", from, POP3_MAX_SECRET);
	return secret_set(secret_r, text, n) ? POP3_OK : pop3_fail(why, POP3_E_MEMORY, "out of memory");
}

/* Reads until the end, the first line's end, a full buffer, the deadline or a cancel; -1 with errno. */
static ssize_t read_line(int fd, int cancel_fd, char *buf, size_t size)
{
	int64_t end = transport_now_ms() + COMMAND_MS;
	size_t len = 0;

	while (len < size && !memchr(buf, '\n', len)) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN }, { .fd = cancel_fd, .events = POLLIN } };
		int64_t left = end - transport_now_ms();
		int ready = left > 0 ? poll(fds, 2, (int)left) : 0;
		bool cancelled = ready > 0 && fds[1].revents;
		ssize_t n = ready > 0 && !cancelled ? read(fd, buf + len, size - len) : -1;

		if (ready == 0 || cancelled)
			errno = cancelled ? ECANCELED : ETIMEDOUT;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

static enum pop3_err take_from_fd(int fd, int cancel_fd, const char *from, struct secret *secret_r, struct pop3_why *why)
{
	char buf[POP3_MAX_SECRET + 2] = "";
	ssize_t n = read_line(fd, cancel_fd, buf, sizeof(buf));
	enum pop3_err err = n < 0 ? pop3_fail(why, POP3_E_SECRET, "%s: %s", from, strerror(errno))
				  : take_line(buf, (size_t)n, from, secret_r, why);

	explicit_bzero(buf, sizeof(buf));
	return err;
}

static enum pop3_err from_file(const char *path, int cancel_fd, struct secret *secret_r, struct pop3_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum pop3_err err;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		err = pop3_fail(why, POP3_E_SECRET, "password_file=%s: %s", path, strerror(errno));
	else if (S_ISREG(st.st_mode) && (st.st_mode & 077))
		err = pop3_fail(why, POP3_E_SECRET, "password_file=%s: others can read it (chmod 600)", path);
	else
		err = take_from_fd(fd, cancel_fd, path, secret_r, why);
	if (fd >= 0)
		close(fd);
	return err;
}

/* Runs the command with its output in a pipe, and with the signals as a program expects them. */
static int spawn(const char *command, int output, pid_t *pid_r)
{
	char shell[] = "sh", run[] = "-c";
	char *const argv[] = { shell, run, (char *)(uintptr_t)command, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	err = posix_spawn(pid_r, "/bin/sh", &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

static enum pop3_err from_command(const char *command, int cancel_fd, struct secret *secret_r, struct pop3_why *why)
{
	int pipe_fds[2], err, status = 0;
	enum pop3_err got;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return pop3_fail(why, POP3_E_SECRET, "password_command: %s", strerror(errno));
	err = spawn(command, pipe_fds[1], &pid);
	close(pipe_fds[1]);
	if (err) {
		close(pipe_fds[0]);
		return pop3_fail(why, POP3_E_SECRET, "password_command: %s", strerror(err));
	}
	got = take_from_fd(pipe_fds[0], cancel_fd, "password_command", secret_r, why);
	close(pipe_fds[0]);
	if (got)
		kill(pid, SIGTERM);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
		secret_wipe(secret_r);
		return pop3_fail(why, POP3_E_SECRET, "password_command: exit status %d", WEXITSTATUS(status));
	}
	return got;
}

/*
 * Asks on the terminal. The interrupt key is read as a character, so that no signal can leave the terminal
 * without echo.
 */
static enum pop3_err from_terminal(const struct options *options, struct secret *secret_r, struct pop3_why *why)
{
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	struct termios before, quiet;
	char buf[POP3_MAX_SECRET];
	enum pop3_err err;
	ssize_t n;

	if (tty < 0 || tcgetattr(tty, &before) != 0) {
		if (tty >= 0)
			close(tty);
		return pop3_fail(why, POP3_E_SECRET,
				 "no terminal to ask for the password on (password_file=, password_command=)");
	}
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	quiet.c_cc[VEOL] = INTERRUPT_KEY;
	tcsetattr(tty, TCSAFLUSH, &quiet);
	dprintf(tty, "Password for %s at %s: ", options->user, options->source.host);
	do
		n = read(tty, buf, sizeof(buf));
	while (n < 0 && errno == EINTR);
	tcsetattr(tty, TCSAFLUSH, &before);
	dprintf(tty, "\n");
	close(tty);
	if (n > 0 && buf[n - 1] == INTERRUPT_KEY)
		err = pop3_fail(why, POP3_E_SECRET, "interrupted");
	else
		err = take_line(buf, n > 0 ? (size_t)n : 0, "terminal", secret_r, why);
	explicit_bzero(buf, sizeof(buf));
	return err;
}

bool secret_source_open(struct secret_source *source, const struct options *options, struct pop3_why *why)
{
	*source = (struct secret_source){ .options = options };
	if (options->password_file || options->password_command)
		return true;
	return from_terminal(options, &source->asked, why) == POP3_OK;
}

enum pop3_err secret_source_get(struct secret_source *source, int cancel_fd, struct secret *secret_r,
				struct pop3_why *why)
{
	const struct options *options = source->options;

	if (options->password_file)
		return from_file(options->password_file, cancel_fd, secret_r, why);
	if (options->password_command)
		return from_command(options->password_command, cancel_fd, secret_r, why);
	if (!secret_set(secret_r, source->asked.text, source->asked.len))
		return pop3_fail(why, POP3_E_MEMORY, "out of memory");
	return POP3_OK;
}

void secret_source_close(struct secret_source *source)
{
	secret_wipe(&source->asked);
}
