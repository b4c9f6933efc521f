/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_export: Istio's standard metrics from the counters of all workers. Layer proxy, control
 * thread.
 *
 * A row is merged by its label values as they stand in the reply. Which series get a row of their
 * own is decided once, when a series is first seen, and within a budget: a counter that moved
 * between its row and "other" would look like a restart to Prometheus.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/record.h"
#include "proxy/stats_rows.h"

/* Of the reply, which the IPC layer caps at IPC_REPLY_MAX (16 MiB). */
#define COUNTERS_BYTES_MAX (6u << 20)
#define HISTOGRAMS_BYTES_MAX (4u << 20)
#define HISTOGRAMS_SERIES_MAX 1000
#define HISTOGRAM_BYTES 200             /* buckets of one row, about */

/* All labels in Istio's order; TCP has the first TCP_LABELS of them, gRPC messages PEER_LABELS. */
static const char *const label_names[] = {
	"reporter",
	"source_workload",
	"source_workload_namespace",
	"source_principal",
	"source_app",
	"source_version",
	"source_canonical_service",
	"source_canonical_revision",
	"source_cluster",
	"destination_workload",
	"destination_workload_namespace",
	"destination_principal",
	"destination_app",
	"destination_version",
	"destination_service",
	"destination_service_name",
	"destination_service_namespace",
	"destination_canonical_service",
	"destination_canonical_revision",
	"destination_cluster",
	"request_protocol",
	"response_flags",
	"connection_security_policy",
	"response_code",
	"grpc_response_status",
};
#define PEER_LABELS 20
#define TCP_LABELS 23
#define HTTP_LABELS 25

static const char *const reporters[] = {
	[RECORD_SOURCE] = "source", [RECORD_DESTINATION] = "destination"
};
static const char *const protocols[] = {
	[RECORD_HTTP] = "http", [RECORD_GRPC] = "grpc", [RECORD_TCP] = "tcp"
};
static const char *const policies[] = {
	[SERIES_POLICY_UNKNOWN] = "unknown",
	[SERIES_POLICY_NONE] = "none",
	[SERIES_POLICY_MUTUAL] = "mutual_tls",
};

/* ---- labels -------------------------------------------------------------------------------- */

static bool is_revision(size_t i)
{
	return i == SERIES_SRC_REVISION || i == SERIES_DST_REVISION;
}

struct labels_buf {
	char flags[RECORD_FLAGS_MAX], status[8], grpc[8];
};

/* All labels of http_labels; the shorter sets are its beginning. folded: the values of the row
 * "other". */
static void label_values(const struct stats_node *e, bool folded, struct labels_buf *buf,
			 struct str v[HTTP_LABELS])
{
	const struct series_facts *f = series_facts(e);
	struct str values[SERIES__N];
	const struct str other = STR("other");
	bool is_other = folded || f->overflow;

	series_values(e, values);
	v[0] = str_c(reporters[f->reporter]);
	for (size_t i = 0; i < SERIES_LABELS__N; i++)
		v[1 + i] = is_other ? other : values[i].n > 0 ? values[i] :
			is_revision(i) ? STR("latest") : STR("unknown");
	snprintf(buf->status, sizeof(buf->status), "%u", f->status);
	if (f->grpc_status >= 0)
		snprintf(buf->grpc, sizeof(buf->grpc), "%d", f->grpc_status);
	else
		buf->grpc[0] = '\0';
	v[20] = str_c(protocols[f->protocol]);
	v[21] = is_other ? other
			 : str_c(record_flags((enum fail)f->fail, f->more, buf->flags));
	v[22] = str_c(policies[f->policy]);
	v[23] = is_other ? other : str_c(buf->status);
	v[24] = is_other ? other : str_c(buf->grpc);
}

static void render(struct text *t, const struct stats_node *e, bool folded, size_t n_labels)
{
	struct labels_buf buf;
	struct str v[HTTP_LABELS];

	label_values(e, folded, &buf, v);
	t->n = 0;
	families_render(t, v, n_labels);
}

static size_t labels_of(const struct stats_node *e)
{
	return series_facts(e)->protocol == RECORD_TCP ? TCP_LABELS : HTTP_LABELS;
}

/* ---- who gets a row ------------------------------------------------------------------------ */

struct budget {
	struct rows rows;               /* v[0]: enum stats_admit of that row */
	size_t n, n_hist, bytes, hist_bytes;
};

static void charge(struct budget *b, const struct stats_node *e, enum stats_admit admit)
{
	size_t row = b->rows.key.n + 24;
	enum record_protocol p = series_facts(e)->protocol;

	if (admit == STATS_ADMIT_FOLDED)
		return;
	b->n++;
	b->bytes += row * (p == RECORD_TCP ? 4 : p == RECORD_GRPC ? 3 : 1);
	if (admit != STATS_ADMIT_ALL || p == RECORD_TCP)
		return;
	b->n_hist++;
	b->hist_bytes += 3 * (row + HISTOGRAM_BYTES);
}

static enum stats_admit judge(const struct budget *b, const struct stats_node *e)
{
	if (series_facts(e)->overflow)
		return STATS_ADMIT_ALL;
	if (b->n >= STATS_SERIES_MAX || b->bytes >= COUNTERS_BYTES_MAX)
		return STATS_ADMIT_FOLDED;
	if (b->n_hist >= HISTOGRAMS_SERIES_MAX || b->hist_bytes >= HISTOGRAMS_BYTES_MAX)
		return STATS_ADMIT_COUNTERS;
	return STATS_ADMIT_ALL;
}

static void admit_one(struct budget *b, struct stats_node *e)
{
	render(&b->rows.key, e, false, labels_of(e));
	struct row *r = rows_get(&b->rows);

	if (r->v[0] == STATS_ADMIT_NEW) {
		if (e->admit == STATS_ADMIT_NEW)
			e->admit = judge(b, e);
		r->v[0] = e->admit;
		charge(b, e, e->admit);
	}
	e->admit = (enum stats_admit)r->v[0];
}

/* Those with a decision first: what they use of the budget is used. */
static void admit(const struct nodes *ns)
{
	struct budget b = { 0 };

	rows_init(&b.rows, false);
	for (size_t i = 0; i < ns->n; i++)
		if (ns->v[i]->admit != STATS_ADMIT_NEW)
			admit_one(&b, ns->v[i]);
	for (size_t i = 0; i < ns->n; i++)
		if (ns->v[i]->admit == STATS_ADMIT_NEW)
			admit_one(&b, ns->v[i]);
	rows_done(&b.rows);
}

/* ---- Istio's metrics ----------------------------------------------------------------------- */

struct shape {
	const char *name, *help;
	size_t n_labels;                /* the first of label_names */
	bool (*takes)(const struct stats_node *e);
	/* counter: its value; histogram: hist and the unit of its sum and bounds */
	uint64_t (*value)(const struct series *s);
	const struct stats_hist *(*hist)(const struct series *s);
	const uint64_t *bounds;
	double unit;                    /* what one of bounds and sum counts is divided by */
	double sum_unit;
};

static bool is_http(const struct stats_node *e)
{
	return series_facts(e)->protocol != RECORD_TCP;
}
static bool is_grpc(const struct stats_node *e)
{
	return series_facts(e)->protocol == RECORD_GRPC;
}
static bool is_tcp(const struct stats_node *e)
{
	return series_facts(e)->protocol == RECORD_TCP;
}
static uint64_t http_ended(const struct series *s)
{
	return stats_get(&s->http.ended);
}
static uint64_t request_messages(const struct series *s)
{
	return stats_get(&s->http.request_messages);
}
static uint64_t response_messages(const struct series *s)
{
	return stats_get(&s->http.response_messages);
}
static uint64_t tcp_opened(const struct series *s)
{
	return stats_get(&s->tcp.opened);
}
static uint64_t tcp_closed(const struct series *s)
{
	return stats_get(&s->tcp.closed);
}
static uint64_t tcp_sent(const struct series *s)
{
	return stats_get(&s->tcp.sent);
}
static uint64_t tcp_received(const struct series *s)
{
	return stats_get(&s->tcp.received);
}
static const struct stats_hist *hist_duration(const struct series *s)
{
	return &s->http.duration;
}
static const struct stats_hist *hist_request(const struct series *s)
{
	return &s->http.request_bytes;
}
static const struct stats_hist *hist_response(const struct series *s)
{
	return &s->http.response_bytes;
}

static const struct shape shapes[] = {
	{ "istio_requests_total", "Requests handled, by who called whom and how it ended.",
	  HTTP_LABELS, is_http, .value = http_ended },
	{ "istio_request_duration_milliseconds",
	  "From the first byte of the request to the last of the response.", HTTP_LABELS, is_http,
	  .hist = hist_duration, .bounds = stats_duration_bounds_us, .unit = 1000,
	  .sum_unit = 1000 },
	{ "istio_request_bytes", "Size of request bodies.", HTTP_LABELS, is_http,
	  .hist = hist_request, .bounds = stats_size_bounds_half, .unit = 2, .sum_unit = 1 },
	{ "istio_response_bytes", "Size of response bodies.", HTTP_LABELS, is_http,
	  .hist = hist_response, .bounds = stats_size_bounds_half, .unit = 2, .sum_unit = 1 },
	{ "istio_request_messages_total", "gRPC messages from clients.", PEER_LABELS, is_grpc,
	  .value = request_messages },
	{ "istio_response_messages_total", "gRPC messages to clients.", PEER_LABELS, is_grpc,
	  .value = response_messages },
	{ "istio_tcp_connections_opened_total", "TCP connections opened.", TCP_LABELS, is_tcp,
	  .value = tcp_opened },
	{ "istio_tcp_connections_closed_total", "TCP connections closed.", TCP_LABELS, is_tcp,
	  .value = tcp_closed },
	{ "istio_tcp_sent_bytes_total", "Bytes sent to the client over TCP connections.",
	  TCP_LABELS, is_tcp, .value = tcp_sent },
	{ "istio_tcp_received_bytes_total", "Bytes received from the client over TCP connections.",
	  TCP_LABELS, is_tcp, .value = tcp_received },
};

static void sum_shape(const struct shape *sh, const struct nodes *ns, struct rows *rs)
{
	for (size_t i = 0; i < ns->n; i++) {
		struct stats_node *e = ns->v[i];
		const struct series *s = list_entry(e, struct series, node);
		bool folded = e->admit == STATS_ADMIT_FOLDED ||
			(sh->hist && e->admit == STATS_ADMIT_COUNTERS);

		if (!sh->takes(e))
			continue;
		render(&rs->key, e, folded, sh->n_labels);
		struct row *r = rows_get(rs);

		if (sh->hist)
			row_add_hist(r, sh->hist(s));
		else
			r->v[0] += sh->value(s);
	}
}

static void begin_histogram(struct families *f, const struct shape *sh)
{
	double bounds[STATS_BOUNDS];

	for (size_t i = 0; i < STATS_BOUNDS; i++)
		bounds[i] = (double)sh->bounds[i] / sh->unit;
	families_begin_histogram(f, sh->name, sh->help,
				 (struct families_labels){ label_names, sh->n_labels }, bounds,
				 STATS_BOUNDS);
}

static void write_shape(struct families *f, const struct shape *sh, const struct nodes *ns)
{
	struct rows rs;

	rows_init(&rs, sh->hist != NULL);
	sum_shape(sh, ns, &rs);
	rows_sort(&rs.map);
	if (sh->hist)
		begin_histogram(f, sh);
	else
		families_begin(f, sh->name, FAMILIES_COUNTER, sh->help,
			       (struct families_labels){ label_names, sh->n_labels });
	for (size_t i = 0; i < rs.map.n; i++) {
		const struct row *r = rs.map.entries[i].val;

		if (sh->hist)
			families_raw_histogram(f, r->key, r->hist, STATS_BOUNDS + 1,
					       (double)r->v[0] / sh->sum_unit);
		else
			families_raw_int(f, r->key, (int64_t)r->v[0]);
	}
	families_end(f);
	rows_done(&rs);
}

void stats_write_families(struct stats *const *v, size_t n, struct str proxy, struct families *f)
{
	struct nodes series = { 0 };

	for (size_t i = 0; i < n; i++)
		nodes_collect(&series, &v[i]->series);
	admit(&series);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		write_shape(f, &shapes[i], &series);
	stats_write_own(v, n, proxy, &series, f);
	free(series.v);
}
