/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot: see snapshot.h. Layer daemons/ctl. */
#include "config.h"

#include "base/clock.h"
#include "ctl/snapshot.h"

/* ---- clusters -------------------------------------------------------------------------------- */

/* Istio's words for where endpoints come from. */
static const char *const cluster_types[SNAP_CLUSTER_KIND__N] = {
	[SNAP_CLUSTER_STATIC] = "STATIC",
	[SNAP_CLUSTER_DNS] = "STRICT_DNS",
	[SNAP_CLUSTER_ORIGINAL_DST] = "ORIGINAL_DST",
	[SNAP_CLUSTER_BY_NAME] = "DYNAMIC_DNS",
	[SNAP_CLUSTER_BLACKHOLE] = "STATIC",
};

static struct doc *cluster_row(struct arena *a, const struct snap_cluster *k)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "name", k->name);
	doc_set_str(a, d, "service", k->service.n > 0 ? k->service : k->name);
	doc_set_int(a, d, "port", k->port);
	doc_set_str(a, d, "subset", k->subset);
	doc_set_str(a, d, "direction", STR("outbound"));
	doc_set_str(a, d, "type", k->one_address ? STR("LOGICAL_DNS") : str_c(cluster_types[k->kind]));
	doc_set_str(a, d, "destination_rule", k->destination_rule);
	doc_set_str(a, d, "protocol", str_c(snap_protocol_names[k->protocol]));
	doc_set_str(a, d, "lb", str_c(snap_lb_names[k->lb]));
	doc_set_str(a, d, "tls", str_c(snap_tls_mode_names[k->tls.mode]));
	doc_set_int(a, d, "endpoints", (int64_t)k->endpoints.n);
	return d;
}

static const struct snap_peer *peer_of(const struct snap *snap, const struct snap_inbound *in)
{
	return &snap->peers.v[snap->workloads.v[in->workload].peer];
}

static struct doc *inbound_row(struct arena *a, const struct snap *snap,
			       const struct snap_inbound *in)
{
	const struct snap_peer *peer = peer_of(snap, in);
	struct doc *d = doc_new_map(a);
	struct str service = in->services.n > 0 ? in->services.v[0].service :
						  arena_printf(a, "%.*s.%.*s", STR_ARG(peer->name),
							       STR_ARG(peer->ns));

	doc_set_str(a, d, "name", arena_printf(a, "inbound|%lld||%.*s", (long long)in->port,
					       STR_ARG(service)));
	doc_set_str(a, d, "service", service);
	doc_set_int(a, d, "port", in->port);
	doc_set_str(a, d, "subset", STR(""));
	doc_set_str(a, d, "direction", STR("inbound"));
	doc_set_str(a, d, "type", STR("STATIC"));
	doc_set_str(a, d, "protocol", str_c(snap_protocol_names[in->protocol]));
	doc_set_str(a, d, "mtls", str_c(snap_mtls_names[in->mtls]));
	doc_set_str(a, d, "authn_policy", in->policy);
	doc_set_int(a, d, "endpoints", 1);
	return d;
}

struct doc *snapshot_clusters(const struct snapshot *s)
{
	struct arena *a = &s->c->arena;
	struct doc *rows = doc_new_list(a);

	for (size_t i = 0; i < s->snap->clusters.n; i++)
		if (!str_has_prefix(s->snap->clusters.v[i].name, STR("inbound|")))
			doc_add(a, rows, cluster_row(a, &s->snap->clusters.v[i]));
	for (size_t i = 0; i < s->snap->inbounds.n; i++)
		doc_add(a, rows, inbound_row(a, s->snap, &s->snap->inbounds.v[i]));
	return rows;
}

/* ---- listeners ------------------------------------------------------------------------------- */

static struct doc *listener_row(struct arena *a, const struct snap_listener *l, int64_t port)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "address", l->address);
	doc_set_int(a, d, "port", port);
	doc_set_str(a, d, "kind", str_c(snap_listener_kind_names[l->kind]));
	return d;
}

static void set_match(struct arena *a, struct doc *d, struct str match, struct str destination)
{
	doc_set_str(a, d, "match", match);
	doc_set_str(a, d, "destination", destination);
}

static struct str workload_port(struct arena *a, const struct snap *snap, int64_t inbound)
{
	const struct snap_inbound *in = &snap->inbounds.v[inbound];
	const struct snap_peer *peer = peer_of(snap, in);

	return arena_printf(a, "%.*s.%.*s %.*s:%lld", STR_ARG(peer->name), STR_ARG(peer->ns),
			    STR_ARG(in->address), (long long)in->port);
}

/* One row per server name, as istioctl shows one per filter chain. */
static void add_mesh_rows(const struct snapshot *s, struct doc *rows, const struct snap_listener *l,
			  int64_t port)
{
	struct arena *a = &s->c->arena;

	for (size_t i = 0; i < s->snap->snis.n; i++) {
		const struct snap_sni *sni = &s->snap->snis.v[i];
		struct doc *d = doc_add(a, rows, listener_row(a, l, port));
		struct str to = STR("");

		for (size_t k = 0; k < sni->targets.n; k++)
			to = arena_printf(a, "%.*s%s%.*s", STR_ARG(to), k > 0 ? ", " : "",
					  STR_ARG(workload_port(a, s->snap, sni->targets.v[k])));
		set_match(a, d, arena_printf(a, "SNI: %.*s", STR_ARG(sni->name)), to);
	}
}

static void add_inbound_rows(const struct snapshot *s, struct doc *rows,
			     const struct snap_listener *l, int64_t port)
{
	struct arena *a = &s->c->arena;

	for (size_t i = 0; i < s->snap->inbounds.n; i++) {
		const struct snap_inbound *in = &s->snap->inbounds.v[i];

		set_match(a, doc_add(a, rows, listener_row(a, l, port)),
			  arena_printf(a, "Port: %lld; mTLS: %s", (long long)in->port,
				       snap_mtls_names[in->mtls]),
			  workload_port(a, s->snap, (int64_t)i));
	}
}

static struct str route_of(struct arena *a, const struct snap *snap, int64_t view, bool opaque)
{
	return arena_printf(a, "%s: %.*s", opaque ? "Bytes" : "Route", STR_ARG(snap->views.v[view].name));
}

/* What becomes of the TLS of a gateway's server. */
static const char *tls_of(const struct snap_server *s)
{
	if (s->tls.mode == SNAP_TLS_DISABLE)
		return "passed on";
	return s->optional_client ? "OPTIONAL_MUTUAL" : snap_tls_mode_names[s->tls.mode];
}

static void add_gateway_rows(const struct snapshot *s, struct doc *rows, const struct snap_listener *l,
			     int64_t port)
{
	struct arena *a = &s->c->arena;

	for (size_t i = 0; i < l->servers.n; i++) {
		const struct snap_server *sv = &l->servers.v[i];
		struct str names = STR("");

		for (size_t k = 0; k < sv->hosts.n; k++)
			names = arena_printf(a, "%.*s%s%.*s", STR_ARG(names), k > 0 ? ", " : "",
					     STR_ARG(sv->hosts.v[k]));
		set_match(a, doc_add(a, rows, listener_row(a, l, port)),
			  arena_printf(a, "SNI: %.*s; TLS: %s", STR_ARG(names), tls_of(sv)),
			  route_of(a, s->snap, sv->view, sv->opaque));
	}
}

static void describe_listener(struct arena *a, struct doc *d, const struct snap *snap,
			      const struct snap_listener *l)
{
	switch ((enum snap_listener_kind)l->kind) {
	case SNAP_LISTENER_HTTP_PROXY:
		set_match(a, d, STR("HTTP: absolute form or Host"), STR("Route: by Host"));
		break;
	case SNAP_LISTENER_OUTBOUND:
		set_match(a, d, STR("Redirected: original destination"),
			  STR("Route: by address and Host"));
		break;
	case SNAP_LISTENER_TCP:
		set_match(a, d, STR("ALL"),
			  arena_printf(a, "Service: %.*s:%lld", STR_ARG(l->service),
				       (long long)l->service_port));
		break;
	case SNAP_LISTENER_PORT:
		set_match(a, d, STR("HTTP: Host"),
			  arena_printf(a, "Route: by Host, port %lld", (long long)l->port));
		break;
	case SNAP_LISTENER_READY:
		set_match(a, d, STR("GET /healthz/ready"), STR("Inline: readiness"));
		break;
	case SNAP_LISTENER_GATEWAY:
		set_match(a, d, STR("ALL"), l->view >= 0 ? route_of(a, snap, l->view, l->opaque) : STR("-"));
		break;
	case SNAP_LISTENER_INBOUND:
	case SNAP_LISTENER_MESH:
	case SNAP_LISTENER_KIND__N:
		break;
	}
}

/* The kernel may have chosen the port: Status tells the i-th listener as bound. */
static int64_t bound_port(const struct snapshot *s, size_t i)
{
	const struct snap_listener *l = &s->snap->listeners.v[i];
	const struct doc *bound = doc_get(s->status, STR("listeners"));

	if (l->port == 0 && bound && bound->kind == DOC_LIST && bound->n == s->snap->listeners.n)
		return doc_get_int(bound->v[i], "port", 0);
	return l->port;
}

struct doc *snapshot_listeners(const struct snapshot *s)
{
	struct arena *a = &s->c->arena;
	struct doc *rows = doc_new_list(a);

	for (size_t i = 0; i < s->snap->listeners.n; i++) {
		const struct snap_listener *l = &s->snap->listeners.v[i];
		int64_t port = bound_port(s, i);

		if (l->kind == SNAP_LISTENER_MESH)
			add_mesh_rows(s, rows, l, port);
		else if (l->kind == SNAP_LISTENER_INBOUND)
			add_inbound_rows(s, rows, l, port);
		else if (l->kind == SNAP_LISTENER_GATEWAY && l->servers.n > 0)
			add_gateway_rows(s, rows, l, port);
		else
			describe_listener(a, doc_add(a, rows, listener_row(a, l, port)), s->snap,
					  l);
	}
	return rows;
}

/* ---- endpoints ------------------------------------------------------------------------------- */

const struct doc *snapshot_live_endpoint(const struct snapshot *s, struct str cluster,
					 const struct snap_endpoint *e)
{
	const struct doc *list = doc_get(s->endpoints, STR("endpoints"));

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++) {
		const struct doc *d = list->v[i];

		if (str_eq(doc_get_str(d, "cluster", STR("")), cluster) &&
		    str_eq(doc_get_str(d, "address", STR("")), e->address) &&
		    doc_get_int(d, "port", -1) == e->port)
			return d;
	}
	return NULL;
}

static void set_health(struct arena *a, struct doc *d, const struct snap_endpoint *e,
		       const struct doc *live)
{
	static const char *const copied[] = { "active", "connections", "ejections" };
	struct str health = doc_get_str(live, "health", STR(""));
	bool ejected = str_ieq(health, STR("EJECTED")) || doc_get_bool(live, "ejected", false);

	doc_set_str(a, d, "status", e->inactive ? STR("UNHEALTHY") : ejected || health.n == 0 ?
		    STR("HEALTHY") : health);
	doc_set_str(a, d, "outlier_check", ejected ? STR("FAILED") : STR("OK"));
	for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
		const struct doc *v = doc_get(live, str_c(copied[i]));

		if (v)
			doc_set(a, d, copied[i], doc_copy(a, v));
	}
}

static struct doc *endpoint_row(const struct snapshot *s, const struct snap_cluster *k,
				const struct snap_endpoint *e)
{
	struct arena *a = &s->c->arena;
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "endpoint", str_has_prefix(e->address, STR("unix:")) ? e->address :
		    arena_printf(a, "%.*s:%lld", STR_ARG(e->address), (long long)e->port));
	doc_set_str(a, d, "address", e->address);
	doc_set_int(a, d, "port", e->port);
	set_health(a, d, e, snapshot_live_endpoint(s, k->name, e));
	doc_set_str(a, d, "cluster", k->name);
	doc_set_int(a, d, "weight", e->weight);
	doc_set_str(a, d, "locality", e->locality);
	if (e->mesh_port > 0)
		doc_set_str(a, d, "mesh_address",
			    arena_printf(a, "%.*s:%lld", STR_ARG(e->mesh_address),
					 (long long)e->mesh_port));
	if (e->peer >= 0)
		doc_set_str(a, d, "principal", s->snap->peers.v[e->peer].principal);
	return d;
}

struct doc *snapshot_endpoints(const struct snapshot *s)
{
	struct arena *a = &s->c->arena;
	struct doc *rows = doc_new_list(a);

	for (size_t i = 0; i < s->snap->clusters.n; i++) {
		const struct snap_cluster *k = &s->snap->clusters.v[i];

		for (size_t n = 0; n < k->endpoints.n; n++)
			doc_add(a, rows, endpoint_row(s, k, &k->endpoints.v[n]));
	}
	return rows;
}

/* ---- secrets --------------------------------------------------------------------------------- */

struct doc *snapshot_secrets(const struct snapshot *s)
{
	static const char *const times[][2] = { { "not_before", "notBefore" },
						{ "not_after", "notAfter" } };
	struct arena *a = &s->c->arena;
	struct doc *rows = doc_new_list(a);
	const struct doc *certs = doc_get(s->status, STR("certificates"));
	int64_t now = clock_real_us(), begin, end;

	/* An identity without a certificate is worth a row: nothing can be proven with it. */
	for (size_t i = 0; i < s->snap->identities.n; i++) {
		struct doc *d = doc_add(a, rows, doc_new_map(a));
		const struct doc *cert = NULL;

		for (size_t k = 0; certs && certs->kind == DOC_LIST && k < certs->n; k++)
			if (str_eq(doc_get_str(certs->v[k], "spiffe", STR("")),
				   s->snap->identities.v[i]))
				cert = certs->v[k];
		doc_set_str(a, d, "name", s->snap->identities.v[i]);
		doc_set_str(a, d, "type", STR("Cert Chain"));
		doc_set_str(a, d, "status", cert ? STR("ACTIVE") : STR("MISSING"));
		doc_set_bool(a, d, "valid",
			     ctl_time_parse(doc_get_str(cert, "notBefore", STR("")), &begin) &&
				     ctl_time_parse(doc_get_str(cert, "notAfter", STR("")), &end) &&
				     begin <= now && now < end);
		doc_set_str(a, d, "serial", doc_get_str(cert, "serial", STR("")));
		for (size_t k = 0; k < 2; k++)
			doc_set_str(a, d, times[k][0], doc_get_str(cert, times[k][1], STR("")));
		doc_set_str(a, d, "trust_domain", s->snap->settings.trust_domain);
	}
	return rows;
}
