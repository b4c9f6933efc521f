/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_sidecar: the listeners of Sidecars: ports that the proxy opens for callers
 * (egress with captureMode NONE), and where applications listen behind theirs (ingress, 2.15.7).
 * Layer config.
 */
#include "config/compile_parts.h"

/* ---- doors ---------------------------------------------------------------------------------- */
struct door {
	struct compile *c;
	struct compile_client *client;
	const struct model_sidecar_egress *e;
	enum snap_protocol protocol;
};

/* The service whose bytes a TCP listener carries: the oldest with that port that is seen there. */
static const struct compile_service *service_behind(const struct door *d)
{
	const struct compile *c = d->c;
	int64_t port = d->e->port->number;
	for (size_t i = 0; i < c->n_services; i++) {
		const struct names_port *p = compile_port(&c->services[i], port);
		if (p && compile_port_is_opaque(p) &&
		    compile_sees(c, d->client, &c->services[i], port))
			return &c->services[i];
	}
	return NULL;
}

/* False: no service is behind it. */
static bool fill_door(const struct door *d, struct snap_listener *l)
{
	const struct compile_service *s;
	*l = (struct snap_listener){ .kind = SNAP_LISTENER_PORT,
				     .address = d->e->bind.n > 0 ? d->e->bind : STR("127.0.0.1"),
				     .port = d->e->port->number,
				     .view = -1 };
	if (str_ieq(d->e->port->protocol, STR("HTTP_PROXY"))) {
		l->kind = SNAP_LISTENER_HTTP_PROXY;
	} else if (d->protocol == SNAP_PROTOCOL_TCP || d->protocol == SNAP_PROTOCOL_TLS) {
		s = service_behind(d);
		if (!s)
			return false;
		l->kind = SNAP_LISTENER_TCP;
		l->service = s->host;
		l->service_port = l->port;
	}
	return true;
}

static bool is_same(const struct snap_listener *a, const struct snap_listener *b)
{
	return a->kind == b->kind && str_eq(a->service, b->service) &&
	       a->service_port == b->service_port;
}

/* Several workloads, and several Sidecars, may have the same door towards the mesh. */
static void open_door(struct compile *c, struct origin at, const struct snap_listener *l)
{
	for (size_t i = 0; i < c->s->listeners.n; i++) {
		const struct snap_listener *o = &c->s->listeners.v[i];
		if (o->port != l->port || !str_eq(o->address, l->address))
			continue;
		if (!is_same(o, l) || l->kind == SNAP_LISTENER_INBOUND)
			compile_error(c, at, "%.*s:%d is another listener's of this proxy already",
				      STR_ARG(l->address), (int)l->port);
		return;
	}
	*compile_push(c, c->s->listeners, c->cap_listeners) = *l;
}

static void add_door(const struct door *d)
{
	struct snap_listener l;
	if (fill_door(d, &l))
		open_door(d->c, d->e->at, &l);
}

static bool is_opened(const struct model_sidecar_egress *e)
{
	return e->port && e->port->number > 0 && e->captureMode == MODEL_LISTENER_NONE &&
	       (e->bind.n == 0 || names_is_ip(e->bind));
}

void compile_sidecar_doors(struct compile *c)
{
	for (size_t i = 0; i < c->n_clients; i++) {
		const struct model_sidecar *s = c->clients[i].sidecar;
		for (size_t k = 0; s && k < s->egress.n; k++) {
			const struct model_sidecar_egress *e = &s->egress.v[k];
			struct door d = { .c = c, .client = &c->clients[i], .e = e };
			if (!is_opened(e))
				continue;
			d.protocol = names_protocol(STR(""), e->port->protocol, STR(""));
			add_door(&d);
		}
	}
}

/* ---- what is behind a workload's port ------------------------------------------------------- */
const struct model_sidecar *compile_sidecar_of(const struct compile *c,
					       const struct model_workload *w)
{
	const struct names_client who = { .ns = w->r.ns, .labels = &w->r.labels };
	return names_sidecar(c->m, &who);
}

/* The port's own limits, else those of the Sidecar for all ports. */
static int64_t limits_of(struct compile *c, const struct model_workload *w,
			 const struct snap_inbound *in, const struct model_sidecar *s,
			 const struct model_sidecar_ingress *port)
{
	const struct model_connection_pool *pool =
		port && port->connectionPool ? port->connectionPool : s->inboundConnectionPool;
	if (!pool)
		return -1;
	struct snap_cluster cl = { .kind = SNAP_CLUSTER_STATIC, .port = in->port,
				   .protocol = in->protocol, .lb = SNAP_LB_LEAST_REQUEST,
				   .tls = { .mode = SNAP_TLS_DISABLE } };
	cl.name = arena_printf(c->a, "inbound|%d||%.*s.%.*s", (int)in->port, STR_ARG(w->r.name),
			       STR_ARG(w->r.ns));
	const struct names_port p = { .protocol = (enum snap_protocol)in->protocol };
	compile_limits(c, &p, pool, &cl.limits);
	return compile_cluster_add(c, &cl);
}

/*
 * A port that the proxy opens itself: the door's address is the port's from then on, and what is
 * behind it has another.
 */
static void open_ingress(struct compile *c, const struct model_sidecar_ingress *port,
			 struct snap_inbound *in, struct snap_application *to)
{
	if (to->address.n == 0) {
		to->address = in->address;
		to->port = in->port;
	}
	in->address = port->bind;
	open_door(c, port->at,
		  &(struct snap_listener){ .kind = SNAP_LISTENER_INBOUND, .address = in->address,
					   .port = in->port, .view = -1 });
}

static bool is_bound(const struct model_sidecar_ingress *port)
{
	return port && port->captureMode == MODEL_LISTENER_NONE && names_is_ip(port->bind);
}

void compile_application(struct compile *c, const struct model_workload *w,
			 struct snap_inbound *in)
{
	const struct model_sidecar *s = compile_sidecar_of(c, w);
	const struct model_sidecar_ingress *port = names_ingress(s, in->port);
	struct snap_application to = { .cluster = -1 };
	if (!s)
		return;
	if (port && port->defaultEndpoint.n > 0 &&
	    names_default_endpoint(port->defaultEndpoint, &to.address, &to.port) &&
	    to.address.n == 0)
		to.address = w->address;
	if (is_bound(port))
		open_ingress(c, port, in, &to);
	to.cluster = limits_of(c, w, in, s, port);
	if (to.address.n == 0 && to.cluster < 0)
		return;
	if (to.address.n == 0)
		to.address = STR_NULL;
	in->application = arena_new(c->a, struct snap_application);
	*in->application = to;
}

/* ---- no way back ---------------------------------------------------------------------------- */
static bool is_at(const struct snap_listener *l, const struct snap_application *a)
{
	bool any = str_eq(l->address, STR("0.0.0.0")) || str_eq(l->address, STR("::"));
	return l->port == a->port && (any || str_eq(l->address, a->address));
}

static void look_for_circle(struct compile *c, const struct snap_inbound *in)
{
	const struct model_sidecar *s = compile_sidecar_of(c, c->locals[in->workload]);
	const struct model_sidecar_ingress *port = names_ingress(s, in->port);
	for (size_t i = 0; port && i < c->s->listeners.n; i++) {
		if (is_at(&c->s->listeners.v[i], in->application))
			compile_error(c, port->at,
				      "ingress: the application cannot be at %.*s:%d, which is a "
				      "listener of the proxy itself: name another defaultEndpoint",
				      STR_ARG(in->application->address),
				      (int)in->application->port);
	}
}

void compile_sidecar_circles(struct compile *c)
{
	for (size_t i = 0; i < c->s->inbounds.n; i++) {
		const struct snap_inbound *in = &c->s->inbounds.v[i];
		if (in->application && in->application->address.n > 0)
			look_for_circle(c, in);
	}
}
