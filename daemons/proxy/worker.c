/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker: threads, leases, what a publish changes in them, drain and stop. Layer proxy. Sockets
 * (doors.h) and attachments cross to a worker by loop_post and belong to it from then on.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/vec.h"
#include "core/regex.h"
#include "doc/doc.h"
#include "proxy/conn.h"
#include "proxy/cpus.h"
#include "proxy/doors.h"
#include "proxy/gate.h"
#include "proxy/listener.h"
#include "proxy/named.h"
#include "proxy/revoke.h"
#include "proxy/slab.h"
#include "proxy/stream.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

#define WORKERS_MAX 64
#define DRAIN_US (30ll * 1000 * 1000)           /* security-model L6 */

struct worker_thread {
	struct worker w;
	struct worker_set *set;
	pthread_t id;
	struct drain *drain;            /* worker's thread; NULL: none, or told already */
	struct loop_timer drain_deadline;
	struct loop_timer forget;       /* worker->previous */
};

struct worker_set {
	struct worker_thread *v;
	size_t n;
	struct stats **stats;
	struct doors *doors;
	atomic_bool succeeded;
	struct worker_drained drained;
	struct gate gate;
};

/* ---- leases ---------------------------------------------------------------------------------- */

static void fill(int64_t *v, int64_t dflt)
{
	if (*v <= 0)
		*v = dflt;
}

/* security-model section 6. */
static void fill_defaults(struct snap_settings *s)
{
	fill(&s->header_timeout_us, 10ll * 1000 * 1000);
	fill(&s->idle_timeout_us, 3600ll * 1000 * 1000);
	fill(&s->stream_idle_timeout_us, 300ll * 1000 * 1000);
	fill(&s->drain_us, DRAIN_US);
}

/* Words that every request would otherwise put together. */
static void name_parts(struct lease *l, const struct snap *s)
{
	l->callers = arena_new_n(&l->arena, struct str, s->workloads.n);
	for (size_t i = 0; i < s->workloads.n; i++) {
		const struct snap_peer *p = &s->peers.v[s->workloads.v[i].peer];

		l->callers[i] = arena_printf(&l->arena, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns));
	}
	l->inbounds = arena_new_n(&l->arena, struct str, s->inbounds.n);
	for (size_t i = 0; i < s->inbounds.n; i++)
		l->inbounds[i] = arena_printf(&l->arena, "inbound|%d||", (int)s->inbounds.v[i].port);
}

static struct lease *lease_new(struct worker *w, struct attached *at)
{
	const struct snap *s = at->snap;
	struct lease *l = kv_zalloc(sizeof(*l));

	l->at = at;
	l->refs = 1;
	l->serial = ++w->n_leases;
	l->settings = s->settings;
	fill_defaults(&l->settings);
	arena_init(&l->arena, 0);
	name_parts(l, s);
	l->clusters = arena_new_n(&l->arena, struct lease_cluster, s->clusters.n);
	for (size_t i = 0; i < s->clusters.n; i++) {
		const struct snap_cluster *c = &s->clusters.v[i];

		l->clusters[i].weighted = lb_is_weighted(c->endpoints.v, c->endpoints.n);
	}
	return l;
}

struct lease *lease_ref(struct lease *l)
{
	l->refs++;
	return l;
}

void lease_unref(struct lease *l)
{
	if (--l->refs > 0)
		return;
	for (size_t i = 0; i < l->at->snap->clusters.n; i++)
		lb_rr_done(&l->clusters[i].rr);
	arena_done(&l->arena);
	attach_unref(l->at);
	free(l);
}

/* ---- publish: the worker's half -------------------------------------------------------------- */

struct opening {
	uint64_t id;
	int fd;                         /* -1: the door stays as it is here */
	struct sock_addr addr;
	struct gate_door *count;        /* one reference */
	uint64_t patience_us;
	size_t listener;                /* index in the snapshot */
};

struct publication {
	struct worker *w;
	struct attached *at;            /* one reference */
	struct opening *v;
	size_t n, cap;
};

static bool is_named(const struct publication *p, uint64_t id)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].id == id)
			return true;
	return false;
}

static void update_listeners(const struct worker *w, uint64_t id, const struct snap_listener *desc)
{
	list_for_each(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		if (l->id == id)
			listener_update(l, desc);
	}
}

static void apply_listeners(struct worker *w, const struct publication *p)
{
	list_for_each_safe(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		if (!is_named(p, l->id))
			listener_close(l);
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct opening *o = &p->v[i];
		const struct snap_listener *desc = &p->at->snap->listeners.v[o->listener];

		if (o->fd < 0)
			update_listeners(w, o->id, desc);
		else
			listener_open(w, &(struct listener_socket){ .fd = o->fd, .addr = o->addr, .id = o->id,
								    .count = o->count, .patience_us = o->patience_us },
				      desc);
	}
}

static void publication_free(struct publication *p)
{
	for (size_t i = 0; i < p->n; i++)
		gate_door_unref(p->v[i].count);
	free(p->v);
	free(p);
}

static void on_forget(void *arg)
{
	struct worker *w = arg;

	lease_unref(w->previous);
	w->previous = NULL;
}

/*
 * Peers learn a change when they learn it: what they still send to a workload that left is served
 * for a while. A renewed certificate is no change.
 */
static void keep_previous(struct worker *w, struct lease *old)
{
	struct loop_timer *forget = &w->thread->forget;

	if (old->at->snap == w->lease->at->snap) {
		lease_unref(old);
		return;
	}
	if (w->previous)
		lease_unref(w->previous);
	w->previous = old;
	loop_timer_set(forget, (uint64_t)old->settings.drain_us);
}

static void apply(void *arg)
{
	struct publication *p = arg;
	struct worker *w = p->w;
	struct lease *old = w->lease;

	w->lease = lease_new(w, p->at);
	revoke_follow(w, old);
	if (old)
		keep_previous(w, old);
	upstream_follow(w);
	if (w->draining) {
		for (size_t i = 0; i < p->n; i++)
			if (p->v[i].fd >= 0)
				close(p->v[i].fd);
	} else {
		apply_listeners(w, p);
	}
	publication_free(p);
}

/* ---- publish: the control thread's half ------------------------------------------------------ */

/*
 * How many of the workers serve: the snapshot may ask for fewer than there are CPUs. It counts for
 * addresses that are opened from then on.
 */
static size_t n_serving(const struct worker_set *ws, const struct snap *s)
{
	int64_t want = s->settings.workers;

	return want > 0 && (size_t)want < ws->n ? (size_t)want : ws->n;
}

static void add_opening(struct publication *p, const struct door *d, size_t listener, int fd)
{
	*vec_push(p->v, p->n, p->cap) = (struct opening){
		.id = d->id,
		.fd = fd,
		.addr = d->addr,
		.count = gate_door_ref(d->count),
		.patience_us = d->patience_us,
		.listener = listener,
	};
}

/* The sockets that are this worker's and not there yet; else the mere word that the door stays. */
static void add_door(struct publication *p, struct door *d, size_t listener)
{
	bool any = false;

	for (size_t i = 0; i < d->n; i++) {
		struct door_socket *s = &d->v[i];

		if (s->given < 0 || s->worker != p->w->index)
			continue;
		add_opening(p, d, listener, s->given);
		s->given = -1;
		any = true;
	}
	if (!any)
		add_opening(p, d, listener, -1);
}

static void send_to(struct worker_set *ws, size_t worker, struct attached *at)
{
	const struct snap *s = at->snap;
	struct publication *p = kv_zalloc(sizeof(*p));

	p->w = &ws->v[worker].w;
	p->at = attach_ref(at);
	for (size_t i = 0; i < s->listeners.n; i++) {
		struct door *d = doors_find(ws->doors, &s->listeners.v[i]);

		if (d)                  /* else it is optional, and not to be had */
			add_door(p, d, i);
	}
	loop_post(p->w->loop, apply, p);
}

int worker_publish(struct worker_set *ws, struct attached *at, struct err *err)
{
	int r = doors_follow(ws->doors, at->snap, n_serving(ws, at->snap), err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ws->n; i++)
		send_to(ws, i, at);
	return 0;
}

struct doc *worker_listeners(const struct worker_set *ws, struct arena *a)
{
	return doors_list(ws->doors, a);
}

/* ---- drain ----------------------------------------------------------------------------------- */

/* Shared by the control thread, which waits, and the workers, which each tell once. */
struct drain {
	atomic_uint left, ended, cut;
	uint64_t deadline_us;
	struct loop *loop;
	loop_fn done;
	void *arg;
};

static void close_listeners(struct worker *w)
{
	list_for_each_safe(it, &w->listeners)
		listener_close(list_entry(it, struct listener, node));
}

static void tell_drained(struct worker *w)
{
	struct drain *d = w->thread->drain;

	atomic_fetch_add(&d->ended, (unsigned)w->n_ended);
	w->thread->drain = NULL;
	loop_timer_stop(&w->thread->drain_deadline);
	if (atomic_fetch_sub(&d->left, 1) > 1)
		return;
	unsigned cut = atomic_load(&d->cut), ended = atomic_load(&d->ended) - cut;

	w->thread->set->drained = (struct worker_drained){ .ended = ended, .cut = cut };
	log_info("drained: %u exchanges ended, %u cut", ended, cut);
	loop_post(d->loop, d->done, d->arg);
	free(d);
}

void worker_check_drained(struct worker *w)
{
	if (w->thread->drain && w->n_down == 0)
		tell_drained(w);
}

/* What has not ended by itself is ended. */
static void end_all(struct worker *w)
{
	while (!list_is_empty(&w->streams))
		stream_abort(list_entry(w->streams.next, struct stream, node), FAIL_LOCAL);
	while (!list_is_empty(&w->conns))
		conn_kill(list_entry(w->conns.next, struct conn, node));
}

static unsigned n_under_way(const struct worker *w)
{
	unsigned n = 0;

	list_for_each(it, &w->streams)
		n += !list_entry(it, struct stream, node)->shadow;
	return n;
}

static void on_drain_deadline(void *arg)
{
	struct worker *w = arg;

	atomic_fetch_add(&w->thread->drain->cut, n_under_way(w));
	end_all(w);
}

/*
 * What is under way, here or in another worker, may yet call a workload of this node: that door stays open for this host
 * alone (listener.c), until the process ends. The kernel goes on choosing a socket that somebody else has open as well.
 */
static void close_doors(struct worker *w)
{
	list_for_each_safe(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		if (w->succeeded || l->kind != SNAP_LISTENER_MESH)
			listener_close(l);
	}
}

/* As asked, else as the snapshot says. */
static uint64_t drain_us(const struct worker *w)
{
	if (w->thread->drain->deadline_us > 0)
		return w->thread->drain->deadline_us;
	return w->lease ? (uint64_t)w->lease->settings.drain_us : DRAIN_US;
}

static void start_drain(void *arg)
{
	struct worker *w = arg;

	w->draining = true;
	w->n_ended = 0;
	w->succeeded = atomic_load(&w->thread->set->succeeded);
	close_doors(w);
	list_for_each_safe(it, &w->conns) {
		struct conn *c = list_entry(it, struct conn, node);

		if (c->ops)
			c->ops->drain(c);
		else if (c->state != CONN_HANDSHAKE)    /* sniff.c goes on when it is over */
			conn_close(c);
	}
	upstream_drain(w);
	loop_timer_set(&w->thread->drain_deadline, drain_us(w));
	worker_check_drained(w);
}

struct drain_order {
	struct worker *w;
	struct drain *d;
};

static void take_order(void *arg)
{
	struct drain_order *o = arg;

	o->w->thread->drain = o->d;
	start_drain(o->w);
	free(o);
}

void worker_drain(struct worker_set *ws, uint64_t deadline_us, struct loop *loop, loop_fn done,
		  void *arg)
{
	struct drain *d = kv_zalloc(sizeof(*d));

	*d = (struct drain){ .deadline_us = deadline_us, .loop = loop, .done = done, .arg = arg };
	atomic_init(&d->left, (unsigned)ws->n);
	doors_close(ws->doors);
	for (size_t i = 0; i < ws->n; i++) {
		struct drain_order *o = kv_malloc(sizeof(*o));

		*o = (struct drain_order){ .w = &ws->v[i].w, .d = d };
		loop_post(ws->v[i].w.loop, take_order, o);
	}
}

void worker_succeed(struct worker_set *ws)
{
	atomic_store(&ws->succeeded, true);
}

struct worker_drained worker_drained(const struct worker_set *ws)
{
	return ws->drained;
}

/* ---- threads --------------------------------------------------------------------------------- */

bool worker_is_ready(const struct worker *w)
{
	return w->lease && !w->draining && w->lease->at->n_missing == 0;
}

static void worker_init(struct worker *w, struct worker_thread *t, unsigned index)
{
	w->index = index;
	w->thread = t;
	w->loop = loop_new();
	w->stats = stats_new();
	w->regex = regex_scratch_new();
	w->slab = slab_new();
	w->cache = stream_cache_new();
	w->names = named_new(w->loop);
	w->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	rng_init_random(&w->rng);
	list_init(&w->listeners);
	list_init(&w->conns);
	list_init(&w->streams);
	list_init(&w->tubes);
	map_init(&w->pools);
	loop_timer_init(&t->drain_deadline, w->loop, on_drain_deadline, w);
	loop_timer_init(&t->forget, w->loop, on_forget, w);
}

/* In the thread, as the last thing it does. */
static void end_thread(void *arg)
{
	struct worker *w = arg;

	w->stopping = w->draining = true;
	close_listeners(w);
	end_all(w);
	upstream_stop(w);
	loop_stop(w->loop);
}

static void worker_done(struct worker *w)
{
	loop_timer_done(&w->thread->drain_deadline);
	loop_timer_done(&w->thread->forget);
	loop_free(w->loop);             /* runs what the last turn deferred */
	if (w->lease)
		lease_unref(w->lease);
	if (w->previous)
		lease_unref(w->previous);
	map_done(&w->pools);
	named_free(w->names);
	stream_cache_free(w->cache);
	slab_free(w->slab);
	regex_scratch_free(w->regex);
	stats_free(w->stats);
	if (w->reserve_fd >= 0)
		close(w->reserve_fd);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	loop_run(w->loop);
	buf_trim();
	return NULL;
}

/* Signals are the control thread's. */
static void start_thread(struct worker_thread *t)
{
	sigset_t all, before;
	char name[16];

	sigfillset(&all);
	kv_assert(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	int r = pthread_create(&t->id, NULL, run, &t->w);

	kv_assert(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	kv_assert(r == 0);
	snprintf(name, sizeof(name), "worker/%u", t->w.index);
	(void)pthread_setname_np(t->id, name);
}

struct worker_set *worker_set_start(unsigned n)
{
	struct worker_set *ws = kv_zalloc(sizeof(*ws));

	if (n == 0)
		n = cpus_available();
	ws->n = n < WORKERS_MAX ? n : WORKERS_MAX;
	ws->doors = doors_new();
	gate_init(&ws->gate);
	ws->v = kv_zalloc(sizeof(*ws->v) * ws->n);
	ws->stats = kv_zalloc(sizeof(*ws->stats) * ws->n);
	for (size_t i = 0; i < ws->n; i++) {
		worker_init(&ws->v[i].w, &ws->v[i], (unsigned)i);
		ws->v[i].set = ws;
		ws->v[i].w.gate = &ws->gate;
		ws->stats[i] = ws->v[i].w.stats;
	}
	for (size_t i = 0; i < ws->n; i++)
		start_thread(&ws->v[i]);
	return ws;
}

struct doors *worker_doors(const struct worker_set *ws)
{
	return ws->doors;
}

void worker_set_stop(struct worker_set *ws)
{
	for (size_t i = 0; i < ws->n; i++)
		loop_post(ws->v[i].w.loop, end_thread, &ws->v[i].w);
	for (size_t i = 0; i < ws->n; i++)
		pthread_join(ws->v[i].id, NULL);
	for (size_t i = 0; i < ws->n; i++)
		worker_done(&ws->v[i].w);
	doors_free(ws->doors);
	free(ws->stats);
	free(ws->v);
	free(ws);
}

size_t worker_count(const struct worker_set *ws)
{
	return ws->n;
}

struct stats *const *worker_stats(const struct worker_set *ws, size_t *ret_n)
{
	*ret_n = ws->n;
	return ws->stats;
}

struct gate *worker_gate(struct worker_set *ws)
{
	return &ws->gate;
}

struct worker *worker_at(const struct worker_set *ws, size_t i)
{
	kv_assert(i < ws->n);
	return &ws->v[i].w;
}
