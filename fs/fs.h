/* SPDX-License-Identifier: MIT */
/*
 * The file system: FUSE requests in, answers out of the tree and the mailbox. This is the edge: below it
 * nothing knows FUSE, and only here an errno goes to the kernel.
 *
 * THREADS. Requests come on the FUSE loop's threads and are answered from memory at once. An open that needs
 * a download and an fsync of the directory (a commit) are put on the waiting list (fs/wait.h) and answered
 * from the link's thread. What changes without the kernel's doing is told to it by the notifier's thread
 * (fs/notify.h); only the size of a message that is being opened is told by the link's. Locks, in this order: the
 * waiting list, read-ahead, the tree, the mailbox. None is held while the kernel is answered or told something.
 */
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <stdatomic.h>

#include "cache/mailbox.h"
#include "fs/notify.h"
#include "fs/readahead.h"
#include "fs/tree.h"
#include "fs/wait.h"

struct fs {
	struct fuse_session *session; /* set before the first request */
	struct mailbox *mailbox;      /* likewise */
	_Atomic(struct notify *) notify;        /* set when the mount stands; NULL: there is nobody to tell */
	struct tree *tree;
	struct wait_list *waits;
	uid_t uid;
	gid_t gid;
	mode_t umask;
	const char *server, *user; /* for the extended attributes of the root */
	struct readahead *readahead; /* NULL: prefetch=off */
	bool fetch_all;              /* prefetch=all */
	int refresh_ms; /* age of a listing from which it is renewed when the root is opened */
};

/* The operations; their userdata is a struct fs. */
extern const struct fuse_lowlevel_ops fs_ops;

/* The mailbox's hooks, for a struct fs as ctx. */
struct mailbox_hooks fs_hooks(struct fs *fs);

/* Attributes of an inode; false: there is none of that number. */
bool fs_attr(struct fs *fs, fuse_ino_t ino, struct stat *attr_r);

/* fs/xattr.c */
void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
/* fs/directory.c */
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
	      const void *in, size_t in_size, size_t out_size);
void fs_refreshed(void *ctx, int err); /* answers who waits for a listing */
void fs_expired(void *ctx, struct wait *wait);
void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
/* fs/file.c */
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_sized(void *ctx, struct message *message, uint64_t was, uint64_t now, int fd);
void fs_fetched(void *ctx, struct message *message, int err);

/* How long the kernel may believe what it was told, in seconds: we tell it when something changes. */
#define FS_TIMEOUT (365.0 * 86400)
/* That a name does not exist: mail may come. */
#define FS_NEGATIVE_TIMEOUT 60.0

/* Fills what a LOOKUP or a READDIRPLUS entry says; .deleted's entries are looked up each time. */
void fs_entry(struct fs *fs, uint64_t dir, struct message *message, struct fuse_entry_param *entry_r);
