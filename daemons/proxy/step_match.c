/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_match: which virtual host, route and destination (Istio 2.3, 2.4); what a route answers
 * itself ends here, what it changes in the request is changed here, once. Layer proxy.
 */
#include "config.h"

#include "base/base64.h"
#include "core/rewrite.h"
#include "http/url.h"
#include "proxy/asked.h"
#include "proxy/conn.h"
#include "proxy/cross_origin.h"
#include "proxy/headers.h"
#include "proxy/listener.h"
#include "proxy/reply.h"
#include "proxy/stream.h"

/* Where ALLOW_ANY leads: the address that the caller itself has named. */
static const struct snap_cluster passthrough = {
	.name = { "PassthroughCluster", 18 },
	.service_name = { "PassthroughCluster", 18 },
	.kind = SNAP_CLUSTER_ORIGINAL_DST,
	.tls = { .mode = SNAP_TLS_DISABLE },
};

static enum next fail(struct stream *s, enum fail why)
{
	s->fail = why;
	return NEXT_FAIL;
}

/* HTTP is answered; bytes meet a cluster that has no endpoint (Istio 2.15.6). */
static enum next blocked(struct stream *s)
{
	return fail(s, s->http ? FAIL_BLOCKED : FAIL_NO_HEALTHY);
}

/* ---- destinations ---------------------------------------------------------------------------- */

static void note_cluster(struct stream *s)
{
	const struct snap_cluster *c = s->cluster;
	struct record *r = &s->rec;

	r->cluster = c->name;
	r->service = c->service.n > 0 ? c->service : r->service;
	r->service_name = c->service_name;
	r->service_ns = c->service_ns;
	r->service_port = c->port > 0 ? c->port : s->port;
}

static enum next choose_destination(struct stream *s, const struct snap_weighted *v, size_t n,
				    int64_t total)
{
	s->dest = &v[match_weighted(v, n, total, &s->w->rng)];
	s->rec.cluster = s->dest->cluster_name;
	if (s->dest->cluster < 0)
		return fail(s, FAIL_NO_CLUSTER);
	s->cluster_index = (size_t)s->dest->cluster;
	s->cluster = &stream_snap(s)->clusters.v[s->dest->cluster];
	note_cluster(s);
	return s->cluster->kind == SNAP_CLUSTER_BLACKHOLE ? blocked(s) : NEXT_STEP;
}

/* ---- hosts and addresses nobody declared (Istio 2.3.13, 2.15.6) ------------------------------ */

static enum next unknown_destination(struct stream *s)
{
	struct record *r = &s->rec;

	r->service = s->host;
	if (stream_snap(s)->views.v[s->entry.view].outbound == SNAP_OUTBOUND_REGISTRY_ONLY) {
		r->route_name = STR("block_all");
		r->cluster = r->service_name = STR("BlackHoleCluster");
		return blocked(s);
	}
	r->route_name = STR("allow_any");
	s->cluster = &passthrough;
	note_cluster(s);
	return NEXT_STEP;
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static bool find_route(struct stream *s, const struct match_vhost *vh)
{
	struct match_facts f = {
		.method = s->req.method,
		.scheme = s->req.scheme,
		.authority = s->req.authority,
		.head = &s->req,
		.claims = s->token ? s->token->claims : NULL,
		.scratch = s->w->regex,
	};
	unsigned limits = 0;

	url_split_query(s->req.path, &f.path, &f.query);
	bool found = match_route(vh, &f, &s->hit, &limits);

	for (; limits > 0; limits--)
		stats_add_reason(s->w->stats, "kvmesh_bad_input_total", "regex", "match_limit");
	return found;
}

static enum next redirect(struct stream *s)
{
	const struct snap_redirect *r = s->hit.route->redirect;
	struct rewrite_origin from = {
		.scheme = s->req.scheme,
		.authority = s->req.authority,
		.path = s->req.path,
		.listener_port = s->port,
	};

	reply_redirect(s, (unsigned)r->code, rewrite_location(r, s->hit.match, &from, &s->arena));
	return NEXT_END;
}

static enum next answer(struct stream *s, const struct snap_direct *d)
{
	struct str body = d->body;

	if (d->base64.n > 0 && !base64_decode(d->base64, &s->arena, &body))
		body = STR_NULL;
	reply_status(s, (unsigned)d->status, body, "direct_response");
	return NEXT_END;
}

static enum next forward(struct stream *s)
{
	const struct snap_route *r = s->hit.route;
	enum next n = choose_destination(s, r->destinations.v, r->destinations.n, r->total_weight);

	if (n != NEXT_STEP)
		return n;
	rewrite_request(&s->hit, &s->req, s->w->regex);
	headers_route_ops(s, &s->req, true);
	s->rec.path = headers_path_to_tell(s);
	s->rec.original_path = head_value(&s->req, HEAD_ID_X_ENVOY_ORIGINAL_PATH);
	return NEXT_STEP;
}

static enum next take_route(struct stream *s)
{
	const struct snap_route *r = s->hit.route;

	s->rec.route_name = r->name;
	if (s->hit.cors && cross_origin_answers(s))
		return NEXT_END;
	switch ((enum snap_action)r->action) {
	case SNAP_ACTION_REDIRECT:
		return redirect(s);
	case SNAP_ACTION_DIRECT:
		return answer(s, r->direct);
	case SNAP_ACTION_ROUTE:
	case SNAP_ACTION__N:
		break;
	}
	return forward(s);
}

static enum next match_http(struct stream *s)
{
	const struct match_vhost *vh =
		match_vhost(s->lease->at->match, s->entry.view, s->port, s->host);

	/* A gateway leads to what it was told to, and nowhere else (2.3.14). */
	if (!vh)
		return entry_is_edge(s->down.conn->owner_data) ? fail(s, FAIL_NO_ROUTE)
							       : unknown_destination(s);
	s->rec.service = vh->snap->service.n > 0 ? vh->snap->service : s->host;
	s->rec.service_port = s->port;
	return find_route(s, vh) ? take_route(s) : fail(s, FAIL_NO_ROUTE);
}

/* ---- opaque streams -------------------------------------------------------------------------- */

static enum next match_opaque(struct stream *s)
{
	const struct entry *e = s->down.conn->owner_data;
	struct match_l4_facts f = { .sni = s->rec.sni };

	if (e->listener->kind == SNAP_LISTENER_TCP) {
		f.service = e->listener->service;
		f.port = e->listener->service_port;
	} else if (entry_is_edge(e)) {
		f.has_addr = entry_addr_bytes(&s->rec.down_local, f.addr);
		f.port = entry_gateway_port(e);
	} else if (!e->original_dst) {
		return fail(s, FAIL_NO_ROUTE);  /* the door has become another meanwhile */
	} else {
		f.has_addr = entry_addr_bytes(e->original_dst, f.addr);
		f.port = sock_addr_port(e->original_dst);
	}
	s->port = f.port;
	const struct snap_l4 *row = match_l4(s->lease->at->match, s->entry.view, &f);

	if (!row)               /* a gateway leads to what it was told to (2.14.3) */
		return f.service.n > 0 || entry_is_edge(e) ? fail(s, FAIL_NO_ROUTE)
							   : unknown_destination(s);
	s->rec.route_name = row->name;
	s->rec.service = row->service;
	return choose_destination(s, row->destinations.v, row->destinations.n, row->total_weight);
}

/* ---- to a local workload --------------------------------------------------------------------- */

static enum next match_inbound(struct stream *s)
{
	const struct snap_inbound *to = s->entry.target;
	const struct snap_service_ref *svc = s->entry.service;
	struct record *r = &s->rec;

	r->cluster = s->lease->inbounds[to - stream_snap(s)->inbounds.v];
	r->route_name = STR("default");
	r->service_port = svc ? svc->port : to->port;
	if (svc) {
		r->service = svc->service;
		r->service_name = svc->name;
		r->service_ns = svc->ns;
	} else {
		r->service = s->host;
	}
	return NEXT_STEP;
}

enum next step_match(struct stream *s)
{
	enum next n = s->entry.inbound ? match_inbound(s) : s->http ? match_http(s) : match_opaque(s);

	if (n == NEXT_STEP && s->http)
		asked_apply(s);
	return n;
}
