/* SPDX-License-Identifier: Apache-2.0 */
/* revoked: a table and its copy in memory. Layer daemons/ca. */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"
#include "ca/revoked.h"
#include "ipc/db.h"

/* Clocks of peers may be behind: what ended just now is told a while longer. */
#define SLACK_S 300

enum statement { STATEMENT_PUT, STATEMENT_DELETE, STATEMENT_MARK, STATEMENT_LIST, STATEMENT_REVISION,
		 STATEMENT__N };

static const char *const statements[STATEMENT__N] = {
	[STATEMENT_PUT] = ("INSERT OR REPLACE INTO revoked (what, is_id, at, until, uid, reason)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
	[STATEMENT_DELETE] = "DELETE FROM revoked WHERE what = ?1",
	[STATEMENT_MARK] = "UPDATE mark SET revision = revision + 1 WHERE id = 1",
	[STATEMENT_LIST] = "SELECT what, is_id, at, until, uid, reason FROM revoked ORDER BY at",
	[STATEMENT_REVISION] = "SELECT revision FROM mark",
};

static const struct db_spec spec = {
	.schema = "CREATE TABLE revoked ("
		  " what TEXT PRIMARY KEY, is_id INTEGER NOT NULL, at INTEGER NOT NULL,"
		  " until INTEGER NOT NULL, uid INTEGER NOT NULL, reason TEXT NOT NULL);"
		  "CREATE TABLE mark ("
		  " id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL);"
		  "INSERT INTO mark VALUES (1, 1);",
	.version = 1,
	.full_sync = true,
	.what = "start an empty list (what was revoked is then trusted again until it ends)",
	.statements = statements,
	.n_statements = STATEMENT__N,
};

struct item {
	struct revoked_entry e;
	char *what, *reason;
};

struct revoked {
	struct db *db;
	struct map items;               /* what → struct item */
	int64_t revision;
};

static void item_free(struct item *i)
{
	if (!i)
		return;
	free(i->what);
	free(i->reason);
	free(i);
}

static void remember(struct revoked *r, const struct revoked_entry *e)
{
	struct item *i = kv_zalloc(sizeof(*i));

	i->e = *e;
	i->what = kv_asprintf("%.*s", STR_ARG(e->what));
	i->reason = kv_asprintf("%.*s", STR_ARG(e->reason));
	i->e.what = str_c(i->what);
	i->e.reason = str_c(i->reason);
	item_free(map_del(&r->items, i->e.what));
	map_put(&r->items, i->e.what, i);
}

static void on_row(void *arg, const struct db_row *row)
{
	const struct revoked_entry e = {
		.what = db_row_text(row, 0),
		.is_id = db_row_int(row, 1) != 0,
		.at_s = db_row_int(row, 2),
		.until_s = db_row_int(row, 3),
		.uid = (uid_t)db_row_int(row, 4),
		.reason = db_row_text(row, 5),
	};

	remember(arg, &e);
}

int revoked_open(const char *path, struct revoked **ret, struct err *err)
{
	struct revoked *r = kv_zalloc(sizeof(*r));

	map_init(&r->items);
	int code = db_open(path, &spec, &r->db, err);

	if (code == 0)
		code = db_get_int(r->db, STATEMENT_REVISION, 1, &r->revision, err);
	if (code == 0)
		code = db_each(r->db, STATEMENT_LIST, NULL, 0, on_row, r, err);
	if (code < 0) {
		revoked_close(r);
		return code;
	}
	*ret = r;
	return 0;
}

void revoked_close(struct revoked *r)
{
	if (!r)
		return;
	for (struct map_entry *m = map_first(&r->items); m; m = map_next(&r->items, m))
		item_free(m->val);
	map_done(&r->items);
	db_close(r->db);
	free(r);
}

/* ---- changes ------------------------------------------------------------------------------- */

static int run_and_mark(struct revoked *r, enum statement st, const struct db_value *v, size_t n,
			struct err *err)
{
	int code = db_begin(r->db, err);

	if (code < 0)
		return code;
	code = db_run(r->db, st, v, n, err);
	if (code == 0)
		code = db_run(r->db, STATEMENT_MARK, NULL, 0, err);
	code = db_end(r->db, code, err);
	if (code == 0)
		r->revision++;
	return code;
}

int revoked_add(struct revoked *r, const struct revoked_entry *e, struct err *err)
{
	const struct db_value v[] = {
		DB_V_TEXT(e->what),   DB_V_INT(e->is_id),       DB_V_INT(e->at_s),
		DB_V_INT(e->until_s), DB_V_INT((int64_t)e->uid), DB_V_TEXT(e->reason),
	};

	if (r->items.n >= REVOKED_MAX && !map_has(&r->items, e->what))
		return err_set(err, KV_ERR_LIMIT,
			       "%d certificates and identities are revoked already: change the root "
			       "instead (kvmeshctl ca rotate --root)",
			       REVOKED_MAX);
	int code = run_and_mark(r, STATEMENT_PUT, v, sizeof(v) / sizeof(v[0]), err);

	if (code == 0)
		remember(r, e);
	return code;
}

static int forget(struct revoked *r, struct str what, struct err *err)
{
	const struct db_value v = DB_V_TEXT(what);
	int code = run_and_mark(r, STATEMENT_DELETE, &v, 1, err);

	if (code == 0)
		item_free(map_del(&r->items, what));
	return code;
}

int revoked_lift(struct revoked *r, struct str what, struct err *err)
{
	if (!map_has(&r->items, what))
		return err_set(err, KV_ERR_NOT_FOUND, "%.*s is not revoked",
			       STR_ARG(str_take(what, 256)));
	return forget(r, what, err);
}

static const struct item *first_ended(const struct revoked *r, int64_t now_s,
				      bool (*keep)(void *arg, struct str id), void *arg)
{
	for (struct map_entry *m = map_first(&r->items); m; m = map_next(&r->items, m)) {
		const struct item *i = m->val;

		if (i->e.until_s + SLACK_S < now_s && !(i->e.is_id && keep(arg, i->e.what)))
			return i;
	}
	return NULL;
}

int revoked_prune(struct revoked *r, int64_t now_s, bool (*keep)(void *arg, struct str id), void *arg,
		  bool *ret, struct err *err)
{
	const struct item *i;
	int code = 0;

	*ret = false;
	while (code == 0 && (i = first_ended(r, now_s, keep, arg)) != NULL) {
		code = forget(r, i->e.what, err);
		*ret |= code == 0;
	}
	return code;
}

/* ---- asking -------------------------------------------------------------------------------- */

bool revoked_has(const struct revoked *r, struct str what)
{
	return map_has(&r->items, what);
}

size_t revoked_count(const struct revoked *r)
{
	return r->items.n;
}

int64_t revoked_revision(const struct revoked *r)
{
	return r->revision;
}

void revoked_each(const struct revoked *r, void (*fn)(void *arg, const struct revoked_entry *e),
		  void *arg)
{
	for (struct map_entry *m = map_first(&r->items); m; m = map_next(&r->items, m))
		fn(arg, &((const struct item *)m->val)->e);
}
