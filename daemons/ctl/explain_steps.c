/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain_steps: the steps of a request in the proxy's order: head, policies of a gateway, match,
 * what the route itself answers, destinations. Layer daemons/ctl.
 */
#include "config.h"

#include <string.h>

#include "base/cidr.h"
#include "core/asked.h"
#include "core/cors.h"
#include "core/rewrite.h"
#include "ctl/explain.h"
#include "ctl/verdict.h"
#include "http/url.h"
#include "io/sock.h"

static void refuse(struct outcome *o, int status, const char *flags, const char *why)
{
	*o = (struct outcome){ .status = status, .flags = flags, .why = why };
}

static void answer(struct outcome *o, int status, const char *why)
{
	*o = (struct outcome){ .good = true, .status = status, .flags = "", .why = why };
}

/* ---- head ------------------------------------------------------------------------------------ */

/* What the proxy takes off a request of its own side of the mesh, and what it puts on. */
static void dress(struct explain *x, struct head *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++) {
		struct str name = h->fields[i].name;

		if (!str_has_prefix(name, STR("x-kvmesh-")) &&
		    !str_has_prefix(name, STR("x-envoy-")) &&
		    h->fields[i].id != HEAD_ID_X_FORWARDED_CLIENT_CERT)
			h->fields[kept++] = h->fields[i];
	}
	h->n = kept;
	if (x->edge) {
		struct str before = head_joined(h, STR("x-forwarded-for"));
		struct str client = str_c(x->client ? x->client : "127.0.0.1");

		head_set_id(h, HEAD_ID_X_FORWARDED_FOR,
			    arena_printf(x->a, "%.*s%s%.*s", STR_ARG(before),
					 before.n > 0 ? "," : "", STR_ARG(client)));
		head_set_id(h, HEAD_ID_X_FORWARDED_PROTO, h->scheme);
	}
	if (!head_find(h, HEAD_ID_X_FORWARDED_PROTO))
		head_add_id(h, HEAD_ID_X_FORWARDED_PROTO, STR("http"));
	if (!head_find(h, HEAD_ID_X_REQUEST_ID))
		head_add_id(h, HEAD_ID_X_REQUEST_ID, STR("00000000-0000-4000-8000-000000000000"));
}

/* ---- a gateway's own policies ---------------------------------------------------------------- */

static bool gateway_allows(struct explain *x, const struct head *h, struct doc *out,
			   struct outcome *ret)
{
	struct authz_facts f = {
		.http = true, .port = x->door, .method = h->method, .host = h->authority, .head = h
	};
	struct authz_verdict v;
	struct cidr from;
	struct str query;

	url_split_query(h->path, &f.path, &query);
	if (cidr_parse(str_c(x->client ? x->client : "127.0.0.1"), &from))
		f.source = f.remote = from.addr;
	if (str_eq(x->request.scheme, STR("https")))
		f.sni = x->request.host;
	authz_decide(x->own_authz, 0, &f, x->a, &v);
	if (authz_has_policies(x->own_authz, 0))
		verdict_put(x->a, doc_set(x->a, out, "gateway_policy", doc_new_map(x->a)),
			    x->own_authz, 0, &v);
	if (!v.allowed)
		refuse(ret, 403, "", "a policy of the gateway refuses it");
	return v.allowed;
}

/* ---- nobody declared it ---------------------------------------------------------------------- */

static void unknown_destination(struct explain *x, struct doc *out, struct outcome *ret)
{
	struct doc *d = doc_set(x->a, out, "route", doc_new_map(x->a));
	struct sock_addr addr;

	if (x->own.snap->views.v[x->view].outbound == SNAP_OUTBOUND_REGISTRY_ONLY) {
		doc_set_str(x->a, d, "name", STR("block_all"));
		refuse(ret, 502, "",
		       "no service has this host, and outboundTrafficPolicy is REGISTRY_ONLY");
		return;
	}
	doc_set_str(x->a, d, "name", STR("allow_any"));
	if (sock_addr_parse(x->request.host, (uint16_t)x->port, &addr))
		*ret = (struct outcome){ .good = true,
					 .why = "no service has this host; ALLOW_ANY "
						"passes it on to the address as named" };
	else
		refuse(ret, 503, "UH",
		       "no service has this host, and it is no address to pass it on to");
}

/* ---- destinations ---------------------------------------------------------------------------- */

struct way {
	const struct match_hit *hit; /* NULL: an opaque stream */
	const struct head *req;      /* as it came */
	const struct snap_weighted *v;
	size_t n;
	int64_t total;
};

static struct head copy_head(struct arena *a, const struct head *from)
{
	struct head h = *from;

	h.arena = a;
	h.cap = h.n;
	h.fields = arena_new_n(a, struct head_field, h.n);
	if (h.n > 0)
		memcpy(h.fields, from->fields, h.n * sizeof(*h.fields));
	return h;
}

/* The request as it leaves for that destination. */
static struct head changed_head(const struct explain *x, const struct way *w, size_t i)
{
	const struct snap_route *r = w->hit->route;
	struct head h = copy_head(x->a, w->req);
	const struct rewrite_ctx ctx = {
		.req = &h,
		.protocol = STR("HTTP/1.1"),
		.route_name = r->name,
		.upstream_cluster = w->v[i].cluster_name,
		.hostname = x->own.snap->settings.node,
		.request_id = head_value(&h, HEAD_ID_X_REQUEST_ID),
	};

	rewrite_request(w->hit, &h, NULL);
	rewrite_headers(w->n > 1 ? w->v[i].headers.request : r->headers.request, &h, &ctx);
	rewrite_headers(w->n > 1 ? r->headers.request : w->v[i].headers.request, &h, &ctx);
	return h;
}

static void one_way(const struct explain *x, const struct way *w, size_t i, struct doc *d,
		    struct outcome *ret)
{
	const struct snap_cluster *k;
	struct head h = w->hit ? changed_head(x, w, i) : *w->req;

	doc_set_str(x->a, d, "cluster", w->v[i].cluster_name);
	doc_set_int(x->a, d, "weight", w->v[i].weight);
	doc_set_real(x->a, d, "percent",
		     w->n == 1 ? 100.0 : 100.0 * (double)w->v[i].weight / (double)w->total);
	if (w->hit) {
		doc_set_str(x->a, d, "path", h.path);
		doc_set_str(x->a, d, "host", h.authority);
	}
	if (w->v[i].cluster < 0) {
		refuse(ret, 503, "NC", "no such host or subset");
		return;
	}
	k = &x->own.snap->clusters.v[w->v[i].cluster];
	if (k->kind == SNAP_CLUSTER_BLACKHOLE)
		refuse(ret, 502, "", "it leads nowhere (BlackHoleCluster)");
	else
		explain_destination(x, k, &h, d, ret);
}

/* Good only when each way that requests take is; the first bad one tells why. */
static void all_ways(const struct explain *x, const struct way *w, struct doc *out,
		     struct outcome *ret)
{
	struct doc *list = doc_set(x->a, out, "destinations", doc_new_list(x->a));
	size_t good = 0;

	*ret = (struct outcome){ .good = true };
	for (size_t i = 0; i < w->n; i++) {
		struct doc *d = doc_add(x->a, list, doc_new_map(x->a));
		struct outcome o = { 0 };

		one_way(x, w, i, d, &o);
		if (!w->hit) /* a connection ends, nothing is answered */
			o.status = 0;
		doc_set_str(x->a, d, "verdict", o.good ? STR("DELIVERED") : STR("REFUSED"));
		explain_put_outcome(x->a, d, &o);
		good += o.good;
		if (!o.good && ret->good)
			*ret = o;
	}
	if (good > 0 && good < w->n)
		doc_set_bool(x->a, out, "partly", true);
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void put_redirect(struct explain *x, const struct match_hit *hit, const struct head *h,
			 struct doc *d, struct outcome *ret)
{
	const struct snap_redirect *r = hit->route->redirect;
	const struct rewrite_origin from = { .scheme = h->scheme,
					     .authority = h->authority,
					     .path = h->path,
					     .listener_port = x->port };

	doc_set_str(x->a, d, "location", rewrite_location(r, hit->match, &from, x->a));
	answer(ret, (int)r->code, "the route redirects");
}

/* A preflight that the route answers. */
static bool cors_answers(struct explain *x, const struct match_hit *hit, const struct head *h,
			 struct doc *d, struct outcome *ret)
{
	enum cors_verdict v;

	if (!hit->cors)
		return false;
	v = cors_judge(hit->cors, h, NULL, NULL);
	doc_set_str(x->a, d, "cors",
		    v == CORS_NOT         ? STR("no origin that is allowed")
		    : v == CORS_ALLOWED   ? STR("the origin is allowed")
		    : v == CORS_PREFLIGHT ? STR("a preflight that is allowed")
					  : STR("a preflight of another origin"));
	if (v == CORS_NOT || v == CORS_ALLOWED)
		return false;
	answer(ret, 200, "the proxy answers the preflight itself");
	return true;
}

/* An abort of all requests is the last word. */
static bool fault_ends(const struct snap_route *r, struct outcome *ret)
{
	if (!r->fault || r->fault->abort_ppm < 1000000)
		return false;
	refuse(ret, r->fault->abort_grpc >= 0 ? 200 : (int)r->fault->abort_status, "FI",
	       "the route's fault aborts every request");
	return true;
}

static void take_route(struct explain *x, const struct match_hit *hit, const struct head *h,
		       struct doc *out, struct outcome *ret)
{
	const struct snap_route *r = hit->route;
	struct doc *d = doc_get(out, STR("route"));
	const struct way w = { hit, h, r->destinations.v, r->destinations.n, r->total_weight };
	struct outcome of_fault;

	explain_put_route(x, d, hit);
	if (cors_answers(x, hit, h, d, ret))
		return;
	if (r->action == SNAP_ACTION_REDIRECT) {
		put_redirect(x, hit, h, d, ret);
	} else if (r->action == SNAP_ACTION_DIRECT) {
		answer(ret, (int)r->direct->status, "the route answers itself");
	} else {
		all_ways(x, &w, out, ret);
		if (fault_ends(r, &of_fault))
			*ret = of_fault;
	}
}

static void find_route(struct explain *x, const struct match_vhost *vh, const struct head *h,
		       struct doc *out, struct outcome *ret)
{
	struct doc *d = doc_set(x->a, out, "route", doc_new_map(x->a));
	struct match_facts f = {
		.method = h->method, .scheme = h->scheme, .authority = h->authority, .head = h
	};
	struct match_hit hit;

	doc_set_str(x->a, d, "virtual_host", vh->snap->name);
	url_split_query(h->path, &f.path, &f.query);
	if (match_route(vh, &f, &hit, NULL))
		take_route(x, &hit, h, out, ret);
	else
		refuse(ret, 404, "NR", "no route of the host fits");
}

static void walk_http(struct explain *x, struct doc *out, struct outcome *ret)
{
	const struct match_vhost *vh;
	struct head h = copy_head(x->a, &x->request.head);

	if (!head_is_served_method(h.method)) {
		refuse(ret, 405, "DPE", "a method that no proxy serves");
		return;
	}
	if (!request_normalize(x->own.snap, x->a, &h)) {
		refuse(ret, 400, "DPE", "a path that no proxy takes");
		return;
	}
	dress(x, &h);
	doc_set_str(x->a, doc_get(out, STR("request")), "path", h.path);
	if (x->edge && x->view < 0) {
		refuse(ret, 0, "", "no server of the gateway has this name: the handshake fails");
		return;
	}
	if (x->edge && !gateway_allows(x, &h, out, ret))
		return;
	vh = match_vhost(x->match, x->view, x->port, x->request.host);
	if (vh)
		find_route(x, vh, &h, out, ret);
	else if (x->edge)
		refuse(ret, 404, "NR", "no VirtualService has this host at the gateway");
	else
		unknown_destination(x, out, ret);
}

/* ---- opaque streams -------------------------------------------------------------------------- */

/* "redis", "redis.ns" … of a row of the view, as names of a service go. */
static struct str service_of(const struct explain *x)
{
	const struct snap_view *v = &x->own.snap->views.v[x->view];
	struct str host = x->request.host,
		   ns = x->own.snap->peers.v[x->own.snap->workloads.v[x->workload].peer].ns;
	struct str found = STR("");

	for (size_t i = 0; i < v->l4.n; i++) {
		struct str service = v->l4.v[i].service;

		if (v->l4.v[i].port != x->request.port || !str_has_prefix(service, host))
			continue;
		struct str rest = str_skip(service, host.n);

		if (rest.n == 0)
			return service;
		if (rest.p[0] != '.')
			continue;
		if (found.n == 0 || str_has_prefix(str_skip(rest, 1), ns))
			found = service;
	}
	return found;
}

static void put_facts(const struct explain *x, struct match_l4_facts *f)
{
	struct cidr addr;
	bool tls = str_eq(x->request.scheme, STR("tls")) ||
		   (x->edge && str_eq(x->request.scheme, STR("https")));

	*f = (struct match_l4_facts){ .port = x->edge ? x->port : x->request.port };
	f->has_addr = !x->edge && cidr_parse(x->request.host, &addr);
	if (f->has_addr)
		memcpy(f->addr, addr.addr, sizeof(f->addr));
	else if (!x->edge)
		f->service = service_of(x);
	if (tls && !cidr_parse(x->request.host, &addr))
		f->sni = x->request.host;
}

static void walk_opaque(struct explain *x, struct doc *out, struct outcome *ret)
{
	struct match_l4_facts f;
	const struct snap_l4 *row;
	struct doc *d;

	if (x->view < 0) {
		refuse(ret, 0, "", "no server of the gateway has this name");
		return;
	}
	put_facts(x, &f);
	row = match_l4(x->match, x->view, &f);
	if (!row && x->edge) {
		refuse(ret, 0, "NR", "no route of the gateway's server fits");
		return;
	}
	if (!row) {
		unknown_destination(x, out, ret);
		return;
	}
	d = doc_set(x->a, out, "route", doc_new_map(x->a));
	doc_set_str(x->a, d, "name", row->name);
	doc_set_str(x->a, d, "service", row->service);
	const struct way w = { NULL, &x->request.head, row->destinations.v, row->destinations.n,
			       row->total_weight };

	all_ways(x, &w, out, ret);
}

/* ---- the whole ------------------------------------------------------------------------------- */

void explain_walk(struct explain *x, struct doc *out, struct outcome *ret)
{
	if (!x->edge && x->view < 0)
		refuse(ret, 403, "",
		       "the caller is no registered workload, and node.unregisteredCallers is "
		       "refuse");
	else if (x->request.http && !x->opaque)
		walk_http(x, out, ret);
	else
		walk_opaque(x, out, ret);
}
