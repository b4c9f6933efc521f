/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: the owner's side of one worker's counters. Layer proxy.
 * A request that was seen before costs one key (about 300 bytes copied), one hash, one compare and
 * a few stores; memory is taken only when a series is new. The key holds values, not pointers into
 * snapshots: those come and go, and a reused address must not mean another workload. A request like
 * one shortly before it is found without its key, see struct memo.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/rng.h"
#include "io/loop.h"
#include "io/tls.h"
#include "proxy/record.h"
#include "proxy/stats_table.h"

const uint64_t stats_duration_bounds_us[STATS_BOUNDS] = {
	100, 250, 500, 1000, 2500, 5000, 7500, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 5000000, 10000000, 30000000, 60000000,
};
const uint64_t stats_lag_bounds_us[STATS_BOUNDS] = {
	10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 5000000, 10000000,
};
const uint64_t stats_size_bounds_half[STATS_BOUNDS] = {
	1, 2, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000, 120000, 600000,
	1200000, 3600000, 7200000,
};

/* Where the next key is put together: 5 KiB that need not be cleared for each request. */
struct scratch {
	struct series_facts facts;
	char text[SERIES__N * STATS_VALUE_MAX];
};

/*
 * A row that was found lately, and the record it was found for: of what belongs to the snapshot the
 * addresses, which mean the same as long as its serial does; what belongs to a connection or a
 * request is compared byte by byte with the row's own key.
 */
#define MEMOS 32
enum { MEMO_SERVICE, MEMO_SOURCE, MEMO_DESTINATION, MEMO__N };
struct memo {
	uint64_t serial;                /* 0: none */
	struct series_facts facts;
	const struct snap_peer *source, *destination;
	struct str service_name, service_ns;
	const char *tls_version, *tls_cipher;
	struct str by_value[MEMO__N];   /* in the row's key */
	struct series *row;
};

struct stats_own {
	struct stats pub;
	struct scratch scratch;
	uint64_t seed;                  /* label values may come from strangers */
	struct memo memos[MEMOS];
};

static struct stats_own *own(struct stats *s)
{
	return list_entry(s, struct stats_own, pub);
}

struct stats *stats_new(void)
{
	struct stats_own *o = kv_zalloc(sizeof(*o));

	rng_secure(&o->seed, sizeof(o->seed));
	return &o->pub;
}

static void table_done(struct stats_table *t)
{
	struct stats_node *next;

	for (struct stats_node *n = atomic_load(&t->head); n; n = next) {
		next = n->next;
		free(n);                /* first member of what was allocated */
	}
	free(t->slots);
}

void stats_free(struct stats *s)
{
	if (!s)
		return;
	table_done(&s->series);
	table_done(&s->reasons);
	free(own(s));
}

/* One writer: no read-modify-write is needed. */
static void bump(_Atomic uint64_t *c, uint64_t n)
{
	uint64_t v = atomic_load_explicit(c, memory_order_relaxed);

	atomic_store_explicit(c, v + n, memory_order_relaxed);
}

void stats_add(struct stats *s, enum stats_id id, int64_t n)
{
	int64_t v = atomic_load_explicit(&s->fixed[id], memory_order_relaxed);

	atomic_store_explicit(&s->fixed[id], v + n, memory_order_relaxed);
}

static void hist_add(struct stats_hist *h, const uint64_t bounds[STATS_BOUNDS], uint64_t v,
		     uint64_t add)
{
	size_t i = 0;

	while (i < STATS_BOUNDS && v > bounds[i])
		i++;
	bump(&h->bucket[i], 1);
	bump(&h->sum, add);
}

static void on_probe(void *arg)
{
	struct stats *s = arg;
	uint64_t lag_us = clock_mono_us() - atomic_load(&s->probed_us);

	hist_add(&s->lag, stats_lag_bounds_us, lag_us, lag_us);
	atomic_store(&s->probed_us, 0);
}

void stats_probe_loop(struct stats *s, struct loop *worker_loop)
{
	if (atomic_load(&s->probed_us) != 0)
		return;
	atomic_store(&s->probed_us, clock_mono_us());
	loop_post(worker_loop, on_probe, s);
}

/* ---- the table ----------------------------------------------------------------------------- */

static struct stats_node *table_find(const struct stats_table *t, uint64_t hash, const void *key,
				     size_t n)
{
	if (t->n_slots == 0)
		return NULL;
	for (size_t i = hash & (t->n_slots - 1); t->slots[i]; i = (i + 1) & (t->n_slots - 1)) {
		struct stats_node *e = t->slots[i];

		if (e->hash == hash && e->key_n == n && memcmp(e->key, key, n) == 0)
			return e;
	}
	return NULL;
}

static void table_place(struct stats_table *t, struct stats_node *e)
{
	size_t i = e->hash & (t->n_slots - 1);

	while (t->slots[i])
		i = (i + 1) & (t->n_slots - 1);
	t->slots[i] = e;
}

static void table_grow(struct stats_table *t)
{
	free(t->slots);
	t->n_slots = t->n_slots ? t->n_slots * 2 : 64;
	t->slots = kv_zalloc(t->n_slots * sizeof(struct stats_node *));
	for (struct stats_node *e = atomic_load_explicit(&t->head, memory_order_relaxed); e;
	     e = e->next)
		table_place(t, e);
}

/* A node of size bytes with the key behind it, zeroed, already visible to the reader. */
static struct stats_node *table_insert(struct stats_table *t, size_t size, uint64_t hash,
				       const void *key, size_t n)
{
	struct stats_node *e = kv_zalloc(size + n);
	char *copy = (char *)e + size;

	memcpy(copy, key, n);
	e->key = copy;
	e->key_n = (uint32_t)n;
	e->hash = hash;
	e->next = atomic_load_explicit(&t->head, memory_order_relaxed);
	if (2 * (t->n + 1) > t->n_slots)
		table_grow(t);
	table_place(t, e);
	t->n++;
	atomic_store_explicit(&t->head, e, memory_order_release);
	return e;
}

/* ---- events with a word -------------------------------------------------------------------- */

static size_t put_word(char *p, size_t room, const char *word)
{
	size_t n = word ? strnlen(word, room - 1) : 0;

	if (n > 0)
		memcpy(p, word, n);
	p[n] = '\0';
	return n + 1;
}

static size_t reason_key(char *key, size_t room, const char *family, const char *layer,
			 const char *reason)
{
	size_t n = put_word(key, room / 3, family);

	n += put_word(key + n, room / 3, layer);
	return n + put_word(key + n, room / 3, reason);
}

void stats_add_reason(struct stats *s, const char *family, const char *layer, const char *reason)
{
	_scratch_ char key[3 * STATS_VALUE_MAX];
	size_t n = reason_key(key, sizeof(key), family, layer, reason);
	uint64_t seed = own(s)->seed, hash = hash_bytes(key, n, seed);
	struct stats_node *e = table_find(&s->reasons, hash, key, n);

	if (!e && s->reasons.n >= STATS_REASONS_MAX) {
		n = reason_key(key, sizeof(key), family, layer ? "other" : NULL, "other");
		hash = hash_bytes(key, n, seed);
		e = table_find(&s->reasons, hash, key, n);
	}
	if (!e)
		e = table_insert(&s->reasons, sizeof(struct reason), hash, key, n);
	bump(&list_entry(e, struct reason, node)->count, 1);
}

/* ---- exchanges ----------------------------------------------------------------------------- */

static struct str either(struct str a, struct str b)
{
	return a.n > 0 ? a : b;
}

/*
 * The eight values about one side, in the order of the labels; on the destination's side the
 * service stands between them, hence two arrays. Empty is written "unknown" or "latest" by the
 * reader.
 */
static void peer_values(const struct snap_peer *p, struct str principal, struct str id[5],
			struct str canon[3])
{
	static const struct snap_peer nobody;
	struct tls_spiffe spiffe = { .ns = STR_NULL };
	struct str ns;

	if (!p)
		p = &nobody;
	ns = p->ns;
	if (ns.n == 0 && principal.n > 0 && tls_spiffe_parse(principal, &spiffe))
		ns = spiffe.ns;
	id[0] = p->name;
	id[1] = ns;
	id[2] = principal;
	id[3] = p->app;
	id[4] = p->version;
	canon[0] = either(p->canonical_name, p->name);
	canon[1] = either(p->canonical_revision, p->version);
	canon[2] = p->cluster;
}

/* PassthroughCluster and its kin are their own short name. */
static struct str service_name(const struct record *r)
{
	if (r->service_name.n == 0 && str_has_suffix(r->service, STR("Cluster")))
		return r->service;
	return r->service_name;
}

static void values_of(const struct record *r, struct str v[SERIES__N])
{
	peer_values(r->source, r->source_principal, &v[SERIES_SRC_NAME], &v[SERIES_SRC_CANON]);
	peer_values(r->destination, r->destination_principal, &v[SERIES_DST_NAME],
		    &v[SERIES_DST_CANON]);
	v[SERIES_SERVICE] = r->service;
	v[SERIES_SERVICE_NAME] = service_name(r);
	v[SERIES_SERVICE_NS] = r->service_ns;
	v[SERIES_TLS] = str_c(r->tls_version);
	v[SERIES_CIPHER] = str_c(r->tls_cipher);
}

/*
 * The truth on both sides, conventions 5.1. The source side knows nothing about an exchange that
 * never had a connection to the destination.
 */
static bool is_established(const struct record *r)
{
	if (r->reporter == RECORD_DESTINATION)
		return r->fail != FAIL_TLS && r->fail != FAIL_PLAINTEXT;
	if (r->protocol == RECORD_TCP)
		return r->up_remote.len > 0 && r->fail != FAIL_CONNECT &&
		       r->fail != FAIL_CONNECT_TIMEOUT;
	return r->up_first_us > 0;
}

static enum series_policy policy_of(const struct record *r)
{
	if (r->mutual)
		return SERIES_POLICY_MUTUAL;
	if (r->reporter == RECORD_SOURCE && !is_established(r))
		return SERIES_POLICY_UNKNOWN;
	return SERIES_POLICY_NONE;
}

static struct series_facts facts_of(const struct record *r)
{
	bool http = r->protocol != RECORD_TCP;

	return (struct series_facts){
		.reporter = (uint8_t)r->reporter,
		.protocol = (uint8_t)r->protocol,
		.policy = (uint8_t)policy_of(r),
		.fail = (uint8_t)r->fail,
		.more = (uint8_t)record_more(r),
		.status = http && r->status < 1000 ? (uint16_t)r->status : 0,
		.grpc_status =
			r->protocol == RECORD_GRPC && r->grpc_status >= 0 && r->grpc_status < 1000
				? (int16_t)r->grpc_status
				: -1,
		.port = r->service_port > 0 && r->service_port < 65536 ? (uint16_t)r->service_port
								       : 0,
	};
}

static size_t put_key(struct scratch *sc, struct series_facts facts, const struct str v[SERIES__N])
{
	char *p = sc->text;

	for (size_t i = 0; i < SERIES__N; i++) {
		size_t n = v[i].n < STATS_VALUE_MAX ? v[i].n : STATS_VALUE_MAX;

		if (n > 0)
			memcpy(p, v[i].p, n);
		facts.len[i] = (uint16_t)n;
		p += n;
	}
	sc->facts = facts;
	return sizeof(facts) + (size_t)(p - sc->text);
}

static struct stats_node *find_series(struct stats_own *o, size_t n, uint64_t *ret_hash)
{
	*ret_hash = hash_bytes(&o->scratch, n, o->seed);
	return table_find(&o->pub.series, *ret_hash, &o->scratch, n);
}

/* The row that takes what has no room; there are as many as there are kinds of exchange. */
static size_t put_overflow_key(struct scratch *sc, const struct series_facts *f)
{
	struct str v[SERIES__N];

	for (size_t i = 0; i < SERIES__N; i++)
		v[i] = i < SERIES_LABELS__N ? STR("other") : STR_NULL;
	return put_key(sc,
		       (struct series_facts){ .reporter = f->reporter,
					      .protocol = f->protocol,
					      .policy = f->policy,
					      .grpc_status = -1,
					      .overflow = 1 },
		       v);
}

static struct memo *memo_slot(struct stats_own *o, const struct record *r)
{
	uint64_t h = (uintptr_t)r->source * 3 + (uintptr_t)r->destination +
		     (uintptr_t)r->service_name.p * 5 + 977 * r->status + (uint64_t)r->reporter;

	return &o->memos[h * UINT64_C(0x9e3779b97f4a7c15) >> 59];
}

static bool is_same_str(struct str a, struct str b)
{
	return a.p == b.p && a.n == b.n;
}

static bool memo_fits(const struct memo *m, const struct record *r, const struct series_facts *f)
{
	return m->serial == r->serial && m->serial != 0 &&
	       memcmp(&m->facts, f, offsetof(struct series_facts, len)) == 0 &&
	       m->source == r->source && m->destination == r->destination &&
	       is_same_str(m->service_name, r->service_name) &&
	       is_same_str(m->service_ns, r->service_ns) && m->tls_version == r->tls_version &&
	       m->tls_cipher == r->tls_cipher && str_eq(m->by_value[MEMO_SERVICE], r->service) &&
	       str_eq(m->by_value[MEMO_SOURCE], r->source_principal) &&
	       str_eq(m->by_value[MEMO_DESTINATION], r->destination_principal);
}

static void memo_fill(struct memo *m, const struct record *r, const struct series_facts *f,
		      struct series *row)
{
	_scratch_ struct str v[SERIES__N];

	series_values(&row->node, v);
	*m = (struct memo){
		.serial = r->serial, .facts = *f, .source = r->source,
		.destination = r->destination, .service_name = r->service_name,
		.service_ns = r->service_ns, .tls_version = r->tls_version,
		.tls_cipher = r->tls_cipher, .row = row,
		.by_value = { v[SERIES_SERVICE], v[SERIES_SRC_PRINCIPAL], v[SERIES_DST_PRINCIPAL] },
	};
}

static struct series *find_or_add(struct stats_own *o, const struct record *r,
				  struct series_facts facts)
{
	struct stats *s = &o->pub;
	_scratch_ struct str v[SERIES__N];
	uint64_t hash;

	values_of(r, v);
	size_t n = put_key(&o->scratch, facts, v);
	struct stats_node *e = find_series(o, n, &hash);
	bool unnamed = r->service_name.n == 0;

	if (!e && unnamed && s->n_unnamed >= STATS_UNNAMED_MAX) {
		unnamed = false;
		v[SERIES_SERVICE] = v[SERIES_SERVICE_NAME] = STR("other");
		n = put_key(&o->scratch, facts, v);
		e = find_series(o, n, &hash);
	}
	if (!e && s->series.n >= STATS_SERIES_MAX) {
		unnamed = false;
		n = put_overflow_key(&o->scratch, &facts);
		e = find_series(o, n, &hash);
	}
	if (!e) {
		e = table_insert(&s->series, sizeof(struct series), hash, &o->scratch, n);
		s->n_unnamed += unnamed;
	}
	return list_entry(e, struct series, node);
}

static struct series *series_of(struct stats_own *o, const struct record *r)
{
	struct series_facts facts = facts_of(r);
	struct memo *m = memo_slot(o, r);

	if (!memo_fits(m, r, &facts))
		memo_fill(m, r, &facts, find_or_add(o, r, facts));
	return m->row;
}

static void add_edge(struct series *row, const struct record *r, int phase)
{
	int64_t took_us = r->end_us > r->start_us ? (int64_t)(r->end_us - r->start_us) : 0;

	if (!is_established(r))
		return;
	if (r->protocol == RECORD_TCP ? phase == RECORD_TCP_OPEN : r->first_on_conn)
		bump(&row->connections, 1);
	if (r->protocol != RECORD_TCP)
		bump(&row->requests, 1);
	atomic_store_explicit(&row->last_seen_us, r->start_real_us + took_us, memory_order_relaxed);
}

static void add_http(struct series *row, const struct record *r)
{
	uint64_t took_us = r->end_us > r->start_us ? r->end_us - r->start_us : 0;

	bump(&row->http.ended, 1);
	hist_add(&row->http.duration, stats_duration_bounds_us, took_us, took_us);
	hist_add(&row->http.request_bytes, stats_size_bounds_half, 2 * r->bytes_received,
		 r->bytes_received);
	hist_add(&row->http.response_bytes, stats_size_bounds_half, 2 * r->bytes_sent,
		 r->bytes_sent);
	if (r->protocol == RECORD_GRPC) {
		bump(&row->http.request_messages, r->request_messages);
		bump(&row->http.response_messages, r->response_messages);
	}
}

static void add_tcp(struct series *row, const struct record *r, int phase)
{
	if (phase == RECORD_TCP_OPEN) {
		bump(&row->tcp.opened, 1);
		return;
	}
	if (phase == RECORD_END)
		bump(&row->tcp.closed, 1);
	if (r->bytes_received > r->told_received)
		bump(&row->tcp.received, r->bytes_received - r->told_received);
	if (r->bytes_sent > r->told_sent)
		bump(&row->tcp.sent, r->bytes_sent - r->told_sent);
}

void stats_record(struct stats *s, const struct record *r, int phase)
{
	if (r->protocol != RECORD_TCP && phase != RECORD_END)
		return;
	struct series *row = series_of(own(s), r);

	add_edge(row, r, phase);
	if (r->protocol == RECORD_TCP)
		add_tcp(row, r, phase);
	else
		add_http(row, r);
}
