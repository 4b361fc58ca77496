/* SPDX-License-Identifier: MIT */
/*
 * Directories: a listing is taken at opendir and read from there, so entries that come or go meanwhile
 * neither skip nor repeat others. fsync of a directory is the commit.
 *
 * The kernel is not asked to keep what it has read (cache_readdir): a READDIRPLUS also renews the attributes, whose
 * atime is void after each READ; without it the second grep -r sends a GETATTR for each file and takes four times as
 * long, and the third gains nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/control.h"
#include "fs/fs.h"

/* The longest that opening a directory waits for a new listing. */
#define REFRESH_WAIT_MS 2000

/* "." and ".." stand before the messages. */
#define DOTS 2

/* Answers an opendir with the listing as it is now. */
static void reply_opendir(struct fs *fs, fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct tree_listing *listing = tree_list(fs->tree, ino);

	if (!listing) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)listing;
	if (fuse_reply_open(req, fi) == -ENOENT)
		tree_list_free(listing);
}

/* An old listing is renewed; one that is being renewed is waited for. */
static int start_opendir(void *ctx, uint64_t *ino_r)
{
	struct fs *fs = ctx;

	*ino_r = TREE_ROOT;
	if (mailbox_age_ms(fs->mailbox) < fs->refresh_ms || mailbox_refresh(fs->mailbox, false) != 0)
		return 0;
	return -EINPROGRESS;
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	int status = 0;

	if (ino != TREE_ROOT && ino != TREE_DELETED)
		status = -ENOTDIR;
	else if (ino == TREE_ROOT)
		status = wait_begin(fs->waits, req, &(struct wait){ .kind = WAIT_OPENDIR, .fi = *fi },
				    REFRESH_WAIT_MS, start_opendir, fs);
	if (status == 0)
		reply_opendir(fs, req, ino, fi);
	else if (status != -EINPROGRESS)
		fuse_reply_err(req, -status);
}

/* The known listing has to do, while the new one is still on its way. */
void fs_expired(void *ctx, struct wait *wait)
{
	reply_opendir(ctx, wait->req, wait->id, &wait->fi);
	free(wait);
}

static int start_refresh(void *ctx, uint64_t *id_r)
{
	struct fs *fs = ctx;
	int err = mailbox_refresh(fs->mailbox, true);

	*id_r = 0;
	return err ? err : -EINPROGRESS;
}

void fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
	      const void *in, size_t in_size, size_t out_size)
{
	struct fs *fs = fuse_req_userdata(req);
	int status = -ENOTTY;

	(void)arg, (void)flags, (void)in, (void)in_size, (void)out_size;
	if (ino == TREE_ROOT && cmd == CONTROL_REFRESH)
		status = wait_begin(fs->waits, req, &(struct wait){ .kind = WAIT_REFRESH, .fi = *fi }, 0,
				    start_refresh, fs);
	if (status != -EINPROGRESS)
		fuse_reply_err(req, -status);
}

/* prefetch=all: what is not there yet, newest first, as much as the cache can hold. */
static void fetch_all(struct fs *fs)
{
	struct tree_listing *listing = tree_list(fs->tree, TREE_ROOT);
	struct message_facts facts;
	struct mailbox_status status;
	uint64_t octets = 0;

	if (!listing)
		return;
	mailbox_status(fs->mailbox, &status);
	for (size_t i = listing->count; i > 0; i--) {
		struct message *message = node_message(listing->nodes[i - 1]);

		mailbox_facts(fs->mailbox, message, &facts);
		octets += facts.octets;
		if (octets > status.cache_size)
			break;
		mailbox_fetch_ahead(fs->mailbox, message);
	}
	tree_list_free(listing);
}

void fs_refreshed(void *ctx, int err)
{
	struct fs *fs = ctx;
	struct wait *taken, *wait;

	if (!err && fs->fetch_all)
		fetch_all(fs);
	taken = wait_take(fs->waits, WAIT_OPENDIR, WAIT_ANY_ID);
	while ((wait = taken)) {
		DL_DELETE(taken, wait);
		reply_opendir(fs, wait->req, wait->id, &wait->fi);
		free(wait);
	}
	taken = wait_take(fs->waits, WAIT_REFRESH, WAIT_ANY_ID);
	while ((wait = taken)) {
		DL_DELETE(taken, wait);
		if (err)
			fuse_reply_err(wait->req, -err);
		else
			fuse_reply_ioctl(wait->req, 0, NULL, 0);
		free(wait);
	}
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	tree_list_free((struct tree_listing *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* "." and "..": READDIRPLUS entries of inode 0 are not looked up by the kernel and not counted. */
static size_t add_dots(fuse_req_t req, char *buf, size_t size, off_t off, bool plus)
{
	static const char *const names[DOTS] = { ".", ".." };
	struct fuse_entry_param entry = { .attr = { .st_ino = TREE_ROOT, .st_mode = S_IFDIR } };
	size_t used = 0;

	for (; off < DOTS; off++) {
		size_t n = plus ? fuse_add_direntry_plus(req, buf + used, size - used, names[off], &entry, off + 1)
				: fuse_add_direntry(req, buf + used, size - used, names[off], &entry.attr, off + 1);

		if (n > size - used)
			break;
		used += n;
	}
	return used;
}

/* The entries of one answer. */
struct answer {
	struct fs *fs;
	fuse_req_t req;
	uint64_t dir;
	bool plus;
	char *buf;
	size_t size, used;
	struct node **counted; /* that have got a lookup count */
	size_t n_counted;
};

/* Octets of the shortest entry of READDIRPLUS, or less. */
#define ENTRY_MIN 128

/* Adds one message; false: no room for it. Of one that the kernel knows all about it gets the name only. */
static bool add_node(struct answer *answer, struct node *node, off_t next)
{
	struct message *message = node_message(node);
	struct fuse_entry_param entry = { .attr = { .st_ino = message_ino(message), .st_mode = S_IFREG } };
	bool whole = answer->plus && !tree_is_fresh(answer->fs->tree, node);
	char *buf = answer->buf + answer->used;
	size_t left = answer->size - answer->used, n;

	if (whole)
		fs_entry(answer->fs, answer->dir, message, &entry);
	n = answer->plus ? fuse_add_direntry_plus(answer->req, buf, left, node_name(node), &entry, next)
			 : fuse_add_direntry(answer->req, buf, left, node_name(node), &entry.attr, next);
	if (n > left)
		return false;
	answer->used += n;
	if (whole) {
		tree_count(answer->fs->tree, node);
		answer->counted[answer->n_counted++] = node;
	}
	return true;
}

static void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi,
			   bool plus)
{
	struct fs *fs = fuse_req_userdata(req);
	struct tree_listing *listing = (struct tree_listing *)(uintptr_t)fi->fh;
	struct answer answer = { .fs = fs, .req = req, .dir = ino, .plus = plus, .size = size };

	answer.buf = malloc(size);
	answer.counted = calloc(size / ENTRY_MIN + 1, sizeof(struct node *));
	if (!answer.buf || !answer.counted) {
		fuse_reply_err(req, ENOMEM);
		free(answer.buf);
		free(answer.counted);
		return;
	}
	if (fs->readahead && ino == TREE_ROOT && (size_t)off == listing->count + DOTS)
		readahead_listed(fs->readahead, fuse_req_ctx(req)->pid);
	answer.used = add_dots(req, answer.buf, size, off, plus);
	for (size_t i = off > DOTS ? (size_t)off - DOTS : 0; i < listing->count; i++)
		if (!add_node(&answer, listing->nodes[i], (off_t)(i + 1 + DOTS)))
			break;
	if (fuse_reply_buf(req, answer.buf, answer.used) != 0)
		while (answer.n_counted > 0) /* the kernel never got these */
			tree_forget(fs->tree, message_ino(node_message(answer.counted[--answer.n_counted])), 1);
	free(answer.buf);
	free(answer.counted);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_directory(req, ino, size, off, fi, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_directory(req, ino, size, off, fi, true);
}

static int start_commit(void *ctx, uint64_t *ticket_r)
{
	struct fs *fs = ctx;
	int started = mailbox_commit(fs->mailbox, ticket_r);

	return started > 0 ? -EINPROGRESS : started;
}

void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	int status = wait_begin(fs->waits, req, &(struct wait){ .kind = WAIT_COMMIT, .fi = *fi }, 0, start_commit, fs);

	(void)ino, (void)datasync;
	if (status != -EINPROGRESS)
		fuse_reply_err(req, -status);
}
