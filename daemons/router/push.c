/* SPDX-License-Identifier: Apache-2.0 */
/* push: see push.h. Layer daemons/router. */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "router/push.h"

struct push {
	const struct state *state;
	void (*settled)(void *arg);
	void *arg;
	struct list proxies;            /* struct proxy, in the order of the state */
	struct list identity_watchers;  /* struct watcher */
};

struct proxy {
	struct list node;
	struct push *push;
	char *name;
	struct list watchers;           /* struct watcher */
	int64_t acked_version;          /* by the present process; 0 none */
	int64_t acked_at_us, pid;
	char software[64];
	char error[512];                /* why it refused acked_version; "" it did not */
	bool kept;                      /* found in the state, while push_sync looks */
};

struct watcher {
	struct list node;
	struct push *push;
	struct proxy *proxy;            /* NULL: watches identities */
	struct ipc_call *call;
	int64_t sent;                   /* version or generation; 0 nothing yet */
};

static struct proxy *find(const struct push *p, struct str name)
{
	list_for_each(it, &p->proxies) {
		struct proxy *x = list_entry(it, struct proxy, node);

		if (str_eq(str_c(x->name), name))
			return x;
	}
	return NULL;
}

static const struct state_proxy *present(const struct proxy *x)
{
	return state_proxy_find(x->push->state, str_c(x->name));
}

/* ---- sending ------------------------------------------------------------------------------- */

/* Spliced, not parsed: a snapshot is finished JSON. */
static void send_snapshot(struct watcher *w)
{
	const struct state_proxy *sp = present(w->proxy);
	struct arena a;

	if (!sp || sp->version == w->sent)
		return;
	arena_init(&a, sp->snapshot_bytes + 128);
	struct str json = arena_printf(&a, "{\"version\":%lld,\"snapshot\":%s}",
				       (long long)sp->version, sp->snapshot);

	if (ipc_stream_json(w->call, json))
		w->sent = sp->version;
	arena_done(&a);
}

static void send_identities(struct watcher *w)
{
	const struct state *s = w->push->state;

	if (!s->identities || s->identities_generation == w->sent)
		return;
	if (ipc_stream_json(w->call, str_c(s->identities)))
		w->sent = s->identities_generation;
}

static void send_newest(struct watcher *w)
{
	if (w->proxy)
		send_snapshot(w);
	else
		send_identities(w);
}

static void on_writable(void *arg, struct ipc_call *call)
{
	(void)call;
	send_newest(arg);
}

static void on_gone(void *arg, struct ipc_call *call)
{
	struct watcher *w = arg;
	struct push *p = w->push;

	(void)call;
	list_del(&w->node);
	free(w);
	p->settled(p->arg);
}

static void watch(struct push *p, struct proxy *x, struct list *to, struct ipc_call *call)
{
	struct watcher *w = kv_zalloc(sizeof(*w));

	*w = (struct watcher){ .push = p, .proxy = x, .call = call };
	list_push_back(to, &w->node);
	ipc_call_on_close(call, on_gone, w);
	ipc_call_on_writable(call, on_writable, w);
	send_newest(w);
}

void push_watch(struct push *p, struct ipc_call *call, struct str proxy)
{
	struct proxy *x = find(p, proxy);

	if (!x) {
		ipc_reply_error(call, IPC_E_NOT_FOUND, "the configuration asks for no proxy %.*s",
				STR_ARG(str_take(proxy, 64)));
		return;
	}
	/* A new process: what the one before it had taken says nothing about it. */
	x->acked_version = 0;
	x->error[0] = '\0';
	watch(p, x, &x->watchers, call);
}

void push_watch_identities(struct push *p, struct ipc_call *call)
{
	watch(p, NULL, &p->identity_watchers, call);
}

/* ---- proxies come and go ------------------------------------------------------------------- */

static void dismiss(struct proxy *x)
{
	list_for_each_safe(it, &x->watchers) {
		struct watcher *w = list_entry(it, struct watcher, node);

		ipc_call_on_close(w->call, NULL, NULL);
		ipc_reply_error(w->call, IPC_E_NOT_FOUND,
				"the configuration no longer asks for proxy %s", x->name);
		list_del(&w->node);
		free(w);
	}
}

static void proxy_free(struct proxy *x)
{
	list_del(&x->node);
	free(x->name);
	free(x);
}

static struct proxy *proxy_new(struct push *p, const char *name)
{
	struct proxy *x = kv_zalloc(sizeof(*x));

	x->push = p;
	x->name = kv_strdup(name);
	list_init(&x->node);
	list_init(&x->watchers);
	return x;
}

static void follow_state(struct push *p)
{
	const struct state *s = p->state;

	list_for_each(it, &p->proxies)
		list_entry(it, struct proxy, node)->kept = false;
	for (size_t i = 0; i < s->n_proxies; i++) {
		struct proxy *x = find(p, str_c(s->proxies[i].name));

		if (!x)
			x = proxy_new(p, s->proxies[i].name);
		x->kept = true;
		list_del(&x->node);
		list_push_back(&p->proxies, &x->node);
	}
	list_for_each_safe(it, &p->proxies) {
		struct proxy *x = list_entry(it, struct proxy, node);

		if (x->kept)
			continue;
		dismiss(x);
		proxy_free(x);
	}
}

void push_sync(struct push *p)
{
	follow_state(p);
	list_for_each(it, &p->proxies) {
		struct proxy *x = list_entry(it, struct proxy, node);

		list_for_each(wit, &x->watchers)
			send_newest(list_entry(wit, struct watcher, node));
	}
	list_for_each(it, &p->identity_watchers)
		send_newest(list_entry(it, struct watcher, node));
}

struct push *push_new(const struct state *s, void (*settled)(void *arg), void *arg)
{
	struct push *p = kv_zalloc(sizeof(*p));

	*p = (struct push){ .state = s, .settled = settled, .arg = arg };
	list_init(&p->proxies);
	list_init(&p->identity_watchers);
	follow_state(p);
	return p;
}

/* Calls are ended by their server, which is freed first. */
void push_free(struct push *p)
{
	list_for_each_safe(it, &p->proxies)
		proxy_free(list_entry(it, struct proxy, node));
	free(p);
}

/* ---- acknowledgements ---------------------------------------------------------------------- */

static void copy_text(char *to, size_t n, struct str s)
{
	snprintf(to, n, "%.*s", STR_ARG(str_take(s, n)));
}

bool push_take_ack(struct push *p, const struct push_ack *ack, int64_t now_us)
{
	struct proxy *x = find(p, ack->proxy);

	if (!x)
		return false;
	x->acked_version = ack->version;
	x->acked_at_us = now_us;
	x->pid = ack->pid;
	copy_text(x->software, sizeof(x->software), ack->software);
	copy_text(x->error, sizeof(x->error), ack->error);
	if (x->error[0])
		log_err("proxy %s refuses version %lld: %s", x->name, (long long)ack->version,
			x->error);
	p->settled(p->arg);
	return true;
}

static enum push_progress progress_of(const struct proxy *x)
{
	const struct state_proxy *sp = present(x);

	if (!sp || list_is_empty(&x->watchers))
		return PUSH_DONE;
	if (x->acked_version < sp->version)
		return PUSH_PENDING;
	return x->error[0] ? PUSH_FAILED : PUSH_DONE;
}

enum push_progress push_progress(const struct push *p, struct arena *a, struct str *ret_who)
{
	struct str waiting = STR("");

	list_for_each(it, &p->proxies) {
		const struct proxy *x = list_entry(it, struct proxy, node);
		enum push_progress one = progress_of(x);

		if (one == PUSH_FAILED) {
			*ret_who = arena_printf(a, "proxy %s refuses it: %s", x->name, x->error);
			return PUSH_FAILED;
		}
		if (one == PUSH_PENDING)
			waiting = arena_printf(a, "%.*s%s%s", STR_ARG(waiting),
					       waiting.n > 0 ? ", " : "", x->name);
	}
	*ret_who = waiting;
	return waiting.n > 0 ? PUSH_PENDING : PUSH_DONE;
}

static const char *state_name(const struct proxy *x)
{
	if (list_is_empty(&x->watchers))
		return "NOT SENT";
	return progress_of(x) == PUSH_DONE ? "SYNCED" : "STALE";
}

static struct doc *proxy_status(const struct proxy *x, struct arena *a)
{
	char at[CLOCK_RFC3339_MAX];
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "name", str_c(x->name));
	doc_set_str(a, d, "state", str_c(state_name(x)));
	doc_set_int(a, d, "version", x->acked_version);
	doc_set_str(a, d, "software", str_c(x->software));
	doc_set_int(a, d, "pid", x->pid);
	doc_set_bool(a, d, "connected", !list_is_empty(&x->watchers));
	if (x->acked_at_us > 0)
		doc_set_str(a, d, "ackedAt", str_c(clock_rfc3339(x->acked_at_us, at)));
	if (x->error[0])
		doc_set_str(a, d, "error", str_c(x->error));
	return d;
}

struct doc *push_status(const struct push *p, struct arena *a)
{
	struct doc *list = doc_new_list(a);

	list_for_each(it, &p->proxies)
		doc_add(a, list, proxy_status(list_entry(it, struct proxy, node), a));
	return list;
}
