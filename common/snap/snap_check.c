/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap_check: what ties the parts of a snapshot together: indexes, totals, unique names, what an
 * action needs. Layer snap. After it a proxy may follow every reference without looking.
 */
#include "snap/snap.h"

#include <inttypes.h>

#include "base/map.h"

/* The way to a member; printed only when something is wrong. */
struct at {
	const struct at *up;
	const char *name;
	size_t i;                       /* NO_INDEX: not a list */
};
#define NO_INDEX SIZE_MAX

struct check {
	const struct snap *s;
	struct err *err;
};

static void at_print(const struct at *at, char *buf, size_t size)
{
	if (!at) {
		buf[0] = '\0';
		return;
	}
	at_print(at->up, buf, size);
	size_t n = strlen(buf);
	const char *dot = n > 0 ? "." : "";
	if (at->i == NO_INDEX)
		snprintf(buf + n, size - n, "%s%s", dot, at->name);
	else
		snprintf(buf + n, size - n, "%s%s[%zu]", dot, at->name, at->i);
}

static int __attribute__((format(printf, 4, 5)))
bad(struct check *c, const struct at *up, const char *name, const char *fmt, ...)
{
	char path[256], text[256];
	struct at at = { .up = up, .name = name, .i = NO_INDEX };
	at_print(&at, path, sizeof(path));
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(c->err, KV_ERR_SCHEMA, "snapshot: %s %s", path, text);
}

/* from: the lowest value allowed, -1 where "none" is. */
static int check_index(struct check *c, const struct at *up, const char *name, int64_t i,
		       int64_t from, size_t n)
{
	if (i >= from && i < (int64_t)n)
		return 0;
	return bad(c, up, name, "is %" PRId64 ", which is not an index into %zu", i, n);
}

#define EACH(list, i) (size_t i = 0; i < (list).n; i++)
#define TRY(call) do { int _r = (call); if (_r < 0) return _r; } while (0)

static int check_weighted(struct check *c, const struct at *up, const struct snap_weighted *v,
			  size_t n, int64_t total)
{
	int64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		struct at at = { up, "destinations", i };
		TRY(check_index(c, &at, "cluster", v[i].cluster, -1, c->s->clusters.n));
		if (v[i].weight < 1)
			return bad(c, &at, "weight", "is %" PRId64 ", not positive", v[i].weight);
		if (__builtin_add_overflow(sum, v[i].weight, &sum))
			return bad(c, &at, "weight", "makes the sum too large");
	}
	if (sum != total)
		return bad(c, up, "total_weight",
			   "is %" PRId64 ", but the weights add up to %" PRId64, total, sum);
	return 0;
}

static int check_route(struct check *c, const struct at *at, const struct snap_route *r)
{
	switch ((enum snap_action)r->action) {
	case SNAP_ACTION_ROUTE:
		if (r->destinations.n == 0)
			return bad(c, at, "destinations", "is empty");
		break;
	case SNAP_ACTION_REDIRECT:
		if (!r->redirect)
			return bad(c, at, "redirect", "is missing");
		break;
	case SNAP_ACTION_DIRECT:
		if (!r->direct)
			return bad(c, at, "direct", "is missing");
		break;
	case SNAP_ACTION__N:
	default:
		return bad(c, at, "action", "is %d, which does not exist", r->action);
	}
	TRY(check_weighted(c, at, r->destinations.v, r->destinations.n, r->total_weight));
	for EACH(r->mirrors, i) {
		struct at m = { at, "mirrors", i };
		TRY(check_index(c, &m, "cluster", r->mirrors.v[i].cluster, -1, c->s->clusters.n));
	}
	return 0;
}

static int check_view(struct check *c, const struct at *at, const struct snap_view *v)
{
	for EACH(v->vhosts, i) {
		struct at vhost = { at, "vhosts", i };
		const struct snap_vhost *h = &v->vhosts.v[i];
		if (h->domains.n == 0)
			return bad(c, &vhost, "domains", "is empty");
		for EACH(h->routes, k) {
			struct at route = { &vhost, "routes", k };
			TRY(check_route(c, &route, &h->routes.v[k]));
		}
	}
	for EACH(v->l4, i) {
		struct at l4 = { at, "l4", i };
		if (v->l4.v[i].destinations.n == 0)
			return bad(c, &l4, "destinations", "is empty");
		TRY(check_weighted(c, &l4, v->l4.v[i].destinations.v, v->l4.v[i].destinations.n,
				   v->l4.v[i].total_weight));
	}
	return 0;
}

static int check_cluster(struct check *c, const struct at *at, const struct snap_cluster *cl)
{
	for EACH(cl->endpoints, i) {
		struct at ep = { at, "endpoints", i };
		const struct snap_endpoint *e = &cl->endpoints.v[i];
		TRY(check_index(c, &ep, "peer", e->peer, -1, c->s->peers.n));
		if (e->weight < 1)
			return bad(c, &ep, "weight", "is %" PRId64 ", not positive", e->weight);
		if (e->mesh_port > 0 && str_is_empty(e->mesh_address))
			return bad(c, &ep, "mesh_address", "is missing beside mesh_port");
		if (e->mesh_port > 0 && str_is_empty(e->mesh_sni))
			return bad(c, &ep, "mesh_sni", "is missing beside mesh_port");
	}
	return 0;
}

static int check_server(struct check *c, const struct at *at, const struct snap_server *s)
{
	bool files = s->tls.mode == SNAP_TLS_SIMPLE || s->tls.mode == SNAP_TLS_MUTUAL;
	if (!files && s->tls.mode != SNAP_TLS_ISTIO_MUTUAL && s->tls.mode != SNAP_TLS_DISABLE)
		return bad(c, at, "tls.mode", "is AUTO, which no server can be");
	if (s->tls.mode == SNAP_TLS_DISABLE && !s->opaque)
		return bad(c, at, "opaque", "is false, but TLS goes on as it is");
	if (files && (str_is_empty(s->tls.cert) || str_is_empty(s->tls.key)))
		return bad(c, at, "tls", "has no certificate or no key");
	if (s->tls.mode == SNAP_TLS_MUTUAL && str_is_empty(s->tls.ca))
		return bad(c, at, "tls.ca", "is missing, which MUTUAL needs");
	return check_index(c, at, "view", s->view, 0, c->s->views.n);
}

static int check_listener(struct check *c, const struct at *at, const struct snap_listener *l)
{
	bool gateway = l->kind == SNAP_LISTENER_GATEWAY;
	TRY(check_index(c, at, "view", l->view, gateway ? 0 : -1, c->s->views.n));
	if (l->kind == SNAP_LISTENER_TCP && str_is_empty(l->service))
		return bad(c, at, "service", "is missing");
	if (!gateway && l->servers.n > 0)
		return bad(c, at, "servers", "is only for gateways");
	for EACH(l->servers, i) {
		struct at server = { at, "servers", i };
		TRY(check_server(c, &server, &l->servers.v[i]));
	}
	return 0;
}

static int check_inbound(struct check *c, const struct at *at, const struct snap_inbound *in)
{
	if (in->application)
		TRY(check_index(c, at, "application.cluster", in->application->cluster, -1,
				c->s->clusters.n));
	return check_index(c, at, "workload", in->workload, 0, c->s->workloads.n);
}

static int check_sni(struct check *c, const struct at *at, const struct snap_sni *sni)
{
	if (sni->targets.n == 0)
		return bad(c, at, "targets", "is empty");
	for EACH(sni->targets, i) {
		struct at target = { at, "targets", i };
		int64_t k = sni->targets.v[i];
		if (k < 0 || k >= (int64_t)c->s->inbounds.n)
			return bad(c, at, "targets",
				   "holds %" PRId64 ", which is not an index into %zu", k,
				   c->s->inbounds.n);
		TRY(check_index(c, &target, "service", sni->service, -1,
				c->s->inbounds.v[k].services.n));
	}
	return 0;
}

static int check_workload(struct check *c, const struct at *at, const struct snap_workload *w)
{
	TRY(check_index(c, at, "peer", w->peer, 0, c->s->peers.n));
	TRY(check_index(c, at, "identity", w->identity, 0, c->s->identities.n));
	for (size_t i = 0; i < w->policies.n; i++)
		TRY(check_index(c, at, "policies", w->policies.v[i], 0, c->s->policies.n));
	for (size_t i = 0; i < w->jwt_rules.n; i++)
		TRY(check_index(c, at, "jwt_rules", w->jwt_rules.v[i], 0, c->s->jwt_rules.n));
	TRY(check_index(c, at, "authorizer", w->authorizer - 1, -1, c->s->authorizers.n));
	return check_index(c, at, "view", w->view, 0, c->s->views.n);
}

static int check_authorizers(struct check *c)
{
	for EACH(c->s->authorizers, i) {
		struct at at = { NULL, "authorizers", i };
		TRY(check_index(c, &at, "cluster", c->s->authorizers.v[i].cluster, 0,
				c->s->clusters.n));
	}
	return 0;
}

/* Names that run-time state hangs on must not mean two things. */
static int check_unique(struct check *c, struct map *seen, const struct at *at, struct str name)
{
	if (map_has(seen, name))
		return bad(c, at, "name", "'%.*s' is there twice", STR_ARG(name));
	map_put(seen, name, seen);
	return 0;
}

static int check_names(struct check *c, struct map *seen)
{
	for EACH(c->s->clusters, i) {
		struct at at = { NULL, "clusters", i };
		TRY(check_unique(c, seen, &at, c->s->clusters.v[i].name));
	}
	map_clear(seen);
	for EACH(c->s->snis, i) {
		struct at at = { NULL, "snis", i };
		TRY(check_unique(c, seen, &at, c->s->snis.v[i].name));
	}
	return 0;
}

static int check_all_names(struct check *c)
{
	struct map seen;
	map_init(&seen);
	int r = check_names(c, &seen);
	map_done(&seen);
	return r;
}

int snap_check(const struct snap *s, struct err *err)
{
	struct check c = { .s = s, .err = err };
	if (s->identities.n == 0)
		return bad(&c, NULL, "identities", "is empty");
	if (s->workloads.n == 0)
		return bad(&c, NULL, "workloads", "is empty");
	for EACH(s->workloads, i) {
		struct at at = { NULL, "workloads", i };
		TRY(check_workload(&c, &at, &s->workloads.v[i]));
	}
	TRY(check_authorizers(&c));
	for EACH(s->listeners, i) {
		struct at at = { NULL, "listeners", i };
		TRY(check_listener(&c, &at, &s->listeners.v[i]));
	}
	for EACH(s->views, i) {
		struct at at = { NULL, "views", i };
		TRY(check_view(&c, &at, &s->views.v[i]));
	}
	for EACH(s->clusters, i) {
		struct at at = { NULL, "clusters", i };
		TRY(check_cluster(&c, &at, &s->clusters.v[i]));
	}
	for EACH(s->inbounds, i) {
		struct at at = { NULL, "inbounds", i };
		TRY(check_inbound(&c, &at, &s->inbounds.v[i]));
	}
	for EACH(s->snis, i) {
		struct at at = { NULL, "snis", i };
		TRY(check_sni(&c, &at, &s->snis.v[i]));
	}
	if (s->residency)
		TRY(residency_check(s->residency, err));
	return check_all_names(&c);
}
