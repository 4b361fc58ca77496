/* SPDX-License-Identifier: MIT */
/*
 * The daemon is forked before it has threads, and its announcer before it has a password. It reads the listing while
 * it still has the terminal, and lets the shell go on when the mount stands.
 *
 * SIGNALS. TERM, INT and HUP are blocked in all threads and taken by one of their own, so that none can cut
 * a commit short: the first commits and unmounts, those after it find it at work. A signal that was ignored
 * at the start stays ignored. SIGUSR1 wakes the main thread out of libfuse's loop and means nothing else.
 */
#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/fs.h"
#include "fs/log.h"
#include "fs/secret_source.h"
#include "pop3/tls.h"

/* A commit that failed this short a time ago is not tried again at the end of the mount. */
#define FRESH_COMMIT_S 10
#define WAKE_MS 20

struct daemon {
	const struct options *options;
	struct secret_source secret;
	struct tls *tls;
	struct fs fs;
	struct announcer *announcer;
	int ready_fd; /* the waiting shell's end of a pipe; -1: in the foreground */
	char *server, *fsname, *mountpoint; /* the latter absolute */
	sigset_t signals;
	pthread_t main_thread;
	atomic_bool mounted, ended;
};

static enum pop3_err get_secret(void *ctx, int cancel_fd, struct secret *secret_r, struct pop3_why *why)
{
	struct daemon *daemon = ctx;

	return secret_source_get(&daemon->secret, cancel_fd, secret_r, why);
}

static void trace(void *ctx, char direction, const char *line, size_t len)
{
	char shown[600];

	(void)ctx;
	fprintf(stderr, "%c %s\n", direction, pop3_escape(shown, sizeof(shown), line, len));
}

/* A password must not get into a core dump, nor be read by a debugger of the same user. */
static void protect_memory(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

static bool check_mountpoint(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		log_error("mount point %s: %s%s", path, strerror(errno),
			  errno == ENOTCONN ? " (a dead mount: fusermount3 -u)" : "");
	else if (!S_ISDIR(st.st_mode))
		log_error("mount point %s: %s", path, strerror(ENOTDIR));
	else
		return true;
	return false;
}

static void show_progress(void *ctx, size_t done, size_t total)
{
	(void)ctx;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rreading headers: %zu of %zu", done, total);
}

static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

/* Logs the end of a commit; true: nothing is left to be deleted. */
static bool log_commit(const struct commit_report *report)
{
	if (report->time == 0)
		return true;
	if (report->err)
		log_error("%zu of %zu messages are still to be deleted: %s", report->kept,
			  report->kept + report->deleted + report->gone, report->why.text);
	else
		log_info("%zu messages deleted, %zu were already gone", report->deleted, report->gone);
	return report->err == 0;
}

static void *signal_main(void *arg)
{
	struct daemon *daemon = arg;
	struct commit_report report;
	int number;

	while (sigwait(&daemon->signals, &number) != 0)
		;
	if (atomic_load(&daemon->ended))
		return NULL;
	if (!atomic_load(&daemon->mounted)) {
		mailbox_abort(daemon->fs.mailbox);
		return NULL;
	}
	mailbox_settle(daemon->fs.mailbox, FRESH_COMMIT_S, &report);
	fuse_session_exit(daemon->fs.session);
	while (!atomic_load(&daemon->ended)) {
		pthread_kill(daemon->main_thread, SIGUSR1);
		usleep(WAKE_MS * 1000);
	}
	return NULL;
}

static void ignore_signal(int number)
{
	(void)number;
}

static void block_signals(struct daemon *daemon)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction action = { .sa_handler = SIG_IGN };

	sigaction(SIGPIPE, &action, NULL);
	action.sa_handler = ignore_signal;
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&daemon->signals);
	sigaddset(&daemon->signals, SIGUSR2); /* ends the thread that waits for signals */
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&daemon->signals, numbers[i]);
	pthread_sigmask(SIG_BLOCK, &daemon->signals, NULL);
}

static bool open_mailbox(struct daemon *daemon, struct pop3_why *why)
{
	const struct options *options = daemon->options;
	const struct mailbox_config config = {
		.account = { .host = options->source.host,
			     .port = options->source.port,
			     .security = options->source.security,
			     .user = options->user,
			     .auth = options->auth,
			     .timeout_ms = options->timeout_ms,
			     .cancel_fd = -1,
			     .tls = daemon->tls,
			     .lf = options->eol == EOL_LF,
			     .secret = get_secret,
			     .trace = options->debug ? trace : NULL,
			     .ctx = daemon },
		.idle_ms = options->idle_ms,
		.pipelining = options->pipelining,
		.cache_dir = options->cache == CACHE_DISK ? options->cache_dir : NULL,
		.cache_size = options->cache_size,
		.template = options->path,
		.hooks = fs_hooks(&daemon->fs),
	};

	return mailbox_new(&config, &daemon->fs.mailbox, why) == 0;
}

static bool load(struct daemon *daemon, struct pop3_why *why)
{
	bool loaded = mailbox_load(daemon->fs.mailbox, show_progress, NULL, why) == 0;

	end_progress();
	return loaded;
}

/* All that a mount needs, threads among it. */
static bool prepare(struct daemon *daemon, struct pop3_why *why)
{
	const struct options *options = daemon->options;
	const struct tls_config tls = { options->tls_ca, options->tls_fingerprint, options->tls_cert,
					options->tls_key };
	struct fs *fs = &daemon->fs;

	block_signals(daemon);
	fs->uid = options->uid;
	fs->gid = options->gid;
	fs->umask = options->umask;
	fs->server = daemon->server;
	fs->user = options->user;
	fs->refresh_ms = options->refresh_ms;
	fs->waits = wait_new(fs_expired, fs);
	if (!fs->waits) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return false;
	}
	if (options->source.security != ACCOUNT_CLEAR && tls_new(&tls, &daemon->tls, why) != POP3_OK)
		return false;
	if (!open_mailbox(daemon, why))
		return false;
	fs->tree = tree_new(options->path, fs->mailbox);
	fs->fetch_all = options->prefetch == PREFETCH_ALL;
	if (fs->tree && options->prefetch != PREFETCH_OFF)
		fs->readahead = readahead_new(fs->tree, fs->mailbox);
	if (!fs->tree)
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
	return fs->tree != NULL;
}

static bool new_session(struct daemon *daemon)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	const char *more = daemon->options->fuse;
	char *list = NULL;

	if (asprintf(&list, "fsname=%s,subtype=pop3fs,default_permissions%s%s", daemon->fsname, more ? "," : "",
		     more ? more : "") < 0)
		return false;
	fuse_opt_add_arg(&args, "pop3fs");
	fuse_opt_add_arg(&args, "-o");
	fuse_opt_add_arg(&args, list);
	free(list);
	daemon->fs.session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), &daemon->fs);
	fuse_opt_free_args(&args);
	return daemon->fs.session != NULL;
}

/* The mount stands: lets the shell go on and leaves its terminal. */
static void leave_terminal(struct daemon *daemon)
{
	int null;

	if (daemon->ready_fd < 0)
		return;
	log_to_syslog();
	setsid();
	if (chdir("/") != 0)
		log_warning("chdir /: %s", strerror(errno));
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
	if (write(daemon->ready_fd, "", 1) != 1)
		log_warning("the shell that mounted has gone");
	close(daemon->ready_fd);
	daemon->ready_fd = -1;
}

static bool serve(struct daemon *daemon)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct commit_report report = { 0 };
	int err;

	/* A thread that is idle stays: making it again for each request costs half the speed (FUSE.md). */
	fuse_loop_cfg_set_max_threads(config, 10);
	fuse_loop_cfg_set_idle_threads(config, 10);
	err = fuse_session_loop_mt(daemon->fs.session, config);
	fuse_loop_cfg_destroy(config);
	if (err < 0)
		log_error("FUSE: %s", strerror(-err));
	mailbox_settle(daemon->fs.mailbox, FRESH_COMMIT_S, &report);
	return log_commit(&report);
}

/* From the login to the end of the mount; false: it did not come to stand, or something was not deleted. */
static bool live(struct daemon *daemon)
{
	const struct options *options = daemon->options;
	struct pop3_why why = { "" };
	bool good;

	if (!load(daemon, &why)) {
		log_error("%s: %s", daemon->server, why.text);
		return false;
	}
	if (fuse_session_mount(daemon->fs.session, daemon->mountpoint) != 0) {
		log_error("%s: not mounted", options->mountpoint);
		return false;
	}
	atomic_store(&daemon->mounted, true);
	atomic_store(&daemon->fs.notify, notify_new(&(struct notify_config){ .session = daemon->fs.session,
									      .tree = daemon->fs.tree,
									      .mountpoint = daemon->mountpoint,
									      .announcer = daemon->announcer,
									      .refreshed = fs_refreshed,
									      .ctx = &daemon->fs }));
	leave_terminal(daemon);
	good = serve(daemon);
	fuse_session_unmount(daemon->fs.session);
	return good;
}

/* In this order: no hook after the mailbox has stopped, no message held when it is freed. */
static void clean_up(struct daemon *daemon)
{
	struct fs *fs = &daemon->fs;

	if (fs->mailbox)
		mailbox_stop(fs->mailbox);
	wait_free(fs->waits);
	notify_free(atomic_load(&fs->notify));
	announcer_free(daemon->announcer);
	if (fs->session)
		fuse_session_destroy(fs->session);
	readahead_free(fs->readahead);
	tree_free(fs->tree);
	mailbox_free(fs->mailbox);
	tls_free(daemon->tls);
	secret_source_close(&daemon->secret);
}

/* Lives with a thread for the signals, which stay blocked until there is a mailbox that it can settle. */
static bool live_with_signals(struct daemon *daemon)
{
	pthread_t signal_thread;
	bool good;

	daemon->main_thread = pthread_self();
	if (pthread_create(&signal_thread, NULL, signal_main, daemon) != 0) {
		log_error("cannot start a thread");
		return false;
	}
	good = live(daemon);
	atomic_store(&daemon->ended, true);
	pthread_kill(signal_thread, SIGUSR2);
	pthread_join(signal_thread, NULL);
	return good;
}

static int run_daemon(struct daemon *daemon)
{
	struct pop3_why why = { "" };
	bool good = false;

	protect_memory();
	daemon->announcer = announcer_new(daemon->mountpoint);
	if (!secret_source_open(&daemon->secret, daemon->options, &why))
		log_error("%s", why.text);
	else if (!prepare(daemon, &why))
		log_error("%s: %s", daemon->server, why.text);
	else if (!new_session(daemon))
		log_error("%s: FUSE does not take the options", daemon->server);
	else
		good = live_with_signals(daemon);
	clean_up(daemon);
	return good ? 0 : 1;
}

/* In the shell's process: waits until the mount stands or its daemon has ended. */
static int wait_for_daemon(pid_t pid, int fd)
{
	int status;
	char ready;
	ssize_t n;

	do
		n = read(fd, &ready, 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n == 1)
		return 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

static int start_daemon(struct daemon *daemon)
{
	int fds[2];
	pid_t pid;

	if (daemon->options->foreground)
		return run_daemon(daemon);
	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		log_error("%s", strerror(errno));
		return 1;
	}
	if (pid > 0) {
		close(fds[1]);
		return wait_for_daemon(pid, fds[0]);
	}
	close(fds[0]);
	daemon->ready_fd = fds[1];
	return run_daemon(daemon);
}

/* "pop3s://user@host:port", and the same without what would break a list of mount options. */
static bool name_server(struct daemon *daemon)
{
	const struct options *options = daemon->options;
	bool v6 = strchr(options->source.host, ':') != NULL;

	if (asprintf(&daemon->server, "%s://%s@%s%s%s:%u", options->source.security == ACCOUNT_TLS ? "pop3s" : "pop3",
		     options->user, v6 ? "[" : "", options->source.host, v6 ? "]" : "", options->source.port) < 0)
		daemon->server = NULL;
	daemon->fsname = daemon->server ? strdup(daemon->server) : NULL;
	for (char *p = daemon->fsname; p && *p; p++)
		if (strchr(",\\ ", *p) || *p < ' ')
			*p = '_';
	return daemon->fsname != NULL;
}

int mount_run(const struct options *options)
{
	struct daemon daemon = { .options = options, .ready_fd = -1 };
	int status = 1;

	if (!check_mountpoint(options->mountpoint))
		return 1;
	if (!name_server(&daemon) || !(daemon.mountpoint = realpath(options->mountpoint, NULL)))
		log_error("%s", strerror(errno));
	else
		status = start_daemon(&daemon);
	free(daemon.server);
	free(daemon.fsname);
	free(daemon.mountpoint);
	return status;
}
