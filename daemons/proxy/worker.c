/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker: threads, leases, what a publish changes in them, drain and stop. Layer proxy. The control
 * thread keeps the list of bound addresses; sockets and attachments cross to a worker by loop_post
 * and belong to it from then on.
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

/* One address of the snapshot, with a socket in each worker. */
struct bound {
	uint64_t id;
	struct snap_listener desc;      /* as configured; service is owned */
	struct sock_addr addr;          /* as bound */
	struct gate_door *count;        /* connections of all workers through it */
	bool keep;
};

/* A listening socket that the service manager keeps for us. */
struct inherited {
	int fd;
	bool told;                      /* that nobody wants it */
};

struct worker_set {
	struct worker_thread *v;
	size_t n;
	struct stats **stats;
	struct bound *bound;
	size_t n_bound, cap_bound;
	uint64_t next_id;
	struct inherited *inherited;
	size_t n_inherited;
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
	int fd;                         /* -1: this worker has it open */
	struct sock_addr addr;
	struct gate_door *count;        /* one reference */
	size_t listener;                /* index in the snapshot */
};

struct publication {
	struct worker *w;
	struct attached *at;            /* one reference */
	struct opening *v;
	size_t n;
};

static struct listener *listener_of(const struct worker *w, uint64_t id)
{
	list_for_each(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		if (l->id == id)
			return l;
	}
	return NULL;
}

static bool is_named(const struct publication *p, uint64_t id)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].id == id)
			return true;
	return false;
}

static void apply_listeners(struct worker *w, const struct publication *p)
{
	list_for_each_safe(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		if (!is_named(p, l->id))
			listener_close(l);
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct snap_listener *desc = &p->at->snap->listeners.v[p->v[i].listener];
		struct listener *l = listener_of(w, p->v[i].id);

		if (l)
			listener_update(l, desc);
		else if (p->v[i].fd >= 0)
			listener_open(w, &(struct listener_socket){ p->v[i].fd, p->v[i].addr, p->v[i].id, p->v[i].count },
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

static bool is_same_door(const struct snap_listener *a, const struct snap_listener *b)
{
	if (!str_eq(a->address, b->address) || a->port != b->port)
		return false;
	if (str_has_prefix(a->address, STR("unix:")))
		return true;
	/* Ports that the kernel chooses are told apart by what they are for. */
	return a->port != 0 || (a->kind == b->kind && str_eq(a->service, b->service) &&
				a->service_port == b->service_port && a->view == b->view);
}

static struct bound *bound_of(struct worker_set *ws, const struct snap_listener *desc)
{
	for (size_t i = 0; i < ws->n_bound; i++)
		if (is_same_door(&ws->bound[i].desc, desc))
			return &ws->bound[i];
	return NULL;
}

static struct str own(struct str s)
{
	char *p = kv_malloc(s.n + 1);

	memcpy(p, s.n > 0 ? s.p : "", s.n);
	return str_from(p, s.n);
}

static void bound_set(struct bound *b, const struct snap_listener *desc)
{
	struct str service = own(desc->service), address = own(desc->address);

	free((void *)(uintptr_t)b->desc.service.p);
	free((void *)(uintptr_t)b->desc.address.p);
	b->desc = *desc;
	b->desc.servers.v = NULL;       /* the snapshot's; it goes before the socket does */
	b->desc.servers.n = 0;
	b->desc.service = service;
	b->desc.address = address;
}

static void bound_done(struct bound *b)
{
	free((void *)(uintptr_t)b->desc.service.p);
	free((void *)(uintptr_t)b->desc.address.p);
	gate_door_unref(b->count);
}

/*
 * How many of the workers serve: the snapshot may ask for fewer than there are CPUs. It counts for
 * addresses that are opened from then on.
 */
static size_t n_serving(const struct worker_set *ws, const struct snap *s)
{
	int64_t want = s->settings.workers;

	return want > 0 && (size_t)want < ws->n ? (size_t)want : ws->n;
}

/* The sockets of one new address: one per worker that serves, all or none. */
struct door {
	size_t listener;
	struct sock_addr addr;
	int *fds;
};

static void door_close(struct door *d, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (d->fds[i] >= 0)
			close(d->fds[i]);
	free(d->fds);
}

static struct inherited *inherited_for(struct worker_set *ws, const struct sock_addr *a)
{
	for (size_t i = 0; i < ws->n_inherited; i++)
		if (sock_listens_for(ws->inherited[i].fd, a))
			return &ws->inherited[i];
	return NULL;
}

/* A low port is the service manager's to bind. */
static int refused(int code, const struct snap *s, struct err *err)
{
	struct err why = *err;

	if (code != -EACCES)
		return code;
	return err_set(err, code, "%s: systemctl enable --now kvmesh-proxy@%.*s.socket binds it",
		       why.text, STR_ARG(s->proxy));
}

/* Whoever may open a port of this host may come to a path. */
#define UNIX_MODE 0666

/*
 * TCP sockets are each worker's own, and the kernel spreads connections; of others there is one, and
 * who comes first has the connection. from: the one that is there already, -1 none.
 */
static int make_socket(const struct door *d, int from, struct err *err)
{
	if (from < 0 && d->addr.sa.sa_family == AF_UNIX)
		return sock_listen_unix(d->addr.un.sun_path, UNIX_MODE, (gid_t)-1, err);
	if (from < 0)
		return sock_listen_tcp(&d->addr, SOCK_REUSEPORT, err);
	int fd = fcntl(from, F_DUPFD_CLOEXEC, 0);

	return fd >= 0 ? fd : err_set(err, -errno, "cannot share a socket: %s", err_code_name(-errno));
}

/* A socket for each worker that serves; the rest stays -1. */
static int door_open(struct worker_set *ws, struct door *d, const struct snap *s, struct err *err)
{
	const struct snap_listener *desc = &s->listeners.v[d->listener];

	if (!sock_addr_parse(desc->address, (uint16_t)desc->port, &d->addr))
		return err_set(err, KV_ERR_SCHEMA, "listener address '%.*s' is neither an IP address nor a path",
			       STR_ARG(desc->address));
	const struct inherited *passed = inherited_for(ws, &d->addr);
	bool shared = passed || d->addr.sa.sa_family == AF_UNIX;
	int from = passed ? passed->fd : -1;

	d->fds = kv_malloc(sizeof(*d->fds) * ws->n);
	memset(d->fds, 0xff, sizeof(*d->fds) * ws->n);
	for (size_t i = 0; i < n_serving(ws, s); i++) {
		d->fds[i] = make_socket(d, from, err);
		if (d->fds[i] < 0) {
			int r = d->fds[i];

			door_close(d, ws->n);
			return refused(r, s, err);
		}
		if (i == 0 && !shared)  /* the others join the port that the kernel chose */
			(void)sock_local_addr(d->fds[0], &d->addr);
		if (shared && from < 0)
			from = d->fds[0];
	}
	return 0;
}

static int open_doors(struct worker_set *ws, const struct snap *s, struct door *v, size_t *ret_n,
		      struct err *err)
{
	*ret_n = 0;
	for (size_t i = 0; i < s->listeners.n; i++) {
		if (bound_of(ws, &s->listeners.v[i]))
			continue;
		struct door *d = &v[*ret_n];

		*d = (struct door){ .listener = i };
		int r = door_open(ws, d, s, err);

		if (r < 0) {
			while (*ret_n > 0)
				door_close(&v[--*ret_n], ws->n);
			return r;
		}
		(*ret_n)++;
	}
	return 0;
}

/* The list of bound addresses becomes the snapshot's; new ones are appended in the order of v. */
static void remember(struct worker_set *ws, const struct snap *s, const struct door *v, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < ws->n_bound; i++)
		ws->bound[i].keep = false;
	for (size_t i = 0; i < s->listeners.n; i++) {
		struct bound *b = bound_of(ws, &s->listeners.v[i]);

		if (!b)
			continue;
		b->keep = true;
		bound_set(b, &s->listeners.v[i]);
	}
	for (size_t i = 0; i < ws->n_bound; i++) {
		if (ws->bound[i].keep)
			ws->bound[kept++] = ws->bound[i];
		else
			bound_done(&ws->bound[i]);
	}
	ws->n_bound = kept;
	for (size_t i = 0; i < n; i++) {
		struct bound *b = vec_push(ws->bound, ws->n_bound, ws->cap_bound);

		*b = (struct bound){ .id = ++ws->next_id, .addr = v[i].addr, .count = gate_door_new() };
		bound_set(b, &s->listeners.v[v[i].listener]);
	}
}

static int fd_for(const struct door *v, size_t n, size_t listener, size_t worker)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].listener == listener)
			return v[i].fds[worker];
	return -1;
}

static void send_to(struct worker_set *ws, size_t worker, struct attached *at, const struct door *v,
		    size_t n)
{
	const struct snap *s = at->snap;
	struct publication *p = kv_zalloc(sizeof(*p));

	p->w = &ws->v[worker].w;
	p->at = attach_ref(at);
	p->n = s->listeners.n;
	p->v = kv_zalloc(sizeof(*p->v) * (p->n + 1));
	for (size_t i = 0; i < p->n; i++) {
		const struct bound *b = bound_of(ws, &s->listeners.v[i]);

		p->v[i] = (struct opening){
			.id = b->id,
			.fd = fd_for(v, n, i, worker),
			.addr = b->addr,
			.count = gate_door_ref(b->count),
			.listener = i,
		};
	}
	loop_post(p->w->loop, apply, p);
}

/* Who connects to a socket that nobody accepts from waits for ever: the operator is told. */
static void tell_idle(struct worker_set *ws)
{
	char text[SOCK_ADDR_TEXT_MAX];
	struct sock_addr a;

	for (size_t i = 0; i < ws->n_inherited; i++) {
		struct inherited *from = &ws->inherited[i];
		bool used = false;

		for (size_t k = 0; k < ws->n_bound && !used; k++)
			used = sock_listens_for(from->fd, &ws->bound[k].addr);
		if (!used && !from->told && sock_local_addr(from->fd, &a) == 0)
			log_warn("the socket for %s that was passed on is no Gateway server's: its clients wait in vain",
				 sock_addr_text(&a, text));
		from->told = !used;
	}
}

int worker_publish(struct worker_set *ws, struct attached *at, struct err *err)
{
	const struct snap *s = at->snap;
	struct door *v = kv_zalloc(sizeof(*v) * (s->listeners.n + 1));
	size_t n;
	int r = open_doors(ws, s, v, &n, err);

	if (r < 0) {
		free(v);
		return r;
	}
	remember(ws, s, v, n);
	tell_idle(ws);
	for (size_t i = 0; i < ws->n; i++)
		send_to(ws, i, at, v, n);
	for (size_t i = 0; i < n; i++)
		free(v[i].fds);         /* the sockets are the workers' now */
	free(v);
	return 0;
}

struct doc *worker_listeners(const struct worker_set *ws, struct arena *a)
{
	struct doc *list = doc_new_list(a);
	char host[SOCK_ADDR_TEXT_MAX];

	for (size_t i = 0; i < ws->n_bound; i++) {
		const struct bound *b = &ws->bound[i];
		struct doc *row = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, row, "kind", str_c(snap_listener_kind_names[b->desc.kind]));
		doc_set_str(a, row, "address", str_c(sock_addr_host(&b->addr, host)));
		doc_set_int(a, row, "port", sock_addr_port(&b->addr));
		if (b->desc.service.n > 0)
			doc_set_str(a, row, "service", b->desc.service);
	}
	return list;
}

/* ---- drain ----------------------------------------------------------------------------------- */

/* Shared by the control thread, which waits, and the workers, which each tell once. */
struct drain {
	atomic_uint left;
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

	close_listeners(w);
	w->thread->drain = NULL;
	loop_timer_stop(&w->thread->drain_deadline);
	if (atomic_fetch_sub(&d->left, 1) > 1)
		return;
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

static void on_drain_deadline(void *arg)
{
	end_all(arg);
}

/* What is under way may yet call a workload of this node: that door stays open for this host alone, see listener.c. */
static void close_doors(struct worker *w)
{
	list_for_each_safe(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		if (l->kind != SNAP_LISTENER_MESH)
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
	for (size_t i = 0; i < ws->n; i++) {
		struct drain_order *o = kv_malloc(sizeof(*o));

		*o = (struct drain_order){ .w = &ws->v[i].w, .d = d };
		loop_post(ws->v[i].w.loop, take_order, o);
	}
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

void worker_inherit(struct worker_set *ws, int first, unsigned n)
{
	ws->inherited = kv_zalloc(sizeof(*ws->inherited) * (n + 1));
	for (; ws->n_inherited < n; ws->n_inherited++)
		ws->inherited[ws->n_inherited].fd = first + (int)ws->n_inherited;
}

void worker_set_stop(struct worker_set *ws)
{
	for (size_t i = 0; i < ws->n; i++)
		loop_post(ws->v[i].w.loop, end_thread, &ws->v[i].w);
	for (size_t i = 0; i < ws->n; i++)
		pthread_join(ws->v[i].id, NULL);
	for (size_t i = 0; i < ws->n; i++)
		worker_done(&ws->v[i].w);
	for (size_t i = 0; i < ws->n_bound; i++)
		bound_done(&ws->bound[i]);
	free(ws->bound);
	free(ws->inherited);
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
