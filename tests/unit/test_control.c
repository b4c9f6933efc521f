/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy's control thread between a router, a CA and workers that the test plays: what is
 * published, what is acknowledged, what survives a router that is away, and what the control socket
 * tells.
 */
#include "base/fs.h"
#include "fake_ca.h"
#include "ipc/ipc.h"
#include "proxy/access_log.h"
#include "proxy/control.h"
#include "proxy/gate.h"
#include "proxy/named.h"
#include "proxy/stats.h"
#include "proxy/worker.h"
#include "proxy/upgrade.h"
#include "unit.h"
#include "until.h"

static char dir[] = "/tmp/kvmesh-control-XXXXXX";
static struct arena arena;
static struct loop *loop;
static struct fake_ca ca;
static struct control *control;
static unsigned n_ready;

/* ---- workers ------------------------------------------------------------------------------- */

struct worker_set {
	struct worker w;
	struct stats *stats[1];
	struct attached *at;            /* last published */
	unsigned n_published;
	const char *fails;              /* the next publishes fail with this */
	struct gate gate;
};
static struct worker_set workers;

int worker_publish(struct worker_set *ws, struct attached *at, struct err *err)
{
	if (ws->fails)
		return err_set(err, -EADDRINUSE, "%s", ws->fails);
	attach_unref(ws->at);
	ws->at = attach_ref(at);
	ws->n_published++;
	return 0;
}
size_t worker_count(const struct worker_set *ws)
{
	(void)ws;
	return 1;
}
struct stats *const *worker_stats(const struct worker_set *ws, size_t *ret_n)
{
	*ret_n = 1;
	return ws->stats;
}
struct worker *worker_at(const struct worker_set *ws, size_t i)
{
	(void)ws;
	ck_assert_uint_eq(i, 0);
	return &workers.w;
}
struct gate *worker_gate(struct worker_set *ws)
{
	return &ws->gate;
}
void overload_tell(struct worker *w, enum overload_level level)
{
	w->level = level;
}
struct doc *worker_listeners(const struct worker_set *ws, struct arena *a)
{
	(void)ws;
	return doc_new_list(a);
}

void upgrade_begin(struct upgrade *u, struct ipc_call *call)
{
	(void)u;
	(void)call;
}
void upgrade_status(const struct upgrade *u, struct arena *a, struct doc *status)
{
	(void)u;
	(void)a;
	(void)status;
}

/* ---- the router ---------------------------------------------------------------------------- */

struct ack {
	int64_t version;
	char error[512];
};
static struct {
	struct ipc_server *server;
	char path[128];
	struct ipc_call *watch;
	struct ack acks[32];
	size_t n_acks;
	char *first;                    /* sent to whoever watches */
	int64_t first_version;
	bool lose_acks;
} router;

static void push(int64_t version, const char *snapshot)
{
	struct arena *a = ipc_call_arena(router.watch);

	ipc_stream_json(router.watch, arena_printf(a, "{\"version\":%lld,\"snapshot\":%s}",
						   (long long)version, snapshot));
}

static void on_watch_closed(void *arg, struct ipc_call *call)
{
	(void)arg;
	if (router.watch == call)
		router.watch = NULL;
}

static void on_watch(void *arg, struct ipc_call *call, const struct doc *p)
{
	(void)arg;
	unit_str_eq(doc_get_str(p, "proxy", STR("")), "node");
	ck_assert(ipc_call_wants_more(call));
	router.watch = call;
	ipc_call_on_close(call, on_watch_closed, NULL);
	if (router.first)
		push(router.first_version, router.first);
}

static void on_ack(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct ack *a = &router.acks[router.n_acks];

	(void)arg;
	ck_assert_int_eq(doc_get_int(p, "pid", 0), getpid());
	ck_assert(doc_get_str(p, "software", STR("")).n > 0);
	if (router.lose_acks) {
		ipc_reply_error(call, IPC_E_BUSY, "later");
		return;
	}
	ck_assert_uint_lt(router.n_acks++, 32);
	a->version = doc_get_int(p, "version", 0);
	snprintf(a->error, sizeof(a->error), "%.*s", STR_ARG(doc_get_str(p, "error", STR(""))));
	ipc_reply(call, NULL);
}

static const struct ipc_method router_methods[] = {
	{ "Watch", IPC_ALLOW_ANY, on_watch, "" },
	{ "Ack", IPC_ALLOW_ANY, on_ack, "" },
	{ 0 },
};

static void router_start(void)
{
	struct err err = { 0 };
	int fd;

	snprintf(router.path, sizeof(router.path), "%s/router", dir);
	mkdir(router.path, 0755);
	snprintf(router.path, sizeof(router.path), "%s/router/router.sock", dir);
	fd = sock_listen_unix(router.path, 0666, (gid_t)-1, &err);
	ck_assert_msg(fd >= 0, "%s", err.text);
	router.server = ipc_server_new(loop, fd, router_methods, NULL);
}

static void router_stop(void)
{
	ipc_server_free(router.server);
	router.server = NULL;
	router.watch = NULL;
	unlink(router.path);
}

/* A snapshot of the node and one workload whose service account is sa. */
static char *snapshot(int64_t version, const char *sa)
{
	struct str s = arena_printf(
		&arena,
		"{\"version\":%lld,\"proxy\":\"node\",\"settings\":{\"trust_domain\":\"cluster."
		"local\"},"
		"\"identities\":[\"spiffe://cluster.local/ns/kvmesh-system/sa/n1\","
		"\"spiffe://cluster.local/ns/default/sa/%s\"],"
		"\"peers\":[{\"name\":\"n1\",\"ns\":\"kvmesh-system\"},{\"name\":\"app\",\"ns\":"
		"\"default\"}],"
		"\"workloads\":[{},{\"peer\":1,\"identity\":1}],\"views\":[{\"name\":\"default\"}],"
		"\"clusters\":[{\"name\":\"outbound|80||app\",\"service\":\"app\",\"port\":80,"
		"\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":8001,\"weight\":1,\"peer\":1}]}"
		"]}",
		(long long)version, sa);

	return arena_strdup(&arena, s.p);
}

static void send_snapshot(int64_t version, const char *sa)
{
	router.first = snapshot(version, sa);
	router.first_version = version;
	if (router.watch)
		push(version, router.first);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_ready(void *arg)
{
	(void)arg;
	n_ready++;
}

static void control_start(void)
{
	const struct control_options o = {
		.run_dir = dir, .state_dir = dir, .instance = "node", .ready_fd = -1, .socket_fd = -1
	};
	struct err err = { 0 };

	n_ready = 0;
	control = control_new(loop, &workers, &o, on_ready, NULL, &err);
	ck_assert_msg(control, "%s", err.text);
}

static void control_end(void)
{
	control_free(control);
	control = NULL;
	attach_unref(workers.at);
	workers.at = NULL;
	workers.n_published = 0;
}

static void setup(bool with_router, bool with_ca)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	arena_init(&arena, 0);
	loop = loop_new();
	workers.stats[0] = stats_new();
	workers.w = (struct worker){
		.loop = loop, .stats = workers.stats[0], .names = named_new(loop),
	};
	fake_ca_init(&ca, loop, dir);
	if (with_ca)
		fake_ca_start(&ca);
	if (with_router)
		router_start();
}

static void teardown(void)
{
	char cmd[128];

	control_end();
	if (router.server)
		router_stop();
	fake_ca_done(&ca);
	stats_free(workers.stats[0]);
	named_free(workers.w.names);
	loop_free(loop);
	arena_done(&arena);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static bool has_acks(void *arg)
{
	return router.n_acks >= *(size_t *)arg;
}
static void wait_acks(size_t n)
{
	run_until(loop, has_acks, &n);
}
static bool is_ready(void *arg)
{
	(void)arg;
	return n_ready > 0;
}
static bool is_published(void *arg)
{
	return workers.n_published >= *(unsigned *)arg;
}
static void wait_published(unsigned n)
{
	run_until(loop, is_published, &n);
}
static bool is_watched(void *arg)
{
	(void)arg;
	return router.watch != NULL;
}

static void check_ack(size_t i, int64_t version, const char *error)
{
	ck_assert_uint_lt(i, router.n_acks);
	ck_assert_int_eq(router.acks[i].version, version);
	if (*error)
		ck_assert_msg(strstr(router.acks[i].error, error), "ack says '%s'",
			      router.acks[i].error);
	else
		ck_assert_str_eq(router.acks[i].error, "");
}

/* ---- asking the control socket ------------------------------------------------------------- */

struct answer {
	bool done;
	const char *error;
	struct doc *d;
};

static void on_answer(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct answer *a = arg;

	ck_assert(!continues);
	a->error = error_name ? arena_strdup(&arena, error_name) : NULL;
	a->d = doc_copy(&arena, p);
	a->done = true;
}

static bool is_answered(void *arg)
{
	return ((struct answer *)arg)->done;
}

static struct ipc_client *client;

static void on_connected(void *arg, bool connected)
{
	*(bool *)arg = connected;
}
static bool is_set(void *arg)
{
	return *(bool *)arg;
}

static struct answer ask(const char *method, const char *key, const char *value)
{
	struct answer a = { 0 };
	struct doc *p = doc_new_map(&arena);
	bool connected = false;

	if (key)
		doc_set_str(&arena, p, key, str_c(value));
	client = ipc_client_new(loop, arena_printf(&arena, "%s/proxy/node.sock", dir).p);
	ipc_client_on_connect(client, on_connected, &connected);
	run_until(loop, is_set, &connected);
	ipc_client_call(client, method, p, false, on_answer, &a);
	run_until(loop, is_answered, &a);
	ipc_client_free(client);
	return a;
}

static struct doc *status(void)
{
	struct answer a = ask("Status", NULL, NULL);

	ck_assert_ptr_null(a.error);
	return a.d;
}

/* ---- tests --------------------------------------------------------------------------------- */

START_TEST(a_snapshot_is_published_certified_and_acked)
{
	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	run_until(loop, is_ready, NULL);
	wait_acks(1);
	check_ack(0, 5, "");
	ck_assert_int_eq(workers.at->snap->version, 5);
	ck_assert_ptr_nonnull(workers.at->identities[0]);
	ck_assert_ptr_nonnull(workers.at->identities[1]);
	struct doc *s = status();

	ck_assert_int_eq(doc_get_int(s, "version", 0), 5);
	ck_assert(doc_get_bool(s, "ready", false));
	ck_assert(!doc_get_bool(s, "stale", true));
	ck_assert_uint_eq(doc_get(s, STR("certificates"))->n, 2);
	ck_assert_int_gt(doc_get_int(s, "rssBytes", 0), 0);
	teardown();
}
END_TEST

START_TEST(a_newer_snapshot_replaces_it_and_state_stays)
{
	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);
	struct endpoint_state *e = workers.at->clusters[0].endpoints[0].state;
	struct cluster_state *c = workers.at->clusters[0].state;

	atomic_store(&e->requests, 77);
	send_snapshot(6, "other");
	wait_acks(2);
	check_ack(1, 6, "");
	ck_assert_int_eq(workers.at->snap->version, 6);
	ck_assert_ptr_eq(workers.at->clusters[0].endpoints[0].state, e);
	ck_assert_ptr_eq(workers.at->clusters[0].state, c);
	ck_assert_uint_eq(atomic_load(&e->requests), 77);
	unit_str_eq(tls_identity_spiffe(workers.at->identities[1]),
		    "spiffe://cluster.local/ns/default/sa/other");
	ck_assert_uint_eq(n_ready, 1);
	teardown();
}
END_TEST

START_TEST(a_bad_snapshot_is_refused_and_the_old_one_stays)
{
	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);
	/* views are missing: workloads point nowhere */
	push(6, "{\"version\":6,\"proxy\":\"node\",\"identities\":[\"spiffe://cluster.local/ns/a/"
		"sa/b\"],"
		"\"peers\":[{\"name\":\"n1\"}],\"workloads\":[{}]}");
	wait_acks(2);
	check_ack(1, 6, "view");
	ck_assert_int_eq(workers.at->snap->version, 5);
	/* for somebody else */
	char *text = snapshot(7, "app");

	memcpy(strstr(text, "\"node\""), "\"edge\"", 6);
	push(7, text);
	wait_acks(3);
	check_ack(2, 7, "proxy \"edge\"");
	/* a port that cannot be bound */
	workers.fails = "cannot listen on 127.0.0.1:80: taken";
	push(8, snapshot(8, "app"));
	wait_acks(4);
	check_ack(3, 8, "127.0.0.1:80");
	workers.fails = NULL;
	ck_assert_int_eq(doc_get_int(status(), "version", 0), 5);
	/* and the next good one is taken */
	push(9, snapshot(9, "app"));
	wait_acks(5);
	check_ack(4, 9, "");
	teardown();
}
END_TEST

START_TEST(without_certificates_it_serves_but_is_not_ready)
{
	setup(true, false);
	send_snapshot(5, "app");
	control_start();
	wait_published(1);
	ck_assert_ptr_null(workers.at->identities[0]);
	run_for(loop, 300000);
	ck_assert_uint_eq(router.n_acks, 0);
	ck_assert_uint_eq(n_ready, 0);
	ck_assert(!doc_get_bool(status(), "ready", true));
	fake_ca_start(&ca);
	run_until(loop, is_ready, NULL);
	wait_acks(1);
	check_ack(0, 5, "");
	ck_assert_ptr_nonnull(workers.at->identities[1]);
	teardown();
}
END_TEST

START_TEST(an_ack_does_not_wait_for_ever)
{
	setup(true, false);
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);                   /* five seconds later */
	check_ack(0, 5, "");
	ck_assert_uint_eq(n_ready, 0);
	teardown();
}
END_TEST

START_TEST(renewed_certificates_are_published_over_the_same_snapshot)
{
	setup(true, true);
	ca.life_s = 3;
	send_snapshot(5, "app");
	control_start();
	run_until(loop, is_ready, NULL);
	struct snap *snap = workers.at->snap;
	struct match *match = workers.at->match;
	char *serial = arena_strdup(&arena, tls_identity_serial(workers.at->identities[1]));
	unsigned n = workers.n_published;

	while (strcmp(serial, tls_identity_serial(workers.at->identities[1])) == 0)
		wait_published(++n);
	ck_assert_ptr_eq(workers.at->snap, snap);
	ck_assert_ptr_eq(workers.at->match, match);
	teardown();
}
END_TEST

START_TEST(the_last_good_snapshot_serves_while_the_router_is_away)
{
	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	run_until(loop, is_ready, NULL);
	wait_acks(1);
	push(6, "{\"version\":6}");     /* refused: not kept */
	wait_acks(2);
	control_end();
	router_stop();
	control_start();
	run_until(loop, is_ready, NULL);
	ck_assert_int_eq(workers.at->snap->version, 5);
	ck_assert(doc_get_bool(status(), "stale", false));
	/* the router is back with the same: confirmed, not published again */
	unsigned n = workers.n_published;
	size_t acks = router.n_acks;

	router_start();
	wait_acks(acks + 1);
	check_ack(acks, 5, "");
	ck_assert_uint_eq(workers.n_published, n);
	ck_assert(!doc_get_bool(status(), "stale", true));
	teardown();
}
END_TEST

START_TEST(a_damaged_file_serves_nothing)
{
	struct err err;

	setup(false, true);
	ck_assert_int_eq(fs_mkdir(arena_printf(&arena, "%s/proxy", dir).p, 0755, &err), 0);
	ck_assert_int_eq(fs_write(arena_printf(&arena, "%s/proxy/node.snapshot", dir).p, "rubbish",
				  7, 0600, &err),
			 0);
	control_start();
	run_for(loop, 1500000);
	ck_assert_uint_eq(workers.n_published, 0);
	ck_assert_int_eq(doc_get_int(status(), "version", -1), 0);
	teardown();
}
END_TEST

START_TEST(a_refused_first_snapshot_is_asked_for_again)
{
	setup(true, true);
	workers.fails = "cannot listen on 127.0.0.1:80: taken";
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);
	check_ack(0, 5, "taken");
	workers.fails = NULL;           /* the other program ends */
	run_until(loop, is_ready, NULL);
	wait_acks(2);
	check_ack(1, 5, "");
	teardown();
}
END_TEST

START_TEST(a_lost_ack_is_repeated)
{
	setup(true, true);
	router.lose_acks = true;
	send_snapshot(5, "app");
	control_start();
	run_until(loop, is_ready, NULL);
	run_for(loop, 200000);
	ck_assert_uint_eq(router.n_acks, 0);
	router.lose_acks = false;
	wait_acks(1);
	check_ack(0, 5, "");
	teardown();
}
END_TEST

START_TEST(reload_asks_the_router_anew)
{
	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);
	router.watch = NULL;
	control_reload(control);
	run_until(loop, is_watched, NULL);
	wait_acks(2);
	check_ack(1, 5, "");
	teardown();
}
END_TEST

START_TEST(a_bad_log_format_is_a_bad_snapshot)
{
	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);
	char *text = snapshot(6, "app");
	struct str settings = STR("\"settings\":{");
	ptrdiff_t at = str_find_str(str_c(text), settings);
	struct str head = str_take(str_c(text), (size_t)at + settings.n),
		   tail = str_skip(str_c(text), head.n);

	push(6, arena_printf(
			&arena,
			"%.*s\"access_log\":\"/dev/stdout\",\"access_log_format\":\"%%NO%%\",%.*s",
			STR_ARG(head), STR_ARG(tail))
			.p);
	wait_acks(2);
	check_ack(1, 6, "%NO%");
	/* a file that cannot be opened costs the log, not the policy */
	push(7, arena_printf(&arena, "%.*s\"access_log\":\"/nowhere/log\",%.*s", STR_ARG(head),
			     STR_ARG(tail))
			.p);
	wait_acks(3);
	check_ack(2, 7, "");
	ck_assert(!access_log_is_on(workers.w.log));
	push(8, arena_printf(&arena, "%.*s\"access_log\":\"%s/log\",%.*s", STR_ARG(head), dir,
			     STR_ARG(tail))
			.p);
	wait_acks(4);
	ck_assert(access_log_is_on(workers.w.log));
	teardown();
}
END_TEST

START_TEST(dumps)
{
	static const char *const whats[] = { "snapshot",  "clusters", "endpoints",
					     "listeners", "routes",   "secrets" };

	setup(true, true);
	control_start();
	ck_assert_str_eq(ask("Dump", "what", "clusters").error, IPC_E_NOT_FOUND);
	ck_assert_str_eq(ask("Dump", "what", "keys").error, IPC_E_INVALID);
	run_until(loop, is_watched, NULL);
	send_snapshot(5, "app");
	wait_acks(1);
	atomic_store(&workers.at->clusters[0].state->overflow, 3);
	atomic_store(&workers.at->clusters[0].endpoints[0].state->outlier.ejected_until_us, UINT64_MAX);
	for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
		struct answer a = ask("Dump", "what", whats[i]);

		ck_assert_ptr_null(a.error);
		ck_assert_ptr_nonnull(doc_get(a.d, str_c(whats[i])));
	}
	struct doc *c = doc_get(ask("Dump", "what", "clusters").d, STR("clusters"))->v[0];

	unit_str_eq(doc_get_str(c, "name", STR("")), "outbound|80||app");
	ck_assert_int_eq(doc_get_int(doc_get(c, STR("live")), "overflow", 0), 3);
	struct doc *e = doc_get(ask("Dump", "what", "endpoints").d, STR("endpoints"))->v[0];

	unit_str_eq(doc_get_str(e, "health", STR("")), "EJECTED");
	unit_str_eq(doc_get_str(e, "workload", STR("")), "app");
	struct doc *s = doc_get(ask("Dump", "what", "secrets").d, STR("secrets"));

	/* names and dates, never a key */
	ck_assert_uint_eq(s->n, 2);
	ck_assert_uint_eq(s->v[0]->n, 4);
	teardown();
}
END_TEST

static const struct doc *find_family(const struct doc *families, const char *name)
{
	for (size_t i = 0; i < families->n; i++)
		if (str_eq(doc_get_str(families->v[i], "name", STR("")), str_c(name)))
			return families->v[i];
	ck_abort_msg("no family %s", name);
	return NULL;
}

START_TEST(stats_tell_build_configuration_and_process)
{
	static const char *const names[] = {
		"istio_build", "kvmesh_build_info", "kvmesh_config_last_reload_successful",
		"kvmesh_config_last_reload_success_timestamp_seconds", "process_cpu_seconds_total",
		"process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds",
		"kvmesh_proxy_loop_lag_seconds", "kvmesh_downstream_connections",
	};

	setup(true, true);
	send_snapshot(5, "app");
	control_start();
	wait_acks(1);
	struct doc *f = doc_get(ask("Stats", NULL, NULL).d, STR("families"));

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_uint_gt(doc_get(find_family(f, names[i]), STR("series"))->n, 0);
	unit_str_eq(doc_to_json(doc_get(find_family(f, "kvmesh_config_generation"), STR("series")),
				&arena, false),
		    "[[\"node\",5]]");
	const struct doc *certs =
		doc_get(find_family(f, "kvmesh_cert_expiry_timestamp_seconds"), STR("series"));

	ck_assert_uint_eq(certs->n, 2);
	unit_str_eq(certs->v[1]->v[1]->s, "app.default");
	ck_assert_int_eq(certs->v[1]->v[2]->i, tls_identity_not_after(workers.at->identities[1]));
	teardown();
}
END_TEST

START_TEST(log_level_is_checked)
{
	setup(false, false);
	control_start();
	ck_assert_str_eq(ask("LogLevel", "level", "loud").error, IPC_E_INVALID);
	ck_assert_ptr_null(ask("LogLevel", "level", "warning").error);
	teardown();
}
END_TEST

UNIT_MAIN("control", a_snapshot_is_published_certified_and_acked,
	  a_newer_snapshot_replaces_it_and_state_stays,
	  a_bad_snapshot_is_refused_and_the_old_one_stays,
	  without_certificates_it_serves_but_is_not_ready, an_ack_does_not_wait_for_ever,
	  renewed_certificates_are_published_over_the_same_snapshot,
	  the_last_good_snapshot_serves_while_the_router_is_away, a_damaged_file_serves_nothing,
	  a_refused_first_snapshot_is_asked_for_again, a_lost_ack_is_repeated,
	  reload_asks_the_router_anew, a_bad_log_format_is_a_bad_snapshot, dumps,
	  stats_tell_build_configuration_and_process, log_level_is_checked)
