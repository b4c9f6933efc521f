/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile: the frame of a snapshot: settings, listeners, who is served; see compile.h. Layer
 * config.
 */
#include "config/capture.h"
#include "config/compile_parts.h"
#include "config/inject.h"

#define NODE "node"                     /* the instance that serves the local workloads */
#define DNS_REFRESH_US INT64_C(60000000) /* the default, which proxies know */
#define CALLERS_NS "default"            /* what unregistered callers see the mesh as */

void compile_error(struct compile *c, struct origin at, const char *fmt, ...)
{
	struct err e = { 0 };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	err_list_add(c->errs, ERR_LEVEL_ERROR, KV_ERR_CHECK, NULL, at, "%s", e.text);
	c->failed = true;
}

/* ---- instances ------------------------------------------------------------------------------ */
/*
 * An instance is a gateway or the proxy of one workload. It has a name without a namespace: the
 * oldest workload of that name has it.
 */
static const struct model_workload *instance_of(const struct model *m, struct str proxy)
{
	if (str_eq(proxy, STR(NODE)))
		return NULL;
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);
		if ((w->gateway || inject_is_dedicated(w)) && str_eq(r->name, proxy))
			return w;
	}
	return NULL;
}

struct str_list compile_proxies(const struct model *m, struct arena *a)
{
	struct str_list l = { 0 };
	size_t cap = 0;
	*vec_push_arena(a, l.v, l.n, cap) = STR(NODE);
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		if (instance_of(m, r->name) == model_as_workload(r))
			*vec_push_arena(a, l.v, l.n, cap) = arena_str(a, r->name);
	}
	return l;
}

/* ---- settings ------------------------------------------------------------------------------- */
static int normalization(int n)
{
	/* The model's first word is "the default", which is BASE. */
	return n == MODEL_PATH_NORM_DEFAULT ? MODEL_PATH_NORM_BASE - 1 : n - 1;
}

static void put_settings(const struct model *m, struct snap_settings *to)
{
	const struct model_mesh *g = &m->mesh;
	*to = (struct snap_settings){
		.trust_domain = g->mesh.trustDomain,
		.domain_suffix = g->mesh.domainSuffix,
		.cluster = g->mesh.clusterName,
		.node = g->node.name,
		.refuse_unregistered = g->node.unregisteredCallers == MODEL_UNREGISTERED_REFUSE,
		.path_normalization = normalization(g->mesh.pathNormalization.normalization),
		.detection_timeout_us = g->mesh.protocolDetectionTimeout,
		.access_log = g->mesh.accessLogFile,
		.access_log_json = g->mesh.accessLogEncoding == MODEL_LOG_JSON,
		.access_log_format = g->mesh.accessLogFormat,
		.workers = g->mesh.defaultConfig.concurrency,
		.max_connections = g->limits.maxConnections,
		.max_header_bytes = g->limits.maxHeaderBytes,
		.max_body_bytes = g->limits.maxBodyBytes,
		.header_timeout_us = g->limits.headerTimeout,
		.idle_timeout_us = g->limits.idleTimeout,
		.stream_idle_timeout_us = g->limits.streamIdleTimeout,
		.dns_refresh_us = g->mesh.dnsRefreshRate == DNS_REFRESH_US ? 0 : g->mesh.dnsRefreshRate,
		.drain_us = g->limits.drainTimeout,
		.retry_body_bytes = g->limits.retryBodyBytes,
		.max_memory_bytes = g->limits.maxMemoryBytes,
		.max_total_connections = g->limits.maxTotalConnections,
		.max_handshakes = g->limits.maxHandshakes,
		.max_handshakes_per_source = g->limits.maxHandshakesPerSource,
	};
}

/* What stands before the mesh's gateways (2.13.1, 2.13.5). */
static void put_topology(const struct model *m, struct snap_settings *to)
{
	static const int forms[] = {    /* by Istio's list, whose first word is "the default" */
		SNAP_CLIENT_CERT_SANITIZE_SET,   SNAP_CLIENT_CERT_SANITIZE,
		SNAP_CLIENT_CERT_FORWARD_ONLY,   SNAP_CLIENT_CERT_APPEND_FORWARD,
		SNAP_CLIENT_CERT_SANITIZE_SET,   SNAP_CLIENT_CERT_ALWAYS_FORWARD_ONLY,
	};
	const struct model_gateway_topology *t = m->mesh.mesh.defaultConfig.gatewayTopology;
	if (!t)
		return;
	to->trusted_proxies = t->numTrustedProxies;
	if (!to->edge)
		return;
	to->proxy_protocol = t->proxyProtocol != NULL;
	to->client_cert = forms[t->forwardClientCertDetails];
}

/* ---- listeners ------------------------------------------------------------------------------ */
static void add_listener(struct compile *c, enum snap_listener_kind kind, struct str address,
			 int64_t port)
{
	if (port != 0)
		*compile_push(c, c->s->listeners, c->cap_listeners) = (struct snap_listener){
			.kind = kind, .address = address, .port = port, .view = -1
		};
}

/* "127.0.0.1:16379", "[::1]:16379". */
static bool split_listen(struct str s, struct str *ret_address, int64_t *ret_port)
{
	ptrdiff_t colon = str_rfind(s, ':');
	uint64_t port;
	if (colon <= 0 || !str_to_u64(str_skip(s, (size_t)colon + 1), &port) || port < 1 ||
	    port > 65535)
		return false;
	struct str host = str_take(s, (size_t)colon);
	if (host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = str_take(str_skip(host, 1), host.n - 2);
	*ret_address = host;
	*ret_port = (int64_t)port;
	return names_is_ip(host);
}

static void add_entry(struct compile *c, const struct compile_service *s,
		      const struct names_port *p)
{
	struct snap_listener l = {
		.kind = SNAP_LISTENER_TCP, .service = s->host, .service_port = p->number, .view = -1
	};
	if (split_listen(p->listen, &l.address, &l.port))
		*compile_push(c, c->s->listeners, c->cap_listeners) = l;
	else
		compile_error(c, p->at, "Service.ports.listen must be ADDRESS:PORT, is '%.*s'",
			      STR_ARG(p->listen));
}

/* Not every host has IPv6. */
static void add_optional(struct compile *c, enum snap_listener_kind kind, const char *address, int64_t port)
{
	size_t n = c->s->listeners.n;
	add_listener(c, kind, str_c(address), port);
	if (c->s->listeners.n > n)
		c->s->listeners.v[n].optional = true;
}

/*
 * Redirected connections keep the address family. What a local process opens arrives at the loopback address; what
 * comes from outside at an address of the interface, whichever that is.
 */
static void add_captured(struct compile *c)
{
	const struct model_node *n = &c->m->mesh.node;
	bool in = capture_any_in(c->m);
	add_listener(c, SNAP_LISTENER_OUTBOUND, n->localBind, n->outboundPort);
	if (capture_any_out(c->m))
		add_optional(c, SNAP_LISTENER_OUTBOUND, "::1", n->outboundPort);
	add_listener(c, SNAP_LISTENER_INBOUND, in ? STR("0.0.0.0") : n->localBind, n->inboundPort);
	if (in)
		add_optional(c, SNAP_LISTENER_INBOUND, "::", n->inboundPort);
}

static void add_listeners(struct compile *c)
{
	const struct model_node *n = &c->m->mesh.node;
	add_listener(c, SNAP_LISTENER_HTTP_PROXY, n->localBind, c->m->mesh.mesh.proxyHttpPort);
	add_captured(c);
	add_listener(c, SNAP_LISTENER_MESH, n->meshBind, n->meshPort);
	add_listener(c, SNAP_LISTENER_READY, n->localBind, n->readyPort);
	for (size_t i = 0; i < c->n_services; i++) {
		for (size_t k = 0; k < c->services[i].ports.n; k++) {
			if (c->services[i].ports.v[k].listen.n > 0)
				add_entry(c, &c->services[i], &c->services[i].ports.v[k]);
		}
	}
}

/* ---- who is served -------------------------------------------------------------------------- */
/* Callers that are no workload; where they are turned away at the door, nobody sees anything. */
static struct compile_client *strangers(struct compile *c, struct str ns)
{
	if (!c->s->settings.refuse_unregistered)
		return compile_client(c, ns, NULL);
	struct compile_client *nobody = compile_client_new(c, ns, (struct labels){ 0 });
	nobody->nobody = true;
	return nobody;
}

static void put_workload(struct compile *c, int64_t peer, struct str ns,
			 const struct model_workload *w)
{
	struct snap_workload *to = &c->s->workloads.v[c->s->workloads.n];
	*to = (struct snap_workload){ .peer = peer };
	to->identity = compile_identity(c, c->s->peers.v[peer].principal);
	to->view = w ? compile_client(c, ns, &w->r.labels)->view : strangers(c, ns)->view;
	if (w) {
		to->unit = w->unit;
		to->user = w->user;
		to->executable = w->executable;
		to->executable_sha256 = w->executableSha256;
		map_put(&c->local_by_id, w->r.id, (void *)(uintptr_t)(c->s->workloads.n + 1));
	}
	c->locals[c->s->workloads.n++] = w;
}

/* The explicit entry of its workload and the door for its callers; the rest is the node's. */
static void add_own_listeners(struct compile *c, const struct model_workload *w)
{
	const struct model_node *n = &c->m->mesh.node;
	if (!w->sidecarPorts)
		return;
	add_listener(c, SNAP_LISTENER_HTTP_PROXY, n->localBind, w->sidecarPorts->http);
	add_listener(c, SNAP_LISTENER_MESH, n->meshBind, w->sidecarPorts->mesh);
}

/*
 * Row 0 is for callers that are nobody's, which a proxy of one workload turns away: it has no
 * identity but that workload's.
 */
static int64_t strangers_peer(struct compile *c, const struct model_workload *only)
{
	return only ? compile_workload_peer(c, only) : compile_node_peer(c);
}

/*
 * By namespace and name, not by age: a snapshot must not change because a clock did. only: the
 * workload whose proxy this is; NULL: the node's, which serves those that have none.
 */
static void add_node_workloads(struct compile *c, const struct model_workload *only)
{
	size_t n;
	const struct model_resource **v = compile_by_name(c, MODEL_KIND_WORKLOAD, &n);

	c->s->workloads.v = arena_new_n(c->a, struct snap_workload, n + 1);
	c->locals = arena_new_n(c->a, const struct model_workload *, n + 1);
	put_workload(c, strangers_peer(c, only), STR(CALLERS_NS), NULL);
	for (size_t i = 0; i < n; i++) {
		const struct model_workload *w = model_as_workload(v[i]);

		if (only ? w == only : compile_is_served(w) && !inject_is_dedicated(w))
			put_workload(c, compile_workload_peer(c, w), w->r.ns, w);
	}
	/* The others are callers: what is measured and logged names them. */
	for (size_t i = 0; i < n; i++)
		if (only || model_as_workload(v[i])->gateway ||
		    inject_is_dedicated(model_as_workload(v[i])))
			compile_workload_peer(c, model_as_workload(v[i]));
}

static void add_gateway_workload(struct compile *c, const struct model_workload *w)
{
	c->s->workloads.v = arena_new(c->a, struct snap_workload);
	c->locals = arena_new(c->a, const struct model_workload *);
	put_workload(c, compile_workload_peer(c, w), w->r.ns, w);
}

/* ---- the whole ------------------------------------------------------------------------------ */
static void compile_init(struct compile *c)
{
	arena_init(&c->work, 64 << 10);
	c->a = &c->work;
	c->s = arena_new(c->a, struct snap);
	map_init(&c->service_by_host);
	map_init(&c->clusters);
	map_init(&c->peers);
	map_init(&c->identities);
	map_init(&c->clients_by_key);
	map_init(&c->local_by_id);
	names_registry_init(&c->reg, c->m, c->a);
}

static void compile_done(struct compile *c)
{
	names_registry_done(&c->reg);
	map_done(&c->service_by_host);
	map_done(&c->clusters);
	map_done(&c->peers);
	map_done(&c->identities);
	map_done(&c->clients_by_key);
	map_done(&c->local_by_id);
	arena_done(&c->work);
}

/* No message has room for it: who has most of it is told. */
static void too_large(struct compile *c, size_t bytes)
{
	const struct model_virtual_service *most = NULL;
	model_for_each(c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		if (!most || model_as_vs(r)->http.n > most->http.n)
			most = model_as_vs(r);
	}
	compile_error(c, most ? most->r.at : (struct origin){ 0 },
		      "what proxy %.*s would get is %zu bytes, more than %u: fewer routes, or "
		      "Sidecars that let workloads see less (%zu VirtualServices; the largest has "
		      "%zu routes)",
		      STR_ARG(c->s->proxy), bytes, SNAP_BYTES_MAX,
		      c->m->of[MODEL_KIND_VIRTUAL_SERVICE].n, most ? most->http.n : 0);
}

/*
 * What was put together becomes a snapshot of its own, checked once more: a proxy would refuse it
 * otherwise.
 */
static int hand_out(struct compile *c, struct snap **ret)
{
	struct err e = { 0 };
	if (c->failed)
		return KV_ERR_CHECK;
	int r = snap_copy(c->s, ret, &e);
	if (r < 0)
		err_list_push(c->errs, &e);
	if (r < 0 || (*ret)->bytes <= SNAP_BYTES_MAX)
		return r;
	too_large(c, (*ret)->bytes);
	snap_unref(*ret);
	*ret = NULL;
	return KV_ERR_LIMIT;
}

int snap_compile(const struct model *m, struct str proxy, const struct compile_env *env,
		 struct snap **ret, struct err_list *errs)
{
	static const struct compile_env nothing_known;
	struct compile c = { .m = m, .env = env ? env : &nothing_known, .errs = errs };
	const struct model_workload *own = instance_of(m, proxy);
	const struct model_workload *gateway = own && own->gateway ? own : NULL;
	if (!own && !str_eq(proxy, STR(NODE)))
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_NOT_FOUND, NULL,
				    (struct origin){ 0 }, "no proxy is called '%.*s'",
				    STR_ARG(proxy));
	compile_init(&c);
	c.s->version = c.env->version;
	c.s->proxy = proxy;
	put_settings(m, &c.s->settings);
	compile_services(&c);
	compile_asked(&c);
	if (gateway) {
		c.s->settings.edge = true;
		c.s->settings.idle_timeout_us = m->mesh.limits.gatewayIdleTimeout;
		put_topology(m, &c.s->settings);
		add_gateway_workload(&c, gateway);
		compile_gateways(&c, gateway);
	} else {
		put_topology(m, &c.s->settings);
		if (own)
			c.s->settings.refuse_unregistered = true;
		add_node_workloads(&c, own);
		if (own)
			add_own_listeners(&c, own);
		else
			add_listeners(&c);
		compile_sidecar_doors(&c);
		compile_inbounds(&c);
	}
	compile_authz(&c);
	compile_jwt(&c);
	compile_views(&c);
	c.s->residency = names_residency(&c.reg, c.a);
	int r = hand_out(&c, ret);
	compile_done(&c);
	return r;
}
