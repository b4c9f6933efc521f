/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-witness: looks at packets, not at proxies, and counts plain bytes where there must be none. Layer
 * daemons/witness. One thread; CAP_NET_ADMIN is its only right. Its table counts and changes nothing. The router
 * says which ports, the kernel what went over them, kvmesh-metrics keeps it.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "io/sd.h"
#include "ipc/daemon.h"
#include "ipc/ipc.h"
#include "ipc/rights.h"
#include "nft/nft.h"
#include "witness/counts.h"
#include "witness/rules.h"

#define ROWS_MAX 100                    /* of one call; the rest is told with the next */
#define TICK_US (1u * 1000 * 1000)

struct witness {
	const struct daemon_options *o;
	struct loop *loop;
	struct ipc_client *router, *metrics;
	struct loop_timer tick;
	struct arena arena;             /* of the plan in force */
	struct plan plan;
	bool in_force;                  /* our table is there, as far as we know */
	struct counts counts;
	bool asking, telling;
	char last_error[sizeof(((struct err *)0)->text)];       /* told once */
};

/* Each complaint once, until it is another one or over. */
static void complain(struct witness *w, const char *event, const struct err *err)
{
	if (strcmp(w->last_error, err->text) == 0)
		return;
	snprintf(w->last_error, sizeof(w->last_error), "%s", err->text);
	log_err("%s: %s", event, err->text);
	sd_status("%s", err->text);
}

/* ---- what to look at ----------------------------------------------------------------------- */

static void add_user(struct plan *p, const char *name)
{
	if (rights_find_user(name, &p->own[p->n_own]))
		p->n_own++;
}

/* Proxies and probes speak plainly with applications; under kvmeshctl run they are one user. */
static void add_own(const struct witness *w, struct plan *p)
{
	_cleanup_free_ char *path = kv_asprintf("%s/router/router.sock", w->o->run_dir);
	struct stat st;

	if (!w->o->standalone) {
		add_user(p, RIGHTS_USER_PROXY);
		add_user(p, RIGHTS_USER_PROBE);
	} else if (stat(path, &st) == 0) {
		p->own[p->n_own++] = st.st_uid;
	}
}

static void put_in_force(struct witness *w, const struct plan *p)
{
	bool fresh = !w->in_force;
	struct err err = { 0 };
	struct arena a;

	arena_init(&a, 0);
	int r = nft_run(rules_text(p, fresh, &a), &err);

	arena_done(&a);
	if (r < 0) {
		w->in_force = false;
		complain(w, "witness_blind", &err);
		return;
	}
	arena_init(&a, 0);
	struct plan kept = plan_copy(p, &a);

	arena_done(&w->arena);
	w->arena = a;
	w->plan = kept;
	w->in_force = true;
	w->last_error[0] = '\0';
	if (fresh)
		counts_restart(&w->counts);
	if (p->n_left_off > 0)
		log_warn("witness_partial: %zu ports are not looked at, %d are the most",
			 p->n_left_off, PLAN_PORTS_MAX);
	log_info("witness_looks: mesh port %u, %zu application ports", p->mesh_port, p->n_ports);
	sd_status("looks at the mesh port and %zu application ports", p->n_ports);
}

static void on_wire(void *arg, const char *error_name, const struct doc *d, bool continues)
{
	struct witness *w = arg;
	struct err err = { 0 };
	struct plan p;
	struct arena a;

	(void)continues;
	w->asking = false;
	if (error_name)
		return;         /* the last plan stays */
	arena_init(&a, 0);
	if (plan_read(d, &a, &p, &err) < 0) {
		complain(w, "witness_blind", &err);
	} else {
		add_own(w, &p);
		if (!w->in_force || !plan_eq(&p, &w->plan))
			put_in_force(w, &p);
	}
	arena_done(&a);
}

/* ---- what was seen ------------------------------------------------------------------------- */

/* False: the table is not there, whoever took it away. */
static bool look(struct witness *w)
{
	struct err err = { 0 };
	struct str json;
	struct doc *d;
	struct arena a;

	arena_init(&a, 0);
	int r = nft_list_counters_of(RULES_TABLE, &a, &json, &err);

	if (r == 0)
		r = doc_read_json(json, &a, &d, &err);
	if (r == 0 && !counts_read(&w->counts, d))
		r = err_set(&err, KV_ERR_SCHEMA, "nftables does not list counters");
	arena_done(&a);
	if (r < 0)
		complain(w, "witness_blind", &err);
	return r == 0;
}

static void on_told(void *arg, const char *error_name, const struct doc *d, bool continues)
{
	struct witness *w = arg;

	(void)continues;
	w->telling = false;
	counts_told(&w->counts, !error_name);
	if (error_name)
		log_debug("kvmesh-metrics: %s: %.*s", error_name,
			  STR_ARG(doc_get_str(d, "message", STR(""))));
}

static struct str workload_of(const struct plan *p, int64_t port)
{
	for (size_t i = 0; i < p->n_ports; i++)
		if (p->ports[i].port == port)
			return p->ports[i].workload;
	return STR("");
}

static void add_row(const struct witness *w, struct arena *a, struct doc *list, struct count *c)
{
	struct str name = str_c(c->name), kind;
	uint64_t port;

	if (!str_split(&name, '_', &kind) || !str_to_u64(name, &port) || port > UINT16_MAX)
		return;
	struct doc *d = doc_add(a, list, doc_new_map(a));

	if (str_eq(kind, STR("app")))
		kind = STR("application");
	doc_set_str(a, d, "kind", kind);
	doc_set_int(a, d, "port", (int64_t)port);
	doc_set_str(a, d, "workload",
		    str_eq(kind, STR("mesh")) ? STR("") : workload_of(&w->plan, (int64_t)port));
	doc_set_int(a, d, "packets", c->fresh_packets);
	doc_set_int(a, d, "bytes", c->fresh_bytes);
	log_warn("plain_bytes: %lld bytes in %lld packets on %.*s port %u", (long long)c->fresh_bytes,
		 (long long)c->fresh_packets, STR_ARG(kind), (unsigned)port);
	counts_tell(c);
}

/* Also when there is nothing to say: silence would be no proof. */
static void tell(struct witness *w)
{
	struct arena a;
	struct map_entry *at = NULL;

	if (w->telling || !ipc_client_is_connected(w->metrics))
		return;
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a), *list = doc_set(&a, d, "ports", doc_new_list(&a));

	doc_set_int(&a, d, "pid", getpid());
	doc_set_int(&a, d, "looksAt", (int64_t)w->plan.n_ports + (w->plan.mesh_port > 0));
	for (struct count *c; list->n < ROWS_MAX && (c = counts_next(&w->counts, &at));)
		add_row(w, &a, list, c);
	w->telling = true;
	ipc_client_call(w->metrics, "Witnessed", d, false, on_told, w);
	arena_done(&a);
}

static void on_tick(void *arg)
{
	struct witness *w = arg;

	if (w->in_force && !look(w))
		w->in_force = false;    /* made again with the router's next word */
	if (w->in_force)
		tell(w);
	if (!w->asking && ipc_client_is_connected(w->router)) {
		w->asking = true;
		ipc_client_call(w->router, "Wire", NULL, false, on_wire, w);
	}
	loop_timer_set(&w->tick, TICK_US);
}

/* ---- life ---------------------------------------------------------------------------------- */

static const struct daemon_program program = {
	.name = "kvmesh-witness",
	.summary = "counts plain bytes where there must be none",
};

static void take_away(void)
{
	struct err err = { 0 };

	if (nft_run(STR("add table inet " RULES_TABLE "\ndelete table inet " RULES_TABLE "\n"), &err) < 0)
		log_warn("the table " RULES_TABLE " stays: %s", err.text);
}

int main(int argc, char **argv)
{
	struct daemon_options o;
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	daemon_init(&o);
	struct witness w = { .o = &o, .loop = loop_new() };
	_cleanup_free_ char *router = kv_asprintf("%s/router/router.sock", o.run_dir);
	_cleanup_free_ char *metrics = kv_asprintf("%s/metrics/metrics.sock", o.run_dir);
	struct daemon_signals signals = { .loop = w.loop };

	daemon_on_signals(&signals);
	arena_init(&w.arena, 0);
	counts_init(&w.counts);
	w.router = ipc_client_new(w.loop, router);
	w.metrics = ipc_client_new(w.loop, metrics);
	loop_timer_init(&w.tick, w.loop, on_tick, &w);
	loop_timer_set(&w.tick, 1);
	sd_watchdog_start(w.loop);
	sd_ready_fd(o.ready_fd);
	sd_ready("waiting for the router");
	loop_run(w.loop);
	sd_stopping();
	if (w.in_force) {
		(void)look(&w);
		take_away();
	}
	ipc_client_free(w.router);
	ipc_client_free(w.metrics);
	loop_timer_done(&w.tick);
	counts_done(&w.counts);
	arena_done(&w.arena);
	loop_free(w.loop);
	return DAEMON_EXIT_OK;
}
