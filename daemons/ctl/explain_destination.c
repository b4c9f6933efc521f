/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain_destination: the endpoints of one destination, each in or out and why (Istio 2.7.4,
 * 2.8.3, 2.8.8 to 2.8.12). Layer daemons/ctl.
 */
#include "config.h"

#include "base/hash.h"
#include "core/chash.h"
#include "core/hash_key.h"
#include "core/outlier.h"
#include "core/priority.h"
#include "ctl/explain.h"
#include "ctl/live.h"
#include "ctl/print.h"
#include "ctl/resources.h"
#include "http/url.h"
#include "io/sock.h"

struct candidate {
	bool healthy; /* but for where it is */
	bool ejected;
	bool refused; /* by egressPolicy */
	struct str why; /* of one that is not */
};
struct pool {
	const struct explain *x;
	const struct snap_cluster *k;
	struct candidate *v;                 /* parallel to its endpoints */
	unsigned share[SNAP_PRIORITIES_MAX]; /* percent for each level */
	int64_t weight[SNAP_PRIORITIES_MAX]; /* of the healthy ones */
	size_t n_levels;
	bool panic;     /* so few are left that ejections are overlooked */
	size_t picked;  /* by a hash; LB_NONE: any of them */
	struct str key; /* what the hash is of */
};

/* ---- each by itself -------------------------------------------------------------------------- */

static bool has_address(const struct snap_cluster *k, const struct snap_endpoint *e)
{
	struct sock_addr ignored;

	return sock_addr_parse(e->address, (uint16_t)e->port, &ignored) ||
	       (e->mesh_port > 0 && k->tls.mode != SNAP_TLS_DISABLE &&
		sock_addr_parse(e->mesh_address, (uint16_t)e->mesh_port, &ignored));
}

/* The router knows more: the unit's state, what the probe said. */
static struct str why_down(const struct explain *x, const struct snap_endpoint *e)
{
	const struct snap_peer *p = e->peer >= 0 ? &x->own.snap->peers.v[e->peer] : NULL;
	const struct doc *row = p ? live_workload(x->health, p->name, p->ns) : NULL;

	return row ? live_workload_text(x->a, row) : STR("it is known to be down");
}

/*
 * egressPolicy, by the proxies' code; of a name the address decides that it has when it is looked up.
 * Empty: it has nothing to say.
 */
static struct str ask_residency(const struct explain *x, const struct snap_cluster *k, struct str address, bool *ret_refused)
{
	struct residency_question q = { 0 };
	struct residency_answer a;
	char words[RESIDENCY_TEXT_MAX];

	*ret_refused = false;
	if (!x->residency)
		return STR_NULL;
	if (!residency_read_address(address, q.addr))
		return STR("its name's address decides, when it is looked up");
	residency_of_service(x->residency, k->service, &q);
	residency_judge(x->residency, &q, &a);
	*ret_refused = a.verdict == RESIDENCY_REFUSED && !residency_audits(x->residency);
	return arena_str(x->a, str_c(residency_words(&a, words)));
}

static struct str residency_of(const struct explain *x, const struct snap_cluster *k, const struct snap_endpoint *e,
			       bool *ret_refused)
{
	*ret_refused = false;
	if (snap_is_mesh_leg(k, e) || str_has_prefix(e->address, STR("unix:")))
		return STR_NULL;
	return ask_residency(x, k, e->address, ret_refused);
}

/* Without a proxy to ask, a name may well have an address. */
static struct candidate judge(const struct explain *x, const struct snap_cluster *k,
			      const struct snap_endpoint *e)
{
	const struct doc *live = snapshot_live_endpoint(&x->own, k->name, e);
	struct str health = doc_get_str(live, "health", STR("HEALTHY"));

	bool refused;
	struct str where = residency_of(x, k, e, &refused);

	if (refused)
		return (struct candidate){ .refused = true, .why = arena_printf(x->a, "egressPolicy: %.*s", STR_ARG(where)) };
	if (e->inactive || str_eq(health, STR("INACTIVE")))
		return (struct candidate){ .why = why_down(x, e) };
	if (!has_address(k, e) && live)
		return (struct candidate){ .why = STR("its name has no address") };
	if (str_eq(health, STR("EJECTED")))
		return (struct candidate){ .ejected = true,
					   .why = STR("ejected: it failed too often in a row") };
	if (!str_eq(health, STR("HEALTHY")))
		return (struct candidate){ .why = arena_printf(x->a, "its probe says %.*s",
							       STR_ARG(health)) };
	return (struct candidate){ .healthy = true };
}

static struct outlier_host *ejected_host(void *arg, size_t i)
{
	return (struct outlier_host *)arg + i;
}

static bool panics(const struct pool *p)
{
	size_t n = p->k->endpoints.n;
	struct outlier_host *v = arena_new_n(p->x->a, struct outlier_host, n);
	const struct outlier_set set = { .n = n, .get = ejected_host, .arg = v };

	for (size_t i = 0; i < n; i++)
		if (p->v[i].ejected)
			atomic_store_explicit(&v[i].ejected_until_us, UINT64_MAX,
					      memory_order_relaxed);
	return p->k->outlier && outlier_panics(p->k->outlier, &set, 1);
}

/* ---- together -------------------------------------------------------------------------------- */

static void weigh_levels(struct pool *p)
{
	struct priority_level level[SNAP_PRIORITIES_MAX] = { 0 };

	for (size_t i = 0; i < p->k->endpoints.n; i++) {
		const struct snap_endpoint *e = &p->k->endpoints.v[i];
		size_t l = (size_t)e->priority;

		p->n_levels = l + 1 > p->n_levels ? l + 1 : p->n_levels;
		level[l].all++;
		level[l].healthy += p->v[i].healthy;
		p->weight[l] += p->v[i].healthy ? e->weight : 0;
	}
	if (p->n_levels > 0)
		priority_shares(level, p->n_levels, p->share);
}

static bool is_in(const struct pool *p, size_t i)
{
	return p->v[i].healthy && p->share[p->k->endpoints.v[i].priority] > 0;
}

static struct lb_host look(void *arg, size_t i)
{
	const struct pool *p = arg;

	return (struct lb_host){ .weight = p->k->endpoints.v[i].weight, .usable = is_in(p, i) };
}

/* In words, for the rows. */
static struct str key_words(const struct explain *x, const struct snap_hash *h)
{
	static const char *const of[SNAP_HASH__N] = { "header", "cookie", NULL, "query parameter" };

	return of[h->source] ? arena_printf(x->a, "%s %.*s", of[h->source], STR_ARG(h->name))
			     : STR("the caller's address");
}

/* One level alone has a sure choice: where levels share, chance decides between them first. */
static void pick_by_hash(struct pool *p, const struct head *req)
{
	const struct lb_set set = { .n = p->k->endpoints.n,
				    .get = look,
				    .arg = p,
				    .weighted =
					    lb_is_weighted(p->k->endpoints.v, p->k->endpoints.n) };
	struct chash *table;
	struct str key;
	size_t levels = 0;

	for (size_t i = 0; i < p->n_levels; i++)
		levels += p->share[i] > 0;
	if (!p->k->hash || !hash_key_text(p->k->hash, req, &key) || key.n == 0 || levels != 1 ||
	    !(table = chash_new(p->k)))
		return;
	p->key = key_words(p->x, p->k->hash);
	p->picked = chash_pick(table, &set, hash_str(key));
	chash_free(table);
}

static void fill(struct pool *p, const struct head *req)
{
	size_t n = p->k->endpoints.n;

	p->v = arena_new_n(p->x->a, struct candidate, n);
	for (size_t i = 0; i < n; i++)
		p->v[i] = judge(p->x, p->k, &p->k->endpoints.v[i]);
	p->panic = panics(p);
	for (size_t i = 0; i < n && p->panic; i++)
		p->v[i].healthy |= p->v[i].ejected;
	weigh_levels(p);
	pick_by_hash(p, req);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static struct str address_text(struct arena *a, const struct snap_endpoint *e)
{
	return str_has_prefix(e->address, STR("unix:"))
		       ? e->address
		       : arena_printf(a, "%.*s:%lld", STR_ARG(e->address), (long long)e->port);
}

static struct doc *endpoint_row(const struct explain *x, struct doc *list,
				const struct snap_endpoint *e)
{
	struct doc *d = doc_add(x->a, list, doc_new_map(x->a));

	doc_set_str(x->a, d, "endpoint", address_text(x->a, e));
	if (e->peer >= 0)
		doc_set_str(x->a, d, "workload",
			    explain_peer_name(x->a, &x->own.snap->peers.v[e->peer]));
	if (e->locality.n > 0)
		doc_set_str(x->a, d, "locality", e->locality);
	return d;
}

static struct str why_in(const struct pool *p, size_t i)
{
	struct arena *a = p->x->a;
	int64_t level = p->k->endpoints.v[i].priority;

	if (p->picked == i)
		return arena_printf(a, "the hash of %.*s leads here", STR_ARG(p->key));
	if (p->panic && p->v[i].ejected)
		return STR("ejected, but so few are left that ejections are overlooked");
	if (p->n_levels > 1)
		return arena_printf(a, "healthy; priority %lld takes %u %%", (long long)level,
				    p->share[level]);
	return STR("healthy");
}

static struct str why_out(const struct pool *p, size_t i)
{
	if (!p->v[i].healthy)
		return p->v[i].why;
	return arena_printf(p->x->a, "priority %lld: nearer ones are healthy enough",
			    (long long)p->k->endpoints.v[i].priority);
}

static void put_endpoint(const struct pool *p, struct doc *list, size_t i)
{
	const struct snap_endpoint *e = &p->k->endpoints.v[i];
	struct arena *a = p->x->a;
	struct doc *d = endpoint_row(p->x, list, e);
	bool in = is_in(p, i) && (p->picked == LB_NONE || p->picked == i);

	bool refused;
	struct str where = residency_of(p->x, p->k, e, &refused);

	if (where.n > 0)
		doc_set_str(a, d, "residency", where);
	doc_set_int(a, d, "priority", e->priority);
	doc_set_int(a, d, "weight", e->weight);
	doc_set_bool(a, d, "in", in);
	if (in)
		doc_set_real(a, d, "share",
			     p->picked == i ? 100.0
					    : (double)p->share[e->priority] * (double)e->weight /
						      (double)p->weight[e->priority]);
	doc_set_str(a, d, "why",
		    is_in(p, i) && !in
			    ? arena_printf(a, "the hash of %.*s leads elsewhere", STR_ARG(p->key))
		    : in ? why_in(p, i)
			 : why_out(p, i));
}

/* ---- those that the subset leaves out -------------------------------------------------------- */

static const struct doc *subset_labels(const struct explain *x, const struct snap_cluster *k)
{
	const struct doc *rule =
		resources_find(x->resources, "DestinationRule", k->destination_rule);
	const struct doc *subsets = doc_get(doc_get(rule, STR("spec")), STR("subsets"));

	for (size_t i = 0; subsets && subsets->kind == DOC_LIST && i < subsets->n; i++)
		if (str_eq(doc_get_str(subsets->v[i], "name", STR("")), k->subset))
			return doc_get(subsets->v[i], STR("labels"));
	return NULL;
}

/* "its labels have version=v2 instead of version=v1" */
static struct str other_labels(const struct explain *x, const struct doc *want,
			       const struct labels *have)
{
	struct arena *a = x->a;
	struct str s = STR("");

	for (size_t i = 0; want && want->kind == DOC_MAP && i < want->n; i++) {
		struct str key = want->v[i]->key, value = print_value(a, want->v[i]);
		struct str own = labels_get(have, key);

		if (own.p && str_eq(own, value))
			continue;
		s = arena_printf(a, "%.*s%s%.*s is %.*s, not %.*s", STR_ARG(s), s.n > 0 ? "; " : "",
				 STR_ARG(key), STR_ARG(own.p ? own : STR("absent")),
				 STR_ARG(value));
	}
	return s;
}

static bool has_endpoint(const struct snap_cluster *k, const struct snap_endpoint *e)
{
	for (size_t i = 0; i < k->endpoints.n; i++) {
		const struct snap_endpoint *o = &k->endpoints.v[i];

		if (e->peer >= 0 ? o->peer == e->peer
				 : o->port == e->port && str_eq(o->address, e->address))
			return true;
	}
	return false;
}

/* The destination without its subset has all of them. */
static void put_left_out(const struct explain *x, const struct snap_cluster *k, struct doc *list)
{
	static const struct labels none = { 0 };
	const struct snap_cluster *all = NULL;

	for (size_t i = 0; i < x->own.snap->clusters.n && k->subset.n > 0 && !all; i++) {
		const struct snap_cluster *o = &x->own.snap->clusters.v[i];

		if (o->subset.n == 0 && o->port == k->port && str_eq(o->service, k->service))
			all = o;
	}
	for (size_t i = 0; all && i < all->endpoints.n; i++) {
		const struct snap_endpoint *e = &all->endpoints.v[i];

		if (has_endpoint(k, e))
			continue;
		struct doc *d = endpoint_row(x, list, e);
		struct str other =
			other_labels(x, subset_labels(x, k),
				     e->peer >= 0 ? &x->own.snap->peers.v[e->peer].labels : &none);

		doc_set_bool(x->a, d, "in", false);
		doc_set_str(x->a, d, "why",
			    arena_printf(x->a, "not in subset %.*s%s%.*s", STR_ARG(k->subset),
					 other.n > 0 ? ": " : "", STR_ARG(other)));
	}
}

/* ---- the destination ------------------------------------------------------------------------- */

static void put_cluster(const struct explain *x, const struct snap_cluster *k, struct doc *d)
{
	doc_set_str(x->a, d, "service", k->service);
	doc_set_str(x->a, d, "subset", k->subset);
	doc_set_int(x->a, d, "port", k->port);
	explain_put_resource(x, d, "destination_rule", "DestinationRule", k->destination_rule);
	doc_set_str(x->a, d, "lb", str_c(snap_lb_names[k->lb]));
	doc_set_str(x->a, d, "tls", str_c(snap_tls_mode_names[k->tls.mode]));
}

static bool leaves_none(const struct pool *p)
{
	bool any = false;

	for (size_t i = 0; i < p->k->endpoints.n; i++)
		any |= p->v[i].refused;
	return any;
}

/* One row for each workload that the request may reach. */
static void put_policies(const struct pool *p, const struct head *req, struct doc *d,
			 struct outcome *ret)
{
	struct doc *list = doc_set(p->x->a, d, "policies", doc_new_list(p->x->a));
	size_t n_in = 0;

	*ret = (struct outcome){ .good = true };
	for (size_t i = 0; i < p->k->endpoints.n; i++) {
		struct outcome o = { 0 };

		if (!is_in(p, i) || (p->picked != LB_NONE && p->picked != i))
			continue;
		n_in++;
		explain_inbound(p->x, p->k, &p->k->endpoints.v[i], req,
				doc_add(p->x->a, list, doc_new_map(p->x->a)), &o);
		if (!o.good && ret->good)
			*ret = o;
	}
	if (n_in == 0 && leaves_none(p))
		*ret = (struct outcome){ .status = 403, .flags = "RD", .why = "egressPolicy lets data go to none of the endpoints" };
	else if (n_in == 0)
		*ret = (struct outcome){ .status = 503,
					 .flags = "UH",
					 .why = p->k->endpoints.n == 0
							? "the destination has no endpoint"
							: "no endpoint is in" };
}

/* The caller says where: an address is judged as it stands. */
static void put_named(const struct explain *x, const struct snap_cluster *k, const struct head *req, struct doc *d,
		      struct outcome *ret)
{
	static const struct snap_cluster nobody;
	struct str host = STR_NULL;
	uint16_t port;
	bool refused;

	*ret = (struct outcome){ .good = true, .why = "to the host as the caller has named it" };
	if (!x->residency || k->kind == SNAP_CLUSTER_BLACKHOLE || !url_split_authority(req->authority, &host, &port))
		return;
	doc_set_str(x->a, d, "residency", ask_residency(x, &nobody, host, &refused));
	if (refused)
		*ret = (struct outcome){ .status = 403, .flags = "RD", .why = "egressPolicy does not let data go there" };
}

void explain_destination(const struct explain *x, const struct snap_cluster *cluster,
			 const struct head *req, struct doc *d, struct outcome *ret)
{
	struct pool p = { .x = x, .k = cluster, .picked = LB_NONE };
	struct doc *list;

	put_cluster(x, cluster, d);
	if (cluster->kind != SNAP_CLUSTER_STATIC && cluster->kind != SNAP_CLUSTER_DNS) {
		put_named(x, cluster, req, d, ret);
		return;
	}
	list = doc_set(x->a, d, "endpoints", doc_new_list(x->a));
	fill(&p, req);
	for (size_t i = 0; i < cluster->endpoints.n; i++)
		put_endpoint(&p, list, i);
	put_left_out(x, cluster, list);
	put_policies(&p, req, d, ret);
}
