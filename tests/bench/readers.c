/* SPDX-License-Identifier: MIT */
/*
 * So many readers at once, as `find DIRECTORY | xargs -n 8 -P READERS cat` has them, but without the start of a process
 * for each eight files, which can take longer than reading them. Usage: readers READERS DIRECTORY.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AT_ONCE 8
#define READERS_MAX 64

struct work {
	struct dirent **names;
	int dir, count;
	atomic_int next;
	atomic_bool failed;
};

static bool read_file(int dir, const char *name)
{
	char octets[65536];
	ssize_t n = -1;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && (n = read(fd, octets, sizeof(octets))) > 0)
		;
	if (fd >= 0)
		close(fd);
	return n == 0;
}

static void *reader_main(void *arg)
{
	struct work *work = arg;
	int first;

	while ((first = atomic_fetch_add(&work->next, AT_ONCE)) < work->count)
		for (int i = first; i < first + AT_ONCE && i < work->count; i++)
			if (!read_file(work->dir, work->names[i]->d_name))
				work->failed = true;
	return NULL;
}

static int is_mail(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	pthread_t threads[READERS_MAX];
	int readers = argc == 3 ? atoi(argv[1]) : 0;
	struct work work = { .names = NULL };

	if (readers < 1 || readers > READERS_MAX)
		return 2;
	work.dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	work.count = scandir(argv[2], &work.names, is_mail, alphasort);
	if (work.dir < 0 || work.count < 0) {
		perror(argv[2]);
		return 1;
	}
	for (int i = 0; i < readers; i++)
		if (pthread_create(&threads[i], NULL, reader_main, &work) != 0)
			return 1;
	for (int i = 0; i < readers; i++)
		pthread_join(threads[i], NULL);
	return work.failed ? 1 : 0;
}
