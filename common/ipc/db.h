/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db: the only file that knows SQLite. A database with its schema, its prepared statements and the
 * settings of security-model C2. Layer ipc (it stands on base alone; only the daemons that keep
 * history link it). One thread. Values are bound, never pasted into SQL.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct db;
struct db_row;                  /* the current row of db_each */

struct db_spec {
	const char *schema;             /* creates everything in an empty database */
	const char *additions;          /* what came later, CREATE … IF NOT EXISTS; NULL: nothing */
	int version;                    /* of that schema, >= 1; a newer file is refused */
	/* A commit is on disk when it returns; else the last ones may go with the power. */
	bool full_sync;
	const char *what;               /* remedy for a damaged file: "start an empty one" … */
	const char *const *statements;  /* [n_statements], named by the caller's enum */
	unsigned n_statements;
};

/*
 * Opens or creates, checks (quick_check), prepares. A damaged file is KV_ERR_DB and says what to
 * do.
 */
int db_open(const char *path, const struct db_spec *spec, struct db **ret, struct err *err);
void db_close(struct db *d);                            /* NULL is fine */
/* Look without changing anything. 0 also when there is no such file yet. */
int db_check(const char *path, const struct db_spec *spec, struct err *err);

enum db_type { DB_NULL, DB_INT, DB_TEXT };
struct db_value {
	enum db_type type;
	int64_t i;
	struct str s;                   /* borrowed during the call */
};
#define DB_V_NULL ((struct db_value){ .type = DB_NULL })
#define DB_V_INT(v) ((struct db_value){ .type = DB_INT, .i = (v) })
#define DB_V_TEXT(v) ((struct db_value){ .type = DB_TEXT, .s = (v) })

/* A statement without rows. A full disk is -ENOSPC, everything else KV_ERR_DB. */
int db_run(struct db *d, unsigned statement, const struct db_value *v, size_t n, struct err *err);
/* fn for each row; it must not use the same statement. */
typedef void (*db_row_fn)(void *arg, const struct db_row *row);
int db_each(struct db *d, unsigned statement, const struct db_value *v, size_t n, db_row_fn fn,
	    void *arg, struct err *err);
int64_t db_row_int(const struct db_row *row, int column);
/* Borrowed until fn returns; NULL gives "". */
struct str db_row_text(const struct db_row *row, int column);
/* First column of the first row, or dflt when there is none. */
int db_get_int(struct db *d, unsigned statement, int64_t dflt, int64_t *ret, struct err *err);

/* All or nothing: begin, work, then end with the work's result: commits 0, rolls back otherwise. */
int db_begin(struct db *d, struct err *err);
int db_end(struct db *d, int result, struct err *err);

const char *db_library(void);                           /* "SQLite 3.40.1" */
