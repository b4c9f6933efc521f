/* SPDX-License-Identifier: Apache-2.0 */
/* witnessed: see witnessed.h. Layer metrics. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "metrics/evidence_db.h"
#include "metrics/witnessed.h"

#define PORTS_MAX 2048                  /* series; what is beyond is kept as evidence all the same */
#define LATE_US 15000000ll

struct witnessed_port {
	char *key, *workload;
	const char *kind;
	int64_t port, packets, bytes;
};

void witnessed_init(struct witnessed *w)
{
	*w = (struct witnessed){ 0 };
	map_init(&w->ports);
}

void witnessed_done(struct witnessed *w)
{
	for (struct map_entry *m = map_first(&w->ports); m; m = map_next(&w->ports, m)) {
		struct witnessed_port *p = m->val;

		free(p->key);
		free(p->workload);
		free(p);
	}
	map_done(&w->ports);
}

static const char *kind_of(struct str s)
{
	static const char *const kinds[] = { "mesh", "application", "captured" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (str_eq(s, str_c(kinds[i])))
			return kinds[i];
	return NULL;
}

static bool read_row(const struct doc *d, struct evidence_plain *ret)
{
	*ret = (struct evidence_plain){
		.kind = doc_get_str(d, "kind", STR("")),
		.workload = doc_get_str(d, "workload", STR("")),
		.port = doc_get_int(d, "port", 0),
		.packets = doc_get_int(d, "packets", -1),
		.bytes = doc_get_int(d, "bytes", -1),
	};
	return kind_of(ret->kind) && ret->port > 0 && ret->port <= UINT16_MAX && ret->packets >= 0 && ret->bytes >= 0;
}

static void add(struct witnessed *w, const struct evidence_plain *p)
{
	_cleanup_free_ char *key = kv_asprintf("%.*s %" PRId64 " %.*s", STR_ARG(p->kind), p->port,
					       STR_ARG(p->workload));
	struct witnessed_port *x = map_get(&w->ports, str_c(key));

	w->packets += p->packets;
	w->bytes += p->bytes;
	if (!x && w->ports.n >= PORTS_MAX)
		return;
	if (!x) {
		x = kv_zalloc(sizeof(*x));
		x->key = take(&key);
		x->workload = kv_asprintf("%.*s", STR_ARG(p->workload));
		x->kind = kind_of(p->kind);
		x->port = p->port;
		map_put(&w->ports, str_c(x->key), x);
	}
	x->packets += p->packets;
	x->bytes += p->bytes;
}

int witnessed_take(struct witnessed *w, const struct doc *d, struct evidence *e, int64_t now_us,
		   struct err *err)
{
	const struct doc *rows = doc_get(d, STR("ports"));
	_cleanup_free_ struct evidence_plain *p = NULL;

	if (!rows || rows->kind != DOC_LIST)
		return err_set(err, KV_ERR_SCHEMA, "ports: a list is needed");
	p = kv_malloc((rows->n + 1) * sizeof(*p));
	for (size_t i = 0; i < rows->n; i++)
		if (!read_row(rows->v[i], &p[i]))
			return err_set(err, KV_ERR_SCHEMA, "ports[%zu]: kind, port, packets and bytes "
				       "are needed", i);
	int r = e && rows->n > 0 ? evidence_plain(e, p, rows->n, now_us, err) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < rows->n; i++)
		add(w, &p[i]);
	if (e)
		evidence_witness(e, doc_get_int(d, "pid", 0), now_us);
	w->heard_us = now_us;
	w->looks_at = doc_get_int(d, "looksAt", 0);
	return 0;
}

/* ---- telling ------------------------------------------------------------------------------- */

static bool is_looking(const struct witnessed *w)
{
	int64_t ago = clock_real_us() - w->heard_us;

	return w->heard_us > 0 && ago >= 0 && ago < LATE_US;
}

void witnessed_families(void *witnessed, struct prom *p)
{
	struct witnessed *w = witnessed;

	if (w->heard_us == 0)
		return;
	prom_set(p, "kvmesh_witness_up", PROM_GAUGE, "1: kvmesh-witness looks at the wire.", NULL,
		 is_looking(w));
	prom_set(p, "kvmesh_witness_ports", PROM_GAUGE, "Ports that kvmesh-witness looks at.", NULL,
		 (double)w->looks_at);
	for (struct map_entry *m = map_first(&w->ports); m; m = map_next(&w->ports, m)) {
		const struct witnessed_port *x = m->val;
		char port[STR_U64_MAX + 1];
		const struct prom_label labels[] = {
			{ "port", str_from(port, str_put_u64(port, (uint64_t)x->port)) },
			{ "kind", str_c(x->kind) },
			{ "workload", str_c(x->workload) },
			{ 0 },
		};

		prom_set(p, "kvmesh_witness_plain_bytes_total", PROM_COUNTER,
			 "Bytes of packets with plain text where there must be none.", labels,
			 (double)x->bytes);
		prom_set(p, "kvmesh_witness_plain_packets_total", PROM_COUNTER,
			 "Packets with plain text where there must be none.", labels,
			 (double)x->packets);
	}
}

void witnessed_status(const struct witnessed *w, struct arena *a, struct doc *to)
{
	char when[CLOCK_RFC3339_MAX];

	if (w->heard_us == 0)
		return;
	struct doc *d = doc_set(a, to, "witness", doc_new_map(a));

	doc_set_bool(a, d, "looking", is_looking(w));
	doc_set_str(a, d, "lastHeard", arena_str(a, str_c(clock_rfc3339(w->heard_us, when))));
	doc_set_int(a, d, "looksAt", w->looks_at);
	doc_set_int(a, d, "plainPackets", w->packets);
	doc_set_int(a, d, "plainBytes", w->bytes);
}
