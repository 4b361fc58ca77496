/* SPDX-License-Identifier: MIT */
#include "fs/caches.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/index.h"
#include "cache/place.h"
#include "fs/attribute.h"

struct walk {
	const struct options *options;
	size_t count;
	bool failed;
};

static int complain(const char *path, const char *text)
{
	fprintf(stderr, "pop3fs: %s: %s\n", path, text);
	return 1;
}

static int peek(const char *path, struct index_summary *summary_r)
{
	char *index = place_index_in(path);
	int err = index ? index_peek(index, summary_r) : -ENOMEM;

	free(index);
	return err;
}

static bool print_one(void *ctx, const char *path)
{
	struct walk *walk = ctx;
	struct index_summary summary;
	char when[32] = "never";
	int n;

	walk->count++;
	if (peek(path, &summary) != 0) {
		complain(path, "its index cannot be read");
		walk->failed = true;
		return true;
	}
	n = attribute_time(when, sizeof(when) - 1, summary.listed);
	if (n >= 0)
		when[n] = '\0';
	printf("%s\n  %-14s %s\n  %-14s %zu\n  %-14s %zu (%llu octets)\n  %-14s %zu\n  %-14s %s\n", summary.account,
	       "directory", path, "messages", summary.messages, "fetched", summary.bodies,
	       (unsigned long long)summary.octets, "to be deleted", summary.pending, "listed", when);
	return true;
}

int caches_info(const struct options *options)
{
	struct walk walk = { options, 0, false };
	int err = place_each(options->cache_dir, print_one, &walk);

	if (err)
		return complain(options->cache_dir, strerror(-err));
	if (walk.count == 0)
		printf("nothing is remembered in %s\n", options->cache_dir);
	return walk.failed ? 1 : 0;
}

/* Nothing is lost with it, or it is wanted all the same; else it says why not. */
static bool may_clear(void *ctx, const char *path)
{
	const struct walk *walk = ctx;
	struct index_summary summary;

	if (walk->options->force)
		return true;
	if (peek(path, &summary) != 0) {
		complain(path, "its index cannot be read; --force removes it all the same");
		return false;
	}
	if (summary.pending > 0)
		fprintf(stderr, "pop3fs: %s: %zu messages are still to be deleted; mount and unmount it, or use --force\n",
			summary.account, summary.pending);
	return summary.pending == 0;
}

static bool clear_one(void *ctx, const char *path)
{
	struct walk *walk = ctx;
	struct index_summary summary = { 0 };
	int err;

	(void)peek(path, &summary); /* for its name */
	err = place_clear(path, may_clear, walk);
	if (err) {
		if (err != -ECANCELED)
			complain(path, err == -EBUSY ? "it is mounted" : strerror(-err));
		walk->failed = true;
	} else {
		printf("forgotten: %s\n", summary.account[0] ? summary.account : path);
		walk->count++;
	}
	return true;
}

/* The directory of the account with these line ends, if it is there. */
static void clear_account(struct walk *walk, bool lf)
{
	const struct options *options = walk->options;
	char *path = place_path(options->cache_dir, &(struct account){ .host = options->source.host,
								       .port = options->source.port,
								       .user = options->user,
								       .lf = lf });

	if (path && access(path, F_OK) == 0)
		clear_one(walk, path);
	free(path);
}

int caches_clear(const struct options *options)
{
	struct walk walk = { options, 0, false };
	int err = 0;

	if (options->source_text) {
		clear_account(&walk, true);
		clear_account(&walk, false);
	} else {
		err = place_each(options->cache_dir, clear_one, &walk);
	}
	if (err)
		return complain(options->cache_dir, strerror(-err));
	if (walk.count == 0 && !walk.failed)
		printf("nothing is remembered%s%s\n", options->source_text ? " of " : "",
		       options->source_text ? options->source_text : "");
	return walk.failed ? 1 : 0;
}
