/* SPDX-License-Identifier: Apache-2.0 */
/* upgrade: see upgrade.h. Layer proxy, control thread. */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/handover.h"
#include "proxy/upgrade.h"

struct upgrade {
	struct loop *loop;
	struct worker_set *workers;
	struct control *control;
	char program[PATH_MAX];         /* as it was when this process began; its file may be another by now */
	char *const *argv;
	void (*over)(void *arg);
	void *arg;
	struct handover *handover;      /* one is under way, or was the last */
	struct ipc_call *call;          /* that waits for it */
	bool given;                     /* this is not the main process any more */
	struct heir *heir;              /* NULL: nobody was here before */
	bool predecessor_gone;
	struct worker_drained last;      /* of the predecessor */
};

/* ---- the process that goes ------------------------------------------------------------------- */

static void on_caller_gone(void *arg, struct ipc_call *call)
{
	struct upgrade *u = arg;

	(void)call;
	u->call = NULL;
}

static void on_drained(void *arg)
{
	struct upgrade *u = arg;
	struct worker_drained d = worker_drained(u->workers);

	handover_finish(u->handover, &d);
	u->over(u->arg);
}

static void on_given(void *arg, pid_t pid)
{
	struct upgrade *u = arg;

	u->given = true;
	log_info("upgrade: %d has taken over, draining", (int)pid);
	if (u->call) {
		struct doc *d = doc_new_map(ipc_call_arena(u->call));

		doc_set_int(ipc_call_arena(u->call), d, "pid", pid);
		ipc_reply(u->call, d);
		u->call = NULL;
	}
	control_leave(u->control);
	control_stopping(u->control);
	worker_succeed(u->workers);
	worker_drain(u->workers, 0, u->loop, on_drained, u);
}

static void reply_failed(struct upgrade *u, const char *why)
{
	log_err("upgrade: %s", why);
	if (u->call)
		ipc_reply_error(u->call, IPC_E_FAILED, "%s", why);
	u->call = NULL;
}

static void on_failed(void *arg, const char *why)
{
	struct upgrade *u = arg;

	reply_failed(u, why);
}

/* Nobody serves new connections: the service manager has to start somebody, and does when this process is gone. */
static void on_lost(void *arg)
{
	struct upgrade *u = arg;

	log_err("upgrade: the process that took over is dead");
	u->over(u->arg);
}

static bool is_under_way(const struct upgrade *u)
{
	return u->handover && handover_is_under_way(u->handover);
}

void upgrade_begin(struct upgrade *u, struct ipc_call *call)
{
	const struct handover_give give = {
		.loop = u->loop, .program = u->program, .argv = u->argv, .doors = worker_doors(u->workers),
		.control_fd = control_socket(u->control), .done = on_given, .failed = on_failed, .lost = on_lost, .arg = u,
	};
	struct err err = { 0 };

	if (is_under_way(u) || u->given || (u->heir && !u->predecessor_gone)) {
		if (call)
			ipc_reply_error(call, IPC_E_BUSY, "an upgrade is under way");
		return;
	}
	handover_free(u->handover);
	u->handover = NULL;
	u->call = call;
	if (call)
		ipc_call_on_close(call, on_caller_gone, u);
	if (handover_start(&give, &u->handover, &err) < 0)
		reply_failed(u, err.text);
	else
		log_info("upgrade: %s is started, it takes over when it is ready", u->program);
}

bool upgrade_cancel(struct upgrade *u)
{
	if (u->given)
		return false;
	handover_free(u->handover);
	u->handover = NULL;
	if (u->call)
		reply_failed(u, "this process is told to end");
	return true;
}

/* ---- the process that came ------------------------------------------------------------------- */

static void on_main(void *arg)
{
	struct upgrade *u = arg;

	log_info("upgrade: in the place of %d now", (int)heir_predecessor(u->heir));
	control_take_over(u->control);
}

static void on_predecessor_gone(void *arg, const struct worker_drained *last)
{
	struct upgrade *u = arg;

	u->last = *last;
	u->predecessor_gone = true;
	if (!heir_is_main(u->heir)) {
		log_err("upgrade: the process before this one has ended and has not given its place");
		u->over(u->arg);
	}
}

void upgrade_ready(struct upgrade *u)
{
	if (u->heir)
		heir_ready(u->heir, on_main, on_predecessor_gone, u);
}

void upgrade_status(const struct upgrade *u, struct arena *a, struct doc *status)
{
	if (!u->heir)
		return;
	struct doc *d = doc_set(a, status, "predecessor", doc_new_map(a));

	doc_set_int(a, d, "pid", heir_predecessor(u->heir));
	doc_set_bool(a, d, "ended", u->predecessor_gone);
	if (!u->predecessor_gone)
		return;
	doc_set_int(a, d, "drained", u->last.ended);
	doc_set_int(a, d, "cut", u->last.cut);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void find_program(struct upgrade *u)
{
	ssize_t n = readlink("/proc/self/exe", u->program, sizeof(u->program) - 1);

	if (n > 0)
		u->program[n] = '\0';
	else
		snprintf(u->program, sizeof(u->program), "%s/kvmesh-proxy", SBINDIR);
}

int upgrade_new(struct loop *l, struct worker_set *ws, char *const *argv, void (*over)(void *arg), void *arg,
		struct upgrade **ret, int *ret_socket_fd, struct err *err)
{
	struct upgrade *u = kv_zalloc(sizeof(*u));

	*u = (struct upgrade){ .loop = l, .workers = ws, .argv = argv, .over = over, .arg = arg };
	find_program(u);
	int r = heir_new(l, worker_doors(ws), &u->heir, ret_socket_fd, err);

	if (r < 0) {
		free(u);
		return r;
	}
	*ret = u;
	return 0;
}

void upgrade_use_control(struct upgrade *u, struct control *c)
{
	u->control = c;
	control_use_upgrade(c, u);
}

void upgrade_free(struct upgrade *u)
{
	handover_free(u->handover);
	heir_free(u->heir);
	free(u);
}
