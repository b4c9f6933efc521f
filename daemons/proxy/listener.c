/* SPDX-License-Identifier: Apache-2.0 */
/* listener: accept and the first decision about a connection, see listener.h. Layer proxy. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "core/limit.h"
#include "proxy/entry.h"
#include "proxy/gate.h"
#include "proxy/listener.h"
#include "proxy/worker.h"

#define CONNECTIONS_MAX 10000           /* security-model L4 */
#define FULL_TURNS 4                    /* in a row, then more are accepted in one turn */

/* ---- life ------------------------------------------------------------------------------------ */

static void set_service(struct listener *l, struct str service)
{
	char *copy = kv_malloc(service.n + 1);

	memcpy(copy, service.n > 0 ? service.p : "", service.n);
	free((void *)(uintptr_t)l->service.p);
	l->service = str_from(copy, service.n);
}

/* Where every connection comes in; none: the door is not bound to one address, or others are led to it. */
static struct conn_addr local_of(const struct listener *l)
{
	static const struct in6_addr any6 = IN6ADDR_ANY_INIT;
	struct sock_addr a;

	if (l->kind == SNAP_LISTENER_OUTBOUND || l->kind == SNAP_LISTENER_INBOUND || sock_local_addr(l->fd, &a) < 0)
		return (struct conn_addr){ .len = 0 };
	if (a.sa.sa_family == AF_INET ? a.in.sin_addr.s_addr == htonl(INADDR_ANY) :
					memcmp(&a.in6.sin6_addr, &any6, sizeof(any6)) == 0)
		return (struct conn_addr){ .len = 0 };
	return conn_addr_pack(&a);
}

void listener_update(struct listener *l, const struct snap_listener *desc)
{
	l->kind = desc->kind;
	l->service_port = desc->service_port;
	l->local = local_of(l);
	if (!str_eq(l->service, desc->service))
		set_service(l, desc->service);
	if (l->pause.armed && worker_is_ready(l->w)) {
		loop_timer_stop(&l->pause);
		listener_rest(l);
	}
}

struct listener *listener_ref(struct listener *l)
{
	l->refs++;
	return l;
}

static void free_listener(void *p)
{
	struct listener *l = p;

	free((void *)(uintptr_t)l->service.p);
	gate_door_unref(l->count);
	free(l);
}

void listener_unref(struct listener *l)
{
	if (--l->refs == 0)
		loop_defer_free(l->w->loop, free_listener, l);
}

void listener_close(struct listener *l)
{
	list_del(&l->node);
	loop_fd_done(&l->io);
	loop_timer_done(&l->pause);
	close(l->fd);
	l->fd = -1;
	listener_unref(l);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void handshake_over(struct conn *c)
{
	struct entry *e = c->owner_data;

	if (e->in_handshake)
		gate_give_handshake(c->w->gate, c);
	e->in_handshake = false;
}

static void on_ready(struct conn *c)
{
	handshake_over(c);
	conn_timer(c, 0, NULL);
	sniff_after_handshake(c);
}

static void on_failed(struct conn *c)
{
	stats_add_reason(c->w->stats, "kvmesh_tls_refused_total", NULL, conn_error_reason(c));
	log_debug("TLS handshake refused: %s", conn_error_text(c));
	conn_close(c);
}

/* The codec says what it can do by closing or by reading on. */
static void on_idle(struct conn *c)
{
	(void)c;
}

static void free_entry(void *p)
{
	entry_free(p);
}

static void on_gone(struct conn *c)
{
	struct entry *e = c->owner_data;

	handshake_over(c);
	limit_give(&e->listener->count->conns);
	gate_give_conn(c->w->gate);
	c->w->n_down--;
	stats_add(c->w->stats, STATS_DOWN_CONNECTIONS, -1);
	loop_defer_free(c->w->loop, free_entry, e);
	worker_check_drained(c->w);
}

static const struct conn_owner owner = {
	.ready = on_ready,
	.failed = on_failed,
	.idle = on_idle,
	.gone = on_gone,
};

static void learn_caller(struct conn *c, struct entry *e)
{
	entry_learn_caller(e, c, c->w->lease->at);
}

static void learn_destination(struct conn *c, struct entry *e)
{
	struct sock_addr dst;

	if (!sock_original_dst(c->fd, &dst))
		return;
	e->original_dst = kv_malloc(sizeof(*e->original_dst));
	*e->original_dst = dst;
}

static void begin(struct conn *c)
{
	struct entry *e = c->owner_data;

	switch ((enum snap_listener_kind)e->listener->kind) {
	case SNAP_LISTENER_HTTP_PROXY:
	case SNAP_LISTENER_PORT:
		learn_caller(c, e);
		conn_set_codec(c, &codec_h1, true);
		break;
	case SNAP_LISTENER_TCP:
		learn_caller(c, e);
		sniff_service(c);
		break;
	case SNAP_LISTENER_OUTBOUND:
		learn_destination(c, e);
		learn_caller(c, e);
		sniff_outbound(c);
		break;
	case SNAP_LISTENER_INBOUND:
		learn_destination(c, e);
		sniff_inbound(c);
		break;
	case SNAP_LISTENER_MESH:
		sniff_start_mtls(c);
		break;
	case SNAP_LISTENER_GATEWAY:
		sniff_gateway(c);
		break;
	case SNAP_LISTENER_READY:
	case SNAP_LISTENER_KIND__N:
		conn_set_codec(c, &codec_h1, true);
		break;
	}
}

static void accepted(struct listener *l, int fd, const struct sock_addr *peer)
{
	struct worker *w = l->w;
	struct entry *e = entry_new(l);
	struct conn *c = conn_new(w, fd, l->local.len > 0 ? &l->local : NULL, &owner, e);

	c->remote = conn_addr_pack(peer);
	list_push_back(&w->conns, &c->node);
	w->n_down++;
	stats_add(w->stats, STATS_DOWN_CONNECTIONS, 1);
	stats_add(w->stats, STATS_DOWN_ACCEPTED, 1);
	begin(c);
	conn_begin(c);
}

/* ---- accept ---------------------------------------------------------------------------------- */

/* Health is asked for at any level: that costs a descriptor for a moment. */
static bool is_resting(const struct listener *l)
{
	return l->w->level >= OVERLOAD_FULL && l->kind != SNAP_LISTENER_READY;
}

void listener_rest(struct listener *l)
{
	if (!l->pause.armed)
		loop_fd_want(&l->io, is_resting(l) ? 0 : LOOP_READ);
}

static void take_reserve(struct worker *w)
{
	if (w->reserve_fd < 0)
		w->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A descriptor that became free goes to the reserve before it goes to a client. */
static void resume_accept(void *arg)
{
	struct listener *l = arg;

	take_reserve(l->w);
	listener_rest(l);
}

static void pause_accept(struct listener *l, uint64_t us)
{
	loop_fd_want(&l->io, 0);
	loop_timer_set(&l->pause, us);
}

void listener_pause(struct listener *l)
{
	pause_accept(l, LISTENER_PAUSE_US);
}

static void turn_away(struct listener *l, int fd, const char *why)
{
	stats_add(l->w->stats, STATS_DOWN_REFUSED, 1);
	stats_add_reason(l->w->stats, "kvmesh_overload_shed_total", NULL, why);
	close(fd);
}

/*
 * No descriptor is left. The reserve is given up for one connection, so that its client sees a
 * close instead of waiting, and accepting rests: level-triggered, it would spin otherwise.
 */
static void out_of_descriptors(struct listener *l)
{
	struct worker *w = l->w;
	struct sock_addr peer;

	log_err("no file descriptors left: not accepting for a moment; raise LimitNOFILE");
	if (w->reserve_fd >= 0) {
		close(w->reserve_fd);
		w->reserve_fd = -1;
		int fd = sock_accept(l->fd, &peer);

		if (fd >= 0)
			turn_away(l, fd, "descriptors");
	}
	take_reserve(w);
	pause_accept(l, LISTENER_PAUSE_US);
}

/* NULL: the connection is counted; else which limit it is over. */
static const char *take_place(const struct listener *l)
{
	int64_t max = worker_settings(l->w)->max_connections;
	const char *why = gate_take_conn(l->w->gate);

	if (why)
		return why;
	if (limit_take(&l->count->conns, max > 0 ? max : CONNECTIONS_MAX))
		return NULL;
	gate_give_conn(l->w->gate);
	return "connections_listener";
}

static bool accept_one(struct listener *l)
{
	struct sock_addr peer;
	int fd = sock_accept(l->fd, &peer);

	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
		out_of_descriptors(l);
		return false;
	}
	if (fd < 0)                     /* nothing there, or the client is gone already */
		return fd == -ECONNABORTED || fd == -EINTR;
	if (l->w->draining && !sock_addr_is_loopback(&peer) && !sock_addr_is_local(&peer)) {
		close(fd);
		return true;
	}
	const char *why = take_place(l);

	if (why)
		turn_away(l, fd, why);
	else
		accepted(l, fd, &peer);
	return true;
}

/*
 * As many as came last time: to find out that no more are waiting costs almost as much as to accept one, and the loop
 * tells of those that are left.
 */
static void on_acceptable(void *arg, unsigned what)
{
	struct listener *l = arg;
	unsigned n = 0;

	(void)what;
	while (n < l->burst && l->fd >= 0 && accept_one(l))
		n++;
	if (n < l->burst) {
		l->burst = n > 0 ? n : 1;
		l->n_full = 0;
	} else if (++l->n_full == FULL_TURNS) {
		l->burst = 2 * l->burst < LISTENER_ACCEPTS ? 2 * l->burst : LISTENER_ACCEPTS;
		l->n_full = 0;
	}
}

struct listener *listener_open(struct worker *w, const struct listener_socket *socket,
			       const struct snap_listener *desc)
{
	struct listener *l = kv_zalloc(sizeof(*l));
	int fd = socket->fd;

	l->w = w;
	l->fd = fd;
	l->id = socket->id;
	l->count = gate_door_ref(socket->count);
	l->refs = 1;
	l->addr = socket->addr;
	l->burst = 1;
	sock_no_delay(fd);
	loop_timer_init(&l->pause, w->loop, resume_accept, l);
	listener_update(l, desc);
	loop_fd_init(&l->io, w->loop, fd, LOOP_READ, on_acceptable, l);
	list_push_back(&w->listeners, &l->node);
	listener_rest(l);
	/* After a start clients wait a moment rather than get 503 for want of a certificate. */
	uint64_t patience_us = l->kind == SNAP_LISTENER_GATEWAY && socket->patience_us == 0 ? LISTENER_PATIENCE_US :
											      socket->patience_us;

	if (patience_us > 0 && !worker_is_ready(w))
		pause_accept(l, patience_us);
	return l;
}
