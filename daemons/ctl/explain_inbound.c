/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain_inbound: the workload's side of one endpoint: how the request arrives there (2.9, 2.10),
 * and what the policies that are for the workload say (2.11). Layer daemons/ctl.
 */
#include "config.h"

#include "base/cidr.h"
#include "ctl/explain.h"
#include "ctl/verdict.h"
#include "http/cookie.h"
#include "http/url.h"

struct arrival {
	const struct explain *x;
	const struct snap *node;
	const struct snap_cluster *k;
	const struct snap_endpoint *e;
	const struct snap_inbound *in; /* NULL: no proxy of this node stands before it */
	bool mutual;
};

static void refuse(struct outcome *o, int status, const char *flags, const char *why)
{
	*o = (struct outcome){ .status = status, .flags = flags, .why = why };
}

/* ---- which port ------------------------------------------------------------------------------ */

static bool is_same_peer(const struct arrival *r, const struct snap_inbound *in)
{
	const struct snap_peer *p = &r->node->peers.v[r->node->workloads.v[in->workload].peer];
	const struct snap_peer *q = &r->x->own.snap->peers.v[r->e->peer];

	return str_eq(p->name, q->name) && str_eq(p->ns, q->ns);
}

static const struct snap_inbound *by_sni(const struct arrival *r)
{
	struct str name = r->k->tls.sni.n > 0 ? r->k->tls.sni : r->e->mesh_sni;

	for (size_t i = 0; i < r->node->snis.n; i++)
		for (size_t k = 0;
		     str_ieq(r->node->snis.v[i].name, name) && k < r->node->snis.v[i].targets.n;
		     k++) {
			const struct snap_inbound *in =
				&r->node->inbounds.v[r->node->snis.v[i].targets.v[k]];

			if (is_same_peer(r, in))
				return in;
		}
	return NULL;
}

static bool is_of_service(const struct arrival *r, const struct snap_inbound *in)
{
	for (size_t i = 0; i < in->services.n; i++)
		if (in->services.v[i].port == r->k->port &&
		    str_eq(in->services.v[i].service, r->k->service))
			return true;
	return false;
}

/* In plain text the port is told by the service: what is dialled may be the mesh port. */
static const struct snap_inbound *by_service(const struct arrival *r)
{
	for (size_t i = 0; i < r->node->inbounds.n; i++)
		if (is_same_peer(r, &r->node->inbounds.v[i]) &&
		    is_of_service(r, &r->node->inbounds.v[i]))
			return &r->node->inbounds.v[i];
	return NULL;
}

/* ---- how it arrives -------------------------------------------------------------------------- */

static bool wants_mesh_tls(const struct snap_cluster *k, const struct snap_endpoint *e)
{
	return k->tls.mode == SNAP_TLS_ISTIO_MUTUAL ||
	       (k->tls.mode == SNAP_TLS_AUTO && e->mesh_port > 0);
}

static struct str transport(const struct arrival *r)
{
	if (r->mutual)
		return STR("mTLS");
	return r->k->tls.mode == SNAP_TLS_SIMPLE || r->k->tls.mode == SNAP_TLS_MUTUAL
		       ? STR("TLS")
		       : STR("plain text");
}

/* Does the identity that answers count among those that may? (P3) */
static bool identity_fits(const struct arrival *r)
{
	struct str is = r->node->identities.v[r->node->workloads.v[r->in->workload].identity];
	const struct str_list *sans = &r->k->tls.sans;

	for (size_t i = 0; i < sans->n; i++)
		if (str_eq(sans->v[i], is))
			return true;
	return sans->n == 0 && str_eq(r->x->own.snap->peers.v[r->e->peer].principal, is);
}

/* False: it does not even get in. */
static bool gets_in(const struct arrival *r, struct outcome *ret)
{
	if (r->mutual && r->in->mtls == SNAP_MTLS_DISABLE)
		refuse(ret, 503, "UF", "mTLS is sent, and PeerAuthentication says DISABLE");
	else if (r->mutual && !identity_fits(r))
		refuse(ret, 503, "UF", "another identity answers than may");
	else if (!r->mutual && r->in->mtls == SNAP_MTLS_STRICT)
		refuse(ret, 503, "UC",
		       "it is not sent by mTLS, and PeerAuthentication says STRICT");
	else
		return true;
	return false;
}

/* ---- policies -------------------------------------------------------------------------------- */

/* The client that a gateway saw, or that the caller tells of (what a peer says is believed). */
static const uint8_t *remote_of(const struct head *req, struct cidr *c, const uint8_t *source)
{
	struct str v = head_joined(req, STR("x-forwarded-for"));
	ptrdiff_t comma = str_rfind(v, ',');

	v = str_trim(comma < 0 ? v : str_skip(v, (size_t)comma + 1));
	return v.n > 0 && cidr_parse(v, c) ? c->addr : source;
}

static bool is_token_in(const struct snap_jwt_rule *r, const struct head *req)
{
	struct str path, query, v;

	for (size_t i = 0; i < r->headers.n; i++)
		for (size_t k = 0; k < req->n; k++)
			if (str_eq(req->fields[k].name, r->headers.v[i].name) &&
			    str_has_iprefix(req->fields[k].value, r->headers.v[i].prefix))
				return true;
	url_split_query(req->path, &path, &query);
	for (size_t i = 0; i < r->params.n; i++)
		if (url_query_get(query, r->params.v[i], &v))
			return true;
	for (size_t i = 0; i < r->cookies.n; i++)
		if (cookie_get(req, r->cookies.v[i], &v))
			return true;
	return false;
}

/* Who signed it is a matter of keys and of the hour: not foretold, but told. */
static void note_token(const struct arrival *r, const struct head *req, struct doc *d)
{
	const struct int_list *l = &r->node->workloads.v[r->in->workload].jwt_rules;

	for (size_t i = 0; i < l->n; i++) {
		const struct snap_jwt_rule *rule = &r->node->jwt_rules.v[l->v[i]];

		if (!is_token_in(rule, req))
			continue;
		doc_set_str(r->x->a, d, "token",
			    arena_printf(r->x->a,
					 "not judged here; %.*s:%lld says who may issue it",
					 STR_ARG(rule->file), (long long)rule->line));
		return;
	}
}

static void ask_policies(const struct arrival *r, const struct head *req, struct doc *d,
			 struct outcome *ret)
{
	const struct explain *x = r->x;
	struct authz_facts f = { .principal = str_skip(x->principal, sizeof("spiffe://") - 1),
				 .port = r->in->port,
				 .sni = r->e->mesh_sni };
	struct authz_verdict v;
	struct cidr at, remote;
	struct str query;

	/* Two ends of one node meet at its address. */
	if (cidr_parse(r->e->mesh_address, &at))
		f.source = f.destination = f.remote = at.addr;
	if (x->request.http) {
		f.http = true;
		f.method = req->method;
		f.host = req->authority;
		f.head = req;
		url_split_query(req->path, &f.path, &query);
		f.remote = remote_of(req, &remote, f.source);
		note_token(r, req, d);
	}
	authz_decide(x->node_authz, (size_t)r->in->workload, &f, x->a, &v);
	verdict_put(x->a, d, x->node_authz, (size_t)r->in->workload, &v);
	if (v.audit)
		doc_set_str(x->a, d, "audit",
			    arena_printf(x->a, "%.*s.%.*s", STR_ARG(v.audit->name),
					 STR_ARG(v.audit->ns)));
	if (v.shadow_denied)
		doc_set_bool(x->a, d, "dry_run_denied", true);
	if (v.allowed)
		*ret = (struct outcome){ .good = true };
	else
		refuse(ret, x->request.http ? 403 : 0, "", "a policy of the workload refuses it");
}

/* Another proxy decides what comes next: that is a question of its own. */
static bool goes_on(const struct arrival *r, struct doc *d)
{
	struct arena *a = r->x->a;
	const struct snap_peer *p = r->e->peer >= 0 ? &r->x->own.snap->peers.v[r->e->peer] : NULL;

	if (r->in || !p || !explain_is_gateway(r->x, explain_peer_name(a, p)))
		return false;
	doc_set_str(a, d, "verdict", STR("GOES ON"));
	doc_set_str(a, d, "why",
		    arena_printf(a, "the gateway leads it on: explain request %.*s …",
				 STR_ARG(p->name)));
	return true;
}

static void not_asked(const struct arrival *r, struct doc *d, struct outcome *ret)
{
	*ret = (struct outcome){ .good = true };
	if (goes_on(r, d))
		return;
	doc_set_str(r->x->a, d, "verdict", STR("NOT ASKED"));
	doc_set_str(r->x->a, d, "why",
		    r->in ? STR("it goes straight to the application, past its proxy")
			  : STR("no proxy of this node stands before it"));
}

void explain_inbound(const struct explain *x, const struct snap_cluster *cluster,
		     const struct snap_endpoint *e, const struct head *req, struct doc *d,
		     struct outcome *ret)
{
	struct arrival r = { .x = x,
			     .node = x->node.snap,
			     .k = cluster,
			     .e = e,
			     .mutual = wants_mesh_tls(cluster, e) };

	if (e->peer >= 0) {
		r.in = r.mutual ? by_sni(&r) : by_service(&r);
		doc_set_str(x->a, d, "workload",
			    explain_peer_name(x->a, &x->own.snap->peers.v[e->peer]));
	}
	doc_set_int(x->a, d, "port", r.in ? r.in->port : e->port);
	doc_set_str(x->a, d, "transport", transport(&r));
	if (r.in) {
		doc_set_str(x->a, d, "mtls", str_c(snap_mtls_names[r.in->mtls]));
		explain_put_resource(x, d, "peer_authentication", "PeerAuthentication",
				     r.in->policy);
	}
	if (r.in && !gets_in(&r, ret)) {
		doc_set_str(x->a, d, "verdict", STR("REFUSED"));
		doc_set_str(x->a, d, "why", str_c(ret->why));
	} else if (r.in && r.mutual) {
		ask_policies(&r, req, d, ret);
	} else {
		not_asked(&r, d, ret);
	}
}
