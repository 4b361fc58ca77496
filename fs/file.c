/* SPDX-License-Identifier: MIT */
/*
 * Open, read, release. A file handle is the descriptor of the body in the cache, so a file that was deleted
 * while open can be read to its end. Once every size is exact, opens are refused with ENOSYS, and the kernel
 * opens without us (DESIGN 11); a handle is 0 then, which is no descriptor of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/fs.h"

#define PAGE 4096

/* Answers an open; one whose caller has gone leaves the descriptor to us. */
static void reply_open(struct fs *fs, fuse_req_t req, struct message *message, struct fuse_file_info *fi, int fd)
{
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		mailbox_close(fs->mailbox, message, fd);
}

static void reply_read(fuse_req_t req, int fd, size_t size, off_t off)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = fd;
	data.buf[0].pos = off;
	fuse_reply_data(req, &data, FUSE_BUF_SPLICE_MOVE);
}

struct body_request {
	struct fs *fs;
	struct message *message;
};

static int start_body(void *ctx, uint64_t *id_r)
{
	struct body_request *body = ctx;

	*id_r = message_ino(body->message);
	return mailbox_open(body->fs->mailbox, body->message);
}

/* The body of a message: a descriptor, -EINPROGRESS (the request waits for it), or -errno. */
static int need_body(struct fs *fs, fuse_req_t req, struct message *message, const struct wait *what)
{
	struct body_request body = { fs, message };
	pid_t reader = fuse_req_ctx(req)->pid; /* the request may be answered before wait_begin() is back */
	int fd = wait_begin(fs->waits, req, what, 0, start_body, &body);

	if (fs->readahead && what->off == 0 && (fd >= 0 || fd == -EINPROGRESS))
		readahead_opened(fs->readahead, message, reader, wait_readers(fs->waits));
	return fd;
}

/* fs->readahead is not there with prefetch=off, and then new mail is not to be fetched unasked either. */
static bool opens_are_free(struct fs *fs)
{
	return fs->readahead && mailbox_promise_exact(fs->mailbox);
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct message *message = tree_message(fs->tree, ino, false);
	int fd;

	if (!message)
		fd = -ENOENT;
	else if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
		fd = -EROFS;
	else if (opens_are_free(fs))
		fd = -ENOSYS; /* the kernel asks no more: reads come without a handle */
	else
		fd = need_body(fs, req, message, &(struct wait){ .kind = WAIT_BODY, .fi = *fi });
	if (fd >= 0)
		reply_open(fs, req, message, fi, fd);
	else if (fd != -EINPROGRESS)
		fuse_reply_err(req, -fd);
	message_unref(message);
}

static void end_wait(struct fs *fs, struct message *message, struct wait *wait, int fd)
{
	if (fd < 0) {
		fuse_reply_err(wait->req, fd == -EINPROGRESS ? EIO : -fd);
	} else if (wait->size == 0) {
		reply_open(fs, wait->req, message, &wait->fi, fd);
	} else {
		reply_read(wait->req, fd, wait->size, wait->off);
		mailbox_close(fs->mailbox, message, fd);
	}
}

void fs_fetched(void *ctx, struct message *message, int err)
{
	struct fs *fs = ctx;
	struct wait *taken = wait_take(fs->waits, WAIT_BODY, message_ino(message)), *wait;

	while ((wait = taken)) {
		DL_DELETE(taken, wait);
		end_wait(fs, message, wait, err ? err : mailbox_open(fs->mailbox, message));
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

/* Without a handle the body is found by the inode; one that was evicted is fetched again. */
static void read_unopened(struct fs *fs, fuse_req_t req, fuse_ino_t ino, size_t size, off_t off)
{
	struct message *message = tree_message(fs->tree, ino, false);
	int fd = -ENOENT;

	if (message)
		fd = need_body(fs, req, message, &(struct wait){ .kind = WAIT_BODY, .size = size, .off = off });
	if (fd >= 0) {
		reply_read(req, fd, size, off);
		mailbox_close(fs->mailbox, message, fd);
	} else if (fd != -EINPROGRESS) {
		fuse_reply_err(req, -fd);
	}
	message_unref(message);
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	if (fi->fh)
		reply_read(req, (int)fi->fh, size, off);
	else
		read_unopened(fuse_req_userdata(req), req, ino, size, off);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct message *message = tree_message(fs->tree, ino, false); /* the kernel holds it until after this */

	if (message)
		mailbox_close(fs->mailbox, message, (int)fi->fh);
	else
		close((int)fi->fh);
	message_unref(message);
	fuse_reply_err(req, 0);
}
