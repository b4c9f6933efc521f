/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_own: the families that are kvmesh's own and the observed edges (security-model P6). Layer
 * proxy, control thread.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "proxy/record.h"
#include "proxy/stats_rows.h"

#define EDGES_BYTES_MAX (8u << 20) /* of the reply, which the IPC layer caps at IPC_REPLY_MAX */

/* "my-app-v1.default", else what else names that side. */
static struct str side_name(struct arena *a, const struct str *id, struct str dflt)
{
	if (id[0].n == 0)
		return dflt.n > 0 ? dflt : STR("unknown");
	return arena_printf(a, "%.*s.%.*s", STR_ARG(id[0]), STR_ARG(id[1]));
}

/* Exchanges that were not encrypted, the auditor's list: everything of a series without any TLS. */
static void sum_plaintext(const struct nodes *ns, struct str proxy, struct rows *rs)
{
	for (size_t i = 0; i < ns->n; i++) {
		const struct series *s = list_entry(ns->v[i], struct series, node);
		const struct series_facts *fa = series_facts(ns->v[i]);
		struct str v[SERIES__N];

		series_values(ns->v[i], v);
		/* What was refused for being plain was not sent in the clear. */
		if (fa->policy != SERIES_POLICY_NONE || v[SERIES_TLS].n > 0 ||
		    atomic_load_explicit(&s->last_seen_us, memory_order_relaxed) <= 0)
			continue;
		bool folded = ns->v[i]->admit == STATS_ADMIT_FOLDED;
		struct str row[] = {
			proxy,
			folded ? STR("other")
			       : side_name(&rs->arena, &v[SERIES_SRC_NAME], STR_NULL),
			folded ? STR("other")
			       : side_name(&rs->arena, &v[SERIES_DST_NAME], v[SERIES_SERVICE]),
			fa->reporter == RECORD_DESTINATION ? STR("accepted")
			: v[SERIES_DST_NAME].n > 0         ? STR("sent_in_mesh")
							   : STR("sent_outside"),
		};

		rs->key.n = 0;
		families_render(&rs->key, row, 4);
		rows_get(rs)->v[0] += fa->protocol == RECORD_TCP ? stats_get(&s->tcp.opened)
								 : stats_get(&s->http.ended);
	}
}

static void write_plaintext(struct families *f, const struct nodes *ns, struct str proxy)
{
	struct rows rs;

	rows_init(&rs, false);
	sum_plaintext(ns, proxy, &rs);
	rows_write_counter(
		&rs, f, "kvmesh_plaintext_requests_total",
		"Requests and TCP connections without TLS, accepted from or sent to somebody.",
		FAMILIES_LABELS("proxy", "src", "dst", "reason"));
	rows_done(&rs);
}

static const struct reason_family {
	const char *name, *help, *word, *layer;
} reason_families[] = {
	{ "kvmesh_tls_refused_total", "TLS handshakes refused.", "reason" },
	{ "kvmesh_bad_input_total", "Input refused because it breaks a protocol.", "reason" },
	{ "kvmesh_overload_shed_total",
	  "Connections, handshakes, requests and keep-alives given up because a limit was near.", "reason" },
	{ "kvmesh_plaintext_refused_total",
	  "Connections in plain text closed on a port that wants mutual TLS.", "workload" },
	{ "kvmesh_ext_authz_total", "What external authorizers said: allowed, denied, error, fail_open, "
	  "too_large.", "result" },
	{ "kvmesh_egress_total",
	  "Connections out of the mesh under egressPolicy, by country: allowed, refused, audited.", "verdict",
	  "country" },
	{ "kvmesh_jwt_denied_total", "Requests refused for their token.", "reason" },
	{ "kvmesh_authz_denied_total", "Requests and connections denied by a policy.", "policy" },
	{ "kvmesh_authz_dry_run_denied_total",
	  "Requests and connections that a dry-run policy would have denied.", "policy" },
	{ "kvmesh_authz_audited_total", "Requests and connections that an AUDIT policy is about.",
	  "policy" },
};

static const struct reason_family *reason_family(struct str name)
{
	static const struct reason_family any = { NULL, "Events by reason.", "reason", NULL };

	for (size_t i = 0; i < sizeof(reason_families) / sizeof(reason_families[0]); i++)
		if (str_eq(str_c(reason_families[i].name), name))
			return &reason_families[i];
	return &any;
}

/* The three words of a reason's key. */
static void reason_words(const struct stats_node *e, struct str v[3])
{
	struct str rest = str_from(e->key, e->key_n);

	for (size_t i = 0; i < 3; i++)
		(void)str_split(&rest, '\0', &v[i]);
}

static bool is_layered(const struct nodes *ns, struct str name)
{
	struct str w[3];

	for (size_t i = 0; i < ns->n; i++) {
		reason_words(ns->v[i], w);
		if (str_eq(w[0], name) && w[1].n > 0)
			return true;
	}
	return false;
}

static void write_reasons_of(struct families *f, const struct nodes *ns, struct str name,
			     struct str proxy)
{
	const struct reason_family *rf = reason_family(name);
	bool layered = is_layered(ns, name);
	struct rows rs;

	rows_init(&rs, false);
	for (size_t i = 0; i < ns->n; i++) {
		struct str w[3];

		reason_words(ns->v[i], w);
		if (!str_eq(w[0], name))
			continue;
		rs.key.n = 0;
		families_render(&rs.key, layered ? (struct str[]){ proxy, w[1], w[2] } :
				(struct str[]){ proxy, w[2] }, layered ? 3 : 2);
		rows_get(&rs)->v[0] += stats_get(&list_entry(ns->v[i], struct reason, node)->count);
	}
	rows_write_counter(&rs, f, arena_str(&rs.arena, name).p, rf->help,
			   layered ? FAMILIES_LABELS("proxy", rf->layer ? rf->layer : "layer", rf->word) :
				     FAMILIES_LABELS("proxy", rf->word));
	rows_done(&rs);
}

static void write_reasons(struct families *f, const struct nodes *ns, struct str proxy)
{
	struct map seen;

	map_init(&seen);
	for (size_t i = 0; i < ns->n; i++) {
		struct str w[3];

		reason_words(ns->v[i], w);
		map_put(&seen, w[0], ns->v[i]);
	}
	rows_sort(&seen);
	for (size_t i = 0; i < seen.n; i++)
		write_reasons_of(f, ns, seen.entries[i].key, proxy);
	map_done(&seen);
}

static const struct {
	const char *name, *help;
	int kind;
} fixed_rows[STATS__N] = {
#define STATS(id, name, kind, help) [STATS_##id] = { name, help, kind },
#include "proxy/stats.def"
#undef STATS
};

int64_t stats_sum(struct stats *const *v, size_t n, enum stats_id id)
{
	int64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += atomic_load_explicit(&v[i]->fixed[id], memory_order_relaxed);
	return sum;
}

static void write_fixed(struct families *f, struct stats *const *v, size_t n, struct str proxy)
{
	for (size_t id = 0; id < STATS__N; id++) {
		families_begin(f, fixed_rows[id].name,
			       fixed_rows[id].kind == STATS_GAUGE ? FAMILIES_GAUGE
								  : FAMILIES_COUNTER,
			       fixed_rows[id].help, FAMILIES_LABELS("proxy"));
		families_row_int(f, &proxy, stats_sum(v, n, (enum stats_id)id));
		families_end(f);
	}
}

static void write_lag(struct families *f, struct stats *const *v, size_t n, struct str proxy)
{
	struct row sum = { 0 };
	double bounds[STATS_BOUNDS];

	for (size_t i = 0; i < STATS_BOUNDS; i++)
		bounds[i] = (double)stats_lag_bounds_us[i] / 1e6;
	for (size_t i = 0; i < n; i++)
		row_add_hist(&sum, &v[i]->lag);
	families_begin_histogram(
		f, "kvmesh_proxy_loop_lag_seconds",
		"How long work waited for a worker's loop, measured once a second.",
		FAMILIES_LABELS("proxy"), bounds, STATS_BOUNDS);
	families_row_histogram(f, &proxy, sum.hist, STATS_BOUNDS + 1, (double)sum.v[0] / 1e6);
	families_end(f);
}

void stats_write_own(struct stats *const *v, size_t n, struct str proxy, const struct nodes *series,
		     struct families *f)
{
	struct nodes reasons = { 0 };

	for (size_t i = 0; i < n; i++)
		nodes_collect(&reasons, &v[i]->reasons);
	write_plaintext(f, series, proxy);
	write_reasons(f, &reasons, proxy);
	write_fixed(f, v, n, proxy);
	write_lag(f, v, n, proxy);
	free(reasons.v);
}

/* ---- edges --------------------------------------------------------------------------------- */

enum { EDGE_CONNECTIONS, EDGE_REQUESTS, EDGE_RECEIVED, EDGE_SENT, EDGE_LAST_SEEN };

static void member(struct text *t, const char *name, struct str v)
{
	text_json(t, str_c(name));
	text_char(t, ':');
	text_json(t, v);
	text_char(t, ',');
}

static void render_edge(struct text *t, const struct stats_node *e)
{
	const struct series_facts *f = series_facts(e);
	struct str v[SERIES__N];

	series_values(e, v);
	t->n = 0;
	member(t, "reporter", str_c(f->reporter == RECORD_SOURCE ? "source" : "destination"));
	member(t, "sourcePrincipal", v[SERIES_SRC_PRINCIPAL]);
	member(t, "sourceWorkload", v[SERIES_SRC_NAME]);
	member(t, "sourceNamespace", v[SERIES_SRC_NS]);
	member(t, "destinationService", v[SERIES_SERVICE]);
	text_lit(t, "\"destinationPort\":");
	text_u64(t, f->port);
	text_char(t, ',');
	member(t, "destinationWorkload", v[SERIES_DST_NAME]);
	member(t, "destinationPrincipal", v[SERIES_DST_PRINCIPAL]);
	if (f->policy == SERIES_POLICY_MUTUAL)
		text_lit(t, "\"mutual\":true,");
	else
		text_lit(t, "\"mutual\":false,");
	member(t, "tls", v[SERIES_TLS]);
	member(t, "cipher", v[SERIES_CIPHER]);
}

/* Bodies of requests and answers, or all bytes of a TCP stream. */
static void sum_bytes(const struct series *s, struct row *r)
{
	bool tcp = series_facts(&s->node)->protocol == RECORD_TCP;

	r->v[EDGE_RECEIVED] += stats_get(tcp ? &s->tcp.received : &s->http.request_bytes.sum);
	r->v[EDGE_SENT] += stats_get(tcp ? &s->tcp.sent : &s->http.response_bytes.sum);
}

static void sum_edges(const struct nodes *ns, struct rows *rs)
{
	for (size_t i = 0; i < ns->n; i++) {
		const struct series *s = list_entry(ns->v[i], struct series, node);
		int64_t last = atomic_load_explicit(&s->last_seen_us, memory_order_relaxed);

		if (last <= 0)
			continue;
		render_edge(&rs->key, ns->v[i]);
		struct row *r = rows_get(rs);

		r->v[EDGE_CONNECTIONS] += stats_get(&s->connections);
		r->v[EDGE_REQUESTS] += stats_get(&s->requests);
		sum_bytes(s, r);
		if ((uint64_t)last > r->v[EDGE_LAST_SEEN])
			r->v[EDGE_LAST_SEEN] = (uint64_t)last;
	}
}

static void write_edge(struct text *t, const struct row *r)
{
	char when[CLOCK_RFC3339_MAX];

	text_char(t, '{');
	text_add(t, r->key);
	text_lit(t, "\"connections\":");
	text_u64(t, r->v[EDGE_CONNECTIONS]);
	text_lit(t, ",\"requests\":");
	text_u64(t, r->v[EDGE_REQUESTS]);
	text_lit(t, ",\"bytesReceived\":");
	text_u64(t, r->v[EDGE_RECEIVED]);
	text_lit(t, ",\"bytesSent\":");
	text_u64(t, r->v[EDGE_SENT]);
	text_lit(t, ",\"lastSeen\":");
	text_json(t, str_c(clock_rfc3339((int64_t)r->v[EDGE_LAST_SEEN], when)));
	text_char(t, '}');
}

size_t stats_write_edges(struct stats *const *v, size_t n, struct text *t)
{
	struct nodes ns = { 0 };
	struct rows rs;
	size_t start = t->n, written = 0;

	for (size_t i = 0; i < n; i++)
		nodes_collect(&ns, &v[i]->series);
	rows_init(&rs, false);
	sum_edges(&ns, &rs);
	rows_sort(&rs.map);
	text_char(t, '[');
	for (; written < rs.map.n && t->n - start < EDGES_BYTES_MAX; written++) {
		if (written > 0)
			text_char(t, ',');
		write_edge(t, rs.map.entries[written].val);
	}
	text_char(t, ']');
	size_t omitted = rs.map.n - written;

	rows_done(&rs);
	free(ns.v);
	return omitted;
}
