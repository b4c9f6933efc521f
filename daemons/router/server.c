/* SPDX-License-Identifier: Apache-2.0 */
/* server: the router's methods. Layer daemons/router. */
#include "config.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "config/load.h"
#include "io/sd.h"
#include "ipc/ipc.h"
#include "ipc/rights.h"
#include "router/config_doc.h"
#include "router/findings.h"
#include "router/prober.h"
#include "router/push.h"
#include "router/server.h"
#include "router/watchfs.h"
#include "router/wire.h"

#define WAIT_US (10u * 1000 * 1000)
#define HISTORY_DEFAULT 20
#define REFRESH_GAP_US (200u * 1000)       /* workloads that flap cost that often a compile */
#define REFRESH_KEEP_US (5u * 1000 * 1000)

struct server {
	struct loop *loop;
	struct state *state;
	bool standalone;
	struct ipc_server *ipc;
	struct push *push;
	struct prober *prober;
	struct watchfs *watchfs, *keys;         /* NULL: SIGHUP and Reload alone */
	struct loop_timer keep;         /* write to disk after the pushes have left */
	struct loop_timer refresh;      /* workloads came or went */
	uint64_t refreshed_us;
	struct list waiters;            /* struct waiter */
	uint64_t started_us;
};

struct waiter {                         /* a Reload that waits for the proxies */
	struct list node;
	struct server *server;
	struct ipc_call *call;
	struct loop_timer deadline;
};

static void set_time(struct arena *a, struct doc *d, const char *key, int64_t us)
{
	char text[CLOCK_RFC3339_MAX];

	doc_set_str(a, d, key, str_c(clock_rfc3339(us, text)));
}

/* ---- loading ------------------------------------------------------------------------------- */

static void say_ready(const struct server *s)
{
	const struct state *st = s->state;

	if (st->last.at_us > 0 && !st->last.ok)
		sd_ready("generation %lld in force, the files have %zu errors",
			 (long long)st->generation, st->last.findings.n_errors);
	else
		sd_ready("generation %lld, %zu resources, %zu proxies", (long long)st->generation,
			 st->model ? st->model->n_resources : 0, st->n_proxies);
}

static void on_keep(void *arg)
{
	const struct server *s = arg;

	state_keep(s->state);
	health_keep(s->state->health);
}

/* ---- health -------------------------------------------------------------------------------- */

static void on_refresh(void *arg)
{
	struct server *s = arg;

	s->refreshed_us = loop_now_us(s->loop);
	health_keep(s->state->health);
	if (!state_refresh(s->state))
		return;
	push_sync(s->push);
	if (!s->keep.armed)
		loop_timer_set(&s->keep, REFRESH_KEEP_US);
}

static void on_health(void *arg)
{
	struct server *s = arg;
	uint64_t next_us = s->refreshed_us + REFRESH_GAP_US, now_us = loop_now_us(s->loop);

	if (!s->refresh.armed)
		loop_timer_set(&s->refresh, now_us >= next_us ? 0 : next_us - now_us);
}

static void on_list(void *arg)
{
	struct server *s = arg;

	prober_sync(s->prober);
}

static void on_probes(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;

	(void)p;
	prober_watch(s->prober, call);
}

static void on_probed(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;

	prober_take(s->prober, call, p);
}

enum state_outcome server_load(struct server *s, const char *by)
{
	sd_reloading();
	enum state_outcome r = state_load(s->state, by, clock_real_us());

	if (r != STATE_REFUSED) {
		push_sync(s->push);
		loop_timer_set(&s->keep, 0);
	}
	say_ready(s);
	return r;
}

static void on_files(void *arg)
{
	server_load(arg, "file change");
}

/* The CA has others for its tokens. */
static void on_keys(void *arg)
{
	server_load(arg, "keys of tokens");
}

/* ---- proxies ------------------------------------------------------------------------------- */

/* A proxy gets its own snapshot and no other's; root and who runs the router may look at any. */
static bool may_act_for(const struct server *s, const struct ipc_call *call, struct str proxy)
{
	const struct sock_peer *peer = ipc_call_peer(call);

	if (peer->uid == 0 || peer->uid == geteuid())
		return true;
	if (s->standalone || !rights_is_user(peer->uid, RIGHTS_USER_PROXY))
		return false;
	struct str instance = rights_instance_of_unit(peer->unit);

	return instance.p && str_eq(instance, proxy);
}

static bool refuse_stranger(const struct server *s, struct ipc_call *call, struct str proxy)
{
	const struct sock_peer *peer = ipc_call_peer(call);

	if (may_act_for(s, call, proxy))
		return false;
	log_warn("ipc_refused: uid %u pid %d unit %s is not proxy %.*s", (unsigned)peer->uid,
		 (int)peer->pid, peer->unit[0] ? peer->unit : "-", STR_ARG(str_take(proxy, 64)));
	ipc_reply_error(call, IPC_E_NOT_PERMITTED,
			"the caller (user %u, unit %s) is not proxy %.*s", (unsigned)peer->uid,
			peer->unit[0] ? peer->unit : "-", STR_ARG(str_take(proxy, 64)));
	return true;
}

static void on_watch(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct str proxy = doc_get_str(p, "proxy", STR(""));

	if (!refuse_stranger(s, call, proxy))
		push_watch(s->push, call, proxy);
}

static void on_ack(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	const struct push_ack ack = {
		.proxy = doc_get_str(p, "proxy", STR("")),
		.error = doc_get_str(p, "error", STR("")),
		.software = doc_get_str(p, "software", STR("")),
		.version = doc_get_int(p, "version", 0),
		.pid = doc_get_int(p, "pid", ipc_call_peer(call)->pid),
	};

	if (refuse_stranger(s, call, ack.proxy))
		return;
	if (push_take_ack(s->push, &ack, clock_real_us()))
		ipc_reply(call, NULL);
	else
		ipc_reply_error(call, IPC_E_NOT_FOUND, "the configuration asks for no proxy %.*s",
				STR_ARG(str_take(ack.proxy, 64)));
}

static void on_identities(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;

	(void)p;
	push_watch_identities(s->push, call);
}

static void on_dump(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	struct str name = doc_get_str(p, "proxy", STR(""));
	const struct state_proxy *sp = state_proxy_find(s->state, name);
	struct arena *a = ipc_call_arena(call);

	if (!sp)
		ipc_reply_error(call, IPC_E_NOT_FOUND, "the configuration asks for no proxy %.*s",
				STR_ARG(str_take(name, 64)));
	else
		ipc_reply_json(call, arena_printf(a, "{\"version\":%lld,\"snapshot\":%s}",
						  (long long)sp->version, sp->snapshot));
}

/* ---- Reload -------------------------------------------------------------------------------- */

static struct doc *load_doc(const struct state *st, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	doc_set_int(a, d, "generation", st->generation);
	doc_set_bool(a, d, "ok", st->last.ok);
	doc_set_bool(a, d, "changed", st->last.changed);
	doc_set(a, d, "findings", findings_doc(&st->last.findings, a));
	return d;
}

static void waiter_free(struct waiter *w)
{
	loop_timer_done(&w->deadline);
	list_del(&w->node);
	free(w);
}

static void on_waiter_gone(void *arg, struct ipc_call *call)
{
	(void)call;
	waiter_free(arg);
}

static void on_wait_over(void *arg)
{
	struct waiter *w = arg;
	struct arena *a = ipc_call_arena(w->call);
	struct str who;

	if (push_progress(w->server->push, a, &who) == PUSH_DONE)
		ipc_reply(w->call, load_doc(w->server->state, a));
	else
		ipc_reply_error(w->call, IPC_E_FAILED,
				"generation %lld is in force, but after 10 s not with %.*s",
				(long long)w->server->state->generation, STR_ARG(who));
	waiter_free(w);
}

/* push's news: end the calls whose wait is over. */
static void on_settled(void *arg)
{
	struct server *s = arg;

	list_for_each_safe(it, &s->waiters) {
		struct waiter *w = list_entry(it, struct waiter, node);
		struct arena *a = ipc_call_arena(w->call);
		struct str who;
		enum push_progress progress = push_progress(s->push, a, &who);

		if (progress == PUSH_PENDING)
			continue;
		if (progress == PUSH_FAILED)
			ipc_reply_error(w->call, IPC_E_FAILED,
					"generation %lld is in force, but %.*s",
					(long long)s->state->generation, STR_ARG(who));
		else
			ipc_reply(w->call, load_doc(s->state, a));
		waiter_free(w);
	}
}

static void wait_for_proxies(struct server *s, struct ipc_call *call)
{
	struct waiter *w = kv_zalloc(sizeof(*w));

	*w = (struct waiter){ .server = s, .call = call };
	list_push_back(&s->waiters, &w->node);
	ipc_call_on_close(call, on_waiter_gone, w);
	loop_timer_init(&w->deadline, s->loop, on_wait_over, w);
	loop_timer_set(&w->deadline, WAIT_US);
	on_settled(s);
}

static void on_reload(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	char by[48];

	snprintf(by, sizeof(by), "reload uid %u", (unsigned)ipc_call_peer(call)->uid);
	enum state_outcome r = server_load(s, by);

	if (r != STATE_REFUSED && doc_get_bool(p, "wait", false))
		wait_for_proxies(s, call);
	else
		ipc_reply(call, load_doc(s->state, ipc_call_arena(call)));
}

/* ---- looking ------------------------------------------------------------------------------- */

static void on_status(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	const struct state *st = s->state;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a), *last = doc_new_map(a);

	(void)p;
	doc_set_str(a, d, "software", STR(PACKAGE_VERSION));
	doc_set_int(a, d, "pid", getpid());
	doc_set_int(a, d, "uptimeSeconds", (int64_t)((clock_mono_us() - s->started_us) / 1000000));
	doc_set_int(a, d, "generation", st->generation);
	set_time(a, d, "loadedAt", st->loaded_at_us);
	/*
	 * Without a model nothing of the present files is in force: it was kept from an earlier
	 * run.
	 */
	doc_set_bool(a, d, "kept", !st->model);
	doc_set_int(a, d, "files", st->model ? (int64_t)st->model->sources.n : 0);
	doc_set_int(a, d, "resources", st->model ? (int64_t)st->model->n_resources : 0);
	doc_set(a, d, "proxies", push_status(s->push, a));
	set_time(a, last, "at", st->last.at_us);
	doc_set_bool(a, last, "ok", st->last.ok);
	doc_set(a, last, "findings", findings_doc(&st->last.findings, a));
	doc_set(a, d, "lastReload", last);
	doc_set_bool(a, d, "probes", health_has_probes(st->health));
	doc_set_bool(a, d, "prober", prober_is_connected(s->prober));
	doc_set(a, d, "workloads", health_status(st->health, a));
	ipc_reply(call, d);
}

static void on_config(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);

	(void)p;
	if (!s->state->model) {
		ipc_reply_error(call, IPC_E_FAILED,
				"the files cannot be used; in force is generation %lld, kept from "
				"an earlier run",
				(long long)s->state->generation);
		return;
	}
	doc_set_int(a, d, "generation", s->state->generation);
	config_doc_add(s->state->model, a, d);
	ipc_reply(call, d);
}

static void on_wire(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);

	(void)p;
	if (!s->state->model) {
		ipc_reply_error(call, IPC_E_FAILED, "the files cannot be used");
		return;
	}
	doc_set_int(a, d, "generation", s->state->generation);
	wire_add(s->state->model, a, d);
	ipc_reply(call, d);
}

struct history {
	struct arena *a;
	struct doc *list;
};

static void add_history(void *arg, const struct store_load *l)
{
	struct history *h = arg;
	struct arena *a = h->a;
	struct doc *d = doc_add(a, h->list, doc_new_map(a)), *changed;
	struct err err;

	doc_set_int(a, d, "generation", l->generation);
	set_time(a, d, "at", l->at_us);
	doc_set_str(a, d, "by", l->by);
	doc_set_bool(a, d, "ok", l->ok);
	doc_set_str(a, d, "digest", l->digest);
	if (doc_read_json(l->changed, a, &changed, &err) < 0)
		changed = doc_new_list(a);
	doc_set(a, d, "changed", changed);
	if (l->error.n > 0)
		doc_set_str(a, d, "error", l->error);
}

static void on_history(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);
	struct history h = { .a = a, .list = doc_new_list(a) };
	int64_t limit = doc_get_int(p, "limit", HISTORY_DEFAULT);
	struct err err = { 0 };

	if (limit < 1) {
		ipc_reply_error(call, IPC_E_INVALID, "limit must be at least 1");
		return;
	}
	if (limit > STORE_HISTORY_MAX)
		limit = STORE_HISTORY_MAX;
	if (store_history(s->state->store, limit, add_history, &h, &err) < 0) {
		ipc_reply_error(call, IPC_E_FAILED, "%s", err.text);
		return;
	}
	doc_set(a, d, "entries", h.list);
	ipc_reply(call, d);
}

#define ALLOW_PROXY (IPC_ALLOW_ROOT | IPC_ALLOW_DAEMON)
/* Snapshots are not for the other daemons. */
#define ALLOW_PEOPLE (IPC_ALLOW_ROOT | IPC_ALLOW_ADMIN | IPC_ALLOW_VIEW)

static const struct ipc_method methods[] = {
	{ "Watch", ALLOW_PROXY, on_watch, "a proxy's snapshot, again whenever it changes" },
	{ "Ack", ALLOW_PROXY, on_ack, "a proxy took a snapshot, or says why not" },
	{ "Identities", ALLOW_PROXY, on_identities,
	  "the identities of this node, again whenever they change" },
	{ "Status", IPC_ALLOW_READ, on_status, "generation, proxies, last load" },
	{ "Reload", IPC_ALLOW_WRITE, on_reload, "load the files now" },
	{ "Config", IPC_ALLOW_READ, on_config, "settings and resources in force" },
	{ "Dump", ALLOW_PEOPLE, on_dump, "a proxy's snapshot" },
	{ "History", IPC_ALLOW_READ, on_history, "loads, newest first" },
	{ "Wire", IPC_ALLOW_ANY, on_wire, "where no plain byte may be seen on this node" },
	{ "Probes", IPC_ALLOW_ANY, on_probes, "what kvmesh-probe is to probe, again on changes" },
	{ "Probed", IPC_ALLOW_ANY, on_probed, "the result of one probe" },
	{ NULL },
};

/* Under kvmeshctl run there are no units, unless a bus is named. */
static void start_health(struct server *s, const struct daemon_options *o)
{
	const struct health_watch w = { .changed = on_health, .listed = on_list, .arg = s };
	_cleanup_free_ char *flag = kv_asprintf("%s/router/probes", o->run_dir);

	s->prober = prober_new(s->state->health, s->standalone ? NULL : flag);
	health_start(s->state->health, s->loop,
		     !s->standalone || getenv("DBUS_SYSTEM_BUS_ADDRESS"), &w);
}

struct server *server_new(struct loop *l, const struct daemon_options *o, struct state *st,
			  int listen_fd)
{
	struct server *s = kv_zalloc(sizeof(*s));
	struct err err = { 0 };

	*s = (struct server){ .loop = l,
			      .state = st,
			      .standalone = o->standalone,
			      .started_us = clock_mono_us() };
	list_init(&s->waiters);
	loop_timer_init(&s->keep, l, on_keep, s);
	loop_timer_init(&s->refresh, l, on_refresh, s);
	start_health(s, o);
	s->push = push_new(st, on_settled, s);
	s->ipc = ipc_server_new(l, listen_fd, methods, s);
	if (watchfs_new(l, o->etc_dir, load_is_leftover, on_files, s, &s->watchfs, &err) < 0 ||
	    watchfs_new(l, st->keys_dir, load_is_leftover, on_keys, s, &s->keys, &err) < 0)
		log_warn("%s; changes are loaded on SIGHUP and on kvmeshctl config reload only",
			 err.text);
	say_ready(s);
	return s;
}

void server_free(struct server *s)
{
	watchfs_free(s->watchfs);
	watchfs_free(s->keys);
	ipc_server_free(s->ipc);
	push_free(s->push);
	prober_free(s->prober);
	health_stop(s->state->health);
	loop_timer_done(&s->keep);
	loop_timer_done(&s->refresh);
	free(s);
}
