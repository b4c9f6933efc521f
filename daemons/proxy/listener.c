/* SPDX-License-Identifier: Apache-2.0 */
/* listener: accept and the first decision about a connection, see listener.h. Layer proxy. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "proxy/entry.h"
#include "proxy/listener.h"
#include "proxy/worker.h"

#define CONNECTIONS_MAX 10000           /* security-model L4 */

/* ---- life ------------------------------------------------------------------------------------ */

static void set_service(struct listener *l, struct str service)
{
	char *copy = kv_malloc(service.n + 1);

	memcpy(copy, service.n > 0 ? service.p : "", service.n);
	free((void *)(uintptr_t)l->service.p);
	l->service = str_from(copy, service.n);
}

void listener_update(struct listener *l, const struct snap_listener *desc)
{
	l->kind = desc->kind;
	l->service_port = desc->service_port;
	l->view = desc->view;
	if (!str_eq(l->service, desc->service))
		set_service(l, desc->service);
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

	c->w->n_handshakes -= e->in_handshake;
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
	e->listener->n_conns--;
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
	struct sock_addr client = conn_addr_full(&c->remote), server = conn_addr_full(&c->local);

	e->owner_known = sock_tcp_owner(&client, &server, &e->owner);
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
		learn_caller(c, e);
		conn_set_codec(c, &codec_h1, true);
		break;
	case SNAP_LISTENER_TCP:
		learn_caller(c, e);
		conn_set_codec(c, &codec_tcp, true);
		break;
	case SNAP_LISTENER_OUTBOUND:
		learn_caller(c, e);
		learn_destination(c, e);
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
	struct conn *c = conn_new(w, fd, &owner, e);

	c->remote = conn_addr_pack(peer);
	list_push_back(&w->conns, &c->node);
	l->n_conns++;
	w->n_down++;
	stats_add(w->stats, STATS_DOWN_CONNECTIONS, 1);
	stats_add(w->stats, STATS_DOWN_ACCEPTED, 1);
	begin(c);
}

/* ---- accept ---------------------------------------------------------------------------------- */

static void resume_accept(void *arg)
{
	struct listener *l = arg;

	loop_fd_want(&l->io, LOOP_READ);
}

static void pause_accept(struct listener *l)
{
	loop_fd_want(&l->io, 0);
	loop_timer_set(&l->pause, LISTENER_PAUSE_US);
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
		int fd = sock_accept(l->fd, &peer);

		if (fd >= 0) {
			close(fd);
			stats_add(w->stats, STATS_DOWN_REFUSED, 1);
		}
	}
	w->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pause_accept(l);
}

/* The limit is per listener; workers share it evenly as the kernel spreads connections. */
static bool is_full(const struct listener *l)
{
	int64_t max = worker_settings(l->w)->max_connections;

	return l->n_conns >= (size_t)(max > 0 ? max : CONNECTIONS_MAX);
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
	if (is_full(l)) {
		stats_add(l->w->stats, STATS_DOWN_REFUSED, 1);
		close(fd);
		return true;
	}
	accepted(l, fd, &peer);
	return true;
}

static void on_acceptable(void *arg, unsigned what)
{
	struct listener *l = arg;

	(void)what;
	for (int i = 0; i < LISTENER_ACCEPTS && l->fd >= 0; i++)
		if (!accept_one(l))
			break;
}

struct listener *listener_open(struct worker *w, int fd, uint64_t id,
			       const struct snap_listener *desc)
{
	struct listener *l = kv_zalloc(sizeof(*l));

	l->w = w;
	l->fd = fd;
	l->id = id;
	l->refs = 1;
	(void)sock_local_addr(fd, &l->addr);
	listener_update(l, desc);
	loop_timer_init(&l->pause, w->loop, resume_accept, l);
	loop_fd_init(&l->io, w->loop, fd, LOOP_READ, on_acceptable, l);
	list_push_back(&w->listeners, &l->node);
	return l;
}
