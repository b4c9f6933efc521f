/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_locality: localities become priorities of endpoints, or weights (2.8.10–2.8.12). The
 * client is this node: where it is, is known here. Layer config.
 */
#include "config/compile_parts.h"

#define FINE 10000                      /* of a percent: weights are whole numbers */

struct locality {
	struct str region, zone, subzone;
};

static struct locality split(struct str s)
{
	struct locality l = { STR(""), STR(""), STR("") };

	if (s.n > 0 && str_split(&s, '/', &l.region) && str_split(&s, '/', &l.zone))
		(void)str_split(&s, '/', &l.subzone);
	return l;
}

/* ---- distribute (2.8.11) --------------------------------------------------------------------- */

/* "*", "eu" or "eu/fra/fra-3", or with a star behind the last slash: all that begins so. */
static bool fits(struct str pattern, struct str locality)
{
	if (str_has_suffix(pattern, STR("*")))
		return str_has_prefix(locality, str_take(pattern, pattern.n - 1)) ||
		       str_eq(locality, str_take(pattern, pattern.n > 1 ? pattern.n - 2 : 0));
	return str_has_prefix(locality, pattern) &&
	       (locality.n == pattern.n || locality.p[pattern.n] == '/');
}

static const struct model_locality_distribute *rule_for(const struct model_locality_lb *lb,
							struct str own)
{
	for (size_t i = 0; i < lb->distribute.n; i++)
		if (fits(lb->distribute.v[i].from, own))
			return &lb->distribute.v[i];
	return NULL;
}

static struct str locality_of(const struct snap_endpoint *e)
{
	return e->locality.n > 0 ? e->locality : STR("");
}

static int64_t weight_of(const struct snap_endpoint *v, size_t n, struct str pattern)
{
	int64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		if (fits(pattern, locality_of(&v[i])))
			sum += v[i].weight;
	return sum;
}

/* What is in no locality of the rule gets nothing. */
static void distribute(const struct model_locality_distribute *d, struct snap_cluster *cl)
{
	struct snap_endpoint *v = cl->endpoints.v;
	int64_t sums[64];
	size_t n = cl->endpoints.n, kept = 0, n_to = d->toWeights.n < 64 ? d->toWeights.n : 64;

	for (size_t k = 0; k < n_to; k++)
		sums[k] = weight_of(v, n, d->toWeights.v[k].key);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n_to; k++) {
			int64_t share = d->toWeights.v[k].value * FINE;

			if (share == 0 || !fits(d->toWeights.v[k].key, locality_of(&v[i])))
				continue;
			struct snap_endpoint e = v[i];

			e.weight = share * e.weight / sums[k] > 0 ? share * e.weight / sums[k] : 1;
			v[kept++] = e;
			break;
		}
	}
	cl->endpoints.n = kept;
}

/* ---- priorities ------------------------------------------------------------------------------ */

static struct str takes_over(const struct model_locality_lb *lb, struct str region)
{
	for (size_t i = 0; i < lb->failover.n; i++)
		if (str_eq(lb->failover.v[i].from, region))
			return lb->failover.v[i].to;
	return STR_NULL;
}

/* 2.8.10 */
static int64_t distance(const struct model_locality_lb *lb, const struct locality *own,
			struct str other)
{
	struct locality l = split(other);
	struct str next = takes_over(lb, own->region);

	if (!str_eq(l.region, own->region))
		return !next.p || str_eq(l.region, next) ? 3 : 4;
	if (!str_eq(l.zone, own->zone))
		return 2;
	return str_eq(l.subzone, own->subzone) ? 0 : 1;
}

static struct str part_named(struct str key, struct str locality)
{
	struct locality l = split(locality);

	if (str_eq(key, STR("topology.kubernetes.io/region")))
		return l.region;
	if (str_eq(key, STR("topology.kubernetes.io/zone")))
		return l.zone;
	if (str_eq(key, STR("topology.istio.io/subzone")))
		return l.subzone;
	return STR_NULL;
}

/* "KEY" is the endpoint's and the client's, "KEY=VALUE" names the value that is wanted. */
static bool key_fits(const struct compile *c, struct str key, const struct snap_endpoint *e)
{
	ptrdiff_t eq = str_find(key, '=');
	struct str name = eq < 0 ? key : str_take(key, (size_t)eq);
	struct str own = part_named(name, c->m->mesh.node.locality);
	struct str theirs = part_named(name, locality_of(e));

	if (!theirs.p && e->peer >= 0)
		theirs = labels_get(&c->s->peers.v[e->peer].labels, name);
	if (eq >= 0)
		own = str_skip(key, (size_t)eq + 1);
	return own.p && theirs.p && str_eq(own, theirs);
}

/* 2.8.12: the number of keys behind the first that does not fit, itself counted. */
static int64_t rank(const struct compile *c, const struct str_list *keys,
		    const struct snap_endpoint *e)
{
	size_t n = 0;

	while (n < keys->n && key_fits(c, keys->v[n], e))
		n++;
	return (int64_t)(keys->n - n);
}

/* Levels without endpoints go: 0, 2, 3 becomes 0, 1, 2. */
static void compact(struct snap_cluster *cl)
{
	struct snap_endpoint *v = cl->endpoints.v;
	int64_t level = -1, before = -1;

	for (;;) {
		int64_t next = INT64_MAX;

		for (size_t i = 0; i < cl->endpoints.n; i++)
			if (v[i].priority > before && v[i].priority < next)
				next = v[i].priority;
		if (next == INT64_MAX)
			return;
		level += level < SNAP_PRIORITIES_MAX - 1;
		for (size_t i = 0; i < cl->endpoints.n; i++)
			if (v[i].priority == next)
				v[i].priority = level;
		before = next;
	}
}

static void prioritise(const struct compile *c, const struct model_locality_lb *lb,
		       struct snap_cluster *cl)
{
	struct locality own = split(c->m->mesh.node.locality);

	for (size_t i = 0; i < cl->endpoints.n; i++) {
		struct snap_endpoint *e = &cl->endpoints.v[i];

		e->priority = lb->failoverPriority.n > 0 ?
				      rank(c, &lb->failoverPriority, e) :
				      distance(lb, &own, locality_of(e));
	}
	compact(cl);
}

void compile_locality(const struct compile *c, const struct model_load_balancer *balancer,
		      struct snap_cluster *cl)
{
	static const struct model_locality_lb by_default;
	const struct model_locality_lb *lb = balancer && balancer->localityLbSetting ?
						     balancer->localityLbSetting :
						     c->m->mesh.mesh.localityLbSetting;
	struct str own = c->m->mesh.node.locality;

	if (lb && lb->has_enabled && !lb->enabled)
		return;
	lb = lb ? lb : &by_default;
	const struct model_locality_distribute *d = rule_for(lb, own);

	if (d)
		distribute(d, cl);
	else if (cl->outlier && (own.n > 0 || lb->failoverPriority.n > 0))
		prioritise(c, lb, cl);
}
