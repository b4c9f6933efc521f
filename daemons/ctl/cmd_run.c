/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run: the whole suite in the foreground, without systemd: try-outs, containers, tests.
 * Layer daemons/ctl; owns the children (child.h) and their run and state directories.
 * The router says which proxy instances the configuration asks for; a tick asks it, starts what is
 * missing and, until the first time everything works, asks every child how far it is.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/vec.h"
#include "ctl/child.h"
#include "ctl/findings.h"
#include "ctl/notify.h"
#include "io/sd.h"
#include "ipc/daemon.h"

#define RUN_TICK_STARTING_US (20u * 1000)
#define RUN_TICK_STEADY_US (500u * 1000)
#define RUN_STOP_US (10u * 1000 * 1000) /* drain, then SIGKILL */
#define RUN_START_DEATHS 8              /* of one child before the first ready: give up */
#define RUN_CHILDREN_MAX 64

struct run {
	struct ctl *c;
	struct loop *loop;
	struct child *v[RUN_CHILDREN_MAX];
	size_t n;
	struct ipc_client *router_client;
	bool asking_router, router_answered;
	struct notify *notify;
	struct loop_timer tick, stop_deadline;
	bool ready, stopping;
	bool no_prober;                 /* it could not be found: told once */
	int ready_fd;
	int exit_code;
};

static struct child *add_child(struct run *r, enum child_kind kind, const char *instance)
{
	struct child *ch;
	struct err err;

	if (r->n == RUN_CHILDREN_MAX) {
		log_err("more than %d daemons are not supported here", RUN_CHILDREN_MAX);
		return NULL;
	}
	if (child_new(r->c, r->loop, kind, instance, &ch, &err) < 0) {
		log_err("%s", err.text);
		return NULL;
	}
	r->v[r->n++] = ch;
	if (r->ready)
		child_stop_asking(ch);
	child_start(ch);
	return ch;
}

static size_t running(const struct run *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->v[i]->pid > 0;
	return n;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void stop(struct run *r, int exit_code)
{
	if (r->stopping)
		return;
	r->stopping = true;
	r->exit_code = exit_code;
	sd_stopping();
	loop_timer_stop(&r->tick);
	for (size_t i = 0; i < r->n; i++) {
		loop_timer_stop(&r->v[i]->restart);
		child_kill(r->v[i], SIGTERM);
	}
	loop_timer_set(&r->stop_deadline, RUN_STOP_US);
	if (running(r) == 0)
		loop_stop(r->loop);
}

static void kill_all(void *arg)
{
	struct run *r = arg;

	for (size_t i = 0; i < r->n; i++)
		if (r->v[i]->pid > 0) {
			log_warn("%s does not end, killing it", r->v[i]->name);
			child_kill(r->v[i], SIGKILL);
		}
}

static void on_end_signal(void *arg, int signo)
{
	struct run *r = arg;

	(void)signo;
	if (r->stopping)
		kill_all(r);
	else
		stop(r, CTL_EXIT_OK);
}

/* The router reads the files; proxies read replaced certificates and open their log again. */
static void on_hangup(void *arg, int signo)
{
	struct run *r = arg;

	for (size_t i = 0; i < r->n; i++)
		child_kill(r->v[i], signo);
}

/* ---- deaths ---------------------------------------------------------------------------------- */

/* Before the first "ready" a child that refuses to work ends the whole: nobody is served yet. */
static bool is_hopeless(const struct run *r, const struct child *ch, int st, int *ret_code)
{
	if (r->ready)
		return false;
	if (WIFEXITED(st) && (WEXITSTATUS(st) == DAEMON_EXIT_NOT_CONFIGURED ||
			      WEXITSTATUS(st) == DAEMON_EXIT_CONFIG)) {
		*ret_code = CTL_EXIT_CONFIG;
		return true;
	}
	*ret_code = CTL_EXIT_NO;
	return ch->deaths + 1 >= RUN_START_DEATHS ||
	       (WIFEXITED(st) && (WEXITSTATUS(st) == CTL_EXIT_USAGE || WEXITSTATUS(st) == 127));
}

static void on_death(struct run *r, struct child *ch, int st)
{
	bool again = ch->wanted && !r->stopping;
	int code = CTL_EXIT_NO;
	bool hopeless = again && is_hopeless(r, ch, st, &code);

	child_died(ch, st, again && !hopeless);
	if (!hopeless)
		return;
	log_err("%s does not start, giving up", ch->name);
	stop(r, code);
}

static void on_child(void *arg, int signo)
{
	struct run *r = arg;
	int st;
	pid_t pid;

	(void)signo;
	while ((pid = waitpid(-1, &st, WNOHANG)) > 0)
		for (size_t i = 0; i < r->n; i++)
			if (r->v[i]->pid == pid)
				on_death(r, r->v[i], st);
	if (r->stopping && running(r) == 0)
		loop_stop(r->loop);
}

/* A proxy that was upgraded while it runs. The old one is nobody's child of ours from now on, and ends by itself. */
static void on_main_pid(void *arg, pid_t from, pid_t pid)
{
	struct run *r = arg;

	for (size_t i = 0; i < r->n; i++)
		if (r->v[i]->pid == from)
			child_succeeded(r->v[i], pid);
}

/* ---- which proxies, and are they there yet --------------------------------------------------- */

static struct child *find_proxy(struct run *r, struct str instance)
{
	for (size_t i = 0; i < r->n; i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the first n are children */
		if (r->v[i]->kind == CHILD_KIND_PROXY && str_eq(str_c(r->v[i]->instance), instance))
			return r->v[i];
	return NULL;
}

/* A gateway that the configuration dropped drains and is not started again. */
static void want(struct child *ch, bool wanted)
{
	if (ch->wanted == wanted)
		return;
	ch->wanted = wanted;
	log_info("%s is %s", ch->name, wanted ? "wanted again" : "no longer in the configuration");
	if (!wanted) {
		loop_timer_stop(&ch->restart);
		child_kill(ch, SIGTERM);
	} else if (ch->pid == 0) {
		child_start(ch);
	}
}

static void settle_proxies(struct run *r, const struct doc *proxies)
{
	bool seen[RUN_CHILDREN_MAX] = { false };

	for (size_t i = 0; i < proxies->n; i++) {
		struct str name = doc_get_str(proxies->v[i], "name", STR(""));
		struct child *ch = find_proxy(r, name);

		if (!ch)
			ch = add_child(r, CHILD_KIND_PROXY, arena_str(&r->c->arena, name).p);
		if (!ch)
			continue;
		ch->synced = str_eq(doc_get_str(proxies->v[i], "state", STR("")), STR("SYNCED"));
		for (size_t k = 0; k < r->n; k++)
			seen[k] = seen[k] || r->v[k] == ch;
	}
	for (size_t k = 0; k < r->n; k++)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as above */
		if (r->v[k]->kind == CHILD_KIND_PROXY)
			want(r->v[k], seen[k]);
}

/* There while the configuration has probes. */
static void settle_prober(struct run *r, bool wanted)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i]->kind == CHILD_KIND_PROBE) {
			want(r->v[i], wanted);
			return;
		}
	if (wanted && !r->no_prober)
		r->no_prober = !add_child(r, CHILD_KIND_PROBE, NULL);
}

static void on_router_status(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct run *r = arg;
	const struct doc *proxies = error_name ? NULL : doc_get(p, STR("proxies"));

	(void)continues;
	r->asking_router = false;
	/* Generation 0: the router has not loaded anything yet. */
	if (r->stopping || !proxies || proxies->kind != DOC_LIST ||
	    doc_get_int(p, "generation", 0) <= 0)
		return;
	r->router_answered = true;
	settle_proxies(r, proxies);
	settle_prober(r, doc_get_bool(p, "probes", false));
}

static bool is_complete(const struct run *r)
{
	if (!r->router_answered)
		return false;
	for (size_t i = 0; i < r->n; i++) {
		const struct child *ch = r->v[i];

		if (!ch->wanted || ch->kind == CHILD_KIND_PROBE)
			continue;
		if (!ch->ready || (ch->kind == CHILD_KIND_PROXY && !ch->synced))
			return false;
	}
	return true;
}

static void announce(struct run *r)
{
	r->ready = true;
	for (size_t i = 0; i < r->n; i++)
		child_stop_asking(r->v[i]);
	fputs("kvmesh: ready\n", stdout);
	fflush(stdout);
	if (r->ready_fd >= 0) {
		if (write(r->ready_fd, "ready\n", 6) != 6)
			log_warn("cannot write to --ready-fd: %s", strerror(errno));
		close(r->ready_fd);
		r->ready_fd = -1;
	}
	sd_ready("all daemons serve");
}

static void on_tick(void *arg)
{
	struct run *r = arg;

	if (!r->ready && is_complete(r))
		announce(r);
	if (!r->asking_router && ipc_client_is_connected(r->router_client)) {
		r->asking_router = true;
		ipc_client_call(r->router_client, "Status", NULL, false, on_router_status, r);
	}
	for (size_t i = 0; i < r->n && !r->ready; i++)
		child_ask(r->v[i]);
	loop_timer_set(&r->tick, r->ready ? RUN_TICK_STEADY_US : RUN_TICK_STARTING_US);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static int make_dirs(struct ctl *c)
{
	static const char *const subs[] = { "router", "ca", "proxy", "metrics" };
	struct err err;

	for (size_t i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
		if (fs_mkdir(arena_printf(&c->arena, "%s/%s", c->run, subs[i]).p, 0755, &err) < 0 ||
		    fs_mkdir(arena_printf(&c->arena, "%s/%s", c->state, subs[i]).p, 0700,
			     &err) < 0) {
			if (err.code == -EACCES || err.code == -EPERM)
				ctl_note(c, "as an ordinary user give --run DIR and --state DIR");
			return ctl_fail_err(&err);
		}
	}
	const char *longest = ctl_sock(c, "metrics", "metrics");

	if (strlen(longest) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return ctl_fail(CTL_EXIT_USAGE, "%s is too long for the path of a socket", longest);
	return 0;
}

/* Two suites on one run directory would take each other's sockets. Held until we end. */
static int lock_run_dir(struct ctl *c)
{
	const char *path = arena_printf(&c->arena, "%s/run.pid", c->run).p;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char pid[32];

	if (fd < 0)
		return ctl_fail(CTL_EXIT_NO, "cannot open %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return ctl_fail(CTL_EXIT_NO, "another 'kvmeshctl run' uses %s", c->run);
	}
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) != 0 || write(fd, pid, (size_t)n) != n)
		log_warn("cannot write %s: %s", path, strerror(errno));
	return 0;
}

/* What the router would refuse is told before anything is started. */
static int health_config(struct ctl *c)
{
	struct err_list errs;
	struct model *m;
	int code = CTL_EXIT_OK;

	err_list_init(&errs);
	findings_load_dir(c, true, &m, &errs);
	findings_print(&errs, m, ERR_LEVEL_WARNING);
	if (errs.n_errors > 0)
		code = ctl_fail(CTL_EXIT_CONFIG, "the configuration in %s is unusable", c->etc);
	err_list_done(&errs);
	model_free(m);
	c->model = NULL;
	return code;
}

static int take_ready_fd(struct ctl *c, int *ret)
{
	const char *text = ctl_value(c, "ready-fd", NULL);
	uint64_t fd;

	*ret = -1;
	if (!text)
		return 0;
	if (!str_to_u64(str_c(text), &fd) || fd > 1 << 20 ||
	    fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
		return ctl_fail(CTL_EXIT_USAGE, "--ready-fd %s: not an open descriptor", text);
	*ret = (int)fd;
	return 0;
}

static bool start_children(struct run *r)
{
	return add_child(r, CHILD_KIND_ROUTER, NULL) && add_child(r, CHILD_KIND_CA, NULL) &&
	       add_child(r, CHILD_KIND_METRICS, NULL) && add_child(r, CHILD_KIND_PROXY, "node");
}

/* Who takes a proxy's place is that proxy's child, and ours when that one has ended. */
static bool start_notify(struct run *r)
{
	struct err err = { 0 };

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 &&
	    notify_new(r->loop, child_notify_path(r->c), on_main_pid, r, &r->notify, &err) == 0)
		return true;
	log_err("%s", err.code < 0 ? err.text : "this kernel has no subreapers");
	return false;
}

static void run_loop(struct run *r)
{
	r->loop = loop_new();
	loop_timer_init(&r->tick, r->loop, on_tick, r);
	loop_timer_init(&r->stop_deadline, r->loop, kill_all, r);
	loop_on_signal(r->loop, SIGTERM, on_end_signal, r);
	loop_on_signal(r->loop, SIGINT, on_end_signal, r);
	loop_on_signal(r->loop, SIGHUP, on_hangup, r);
	loop_on_signal(r->loop, SIGCHLD, on_child, r);
	r->router_client = ipc_client_new(r->loop, ctl_sock(r->c, "router", "router"));
	if (start_notify(r) && start_children(r))
		loop_timer_set(&r->tick, RUN_TICK_STARTING_US);
	else
		stop(r, CTL_EXIT_NO);
	loop_run(r->loop);
	for (size_t i = 0; i < r->n; i++)
		child_free(r->v[i]);
	ipc_client_free(r->router_client);
	notify_free(r->notify);
	loop_timer_done(&r->tick);
	loop_timer_done(&r->stop_deadline);
	loop_free(r->loop);
}

int cmd_run(struct ctl *c)
{
	struct run r = { .c = c };
	int code;

	if ((code = take_ready_fd(c, &r.ready_fd)) != 0)
		return code;
	log_init("kvmeshctl");
	if (c->verbose)
		log_set_level(LOG_DEBUG);
	if ((code = health_config(c)) != 0 || (code = make_dirs(c)) != 0 ||
	    (code = lock_run_dir(c)) != 0)
		return code;
	signal(SIGPIPE, SIG_IGN);
	run_loop(&r);
	return r.exit_code;
}
