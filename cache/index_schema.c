/* SPDX-License-Identifier: MIT */
#include "cache/index_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define APPLICATION_ID 0x504f5033 /* "POP3" */
/* Another mount of the same account may write: it is done long before this. */
#define BUSY_MS 10000
#define PATH_SIZE 4096
/* The log beside the index grows to about so many pages of 4 kB: on a full disk there may be no more room. */
#define WAL_PAGES "250"

/* What brings an index from version i to i + 1. Released steps are never changed. */
static const char *const steps[] = {
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"INSERT INTO meta VALUES ('account', ''), ('template', ''), ('listed', 0), ('mounts', 0), ('origin', '');"
	"CREATE TABLE message ("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT," /* the inode number: never given again */
	"  key TEXT NOT NULL UNIQUE,"
	"  listed INTEGER NOT NULL,"           /* by LIST */
	"  octets INTEGER NOT NULL,"           /* as shown */
	"  exact INTEGER NOT NULL,"
	"  stamp INTEGER NOT NULL DEFAULT 0,"  /* of the body; 0: there is none to believe */
	"  header INTEGER NOT NULL,"           /* enum index_header */
	"  digest INTEGER NOT NULL,"
	"  mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,"
	"  used INTEGER NOT NULL,"
	"  name TEXT,"
	"  gone INTEGER,"                      /* since when it is no longer listed; NULL: it is */
	"  sender TEXT, sender_name TEXT, sender_addr TEXT, recipient TEXT, subject TEXT, message_id TEXT,"
	"  date INTEGER, received INTEGER);"
	"INSERT INTO sqlite_sequence VALUES ('message', 15);" /* MAILBOX_FIRST_INO - 1 */
	"CREATE INDEX gone ON message (gone) WHERE gone IS NOT NULL;"
	/* On its own, so that it can be read when the rest is damaged. */
	"CREATE TABLE pending (key TEXT PRIMARY KEY, asked INTEGER NOT NULL) WITHOUT ROWID;",
};
#define VERSION (int)(sizeof(steps) / sizeof(steps[0]))

/* The first number that a query brings; -1: none. */
static int64_t query_number(sqlite3 *db, const char *query)
{
	sqlite3_stmt *statement = NULL;
	int64_t number = -1;

	if (sqlite3_prepare_v2(db, query, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

/* The first text that a query brings, to be freed; NULL: none. */
static char *query_text(sqlite3 *db, const char *query)
{
	sqlite3_stmt *statement = NULL;
	char *text = NULL;

	if (sqlite3_prepare_v2(db, query, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW &&
	    sqlite3_column_text(statement, 0))
		text = strdup((const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	return text;
}

char *schema_meta(sqlite3 *db, const char *name)
{
	char query[100];

	snprintf(query, sizeof(query), "SELECT value FROM meta WHERE name = '%s'", name);
	return query_text(db, query);
}

bool schema_is_ours(sqlite3 *db)
{
	int64_t version = query_number(db, "PRAGMA user_version");

	return query_number(db, "PRAGMA application_id") == APPLICATION_ID && version > 0 && version <= VERSION;
}

/* Brings a new or an older index to the present version. */
static int migrate(sqlite3 *db)
{
	char pragmas[100];
	int rc;

	if (query_number(db, "PRAGMA user_version") == VERSION)
		return SQLITE_OK;
	rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	for (int64_t i = query_number(db, "PRAGMA user_version"); rc == SQLITE_OK && i >= 0 && i < VERSION; i++)
		rc = sqlite3_exec(db, steps[i], NULL, NULL, NULL);
	snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION_ID,
		 VERSION);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

/* What is wrong with a database; NULL: nothing. A new one is empty. */
static const char *find_fault(sqlite3 *db, bool thoroughly)
{
	int64_t tables = query_number(db, "SELECT count(*) FROM sqlite_schema");
	char *verdict;
	bool sound;

	if (tables < 0)
		return sqlite3_errmsg(db);
	if (tables == 0 && query_number(db, "PRAGMA user_version") == 0)
		return NULL;
	if (query_number(db, "PRAGMA application_id") != APPLICATION_ID)
		return "it is not pop3fs's";
	if (!schema_is_ours(db))
		return "it is of a newer version";
	if (!thoroughly)
		return NULL;
	verdict = query_text(db, "PRAGMA quick_check(1)");
	sound = verdict && strcmp(verdict, "ok") == 0;
	free(verdict);
	return sound ? NULL : "it is damaged";
}

static bool is_damage(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

/* Opens, checks and migrates. SQLITE_NOTADB, with *why: it is no index of ours, or a damaged one. */
static int open_file(const struct index_config *config, sqlite3 **db_r, struct pop3_why *why)
{
	const char *path = config->path ? config->path : ":memory:", *fault;
	int fd = config->path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	int rc;

	if (config->path && fd < 0) {
		pop3_fail(why, POP3_E_LOCAL, "%s: %s", path, strerror(errno));
		return errno == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN;
	}
	if (fd >= 0)
		close(fd); /* made for nobody else to read; what SQLite puts beside it gets the same mode */
	rc = sqlite3_open_v2(path, db_r, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	sqlite3_busy_timeout(*db_r, BUSY_MS);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(*db_r, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;"
				  "PRAGMA wal_autocheckpoint = " WAL_PAGES, NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		fault = find_fault(*db_r, config->alone);
		if (fault) {
			pop3_fail(why, POP3_E_LOCAL, "%s", fault);
			rc = sqlite3_errcode(*db_r);
			return rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_NOTADB : rc;
		}
		rc = migrate(*db_r);
	}
	if (rc != SQLITE_OK)
		pop3_fail(why, POP3_E_LOCAL, "%s", is_damage(rc) ? "it is damaged" : sqlite3_errstr(rc));
	return rc;
}

/* What a copy of the file does not have: its inode number and when that was made. */
static void origin_of(const char *path, char *origin, size_t size)
{
	struct statx st = { 0 };

	if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &st) != 0)
		st = (struct statx){ 0 };
	snprintf(origin, size, "%llu %lld.%u", (unsigned long long)st.stx_ino, (long long)st.stx_btime.tv_sec,
		 st.stx_btime.tv_nsec);
}

/* The index knows its origin, and it is another one. */
static bool is_copy(sqlite3 *db, const char *path)
{
	char origin[100], *known = schema_meta(db, "origin");
	bool other;

	origin_of(path, origin, sizeof(origin));
	other = known && known[0] && strcmp(known, origin) != 0;
	free(known);
	return other;
}

/* In a copied index nothing is pending. */
static int claim(sqlite3 *db, const struct index_config *config)
{
	char origin[100], query[200], text[400];
	int64_t pending = query_number(db, "SELECT count(*) FROM pending");
	bool copy = config->path && is_copy(db, config->path);

	if (copy && pending > 0) {
		snprintf(text, sizeof(text),
			 "the cache of %s was copied: %lld pending deletions stay with the original, nothing is deleted here",
			 config->account, (long long)pending);
		config->note(config->ctx, text);
	}
	if (!config->path || (!copy && query_number(db, "SELECT value <> '' FROM meta WHERE name = 'origin'") == 1))
		return SQLITE_OK;
	origin_of(config->path, origin, sizeof(origin));
	snprintf(query, sizeof(query), "%s UPDATE meta SET value = '%s' WHERE name = 'origin'",
		 copy ? "DELETE FROM pending;" : "", origin);
	return sqlite3_exec(db, query, NULL, NULL, NULL);
}

/* Moves the file and what SQLite put beside it to another name. */
static bool set_aside(const char *path, char aside[PATH_SIZE])
{
	static const char *const suffixes[] = { "-wal", "-shm", "" };
	char from[PATH_SIZE + 8], to[PATH_SIZE + 8];
	bool moved = false;

	snprintf(aside, PATH_SIZE, "%s.bad-%lld", path, (long long)time(NULL));
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(from, sizeof(from), "%s%s", path, suffixes[i]);
		snprintf(to, sizeof(to), "%s%s", aside, suffixes[i]);
		moved = rename(from, to) == 0;
	}
	return moved;
}

/* Takes the pending deletions over from an index that was set aside, as far as they can be read. */
static int64_t rescue(sqlite3 *db, const char *aside)
{
	sqlite3_stmt *from = NULL, *to = NULL;
	int64_t rescued = 0;
	sqlite3 *old;

	if (sqlite3_open_v2(aside, &old, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
	    query_number(old, "PRAGMA application_id") == APPLICATION_ID && !is_copy(old, aside) &&
	    sqlite3_prepare_v2(old, "SELECT key, asked FROM pending", -1, &from, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO pending VALUES (?1, ?2)", -1, &to, NULL) == SQLITE_OK)
		while (sqlite3_step(from) == SQLITE_ROW) {
			sqlite3_bind_value(to, 1, sqlite3_column_value(from, 0));
			sqlite3_bind_value(to, 2, sqlite3_column_value(from, 1));
			rescued += sqlite3_step(to) == SQLITE_DONE;
			sqlite3_reset(to);
		}
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	sqlite3_close(old);
	return rescued;
}

/* A new index in the place of one that cannot be used. */
static int replace(const struct index_config *config, sqlite3 **db_r, struct pop3_why *why)
{
	struct pop3_why fault = *why;
	char aside[PATH_SIZE], text[PATH_SIZE + 700];
	int rc;

	sqlite3_close(*db_r);
	*db_r = NULL;
	if (!set_aside(config->path, aside)) {
		pop3_fail(why, POP3_E_LOCAL, "%s: %s, and it cannot be renamed: %s", config->path, fault.text, strerror(errno));
		return SQLITE_CANTOPEN;
	}
	rc = open_file(config, db_r, why);
	if (rc == SQLITE_OK) {
		snprintf(text, sizeof(text), "index set aside as %s: %s; %lld pending deletions are taken over", aside,
			 fault.text, (long long)rescue(*db_r, aside));
		config->note(config->ctx, text);
	}
	return rc;
}

int schema_open(const struct index_config *config, sqlite3 **db_r, struct pop3_why *why)
{
	int rc = open_file(config, db_r, why);

	if (is_damage(rc) && config->path && config->alone) {
		rc = replace(config, db_r, why);
	} else if (rc != SQLITE_OK) {
		struct pop3_why fault = *why;

		pop3_fail(why, POP3_E_LOCAL, "%s: %s%s", config->path, fault.text,
			  is_damage(rc) ? ", and another mount uses it" : "");
	}
	if (rc == SQLITE_OK && (rc = claim(*db_r, config)) != SQLITE_OK)
		pop3_fail(why, POP3_E_LOCAL, "%s: %s", config->path, sqlite3_errstr(rc));
	return rc;
}
