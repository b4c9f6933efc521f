/* SPDX-License-Identifier: Apache-2.0 */
/* entry: how a downstream connection came in and what that means now, see entry.h. Layer proxy. */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "core/match.h"
#include "proxy/conn.h"
#include "proxy/entry.h"
#include "proxy/listener.h"

#define SNI_MAX 255

struct entry *entry_new(struct listener *l)
{
	struct entry *e = kv_zalloc(sizeof(*e));

	e->listener = listener_ref(l);
	return e;
}

void entry_free(struct entry *e)
{
	listener_unref(e->listener);
	free((void *)(uintptr_t)e->sni.p);
	free(e->original_dst);
	free(e->direct);
	server_state_unref(e->proved);
	free(e);
}

bool entry_addr_bytes(const struct sock_addr *a, uint8_t ret[static 16])
{
	if (a->len == 0 || (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6))
		return false;
	if (a->sa.sa_family == AF_INET6) {
		memcpy(ret, &a->in6.sin6_addr, 16);
		return true;
	}
	memset(ret, 0, 10);
	memset(ret + 10, 0xff, 2);
	memcpy(ret + 12, &a->in.sin_addr, 4);
	return true;
}

/* ---- from a local workload ------------------------------------------------------------------- */

void entry_learn_caller(struct entry *e, const struct conn *c, const struct attached *at)
{
	struct sock_addr client, server;

	if (e->owner_asked || !at->tells_callers)
		return;
	client = conn_addr_full(&c->remote);
	/* The caller's socket knows nothing of a redirection. */
	server = e->original_dst ? *e->original_dst : conn_addr_full(&c->local);
	e->owner_asked = true;
	e->owner_known = sock_tcp_owner(&client, &server, &e->owner);
}

/* A caller the kernel knows nothing of (remote, or no netlink) is nobody's workload. */
static int64_t caller_of(struct entry *e, const struct conn *c, const struct lease *lease)
{
	const struct sock_owner nobody = { .uid = (uid_t)-1 };

	if (e->caller_serial != lease->serial) {
		entry_learn_caller(e, c, lease->at);
		e->caller = attach_caller(lease->at, e->owner_known ? &e->owner : &nobody);
		e->caller_serial = lease->serial;
	}
	return e->caller;
}

bool entry_is_edge(const struct entry *e)
{
	return e->listener->kind == SNAP_LISTENER_GATEWAY;
}

int64_t entry_gateway_port(const struct entry *e)
{
	const struct listener *l = e->listener;

	return l->service_port > 0 ? l->service_port : sock_addr_port(&l->addr);
}

const struct attached_gateway *entry_gateway(const struct entry *e, const struct attached *at)
{
	char text[SOCK_ADDR_TEXT_MAX];

	return map_get(&at->gateway_by_addr, str_c(sock_addr_text(&e->listener->addr, text)));
}

/*
 * TLS that is passed on is no session of ours. A server that asks for certificates is entered with
 * what was proved to one like it.
 */
static bool may_enter(const struct entry *e, const struct tls_facts *f, const struct snap_server *desc,
		      const struct server_state *server)
{
	switch ((enum snap_tls_mode)desc->tls.mode) {
	case SNAP_TLS_DISABLE:
		return !f;
	case SNAP_TLS_MUTUAL:
	case SNAP_TLS_ISTIO_MUTUAL:
		return f && e->proved && strcmp(e->proved->key, server->key) == 0;
	case SNAP_TLS_SIMPLE:
	case SNAP_TLS_AUTO:
	case SNAP_TLS__N:
		break;
	}
	return f != NULL;
}

static void find_gateway(struct entry *e, const struct tls_facts *f, const struct attached *at)
{
	const struct attached_gateway *g = entry_gateway(e, at);

	e->gateway_view = e->gateway_server = -1;
	if (!g)
		return;
	if (g->desc->servers.n == 0) {
		e->gateway_view = f ? -1 : g->desc->view;
		return;
	}
	int64_t i = match_server(g->desc, f ? f->sni : e->sni);

	if (i >= 0 && may_enter(e, f, &g->desc->servers.v[i], g->servers[i])) {
		e->gateway_server = i;
		e->gateway_view = g->desc->servers.v[i].view;
	}
}

static void resolve_edge(struct entry *e, const struct conn *c, const struct lease *lease,
			 struct entry_view *ret)
{
	if (e->gateway_serial != lease->serial) {
		find_gateway(e, conn_tls(c), lease->at);
		e->gateway_serial = lease->serial;
	}
	ret->view = e->gateway_view;    /* workload 0 is the gateway itself */
}

bool entry_is_misdirected(const struct entry *e, const struct conn *c, const struct attached *at,
			  struct str host)
{
	const struct tls_facts *f = conn_tls(c);

	if (!f || (e->gateway_server >= 0 && str_ieq(f->sni, host)))
		return false;
	const struct attached_gateway *g = entry_gateway(e, at);

	if (!g || e->gateway_server < 0)
		return true;
	int64_t i = match_server(g->desc, host);

	return i >= 0 && i != e->gateway_server;
}

static void resolve_outbound(struct entry *e, const struct conn *c, const struct lease *lease,
			     struct entry_view *ret)
{
	const struct snap *s = lease->at->snap;

	ret->workload = caller_of(e, c, lease);
	if (ret->workload >= 0)
		ret->view = s->workloads.v[ret->workload].view;
}

/* ---- to a local workload --------------------------------------------------------------------- */

static const struct snap_sni *sni_of(const struct attached *at, struct str sni)
{
	char lower[SNI_MAX];

	if (sni.n == 0 || sni.n > sizeof(lower))
		return NULL;
	for (size_t i = 0; i < sni.n; i++)
		lower[i] = sni.p[i] >= 'A' && sni.p[i] <= 'Z' ? (char)(sni.p[i] | 0x20) : sni.p[i];
	uintptr_t i = (uintptr_t)map_get(&at->snis, str_from(lower, sni.n));

	return i > 0 ? &at->snap->snis.v[i - 1] : NULL;
}

struct str entry_sni(const struct conn *c)
{
	const struct tls_facts *f = conn_tls(c);
	const struct entry *e = c->owner_data;

	return f ? f->sni : e->sni;
}

static struct tls_identity *identity_of(const struct attached *at, const struct snap_inbound *in)
{
	return at->identities[at->snap->workloads.v[in->workload].identity];
}

/* mTLS is what a DISABLE port does not speak (Istio 2.10.5). */
static bool serves_as(const struct attached *at, const struct snap_inbound *in, struct str spiffe)
{
	struct tls_identity *id = identity_of(at, in);

	return in->mtls != SNAP_MTLS_DISABLE && id &&
	       (spiffe.n == 0 || str_eq(tls_identity_spiffe(id), spiffe));
}

/*
 * One of the targets of an SNI, evenly. spiffe: only those that have this identity, because it is
 * the one that the peer has verified on this connection; empty: any.
 */
static const struct snap_inbound *pick_target(const struct attached *at, const struct snap_sni *sni,
					      struct str spiffe, struct rng *rng)
{
	const struct snap_inbound *found = NULL;
	uint64_t n = 0;

	for (size_t i = 0; i < sni->targets.n; i++) {
		const struct snap_inbound *in = &at->snap->inbounds.v[sni->targets.v[i]];

		if (serves_as(at, in, spiffe) && (sni->targets.n == 1 || rng_below(rng, ++n) == 0))
			found = in;
	}
	return found;
}

struct tls_identity *entry_pick_identity(const struct attached *at, struct str sni, struct rng *rng)
{
	const struct snap_sni *s = sni_of(at, sni);
	const struct snap_inbound *in = s ? pick_target(at, s, STR_NULL, rng) : NULL;

	return in ? identity_of(at, in) : NULL;
}

static const struct snap_service_ref *service_at(const struct snap_inbound *in, int64_t i)
{
	return in && i >= 0 && (size_t)i < in->services.n ? &in->services.v[i] : NULL;
}

static const struct snap_sni *own_sni(struct entry *e, const struct tls_facts *f,
				      const struct lease *lease)
{
	if (e->sni_serial != lease->serial) {
		e->sni_row = f ? sni_of(lease->at, f->sni) : NULL;
		e->sni_serial = f ? lease->serial : 0;
	}
	return e->sni_row;
}

static bool is_named(const struct snap_peer *p, struct str named)
{
	return named.n == p->name.n + 1 + p->ns.n && str_has_prefix(named, p->name) &&
	       named.p[p->name.n] == '.' && str_has_suffix(named, p->ns);
}

const struct snap_peer *entry_source(struct entry *e, const struct conn *c,
				     const struct lease *lease, struct str named)
{
	const struct attached *at = lease->at;
	struct str principal = conn_tls(c)->peer_spiffe;

	if (e->peer_serial == lease->serial && e->peer && is_named(e->peer, named))
		return e->peer;
	const struct snap_peer *p = named.n > 0 ? map_get(&at->peers_by_name, named) : NULL;

	if (!p || !str_eq(p->principal, principal))
		p = map_get(&at->peers_by_principal, principal);
	e->peer = p;
	e->peer_serial = lease->serial;
	return p;
}

static void resolve_inbound(struct entry *e, const struct conn *c, const struct lease *lease,
			    struct rng *rng, struct entry_view *ret)
{
	const struct attached *at = lease->at;
	const struct tls_facts *f = conn_tls(c);
	const struct snap_sni *sni = own_sni(e, f, lease);

	ret->inbound = true;
	ret->workload = -1;
	if (e->listener->kind == SNAP_LISTENER_INBOUND) {
		/* Not redirected: it came to a door of one workload's port. */
		ret->target = attach_inbound_at(at, e->original_dst ? e->original_dst :
								      &e->listener->addr);
		if (!ret->target && e->original_dst)
			ret->target = attach_captured_at(at, e->original_dst);
		ret->service = service_at(ret->target, sni ? sni->service : 0);
	} else if (sni) {
		ret->target = pick_target(at, sni, f->own_spiffe, rng);
		ret->service = service_at(ret->target, sni->service);
	}
	if (ret->target)
		ret->workload = ret->target->workload;
}

void entry_resolve(struct entry *e, const struct conn *c, const struct lease *lease,
		   struct rng *rng, struct entry_view *ret)
{
	*ret = (struct entry_view){ .view = -1 };
	if (e->listener->kind == SNAP_LISTENER_INBOUND || e->listener->kind == SNAP_LISTENER_MESH)
		resolve_inbound(e, c, lease, rng, ret);
	else if (entry_is_edge(e))
		resolve_edge(e, c, lease, ret);
	else if (e->listener->kind != SNAP_LISTENER_READY)
		resolve_outbound(e, c, lease, ret);
}

struct lease *entry_resolve_now(struct entry *e, const struct conn *c, struct entry_view *ret)
{
	struct worker *w = c->w;
	struct entry_view before;

	entry_resolve(e, c, w->lease, &w->rng, ret);
	if (e->listener->kind != SNAP_LISTENER_MESH || ret->target || !w->previous)
		return w->lease;
	entry_resolve(e, c, w->previous, &w->rng, &before);
	if (!before.target)
		return w->lease;
	*ret = before;
	return w->previous;
}
