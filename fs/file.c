/* SPDX-License-Identifier: MIT */
/*
 * Open, read, release. An open file holds its body in the cache, and has it open from the first READ on, so that a
 * file which is deleted meanwhile can be read to its end. (Where the kernel has the pages no READ comes, and the body
 * is not opened at all.) Once every size is exact, opens are refused with ENOSYS, and the kernel opens without us
 * (DESIGN 11); then nothing is held.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#include "fs/fs.h"

#define PAGE 4096
/* The largest READ of a kernel that reads ahead as it does by default. */
#define READ_MAX (128U << 10)

/* What fi->fh is of a file whose body we hold. */
#define HELD 1

/* Answers an open of a body that is held; a caller who has gone leaves that to us. */
static void reply_open(struct fs *fs, fuse_req_t req, struct message *message, struct fuse_file_info *fi)
{
	fi->fh = HELD;
	fi->keep_cache = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		mailbox_release(fs->mailbox, message);
}

/* A READ with O_DIRECT, or one further ahead than the kernel reads by itself. */
static void reply_long_read(fuse_req_t req, int fd, size_t size, off_t off)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(size);

	data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	data.buf[0].fd = fd;
	data.buf[0].pos = off;
	fuse_reply_data(req, &data, FUSE_BUF_SPLICE_MOVE);
}

/* From the stack, which stays in memory: what libfuse would allocate costs a page fault for each page. */
static void reply_read(fuse_req_t req, int fd, size_t size, off_t off)
{
	char octets[READ_MAX];
	ssize_t n;

	if (size > sizeof(octets)) {
		reply_long_read(req, fd, size, off);
		return;
	}
	n = pread(fd, octets, size, off);
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, octets, (size_t)n);
}

struct body_request {
	struct fs *fs;
	struct message *message;
	bool open; /* an open holds the body, a read has it opened */
};

static int start_body(void *ctx, uint64_t *id_r)
{
	struct body_request *body = ctx;

	*id_r = message_ino(body->message);
	return body->open ? mailbox_hold(body->fs->mailbox, body->message)
			  : mailbox_open(body->fs->mailbox, body->message);
}

/* The body of a message: held (0), or its descriptor for a read; -EINPROGRESS: the request waits for it; -errno. */
static int need_body(struct fs *fs, fuse_req_t req, struct message *message, const struct wait *what)
{
	struct body_request body = { fs, message, what->size == 0 };
	pid_t reader = fuse_req_ctx(req)->pid; /* the request may be answered before wait_begin() is back */
	int status = wait_begin(fs->waits, req, what, 0, start_body, &body);

	if (fs->readahead && what->off == 0 && what->fi.fh != HELD && (status >= 0 || status == -EINPROGRESS))
		readahead_opened(fs->readahead, message, reader, wait_readers(fs->waits));
	return status;
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
	int status;

	if (!message)
		status = -ENOENT;
	else if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
		status = -EROFS;
	else if (opens_are_free(fs))
		status = -ENOSYS; /* the kernel asks no more: reads come without a handle */
	else
		status = need_body(fs, req, message, &(struct wait){ .kind = WAIT_BODY, .fi = *fi });
	if (status == 0)
		reply_open(fs, req, message, fi);
	else if (status != -EINPROGRESS)
		fuse_reply_err(req, -status);
	message_unref(message);
}

/* What an open waited for is there, or not. */
static void end_open(struct fs *fs, struct message *message, struct wait *wait, int err)
{
	if (!err)
		err = mailbox_hold(fs->mailbox, message);
	if (!err)
		reply_open(fs, wait->req, message, &wait->fi);
	else
		fuse_reply_err(wait->req, err == -EINPROGRESS ? EIO : -err);
}

static void end_read(struct fs *fs, struct message *message, struct wait *wait, int err)
{
	int fd = err ? err : mailbox_open(fs->mailbox, message);

	if (fd < 0) {
		fuse_reply_err(wait->req, fd == -EINPROGRESS ? EIO : -fd);
		return;
	}
	reply_read(wait->req, fd, wait->size, wait->off);
	close(fd);
}

void fs_fetched(void *ctx, struct message *message, int err)
{
	struct fs *fs = ctx;
	struct wait *taken = wait_take(fs->waits, WAIT_BODY, message_ino(message)), *wait;

	while ((wait = taken)) {
		DL_DELETE(taken, wait);
		if (wait->size == 0)
			end_open(fs, message, wait, err);
		else
			end_read(fs, message, wait, err);
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

	tree_void(fs->tree, ino); /* the times may have changed as well */
	if (was == now || !tree_is_known(fs->tree, ino))
		return;
	fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
	if (now <= was || pread(fd, octets, page.buf[0].size, (off_t)offset) != (ssize_t)page.buf[0].size)
		return;
	page.buf[0].mem = octets;
	fuse_lowlevel_notify_store(fs->session, ino, (off_t)offset, &page, 0);
}

/* false: what is held is no longer where it was, and nothing is answered. */
static bool read_held(struct fs *fs, fuse_req_t req, struct message *message, size_t size, off_t off)
{
	int fd = mailbox_held(fs->mailbox, message);

	if (fd >= 0)
		reply_read(req, fd, size, off);
	return fd >= 0;
}

/* Not held, or not any more: a body that was evicted is fetched again. */
static void read_body(struct fs *fs, fuse_req_t req, struct message *message, const struct wait *what)
{
	int fd = need_body(fs, req, message, what);

	if (fd >= 0) {
		reply_read(req, fd, what->size, what->off);
		close(fd);
	} else if (fd != -EINPROGRESS) {
		fuse_reply_err(req, -fd);
	}
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct message *message = tree_message(fs->tree, ino, false);

	tree_void(fs->tree, ino);
	if (!message)
		fuse_reply_err(req, ENOENT);
	else if (fi->fh != HELD || !read_held(fs, req, message, size, off))
		read_body(fs, req, message, &(struct wait){ .kind = WAIT_BODY, .fi = *fi, .size = size, .off = off });
	message_unref(message);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct message *message = tree_message(fs->tree, ino, false); /* the kernel holds it until after this */

	if (message && fi->fh == HELD)
		mailbox_release(fs->mailbox, message);
	message_unref(message);
	fuse_reply_err(req, 0);
}
