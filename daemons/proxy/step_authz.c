/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_authz: may this caller. What PeerAuthentication asks of a connection was enforced when it
 * came in; a connection that outlives a snapshot is held against the new one here, request by
 * request (promise P7). AuthorizationPolicies are core/authz's: here are their facts, and what is
 * told of a verdict. Layer proxy.
 */
#include "config.h"

#include "core/authz.h"
#include "http/url.h"
#include "proxy/conn.h"
#include "proxy/ext_authz.h"
#include "proxy/headers.h"
#include "proxy/listener.h"
#include "proxy/stream.h"

static enum next fail(struct stream *s, enum fail why)
{
	s->fail = why;
	return NEXT_FAIL;
}

/* ---- facts ----------------------------------------------------------------------------------- */

struct facts {
	struct authz_facts f;
	uint8_t source[16], remote[16], destination[16];
};

/*
 * Behind a gateway it is the client as the gateway knows it: the last address of the list is whom the
 * gateway saw, before it stand those that trusted proxies have told. Only a gateway that has proved to
 * be one is believed: what another workload passes on, its application has written.
 */
static bool told_by_gateway(const struct stream *s, struct sock_addr *ret)
{
	const struct snap_peer *p = s->rec.source;

	return s->http && s->entry.inbound && s->rec.mutual && p && p->gateway &&
	       headers_forwarded_for(&s->req, (size_t)stream_settings(s)->trusted_proxies, ret);
}

static const uint8_t *remote_ip(const struct stream *s, struct facts *x)
{
	struct sock_addr told;

	/* What cannot be read is as good as not there: some address must be held against the rules. */
	if (told_by_gateway(s, &told) && entry_addr_bytes(&told, x->remote))
		return x->remote;
	return entry_addr_bytes(&s->rec.down_remote, x->remote) ? x->remote : x->f.source;
}

static void connection_facts(const struct stream *s, struct facts *x)
{
	static const size_t scheme = sizeof("spiffe://") - 1;
	const struct tls_facts *f = conn_tls(s->down.conn);

	if (f && f->mutual)             /* clients outside the mesh have no SPIFFE ID */
		x->f.principal = str_skip(f->peer_spiffe, scheme);
	const struct entry *e = s->down.conn->owner_data;
	struct sock_addr direct = e->direct ? *e->direct : conn_addr_full(&s->down.conn->remote);

	if (entry_addr_bytes(&direct, x->source))
		x->f.source = x->source;
	if (entry_addr_bytes(&s->rec.down_local, x->destination))
		x->f.destination = x->destination;
	x->f.remote = remote_ip(s, x);
	x->f.port = s->entry.inbound ? s->entry.target->port : sock_addr_port(&s->rec.down_local);
	x->f.sni = s->rec.sni;
}

static void request_facts(const struct stream *s, struct facts *x)
{
	struct str query;

	if (!s->http)
		return;
	x->f.http = true;
	x->f.method = s->req.method;
	x->f.host = s->req.authority;
	x->f.head = &s->req;
	x->f.token = s->token;
	url_split_query(s->req.path, &x->f.path, &query);
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static void count(struct stream *s, const char *family, const struct snap_policy *p)
{
	struct str word = p ? arena_printf(&s->arena, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns)) :
			      STR("no ALLOW policy fits");

	stats_add_reason(s->w->stats, family, NULL, word.p);
}

/* Envoy's words, and where the rule is written. */
static const char *explain(struct stream *s, const struct authz_verdict *v)
{
	const struct snap_policy *p = v->policy;

	if (v->ambiguous)
		return "ambiguous_path";
	if (!p)
		return "rbac_access_denied_matched_policy[none]";
	return arena_printf(&s->arena,
			    "rbac_access_denied_matched_policy[ns[%.*s]-policy[%.*s]-rule[%zu]]{%.*s:%lld}",
			    STR_ARG(p->ns), STR_ARG(p->name), v->rule, STR_ARG(p->file),
			    (long long)p->rules.v[v->rule].line).p;
}

static enum next deny(struct stream *s, const struct snap_policy *p, const char *why)
{
	count(s, "kvmesh_authz_denied_total", p);
	s->down.reason = why;
	return fail(s, FAIL_DENIED);
}

static enum next ask_authorizer(struct stream *s, size_t workload)
{
	const struct snap *snap = stream_snap(s);
	int64_t i = snap->workloads.v[workload].authorizer - 1;

	return ext_authz_run(s, &snap->authorizers.v[i]);
}

static enum next judge(struct stream *s, size_t workload)
{
	const struct authz *a = s->lease->at->authz;
	struct authz_verdict v;
	struct facts x = { 0 };
	enum next n;

	if (!authz_has_policies(a, workload))
		return NEXT_STEP;
	/* Whoever was asked may have changed the request: it is judged as it is then. */
	if (s->check && (n = ask_authorizer(s, workload)) != NEXT_STEP)
		return n;
	connection_facts(s, &x);
	request_facts(s, &x);
	authz_decide(a, workload, &x.f, &s->arena, &v);
	if (v.custom && !s->check)
		return ask_authorizer(s, workload);
	if (v.audit)
		count(s, "kvmesh_authz_audited_total", v.audit);
	if (v.shadow_denied)
		count(s, "kvmesh_authz_dry_run_denied_total", v.shadow);
	if (!v.allowed)
		return deny(s, v.policy, explain(s, &v));
	return NEXT_STEP;
}

/* ---- both sides ------------------------------------------------------------------------------ */

static enum next inbound(struct stream *s)
{
	const struct snap_inbound *to = s->entry.target;

	if (!to)                        /* no longer here */
		return fail(s, FAIL_NO_ROUTE);
	if (to->mtls == SNAP_MTLS_STRICT && !s->rec.mutual)
		return fail(s, FAIL_PLAINTEXT);
	return judge(s, (size_t)to->workload);
}

/* Its callers are outside: the gateway's own policies count, once the door is the right one. */
static enum next edge(struct stream *s)
{
	const struct conn *c = s->down.conn;

	if (s->http && entry_is_misdirected(c->owner_data, c, s->lease->at, s->host))
		return fail(s, FAIL_MISDIRECTED);
	return s->entry.view >= 0 ? judge(s, 0) : fail(s, FAIL_NO_ROUTE);
}

/* node.unregisteredCallers = "refuse". */
static enum next outbound(struct stream *s)
{
	if (entry_is_edge(s->down.conn->owner_data))
		return edge(s);
	return s->entry.view >= 0 ? NEXT_STEP : fail(s, FAIL_DENIED);
}

enum next step_authz(struct stream *s)
{
	return s->entry.inbound ? inbound(s) : outbound(s);
}
