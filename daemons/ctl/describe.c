/* SPDX-License-Identifier: Apache-2.0 */
/* describe: see describe.h. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "config/check.h"
#include "ctl/describe.h"
#include "ctl/findings.h"
#include "ctl/live.h"
#include "ctl/resources.h"
#include "ctl/verdict.h"

/* ---- life ------------------------------------------------------------------------------------ */

/* Of a running router what its last reload found, and how its workloads are; else the rules are
 * run. */
static void ask_router(struct describe *d)
{
	struct doc *status;
	struct err err;

	if (d->c->model) {
		(void)model_check(d->c->model, &d->findings);
		return;
	}
	if (ctl_call_router(d->c, "Status", NULL, &status, &err) < 0)
		return;
	findings_from_doc(doc_get(doc_get(status, STR("lastReload")), STR("findings")),
			  &d->findings);
	d->health = doc_get(status, STR("workloads"));
}

int describe_open(struct ctl *c, struct describe *ret)
{
	int code;

	*ret = (struct describe){ .c = c, .a = &c->arena };
	err_list_init(&ret->findings);
	if ((code = resources_gather(c, &ret->resources)) != 0 ||
	    (code = snapshot_open(c, "node", &ret->of)) != 0)
		return code;
	ask_router(ret);
	return 0;
}

void describe_done(struct describe *d)
{
	err_list_done(&d->findings);
	snapshot_done(&d->of);
}

/* ---- members --------------------------------------------------------------------------------- */

void describe_put_resource(const struct describe *d, struct doc *to, const char *key,
			   const char *kind, struct str name)
{
	const struct doc *row;

	if (name.n == 0)
		return;
	doc_set_str(d->a, to, key, name);
	if ((row = resources_find(d->resources, kind, name)))
		doc_set_str(d->a, to, arena_printf(d->a, "%s_file", key).p,
			    doc_get_str(row, "source", STR("-")));
}

static struct str peer_name(const struct describe *d, const struct snap_peer *p)
{
	return arena_printf(d->a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns));
}

static struct str workload_name(const struct describe *d, int64_t workload)
{
	const struct snap *s = d->of.snap;

	return peer_name(d, &s->peers.v[s->workloads.v[workload].peer]);
}

static void put_labels(const struct describe *d, struct doc *to, const struct labels *l)
{
	struct doc *map = doc_set(d->a, to, "labels", doc_new_map(d->a));

	for (size_t i = 0; i < l->n; i++)
		doc_set_str(d->a, map, arena_str(d->a, l->v[i].key).p, l->v[i].val);
}

/* What a port of a workload asks of who connects. */
static struct doc *mtls_row(const struct describe *d, struct doc *rows,
			    const struct snap_inbound *in)
{
	struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));

	doc_set_str(d->a, row, "workload", workload_name(d, in->workload));
	doc_set_int(d->a, row, "port", in->port);
	doc_set_str(d->a, row, "protocol", str_c(snap_protocol_names[in->protocol]));
	doc_set_str(d->a, row, "mtls", str_c(snap_mtls_names[in->mtls]));
	describe_put_resource(d, row, "peer_authentication", "PeerAuthentication", in->policy);
	return row;
}

/* ---- findings -------------------------------------------------------------------------------- */

static bool is_about(const struct describe *d, const struct err *e, const char *kind,
		     struct str name)
{
	struct str head = arena_printf(d->a, "%s %.*s: ", kind, STR_ARG(name));

	return name.n > 0 && str_has_prefix(str_c(e->text), head);
}

static void add_finding(const struct describe *d, struct doc *rows, const struct err *e)
{
	struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));

	doc_set_str(d->a, row, "level", str_c(findings_level_name(e->level)));
	doc_set_str(d->a, row, "code", str_c(e->rule));
	doc_set_str(d->a, row, "text", str_c(e->text));
	doc_set_str(d->a, row, "file", arena_printf(d->a, "%s:%u", e->file, e->line));
}

struct subject {
	const char *kind;
	struct str name;
};

static void put_findings(const struct describe *d, struct doc *to, const struct subject *v,
			 size_t n)
{
	struct doc *rows = doc_set(d->a, to, "warnings", doc_new_list(d->a));

	for (size_t i = 0; i < d->findings.n; i++)
		for (size_t k = 0; k < n; k++)
			if (is_about(d, &d->findings.v[i], v[k].kind, v[k].name)) {
				add_finding(d, rows, &d->findings.v[i]);
				break;
			}
}

/* ---- a service ------------------------------------------------------------------------------- */

/* "my-app", "my-app.default", "my-app.default.svc", the whole. */
static bool is_named(const struct ctl *c, const struct snap_cluster *k, struct str word)
{
	if (str_ieq(k->service, word))
		return true;
	if (word.n >= k->service.n || !str_has_iprefix(k->service, word) ||
	    k->service.p[word.n] != '.')
		return false;
	if (str_find(word, '.') >= 0)
		return true;
	return str_eq(word, k->service_name) && (!c->ns || str_eq(k->service_ns, str_c(c->ns)));
}

struct str describe_find_service(struct describe *d, const char *word)
{
	const struct snap *s = d->of.snap;
	struct str found = STR_NULL;

	for (size_t i = 0; i < s->clusters.n; i++) {
		const struct snap_cluster *k = &s->clusters.v[i];

		if (k->service.n == 0 || !is_named(d->c, k, str_c(word)) ||
		    str_eq(found, k->service))
			continue;
		if (found.n > 0) {
			ctl_fail(CTL_EXIT_USAGE, "%s: %.*s or %.*s? Add the namespace", word,
				 STR_ARG(found), STR_ARG(k->service));
			return STR_NULL;
		}
		found = k->service;
	}
	if (found.n == 0)
		ctl_fail(CTL_EXIT_NOT_FOUND, "%s: no service that this node knows", word);
	return found;
}

static bool is_same_but_view(const struct describe *d, const struct doc *x, const struct doc *y)
{
	struct doc *a = doc_copy(d->a, x), *b = doc_copy(d->a, y);

	doc_set_str(d->a, a, "view", STR(""));
	doc_set_str(d->a, b, "view", STR(""));
	return doc_eq(a, b);
}

struct doc *describe_routes(struct describe *d, struct str fqdn)
{
	struct doc *all = snapshot_routes(&d->of), *ret = doc_new_list(d->a);

	for (size_t i = 0; i < all->n; i++) {
		bool known = !str_eq(doc_get_str(all->v[i], "service", STR("")), fqdn);

		for (size_t k = 0; k < ret->n && !known; k++)
			known = is_same_but_view(d, ret->v[k], all->v[i]);
		if (!known)
			doc_add(d->a, ret, doc_copy(d->a, all->v[i]));
	}
	return ret;
}

static void put_subsets(const struct describe *d, struct doc *to, struct str fqdn)
{
	struct doc *rows = doc_set(d->a, to, "subsets", doc_new_list(d->a));

	for (size_t i = 0; i < d->of.snap->clusters.n; i++) {
		const struct snap_cluster *k = &d->of.snap->clusters.v[i];

		if (!str_eq(k->service, fqdn))
			continue;
		struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));

		doc_set_str(d->a, row, "cluster", k->name);
		doc_set_int(d->a, row, "port", k->port);
		doc_set_str(d->a, row, "subset", k->subset);
		doc_set_str(d->a, row, "protocol", str_c(snap_protocol_names[k->protocol]));
		doc_set_str(d->a, row, "lb", str_c(snap_lb_names[k->lb]));
		doc_set_str(d->a, row, "tls", str_c(snap_tls_mode_names[k->tls.mode]));
		doc_set_int(d->a, row, "endpoints", (int64_t)k->endpoints.n);
		describe_put_resource(d, row, "destination_rule", "DestinationRule",
				      k->destination_rule);
	}
}

static void put_endpoints(const struct describe *d, struct doc *to, struct str fqdn)
{
	struct doc *all = snapshot_endpoints(&d->of),
		   *rows = doc_set(d->a, to, "endpoints", doc_new_list(d->a));

	for (size_t i = 0; i < d->of.snap->clusters.n; i++) {
		const struct snap_cluster *k = &d->of.snap->clusters.v[i];

		for (size_t r = 0; str_eq(k->service, fqdn) && k->subset.n == 0 && r < all->n; r++)
			if (str_eq(doc_get_str(all->v[r], "cluster", STR("")), k->name))
				doc_add(d->a, rows, doc_copy(d->a, all->v[r]));
	}
}

static bool serves(const struct snap_inbound *in, struct str fqdn)
{
	for (size_t i = 0; i < in->services.n; i++)
		if (str_eq(in->services.v[i].service, fqdn))
			return true;
	return false;
}

/* Of each workload behind it, with the rules that are for it. */
static void put_workloads(const struct describe *d, struct doc *to, struct str fqdn)
{
	struct doc *rows = doc_set(d->a, to, "workloads", doc_new_list(d->a));
	struct doc *rules = doc_set(d->a, to, "policies", doc_new_list(d->a));
	const struct snap *s = d->of.snap;
	int64_t last = -1;

	for (size_t i = 0; i < s->inbounds.n; i++) {
		const struct snap_inbound *in = &s->inbounds.v[i];

		if (!serves(in, fqdn))
			continue;
		mtls_row(d, rows, in);
		if (in->workload == last)
			continue;
		size_t before = rules->n;

		verdict_rules(d->a, s, (size_t)in->workload, rules);
		for (; before < rules->n; before++)
			doc_set_str(d->a, rules->v[before], "workload",
				    workload_name(d, in->workload));
		last = in->workload;
	}
}

/* "my-app.default" of "my-app.default.svc.cluster.local"; hosts of ServiceEntries stay. */
struct str describe_short_name(const struct describe *d, const struct snap_cluster *k)
{
	struct str name =
		arena_printf(d->a, "%.*s.%.*s", STR_ARG(k->service_name), STR_ARG(k->service_ns));
	struct str rest = str_skip(k->service, name.n);

	return str_has_prefix(k->service, name) && str_has_prefix(rest, STR(".svc.")) ? name
										      : k->service;
}

static struct str short_name(const struct describe *d, struct str fqdn)
{
	for (size_t i = 0; i < d->of.snap->clusters.n; i++)
		if (str_eq(d->of.snap->clusters.v[i].service, fqdn))
			return describe_short_name(d, &d->of.snap->clusters.v[i]);
	return fqdn;
}

/* The ServiceEntry that has the host: "NAME.NS", empty when it is a Service's. */
static struct str entry_of(const struct describe *d, struct str host)
{
	for (size_t i = 0; i < d->resources->n; i++) {
		const struct doc *r = d->resources->v[i];
		const struct doc *hosts = doc_get(doc_get(r, STR("spec")), STR("hosts"));

		if (!str_eq(doc_get_str(r, "kind", STR("")), STR("ServiceEntry")))
			continue;
		for (size_t k = 0; hosts && hosts->kind == DOC_LIST && k < hosts->n; k++)
			if (hosts->v[k]->kind == DOC_STR && str_ieq(hosts->v[k]->s, host))
				return arena_printf(d->a, "%.*s.%.*s",
						    STR_ARG(doc_get_str(r, "name", STR(""))),
						    STR_ARG(doc_get_str(r, "namespace", STR(""))));
	}
	return STR("");
}

static void add_subject(struct subject *v, size_t *n, const char *kind, const struct doc *of,
			const char *member)
{
	v[*n] = (struct subject){ kind, doc_get_str(of, member, STR("")) };
	++*n;
}

static void put_service_findings(const struct describe *d, struct doc *to, struct str name)
{
	const struct doc *routes = doc_get(to, STR("routes")),
			 *subsets = doc_get(to, STR("subsets"));
	const struct doc *workloads = doc_get(to, STR("workloads"));
	size_t n = 2, max = 2 + routes->n + subsets->n + 2 * workloads->n;
	struct subject *v = arena_new_n(d->a, struct subject, max);

	v[0] = (struct subject){ "Service", name };
	v[1] = (struct subject){ "ServiceEntry", name };
	for (size_t i = 0; i < routes->n; i++)
		add_subject(v, &n, "VirtualService", routes->v[i], "virtual_service");
	for (size_t i = 0; i < subsets->n; i++)
		add_subject(v, &n, "DestinationRule", subsets->v[i], "destination_rule");
	for (size_t i = 0; i < workloads->n; i++) {
		add_subject(v, &n, "Workload", workloads->v[i], "workload");
		add_subject(v, &n, "PeerAuthentication", workloads->v[i], "peer_authentication");
	}
	put_findings(d, to, v, n);
}

struct doc *describe_service(struct describe *d, struct str fqdn)
{
	struct doc *to = doc_new_map(d->a);
	struct str entry = entry_of(d, fqdn), name = entry.n > 0 ? entry : short_name(d, fqdn);
	const char *kind = entry.n > 0 ? "ServiceEntry" : "Service";

	doc_set_str(d->a, to, "kind", str_c(kind));
	describe_put_resource(d, to, "name", kind, name);
	doc_set_str(d->a, to, "host", fqdn);
	put_subsets(d, to, fqdn);
	doc_set(d->a, to, "routes", describe_routes(d, fqdn));
	put_endpoints(d, to, fqdn);
	put_workloads(d, to, fqdn);
	put_service_findings(d, to, name);
	return to;
}

/* ---- a workload ------------------------------------------------------------------------------ */

static void put_ports(const struct describe *d, struct doc *to, size_t workload)
{
	struct doc *rows = doc_set(d->a, to, "ports", doc_new_list(d->a));
	const struct snap *s = d->of.snap;

	for (size_t i = 0; i < s->inbounds.n; i++) {
		const struct snap_inbound *in = &s->inbounds.v[i];

		if ((size_t)in->workload != workload)
			continue;
		struct doc *row = mtls_row(d, rows, in),
			   *services = doc_set(d->a, row, "services", doc_new_list(d->a));

		for (size_t k = 0; k < in->services.n; k++)
			doc_add(d->a, services,
				doc_new_str(d->a, arena_printf(d->a, "%.*s:%lld",
							       STR_ARG(in->services.v[k].service),
							       (long long)in->services.v[k].port)));
	}
}

static struct str proof(const struct describe *d, const struct snap_workload *w, size_t i)
{
	if (w->unit.n > 0)
		return arena_printf(d->a, "unit %.*s", STR_ARG(w->unit));
	if (w->user.n > 0)
		return arena_printf(d->a, "user %.*s", STR_ARG(w->user));
	return i == 0 ? STR("every caller that is no registered workload")
		      : STR("nothing: its own calls are an unregistered caller's");
}

/* Of its unit and its probe, when the router watches them. */
static void put_state(const struct describe *d, struct doc *to, const struct snap_peer *p)
{
	const struct doc *row = live_workload(d->health, p->name, p->ns);

	if (row)
		doc_set_str(d->a, to, "state", live_workload_text(d->a, row));
}

struct doc *describe_workload(struct describe *d, size_t workload)
{
	const struct snap *s = d->of.snap;
	const struct snap_workload *w = &s->workloads.v[workload];
	struct str name = workload_name(d, (int64_t)workload);
	struct doc *to = doc_new_map(d->a), *rules;
	const struct subject about[] = { { "Workload", name } };

	doc_set_str(d->a, to, "kind", STR("Workload"));
	describe_put_resource(d, to, "name", "Workload", name);
	doc_set_str(d->a, to, "identity", s->identities.v[w->identity]);
	doc_set_str(d->a, to, "proved_by", proof(d, w, workload));
	put_state(d, to, &s->peers.v[w->peer]);
	put_labels(d, to, &s->peers.v[w->peer].labels);
	if (w->view >= 0)
		doc_set_str(d->a, to, "outbound",
			    str_c(snap_outbound_names[s->views.v[w->view].outbound]));
	put_ports(d, to, workload);
	rules = doc_set(d->a, to, "policies", doc_new_list(d->a));
	verdict_rules(d->a, s, workload, rules);
	put_findings(d, to, about, 1);
	return to;
}

/* ---- a node ---------------------------------------------------------------------------------- */

struct doc *describe_node(struct describe *d)
{
	const struct snap *s = d->of.snap;
	struct doc *to = doc_new_map(d->a), *rows;

	doc_set_str(d->a, to, "kind", STR("Node"));
	doc_set_str(d->a, to, "name", s->settings.node);
	doc_set_str(d->a, to, "identity", s->identities.v[0]);
	doc_set_str(d->a, to, "trust_domain", s->settings.trust_domain);
	doc_set_bool(d->a, to, "refuses_unregistered", s->settings.refuse_unregistered);
	rows = doc_set(d->a, to, "listeners", doc_new_list(d->a));
	for (size_t i = 0; i < s->listeners.n; i++) {
		struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));

		doc_set_str(d->a, row, "kind",
			    str_c(snap_listener_kind_names[s->listeners.v[i].kind]));
		doc_set_str(d->a, row, "address", s->listeners.v[i].address);
		doc_set_int(d->a, row, "port", s->listeners.v[i].port);
		doc_set_str(d->a, row, "service", s->listeners.v[i].service);
	}
	rows = doc_set(d->a, to, "workloads", doc_new_list(d->a));
	for (size_t i = 0; i < s->workloads.n; i++) {
		const struct snap_workload *w = &s->workloads.v[i];
		struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));

		doc_set_str(d->a, row, "name", workload_name(d, (int64_t)i));
		doc_set_str(d->a, row, "proved_by", proof(d, w, i));
		put_state(d, row, &s->peers.v[w->peer]);
		doc_set_int(d->a, row, "rules", (int64_t)w->policies.n);
		doc_set_str(d->a, row, "identity", s->identities.v[w->identity]);
	}
	return to;
}
