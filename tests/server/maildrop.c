/* SPDX-License-Identifier: MIT */
#include "tests/server/maildrop.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A message's file in memory. */
struct text {
	char *octets;
	size_t len;
};

static bool map(const char *path, struct text *text)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fstat(fd, &st) == 0;

	*text = (struct text){ 0 };
	if (ok && st.st_size > 0) {
		text->len = (size_t)st.st_size;
		text->octets = mmap(NULL, text->len, PROT_READ, MAP_PRIVATE, fd, 0);
		ok = text->octets != MAP_FAILED;
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

static void unmap(struct text *text)
{
	if (text->len > 0)
		munmap(text->octets, text->len);
}

/* Octets with CRLF line ends, a last line without an end completed. */
static uint64_t wire_octets(const struct text *text)
{
	uint64_t octets = text->len;

	for (const char *p = text->octets, *end = p + text->len; p < end; p++) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (!p)
			break;
		if (p == text->octets || p[-1] != '\r')
			octets++;
	}
	if (text->len > 0 && text->octets[text->len - 1] != '\n')
		octets += 2;
	return octets;
}

static int compare_paths(const void *a, const void *b)
{
	const struct maildrop_message *x = a, *y = b;

	return strcmp(strrchr(x->path, '/'), strrchr(y->path, '/'));
}

static bool add_directory(struct maildrop *maildrop, const char *maildir, const char *sub, size_t *room)
{
	char path[4096];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", maildir, sub);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		struct maildrop_message message = { 0 };
		struct text text;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&message.path, "%s/%s", path, entry->d_name) < 0 || !map(message.path, &text)) {
			free(message.path);
			continue;
		}
		message.octets = wire_octets(&text);
		unmap(&text);
		message.uid = strndup(entry->d_name, strcspn(entry->d_name, ":"));
		if (maildrop->count == *room) {
			*room = *room ? 2 * *room : 64;
			maildrop->messages = realloc(maildrop->messages, *room * sizeof(message));
			if (!maildrop->messages)
				abort();
		}
		maildrop->messages[maildrop->count++] = message;
	}
	if (dir)
		closedir(dir);
	return dir != NULL;
}

bool maildrop_open(struct maildrop *maildrop, const char *maildir)
{
	size_t room = 0;
	bool ok;

	*maildrop = (struct maildrop){ 0 };
	ok = add_directory(maildrop, maildir, "new", &room);
	ok = add_directory(maildrop, maildir, "cur", &room) || ok;
	if (maildrop->count > 0)
		qsort(maildrop->messages, maildrop->count, sizeof(*maildrop->messages), compare_paths);
	return ok;
}

void maildrop_close(struct maildrop *maildrop)
{
	for (size_t i = 0; i < maildrop->count; i++) {
		free(maildrop->messages[i].path);
		free(maildrop->messages[i].uid);
	}
	free(maildrop->messages);
	*maildrop = (struct maildrop){ 0 };
}

bool maildrop_write(const struct maildrop_message *message, long lines, struct buffer *out)
{
	struct text text;
	bool body = false;

	if (!map(message->path, &text))
		return false;
	for (size_t at = 0; at < text.len && (lines != 0 || !body);) {
		const char *line = text.octets + at, *lf = memchr(line, '\n', text.len - at);
		size_t len = lf ? (size_t)(lf - line) : text.len - at;

		at += len + 1;
		if (len > 0 && line[len - 1] == '\r')
			len--;
		if (line[0] == '.' && len > 0)
			buffer_add(out, ".", 1);
		buffer_add(out, line, len);
		buffer_add(out, "\r\n", 2);
		if (body && lines > 0)
			lines--;
		if (len == 0)
			body = true;
	}
	buffer_add(out, ".\r\n", 3);
	unmap(&text);
	return true;
}

size_t maildrop_expunge(struct maildrop *maildrop, size_t most)
{
	size_t done = 0;

	for (size_t i = 0; i < maildrop->count; i++)
		if (maildrop->messages[i].deleted && done < most)
			done += unlink(maildrop->messages[i].path) == 0;
	return done;
}
