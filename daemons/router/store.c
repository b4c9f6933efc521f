/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: three small tables; the ages are held in memory too, because every load asks for all of
 * them.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"
#include "ipc/db.h"
#include "router/store.h"

enum statement {
	STATEMENT_MARK,
	STATEMENT_SET_MARK,
	STATEMENT_SEEN,
	STATEMENT_ADD_SEEN,
	STATEMENT_DEL_SEEN,
	STATEMENT_ADD_HISTORY,
	STATEMENT_TRIM_HISTORY,
	STATEMENT_HISTORY,
	STATEMENT__N
};

static const char *const statements[STATEMENT__N] = {
	[STATEMENT_MARK] = "SELECT generation, digest FROM mark",
	[STATEMENT_SET_MARK] = "UPDATE mark SET generation = ?1, digest = ?2 WHERE id = 1",
	[STATEMENT_SEEN] = "SELECT id, first_seen FROM seen",
	[STATEMENT_ADD_SEEN] = "INSERT INTO seen (id, first_seen) VALUES (?1, ?2)",
	[STATEMENT_DEL_SEEN] = "DELETE FROM seen WHERE id = ?1",
	[STATEMENT_ADD_HISTORY] =
		"INSERT INTO history (generation, at, by, ok, digest, changed, error)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[STATEMENT_TRIM_HISTORY] =
		"DELETE FROM history WHERE seq <= (SELECT max(seq) FROM history) - ?1",
	[STATEMENT_HISTORY] = "SELECT generation, at, by, ok, digest, changed, error FROM history"
			      " ORDER BY seq DESC LIMIT ?1",
};

static const struct db_spec spec = {
	.schema = "CREATE TABLE mark ("
		  " id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL, digest "
		  "TEXT NOT NULL);"
		  "INSERT INTO mark VALUES (1, 0, '');"
		  "CREATE TABLE seen (id TEXT PRIMARY KEY, first_seen INTEGER NOT NULL) WITHOUT "
		  "ROWID;"
		  "CREATE TABLE history ("
		  " seq INTEGER PRIMARY KEY, generation INTEGER NOT NULL, at INTEGER NOT NULL, by "
		  "TEXT NOT NULL,"
		  " ok INTEGER NOT NULL, digest TEXT NOT NULL, changed TEXT NOT NULL, error TEXT "
		  "NOT NULL);",
	.version = 1,
	.full_sync = true,
	.what = "start an empty one (the ages of resources and the history are then lost)",
	.statements = statements,
	.n_statements = STATEMENT__N,
};

struct store {
	struct db *db;
	int64_t generation;
	char digest[STORE_DIGEST_MAX];
	struct arena arena;             /* of the keys in seen */
	struct map seen;                /* "KIND/NS/NAME" → int64_t * */
};

static void seen_put(struct store *s, struct str id, int64_t at_us)
{
	int64_t *v = arena_new(&s->arena, int64_t);

	*v = at_us;
	map_put(&s->seen, arena_str(&s->arena, id), v);
}

static void load_seen(void *arg, const struct db_row *row)
{
	seen_put(arg, db_row_text(row, 0), db_row_int(row, 1));
}

static void set_mark(struct store *s, int64_t generation, struct str digest)
{
	s->generation = generation;
	snprintf(s->digest, sizeof(s->digest), "%.*s", STR_ARG(digest));
}

static void load_mark(void *arg, const struct db_row *row)
{
	set_mark(arg, db_row_int(row, 0), db_row_text(row, 1));
}

int store_open(const char *path, struct store **ret, struct err *err)
{
	struct store *s = kv_zalloc(sizeof(*s));

	arena_init(&s->arena, 0);
	map_init(&s->seen);
	int r = db_open(path, &spec, &s->db, err);

	if (r == 0)
		r = db_each(s->db, STATEMENT_MARK, NULL, 0, load_mark, s, err);
	if (r == 0)
		r = db_each(s->db, STATEMENT_SEEN, NULL, 0, load_seen, s, err);
	if (r < 0) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	db_close(s->db);
	map_done(&s->seen);
	arena_done(&s->arena);
	free(s);
}

int64_t store_generation(const struct store *s)
{
	return s->generation;
}

const char *store_digest(const struct store *s)
{
	return s->digest;
}

static struct str seen_id(struct arena *a, const char *kind, struct str ns, struct str name)
{
	return arena_printf(a, "%s/%.*s/%.*s", kind, STR_ARG(ns), STR_ARG(name));
}

int64_t store_first_seen(const struct store *s, const char *kind, struct str ns, struct str name)
{
	struct arena a;

	arena_init(&a, 0);
	const int64_t *v = map_get(&s->seen, seen_id(&a, kind, ns, name));

	arena_done(&a);
	return v ? *v : 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

static int add_history(struct store *s, const struct store_load *l, struct err *err)
{
	const struct db_value row[] = {
		DB_V_INT(l->generation), DB_V_INT(l->at_us), DB_V_TEXT(l->by), DB_V_INT(l->ok),
		DB_V_TEXT(l->digest), DB_V_TEXT(l->changed), DB_V_TEXT(l->error),
	};
	const struct db_value keep = DB_V_INT(STORE_HISTORY_MAX);
	int r = db_run(s->db, STATEMENT_ADD_HISTORY, row, sizeof(row) / sizeof(row[0]), err);

	return r < 0 ? r : db_run(s->db, STATEMENT_TRIM_HISTORY, &keep, 1, err);
}

struct seen_change {                    /* the ages after a load, made beside those in force */
	struct arena arena;
	struct map seen;
};

/* Younger than everything known, also after the clock was set back. */
static int64_t age_of_new(const struct store *s, int64_t at_us)
{
	for (struct map_entry *e = map_first(&s->seen); e; e = map_next(&s->seen, e)) {
		const int64_t *known = e->val;

		if (*known >= at_us)
			at_us = *known + 1;
	}
	return at_us;
}

static int add_new(struct store *s, const struct store_load *l, const struct store_key *keys,
		   size_t n, struct seen_change *c, struct err *err)
{
	int64_t new_us = age_of_new(s, l->at_us);

	for (size_t i = 0; i < n; i++) {
		struct str id = seen_id(&c->arena, keys[i].kind, keys[i].ns, keys[i].name);
		const int64_t *known = map_get(&s->seen, id);
		int64_t *at_us = arena_new(&c->arena, int64_t);

		/* The position keeps the order of reading among those that came with one load. */
		*at_us = known ? *known : new_us + (int64_t)i;
		if (map_put(&c->seen, id, at_us) || known)
			continue;
		const struct db_value row[] = { DB_V_TEXT(id), DB_V_INT(*at_us) };
		int r = db_run(s->db, STATEMENT_ADD_SEEN, row, 2, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int del_gone(struct store *s, const struct seen_change *c, struct err *err)
{
	for (struct map_entry *e = map_first(&s->seen); e; e = map_next(&s->seen, e)) {
		const struct db_value id = DB_V_TEXT(e->key);
		int r = map_has(&c->seen, e->key) ? 0
						  : db_run(s->db, STATEMENT_DEL_SEEN, &id, 1, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int write_mark(struct store *s, int64_t generation, struct str digest, struct err *err)
{
	const struct db_value mark[] = { DB_V_INT(generation), DB_V_TEXT(digest) };

	return db_run(s->db, STATEMENT_SET_MARK, mark, 2, err);
}

static int write_commit(struct store *s, const struct store_load *l, const struct store_key *keys,
			size_t n, struct seen_change *c, struct err *err)
{
	int r = add_new(s, l, keys, n, c, err);

	if (r == 0)
		r = del_gone(s, c, err);
	if (r == 0)
		r = write_mark(s, l->generation, l->digest, err);
	return r < 0 ? r : add_history(s, l, err);
}

static void change_done(struct seen_change *c)
{
	map_done(&c->seen);
	arena_done(&c->arena);
}

int store_commit(struct store *s, const struct store_load *l, const struct store_key *keys,
		 size_t n, struct err *err)
{
	struct seen_change c;
	int r = db_begin(s->db, err);

	if (r < 0)
		return r;
	arena_init(&c.arena, 0);
	map_init(&c.seen);
	r = db_end(s->db, write_commit(s, l, keys, n, &c, err), err);
	if (r < 0) {
		change_done(&c);
		return r;
	}
	struct seen_change old = { .arena = s->arena, .seen = s->seen };

	s->arena = c.arena;
	s->seen = c.seen;
	change_done(&old);
	set_mark(s, l->generation, l->digest);
	return 0;
}

int store_mark(struct store *s, int64_t generation, struct str digest, struct err *err)
{
	int r = db_begin(s->db, err);

	if (r == 0)
		r = db_end(s->db, write_mark(s, generation, digest, err), err);
	if (r == 0)
		set_mark(s, generation, digest);
	return r;
}

int store_note(struct store *s, const struct store_load *l, struct err *err)
{
	int r = db_begin(s->db, err);

	return r < 0 ? r : db_end(s->db, add_history(s, l, err), err);
}

struct history {
	void (*fn)(void *arg, const struct store_load *l);
	void *arg;
};

static void on_history(void *arg, const struct db_row *row)
{
	struct history *h = arg;
	const struct store_load l = {
		.generation = db_row_int(row, 0),
		.at_us = db_row_int(row, 1),
		.by = db_row_text(row, 2),
		.ok = db_row_int(row, 3) != 0,
		.digest = db_row_text(row, 4),
		.changed = db_row_text(row, 5),
		.error = db_row_text(row, 6),
	};

	h->fn(h->arg, &l);
}

int store_history(struct store *s, int64_t limit, void (*fn)(void *arg, const struct store_load *l),
		  void *arg, struct err *err)
{
	const struct db_value n = DB_V_INT(limit);
	struct history h = { .fn = fn, .arg = arg };

	return db_each(s->db, STATEMENT_HISTORY, &n, 1, on_history, &h, err);
}
