/* SPDX-License-Identifier: MIT */
/*
 * One connection and one lock. In WAL mode a transaction with synchronous=NORMAL costs no sync and survives a crash of
 * the process; the deletions, which must survive a power cut, are written with FULL (DESIGN 5).
 */
#include "cache/index.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/index_schema.h"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	SYNC_FULL,
	SYNC_NORMAL,
	EACH,
	FIND,
	REVIVE,
	LAST_ID,
	SET_LAST_ID,
	INSERT,
	UPDATE,
	LEARN,
	ENVELOPE,
	GONE,
	REMOVE,
	LISTED,
	PEND,
	UNPEND,
	PENDING,
	SWEEP_PENDING,
	BODIES,
	OLDEST_GONE,
	FORGET,
	SET_META,
	COUNT_MOUNTS,
	SUMMARY,
	STATEMENTS
};

#define ROW_COLUMNS \
	"id, message.key, listed, octets, exact, stamp, header, digest, mtime, ctime, used, name, pending.key IS NOT NULL"

static const char *const sql[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[SYNC_FULL] = "PRAGMA synchronous = FULL",
	[SYNC_NORMAL] = "PRAGMA synchronous = NORMAL",
	[EACH] = "SELECT " ROW_COLUMNS " FROM message LEFT JOIN pending USING (key) WHERE gone IS NULL ORDER BY id",
	[FIND] = "SELECT " ROW_COLUMNS ", gone IS NOT NULL FROM message LEFT JOIN pending USING (key) WHERE message.key = ?1",
	[REVIVE] = "UPDATE message SET id = ?1, gone = NULL WHERE key = ?2",
	[LAST_ID] = "SELECT seq FROM sqlite_sequence WHERE name = 'message'",
	[SET_LAST_ID] = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'message'",
	[INSERT] = "INSERT INTO message (key, listed, octets, exact, header, digest, mtime, ctime, used, "
		   "sender, sender_name, sender_addr, recipient, subject, message_id, date, received) "
		   "VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
	[UPDATE] = "UPDATE message SET octets = ?2, exact = ?3, stamp = ?4, name = ?5, used = max(used, ?6) WHERE id = ?1",
	[LEARN] = "UPDATE message SET header = 1, mtime = ?6, ctime = ?7, sender = ?8, sender_name = ?9, sender_addr = ?10, "
		  "recipient = ?11, subject = ?12, message_id = ?13, date = ?14, received = ?15 WHERE id = ?1",
	[ENVELOPE] = "SELECT sender, sender_name, sender_addr, recipient, subject, message_id, date, received "
		     "FROM message WHERE id = ?1 AND sender IS NOT NULL",
	[GONE] = "UPDATE message SET gone = unixepoch() WHERE id = ?1",
	[REMOVE] = "DELETE FROM message WHERE key = ?1",
	[LISTED] = "UPDATE meta SET value = ?1 WHERE name = 'listed'",
	[PEND] = "INSERT OR IGNORE INTO pending VALUES (?1, unixepoch())",
	[UNPEND] = "DELETE FROM pending WHERE key = ?1",
	[PENDING] = "SELECT 1 FROM pending WHERE key = ?1",
	[SWEEP_PENDING] = "DELETE FROM pending WHERE NOT EXISTS "
			  "(SELECT 1 FROM message WHERE message.key = pending.key AND gone IS NULL)",
	[BODIES] = "SELECT key FROM message WHERE stamp <> 0",
	[OLDEST_GONE] = "SELECT id, key FROM message WHERE gone < ?1 ORDER BY gone LIMIT 1",
	[FORGET] = "DELETE FROM message WHERE id = ?1",
	[SET_META] = "UPDATE meta SET value = ?2 WHERE name = ?1",
	[COUNT_MOUNTS] = "UPDATE meta SET value = max(0, value + ?1) WHERE name = 'mounts'",
	[SUMMARY] = "SELECT (SELECT value FROM meta WHERE name = 'listed'), (SELECT value FROM meta WHERE name = 'account'), (SELECT count(*) FROM pending), "
		    "total(gone IS NULL), total(stamp <> 0), total((stamp <> 0) * octets), "
		    "total(stamp <> 0 AND gone IS NOT NULL), total((stamp <> 0 AND gone IS NOT NULL) * octets) FROM message",
};

struct index {
	sqlite3 *db;
	pthread_mutex_t lock;
	/* Under lock: */
	sqlite3_stmt *statements[STATEMENTS];
	int rc;     /* the first failure of the transaction */
	bool names; /* names of this mount's template are remembered here */
	bool open, was_clean;
};

static int to_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	default:
		return -EIO;
	}
}

/* A statement, ready for its values; NULL: it cannot be had. */
static sqlite3_stmt *use(struct index *index, enum statement which)
{
	sqlite3_stmt **statement = &index->statements[which];

	if (!*statement) {
		int rc = sqlite3_prepare_v3(index->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);

		if (rc != SQLITE_OK && index->rc == SQLITE_OK)
			index->rc = rc;
	}
	return *statement;
}

static void bind_text(sqlite3_stmt *statement, int column, const char *text)
{
	if (text)
		sqlite3_bind_text(statement, column, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, column);
}

/* The next row; false: there is none, or an error, which sticks. */
static bool step(struct index *index, sqlite3_stmt *statement)
{
	int rc = statement ? sqlite3_step(statement) : SQLITE_ERROR;

	if (rc != SQLITE_ROW && rc != SQLITE_DONE && index->rc == SQLITE_OK)
		index->rc = rc;
	return rc == SQLITE_ROW;
}

/* Runs a statement whose values are bound. */
static void run(struct index *index, sqlite3_stmt *statement)
{
	while (step(index, statement))
		;
	if (statement) {
		sqlite3_reset(statement);
		sqlite3_clear_bindings(statement);
	}
}

static void run_simple(struct index *index, enum statement which)
{
	run(index, use(index, which));
}

static void run_with_key(struct index *index, enum statement which, const char *key)
{
	sqlite3_stmt *statement = use(index, which);

	bind_text(statement, 1, key);
	run(index, statement);
}

static void run_with_number(struct index *index, enum statement which, int64_t number)
{
	sqlite3_stmt *statement = use(index, which);

	sqlite3_bind_int64(statement, 1, number);
	run(index, statement);
}

static void lock(struct index *index)
{
	pthread_mutex_lock(&index->lock);
	index->rc = SQLITE_OK;
}

static int unlock(struct index *index)
{
	int err = to_errno(index->rc);

	pthread_mutex_unlock(&index->lock);
	return err;
}

void index_begin(struct index *index)
{
	lock(index);
	run_simple(index, BEGIN);
}

int index_end(struct index *index)
{
	if (index->rc == SQLITE_OK)
		run_simple(index, COMMIT);
	if (!sqlite3_get_autocommit(index->db)) {
		int rc = index->rc;

		run_simple(index, ROLLBACK);
		index->rc = rc;
	}
	if ((index->rc & 0xff) == SQLITE_FULL) /* makes room in the log for another try */
		sqlite3_wal_checkpoint_v2(index->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	return unlock(index);
}

static struct index_row row_of(const struct index *index, sqlite3_stmt *statement)
{
	return (struct index_row){
		.id = (uint64_t)sqlite3_column_int64(statement, 0),
		.key = (const char *)sqlite3_column_text(statement, 1),
		.listed = (uint64_t)sqlite3_column_int64(statement, 2),
		.octets = (uint64_t)sqlite3_column_int64(statement, 3),
		.exact = sqlite3_column_int(statement, 4) != 0,
		.stamp = sqlite3_column_int64(statement, 5),
		.header = (enum index_header)sqlite3_column_int(statement, 6),
		.digest = (uint64_t)sqlite3_column_int64(statement, 7),
		.mtime = sqlite3_column_int64(statement, 8),
		.ctime = sqlite3_column_int64(statement, 9),
		.used = sqlite3_column_int64(statement, 10),
		.name = index->names ? (const char *)sqlite3_column_text(statement, 11) : NULL,
		.pending = sqlite3_column_int(statement, 12) != 0,
	};
}

int index_each(struct index *index, index_row_fn *fn, void *ctx)
{
	sqlite3_stmt *statement;

	lock(index);
	statement = use(index, EACH);
	while (step(index, statement)) {
		struct index_row row = row_of(index, statement);

		if (row.key)
			fn(ctx, &row);
	}
	sqlite3_reset(statement);
	sqlite3_db_release_memory(index->db); /* all of it went through the cache, and is not wanted again */
	return unlock(index);
}

int index_bodies(struct index *index, void (*fn)(void *ctx, const char *key), void *ctx)
{
	sqlite3_stmt *statement;

	lock(index);
	statement = use(index, BODIES);
	while (step(index, statement))
		fn(ctx, (const char *)sqlite3_column_text(statement, 0));
	sqlite3_reset(statement);
	return unlock(index);
}

static const char *column_string(sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	return text ? text : "";
}

struct envelope *index_envelope(struct index *index, uint64_t id)
{
	struct envelope *envelope = NULL;
	sqlite3_stmt *statement;

	lock(index);
	statement = use(index, ENVELOPE);
	sqlite3_bind_int64(statement, 1, (int64_t)id);
	if (step(index, statement))
		envelope = envelope_copy(&(struct envelope){ .from = column_string(statement, 0),
							     .from_name = column_string(statement, 1),
							     .from_addr = column_string(statement, 2),
							     .to = column_string(statement, 3),
							     .subject = column_string(statement, 4),
							     .message_id = column_string(statement, 5),
							     .date = sqlite3_column_int64(statement, 6),
							     .received = sqlite3_column_int64(statement, 7) });
	sqlite3_reset(statement);
	(void)unlock(index);
	return envelope;
}

/* The next id, taken. */
static uint64_t next_id(struct index *index)
{
	sqlite3_stmt *statement = use(index, LAST_ID);
	int64_t id = step(index, statement) ? sqlite3_column_int64(statement, 0) + 1 : 0;

	sqlite3_reset(statement);
	run_with_number(index, SET_LAST_ID, id);
	return (uint64_t)id;
}

bool index_find(struct index *index, const char *key, index_row_fn *fn, void *ctx)
{
	sqlite3_stmt *statement = use(index, FIND), *revive;
	bool found;

	bind_text(statement, 1, key);
	found = step(index, statement);
	if (found) {
		struct index_row row = row_of(index, statement);

		if (sqlite3_column_int(statement, 13)) {
			row.id = next_id(index);
			revive = use(index, REVIVE);
			sqlite3_bind_int64(revive, 1, (int64_t)row.id);
			bind_text(revive, 2, key);
			run(index, revive);
		}
		fn(ctx, &row);
	}
	sqlite3_reset(statement);
	return found;
}

/* Columns 6 to 15 of INSERT and LEARN. */
static void bind_envelope(sqlite3_stmt *statement, const struct index_row *row, const struct envelope *envelope)
{
	sqlite3_bind_int64(statement, 6, row->mtime);
	sqlite3_bind_int64(statement, 7, row->ctime);
	if (!envelope)
		return;
	bind_text(statement, 8, envelope->from);
	bind_text(statement, 9, envelope->from_name);
	bind_text(statement, 10, envelope->from_addr);
	bind_text(statement, 11, envelope->to);
	bind_text(statement, 12, envelope->subject);
	bind_text(statement, 13, envelope->message_id);
	sqlite3_bind_int64(statement, 14, envelope->date);
	sqlite3_bind_int64(statement, 15, envelope->received);
}

uint64_t index_insert(struct index *index, const struct index_row *row, const struct envelope *envelope)
{
	sqlite3_stmt *statement = use(index, INSERT);

	bind_text(statement, 1, row->key);
	sqlite3_bind_int64(statement, 2, (int64_t)row->listed);
	sqlite3_bind_int64(statement, 3, (int64_t)row->octets);
	sqlite3_bind_int(statement, 4, (int)row->header);
	sqlite3_bind_int64(statement, 5, (int64_t)row->digest);
	bind_envelope(statement, row, envelope);
	run(index, statement);
	return (uint64_t)sqlite3_last_insert_rowid(index->db);
}

void index_update(struct index *index, const struct index_row *row)
{
	sqlite3_stmt *statement = use(index, UPDATE);

	sqlite3_bind_int64(statement, 1, (int64_t)row->id);
	sqlite3_bind_int64(statement, 2, (int64_t)row->octets);
	sqlite3_bind_int(statement, 3, row->exact);
	sqlite3_bind_int64(statement, 4, row->stamp);
	bind_text(statement, 5, index->names ? row->name : NULL);
	sqlite3_bind_int64(statement, 6, row->used);
	run(index, statement);
}

void index_learn(struct index *index, const struct index_row *row, const struct envelope *envelope)
{
	sqlite3_stmt *statement = use(index, LEARN);

	sqlite3_bind_int64(statement, 1, (int64_t)row->id);
	bind_envelope(statement, row, envelope);
	run(index, statement);
}

void index_gone(struct index *index, uint64_t id)
{
	run_with_number(index, GONE, (int64_t)id);
}

void index_remove(struct index *index, const char *key)
{
	run_with_key(index, REMOVE, key);
	run_with_key(index, UNPEND, key);
}

void index_listed(struct index *index, int64_t time)
{
	run_with_number(index, LISTED, time);
	run_simple(index, SWEEP_PENDING);
	sqlite3_db_release_memory(index->db);
}

/* A statement with a key whose effect is on the disk when it returns. */
static int run_durably(struct index *index, enum statement which, const char *key)
{
	int err;

	lock(index);
	run_simple(index, SYNC_FULL);
	run_simple(index, BEGIN);
	if (index->rc == SQLITE_OK)
		run_with_key(index, which, key);
	err = index_end(index);
	lock(index);
	run_simple(index, SYNC_NORMAL);
	(void)unlock(index);
	return err;
}

int index_pend(struct index *index, const char *key)
{
	return run_durably(index, PEND, key);
}

int index_unpend(struct index *index, const char *key)
{
	return run_durably(index, UNPEND, key);
}

bool index_dooms(struct index *index, const char *key)
{
	sqlite3_stmt *statement = use(index, PENDING);
	bool pending;

	bind_text(statement, 1, key);
	pending = step(index, statement);
	sqlite3_reset(statement);
	return pending;
}

int index_is_pending(struct index *index, const char *key)
{
	bool pending;
	int err;

	lock(index);
	pending = index_dooms(index, key);
	err = unlock(index);
	return err ? err : pending;
}

int index_take_gone(struct index *index, int64_t before, char *key_r, size_t key_size)
{
	sqlite3_stmt *statement;
	int64_t id = 0;
	int err;

	index_begin(index);
	statement = use(index, OLDEST_GONE);
	sqlite3_bind_int64(statement, 1, before);
	if (step(index, statement)) {
		id = sqlite3_column_int64(statement, 0);
		snprintf(key_r, key_size, "%s", column_string(statement, 1));
	}
	sqlite3_reset(statement);
	if (id)
		run_with_number(index, FORGET, id);
	err = index_end(index);
	return err ? err : id != 0;
}

int index_summary(struct index *index, struct index_summary *summary_r)
{
	sqlite3_stmt *statement;

	*summary_r = (struct index_summary){ 0 };
	lock(index);
	statement = use(index, SUMMARY);
	if (step(index, statement)) {
		summary_r->listed = sqlite3_column_int64(statement, 0);
		snprintf(summary_r->account, sizeof(summary_r->account), "%s", column_string(statement, 1));
		summary_r->pending = (size_t)sqlite3_column_int64(statement, 2);
		summary_r->messages = (size_t)sqlite3_column_int64(statement, 3);
		summary_r->bodies = (size_t)sqlite3_column_int64(statement, 4);
		summary_r->octets = (uint64_t)sqlite3_column_int64(statement, 5);
		summary_r->gone = (size_t)sqlite3_column_int64(statement, 6);
		summary_r->gone_octets = (uint64_t)sqlite3_column_int64(statement, 7);
	}
	sqlite3_reset(statement);
	return unlock(index);
}

static void set_meta(struct index *index, const char *name, const char *value)
{
	sqlite3_stmt *statement = use(index, SET_META);

	bind_text(statement, 1, name);
	bind_text(statement, 2, value);
	run(index, statement);
}

int index_peek(const char *path, struct index_summary *summary_r)
{
	struct index index = { .lock = PTHREAD_MUTEX_INITIALIZER };
	int rc = sqlite3_open_v2(path, &index.db, SQLITE_OPEN_READWRITE, NULL), err = to_errno(rc);

	if (!err && !schema_is_ours(index.db))
		err = -EIO;
	if (!err)
		err = index_summary(&index, summary_r);
	sqlite3_finalize(index.statements[SUMMARY]);
	sqlite3_close(index.db);
	return err;
}

/* Names are those of one template. Alone, we put ours in place of another; else ours are not remembered. */
static void choose_names(struct index *index, const struct index_config *config)
{
	char *known = schema_meta(index->db, "template");

	index->names = known && strcmp(known, config->template) == 0;
	if (!index->names && (config->alone || !known || !known[0])) {
		sqlite3_exec(index->db, "UPDATE message SET name = NULL", NULL, NULL, NULL);
		set_meta(index, "template", config->template);
		index->names = index->rc == SQLITE_OK;
	}
	free(known);
}

/* Who is alone and finds others counted knows that they have crashed. */
static void count_mount(struct index *index, bool alone)
{
	char *mounts = schema_meta(index->db, "mounts");

	index->was_clean = mounts && strcmp(mounts, "0") == 0;
	free(mounts);
	if (alone)
		run_with_number(index, COUNT_MOUNTS, INT32_MIN);
	run_with_number(index, COUNT_MOUNTS, 1);
}

int index_open(const struct index_config *config, struct index **index_r, struct pop3_why *why)
{
	struct index *index = calloc(1, sizeof(*index));
	int err;

	if (!index) {
		pop3_fail(why, POP3_E_MEMORY, "out of memory");
		return -ENOMEM;
	}
	pthread_mutex_init(&index->lock, NULL);
	err = to_errno(schema_open(config, &index->db, why));
	if (!err) {
		lock(index);
		set_meta(index, "account", config->account);
		choose_names(index, config);
		count_mount(index, config->alone);
		err = unlock(index);
		if (err)
			pop3_fail(why, POP3_E_LOCAL, "%s: %s", config->path, strerror(-err));
	}
	if (err) {
		index_close(index);
		return err;
	}
	index->open = true;
	*index_r = index;
	return 0;
}

bool index_was_clean(const struct index *index)
{
	return index->was_clean;
}

void index_close(struct index *index)
{
	if (!index)
		return;
	if (index->open) {
		lock(index);
		run_with_number(index, COUNT_MOUNTS, -1);
		(void)unlock(index);
	}
	for (size_t i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(index->statements[i]);
	sqlite3_close(index->db);
	pthread_mutex_destroy(&index->lock);
	free(index);
}
