/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence: deltas of the proxies' edges, see evidence.h. Layer metrics.
 * An edge is known by the text of its members; what is new of it waits in memory for the next
 * flush. Its counters as last read are written in the same transaction, so nothing counts twice.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "metrics/evidence.h"
#include "metrics/evidence_db.h"

#define EDGES_MAX 20000                 /* of all proxies; more are told of, not kept */
#define PROXIES_MAX 64
#define HOUR_US (3600ll * 1000 * 1000)

/* One edge as one process of one proxy reports it. */
struct counter {
	struct evidence_edge edge;      /* owned text behind key */
	struct str proxy;
	char *key;
	int64_t pid;
	int64_t read[EVIDENCE__N];      /* as of the last reading */
	int64_t fresh[EVIDENCE__N];     /* grown since the last flush */
	bool dirty;
};

struct watched {
	char *name;
	int64_t pid, since_us, until_us;
	bool dirty;
};

struct evidence {
	struct evidence_db *db;
	struct map counters;            /* key → struct counter */
	struct map watched;             /* proxy → struct watched */
	int64_t hour;                   /* that the fresh numbers belong to, since 1970 */
	uint64_t n_omitted;
	bool told_full;
};

/* ---- counters ------------------------------------------------------------------------------ */

/* proxy, then the edge's members, each ended by a byte that none of them has. */
static char *key_of(struct str proxy, const struct evidence_edge *e, size_t *ret_n)
{
	struct str v[EVIDENCE_TEXTS + 1] = { proxy };
	size_t n = 0;

	memcpy(v + 1, e->text, sizeof(e->text));
	for (size_t i = 0; i <= EVIDENCE_TEXTS; i++)
		n += v[i].n + 1;
	char *key = kv_malloc(n + STR_U64_MAX + 2);
	char *p = key;

	for (size_t i = 0; i <= EVIDENCE_TEXTS; i++) {
		if (v[i].n > 0)
			memcpy(p, v[i].p, v[i].n);
		p += v[i].n;
		*p++ = '\0';
	}
	p += str_put_u64(p, (uint64_t)e->port);
	*p++ = e->mutual ? '1' : '0';
	*ret_n = (size_t)(p - key);
	return key;
}

/* The members as they stand in a key. */
static void point_into(struct counter *c, size_t proxy_n)
{
	const char *p = c->key;

	c->proxy = str_from(p, proxy_n);
	p += proxy_n + 1;
	for (size_t i = 0; i < EVIDENCE_TEXTS; i++) {
		c->edge.text[i].p = p;
		p += c->edge.text[i].n + 1;
	}
}

static void counter_free(struct counter *c)
{
	free(c->key);
	free(c);
}

static struct counter *counter_get(struct evidence *e, struct str proxy,
				   const struct evidence_edge *edge)
{
	size_t n;
	char *key = key_of(proxy, edge, &n);
	struct counter *c = map_get(&e->counters, str_from(key, n));

	if (c || e->counters.n >= EDGES_MAX) {
		free(key);
		if (!c)
			e->n_omitted++;
		return c;
	}
	c = kv_zalloc(sizeof(*c));
	c->edge = *edge;
	c->key = key;
	point_into(c, proxy.n);
	map_put(&e->counters, str_from(key, n), c);
	return c;
}

/* ---- what a proxy says --------------------------------------------------------------------- */

static const char *const text_members[EVIDENCE_TEXTS] = {
	"reporter", "sourcePrincipal", "sourceWorkload", "sourceNamespace", "destinationService",
	"destinationWorkload", "destinationPrincipal", "tls", "cipher",
};
static const char *const number_members[EVIDENCE__N] = {
	"connections", "requests", "bytesReceived", "bytesSent",
};

/* False: a member is not what it should be. */
static bool read_edge(const struct doc *d, struct evidence_edge *e, int64_t v[EVIDENCE__N])
{
	if (d->kind != DOC_MAP)
		return false;
	for (size_t i = 0; i < EVIDENCE_TEXTS; i++) {
		e->text[i] = doc_get_str(d, text_members[i], STR(""));
		if (e->text[i].n > 0 && memchr(e->text[i].p, '\0', e->text[i].n))
			return false;
	}
	e->port = doc_get_int(d, "destinationPort", 0);
	e->mutual = doc_get_bool(d, "mutual", false);
	for (size_t i = 0; i < EVIDENCE__N; i++) {
		v[i] = doc_get_int(d, number_members[i], 0);
		if (v[i] < 0)
			return false;
	}
	return e->port >= 0 && e->port <= UINT16_MAX;
}

/* Another process counts from nothing. */
static void grow(struct counter *c, int64_t pid, const int64_t v[EVIDENCE__N])
{
	bool same = c->pid == pid;

	for (size_t i = 0; i < EVIDENCE__N; i++) {
		int64_t more = same && v[i] >= c->read[i] ? v[i] - c->read[i] : v[i];

		c->fresh[i] += more;
		c->dirty |= more > 0;
		c->read[i] = v[i];
	}
	c->dirty |= !same;
	c->pid = pid;
}

static void watch(struct evidence *e, struct str proxy, int64_t pid, int64_t now_us)
{
	struct watched *w = map_get(&e->watched, proxy);

	if (!w) {
		if (e->watched.n >= PROXIES_MAX)
			return;
		w = kv_zalloc(sizeof(*w));
		w->name = kv_asprintf("%.*s", STR_ARG(proxy));
		map_put(&e->watched, str_c(w->name), w);
	}
	if (w->pid != pid || now_us < w->until_us)
		w->since_us = now_us;
	w->pid = pid;
	w->until_us = now_us;
	w->dirty = true;
}

/* No proxy has a name with a '/'. */
#define WITNESS "/witness"
#define WITNESS_GAP_US 15000000ll

void evidence_witness(struct evidence *e, int64_t pid, int64_t now_us)
{
	struct watched *w = map_get(&e->watched, STR(WITNESS));

	if (w && now_us > w->until_us + WITNESS_GAP_US)
		w->pid = 0;             /* it was away: that time was not watched */
	watch(e, STR(WITNESS), pid, now_us);
}

int evidence_plain(struct evidence *e, const struct evidence_plain *p, size_t n, int64_t now_us,
		   struct err *err)
{
	int r = evidence_db_begin(e->db, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++)
		r = evidence_db_witness(e->db, now_us / HOUR_US, &p[i], err);
	return evidence_db_end(e->db, r, err);
}

void evidence_take(struct evidence *e, struct str proxy, const struct doc *stats, int64_t now_us)
{
	const struct doc *edges = doc_get(stats, STR("edges"));
	int64_t pid = doc_get_int(stats, "pid", 0);
	struct evidence_edge edge;
	int64_t v[EVIDENCE__N];

	if (!edges || edges->kind != DOC_LIST || proxy.n == 0)
		return;
	/* What grew before the hour turned is the last hour's as long as it was read then. */
	if (now_us / HOUR_US != e->hour) {
		struct err err = { 0 };

		if (evidence_flush(e, now_us, &err) < 0)
			log_err("%s", err.text);
	}
	watch(e, proxy, pid, now_us);
	e->n_omitted += (uint64_t)doc_get_int(stats, "omitted", 0);
	for (size_t i = 0; i < edges->n; i++) {
		struct counter *c = read_edge(edges->v[i], &edge, v) ? counter_get(e, proxy, &edge)
								     : NULL;
		if (c)
			grow(c, pid, v);
	}
	if (e->n_omitted > 0 && !e->told_full) {
		log_warn("evidence_omitted: more edges than %d: a compliance report is not "
			 "complete", EDGES_MAX);
		e->told_full = true;
	}
}

/* ---- to disk ------------------------------------------------------------------------------- */

static int write_counters(struct evidence *e, struct err *err)
{
	for (struct map_entry *m = map_first(&e->counters); m; m = map_next(&e->counters, m)) {
		struct counter *c = m->val;
		int r = c->dirty ? evidence_db_add(e->db, e->hour, c->proxy, c->pid, &c->edge,
						   c->fresh, c->read, err)
				 : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int write_watched(struct evidence *e, struct err *err)
{
	for (struct map_entry *m = map_first(&e->watched); m; m = map_next(&e->watched, m)) {
		struct watched *w = m->val;
		int r = w->dirty ? evidence_db_watch(e->db, str_c(w->name), w->since_us,
						     w->until_us, err)
				 : 0;

		if (r < 0)
			return r;
	}
	return evidence_db_omitted(e->db, e->hour, (int64_t)e->n_omitted, err);
}

static void clean(struct evidence *e)
{
	for (struct map_entry *m = map_first(&e->counters); m; m = map_next(&e->counters, m)) {
		struct counter *c = m->val;

		memset(c->fresh, 0, sizeof(c->fresh));
		c->dirty = false;
	}
	for (struct map_entry *m = map_first(&e->watched); m; m = map_next(&e->watched, m))
		((struct watched *)m->val)->dirty = false;
	e->n_omitted = 0;
}

int evidence_flush(struct evidence *e, int64_t now_us, struct err *err)
{
	int r = evidence_db_begin(e->db, err);

	if (r == 0) {
		r = write_counters(e, err);
		if (r == 0)
			r = write_watched(e, err);
		r = evidence_db_end(e->db, r, err);
	}
	if (r < 0)
		return r;
	clean(e);
	bool turned = now_us / HOUR_US != e->hour;

	e->hour = now_us / HOUR_US;
	return turned ? evidence_db_seal(e->db, e->hour, err) : 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_counter(void *arg, struct str proxy, int64_t pid, const struct evidence_edge *edge,
		       const int64_t read[EVIDENCE__N])
{
	struct counter *c = counter_get(arg, proxy, edge);

	if (!c)
		return;
	c->pid = pid;
	memcpy(c->read, read, sizeof(c->read));
}

int evidence_open(const char *path, int64_t now_us, struct evidence **ret, struct err *err)
{
	struct evidence *e = kv_zalloc(sizeof(*e));

	map_init(&e->counters);
	map_init(&e->watched);
	e->hour = now_us / HOUR_US;
	int r = evidence_db_open(path, &e->db, err);

	if (r == 0)
		r = evidence_db_counters(e->db, on_counter, e, err);
	if (r == 0)
		r = evidence_db_seal(e->db, e->hour, err);
	if (r < 0) {
		evidence_close(e);
		return r;
	}
	*ret = e;
	return 0;
}

void evidence_close(struct evidence *e)
{
	if (!e)
		return;
	for (struct map_entry *m = map_first(&e->counters); m; m = map_next(&e->counters, m))
		counter_free(m->val);
	for (struct map_entry *m = map_first(&e->watched); m; m = map_next(&e->watched, m)) {
		struct watched *w = m->val;

		free(w->name);
		free(w);
	}
	map_done(&e->counters);
	map_done(&e->watched);
	evidence_db_close(e->db);
	free(e);
}

/* ---- the reply ----------------------------------------------------------------------------- */

struct reply {
	struct arena *a;
	struct doc *edges, *proxies, *witness, *plain;
};

static void on_sum(void *arg, const struct evidence_edge *edge, const int64_t v[EVIDENCE__N])
{
	struct reply *r = arg;
	struct doc *d = doc_add(r->a, r->edges, doc_new_map(r->a));

	for (size_t i = 0; i < EVIDENCE_TEXTS; i++)
		doc_set_str(r->a, d, text_members[i], arena_str(r->a, edge->text[i]));
	doc_set_int(r->a, d, "destinationPort", edge->port);
	doc_set_bool(r->a, d, "mutual", edge->mutual);
	for (size_t i = 0; i < EVIDENCE__N; i++)
		doc_set_int(r->a, d, number_members[i], v[i]);
}

static void on_watched(void *arg, struct str proxy, int64_t watched_us)
{
	struct reply *r = arg;

	if (str_eq(proxy, STR(WITNESS))) {
		doc_set_int(r->a, r->witness, "watchedSeconds", watched_us / 1000000);
		return;
	}
	struct doc *d = doc_add(r->a, r->proxies, doc_new_map(r->a));

	doc_set_str(r->a, d, "proxy", arena_str(r->a, proxy));
	doc_set_int(r->a, d, "watchedSeconds", watched_us / 1000000);
}

static void on_plain(void *arg, const struct evidence_plain *p)
{
	struct reply *r = arg;
	struct doc *d = doc_add(r->a, r->plain, doc_new_map(r->a));

	doc_set_str(r->a, d, "kind", arena_str(r->a, p->kind));
	doc_set_int(r->a, d, "port", p->port);
	doc_set_str(r->a, d, "workload", arena_str(r->a, p->workload));
	doc_set_int(r->a, d, "packets", p->packets);
	doc_set_int(r->a, d, "bytes", p->bytes);
}

int evidence_report(struct evidence *e, int64_t since_us, int64_t until_us, struct arena *a,
		    struct doc *to, struct err *err)
{
	struct reply reply = { .a = a };
	struct evidence_seals seals;
	int64_t omitted = 0;
	int r;

	reply.edges = doc_set(a, to, "edges", doc_new_list(a));
	reply.proxies = doc_set(a, to, "proxies", doc_new_list(a));
	reply.witness = doc_set(a, to, "witness", doc_new_map(a));
	doc_set_int(a, reply.witness, "watchedSeconds", 0);
	reply.plain = doc_set(a, reply.witness, "ports", doc_new_list(a));
	r = evidence_db_sums(e->db, since_us / HOUR_US, (until_us + HOUR_US - 1) / HOUR_US, on_sum,
			     &reply, err);
	if (r == 0)
		r = evidence_db_witnessed(e->db, since_us / HOUR_US, (until_us + HOUR_US - 1) / HOUR_US,
					  on_plain, &reply, err);
	if (r == 0)
		r = evidence_db_watched(e->db, since_us, until_us, on_watched, &reply, err);
	if (r == 0)
		r = evidence_db_verify(e->db, NULL, NULL, &seals, err);
	if (r == 0)
		r = evidence_db_omissions(e->db, since_us / HOUR_US, &omitted, err);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): evidence_db_omissions set it, else r < 0 */
	doc_set_int(a, to, "omitted", omitted);
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): the same of evidence_db_verify */
	doc_set_int(a, to, "sealedDays", seals.n);
	doc_set_str(a, to, "seal", arena_str(a, str_c(seals.last)));
	if (seals.broken_day >= 0)
		doc_set_int(a, to, "brokenDay", seals.broken_day);
	return 0;
}

struct seal_list {
	struct arena *a;
	struct doc *list;
};

static void on_seal(void *arg, int64_t day, struct str seal)
{
	struct seal_list *l = arg;
	struct doc *d = doc_add(l->a, l->list, doc_new_map(l->a));

	doc_set_int(l->a, d, "day", day);
	doc_set_str(l->a, d, "seal", arena_str(l->a, seal));
}

int evidence_seals(struct evidence *e, struct arena *a, struct doc *to, struct err *err)
{
	struct seal_list l = { a, doc_set(a, to, "seals", doc_new_list(a)) };
	struct evidence_seals seals;
	int r = evidence_db_verify(e->db, on_seal, &l, &seals, err);

	if (r == 0 && seals.broken_day >= 0)
		doc_set_int(a, to, "brokenDay", seals.broken_day);
	return r;
}
