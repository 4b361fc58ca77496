/* SPDX-License-Identifier: MIT */
/*
 * The facts about a message, and about the mount on its root (fs/status.h), as extended attributes (DESIGN 13). Names outside user. get EOPNOTSUPP, after which the
 * kernel asks for them no more (shared/FUSE.md).
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fs/attribute.h"
#include "fs/fs.h"
#include "fs/status.h"

#define VALUE_MAX 8192

/* Writes a value, at most `size` octets; returns its length, or -1: the attribute is not there. */
typedef int value_fn(struct fs *fs, struct message *message, char *value, size_t size);

struct attribute {
	const char *name;
	value_fn *value;
};

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
	return attribute_number(value, size, facts.listed);
}

/* A string of the envelope, told by its place there. */
static int put_envelope(struct fs *fs, struct message *message, size_t offset, char *value, size_t size)
{
	struct envelope *envelope = mailbox_envelope(fs->mailbox, message);
	int n = envelope ? attribute_text(value, size, *(const char **)((char *)envelope + offset)) : -1;

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
	int n = envelope && envelope->date != ENVELOPE_NO_TIME ? attribute_time(value, size, envelope->date) : -1;

	free(envelope);
	return n;
}

static int message_mime_type(struct fs *fs, struct message *message, char *value, size_t size)
{
	(void)fs, (void)message;
	return attribute_text(value, size, "message/rfc822");
}

static const struct attribute message_attributes[] = {
	{ "user.pop3.uidl", message_uidl },         { "user.pop3.size", message_size },
	{ "user.mail.from", message_from },         { "user.mail.to", message_to },
	{ "user.mail.subject", message_subject },   { "user.mail.date", message_date },
	{ "user.mail.message-id", message_message_id }, { "user.mime_type", message_mime_type },
};

static size_t count_of(fuse_ino_t ino, const struct message *message)
{
	if (ino == TREE_ROOT)
		return status_count();
	return message ? sizeof(message_attributes) / sizeof(message_attributes[0]) : 0;
}

static const char *name_of(fuse_ino_t ino, size_t i)
{
	return ino == TREE_ROOT ? status_name(i) : message_attributes[i].name;
}

static int value_of(struct fs *fs, struct message *message, size_t i, char *value, size_t size)
{
	return message ? message_attributes[i].value(fs, message, value, size) : status_value(fs, i, value, size);
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
	struct message *message;
	char value[VALUE_MAX];
	int len = -1;

	if (strncmp(name, "user.", 5) != 0) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	message = tree_message(fs->tree, ino, false);
	for (size_t i = 0; i < count_of(ino, message); i++)
		if (strcmp(name, name_of(ino, i)) == 0)
			len = value_of(fs, message, i, value, sizeof(value));
	message_unref(message);
	if (len < 0)
		fuse_reply_err(req, ENODATA);
	else
		reply_octets(req, value, (size_t)len, size);
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fuse_req_userdata(req);
	struct message *message = tree_message(fs->tree, ino, false);
	char names[1024], value[VALUE_MAX];
	size_t len = 0;

	for (size_t i = 0; i < count_of(ino, message); i++) {
		size_t n = strlen(name_of(ino, i)) + 1;

		if (len + n > sizeof(names) || value_of(fs, message, i, value, sizeof(value)) < 0)
			continue;
		memcpy(names + len, name_of(ino, i), n);
		len += n;
	}
	message_unref(message);
	reply_octets(req, names, len, size);
}
