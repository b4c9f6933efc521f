/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade: the installed programs take the place of the running ones. What carries no traffic is restarted, each proxy
 * starts its successor itself (proxy/handover.h). Layer daemons/ctl.
 */
#include "config.h"

#include <time.h>

#include "base/clock.h"
#include "ctl/live.h"
#include "ctl/print.h"
#include "ctl/systemctl.h"

#define READY_MS (70 * 1000)            /* longer than a proxy waits for its successor */
#define POLL_MS 200
#define DRAIN_SLACK_US (300ll * 1000000) /* a drain that was set to be longer is not waited for */

static const struct print_column columns[] = {
	{ .head = "PROXY", .key = "proxy" },
	{ .head = "FROM", .key = "from" },
	{ .head = "TO", .key = "to" },
	{ .head = "DRAINED", .key = "drained", .right = true },
	{ .head = "DROPPED", .key = "dropped", .right = true },
	{ .head = "PID", .key = "pid", .right = true, .wide = true },
	{ NULL },
};

struct upgraded {
	const char *sock;
	struct doc *row;
	int64_t from;                   /* pid of the process that went; 0: none did */
	bool ended;
};

/* They carry no traffic, and the successors need them. */
static int restart_others(struct ctl *c)
{
	static const char *const words[] = { "try-restart", "kvmesh-router.service", "kvmesh-ca.service", "kvmesh-metrics.service",
					     "kvmesh-probe.service", "kvmesh-witness.service", "kvmesh-certs@*.service", NULL };

	if (!systemctl_is_here(c) || systemctl_run(words))
		return CTL_EXIT_OK;
	return ctl_fail(CTL_EXIT_NO, "a daemon did not come back: 'systemctl status kvmesh-*' tells why");
}

static int status_of(struct ctl *c, const char *sock, struct doc **ret, struct err *err)
{
	return ctl_call(c, sock, "Status", NULL, ret, err);
}

/* A proxy of a version that knows no better. */
static int restart(struct ctl *c, const char *name)
{
	const char *unit = live_unit(c, name).p;
	const char *const words[] = { "try-restart", unit, NULL };

	if (systemctl_is_here(c) && systemctl_run(words))
		return CTL_EXIT_OK;
	return ctl_fail(CTL_EXIT_NO, "kvmesh-proxy@%s is of a version that starts no successor: restart it", name);
}

/* One proxy: who served, who serves. */
static int upgrade_one(struct ctl *c, struct upgraded *u, const char *name, struct doc *rows)
{
	struct arena *a = &c->arena;
	struct err err = { 0 };
	struct doc *before, *reply, *after;
	int usual_ms = c->timeout_ms;

	int r = status_of(c, u->sock, &before, &err);

	if (r < 0 && ctl_is_unanswered(&err)) {
		ctl_note(c, "kvmesh-proxy@%s does not run", name);
		return CTL_EXIT_OK;
	}
	if (r == 0) {
		c->timeout_ms = usual_ms > READY_MS ? usual_ms : READY_MS;
		r = ctl_call(c, u->sock, "Upgrade", NULL, &reply, &err);
		c->timeout_ms = usual_ms;
	}
	if (r == KV_ERR_PROTOCOL)
		return restart(c, name);
	if (r == 0)
		r = status_of(c, u->sock, &after, &err);
	if (r < 0)
		return ctl_fail(r == KV_ERR_LIMIT || r == KV_ERR_TIMEOUT ? CTL_EXIT_TIMEOUT : CTL_EXIT_NO, "kvmesh-proxy@%s: %s", name,
				err.text);
	u->from = doc_get_int(before, "pid", 0);
	u->row = doc_add(a, rows, doc_new_map(a));
	doc_set_str(a, u->row, "proxy", str_c(name));
	doc_set_str(a, u->row, "from", doc_get_str(before, "software", STR("-")));
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): r is 0 only when both answers are there */
	doc_set_str(a, u->row, "to", doc_get_str(after, "software", STR("-")));
	doc_set_int(a, u->row, "pid", doc_get_int(after, "pid", 0));
	return CTL_EXIT_OK;
}

/* Has the process before it ended? True too when nobody can tell any more. */
static bool look(struct ctl *c, struct upgraded *u)
{
	struct err err = { 0 };
	struct doc *st;

	if (u->from == 0 || status_of(c, u->sock, &st, &err) < 0)
		return true;
	/* cppcheck-suppress legacyUninitvar; takes the .p of STR() for it */
	const struct doc *p = doc_get(st, STR("predecessor"));

	if (doc_get_int(p, "pid", 0) != u->from)
		return true;
	if (!doc_get_bool(p, "ended", false))
		return false;
	doc_set_int(&c->arena, u->row, "drained", doc_get_int(p, "drained", 0));
	doc_set_int(&c->arena, u->row, "dropped", doc_get_int(p, "cut", 0));
	return true;
}

static void wait_for_drains(struct ctl *c, struct upgraded *v, size_t n)
{
	int64_t end = (int64_t)clock_mono_us() + DRAIN_SLACK_US;
	bool all;

	do {
		all = true;
		for (size_t i = 0; i < n; i++) {
			v[i].ended = v[i].ended || look(c, &v[i]);
			all = all && v[i].ended;
		}
		if (!all)
			nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000L * 1000 }, NULL);
	} while (!all && (int64_t)clock_mono_us() < end);
}

int cmd_upgrade(struct ctl *c)
{
	struct doc *rows = doc_new_list(&c->arena);
	const char **names;
	size_t n;
	int code = restart_others(c);

	ctl_proxies(c, &names, &n);
	struct upgraded *v = arena_new_n(&c->arena, struct upgraded, n + 1);

	for (size_t i = 0; i < n; i++) {
		v[i] = (struct upgraded){ .sock = ctl_sock(c, "proxy", names[i]) };
		int one = upgrade_one(c, &v[i], names[i], rows);

		code = one != CTL_EXIT_OK ? one : code;
	}
	if (!ctl_has(c, "no-wait"))
		wait_for_drains(c, v, n);
	print_list(c, rows, columns, "proxies");
	return code;
}
