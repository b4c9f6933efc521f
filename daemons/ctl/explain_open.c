/* SPDX-License-Identifier: Apache-2.0 */
/* explain_open: who asks for what, and which snapshots answer. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "config/compile.h"
#include "ctl/explain.h"
#include "ctl/live.h"
#include "ctl/resources.h"
#include "snap/countries.h"

/* ---- members that several steps set ---------------------------------------------------------- */

struct str explain_peer_name(struct arena *a, const struct snap_peer *p)
{
	return arena_printf(a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns));
}

void explain_put_resource(const struct explain *x, struct doc *d, const char *key, const char *kind,
			  struct str name)
{
	const struct doc *row;

	if (name.n == 0)
		return;
	doc_set_str(x->a, d, key, name);
	if ((row = resources_find(x->resources, kind, name)))
		doc_set_str(x->a, d, arena_printf(x->a, "%s_file", key).p,
			    doc_get_str(row, "source", STR("-")));
}

void explain_put_outcome(struct arena *a, struct doc *d, const struct outcome *o)
{
	if (o->status > 0)
		doc_set_int(a, d, "status", o->status);
	if (o->flags && o->flags[0])
		doc_set_str(a, d, "flags", str_c(o->flags));
	if (o->why)
		doc_set_str(a, d, "why", str_c(o->why));
}

/* ---- which proxy ----------------------------------------------------------------------------- */

static bool is_true(const struct doc *d)
{
	return d && (d->kind == DOC_BOOL ? d->b : d->kind == DOC_STR && str_eq(d->s, STR("true")));
}

/* A gateway's instance has the name of its Workload, whatever the namespace. */
static bool is_gateway(const struct explain *x, struct str word)
{
	ptrdiff_t dot = str_find(word, '.');
	struct str name = dot > 0 ? str_take(word, (size_t)dot) : word;

	for (size_t i = 0; i < x->resources->n; i++) {
		const struct doc *r = x->resources->v[i];

		if (str_eq(doc_get_str(r, "kind", STR("")), STR("Workload")) &&
		    str_eq(doc_get_str(r, "name", STR("")), name) &&
		    is_true(doc_get(doc_get(r, STR("spec")), STR("gateway"))))
			return true;
	}
	return false;
}

bool explain_is_gateway(const struct explain *x, struct str name)
{
	const struct doc *r = resources_find(x->resources, "Workload", name);

	return is_true(doc_get(doc_get(r, STR("spec")), STR("gateway")));
}

static int open_snapshots(struct explain *x, struct str source)
{
	const char *proxy = "node";
	ptrdiff_t dot = str_find(source, '.');
	int code;

	x->edge = is_gateway(x, source);
	if (x->edge)
		proxy = arena_str(x->a, dot > 0 ? str_take(source, (size_t)dot) : source).p;
	if ((code = snapshot_open(x->c, proxy, &x->own)) != 0)
		return code;
	if (x->edge)
		return snapshot_open(x->c, "node", &x->node);
	x->node = x->own;
	snap_ref(x->node.snap);
	return 0;
}

/* Where the database cannot be read from here, its addresses stay unknown, and that is said. */
static void prepare_residency(struct explain *x)
{
	const struct snap_residency *p = x->own.snap->residency;
	struct err err = { 0 };

	if (!p)
		return;
	if (p->database.n > 0 &&
	    countries_open(arena_str(x->a, p->database).p, &x->countries, &err) < 0)
		fprintf(stderr, "kvmeshctl: warning: %s\n", err.text);
	x->residency = residency_new(p, x->countries);
}

static int prepare(struct explain *x)
{
	struct err err;

	prepare_residency(x);

	if (match_new(x->own.snap, &x->match, &err) < 0 ||
	    authz_new(x->own.snap, &x->own_authz, &err) < 0 ||
	    authz_new(x->node.snap, &x->node_authz, &err) < 0)
		return ctl_fail_err(&err);
	return 0;
}

/* ---- who calls ------------------------------------------------------------------------------- */

static bool speaks_tls(const struct request *r)
{
	return str_eq(r->scheme, STR("https")) || str_eq(r->scheme, STR("tls"));
}

/* A gateway's port, as itself or by the number its Service gives it: the URL's, else the scheme's.
 */
static const struct snap_listener *find_door(const struct explain *x)
{
	const struct request *r = &x->request;
	int64_t port = r->port > 0 ? r->port : speaks_tls(r) ? 443 : 80;

	for (size_t i = 0; i < x->own.snap->listeners.n; i++) {
		const struct snap_listener *l = &x->own.snap->listeners.v[i];

		if (l->kind == SNAP_LISTENER_GATEWAY &&
		    (l->port == port || l->service_port == port))
			return l;
	}
	return NULL;
}

/* Workload 0 of a gateway's snapshot is the gateway itself. */
static int enter_gateway(struct explain *x)
{
	const struct snap_listener *l = find_door(x);
	int64_t i;

	if (!l)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "%s: the gateway has no such port open",
				x->c->words[x->c->n_words - 1]);
	if ((l->servers.n > 0) != speaks_tls(&x->request))
		return ctl_fail(CTL_EXIT_USAGE, "port %lld of the gateway speaks %s",
				(long long)l->port,
				l->servers.n > 0 ? "TLS: https://" : "plain HTTP: http://");
	x->port = l->service_port > 0 ? l->service_port : l->port;
	x->door = l->port;
	x->view = l->view;
	x->opaque = l->opaque;
	if (l->servers.n > 0) {
		i = match_server(l, x->request.host);
		x->view = i >= 0 ? l->servers.v[i].view : -1;
		x->opaque = i >= 0 && l->servers.v[i].opaque;
	}
	x->request.head.scheme = speaks_tls(&x->request) ? STR("https") : STR("http");
	return 0;
}

static int enter_as(struct explain *x, const char *word)
{
	const struct snap *s = x->own.snap;
	size_t i = 0;
	int code = 0;

	if (!x->edge && strcmp(word, "-") != 0)
		code = snapshot_workload(x->c, s, word, &i);
	if (code != 0)
		return code;
	x->workload = (int64_t)i;
	x->principal = s->identities.v[s->workloads.v[i].identity];
	x->view = s->workloads.v[i].view;
	x->port = x->request.port > 0 ? x->request.port : 80;
	if (x->edge)
		return enter_gateway(x);
	if (i == 0 && s->settings.refuse_unregistered)
		x->workload = x->view = -1;
	if (str_eq(x->request.scheme, STR("https")))
		return ctl_fail(CTL_EXIT_USAGE,
				"a workload's proxy passes TLS on unread: ask for tls://%.*s:443",
				STR_ARG(x->request.host));
	return 0;
}

int explain_open(struct ctl *c, struct explain *ret)
{
	const char *source = c->words[1], *url = c->words[c->n_words - 1];
	const char *method = c->n_words > 3 ? c->words[2] : "GET";
	struct doc *rows;
	int code;

	*ret = (struct explain){ .c = c, .a = &c->arena, .client = ctl_value(c, "client", NULL) };
	if ((code = request_parse(c, method, url, &ret->request)) != 0 ||
	    (code = resources_gather(c, &rows)) != 0)
		return code;
	ret->resources = rows;
	ret->health = snapshot_is_of_files(c) ? NULL : live_workloads(c);
	if ((code = open_snapshots(ret, str_c(source))) != 0 || (code = prepare(ret)) != 0)
		return code;
	return enter_as(ret, source);
}

void explain_done(struct explain *x)
{
	match_free(x->match);
	authz_free(x->own_authz);
	authz_free(x->node_authz);
	residency_free(x->residency);
	countries_free(x->countries);
	snapshot_done(&x->own);
	snapshot_done(&x->node);
}
