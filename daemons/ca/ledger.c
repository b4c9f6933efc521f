/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger: a table of certificates in a database whose commits are on disk when they return. Layer
 * daemons/ca. Entries stay a while after their certificate expired, then they are pruned, so the
 * file does not grow for ever; the count and the high-water mark of time live in a row of their
 * own.
 */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "ca/ledger.h"
#include "ipc/db.h"

#define KEEP_EXPIRED_S (90ll * 24 * 3600)
#define PRUNE_EVERY 256

enum statement { STATEMENT_INSERT, STATEMENT_MARK, STATEMENT_PRUNE, STATEMENT_LIST, STATEMENT_COUNT,
		 STATEMENT_HIGH_WATER, STATEMENT_LAST_END, STATEMENT_LAST_END_OTHERS,
		 STATEMENT_END_OF_SERIAL, STATEMENT_END_OF_ID,
		 STATEMENT__N };

static const char *const statements[STATEMENT__N] = {
	[STATEMENT_INSERT] = ("INSERT INTO issued (serial, spiffe, not_before, not_after, "
			      "issued_at, uid, unit, proxy)"
			      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
	[STATEMENT_MARK] =
		"UPDATE mark SET n = n + 1, high_water = max(high_water, ?1) WHERE id = 1",
	[STATEMENT_PRUNE] = "DELETE FROM issued WHERE not_after < ?1",
	[STATEMENT_LIST] = ("SELECT serial, spiffe, not_before, not_after, issued_at, uid, unit, "
			    "proxy FROM issued"
			    " WHERE ?1 IS NULL OR spiffe = ?1 ORDER BY seq DESC LIMIT ?2"),
	[STATEMENT_COUNT] = "SELECT n FROM mark",
	[STATEMENT_HIGH_WATER] = "SELECT high_water FROM mark",
	[STATEMENT_LAST_END] = "SELECT max(not_after) FROM issued WHERE issued_at <= ?1",
	[STATEMENT_LAST_END_OTHERS] =
		"SELECT max(not_after) FROM issued WHERE issued_at <= ?1 AND proxy = ''",
	[STATEMENT_END_OF_SERIAL] = "SELECT max(not_after) FROM issued WHERE serial = ?1",
	[STATEMENT_END_OF_ID] = "SELECT max(not_after) FROM issued WHERE spiffe = ?1",
};

static const struct db_spec spec = {
	.schema = "CREATE TABLE issued ("
		  " seq INTEGER PRIMARY KEY, serial TEXT NOT NULL UNIQUE, spiffe TEXT NOT NULL,"
		  " not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, issued_at INTEGER NOT "
		  "NULL,"
		  " uid INTEGER NOT NULL, unit TEXT NOT NULL, proxy TEXT NOT NULL);"
		  "CREATE INDEX issued_spiffe ON issued (spiffe, seq);"
		  "CREATE INDEX issued_not_after ON issued (not_after);"
		  "CREATE TABLE mark ("
		  " id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL, high_water INTEGER "
		  "NOT NULL);"
		  "INSERT INTO mark VALUES (1, 0, 0);",
	.version = 1,
	.full_sync = true,
	.what = "start an empty one (it then knows nothing of the certificates issued so far)",
	.statements = statements,
	.n_statements = STATEMENT__N,
};

struct ledger {
	struct db *db;
	int64_t n, high_water_us;
};

int ledger_open(const char *path, struct ledger **ret, struct err *err)
{
	struct ledger *l = kv_zalloc(sizeof(*l));
	int r = db_open(path, &spec, &l->db, err);

	if (r == 0)
		r = db_get_int(l->db, STATEMENT_COUNT, 0, &l->n, err);
	if (r == 0)
		r = db_get_int(l->db, STATEMENT_HIGH_WATER, 0, &l->high_water_us, err);
	if (r < 0) {
		ledger_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void ledger_close(struct ledger *l)
{
	if (!l)
		return;
	db_close(l->db);
	free(l);
}

int ledger_check(const char *path, struct err *err)
{
	return db_check(path, &spec, err);
}

static int insert(struct ledger *l, const struct ledger_entry *e, struct err *err)
{
	const struct db_value row[] = {
		DB_V_TEXT(e->serial),     DB_V_TEXT(e->spiffe),      DB_V_INT(e->not_before_s),
		DB_V_INT(e->not_after_s), DB_V_INT(e->issued_at_us), DB_V_INT((int64_t)e->uid),
		DB_V_TEXT(e->unit),       DB_V_TEXT(e->proxy),
	};
	const struct db_value now = DB_V_INT(e->issued_at_us);
	const struct db_value oldest = DB_V_INT(e->issued_at_us / 1000000 - KEEP_EXPIRED_S);
	int r = db_run(l->db, STATEMENT_INSERT, row, sizeof(row) / sizeof(row[0]), err);

	if (r == 0)
		r = db_run(l->db, STATEMENT_MARK, &now, 1, err);
	if (r == 0 && (l->n + 1) % PRUNE_EVERY == 0)
		r = db_run(l->db, STATEMENT_PRUNE, &oldest, 1, err);
	return r;
}

int ledger_record(struct ledger *l, const struct ledger_entry *e, struct err *err)
{
	int r = db_begin(l->db, err);

	if (r < 0)
		return r;
	r = db_end(l->db, insert(l, e, err), err);
	if (r < 0)
		return r;
	l->n++;
	if (e->issued_at_us > l->high_water_us)
		l->high_water_us = e->issued_at_us;
	return 0;
}

int64_t ledger_count(const struct ledger *l)
{
	return l->n;
}

int64_t ledger_high_water_us(const struct ledger *l)
{
	return l->high_water_us;
}

struct number {
	int64_t v;
};

static void on_number(void *arg, const struct db_row *row)
{
	((struct number *)arg)->v = db_row_int(row, 0);
}

int ledger_last_end_s(struct ledger *l, int64_t issued_until_us, bool others, int64_t *ret,
		      struct err *err)
{
	const struct db_value until = DB_V_INT(issued_until_us);
	struct number n = { 0 };
	int r = db_each(l->db, others ? STATEMENT_LAST_END_OTHERS : STATEMENT_LAST_END, &until, 1,
			on_number, &n, err);

	*ret = n.v;
	return r;
}

static int end_of(struct ledger *l, enum statement st, struct str what, int64_t *ret,
		  struct err *err)
{
	const struct db_value v = DB_V_TEXT(what);
	struct number n = { 0 };
	int r = db_each(l->db, st, &v, 1, on_number, &n, err);

	*ret = n.v;
	if (r == 0 && n.v == 0)
		r = err_set(err, KV_ERR_NOT_FOUND, "this CA has issued nothing to %.*s",
			    STR_ARG(str_take(what, 256)));
	return r;
}

int ledger_end_of_serial_s(struct ledger *l, struct str serial, int64_t *ret, struct err *err)
{
	return end_of(l, STATEMENT_END_OF_SERIAL, serial, ret, err);
}

int ledger_end_of_id_s(struct ledger *l, struct str spiffe, int64_t *ret, struct err *err)
{
	return end_of(l, STATEMENT_END_OF_ID, spiffe, ret, err);
}

struct lister {
	void (*fn)(void *arg, const struct ledger_entry *e);
	void *arg;
};

static void on_row(void *arg, const struct db_row *row)
{
	struct lister *l = arg;
	const struct ledger_entry e = {
		.serial = db_row_text(row, 0),
		.spiffe = db_row_text(row, 1),
		.not_before_s = db_row_int(row, 2),
		.not_after_s = db_row_int(row, 3),
		.issued_at_us = db_row_int(row, 4),
		.uid = (uid_t)db_row_int(row, 5),
		.unit = db_row_text(row, 6),
		.proxy = db_row_text(row, 7),
	};

	l->fn(l->arg, &e);
}

int ledger_list(struct ledger *l, struct str spiffe, int64_t limit,
		void (*fn)(void *arg, const struct ledger_entry *e), void *arg, struct err *err)
{
	const struct db_value v[] = { spiffe.n > 0 ? DB_V_TEXT(spiffe) : DB_V_NULL,
				      DB_V_INT(limit) };
	struct lister lister = { .fn = fn, .arg = arg };

	return db_each(l->db, STATEMENT_LIST, v, 2, on_row, &lister, err);
}
