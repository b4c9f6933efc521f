/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence_db: edges, their traffic by the hour, and seals, see evidence_db.h. Layer metrics.
 * A seal covers the sums of a day, not its rows: hours may be joined later without breaking it.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/db.h"
#include "metrics/evidence_db.h"

#define KEEP_DAYS 400
#define HOURS 24

#define EDGE_COLUMNS \
	"reporter, source_principal, source_workload, source_namespace, service, workload, " \
	"principal, tls, cipher, port, mutual"
#define EDGE_WHERE \
	"reporter = ?1 AND source_principal = ?2 AND source_workload = ?3 AND source_namespace = ?4" \
	" AND service = ?5 AND workload = ?6 AND principal = ?7 AND tls = ?8 AND cipher = ?9" \
	" AND port = ?10 AND mutual = ?11"
#define EDGE_VALUES (EVIDENCE_TEXTS + 2)

enum statement { STATEMENT_EDGE, STATEMENT_EDGE_ID, STATEMENT_TRAFFIC, STATEMENT_COUNTER,
		 STATEMENT_COUNTERS, STATEMENT_WATCH, STATEMENT_WATCHED, STATEMENT_OMITTED,
		 STATEMENT_OMISSIONS, STATEMENT_SUMS, STATEMENT_FIRST_DAY, STATEMENT_LAST_SEALED,
		 STATEMENT_SEAL, STATEMENT_SEALS, STATEMENT_PRUNE_TRAFFIC, STATEMENT_PRUNE_EDGES,
		 STATEMENT_PRUNE_WATCH, STATEMENT_PRUNE_SEALS, STATEMENT_WITNESS,
		 STATEMENT_WITNESSED, STATEMENT_PRUNE_WITNESS, STATEMENT__N };

static const char *const statements[STATEMENT__N] = {
	[STATEMENT_EDGE] = "INSERT INTO edge (" EDGE_COLUMNS ") VALUES"
			   " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
	[STATEMENT_EDGE_ID] = "SELECT id FROM edge WHERE " EDGE_WHERE,
	[STATEMENT_TRAFFIC] =
		"INSERT INTO traffic VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET"
		" connections = connections + excluded.connections,"
		" requests = requests + excluded.requests,"
		" received = received + excluded.received, sent = sent + excluded.sent",
	[STATEMENT_COUNTER] =
		"INSERT OR REPLACE INTO counter VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[STATEMENT_COUNTERS] =
		"SELECT " EDGE_COLUMNS ", proxy, pid, connections, requests, received, sent"
		" FROM counter JOIN edge ON edge.id = counter.edge",
	[STATEMENT_WATCH] = "INSERT INTO watch VALUES (?1, ?2, ?3)"
			    " ON CONFLICT DO UPDATE SET until = excluded.until",
	[STATEMENT_WATCHED] =
		"SELECT proxy, sum(min(until, ?2) - max(since, ?1)) FROM watch"
		" WHERE until > ?1 AND since < ?2 GROUP BY proxy ORDER BY proxy",
	[STATEMENT_OMITTED] = "INSERT INTO omitted VALUES (?1, ?2)"
			      " ON CONFLICT DO UPDATE SET n = n + excluded.n",
	[STATEMENT_OMISSIONS] = "SELECT total(n) FROM omitted WHERE hour >= ?1",
	[STATEMENT_SUMS] =
		"SELECT " EDGE_COLUMNS ", sum(connections), sum(requests), sum(received), sum(sent)"
		" FROM traffic JOIN edge ON edge.id = traffic.edge WHERE hour >= ?1 AND hour < ?2"
		" GROUP BY edge.id ORDER BY " EDGE_COLUMNS,
	[STATEMENT_FIRST_DAY] = "SELECT min(hour) / 24 FROM traffic",
	[STATEMENT_LAST_SEALED] = "SELECT day, digest FROM seal ORDER BY day DESC LIMIT 1",
	[STATEMENT_SEAL] = "INSERT INTO seal VALUES (?1, ?2, ?3)",
	[STATEMENT_SEALS] = "SELECT day, previous, digest FROM seal ORDER BY day",
	[STATEMENT_PRUNE_TRAFFIC] = "DELETE FROM traffic WHERE hour < ?1 * 24",
	[STATEMENT_PRUNE_EDGES] = "DELETE FROM edge WHERE id NOT IN (SELECT edge FROM traffic)"
				  " AND id NOT IN (SELECT edge FROM counter)",
	[STATEMENT_PRUNE_WATCH] = "DELETE FROM watch WHERE until < ?1 * 86400000000",
	[STATEMENT_PRUNE_SEALS] = "DELETE FROM seal WHERE day < ?1",
	[STATEMENT_WITNESS] = "INSERT INTO witness VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE"
			      " SET packets = packets + excluded.packets,"
			      " bytes = bytes + excluded.bytes",
	[STATEMENT_WITNESSED] = "SELECT kind, port, workload, sum(packets), sum(bytes) FROM witness"
				" WHERE hour >= ?1 AND hour < ?2 GROUP BY kind, port, workload"
				" ORDER BY kind, port, workload",
	[STATEMENT_PRUNE_WITNESS] = "DELETE FROM witness WHERE hour < ?1 * 24",
};

static const struct db_spec spec = {
	.schema = "CREATE TABLE edge (id INTEGER PRIMARY KEY, reporter TEXT NOT NULL,"
		  " source_principal TEXT NOT NULL, source_workload TEXT NOT NULL,"
		  " source_namespace TEXT NOT NULL, service TEXT NOT NULL, workload TEXT NOT NULL,"
		  " principal TEXT NOT NULL, tls TEXT NOT NULL, cipher TEXT NOT NULL,"
		  " port INTEGER NOT NULL, mutual INTEGER NOT NULL, UNIQUE (" EDGE_COLUMNS "));"
		  "CREATE TABLE traffic (hour INTEGER, edge INTEGER REFERENCES edge (id),"
		  " connections INTEGER NOT NULL, requests INTEGER NOT NULL,"
		  " received INTEGER NOT NULL, sent INTEGER NOT NULL, PRIMARY KEY (hour, edge))"
		  " WITHOUT ROWID;"
		  "CREATE TABLE counter (proxy TEXT, edge INTEGER REFERENCES edge (id),"
		  " pid INTEGER NOT NULL, connections INTEGER NOT NULL, requests INTEGER NOT NULL,"
		  " received INTEGER NOT NULL, sent INTEGER NOT NULL, PRIMARY KEY (proxy, edge))"
		  " WITHOUT ROWID;"
		  "CREATE TABLE watch (proxy TEXT, since INTEGER, until INTEGER NOT NULL,"
		  " PRIMARY KEY (proxy, since)) WITHOUT ROWID;"
		  "CREATE TABLE omitted (hour INTEGER PRIMARY KEY, n INTEGER NOT NULL);"
		  "CREATE TABLE seal (day INTEGER PRIMARY KEY, previous TEXT NOT NULL,"
		  " digest TEXT NOT NULL);",
	.additions = "CREATE TABLE IF NOT EXISTS witness (hour INTEGER, kind TEXT, port INTEGER,"
		     " workload TEXT, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,"
		     " PRIMARY KEY (hour, kind, port, workload)) WITHOUT ROWID;",
	.version = 1,
	.what = "start an empty one (what was measured until now is lost)",
	.statements = statements,
	.n_statements = STATEMENT__N,
};

struct evidence_db {
	struct db *db;
};

int evidence_db_open(const char *path, struct evidence_db **ret, struct err *err)
{
	struct evidence_db *d = kv_zalloc(sizeof(*d));
	int r = db_open(path, &spec, &d->db, err);

	if (r < 0) {
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void evidence_db_close(struct evidence_db *d)
{
	if (!d)
		return;
	db_close(d->db);
	free(d);
}

int evidence_db_begin(struct evidence_db *d, struct err *err)
{
	return db_begin(d->db, err);
}

int evidence_db_end(struct evidence_db *d, int result, struct err *err)
{
	return db_end(d->db, result, err);
}

/* ---- edges --------------------------------------------------------------------------------- */

static void put_edge(const struct evidence_edge *e, struct db_value v[EDGE_VALUES])
{
	for (size_t i = 0; i < EVIDENCE_TEXTS; i++)
		v[i] = DB_V_TEXT(e->text[i]);
	v[EVIDENCE_TEXTS] = DB_V_INT(e->port);
	v[EVIDENCE_TEXTS + 1] = DB_V_INT(e->mutual);
}

static void get_edge(const struct db_row *row, struct evidence_edge *e)
{
	for (int i = 0; i < EVIDENCE_TEXTS; i++)
		e->text[i] = db_row_text(row, i);
	e->port = db_row_int(row, EVIDENCE_TEXTS);
	e->mutual = db_row_int(row, EVIDENCE_TEXTS + 1) != 0;
}

static void get_numbers(const struct db_row *row, int first, int64_t v[EVIDENCE__N])
{
	for (int i = 0; i < EVIDENCE__N; i++)
		v[i] = db_row_int(row, first + i);
}

static void on_int(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_int(row, 0);
}

static int edge_id(struct evidence_db *d, const struct evidence_edge *e, int64_t *ret,
		   struct err *err)
{
	struct db_value v[EDGE_VALUES];
	int r;

	put_edge(e, v);
	r = db_run(d->db, STATEMENT_EDGE, v, EDGE_VALUES, err);
	return r < 0 ? r : db_each(d->db, STATEMENT_EDGE_ID, v, EDGE_VALUES, on_int, ret, err);
}

int evidence_db_add(struct evidence_db *d, int64_t hour, struct str proxy, int64_t pid,
		    const struct evidence_edge *e, const int64_t more[EVIDENCE__N],
		    const int64_t read[EVIDENCE__N], struct err *err)
{
	int64_t id = 0;
	int r = edge_id(d, e, &id, err);
	const struct db_value traffic[] = { DB_V_INT(hour), DB_V_INT(id), DB_V_INT(more[0]),
					    DB_V_INT(more[1]), DB_V_INT(more[2]),
					    DB_V_INT(more[3]) };
	const struct db_value counter[] = { DB_V_TEXT(proxy), DB_V_INT(id), DB_V_INT(pid),
					    DB_V_INT(read[0]), DB_V_INT(read[1]),
					    DB_V_INT(read[2]), DB_V_INT(read[3]) };

	if (r == 0)
		r = db_run(d->db, STATEMENT_TRAFFIC, traffic, 6, err);
	return r < 0 ? r : db_run(d->db, STATEMENT_COUNTER, counter, 7, err);
}

struct counters {
	evidence_counter_fn fn;
	void *arg;
};

static void on_counter(void *arg, const struct db_row *row)
{
	const struct counters *c = arg;
	struct evidence_edge e;
	int64_t read[EVIDENCE__N];

	get_edge(row, &e);
	get_numbers(row, EDGE_VALUES + 2, read);
	c->fn(c->arg, db_row_text(row, EDGE_VALUES), db_row_int(row, EDGE_VALUES + 1), &e, read);
}

int evidence_db_counters(struct evidence_db *d, evidence_counter_fn fn, void *arg, struct err *err)
{
	struct counters c = { fn, arg };

	return db_each(d->db, STATEMENT_COUNTERS, NULL, 0, on_counter, &c, err);
}

struct sums {
	evidence_sum_fn fn;
	void *arg;
};

static void on_sum(void *arg, const struct db_row *row)
{
	const struct sums *s = arg;
	struct evidence_edge e;
	int64_t v[EVIDENCE__N];

	get_edge(row, &e);
	get_numbers(row, EDGE_VALUES, v);
	s->fn(s->arg, &e, v);
}

int evidence_db_sums(struct evidence_db *d, int64_t since, int64_t until, evidence_sum_fn fn,
		     void *arg, struct err *err)
{
	const struct db_value v[] = { DB_V_INT(since), DB_V_INT(until) };
	struct sums s = { fn, arg };

	return db_each(d->db, STATEMENT_SUMS, v, 2, on_sum, &s, err);
}

/* ---- what was watched, and what was not kept ----------------------------------------------- */

int evidence_db_watch(struct evidence_db *d, struct str proxy, int64_t since_us, int64_t until_us,
		      struct err *err)
{
	const struct db_value v[] = { DB_V_TEXT(proxy), DB_V_INT(since_us), DB_V_INT(until_us) };

	return db_run(d->db, STATEMENT_WATCH, v, 3, err);
}

struct watched {
	void (*fn)(void *arg, struct str proxy, int64_t watched_us);
	void *arg;
};

static void on_watched(void *arg, const struct db_row *row)
{
	const struct watched *w = arg;

	w->fn(w->arg, db_row_text(row, 0), db_row_int(row, 1));
}

int evidence_db_watched(struct evidence_db *d, int64_t since_us, int64_t until_us,
			void (*fn)(void *arg, struct str proxy, int64_t watched_us), void *arg,
			struct err *err)
{
	const struct db_value v[] = { DB_V_INT(since_us), DB_V_INT(until_us) };
	struct watched w = { fn, arg };

	return db_each(d->db, STATEMENT_WATCHED, v, 2, on_watched, &w, err);
}

int evidence_db_omitted(struct evidence_db *d, int64_t hour, int64_t n, struct err *err)
{
	const struct db_value v[] = { DB_V_INT(hour), DB_V_INT(n) };

	return n > 0 ? db_run(d->db, STATEMENT_OMITTED, v, 2, err) : 0;
}

int evidence_db_omissions(struct evidence_db *d, int64_t since_hour, int64_t *ret, struct err *err)
{
	const struct db_value v = DB_V_INT(since_hour);

	*ret = 0;
	return db_each(d->db, STATEMENT_OMISSIONS, &v, 1, on_int, ret, err);
}

/* ---- the witness --------------------------------------------------------------------------- */

int evidence_db_witness(struct evidence_db *d, int64_t hour, const struct evidence_plain *p,
			struct err *err)
{
	const struct db_value v[] = { DB_V_INT(hour),       DB_V_TEXT(p->kind),
				      DB_V_INT(p->port),    DB_V_TEXT(p->workload),
				      DB_V_INT(p->packets), DB_V_INT(p->bytes) };

	return db_run(d->db, STATEMENT_WITNESS, v, 6, err);
}

struct plains {
	evidence_plain_fn fn;
	void *arg;
};

static void on_plain(void *arg, const struct db_row *row)
{
	const struct plains *p = arg;
	const struct evidence_plain plain = {
		.kind = db_row_text(row, 0), .port = db_row_int(row, 1), .workload = db_row_text(row, 2),
		.packets = db_row_int(row, 3), .bytes = db_row_int(row, 4),
	};

	p->fn(p->arg, &plain);
}

int evidence_db_witnessed(struct evidence_db *d, int64_t since, int64_t until, evidence_plain_fn fn,
			  void *arg, struct err *err)
{
	const struct db_value v[] = { DB_V_INT(since), DB_V_INT(until) };
	struct plains p = { fn, arg };

	return db_each(d->db, STATEMENT_WITNESSED, v, 2, on_plain, &p, err);
}

/* ---- seals --------------------------------------------------------------------------------- */

static void add_number(struct tls_digest *d, int64_t v)
{
	char text[STR_U64_MAX + 1];
	size_t n = str_put_u64(text, (uint64_t)v);

	text[n++] = '\0';
	tls_digest_add(d, str_from(text, n));
}

static void digest_row(void *arg, const struct evidence_edge *e, const int64_t v[EVIDENCE__N])
{
	struct tls_digest *d = arg;

	for (size_t i = 0; i < EVIDENCE_TEXTS; i++) {
		tls_digest_add(d, e->text[i]);
		tls_digest_add(d, str_from("", 1));
	}
	add_number(d, e->port);
	add_number(d, e->mutual);
	for (size_t i = 0; i < EVIDENCE__N; i++)
		add_number(d, v[i]);
}

static void digest_plain(void *arg, const struct evidence_plain *p)
{
	struct tls_digest *d = arg;

	tls_digest_add(d, p->kind);
	tls_digest_add(d, str_from("", 1));
	tls_digest_add(d, p->workload);
	tls_digest_add(d, str_from("", 1));
	add_number(d, p->port);
	add_number(d, p->packets);
	add_number(d, p->bytes);
}

static int digest_day(struct evidence_db *d, int64_t day, struct str before,
		      char ret[static TLS_DIGEST_HEX_MAX], struct err *err)
{
	struct tls_digest *sum = tls_digest_new();

	tls_digest_add(sum, before);
	add_number(sum, day);
	int r = evidence_db_sums(d, day * HOURS, (day + 1) * HOURS, digest_row, sum, err);

	if (r == 0)
		r = evidence_db_witnessed(d, day * HOURS, (day + 1) * HOURS, digest_plain, sum, err);
	tls_digest_end(sum, ret);
	return r;
}

struct seal {
	int64_t day;                    /* -1: none */
	char before[TLS_DIGEST_HEX_MAX], digest[TLS_DIGEST_HEX_MAX];
};

static void on_last(void *arg, const struct db_row *row)
{
	struct seal *s = arg;

	s->day = db_row_int(row, 0);
	snprintf(s->digest, sizeof(s->digest), "%.*s", STR_ARG(db_row_text(row, 1)));
}

static int write_seal(struct evidence_db *d, struct seal *s, int64_t day, struct err *err)
{
	char digest[TLS_DIGEST_HEX_MAX];
	int r = digest_day(d, day, str_c(s->digest), digest, err);
	const struct db_value v[] = { DB_V_INT(day), DB_V_TEXT(str_c(s->digest)),
				      DB_V_TEXT(str_c(digest)) };

	if (r == 0)
		r = db_run(d->db, STATEMENT_SEAL, v, 3, err);
	s->day = day;
	memcpy(s->digest, digest, sizeof(digest));
	return r;
}

static int prune(struct evidence_db *d, int64_t day, struct err *err)
{
	static const enum statement all[] = { STATEMENT_PRUNE_TRAFFIC, STATEMENT_PRUNE_WATCH,
					      STATEMENT_PRUNE_SEALS, STATEMENT_PRUNE_WITNESS };
	const struct db_value v = DB_V_INT(day - KEEP_DAYS);
	int r = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && r == 0; i++)
		r = db_run(d->db, all[i], &v, 1, err);
	return r < 0 ? r : db_run(d->db, STATEMENT_PRUNE_EDGES, NULL, 0, err);
}

static int seal_days(struct evidence_db *d, int64_t today, struct err *err)
{
	struct seal s = { .day = -1 };
	int64_t first = today;
	int r = db_each(d->db, STATEMENT_LAST_SEALED, NULL, 0, on_last, &s, err);

	if (r == 0 && s.day < 0) {
		r = db_get_int(d->db, STATEMENT_FIRST_DAY, today, &first, err);
		if (first <= 0)         /* min() of nothing */
			first = today;
	} else {
		first = s.day + 1;
	}
	/* After years of sleep the days in between are of no interest. */
	if (first < today - KEEP_DAYS)
		first = today - KEEP_DAYS;
	for (int64_t day = first; day < today && r == 0; day++)
		r = write_seal(d, &s, day, err);
	return r < 0 ? r : prune(d, today, err);
}

int evidence_db_seal(struct evidence_db *d, int64_t hour, struct err *err)
{
	int r = db_begin(d->db, err);

	return r < 0 ? r : db_end(d->db, seal_days(d, hour / HOURS, err), err);
}

struct verify {
	struct evidence_db *d;
	struct evidence_seals *seals;
	struct err *err;
	evidence_seal_fn each;
	void *arg;
	int result;
};

static void on_seal(void *arg, const struct db_row *row)
{
	struct verify *v = arg;
	char digest[TLS_DIGEST_HEX_MAX];
	struct str before = db_row_text(row, 1), sealed = db_row_text(row, 2);
	int64_t day = db_row_int(row, 0);

	if (v->result < 0)
		return;
	v->result = digest_day(v->d, day, before, digest, v->err);
	bool follows = v->seals->n == 0 || str_eq(before, str_c(v->seals->last));

	if (v->seals->broken_day < 0 && (!follows || !str_eq(sealed, str_c(digest))))
		v->seals->broken_day = day;
	v->seals->n++;
	if (v->each)
		v->each(v->arg, day, sealed);
	snprintf(v->seals->last, sizeof(v->seals->last), "%.*s", STR_ARG(sealed));
}

int evidence_db_verify(struct evidence_db *d, evidence_seal_fn each, void *arg,
		       struct evidence_seals *ret, struct err *err)
{
	struct verify v = { .d = d, .seals = ret, .err = err, .each = each, .arg = arg };

	*ret = (struct evidence_seals){ .broken_day = -1 };
	int r = db_each(d->db, STATEMENT_SEALS, NULL, 0, on_seal, &v, err);

	return r < 0 ? r : v.result;
}
