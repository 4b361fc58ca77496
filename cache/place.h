/* SPDX-License-Identifier: MIT */
/*
 * Where the cache of one account is: a directory of 0700 below cache_dir, named after the account, with the index,
 * the bodies, and the locks by which mounts of the same account, and who clears the cache, know of each other. The
 * locks end with the process.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "pop3/session.h"

struct place;

/*
 * Makes and takes the account's directory; of the account count server, port, user and line ends. Waits a few
 * seconds for a mount that is ending. 0 or -errno with *why.
 */
__attribute__((warn_unused_result))
int place_open(const char *cache_dir, const struct account *account, struct place **place_r, struct pop3_why *why);
void place_close(struct place *place); /* takes NULL */

const char *place_account(const struct place *place); /* "user@host:port, lf" */
const char *place_index(const struct place *place);   /* the paths */
const char *place_bodies(const struct place *place);

/* No other mount has it. It stays so until place_share(), which the others wait for. */
bool place_is_alone(const struct place *place);
void place_share(struct place *place);

/* From here on who opens the place waits until we have closed it. */
void place_end(struct place *place);

/*
 * While a mount commits, no other one may take a deletion back. A descriptor to be closed at the end, or -errno;
 * taking back gets -EBUSY while somebody commits.
 */
int place_lock_commit(struct place *place, bool take_back);

/*
 * What is below cache_dir: calls fn() with the path of each account's directory until it returns false. -errno.
 */
int place_each(const char *cache_dir, bool (*fn)(void *ctx, const char *path), void *ctx);

/* The directory's index. "path" is what place_each() gave. To be freed; NULL: out of memory. */
char *place_index_in(const char *path);
/* The directory that an account has, made or not. To be freed; NULL: out of memory. */
char *place_path(const char *cache_dir, const struct account *account);

/*
 * Removes a directory and all that is in it. -EBUSY: a mount has it; none can take it while allowed() is asked.
 * -ECANCELED: it says no.
 */
int place_clear(const char *path, bool (*allowed)(void *ctx, const char *path), void *ctx);
