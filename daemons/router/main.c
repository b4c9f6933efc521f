/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-router: reads the configuration, checks it, compiles it, pushes it to the proxies. Layer
 * daemons/router. One thread. It never sees a key and touches no traffic.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/sd.h"
#include "ipc/daemon.h"
#include "ipc/db.h"
#include "router/config_doc.h"
#include "router/findings.h"
#include "router/server.h"

static const struct daemon_program program = {
	.name = "kvmesh-router",
	.summary = "reads the configuration, compiles it, pushes it to the proxies",
	.flags = DAEMON_HAS_TEST | DAEMON_HAS_PRINT,
	.libraries = db_library,
};

/* -t and -T: findings on stderr, the configuration on stdout. */
static int try_config(const struct daemon_options *o)
{
	struct err_list errs;
	struct model *m = NULL;

	err_list_init(&errs);
	int r = state_try(o->etc_dir, o->state_dir, &m, &errs);

	findings_print(stderr, &errs, m);
	if (r < 0)
		fprintf(stderr, "kvmesh-router: the configuration in %s is unusable: %zu errors\n",
			o->etc_dir, errs.n_errors);
	else if (o->print)
		config_doc_print(stdout, m);
	else
		fprintf(stderr,
			"kvmesh-router: the configuration in %s is valid: %zu files, %zu "
			"resources\n",
			o->etc_dir, m->sources.n, m->n_resources);
	err_list_done(&errs);
	model_free(m);
	return r < 0 ? DAEMON_EXIT_CONFIG : DAEMON_EXIT_OK;
}

static void on_reload(void *arg)
{
	server_load(arg, "SIGHUP");
}

static int serve(const struct daemon_options *o, struct state *s)
{
	struct err err = { 0 };
	int fd = daemon_listen(o, "router", "router.sock", &err);

	if (fd < 0) {
		log_err("%s", err.text);
		return DAEMON_EXIT_FAILED;
	}
	struct loop *l = loop_new();
	struct server *srv = server_new(l, o, s, fd);
	struct daemon_signals signals = { .loop = l, .reload = on_reload, .arg = srv };

	daemon_on_signals(&signals);
	sd_watchdog_start(l);
	sd_ready_fd(o->ready_fd);
	if (s->model)
		state_keep(s);
	loop_run(l);
	sd_stopping();
	server_free(srv);
	loop_free(l);
	return DAEMON_EXIT_OK;
}

/* The files, or what an earlier run kept of them; without either there is nothing to serve. */
static int load_first(struct state *s)
{
	if (state_load(s, "start", clock_real_us()) != STATE_REFUSED)
		return 0;
	findings_print(stderr, &s->last.findings, NULL);
	if (s->n_proxies == 0) {
		log_err("the configuration in %s is unusable and there is none from an earlier run",
			s->etc_dir);
		return -ENOENT;
	}
	log_err("the configuration in %s is unusable: generation %lld of an earlier run is served",
		s->etc_dir, (long long)s->generation);
	return 0;
}

int main(int argc, char **argv)
{
	struct daemon_options o;
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	daemon_init(&o);
	if (o.test || o.print)
		return try_config(&o);
	_cleanup_free_ char *dir = NULL;
	struct state s;
	struct err err = { 0 };
	int r = daemon_state_dir(&o, "router", &dir, &err);

	if (r == 0)
		r = state_open(o.etc_dir, o.state_dir, &s, &err);
	if (r < 0) {
		log_err("%s", err.text);
		return r == -ENOSPC ? DAEMON_EXIT_FAILED : DAEMON_EXIT_NOT_CONFIGURED;
	}
	code = load_first(&s) < 0 ? DAEMON_EXIT_NOT_CONFIGURED : serve(&o, &s);
	state_close(&s);
	return code;
}
