/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-probe: asks workloads whether they are healthy, for the router that decides what their
 * answers mean. Layer daemons/probe. One thread. It holds no key and reads no configuration: what it
 * parses comes from services, what it runs are their commands, and both stay in here.
 */
#include "config.h"

#include <signal.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "io/sd.h"
#include "ipc/daemon.h"
#include "ipc/ipc.h"
#include "probe/exec.h"
#include "probe/plan.h"

#define WATCH_RETRY_US (1u * 1000 * 1000)

struct probe {
	struct loop *loop;
	struct ipc_client *watch, *call;        /* both to the router */
	struct loop_timer retry;
	struct plan *plan;
	bool standalone;
};

static const struct daemon_program program = {
	.name = "kvmesh-probe",
	.summary = "asks workloads whether they are healthy",
};

/* ---- results ------------------------------------------------------------------------------- */

static void on_told(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	(void)arg;
	(void)continues;
	if (error_name)
		log_debug("a result was not taken: %s: %.*s", error_name,
			  STR_ARG(doc_get_str(p, "message", STR(""))));
}

/* What the router does not hear now it hears with the next one. */
static void on_result(void *arg, const struct plan_result *r)
{
	struct probe *p = arg;
	struct arena a;

	if (!ipc_client_is_connected(p->call))
		return;
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_str(&a, d, "id", r->id);
	doc_set_int(&a, d, "round", r->round);
	doc_set_bool(&a, d, "ok", r->ok);
	if (!r->ok)
		doc_set_str(&a, d, "why", str_c(r->why));
	ipc_client_call(p->call, "Probed", d, false, on_told, p);
	arena_done(&a);
}

/* ---- the list ------------------------------------------------------------------------------ */

static void on_list(void *arg, const char *error_name, const struct doc *d, bool continues)
{
	struct probe *p = arg;
	const struct doc *list = error_name ? NULL : doc_get(d, STR("probes"));

	if (error_name && str_eq(str_c(error_name), STR(IPC_E_DISCONNECTED)))
		return;
	if (!continues)
		loop_timer_set(&p->retry, WATCH_RETRY_US);
	if (error_name)
		log_warn("router: %s: %.*s", error_name,
			 STR_ARG(doc_get_str(d, "message", STR(""))));
	if (!list || list->kind != DOC_LIST)
		return;
	plan_follow(p->plan, list);
	sd_status("%zu probes", list->n);
	/* systemd starts it again when there is something to do. */
	if (!p->standalone && !doc_get_bool(d, "wanted", true)) {
		log_info("nothing is to be probed");
		loop_stop(p->loop);
	}
}

static void watch(void *arg)
{
	struct probe *p = arg;

	if (ipc_client_is_connected(p->watch))
		ipc_client_call(p->watch, "Probes", NULL, true, on_list, p);
}

static void on_connected(void *arg, bool connected)
{
	if (connected)
		watch(arg);
}

static void on_child(void *arg, int signo)
{
	(void)arg;
	(void)signo;
	exec_reap();
}

int main(int argc, char **argv)
{
	struct daemon_options o;
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	daemon_init(&o);
	if (!exec_init())
		log_warn("what commands leave behind is not collected");
	struct probe p = { .loop = loop_new(), .standalone = o.standalone };
	_cleanup_free_ char *path = kv_asprintf("%s/router/router.sock", o.run_dir);
	struct daemon_signals signals = { .loop = p.loop };

	daemon_on_signals(&signals);
	loop_on_signal(p.loop, SIGCHLD, on_child, NULL);
	loop_timer_init(&p.retry, p.loop, watch, &p);
	p.plan = plan_new(p.loop, on_result, &p);
	p.call = ipc_client_new(p.loop, path);
	p.watch = ipc_client_new(p.loop, path);
	ipc_client_on_connect(p.watch, on_connected, &p);
	sd_watchdog_start(p.loop);
	sd_ready_fd(o.ready_fd);
	sd_ready("waiting for the router");
	loop_run(p.loop);
	sd_stopping();
	plan_free(p.plan);
	ipc_client_free(p.watch);
	ipc_client_free(p.call);
	loop_timer_done(&p.retry);
	loop_free(p.loop);
	return DAEMON_EXIT_OK;
}
