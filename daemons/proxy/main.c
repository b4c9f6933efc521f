/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main: the proxy daemon: options, hardening, threads, signals, drain. It reads no configuration:
 * snapshots come over the router's socket (control.c). Layer proxy.
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "io/sd.h"
#include "io/tls.h"
#include "ipc/daemon.h"
#include "ipc/ipc.h"
#include "ipc/kept.h"
#include "proxy/control.h"
#include "proxy/cpus.h"
#include "proxy/doors.h"
#include "proxy/listener.h"
#include "proxy/upgrade.h"
#include "proxy/watch.h"
#include "proxy/worker.h"
#include "snap/snap.h"

static const struct daemon_program program = {
	.name = "kvmesh-proxy",
	.summary = "the data plane: carries the traffic of this node's workloads",
	.flags = DAEMON_HAS_INSTANCE | DAEMON_HAS_TEST | DAEMON_HAS_PRINT,
};

struct proxy {
	struct loop *loop;
	struct worker_set *workers;
	struct control *control;
	struct watch *watch;
	struct upgrade *upgrade;
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

static void on_upgrade(void *arg, int signo)
{
	struct proxy *p = arg;

	(void)signo;
	upgrade_begin(p->upgrade, NULL);
}

/* Exchanges under way are finished; whoever is connected to us learns that it is the last one. */
static void on_stop(void *arg)
{
	struct proxy *p = arg;

	if (!upgrade_cancel(p->upgrade))
		return;
	log_info("draining");
	sd_stopping();
	control_stopping(p->control);
	worker_drain(p->workers, 0, p->loop, on_drained, p);
}

static void on_ready(void *arg)
{
	struct proxy *p = arg;

	log_info("serving");
	upgrade_ready(p->upgrade);
}

/* -t, -T: what is served while the router is silent. A first start has nothing, and that is fine. */
static int show_kept(const struct daemon_options *o)
{
	_cleanup_free_ char *path = kv_asprintf("%s/proxy/%s.snapshot", o->state_dir, o->instance);
	_cleanup_free_ char *json = NULL;
	struct err err = { 0 };
	struct snap *snap;
	size_t n;
	int r = kept_load(path, IPC_REPLY_MAX, &json, &n, &err);

	if (r == -ENOENT) {
		printf("%s: no snapshot is kept yet\n", path);
		return DAEMON_EXIT_OK;
	}
	if (r < 0 || snap_load(str_from(json, n), &snap, &err) < 0) {
		fprintf(stderr, "%s: %s\n", path, err.text);
		return DAEMON_EXIT_CONFIG;
	}
	if (o->print)
		printf("%.*s\n", STR_ARG(snap_dump(snap, &snap->arena, true)));
	else
		printf("%s: snapshot %lld can be served\n", path, (long long)snap->version);
	snap_unref(snap);
	return DAEMON_EXIT_OK;
}

static int serve(struct proxy *p, const struct daemon_options *o, char *const *argv)
{
	struct control_options co = {
		.run_dir = o->run_dir,
		.state_dir = o->state_dir,
		.instance = o->instance,
		.ready_fd = o->ready_fd,
	};
	struct err err = { 0 };

	if (upgrade_new(p->loop, p->workers, argv, on_drained, p, &p->upgrade, &co.socket_fd, &err) < 0) {
		log_err("%s", err.text);
		return DAEMON_EXIT_FAILED;
	}
	p->control = control_new(p->loop, p->workers, &co, on_ready, p, &err);
	if (!p->control) {
		log_err("%s", err.text);
		return DAEMON_EXIT_FAILED;
	}
	upgrade_use_control(p->upgrade, p->control);
	loop_on_signal(p->loop, SIGUSR2, on_upgrade, p);
	p->signals = (struct daemon_signals){
		.loop = p->loop, .reload = on_reload, .stop = on_stop, .arg = p,
	};
	daemon_on_signals(&p->signals);
	sd_watchdog_start(p->loop);
	p->watch = watch_new(p->loop, p->workers);
	loop_run(p->loop);
	return DAEMON_EXIT_OK;
}

static void take_socket(void *arg, int fd, bool stored)
{
	doors_inherit(arg, fd, stored ? DOOR_ORIGIN_OURS : DOOR_ORIGIN_MANAGER);
}

int main(int argc, char **argv)
{
	struct daemon_options o;

	tls_use_reserve();
	loop_use_reserve();
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	if (o.test || o.print)
		return show_kept(&o);
	daemon_init(&o);
	daemon_protect_memory();
	unsigned n = cpus_available();

	/* One arena per thread at most: more only scatter what is free. */
	(void)mallopt(M_ARENA_MAX, (int)n + 1);
	struct proxy p = { .loop = loop_new() };

	p.workers = worker_set_start(n);
	doors_be_patient(worker_doors(p.workers), LISTENER_PATIENCE_US);
	sd_listen_sockets(take_socket, worker_doors(p.workers));
	code = serve(&p, &o, argv);
	/* Workers first: they write into the log's rings until their last exchange. */
	worker_set_stop(p.workers);
	if (p.watch)
		watch_free(p.watch);
	if (p.upgrade)
		upgrade_free(p.upgrade);
	control_free(p.control);
	loop_free(p.loop);
	return code;
}
