/* SPDX-License-Identifier: MIT */
/*
 * Open, read, release. A file handle is the descriptor of the body in the cache, so a file that was deleted
 * while open can be read to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/fs.h"

#define PAGE 4096

/* Answers an open; one whose caller has gone leaves the descriptor to us. */
static void reply_open(fuse_req_t req, struct fuse_file_info *fi, int fd)
{
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		close(fd);
}

struct open_request {
	struct fs *fs;
	struct message *message;
};

static int start_open(void *ctx, uint64_t *id_r)
{
	struct open_request *open = ctx;

	*id_r = message_ino(open->message);
	return mailbox_open(open->fs->mailbox, open->message);
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct open_request open = { fs, tree_message(fs->tree, ino, false) };
	int fd;

	if (!open.message) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC)) {
		message_unref(open.message);
		fuse_reply_err(req, EROFS);
		return;
	}
	fd = wait_begin(fs->waits, req, WAIT_BODY, fi, 0, start_open, &open);
	if (fs->readahead && (fd >= 0 || fd == -EINPROGRESS))
		readahead_opened(fs->readahead, open.message);
	message_unref(open.message);
	if (fd >= 0)
		reply_open(req, fi, fd);
	else if (fd != -EINPROGRESS)
		fuse_reply_err(req, -fd);
}

void fs_fetched(void *ctx, struct message *message, int err)
{
	struct fs *fs = ctx;
	struct wait *taken = wait_take(fs->waits, WAIT_BODY, message_ino(message)), *wait;

	while ((wait = taken)) {
		int fd = err ? err : mailbox_open(fs->mailbox, message);

		DL_DELETE(taken, wait);
		if (fd >= 0)
			reply_open(wait->req, &wait->fi, fd);
		else
			fuse_reply_err(wait->req, fd == -EINPROGRESS ? EIO : -fd);
		free(wait);
	}
}

/*
 * Corrects the kernel's idea of a size before any open of the message is answered (shared/FUSE.md): the
 * attributes are dropped, and where the truth is longer than the estimate its last page is put into the page
 * cache, which moves the end that the kernel reads to. Offset -1 takes no page lock, so this cannot wait for
 * an operation of ours.
 */
void fs_sized(void *ctx, struct message *message, uint64_t was, uint64_t now, int fd)
{
	struct fs *fs = ctx;
	uint64_t ino = message_ino(message), offset = now > 0 ? (now - 1) / PAGE * PAGE : 0;
	struct fuse_bufvec page = FUSE_BUFVEC_INIT((size_t)(now - offset));
	char octets[PAGE];

	if (was == now || !tree_is_known(fs->tree, ino))
		return;
	fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
	if (now <= was || pread(fd, octets, page.buf[0].size, (off_t)offset) != (ssize_t)page.buf[0].size)
		return;
	page.buf[0].mem = octets;
	fuse_lowlevel_notify_store(fs->session, ino, (off_t)offset, &page, 0);
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	(void)ino;
	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = (int)fi->fh;
	data.buf[0].pos = off;
	fuse_reply_data(req, &data, FUSE_BUF_SPLICE_MOVE);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	close((int)fi->fh);
	fuse_reply_err(req, 0);
}
