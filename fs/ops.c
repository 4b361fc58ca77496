/* SPDX-License-Identifier: MIT */
/* The operations that have no file of their own, the table of all, and what the mailbox reports. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/fs.h"
#include "fs/log.h"
#include "fs/name.h"

static void directory_attr(struct fs *fs, fuse_ino_t ino, struct stat *attr_r)
{
	attr_r->st_mode = S_IFDIR | (0777 & ~fs->umask);
	attr_r->st_nlink = 2;
	attr_r->st_mtime = attr_r->st_ctime = attr_r->st_atime = tree_changed(fs->tree, ino);
}

static void message_attr(struct fs *fs, struct message *message, struct stat *attr_r)
{
	struct message_facts facts;

	mailbox_facts(fs->mailbox, message, &facts);
	/* Writable by its mode: rm asks before it removes what is not. A write gets EROFS. */
	attr_r->st_mode = S_IFREG | (0666 & ~fs->umask);
	attr_r->st_nlink = 1;
	attr_r->st_size = (off_t)facts.octets;
	attr_r->st_blocks = (blkcnt_t)((facts.octets + 511) / 512);
	attr_r->st_mtime = attr_r->st_atime = facts.mtime;
	attr_r->st_ctime = facts.ctime;
}

static struct stat blank_attr(const struct fs *fs, fuse_ino_t ino)
{
	return (struct stat){ .st_ino = ino, .st_uid = fs->uid, .st_gid = fs->gid };
}

bool fs_attr(struct fs *fs, fuse_ino_t ino, struct stat *attr_r)
{
	struct message *message = NULL;

	*attr_r = blank_attr(fs, ino);
	if (ino == TREE_ROOT || ino == TREE_DELETED) {
		directory_attr(fs, ino, attr_r);
		return true;
	}
	message = tree_message(fs->tree, ino, false);
	if (message)
		message_attr(fs, message, attr_r);
	message_unref(message);
	return message != NULL;
}

static void directory_entry(struct fs *fs, fuse_ino_t ino, struct fuse_entry_param *entry_r)
{
	*entry_r = (struct fuse_entry_param){ .ino = ino, .attr_timeout = FS_TIMEOUT, .entry_timeout = FS_TIMEOUT };
	entry_r->attr = blank_attr(fs, ino);
	directory_attr(fs, ino, &entry_r->attr);
}

void fs_entry(struct fs *fs, uint64_t dir, struct message *message, struct fuse_entry_param *entry_r)
{
	*entry_r = (struct fuse_entry_param){ .ino = message_ino(message),
					      .attr_timeout = FS_TIMEOUT,
					      .entry_timeout = dir == TREE_DELETED ? 0 : FS_TIMEOUT };
	entry_r->attr = blank_attr(fs, entry_r->ino);
	message_attr(fs, message, &entry_r->attr);
}

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	/* Always, not when the kernel guesses that it pays: a cold ls -l costs a sixth (FUSE.md). */
	conn->want |= conn->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_EXPORT_SUPPORT);
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct fuse_entry_param entry = { .entry_timeout = FS_NEGATIVE_TIMEOUT };
	struct message *message = NULL;

	if (strcmp(name, ".") == 0) { /* a file handle of before, by number */
		message = tree_message(fs->tree, parent, true);
		if (message)
			fs_entry(fs, TREE_ROOT, message, &entry);
		else if (parent < MAILBOX_FIRST_INO)
			directory_entry(fs, parent, &entry);
	} else if (strcmp(name, "..") == 0) {
		directory_entry(fs, TREE_ROOT, &entry);
	} else if (parent == TREE_ROOT && strcmp(name, TREE_DELETED_NAME) == 0) {
		directory_entry(fs, TREE_DELETED, &entry);
	} else {
		message = tree_lookup(fs->tree, parent, name, true);
		if (message)
			fs_entry(fs, parent, message, &entry);
		else if (parent == TREE_DELETED)
			entry.entry_timeout = 0;
	}
	if (fuse_reply_entry(req, &entry) != 0 && message)
		tree_forget(fs->tree, message_ino(message), 1);
	message_unref(message);
}

static void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct fs *fs = fuse_req_userdata(req);

	tree_forget(fs->tree, ino, count);
	fuse_reply_none(req);
}

static void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fuse_req_userdata(req);

	for (size_t i = 0; i < count; i++)
		tree_forget(fs->tree, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct stat attr;

	(void)fi;
	if (fs_attr(fs, ino, &attr))
		fuse_reply_attr(req, &attr, FS_TIMEOUT);
	else
		fuse_reply_err(req, ENOENT);
}

/* The message that the notifier's own MKNOD or UNLINK announces; 0: the request is somebody else's. */
static uint64_t announced(struct fs *fs, fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct notify *notify = atomic_load(&fs->notify);

	return notify && parent == TREE_ROOT ? notify_announced(notify, fuse_req_ctx(req)->pid, name) : 0;
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	uint64_t ino = announced(fs, req, parent, name);
	struct message *message;
	int err;

	if (ino) { /* it has gone from the server: nothing is deleted */
		tree_remove(fs->tree, ino);
		fuse_reply_err(req, 0);
		return;
	}
	message = tree_lookup(fs->tree, parent, name, false);
	err = message ? 0 : -ENOENT;
	if (message && parent == TREE_DELETED) /* only a commit deletes for good */
		err = -EPERM;
	if (!err)
		err = mailbox_delete(fs->mailbox, message);
	if (!err)
		tree_move(fs->tree, message_ino(message), TREE_DELETED);
	message_unref(message);
	fuse_reply_err(req, -err);
}

/* Only one rename is allowed: out of .deleted, to the same name, which takes the deletion back. */
static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned flags)
{
	struct fs *fs = fuse_req_userdata(req);
	struct message *message = NULL;
	int err = 0;

	(void)flags;
	if (parent != TREE_DELETED || newparent != TREE_ROOT || strcmp(name, newname) != 0)
		err = -EROFS;
	else if (!(message = tree_lookup(fs->tree, parent, name, false)))
		err = -ENOENT;
	if (!err)
		err = mailbox_restore(fs->mailbox, message);
	if (!err)
		tree_move(fs->tree, message_ino(message), TREE_ROOT);
	message_unref(message);
	fuse_reply_err(req, -err);
}

static void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fuse_req_userdata(req);
	struct statvfs st = { .f_bsize = 4096, .f_frsize = 512, .f_namemax = NAME_SIZE - 1 };
	struct mailbox_status status;

	(void)ino;
	mailbox_status(fs->mailbox, &status);
	st.f_blocks = (status.octets + st.f_frsize - 1) / st.f_frsize;
	st.f_files = status.messages;
	fuse_reply_statfs(req, &st);
}

/* What would change a message or add one: the maildrop is the server's to fill. */

static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	(void)ino, (void)attr, (void)to_set, (void)fi;
	fuse_reply_err(req, EROFS);
}

/* Nobody makes a message but the notifier, when one has come. */
static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fs *fs = fuse_req_userdata(req);
	uint64_t ino = announced(fs, req, parent, name);

	(void)mode, (void)rdev;
	if (!ino) {
		fuse_reply_err(req, EROFS);
		return;
	}
	tree_move(fs->tree, ino, TREE_ROOT);
	fs_lookup(req, parent, name);
}

/* Comes where opens are no longer asked for, DESIGN 11. */
static void fs_write(fuse_req_t req, fuse_ino_t ino, const char *octets, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)ino, (void)octets, (void)size, (void)off, (void)fi;
	fuse_reply_err(req, EROFS);
}

static void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	(void)parent, (void)name, (void)mode, (void)fi;
	fuse_reply_err(req, EROFS);
}

static void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target, (void)parent, (void)name;
	fuse_reply_err(req, EROFS);
}

static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino, (void)parent, (void)name;
	fuse_reply_err(req, EROFS);
}

/* Not EROFS: file managers then offer to delete for good in place of a trash folder. */
static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent, (void)name, (void)mode;
	fuse_reply_err(req, EPERM);
}

static void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	(void)ino, (void)value, (void)size, (void)flags;
	fuse_reply_err(req, strncmp(name, "user.", 5) == 0 ? EROFS : EOPNOTSUPP);
}

static void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	fuse_reply_err(req, strncmp(name, "user.", 5) == 0 ? EROFS : EOPNOTSUPP);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = fs_init,
	.lookup = fs_lookup,
	.forget = fs_forget,
	.forget_multi = fs_forget_multi,
	.getattr = fs_getattr,
	.setattr = fs_setattr,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.unlink = fs_unlink,
	.rmdir = fs_rmdir,
	.symlink = fs_symlink,
	.rename = fs_rename,
	.link = fs_link,
	.open = fs_open,
	.read = fs_read,
	.write = fs_write,
	.release = fs_release,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.readdirplus = fs_readdirplus,
	.releasedir = fs_releasedir,
	.fsyncdir = fs_fsyncdir,
	.ioctl = fs_ioctl,
	.statfs = fs_statfs,
	.setxattr = fs_setxattr,
	.getxattr = fs_getxattr,
	.listxattr = fs_listxattr,
	.removexattr = fs_removexattr,
	.create = fs_create,
};

/* What stands in .deleted leaves it at once, before the commit is answered; the rest is announced. */
static void show_removed(struct fs *fs, struct notify *notify, struct message *message)
{
	char name[NAME_SIZE];
	uint64_t dir;

	if (notify && !(tree_find(fs->tree, message_ino(message), &dir, name) && dir == TREE_DELETED))
		notify_removed(notify, message);
	else
		tree_remove(fs->tree, message_ino(message));
}

/* A deletion that was pending before this mount stands in .deleted; one that was taken back elsewhere leaves it. */
static void show_added(struct fs *fs, struct notify *notify, struct message *message)
{
	struct message_facts facts;
	char name[NAME_SIZE];
	uint64_t dir;

	mailbox_facts(fs->mailbox, message, &facts);
	if (notify && !facts.pending)
		notify_added(notify, message);
	else if (tree_find(fs->tree, message_ino(message), &dir, name))
		tree_move(fs->tree, message_ino(message), facts.pending ? TREE_DELETED : TREE_ROOT);
	else if (!tree_add(fs->tree, message, facts.pending ? TREE_DELETED : TREE_ROOT, name))
		log_error("a message is not shown: out of memory");
}

static void on_listed(void *ctx, struct message *const *added, size_t n_added, struct message *const *removed,
		      size_t n_removed)
{
	struct fs *fs = ctx;
	struct notify *notify = atomic_load(&fs->notify);

	for (size_t i = 0; i < n_removed; i++)
		show_removed(fs, notify, removed[i]);
	for (size_t i = 0; i < n_added; i++)
		show_added(fs, notify, added[i]);
}

/* Those who wait for it are answered when what it brought can be seen. */
static void on_refreshed(void *ctx, int err)
{
	struct fs *fs = ctx;
	struct notify *notify = atomic_load(&fs->notify);

	if (notify)
		notify_refreshed(notify, err);
	else
		fs_refreshed(fs, err);
}

static void on_committed(void *ctx, uint64_t ticket, int err)
{
	struct fs *fs = ctx;
	struct wait *taken = wait_take(fs->waits, WAIT_COMMIT, ticket), *wait;

	while ((wait = taken)) {
		DL_DELETE(taken, wait);
		fuse_reply_err(wait->req, -err);
		free(wait);
	}
}

static void on_note(void *ctx, const char *text)
{
	(void)ctx;
	log_warning("%s", text);
}

struct mailbox_hooks fs_hooks(struct fs *fs)
{
	return (struct mailbox_hooks){ .listed = on_listed,
				       .refreshed = on_refreshed,
				       .sized = fs_sized,
				       .fetched = fs_fetched,
				       .committed = on_committed,
				       .note = on_note,
				       .ctx = fs };
}
