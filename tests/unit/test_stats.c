/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of the proxy: Istio's labels, histograms, caps, sums over workers, edges. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "doc/doc.h"
#include "io/loop.h"
#include "proxy/families.h"
#include "proxy/record.h"
#include "proxy/stats.h"
#include "proxy/text.h"
#include "unit.h"

static struct arena arena;

static void setup(void)
{
	arena_init(&arena, 0);
}

static const struct snap_peer caller = {
	.name = { "shop", 4 }, .ns = { "web", 3 }, .sa = { "shop", 4 },
	.principal = { "spiffe://cluster.local/ns/web/sa/shop", 37 },
	.app = { "shop", 4 }, .version = { "v3", 2 }, .cluster = { "vps-1", 5 },
};
static const struct snap_peer callee = {
	.name = { "my-app-v1", 9 },
	.ns = { "default", 7 },
	.sa = { "my-app", 6 },
	.principal = { "spiffe://cluster.local/ns/default/sa/my-app", 43 },
	.app = { "my-app", 6 },
	.version = { "v1", 2 },
	.canonical_name = { "my-app", 6 },
	.canonical_revision = { "r7", 2 },
	.cluster = { "vps-1", 5 },
};

/* A request from shop to my-app that went well, as the callee's side saw it. */
static struct record request(void)
{
	return (struct record){
		.reporter = RECORD_DESTINATION,
		.protocol = RECORD_HTTP,
		.source = &caller,
		.destination = &callee,
		.source_principal = caller.principal,
		.destination_principal = callee.principal,
		.service = STR("my-app.default.svc.cluster.local"),
		.service_name = STR("my-app"),
		.service_ns = STR("default"),
		.service_port = 80,
		.mutual = true,
		.tls_version = "TLSv1.3",
		.tls_cipher = "TLS_AES_128_GCM_SHA256",
		.status = 200,
		.grpc_status = -1,
		.bytes_received = 5,
		.bytes_sent = 1200,
		.first_on_conn = true,
		.start_us = 1000000,
		.up_first_us = 1000100,
		.up_head_us = 1001500,
		.end_us = 1002000,
		.start_real_us = 1600000000000000,
	};
}

static struct doc *families(struct stats *const *v, size_t n)
{
	struct families f;
	struct doc *d;
	struct err err = { 0 };

	families_init(&f);
	stats_write_families(v, n, STR("node"), &f);
	families_close(&f);
	struct str text = arena_str(&arena, families_finish(&f));

	families_done(&f);
	ck_assert_msg(doc_read_json(text, &arena, &d, &err) == 0, "%s", err.text);
	return doc_get(d, STR("families"));
}

static struct doc *family(const struct doc *all, const char *name)
{
	for (size_t i = 0; i < all->n; i++)
		if (str_eq(doc_get_str(all->v[i], "name", STR("")), str_c(name)))
			return all->v[i];
	return NULL;
}

static struct doc *rows_of(const struct doc *all, const char *name)
{
	struct doc *f = family(all, name);

	ck_assert_msg(f, "no family %s", name);
	return doc_get(f, STR("series"));
}

static int64_t last_int(const struct doc *row)
{
	ck_assert_int_eq(row->v[row->n - 1]->kind, DOC_INT);
	return row->v[row->n - 1]->i;
}

static int64_t sum_of(const struct doc *all, const char *name)
{
	struct doc *rows = rows_of(all, name);
	int64_t sum = 0;

	for (size_t i = 0; i < rows->n; i++)
		sum += last_int(rows->v[i]);
	return sum;
}

/* Value of a label in a row. */
static struct str label(const struct doc *all, const char *name, const struct doc *row,
			const char *which)
{
	struct doc *labels = doc_get(family(all, name), STR("labels"));

	for (size_t i = 0; i < labels->n; i++)
		if (str_eq(labels->v[i]->s, str_c(which)))
			return row->v[i]->s;
	ck_abort_msg("%s has no label %s", name, which);
	return STR_NULL;
}

static void check_json(const struct doc *d, const char *expected)
{
	unit_str_eq(doc_to_json(d, &arena, false), expected);
}

START_TEST(a_request_has_istios_labels)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();

	stats_record(s, &r, RECORD_END);
	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1);

	check_json(doc_get(family(all, "istio_requests_total"), STR("labels")),
		   "[\"reporter\",\"source_workload\",\"source_workload_namespace\",\"source_"
		   "principal\","
		   "\"source_app\",\"source_version\",\"source_canonical_service\",\"source_"
		   "canonical_revision\","
		   "\"source_cluster\",\"destination_workload\",\"destination_workload_namespace\","
		   "\"destination_principal\",\"destination_app\",\"destination_version\","
		   "\"destination_service\","
		   "\"destination_service_name\",\"destination_service_namespace\","
		   "\"destination_canonical_service\",\"destination_canonical_revision\","
		   "\"destination_cluster\","
		   "\"request_protocol\",\"response_flags\",\"connection_security_policy\","
		   "\"response_code\","
		   "\"grpc_response_status\"]");
	check_json(rows_of(all, "istio_requests_total"),
		   "[[\"destination\",\"shop\",\"web\",\"spiffe://cluster.local/ns/web/sa/"
		   "shop\",\"shop\",\"v3\","
		   "\"shop\",\"v3\",\"vps-1\",\"my-app-v1\",\"default\","
		   "\"spiffe://cluster.local/ns/default/sa/my-app\",\"my-app\",\"v1\","
		   "\"my-app.default.svc.cluster.local\",\"my-app\",\"default\",\"my-app\",\"r7\","
		   "\"vps-1\","
		   "\"http\",\"-\",\"mutual_tls\",\"200\",\"\",2]]");
	stats_free(s);
}
END_TEST

START_TEST(what_is_not_known_is_unknown)
{
	setup();
	struct stats *s = stats_new();
	struct record r = {
		.reporter = RECORD_SOURCE,
		.protocol = RECORD_HTTP,
		.grpc_status = -1,
		.status = 404,
		.fail = FAIL_NO_ROUTE,
		.service = STR("nowhere.example"),
		.start_us = 1,
		.end_us = 2,
	};

	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1);

	check_json(rows_of(all, "istio_requests_total"),
		   "[[\"source\",\"unknown\",\"unknown\",\"unknown\",\"unknown\",\"unknown\","
		   "\"unknown\",\"latest\","
		   "\"unknown\",\"unknown\",\"unknown\",\"unknown\",\"unknown\",\"unknown\","
		   "\"nowhere.example\","
		   "\"unknown\",\"unknown\",\"unknown\",\"latest\",\"unknown\",\"http\",\"NR\","
		   "\"unknown\",\"404\",\"\","
		   "1]]");
	stats_free(s);
}
END_TEST

START_TEST(a_callers_namespace_comes_from_its_certificate)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();

	r.source = NULL;        /* several workloads share that service account */
	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1), *row = rows_of(all, "istio_requests_total")->v[0];

	unit_str_eq(label(all, "istio_requests_total", row, "source_workload"), "unknown");
	unit_str_eq(label(all, "istio_requests_total", row, "source_workload_namespace"), "web");
	unit_str_eq(label(all, "istio_requests_total", row, "source_principal"),
		    "spiffe://cluster.local/ns/web/sa/shop");
	stats_free(s);
}
END_TEST

START_TEST(both_reporters_tell_the_truth_about_encryption)
{
	setup();
	struct stats *s = stats_new();
	static const struct {
		enum record_reporter reporter;
		bool mutual, reached;
		const char *expected;
	} cases[] = {
		{ RECORD_SOURCE, true, true, "mutual_tls" },
		{ RECORD_SOURCE, false, true, "none" },
		{ RECORD_SOURCE, false, false, "unknown" },
		{ RECORD_DESTINATION, true, true, "mutual_tls" },
		{ RECORD_DESTINATION, false, true, "none" },
		{ RECORD_DESTINATION, false, false, "none" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stats *one = stats_new();
		struct record r = request();

		r.reporter = cases[i].reporter;
		r.mutual = cases[i].mutual;
		if (!cases[i].reached)
			r.up_first_us = r.up_head_us = 0;
		stats_record(one, &r, RECORD_END);
		struct doc *all = families(&one, 1),
			   *row = rows_of(all, "istio_requests_total")->v[0];

		unit_str_eq(label(all, "istio_requests_total", row, "connection_security_policy"),
			    cases[i].expected);
		stats_free(one);
	}
	stats_free(s);
}
END_TEST

START_TEST(durations_and_sizes_fall_into_the_right_buckets)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();
	static const uint64_t took_us[] = { 0, 100, 101, 7500, 7501, 60000000, 60000001 };

	for (size_t i = 0; i < sizeof(took_us) / sizeof(took_us[0]); i++) {
		r.end_us = r.start_us + took_us[i];
		stats_record(s, &r, RECORD_END);
	}
	struct doc *all = families(&s, 1);
	struct doc *row = rows_of(all, "istio_request_duration_milliseconds")->v[0];

	check_json(
		doc_get(family(all, "istio_request_duration_milliseconds"), STR("bounds")),
		"[0.1,0.25,0.5,1,2.5,5,7.5,10,25,50,100,250,500,1000,2500,5000,10000,30000,60000]");
	check_json(row->v[row->n - 1], "{\"buckets\":[2,3,3,3,3,3,4,5,5,5,5,5,5,5,5,5,5,5,6,7],"
				       "\"sum\":120015.203,\"count\":7}");
	row = rows_of(all, "istio_response_bytes")->v[0];
	check_json(doc_get(family(all, "istio_response_bytes"), STR("bounds")),
		   "[0.5,1,5,10,25,50,100,250,500,1000,2500,5000,10000,30000,60000,300000,600000,"
		   "1800000,3600000]");
	check_json(
		row->v[row->n - 1],
		"{\"buckets\":[0,0,0,0,0,0,0,0,0,0,7,7,7,7,7,7,7,7,7,7],\"sum\":8400,\"count\":7}");
	stats_free(s);
}
END_TEST

START_TEST(tcp_counts_what_is_new)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();

	r.protocol = RECORD_TCP;
	r.bytes_received = r.bytes_sent = 0;
	r.status = 0;
	stats_record(s, &r, RECORD_TCP_OPEN);
	r.bytes_received = 100;
	r.bytes_sent = 1000;
	stats_record(s, &r, RECORD_TCP_PROGRESS);
	r.told_received = 100;
	r.told_sent = 1000;
	r.bytes_received = 150;
	r.bytes_sent = 1700;
	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1);

	ck_assert_int_eq(sum_of(all, "istio_tcp_connections_opened_total"), 1);
	ck_assert_int_eq(sum_of(all, "istio_tcp_connections_closed_total"), 1);
	ck_assert_int_eq(sum_of(all, "istio_tcp_received_bytes_total"), 150);
	ck_assert_int_eq(sum_of(all, "istio_tcp_sent_bytes_total"), 1700);
	struct doc *labels = doc_get(family(all, "istio_tcp_sent_bytes_total"), STR("labels"));

	unit_str_eq(labels->v[labels->n - 1]->s, "connection_security_policy");
	ck_assert_uint_eq(labels->n, 23);
	ck_assert_uint_eq(rows_of(all, "istio_requests_total")->n, 0);
	stats_free(s);
}
END_TEST

START_TEST(grpc_messages_are_summed_over_statuses)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();

	r.protocol = RECORD_GRPC;
	r.grpc_status = 0;
	r.request_messages = 2;
	r.response_messages = 5;
	stats_record(s, &r, RECORD_END);
	r.grpc_status = 14;
	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1);

	ck_assert_uint_eq(rows_of(all, "istio_requests_total")->n, 2);
	unit_str_eq(label(all, "istio_requests_total", rows_of(all, "istio_requests_total")->v[1],
			  "grpc_response_status"), "14");
	ck_assert_uint_eq(rows_of(all, "istio_request_messages_total")->n, 1);
	ck_assert_int_eq(sum_of(all, "istio_request_messages_total"), 4);
	ck_assert_int_eq(sum_of(all, "istio_response_messages_total"), 10);
	stats_free(s);
}
END_TEST

START_TEST(flags_are_joined)
{
	char buf[RECORD_FLAGS_MAX];

	ck_assert_str_eq(record_flags(FAIL_NONE, false, buf), "-");
	ck_assert_str_eq(record_flags(FAIL_NONE, true, buf), "URX");
	ck_assert_str_eq(record_flags(FAIL_CONNECT, true, buf), "UF,URX");
	ck_assert_str_eq(record_flags(FAIL_DOWN_CLOSED, false, buf), "DC");
	ck_assert_str_eq(record_flags(FAIL_NONE, RECORD_DELAYED, buf), "DI");
	ck_assert_str_eq(record_flags(FAIL_FAULT, RECORD_DELAYED, buf), "DI,FI");
	ck_assert_str_eq(record_flags(FAIL_DOWN_CLOSED, RECORD_DELAYED, buf), "DI,DC");
	ck_assert_str_eq(record_flags(FAIL_CONNECT, RECORD_DELAYED | RECORD_RETRY_LIMIT, buf), "UF,DI,URX");
}
END_TEST

START_TEST(workers_are_summed)
{
	setup();
	struct stats *v[] = { stats_new(), stats_new(), stats_new() };
	struct record r = request();

	stats_record(v[0], &r, RECORD_END);
	stats_record(v[2], &r, RECORD_END);
	r.status = 503;
	r.fail = FAIL_NO_HEALTHY;
	stats_record(v[2], &r, RECORD_END);
	stats_add(v[0], STATS_DOWN_CONNECTIONS, 3);
	stats_add(v[1], STATS_DOWN_CONNECTIONS, 4);
	stats_add(v[1], STATS_DOWN_CONNECTIONS, -1);
	struct doc *all = families(v, 3), *rows = rows_of(all, "istio_requests_total");

	/* sorted by their values: "-" before "UH" */
	ck_assert_uint_eq(rows->n, 2);
	ck_assert_int_eq(last_int(rows->v[0]), 2);
	ck_assert_int_eq(last_int(rows->v[1]), 1);
	unit_str_eq(label(all, "istio_requests_total", rows->v[1], "response_flags"), "UH");
	check_json(rows_of(all, "kvmesh_downstream_connections"), "[[\"node\",6]]");
	check_json(doc_get(family(all, "kvmesh_downstream_connections"), STR("type")), "\"gauge\"");
	ck_assert_int_eq(stats_sum(v, 3, STATS_DOWN_CONNECTIONS), 6);
	for (size_t i = 0; i < 3; i++)
		stats_free(v[i]);
}
END_TEST

START_TEST(a_new_snapshot_continues_the_same_series)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();
	struct snap_peer again = callee;
	char name[] = "my-app-v1";

	stats_record(s, &r, RECORD_END);
	again.name = str_c(name);               /* the same values elsewhere */
	r.destination = &again;
	stats_record(s, &r, RECORD_END);
	ck_assert_uint_eq(rows_of(families(&s, 1), "istio_requests_total")->n, 1);
	name[0] = 'M';                          /* other values at the same place */
	stats_record(s, &r, RECORD_END);
	ck_assert_uint_eq(rows_of(families(&s, 1), "istio_requests_total")->n, 2);
	stats_free(s);
}
END_TEST

/* Addresses come back with other contents: within a snapshot those of requests, later all of them. */
START_TEST(a_reused_address_is_another_series)
{
	setup();
	struct stats *s = stats_new();
	struct snap_peer peer = caller;
	struct record r = request();
	char host[] = "one.example", principal[] = "spiffe://cluster.local/ns/web/sa/aaaa";

	r.serial = 1;
	r.service = str_c(host);
	r.source_principal = str_c(principal);
	r.source = &peer;
	for (int i = 0; i < 2; i++)
		stats_record(s, &r, RECORD_END);
	memcpy(host, "two", 3);
	stats_record(s, &r, RECORD_END);
	memcpy(principal + sizeof(principal) - 5, "bbbb", 4);
	stats_record(s, &r, RECORD_END);
	r.serial = 2;
	peer.name = STR("shop2");
	stats_record(s, &r, RECORD_END);
	r.status = 503;
	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1), *rows = rows_of(all, "istio_requests_total");

	ck_assert_uint_eq(rows->n, 5);
	ck_assert_int_eq(sum_of(all, "istio_requests_total"), 6);
	stats_free(s);
}
END_TEST

START_TEST(words_are_counted_by_family)
{
	setup();
	struct stats *v[] = { stats_new(), stats_new() };

	stats_add_reason(v[0], "kvmesh_tls_refused_total", NULL, "expired");
	stats_add_reason(v[1], "kvmesh_tls_refused_total", NULL, "expired");
	stats_add_reason(v[1], "kvmesh_tls_refused_total", NULL, "bad_certificate");
	stats_add_reason(v[0], "kvmesh_bad_input_total", "http1", "bad_header");
	stats_add_reason(v[0], "kvmesh_plaintext_refused_total", NULL, "my-app-v1.default");
	struct doc *all = families(v, 2);

	check_json(doc_get(family(all, "kvmesh_tls_refused_total"), STR("labels")),
		   "[\"proxy\",\"reason\"]");
	check_json(rows_of(all, "kvmesh_tls_refused_total"),
		   "[[\"node\",\"bad_certificate\",1],[\"node\",\"expired\",2]]");
	check_json(doc_get(family(all, "kvmesh_bad_input_total"), STR("labels")),
		   "[\"proxy\",\"layer\",\"reason\"]");
	check_json(rows_of(all, "kvmesh_bad_input_total"),
		   "[[\"node\",\"http1\",\"bad_header\",1]]");
	check_json(doc_get(family(all, "kvmesh_plaintext_refused_total"), STR("labels")),
		   "[\"proxy\",\"workload\"]");
	stats_free(v[0]);
	stats_free(v[1]);
}
END_TEST

START_TEST(plaintext_is_listed_and_what_was_refused_is_not)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();

	stats_record(s, &r, RECORD_END);
	r.mutual = false;
	r.tls_version = r.tls_cipher = NULL;
	r.source = NULL;
	r.source_principal = STR_NULL;
	stats_record(s, &r, RECORD_END);
	r.protocol = RECORD_TCP;
	r.fail = FAIL_PLAINTEXT;
	stats_record(s, &r, RECORD_END);
	r = request();
	r.reporter = RECORD_SOURCE;
	r.mutual = false;
	r.tls_version = r.tls_cipher = NULL;
	r.destination = NULL;
	r.service = STR("api.example.com");
	stats_record(s, &r, RECORD_END);
	check_json(rows_of(families(&s, 1), "kvmesh_plaintext_requests_total"),
		   "[[\"node\",\"shop.web\",\"api.example.com\",\"sent_outside\",1],"
		   "[\"node\",\"unknown\",\"my-app-v1.default\",\"accepted\",1]]");
	stats_free(s);
}
END_TEST

START_TEST(edges_tell_what_was_observed)
{
	setup();
	struct stats *v[] = { stats_new(), stats_new() };
	struct record r = request();
	struct text t = { 0 };
	struct doc *d;

	stats_record(v[0], &r, RECORD_END);
	r.first_on_conn = false;
	r.start_real_us += 5000000;
	stats_record(v[1], &r, RECORD_END);
	/* never connected: no edge */
	r.reporter = RECORD_SOURCE;
	r.fail = FAIL_CONNECT;
	r.up_first_us = r.up_head_us = 0;
	stats_record(v[1], &r, RECORD_END);
	ck_assert_uint_eq(stats_write_edges(v, 2, &t), 0);
	ck_assert_int_eq(doc_read_json(str_from(t.p, t.n), &arena, &d, NULL), 0);
	check_json(d, "[{\"reporter\":\"destination\",\"sourcePrincipal\":\"spiffe://cluster.local/"
		      "ns/web/sa/shop\","
		      "\"sourceWorkload\":\"shop\",\"sourceNamespace\":\"web\","
		      "\"destinationService\":\"my-app.default.svc.cluster.local\","
		      "\"destinationPort\":80,"
		      "\"destinationWorkload\":\"my-app-v1\","
		      "\"destinationPrincipal\":\"spiffe://cluster.local/ns/default/sa/"
		      "my-app\",\"mutual\":true,"
		      "\"tls\":\"TLSv1.3\",\"cipher\":\"TLS_AES_128_GCM_SHA256\",\"connections\":1,"
		      "\"requests\":2,\"bytesReceived\":10,\"bytesSent\":2400,"
		      "\"lastSeen\":\"2020-09-13T12:26:45.002Z\"}]");
	text_done(&t);
	stats_free(v[0]);
	stats_free(v[1]);
}
END_TEST

static void record_host(struct stats *s, unsigned i)
{
	struct record r = request();
	char host[64];
	int n = snprintf(host, sizeof(host), "host-%u.example", i);

	r.reporter = RECORD_SOURCE;
	r.destination = NULL;
	r.service = str_from(host, (size_t)n);
	r.service_name = r.service_ns = STR_NULL;
	stats_record(s, &r, RECORD_END);
}

START_TEST(hosts_that_callers_invent_have_a_small_cap)
{
	setup();
	struct stats *s = stats_new();
	struct record known = request();

	for (unsigned i = 0; i < 3 * STATS_UNNAMED_MAX; i++)
		record_host(s, i);
	stats_record(s, &known, RECORD_END);
	struct doc *all = families(&s, 1), *rows = rows_of(all, "istio_requests_total");
	size_t n_other = 0, n_known = 0;

	ck_assert_uint_eq(rows->n, STATS_UNNAMED_MAX + 2);
	for (size_t i = 0; i < rows->n; i++) {
		struct str service =
			label(all, "istio_requests_total", rows->v[i], "destination_service");

		n_known += str_eq(service, known.service);
		if (!str_eq(service, STR("other")))
			continue;
		n_other++;
		ck_assert_int_eq(last_int(rows->v[i]), 2 * STATS_UNNAMED_MAX);
		/* the rest of what is known about the caller stays */
		unit_str_eq(label(all, "istio_requests_total", rows->v[i], "source_workload"),
			    "shop");
	}
	ck_assert_uint_eq(n_other, 1);
	ck_assert_uint_eq(n_known, 1);
	ck_assert_int_eq(sum_of(all, "istio_requests_total"), 3 * STATS_UNNAMED_MAX + 1);
	stats_free(s);
}
END_TEST

static void record_caller(struct stats *s, unsigned i)
{
	struct record r = request();
	struct snap_peer p = caller;
	char name[64];
	int n = snprintf(name, sizeof(name), "caller-%u", i);

	p.name = str_from(name, (size_t)n);
	r.source = &p;
	stats_record(s, &r, RECORD_END);
}

START_TEST(series_are_capped_and_nothing_is_lost)
{
	setup();
	struct stats *v[] = { stats_new(), stats_new() };
	const unsigned n = STATS_SERIES_MAX + 500;

	for (unsigned i = 0; i < n; i++)
		record_caller(v[i % 2], i / 2);         /* two workers, the same callers */
	for (unsigned i = 0; i < n; i++)
		record_caller(v[0], 1000000 + i);
	struct doc *all = families(v, 2);

	ck_assert_uint_le(rows_of(all, "istio_requests_total")->n, STATS_SERIES_MAX + 1);
	ck_assert_uint_gt(rows_of(all, "istio_requests_total")->n, STATS_SERIES_MAX / 2);
	ck_assert_int_eq(sum_of(all, "istio_requests_total"), 2 * n);
	struct doc *rows = rows_of(all, "istio_request_duration_milliseconds");
	int64_t count = 0;

	ck_assert_uint_le(rows->n, 1001);
	for (size_t i = 0; i < rows->n; i++)
		count += doc_get_int(rows->v[i]->v[rows->v[i]->n - 1], "count", 0);
	ck_assert_int_eq(count, 2 * n);
	stats_free(v[0]);
	stats_free(v[1]);
}
END_TEST

/* Rows must not move between their own line and "other" from one scrape to the next. */
START_TEST(no_counter_goes_back)
{
	setup();
	struct stats *v[] = { stats_new(), stats_new() };

	for (unsigned i = 0; i < STATS_SERIES_MAX - 100; i++)
		record_caller(v[0], i);
	struct doc *before = rows_of(families(v, 2), "istio_requests_total");

	for (unsigned i = 0; i < 2000; i++)
		record_caller(v[1], 500000 + i);
	for (unsigned i = 0; i < 5000; i++)
		record_caller(v[1], i);
	struct doc *after = rows_of(families(v, 2), "istio_requests_total");
	size_t k = 0;

	for (size_t i = 0; i < before->n; i++) {
		/* both are sorted by their values */
		while (k < after->n && !str_eq(after->v[k]->v[1]->s, before->v[i]->v[1]->s))
			k++;
		ck_assert_msg(k < after->n, "%.*s is gone", STR_ARG(before->v[i]->v[1]->s));
		ck_assert_int_ge(last_int(after->v[k]), last_int(before->v[i]));
	}
	stats_free(v[0]);
	stats_free(v[1]);
}
END_TEST

START_TEST(overlong_and_strange_values_stay_valid_json)
{
	setup();
	struct stats *s = stats_new();
	struct record r = request();
	char host[5000];

	memset(host, 'h', sizeof(host));
	memcpy(host, "a\"b\\c\x01\xff\n\xc3\xa9", 10);
	r.service = str_from(host, sizeof(host));
	r.service_name = STR_NULL;
	stats_record(s, &r, RECORD_END);
	struct doc *all = families(&s, 1);
	struct str service =
		label(all, "istio_requests_total", rows_of(all, "istio_requests_total")->v[0],
		      "destination_service");

	ck_assert(str_has_prefix(service, STR("a\"b\\c\x01\\xff\n\xc3\xa9hhh")));
	ck_assert_uint_le(service.n, 2 * STATS_VALUE_MAX);
	stats_free(s);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------- */

static atomic_bool stop_writing;

static void *writer(void *arg)
{
	struct stats *s = arg;

	for (unsigned i = 0; !atomic_load(&stop_writing); i++) {
		record_caller(s, i % 100);
		stats_add_reason(s, "kvmesh_tls_refused_total", NULL,
				 i % 2 ? "expired" : "timeout");
		stats_add(s, STATS_STREAMS, i % 2 ? 1 : -1);
	}
	return NULL;
}

START_TEST(reading_while_workers_write)
{
	setup();
	struct stats *v[] = { stats_new(), stats_new() };
	pthread_t t[2];
	int64_t last = 0;

	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, writer, v[i]), 0);
	for (unsigned turn = 0; turn < 50 || last == 0; turn++) {
		struct doc *all = families(v, 2);
		int64_t sum = sum_of(all, "istio_requests_total");

		ck_assert_int_ge(sum, last);
		last = sum;
		arena_clear(&arena);
	}
	atomic_store(&stop_writing, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_gt(last, 0);
	stats_free(v[0]);
	stats_free(v[1]);
}
END_TEST

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

START_TEST(the_loops_lag_is_measured)
{
	setup();
	struct stats *s = stats_new();
	struct loop *l = loop_new();
	pthread_t t;
	int64_t count = 0;

	ck_assert_int_eq(pthread_create(&t, NULL, run_loop, l), 0);
	while (count < 3) {
		stats_probe_loop(s, l);
		struct doc *row = rows_of(families(&s, 1), "kvmesh_proxy_loop_lag_seconds")->v[0];

		count = doc_get_int(row->v[row->n - 1], "count", 0);
		arena_clear(&arena);
		usleep(1000);
	}
	loop_stop(l);
	pthread_join(t, NULL);
	loop_free(l);
	stats_free(s);
}
END_TEST

START_TEST(json_text_is_ascii_and_readable)
{
	struct text t = { 0 };

	text_json(&t, STR("tab\t \"q\" \\ \xe2\x82\xac \xf0\x9f\x98\x80 \xed\xa0\x80 \xc0\xaf"));
	unit_str_eq(str_from(t.p, t.n), "\"tab\\u0009 \\\"q\\\" \\\\ \\u20ac \\ud83d\\ude00 "
					"\\\\xed\\\\xa0\\\\x80 \\\\xc0\\\\xaf\"");
	t.n = 0;
	text_plain(&t, STR("a\"b\\c\r\n\x7f\xff"));
	unit_str_eq(str_from(t.p, t.n), "a\\x22b\\x5cc\\x0d\\x0a\\x7f\\xff");
	t.n = 0;
	text_i64(&t, INT64_MIN);
	text_char(&t, ' ');
	text_real(&t, 0.25);
	unit_str_eq(str_from(t.p, t.n), "-9223372036854775808 0.25");
	text_done(&t);
}
END_TEST

UNIT_MAIN("stats", a_request_has_istios_labels, what_is_not_known_is_unknown,
	  a_callers_namespace_comes_from_its_certificate,
	  both_reporters_tell_the_truth_about_encryption,
	  durations_and_sizes_fall_into_the_right_buckets, tcp_counts_what_is_new,
	  grpc_messages_are_summed_over_statuses, flags_are_joined, workers_are_summed,
	  a_new_snapshot_continues_the_same_series, a_reused_address_is_another_series, words_are_counted_by_family,
	  plaintext_is_listed_and_what_was_refused_is_not, edges_tell_what_was_observed,
	  hosts_that_callers_invent_have_a_small_cap, series_are_capped_and_nothing_is_lost,
	  no_counter_goes_back, overlong_and_strange_values_stay_valid_json,
	  reading_while_workers_write, the_loops_lag_is_measured, json_text_is_ascii_and_readable)
