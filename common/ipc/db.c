/* SPDX-License-Identifier: Apache-2.0 */
/* db: SQLite in WAL mode behind a handful of calls. Layer ipc. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "base/arena.h"
#include "ipc/db.h"

#define BUSY_TIMEOUT_MS 2000

struct db {
	sqlite3 *handle;
	char *path;
	const struct db_spec *spec;
	sqlite3_stmt **st;
};

struct db_row {
	sqlite3_stmt *st;
};

const char *db_library(void)
{
	static char text[32];

	snprintf(text, sizeof(text), "SQLite %s", sqlite3_libversion());
	return text;
}

static int damaged(const struct db *d, const char *how, struct err *err)
{
	return err_set(err, KV_ERR_DB,
		       "%s is damaged (%s): restore it from a backup, or move it away to %s",
		       d->path, how, d->spec->what);
}

static int fail(const struct db *d, const char *doing, struct err *err)
{
	int rc = d->handle ? sqlite3_errcode(d->handle) : SQLITE_NOMEM;
	const char *text = d->handle ? sqlite3_errmsg(d->handle) : "out of memory";

	if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
		return damaged(d, text, err);
	return err_set(err, (rc & 0xff) == SQLITE_FULL ? -ENOSPC : KV_ERR_DB, "%s cannot be %s: %s",
		       d->path, doing, text);
}

static int exec(struct db *d, const char *sql, const char *doing, struct err *err)
{
	return sqlite3_exec(d->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
									   : fail(d, doing, err);
}

static int open_handle(struct db *d, int flags, struct err *err)
{
	if (sqlite3_open_v2(d->path, &d->handle, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return fail(d, "opened", err);
	sqlite3_extended_result_codes(d->handle, 1);
	sqlite3_busy_timeout(d->handle, BUSY_TIMEOUT_MS);
	sqlite3_db_config(d->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(d->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	return 0;
}

/* One text row: what a PRAGMA says. */
static int ask(struct db *d, const char *sql, char *ret, size_t n, struct err *err)
{
	sqlite3_stmt *st = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(d->handle, sql, -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		r = fail(d, "read", err);
	else
		snprintf(ret, n, "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	return r;
}

static int quick_check(struct db *d, struct err *err)
{
	char said[200];
	int r = ask(d, "PRAGMA quick_check(1)", said, sizeof(said), err);

	if (r < 0)
		return r;
	return strcmp(said, "ok") == 0 ? 0 : damaged(d, said, err);
}

/* *ret: the file already has the schema. */
static int check_version(struct db *d, bool *ret, struct err *err)
{
	char said[32];
	uint64_t version = 0;
	int r = ask(d, "PRAGMA user_version", said, sizeof(said), err);

	if (r < 0)
		return r;
	if (!str_to_u64(str_c(said), &version) || version > (uint64_t)d->spec->version)
		return err_set(err, KV_ERR_DB,
			       "%s was written by a newer version (schema %s, this one knows %d)",
			       d->path, said, d->spec->version);
	*ret = version > 0;
	return 0;
}

static int set_up(struct db *d, struct err *err)
{
	bool present = false;
	char version[48];
	int r = check_version(d, &present, err);

	if (r < 0 || present)
		return r;
	snprintf(version, sizeof(version), "PRAGMA user_version = %d", d->spec->version);
	r = exec(d, "BEGIN EXCLUSIVE", "set up", err);
	if (r == 0)
		r = exec(d, d->spec->schema, "set up", err);
	if (r == 0)
		r = exec(d, version, "set up", err);
	return r < 0 ? r : exec(d, "COMMIT", "set up", err);
}

static int prepare(struct db *d, struct err *err)
{
	d->st = kv_zalloc(d->spec->n_statements * sizeof(d->st[0]));
	for (unsigned i = 0; i < d->spec->n_statements; i++)
		if (sqlite3_prepare_v3(d->handle, d->spec->statements[i], -1,
				       SQLITE_PREPARE_PERSISTENT, &d->st[i], NULL) != SQLITE_OK)
			return fail(d, "used", err);
	return 0;
}

static struct db *db_new(const char *path, const struct db_spec *spec)
{
	struct db *d = kv_zalloc(sizeof(*d));

	d->path = kv_strdup(path);
	d->spec = spec;
	return d;
}

int db_open(const char *path, const struct db_spec *spec, struct db **ret, struct err *err)
{
	struct db *d = db_new(path, spec);
	int r = open_handle(d, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);

	if (r == 0)
		r = exec(d,
			 "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;"
			 "PRAGMA cell_size_check = ON",
			 "opened", err);
	if (r == 0)
		r = exec(d,
			 spec->full_sync ? "PRAGMA synchronous = FULL"
					 : "PRAGMA synchronous = NORMAL",
			 "opened", err);
	if (r == 0)
		r = quick_check(d, err);
	if (r == 0)
		r = set_up(d, err);
	if (r == 0 && spec->additions)
		r = exec(d, spec->additions, "set up", err);
	if (r == 0)
		r = prepare(d, err);
	if (r < 0) {
		db_close(d);
		return r;
	}
	*ret = d;
	return 0;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	for (unsigned i = 0; d->st && i < d->spec->n_statements; i++)
		sqlite3_finalize(d->st[i]);
	free(d->st);
	sqlite3_close(d->handle);
	free(d->path);
	free(d);
}

int db_check(const char *path, const struct db_spec *spec, struct err *err)
{
	struct stat st;
	bool present;

	if (stat(path, &st) != 0)
		return errno == ENOENT ? 0
				       : err_set(err, -errno, "cannot look at %s: %s", path,
						 strerror(errno));
	struct db *d = db_new(path, spec);
	/*
	 * Not read-only: a reader of a WAL database needs its shared-memory file, which it may have
	 * to make.
	 */
	int r = open_handle(d, SQLITE_OPEN_READWRITE, err);

	if (r == 0)
		r = quick_check(d, err);
	if (r == 0)
		r = check_version(d, &present, err);
	db_close(d);
	return r;
}

/* ---- statements ---------------------------------------------------------------------------- */

static void bind(sqlite3_stmt *st, const struct db_value *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		switch (v[i].type) {
		case DB_INT:
			sqlite3_bind_int64(st, (int)i + 1, v[i].i);
			break;
		case DB_TEXT:
			sqlite3_bind_text64(st, (int)i + 1, v[i].s.p ? v[i].s.p : "", v[i].s.n,
					    SQLITE_STATIC, SQLITE_UTF8);
			break;
		case DB_NULL:
			sqlite3_bind_null(st, (int)i + 1);
			break;
		}
	}
}

int db_each(struct db *d, unsigned statement, const struct db_value *v, size_t n, db_row_fn fn,
	    void *arg, struct err *err)
{
	kv_assert(statement < d->spec->n_statements);
	struct db_row row = { .st = d->st[statement] };
	int rc, r = 0;

	bind(row.st, v, n);
	while ((rc = sqlite3_step(row.st)) == SQLITE_ROW)
		if (fn)
			fn(arg, &row);
	if (rc != SQLITE_DONE)
		r = fail(d, "used", err);
	sqlite3_reset(row.st);
	/* Bound texts are the caller's and end now. */
	sqlite3_clear_bindings(row.st);
	return r;
}

int db_run(struct db *d, unsigned statement, const struct db_value *v, size_t n, struct err *err)
{
	return db_each(d, statement, v, n, NULL, NULL, err);
}

int64_t db_row_int(const struct db_row *row, int column)
{
	return sqlite3_column_int64(row->st, column);
}

struct str db_row_text(const struct db_row *row, int column)
{
	const char *p = (const char *)sqlite3_column_text(row->st, column);

	return p ? str_from(p, (size_t)sqlite3_column_bytes(row->st, column)) : STR("");
}

struct first_int {
	int64_t value;
	bool set;
};

static void take_first_int(void *arg, const struct db_row *row)
{
	struct first_int *f = arg;

	if (!f->set)
		*f = (struct first_int){ .value = db_row_int(row, 0), .set = true };
}

int db_get_int(struct db *d, unsigned statement, int64_t dflt, int64_t *ret, struct err *err)
{
	struct first_int f = { .value = dflt };
	int r = db_each(d, statement, NULL, 0, take_first_int, &f, err);

	if (r == 0)
		*ret = f.value;
	return r;
}

int db_begin(struct db *d, struct err *err)
{
	return exec(d, "BEGIN IMMEDIATE", "written", err);
}

int db_end(struct db *d, int result, struct err *err)
{
	if (result == 0)
		result = exec(d, "COMMIT", "written", err);
	/* Some errors have rolled back already. */
	if (result < 0 && !sqlite3_get_autocommit(d->handle))
		(void)sqlite3_exec(d->handle, "ROLLBACK", NULL, NULL, NULL);
	return result;
}
