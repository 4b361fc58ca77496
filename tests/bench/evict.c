/* SPDX-License-Identifier: MIT */
/* Takes the files of directories out of the page cache, and nothing else: evict DIRECTORY... */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int evict(const char *path)
{
	DIR *list = opendir(path);
	struct dirent *entry;

	if (!list) {
		perror(path);
		return 1;
	}
	while ((entry = readdir(list))) {
		int fd = openat(dirfd(list), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0)
			continue;
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	closedir(list);
	return 0;
}

int main(int argc, char **argv)
{
	int status = 0;

	for (int i = 1; i < argc; i++)
		status |= evict(argv[i]);
	return status;
}
