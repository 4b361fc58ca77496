/* SPDX-License-Identifier: MIT */
/* pop3fs: mounts a POP3 mailbox as a directory. From here a command goes to mount.c or control.c. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/caches.h"
#include "fs/control.h"
#include "fs/log.h"
#include "fs/mount.h"
#include "fs/options.h"
#include "fs/version.h"

static int run(const struct options *options)
{
	switch (options->command) {
	case COMMAND_MOUNT:
		return mount_run(options);
	case COMMAND_UNMOUNT:
		return control_unmount(options->mountpoint);
	case COMMAND_COMMIT:
		return control_commit(options->mountpoint);
	case COMMAND_REFRESH:
		return control_refresh(options->mountpoint);
	case COMMAND_STATUS:
		return control_status(options->mountpoint, options->json);
	case COMMAND_CACHE_INFO:
		return caches_info(options);
	case COMMAND_CACHE_CLEAR:
		return caches_clear(options);
	case COMMAND_HELP:
		options_print_help();
		return 0;
	case COMMAND_VERSION:
		printf("pop3fs %s\n", POP3FS_VERSION);
		return 0;
	}
	return 2;
}

int main(int argc, char **argv)
{
	struct options options;
	struct pop3_why why;
	int status = 2, null;

	/* No descriptor of ours may be mistaken for standard output. */
	while ((null = open("/dev/null", O_RDWR)) >= 0 && null <= STDERR_FILENO)
		;
	close(null);
	if (options_read(argc, argv, &options, &why))
		status = run(&options);
	else
		log_error("%s", why.text);
	options_free(&options);
	return status;
}
