/* SPDX-License-Identifier: MIT */
#include "fs/status.h"

#include <unistd.h>

#include "fs/attribute.h"
#include "fs/fs.h"
#include "fs/version.h"

enum fact {
	SERVER,
	USER,
	SESSION,
	CONNECTED,
	LOGINS,
	OFFLINE_SINCE,
	LISTED,
	MESSAGES,
	OCTETS,
	PENDING,
	CACHED,
	CACHED_OCTETS,
	CACHE_SIZE,
	CACHE,
	AHEAD,
	AHEAD_UNUSED,
	COMMIT_TIME,
	COMMIT_DELETED_COUNT,
	COMMIT_GONE_COUNT,
	COMMIT_KEPT_COUNT,
	COMMIT_ERROR,
	LAST_ERROR,
	LAST_ERROR_TIME,
	PID,
	VERSION,
};

static const struct {
	const char *name;
	bool number;
} facts[] = {
	[SERVER] = { STATUS_PREFIX "server", false },
	[USER] = { STATUS_PREFIX "user", false },
	[SESSION] = { STATUS_PREFIX "session", false },
	[CONNECTED] = { STATUS_PREFIX "connected", true },
	[LOGINS] = { STATUS_PREFIX "logins", true },
	[OFFLINE_SINCE] = { STATUS_PREFIX "offline-since", false },
	[LISTED] = { STATUS_PREFIX "listed", false },
	[MESSAGES] = { STATUS_PREFIX "messages", true },
	[OCTETS] = { STATUS_PREFIX "octets", true },
	[PENDING] = { STATUS_PREFIX "pending", true },
	[CACHED] = { STATUS_PREFIX "cached", true },
	[CACHED_OCTETS] = { STATUS_PREFIX "cached-octets", true },
	[CACHE_SIZE] = { STATUS_PREFIX "cache-size", true },
	[CACHE] = { STATUS_PREFIX "cache", false },
	[AHEAD] = { STATUS_PREFIX "ahead", true },
	[AHEAD_UNUSED] = { STATUS_PREFIX "ahead-unused", true },
	[COMMIT_TIME] = { STATUS_PREFIX "commit", false },
	[COMMIT_DELETED_COUNT] = { STATUS_PREFIX "commit-deleted", true },
	[COMMIT_GONE_COUNT] = { STATUS_PREFIX "commit-gone", true },
	[COMMIT_KEPT_COUNT] = { STATUS_PREFIX "commit-pending", true },
	[COMMIT_ERROR] = { STATUS_PREFIX "commit-error", false },
	[LAST_ERROR] = { STATUS_PREFIX "error", false },
	[LAST_ERROR_TIME] = { STATUS_PREFIX "error-time", false },
	[PID] = { STATUS_PREFIX "pid", true },
	[VERSION] = { STATUS_PREFIX "version", false },
};

size_t status_count(void)
{
	return sizeof(facts) / sizeof(facts[0]);
}

const char *status_name(size_t i)
{
	return facts[i].name;
}

bool status_is_number(size_t i)
{
	return facts[i].number;
}

/* The number of a fact that is one. */
static uint64_t number_of(const struct mailbox_status *status, enum fact fact)
{
	switch (fact) {
	case CONNECTED:
		return status->link.connected;
	case LOGINS:
		return status->link.logins;
	case MESSAGES:
		return status->messages;
	case OCTETS:
		return status->octets;
	case PENDING:
		return status->pending;
	case CACHED:
		return status->cached;
	case CACHED_OCTETS:
		return status->cached_octets;
	case CACHE_SIZE:
		return status->cache_size;
	case AHEAD:
		return status->ahead;
	case AHEAD_UNUSED:
		return status->unused;
	case COMMIT_DELETED_COUNT:
		return status->commit.deleted;
	case COMMIT_GONE_COUNT:
		return status->commit.gone;
	case COMMIT_KEPT_COUNT:
		return status->commit.kept;
	case PID:
		return (uint64_t)getpid();
	default:
		return 0;
	}
}

/* The text of a fact that is one; "" where there is none now. */
static const char *text_of(const struct fs *fs, const struct mailbox_status *status, enum fact fact)
{
	switch (fact) {
	case SERVER:
		return fs->server;
	case USER:
		return fs->user;
	case SESSION:
		return status->link.session;
	case CACHE:
		return status->cache ? status->cache : "memory";
	case COMMIT_ERROR:
		return status->commit.err ? status->commit.why.text : "";
	case LAST_ERROR:
		return status->link.last.text;
	case VERSION:
		return POP3FS_VERSION;
	default:
		return "";
	}
}

int status_value(struct fs *fs, size_t i, char *value, size_t size)
{
	const enum fact fact = (enum fact)i;
	struct mailbox_status status;

	mailbox_status(fs->mailbox, &status);
	if (fact == OFFLINE_SINCE)
		return attribute_time(value, size, status.link.down_since);
	if (fact == LISTED)
		return attribute_time(value, size, status.listed);
	if (fact == COMMIT_TIME)
		return attribute_time(value, size, status.commit.time);
	if (fact == LAST_ERROR_TIME)
		return attribute_time(value, size, status.link.last_time);
	if (fact >= COMMIT_DELETED_COUNT && fact <= COMMIT_ERROR && status.commit.time == 0)
		return -1;
	return facts[fact].number ? attribute_number(value, size, number_of(&status, fact))
				  : attribute_text(value, size, text_of(fs, &status, fact));
}
