/* SPDX-License-Identifier: MIT */
/*
 * The facts about a message, and about the mount on its root, as extended attributes (DESIGN 13). One table
 * each: a name and the function that writes its value. Names outside user. get EOPNOTSUPP, after which the
 * kernel asks for them no more (shared/FUSE.md).
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/fs.h"
#include "fs/version.h"

#define VALUE_MAX 8192

/* Writes a value, at most `size` octets; returns its length, or -1: the attribute is not there. */
typedef int value_fn(struct fs *fs, struct message *message, char *value, size_t size);

struct attribute {
	const char *name;
	value_fn *value;
};

/* snprintf's result, as the length of what is there. */
static int fit(int n, size_t size)
{
	return n < 0 ? -1 : (size_t)n >= size ? (int)size - 1 : n;
}

static int put(char *value, size_t size, const char *text)
{
	return text[0] ? fit(snprintf(value, size, "%s", text), size) : -1;
}

static int put_number(char *value, size_t size, uint64_t number)
{
	return fit(snprintf(value, size, "%llu", (unsigned long long)number), size);
}

static int put_time(char *value, size_t size, int64_t seconds)
{
	time_t time = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&time, &tm))
		return -1;
	return (int)strftime(value, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int message_uidl(struct fs *fs, struct message *message, char *value, size_t size)
{
	const char *key = message_key(message);
	size_t len = listing_uid_len(key);

	(void)fs;
	if (key[0] == '\n' || len > size)
		return -1;
	memcpy(value, key, len);
	return (int)len;
}

static int message_size(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct message_facts facts;

	mailbox_facts(fs->mailbox, message, &facts);
	return put_number(value, size, facts.listed);
}

/* A string of the envelope, told by its place there. */
static int put_envelope(struct fs *fs, struct message *message, size_t offset, char *value, size_t size)
{
	struct envelope *envelope = mailbox_envelope(fs->mailbox, message);
	int n = envelope ? put(value, size, *(const char **)((char *)envelope + offset)) : -1;

	free(envelope);
	return n;
}

static int message_from(struct fs *fs, struct message *message, char *value, size_t size)
{
	return put_envelope(fs, message, offsetof(struct envelope, from), value, size);
}

static int message_to(struct fs *fs, struct message *message, char *value, size_t size)
{
	return put_envelope(fs, message, offsetof(struct envelope, to), value, size);
}

static int message_subject(struct fs *fs, struct message *message, char *value, size_t size)
{
	return put_envelope(fs, message, offsetof(struct envelope, subject), value, size);
}

static int message_message_id(struct fs *fs, struct message *message, char *value, size_t size)
{
	return put_envelope(fs, message, offsetof(struct envelope, message_id), value, size);
}

static int message_date(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct envelope *envelope = mailbox_envelope(fs->mailbox, message);
	int n = envelope && envelope->date != ENVELOPE_NO_TIME ? put_time(value, size, envelope->date) : -1;

	free(envelope);
	return n;
}

static int message_mime_type(struct fs *fs, struct message *message, char *value, size_t size)
{
	(void)fs, (void)message;
	return put(value, size, "message/rfc822");
}

static const struct attribute message_attributes[] = {
	{ "user.pop3.uidl", message_uidl },         { "user.pop3.size", message_size },
	{ "user.mail.from", message_from },         { "user.mail.to", message_to },
	{ "user.mail.subject", message_subject },   { "user.mail.date", message_date },
	{ "user.mail.message-id", message_message_id }, { "user.mime_type", message_mime_type },
};

static int root_server(struct fs *fs, struct message *message, char *value, size_t size)
{
	(void)message;
	return put(value, size, fs->server);
}

static int root_user(struct fs *fs, struct message *message, char *value, size_t size)
{
	(void)message;
	return put(value, size, fs->user);
}

static int root_session(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	return fit(snprintf(value, size, "%s (%s; %u logins)", status.link.session,
			    status.link.connected ? "connected" : "not connected", status.link.logins), size);
}

static int root_messages(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	return fit(snprintf(value, size, "%zu (%llu octets)", status.messages, (unsigned long long)status.octets),
		   size);
}

static int root_pending(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	return put_number(value, size, status.pending);
}

static int root_cached(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	return fit(snprintf(value, size, "%zu (%llu octets)", status.cached,
			    (unsigned long long)status.cached_octets), size);
}

static int root_ahead(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	return fit(snprintf(value, size, "%zu (%zu not opened since)", status.ahead, status.unused), size);
}

static int root_listed(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	return put_time(value, size, status.listed);
}

static int root_commit(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;
	int n;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	if (status.commit.time == 0)
		return -1;
	n = put_time(value, size, status.commit.time);
	return fit(n + snprintf(value + n, size - (size_t)n, ": %zu deleted, %zu already gone, %zu not deleted%s%s",
				status.commit.deleted, status.commit.gone, status.commit.kept,
				status.commit.err ? ": " : "", status.commit.why.text), size);
}

static int root_last_error(struct fs *fs, struct message *message, char *value, size_t size)
{
	struct mailbox_status status;
	int n;

	(void)message;
	mailbox_status(fs->mailbox, &status);
	if (!status.link.last.text[0])
		return -1;
	n = put_time(value, size, status.link.last_time);
	return fit(n + snprintf(value + n, size - (size_t)n, ": %s", status.link.last.text), size);
}

static int root_pid(struct fs *fs, struct message *message, char *value, size_t size)
{
	(void)fs, (void)message;
	return put_number(value, size, (uint64_t)getpid());
}

static int root_version(struct fs *fs, struct message *message, char *value, size_t size)
{
	(void)fs, (void)message;
	return put(value, size, POP3FS_VERSION);
}

static const struct attribute root_attributes[] = {
	{ "user.pop3.server", root_server },   { "user.pop3.user", root_user },
	{ "user.pop3.session", root_session }, { "user.pop3.messages", root_messages },
	{ "user.pop3.pending", root_pending }, { "user.pop3.cached", root_cached },
	{ "user.pop3.ahead", root_ahead },     { "user.pop3.listed", root_listed },   { "user.pop3.last-commit", root_commit },
	{ "user.pop3.last-error", root_last_error }, { "user.pop3.pid", root_pid },
	{ "user.pop3.version", root_version },
};

/* The attributes of an inode, and its message (with a reference) where it is one. */
static const struct attribute *attributes_of(struct fs *fs, fuse_ino_t ino, struct message **message_r, size_t *n_r)
{
	*message_r = NULL;
	*n_r = 0;
	if (ino == TREE_DELETED)
		return root_attributes;
	if (ino == TREE_ROOT) {
		*n_r = sizeof(root_attributes) / sizeof(root_attributes[0]);
		return root_attributes;
	}
	*message_r = tree_message(fs->tree, ino, false);
	if (*message_r)
		*n_r = sizeof(message_attributes) / sizeof(message_attributes[0]);
	return message_attributes;
}

/* The common end: the length where the caller asks for it, the octets where they fit. */
static void reply_octets(fuse_req_t req, const char *octets, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, octets, len);
}

void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fuse_req_userdata(req);
	const struct attribute *attributes;
	struct message *message;
	char value[VALUE_MAX];
	size_t count;
	int len = -1;

	if (strncmp(name, "user.", 5) != 0) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	attributes = attributes_of(fs, ino, &message, &count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(name, attributes[i].name) == 0)
			len = attributes[i].value(fs, message, value, sizeof(value));
	message_unref(message);
	if (len < 0)
		fuse_reply_err(req, ENODATA);
	else
		reply_octets(req, value, (size_t)len, size);
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fuse_req_userdata(req);
	const struct attribute *attributes;
	char names[1024], value[VALUE_MAX];
	struct message *message;
	size_t count, len = 0;

	attributes = attributes_of(fs, ino, &message, &count);
	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(attributes[i].name) + 1;

		if (len + n > sizeof(names) || attributes[i].value(fs, message, value, sizeof(value)) < 0)
			continue;
		memcpy(names + len, attributes[i].name, n);
		len += n;
	}
	message_unref(message);
	reply_octets(req, names, len, size);
}
