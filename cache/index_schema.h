/* SPDX-License-Identifier: MIT */
/* The index's file: its tables and their versions, and what is done when it is not what it should be. */
#pragma once
#include <sqlite3.h>
#include <stdbool.h>

#include "cache/index.h"

/* Opens or makes the file, as index_open() says; an SQLite result code, with *why. *db_r is to be closed always. */
int schema_open(const struct index_config *config, sqlite3 **db_r, struct pop3_why *why);

/* It is an index, of a version that we know. */
bool schema_is_ours(sqlite3 *db);

/* A value of the table meta, to be freed; NULL: there is none. */
char *schema_meta(sqlite3 *db, const char *name);
