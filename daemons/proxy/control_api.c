/* SPDX-License-Identifier: Apache-2.0 */
/* control_api: proxy/NAME.sock, docs/IPC.md. Layer proxy, control thread. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ipc/daemon.h"
#include "proxy/control_int.h"
#include "proxy/families.h"
#include "proxy/upgrade.h"

/* ---- Status -------------------------------------------------------------------------------- */

static void on_status(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct control *c = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);
	size_t n;
	struct stats **all = control_all_stats(c, &n);

	(void)parameters;
	doc_set_str(a, d, "proxy", str_c(c->instance));
	doc_set_int(a, d, "version", c->at ? c->at->snap->version : 0);
	doc_set_bool(a, d, "stale", c->stale);
	doc_set_bool(a, d, "ready", c->ready && control_is_ready(c));
	doc_set_int(a, d, "pid", getpid());
	doc_set_str(a, d, "software", STR(PACKAGE_VERSION));
	doc_set_int(a, d, "uptimeSeconds", (int64_t)((clock_mono_us() - c->started_us) / 1000000));
	doc_set_int(a, d, "workers", (int64_t)worker_count(c->ws));
	doc_set_int(a, d, "connections", stats_sum(all, n, STATS_DOWN_CONNECTIONS));
	doc_set_int(a, d, "rssBytes", control_rss_bytes());
	doc_set(a, d, "certificates", secrets_status(c->secrets, a));
	doc_set(a, d, "listeners", worker_listeners(c->ws, a));
	if (c->upgrade)
		upgrade_status(c->upgrade, a, d);
	free(all);
	ipc_reply(call, d);
}

/* ---- Upgrade ------------------------------------------------------------------------------- */

static void on_upgrade(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct control *c = arg;

	(void)parameters;
	if (c->upgrade)
		upgrade_begin(c->upgrade, call);
	else
		ipc_reply_error(call, IPC_E_FAILED, "this process cannot start another in its place");
}

/* ---- Stats, Edges -------------------------------------------------------------------------- */

/* ,"edges":[…] and how many had no room. */
static void write_edges(struct stats *const *all, size_t n, struct text *t)
{
	text_lit(t, "\"edges\":");
	size_t omitted = stats_write_edges(all, n, t);

	text_lit(t, ",\"omitted\":");
	text_u64(t, omitted);
}

static void on_stats(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct control *c = arg;
	struct families f;
	size_t n;
	struct stats **all = control_all_stats(c, &n);

	families_init(&f);
	stats_write_families(all, n, str_c(c->instance), &f);
	control_write_families(c, &f);
	struct text *t = families_close(&f);

	if (doc_get_bool(parameters, "edges", false)) {
		text_lit(t, ",\"pid\":");
		text_u64(t, (uint64_t)getpid());
		text_char(t, ',');
		write_edges(all, n, t);
	}
	ipc_reply_json(call, families_finish(&f));
	families_done(&f);
	free(all);
}

static void on_edges(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct control *c = arg;
	struct text t = { 0 };
	size_t n;
	struct stats **all = control_all_stats(c, &n);

	(void)parameters;
	text_char(&t, '{');
	write_edges(all, n, &t);
	text_char(&t, '}');
	ipc_reply_json(call, str_from(t.p, t.n));
	text_done(&t);
	free(all);
}

/* ---- Dump ---------------------------------------------------------------------------------- */

static struct doc *snapshot_doc(const struct control *c, struct arena *a)
{
	return bind_write(&snap_table, c->at->snap, a);
}

static struct doc *dump_snapshot(struct control *c, struct arena *a)
{
	return snapshot_doc(c, a);
}

static struct doc *dump_routes(struct control *c, struct arena *a)
{
	struct doc *views = doc_get(snapshot_doc(c, a), STR("views"));

	return views ? views : doc_new_list(a);
}

static struct doc *dump_listeners(struct control *c, struct arena *a)
{
	return worker_listeners(c->ws, a);
}

static struct doc *dump_secrets(struct control *c, struct arena *a)
{
	return secrets_status(c->secrets, a);
}

static int64_t load_uint(const atomic_uint *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

/* The snapshot's clusters without their endpoints, each with what its breakers count. */
static struct doc *dump_clusters(struct control *c, struct arena *a)
{
	struct doc *from = doc_get(snapshot_doc(c, a), STR("clusters")), *list = doc_new_list(a);

	for (size_t i = 0; from && i < from->n; i++) {
		const struct cluster_state *st = c->at->clusters[i].state;
		struct doc *d = doc_add(a, list, doc_new_map(a));

		for (size_t k = 0; k < from->v[i]->n; k++) {
			struct doc *m = from->v[i]->v[k];

			if (!str_eq(m->key, STR("endpoints")))
				doc_set(a, d, arena_str(a, m->key).p, m);
		}
		struct doc *live = doc_set(a, d, "live", doc_new_map(a));

		doc_set_int(a, live, "connections", load_uint(&st->connections));
		doc_set_int(a, live, "pending", load_uint(&st->pending));
		doc_set_int(a, live, "requests", load_uint(&st->requests));
		doc_set_int(a, live, "retries", load_uint(&st->retries));
		doc_set_int(a, live, "overflow",
			    (int64_t)atomic_load_explicit(&st->overflow, memory_order_relaxed));
		if (st->tls_error)
			doc_set_str(a, live, "tlsError", str_c(st->tls_error));
	}
	return list;
}

static const char *health(const struct snap_endpoint *e, struct endpoint_state *st)
{
	if (e->inactive)
		return "INACTIVE";
	if (outlier_is_ejected(&st->outlier, clock_mono_us()))
		return "EJECTED";
	return "HEALTHY";
}

static void dump_endpoint(const struct control *c, struct arena *a, size_t cluster, size_t i,
			  struct doc *list)
{
	const struct snap *s = c->at->snap;
	const struct snap_endpoint *e = &s->clusters.v[cluster].endpoints.v[i];
	struct endpoint_state *st = c->at->clusters[cluster].endpoints[i].state;
	struct doc *d = doc_add(a, list, doc_new_map(a));

	doc_set_str(a, d, "cluster", s->clusters.v[cluster].name);
	doc_set_str(a, d, "address", e->address);
	doc_set_int(a, d, "port", e->port);
	doc_set_int(a, d, "weight", e->weight);
	doc_set_str(a, d, "locality", e->locality);
	if (e->peer >= 0) {
		doc_set_str(a, d, "workload", s->peers.v[e->peer].name);
		doc_set_str(a, d, "namespace", s->peers.v[e->peer].ns);
		doc_set_str(a, d, "principal", s->peers.v[e->peer].principal);
	}
	if (e->mesh_port > 0) {
		doc_set_str(a, d, "meshAddress", e->mesh_address);
		doc_set_int(a, d, "meshPort", e->mesh_port);
	}
	doc_set_str(a, d, "health", str_c(health(e, st)));
	doc_set_int(a, d, "active", load_uint(&st->active));
	doc_set_int(a, d, "connections", load_uint(&st->connections));
	doc_set_int(a, d, "failures", load_uint(&st->outlier.n_5xx));
	doc_set_int(a, d, "requests",
		    (int64_t)atomic_load_explicit(&st->requests, memory_order_relaxed));
	doc_set_int(a, d, "errors",
		    (int64_t)atomic_load_explicit(&st->errors, memory_order_relaxed));
}

static struct doc *dump_endpoints(struct control *c, struct arena *a)
{
	struct doc *list = doc_new_list(a);

	for (size_t i = 0; i < c->at->snap->clusters.n; i++)
		for (size_t k = 0; k < c->at->clusters[i].n; k++)
			dump_endpoint(c, a, i, k, list);
	return list;
}

static const struct dump {
	const char *what;
	struct doc *(*fn)(struct control *c, struct arena *a);
} dumps[] = {
	{ "snapshot", dump_snapshot },
	{ "clusters", dump_clusters },
	{ "endpoints", dump_endpoints },
	{ "listeners", dump_listeners },
	{ "routes", dump_routes },
	{ "secrets", dump_secrets },
};

static void on_dump(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct control *c = arg;
	struct arena *a = ipc_call_arena(call);
	struct str what = doc_get_str(parameters, "what", STR(""));

	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		if (!str_eq(what, str_c(dumps[i].what)))
			continue;
		if (!c->at) {
			ipc_reply_error(call, IPC_E_NOT_FOUND, "no snapshot is served yet");
			return;
		}
		struct doc *d = doc_new_map(a);

		doc_set(a, d, dumps[i].what, dumps[i].fn(c, a));
		ipc_reply(call, d);
		return;
	}
	ipc_reply_error(call, IPC_E_INVALID,
			"what is snapshot, clusters, endpoints, listeners, routes or secrets");
}

/* ---- Drain, LogLevel ----------------------------------------------------------------------- */

/* As SIGTERM does: finish what is under way, then end. */
static void on_drain(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	(void)arg;
	(void)parameters;
	log_info("drain asked for by uid %u", (unsigned)ipc_call_peer(call)->uid);
	ipc_reply(call, NULL);
	kill(getpid(), SIGTERM);
}

static void on_log_level(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct arena *a = ipc_call_arena(call);
	struct str level = arena_str(a, doc_get_str(parameters, "level", STR("")));
	int priority;

	(void)arg;
	if (!log_level_parse(level.p, &priority)) {
		ipc_reply_error(call, IPC_E_INVALID, "level is debug, info, warning or error");
		return;
	}
	log_set_level(priority);
	ipc_reply(call, NULL);
}

static const struct ipc_method methods[] = {
	{ "Status", IPC_ALLOW_READ, on_status,
	  "What is served, since when, with which certificates." },
	{ "Stats", IPC_ALLOW_READ, on_stats, "All metrics." },
	{ "Edges", IPC_ALLOW_READ, on_edges,
	  "Who was seen talking to whom, and how it was secured." },
	{ "Dump", IPC_ALLOW_READ, on_dump, "One part of what is served." },
	{ "Drain", IPC_ALLOW_WRITE, on_drain, "Finish what is under way and end." },
	{ "Upgrade", IPC_ALLOW_WRITE, on_upgrade, "Start the installed program in this one's place." },
	{ "LogLevel", IPC_ALLOW_WRITE, on_log_level, "How much is logged." },
	{ 0 },
};

int control_listen(struct control *c, struct err *err)
{
	const struct daemon_options d = { .run_dir = c->run_dir };
	_cleanup_free_ char *name = kv_asprintf("%s.sock", c->instance);

	c->socket_fd = daemon_listen(&d, "proxy", name, err);
	return c->socket_fd < 0 ? c->socket_fd : 0;
}

void control_serve(struct control *c)
{
	int fd = fcntl(c->socket_fd, F_DUPFD_CLOEXEC, 0);

	if (fd >= 0)
		c->server = ipc_server_new(c->loop, fd, methods, c);
	else
		log_err("the control socket cannot be served: %s", err_code_name(-errno));
}
