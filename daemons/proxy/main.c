/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main: the proxy daemon: options, hardening, threads, signals, drain. It reads no configuration:
 * snapshots come over the router's socket (control.c). Layer proxy.
 */
#include "config.h"

#include <malloc.h>
#include <stdlib.h>

#include "base/log.h"
#include "io/sd.h"
#include "io/tls.h"
#include "ipc/daemon.h"
#include "proxy/control.h"
#include "proxy/cpus.h"
#include "proxy/worker.h"

#define DRAIN_US (30ull * 1000 * 1000)          /* security-model L6 */

static const struct daemon_program program = {
	.name = "kvmesh-proxy",
	.summary = "the data plane: carries the traffic of this node's workloads",
	.flags = DAEMON_HAS_INSTANCE,
};

struct proxy {
	struct loop *loop;
	struct worker_set *workers;
	struct control *control;
	struct daemon_signals signals;
};

static void on_reload(void *arg)
{
	struct proxy *p = arg;

	control_reload(p->control);
}

static void on_drained(void *arg)
{
	struct proxy *p = arg;

	loop_stop(p->loop);
}

/* Exchanges under way are finished; whoever is connected to us learns that it is the last one. */
static void on_stop(void *arg)
{
	struct proxy *p = arg;

	log_info("draining");
	sd_stopping();
	control_stopping(p->control);
	worker_drain(p->workers, DRAIN_US, p->loop, on_drained, p);
}

static void on_ready(void *arg)
{
	(void)arg;
	log_info("serving");
}

static int serve(struct proxy *p, const struct daemon_options *o)
{
	struct control_options co = {
		.run_dir = o->run_dir,
		.state_dir = o->state_dir,
		.instance = o->instance,
		.ready_fd = o->ready_fd,
	};
	struct err err = { 0 };

	p->control = control_new(p->loop, p->workers, &co, on_ready, p, &err);
	if (!p->control) {
		log_err("%s", err.text);
		return DAEMON_EXIT_FAILED;
	}
	p->signals = (struct daemon_signals){
		.loop = p->loop, .reload = on_reload, .stop = on_stop, .arg = p,
	};
	daemon_on_signals(&p->signals);
	sd_watchdog_start(p->loop);
	loop_run(p->loop);
	control_free(p->control);
	return DAEMON_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct daemon_options o;
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	daemon_init(&o);
	daemon_protect_memory();
	unsigned n = cpus_available();

	/* One arena per thread at most: more only scatter what is free. */
	(void)mallopt(M_ARENA_MAX, (int)n + 1);
	struct proxy p = { .loop = loop_new() };

	p.workers = worker_set_start(n);
	code = serve(&p, &o);
	worker_set_stop(p.workers);
	loop_free(p.loop);
	return code;
}
