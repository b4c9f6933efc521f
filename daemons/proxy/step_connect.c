/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_connect: a connection for this try: where to, as whom, and who must answer (design 5, Istio
 * 2.9). There is no way from a TLS error back to clear text (promise P2). Layer proxy.
 */
#include "config.h"

#include "io/proxy_protocol.h"
#include "proxy/conn.h"
#include "proxy/listener.h"
#include "proxy/stream.h"

static enum next fail_text(struct stream *s, enum fail why, struct str text)
{
	s->rec.transport_failure = text;
	s->fail = why;
	return NEXT_FAIL;
}

static const struct attached_endpoint *endpoint_run(const struct stream *s)
{
	return &s->lease->at->clusters[s->cluster_index].endpoints[s->endpoint_index];
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static bool wants_mesh_tls(const struct stream *s)
{
	switch ((enum snap_tls_mode)s->cluster->tls.mode) {
	case SNAP_TLS_AUTO:
		return s->endpoint->mesh_port > 0;
	case SNAP_TLS_ISTIO_MUTUAL:
		return true;
	case SNAP_TLS_DISABLE:
	case SNAP_TLS_SIMPLE:
	case SNAP_TLS_MUTUAL:
	case SNAP_TLS__N:
		break;
	}
	return false;
}

/*
 * The identities that may answer: those the rule names, else the one the endpoint's workload has
 * (P3).
 */
static bool expect_identity(struct stream *s)
{
	const struct snap_tls *tls = &s->cluster->tls;
	struct upstream_target *t = &s->target;

	t->want = tls->sans.v;
	t->n_want = tls->sans.n;
	if (t->n_want == 0 && s->endpoint->peer >= 0) {
		t->want = &stream_snap(s)->peers.v[s->endpoint->peer].principal;
		t->n_want = t->want->n > 0 ? 1 : 0;
	}
	return t->n_want > 0;
}

static enum next target_mesh(struct stream *s)
{
	const struct snap *snap = stream_snap(s);
	const struct attached_endpoint *run = endpoint_run(s);
	struct upstream_target *t = &s->target;
	int64_t id = snap->workloads.v[s->entry.workload >= 0 ? s->entry.workload : 0].identity;

	t->addr = run->mesh.len > 0 ? run->mesh : run->plain;
	t->alternate = run->mesh.len > 0 ? run->mesh_alternate : run->alternate;
	t->identity = s->lease->at->identities[id];
	t->sni = s->cluster->tls.sni.n > 0 ? s->cluster->tls.sni : s->endpoint->mesh_sni;
	if (!t->identity)
		return fail_text(s, FAIL_CONNECT,
				 arena_printf(&s->arena, "no certificate for %.*s yet",
					      STR_ARG(snap->identities.v[id])));
	if (!expect_identity(s))
		return fail_text(s, FAIL_CONNECT, STR("which identity must answer is not known"));
	return NEXT_STEP;
}

static enum next target_outside(struct stream *s)
{
	const struct attached_cluster *run = &s->lease->at->clusters[s->cluster_index];
	const struct snap_tls *tls = &s->cluster->tls;
	struct upstream_target *t = &s->target;

	t->ctx = run->state->tls;
	if (!t->ctx)
		return fail_text(s, FAIL_CONNECT, str_c(run->state->tls_error));
	t->sni = tls->sni.n > 0 ? tls->sni : s->host.n > 0 ? s->host : s->cluster->service;
	if (tls->sni.n == 0)
		t->hint.serial = 0;     /* another name, another pool */
	t->want = tls->sans.v;
	t->n_want = tls->sans.n;
	return NEXT_STEP;
}

/*
 * Whose connection it is goes before everything, TLS as well: such a connection is that client's
 * alone. A copy for a mirror has no client.
 */
static void name_client(struct stream *s)
{
	static const struct sock_addr nobody;
	char header[PROXY_PROTOCOL_MAX];
	const struct sock_addr *from = s->shadow ? &nobody : &s->rec.down_remote;
	size_t n = proxy_protocol_put((int)s->cluster->proxy_protocol, from, &s->rec.down_local, header);

	s->target.preface = arena_str(&s->arena, str_from(header, n));
	s->target.hint.serial = 0;      /* another client, another pool */
}

/* ---- addresses ------------------------------------------------------------------------------- */

static enum next target_endpoint(struct stream *s)
{
	const struct snap_peer *peers = stream_snap(s)->peers.v;
	struct upstream_target *t = &s->target;

	t->hint = (struct upstream_hint){
		.serial = s->lease->serial,
		.workload = (uint32_t)s->entry.workload,
		.cluster = (uint32_t)s->cluster_index,
		.endpoint = (uint32_t)s->endpoint_index,
	};
	t->cluster = s->lease->at->clusters[s->cluster_index].state;
	t->endpoint = endpoint_run(s)->state;
	t->limits = &s->cluster->limits;
	t->addr = endpoint_run(s)->plain;
	t->alternate = endpoint_run(s)->alternate;
	s->rec.up_remote = t->addr;
	s->rec.destination = s->endpoint->peer >= 0 ? &peers[s->endpoint->peer] : NULL;
	if (!s->http)
		t->tunnel = s->cluster->tunnel;
	if (wants_mesh_tls(s))
		return target_mesh(s);
	t->way = s->lease->at->clusters[s->cluster_index].way;
	if (s->cluster->proxy_protocol > 0)
		name_client(s);
	if (s->cluster->tls.mode == SNAP_TLS_SIMPLE || s->cluster->tls.mode == SNAP_TLS_MUTUAL)
		return target_outside(s);
	return NEXT_STEP;
}

/* A caller that names one of our own doors would go round in circles. */
static bool is_own_door(const struct stream *s, const struct sock_addr *a)
{
	list_for_each(it, &s->w->listeners) {
		const struct listener *l = list_entry(it, struct listener, node);

		if (sock_addr_port(&l->addr) == sock_addr_port(a) &&
		    (sock_addr_eq(&l->addr, a) || sock_addr_is_loopback(a) ||
		     (sock_addr_is_any(&l->addr) && sock_addr_is_local(a))))
			return true;
	}
	return false;
}

static void on_named(struct named_wait *wait)
{
	stream_run(list_entry(wait, struct stream, named));
}

/* The host is a name: the address that it has now. */
static enum next look_up(struct stream *s, struct str host)
{
	struct upstream_target *t = &s->target;
	const char *why;

	s->named.fn = on_named;
	switch (named_find(s->w->names, host, &s->named, &t->addr, &why)) {
	case NAMED_READY:
		return NEXT_STEP;
	case NAMED_WAIT:
		return NEXT_WAIT;
	case NAMED_UNKNOWN:
		return fail_text(s, FAIL_LOOKUP, arena_str(&s->arena, str_c(why)));
	case NAMED_FULL:
		break;
	}
	return fail_text(s, FAIL_OVERFLOW, STR("too many names are being looked up"));
}

/* One of the snapshot's, and not what stands for all that nobody declared. */
static bool is_declared(const struct stream *s)
{
	const struct snap *snap = stream_snap(s);

	return s->cluster_index < snap->clusters.n &&
	       s->cluster == &snap->clusters.v[s->cluster_index];
}

/*
 * What is declared of a service counts for addresses that its name has, and never for one that a
 * caller has dialled under that name.
 */
static void note_name(struct stream *s)
{
	if (is_declared(s))
		s->target.way = s->lease->at->clusters[s->cluster_index].way;
	s->target.way.named = true;
}

static enum next named_address(struct stream *s, int64_t port)
{
	struct upstream_target *t = &s->target;
	struct str host = s->http ? s->host : s->rec.sni;

	if (sock_addr_parse(host, (uint16_t)port, &t->addr))
		return NEXT_STEP;
	enum next n = look_up(s, host);

	if (n == NEXT_STEP)
		sock_addr_set_port(&t->addr, (uint16_t)port);
	else
		t->addr.len = 0;
	note_name(s);
	return n;
}

/* Where the caller itself has said: the address that it dialled, or the host of its request. */
static enum next target_named(struct stream *s)
{
	const struct entry *e = s->down.conn->owner_data;
	const struct snap_cluster *c = s->cluster;
	struct upstream_target *t = &s->target;
	enum next n = NEXT_STEP;

	t->way.outside = true;
	if (e->original_dst && c->kind != SNAP_CLUSTER_BY_NAME)
		t->addr = *e->original_dst;
	else
		n = named_address(s, c->dial_port > 0 ? c->dial_port : s->port);
	if (n != NEXT_STEP)
		return n;
	s->rec.up_remote = t->addr;
	if (is_own_door(s, &t->addr))
		return fail_text(s, FAIL_NO_ROUTE, STR("the destination is this proxy itself"));
	if (!is_declared(s))
		return NEXT_STEP;
	t->cluster = s->lease->at->clusters[s->cluster_index].state;
	t->limits = &c->limits;
	return c->tls.mode == SNAP_TLS_SIMPLE || c->tls.mode == SNAP_TLS_MUTUAL ? target_outside(s)
										 : NEXT_STEP;
}

/*
 * The rules of capture let pass what the proxy sends, so plain text to a captured port of this host would come in
 * around what protects the port. What a caller merely names is never sent there; a service's endpoint is unless
 * the port is STRICT.
 */
static bool goes_round(const struct stream *s, const struct sock_addr *a)
{
	const struct snap_inbound *in = attach_captured_at(s->lease->at, a);

	return in && (!s->endpoint || in->mtls == SNAP_MTLS_STRICT) &&
	       (sock_addr_is_loopback(a) || sock_addr_is_local(a));
}

/*
 * What was captured goes on to the address that it was sent to: an application that listens on one address alone is
 * not to be had at the others, as without a mesh.
 */
static bool application_addr(const struct stream *s, struct sock_addr *ret)
{
	const struct entry *e = s->down.conn->owner_data;
	const struct snap_application *a = s->entry.target->application;

	if (!e->original_dst || (a && a->address.n > 0))
		return attach_application_addr(s->entry.target, ret);
	*ret = *e->original_dst;
	return true;
}

static enum next target_application(struct stream *s)
{
	const struct snap_inbound *to = s->entry.target;
	const struct entry *e = s->down.conn->owner_data;
	struct upstream_target *t = &s->target;
	struct sock_addr usual;

	if (!application_addr(s, &t->addr))
		return fail_text(s, FAIL_CONNECT, STR("the workload's address is no IP address"));
	if (e->original_dst && is_own_door(s, &t->addr))
		return fail_text(s, FAIL_CONNECT, STR("the destination is this proxy itself"));
	if (to->application && to->application->cluster >= 0) {
		t->cluster = s->lease->at->clusters[to->application->cluster].state;
		t->limits = &stream_snap(s)->clusters.v[to->application->cluster].limits;
	}
	s->rec.up_remote = t->addr;
	t->hint = (struct upstream_hint){
		.serial = s->lease->serial,
		.workload = UINT32_MAX,         /* no caller's: every one goes to the same */
		.endpoint = (uint32_t)(to - stream_snap(s)->inbounds.v),
	};
	if (e->original_dst && !(attach_application_addr(to, &usual) && sock_addr_eq(&usual, &t->addr)))
		t->hint.serial = 0;     /* another address, another pool */
	return NEXT_STEP;
}

static bool speaks_h2(int64_t protocol)
{
	return protocol == SNAP_PROTOCOL_HTTP2 || protocol == SNAP_PROTOCOL_GRPC;
}

static bool client_speaks_h2(const struct stream *s)
{
	return s->req.version == HEAD_VERSION_2 && s->req.upgrade.n == 0;
}

static bool takes_h2(const struct stream *s)
{
	if (speaks_h2(s->cluster->protocol))
		return true;
	switch ((enum snap_http2)s->cluster->http2) {
	case SNAP_HTTP2_ALWAYS:
		return true;
	case SNAP_HTTP2_NEVER:
		return false;
	case SNAP_HTTP2_AS_CLIENT:
		return client_speaks_h2(s);
	case SNAP_HTTP2_TO_PROXIES:
	case SNAP_HTTP2__N:
		break;
	}
	return s->endpoint && wants_mesh_tls(s);
}

/*
 * What is spoken up there: the port's declared protocol towards applications; between proxies HTTP/2
 * wherever the peer takes it, as it costs the fewest wake-ups.
 */
static const struct codec_ops *codec_for(const struct stream *s)
{
	if (!s->http)
		return &codec_tcp;
	if (s->h1_only)
		return &codec_h1;
	if (s->question && s->rec.protocol == RECORD_GRPC)
		return &codec_h2;
	if (s->entry.inbound)
		return speaks_h2(s->entry.target->protocol) ||
		       (s->entry.target->protocol == SNAP_PROTOCOL_AUTO && client_speaks_h2(s)) ?
			       &codec_h2 : &codec_h1;
	return takes_h2(s) ? &codec_h2 : &codec_h1;
}

static enum next make_target(struct stream *s)
{
	s->target = (struct upstream_target){ .codec = codec_for(s) };
	if (s->entry.inbound)
		return target_application(s);
	enum next n = s->endpoint ? target_endpoint(s) : target_named(s);

	if (n == NEXT_STEP && !s->target.identity && goes_round(s, &s->target.addr))
		return fail_text(s, FAIL_CONNECT,
				 STR("the port is a workload's of this mesh: it is called by its service's name, over mTLS"));
	return n;
}

/* ---- the try --------------------------------------------------------------------------------- */

static void begin_try(struct stream *s)
{
	struct endpoint_state *st = s->target.endpoint;

	s->rec.tries++;
	s->try_began_us = stream_now(s);
	stream_request_complete(s);
	if (s->per_try_us > 0) {
		s->try_at_us = stream_now(s) + (uint64_t)s->per_try_us;
		stream_arm(s);
	}
	if (!st)
		return;
	atomic_fetch_add_explicit(&st->active, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&st->requests, 1, memory_order_relaxed);
	s->holds_endpoint = true;
}

static bool is_at(const struct conn *c, const struct sock_addr *a)
{
	const struct sock_addr at = conn_addr_full(&c->remote);

	return a && sock_addr_eq(&at, a);
}

static void note_connected(struct stream *s)
{
	const struct conn *c = s->up.conn;
	const struct tls_facts *f = conn_tls(c);
	struct record *r = &s->rec;

	r->up_local = conn_addr_full(&c->local);
	if (is_at(c, s->target.alternate))
		r->up_remote = *endpoint_run(s)->alternate;
	if (!f || s->entry.inbound)
		return;
	r->mutual = f->mutual;
	r->tls_version = f->version;
	r->tls_cipher = f->cipher;
	r->first_on_conn = c->exchanges == 1;
	if (!s->target.identity)
		return;
	r->source_principal = tls_identity_spiffe(s->target.identity);
	for (size_t i = 0; i < s->target.n_want; i++)
		if (str_eq(s->target.want[i], f->peer_spiffe))
			r->destination_principal = s->target.want[i];
}

static void on_connection(struct upstream_wait *wait, enum fail why, const char *text)
{
	struct stream *s = list_entry(wait, struct stream, wait);

	s->up_fail = why;
	if (why != FAIL_NONE && text)
		s->up_text = arena_str(&s->arena, str_c(text));
	stream_run(s);
}

static bool method_is_idempotent(struct str m)
{
	static const char *const safe[] = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND" };

	for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
		if (str_eq(m, str_c(safe[i])))
			return true;
	return false;
}

static enum next begin(struct stream *s)
{
	enum next n = make_target(s);

	if (n != NEXT_STEP)
		return n;
	s->idempotent = s->http && s->req.upgrade.n == 0 &&
			(s->question || method_is_idempotent(s->req.method));
	begin_try(s);
	s->wait = (struct upstream_wait){
		.leg = &s->up, .fn = on_connection, .fresh = s->raced > 0,
	};
	list_init(&s->wait.node);
	switch (upstream_take(s->w, &s->target, &s->wait, s->http && !s->idempotent)) {
	case UPSTREAM_READY:
		break;
	case UPSTREAM_WAIT:
		return NEXT_WAIT;
	case UPSTREAM_FULL:
		s->fail = FAIL_OVERFLOW;
		return NEXT_FAIL;
	}
	note_connected(s);
	return NEXT_STEP;
}

enum next step_connect(struct stream *s)
{
	if (s->wait.waiting || s->named.waiting)
		return NEXT_WAIT;       /* an event of the client's came meanwhile */
	if (!s->up.conn)
		return begin(s);
	note_connected(s);
	return NEXT_STEP;
}
