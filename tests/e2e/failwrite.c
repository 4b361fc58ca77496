/* SPDX-License-Identifier: MIT */
/*
 * To be preloaded: makes one in FAIL_ONE_IN writes and syncs of files below FAIL_BELOW end in EIO, so that a test
 * sees what becomes of a bad disk.
 */
#undef _FILE_OFFSET_BITS /* both forms of pwrite() are replaced, each by its own name */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

static bool is_to_fail(int fd)
{
	const char *below = getenv("FAIL_BELOW"), *one_in = getenv("FAIL_ONE_IN");
	char link[64], path[4096];
	unsigned dice;
	ssize_t n;

	if (!below || !one_in || getrandom(&dice, sizeof(dice), 0) != sizeof(dice) || dice % (unsigned)atoi(one_in) != 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return strncmp(path, below, strlen(below)) == 0;
}

#define NEXT(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *buf, size_t len)
{
	if (!is_to_fail(fd))
		return NEXT(write)(fd, buf, len);
	errno = EIO;
	return -1;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
	if (!is_to_fail(fd))
		return NEXT(pwrite)(fd, buf, len, at);
	errno = EIO;
	return -1;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t at)
{
	if (!is_to_fail(fd))
		return NEXT(pwrite64)(fd, buf, len, at);
	errno = EIO;
	return -1;
}

int fsync(int fd)
{
	if (!is_to_fail(fd))
		return NEXT(fsync)(fd);
	errno = EIO;
	return -1;
}

int fdatasync(int fd)
{
	if (!is_to_fail(fd))
		return NEXT(fdatasync)(fd);
	errno = EIO;
	return -1;
}

int syncfs(int fd)
{
	if (!is_to_fail(fd))
		return NEXT(syncfs)(fd);
	errno = EIO;
	return -1;
}
