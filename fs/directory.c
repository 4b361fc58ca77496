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

/* One message; 0: no room for it. */
static size_t add_node(fuse_req_t req, struct fs *fs, uint64_t dir, char *buf, size_t size, struct node *node,
		       off_t next, bool plus)
{
	struct fuse_entry_param entry = { 0 };
	size_t n;

	if (!plus) {
		entry.attr.st_ino = message_ino(node_message(node));
		entry.attr.st_mode = S_IFREG;
		n = fuse_add_direntry(req, buf, size, node_name(node), &entry.attr, next);
		return n > size ? 0 : n;
	}
	fs_entry(fs, dir, node_message(node), &entry);
	n = fuse_add_direntry_plus(req, buf, size, node_name(node), &entry, next);
	if (n > size)
		return 0;
	tree_count(fs->tree, node);
	return n;
}

static void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi,
			   bool plus)
{
	struct fs *fs = fuse_req_userdata(req);
	struct tree_listing *listing = (struct tree_listing *)(uintptr_t)fi->fh;
	char *buf = malloc(size);
	size_t used, first, last, n;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (fs->readahead && ino == TREE_ROOT && (size_t)off == listing->count + DOTS)
		readahead_listed(fs->readahead, fuse_req_ctx(req)->pid);
	used = add_dots(req, buf, size, off, plus);
	first = last = off > DOTS ? (size_t)off - DOTS : 0;
	while (last < listing->count) {
		n = add_node(req, fs, ino, buf + used, size - used, listing->nodes[last],
			     (off_t)(last + 1 + DOTS), plus);
		if (n == 0)
			break;
		used += n;
		last++;
	}
	if (fuse_reply_buf(req, buf, used) != 0 && plus)
		for (; first < last; first++) /* the kernel never got these */
			tree_forget(fs->tree, message_ino(node_message(listing->nodes[first])), 1);
	free(buf);
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
