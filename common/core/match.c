/* SPDX-License-Identifier: Apache-2.0 */
/*
 * match: tables of host names and of L4 rows over one snapshot. Layer core. Routes: route_table.c.
 */
#include "core/match.h"

#include "base/cidr.h"
#include "base/hash.h"
#include "base/vec.h"
#include "core/route_table.h"

#define HOST_MAX 255

/* (port, name) or (port, ".suffix") → virtual host; the empty suffix is "*". */
struct domain {
	struct str name;
	int64_t port;
	bool suffix;
	const struct match_vhost *vhost;        /* NULL: free */
};
struct l4 {
	int64_t port;
	const struct snap_l4 *row;
	struct cidr *cidrs;             /* parallel to row->addresses */
};
struct view {
	struct domain *domains;
	size_t mask;
	bool has_suffixes;
	struct l4 *l4;
	size_t n_l4;
};
struct match {
	struct arena arena;
	struct regex_cache patterns;
	struct view *views;
	size_t n_views;
};

/* ---- host names ----------------------------------------------------------------------------- */
static struct domain *domain_slot(const struct view *v, struct str name, int64_t port, bool suffix)
{
	size_t i = hash_bytes(name.p, name.n, (uint64_t)port * 2 + suffix) & v->mask;
	for (; v->domains[i].vhost; i = (i + 1) & v->mask) {
		const struct domain *d = &v->domains[i];
		if (d->port == port && d->suffix == suffix && str_eq(d->name, name))
			break;
	}
	return &v->domains[i];
}

/* The first that names a domain keeps it. */
static void add_domain(struct view *v, struct str domain, const struct match_vhost *vh)
{
	bool suffix = domain.n > 0 && domain.p[0] == '*';
	struct str name = suffix ? str_skip(domain, 1) : domain;
	struct domain *d = domain_slot(v, name, vh->snap->port, suffix);
	if (!d->vhost)
		*d = (struct domain){
			.name = name, .port = vh->snap->port, .suffix = suffix, .vhost = vh
		};
	v->has_suffixes = v->has_suffixes || (suffix && name.n > 0);
}

static const struct match_vhost *find_domain(const struct view *v, struct str name, int64_t port,
					     bool suffix)
{
	const struct match_vhost *vh = domain_slot(v, name, port, suffix)->vhost;
	return vh || port == 0 ? vh : domain_slot(v, name, 0, suffix)->vhost;
}

static bool has_upper(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] >= 'A' && s.p[i] <= 'Z')
			return true;
	}
	return false;
}

const struct match_vhost *match_vhost(const struct match *m, int64_t view, int64_t port,
				      struct str host)
{
	kv_assert(view >= 0 && (size_t)view < m->n_views);
	const struct view *v = &m->views[view];
	_scratch_ char lower[HOST_MAX];
	if (host.n > HOST_MAX)
		host = STR("");
	if (has_upper(host)) {
		for (size_t i = 0; i < host.n; i++)
			lower[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (char)(host.p[i] | 0x20)
									: host.p[i];
		host.p = lower;
	}
	const struct match_vhost *vh = find_domain(v, host, port, false);
	for (size_t i = 1; i < host.n && !vh && v->has_suffixes; i++) {
		/* cppcheck-suppress uninitvar; it takes the .p of STR() for host's */
		if (host.p[i] == '.')
			vh = find_domain(v, str_skip(host, i), port, true);
	}
	return vh ? vh : find_domain(v, STR(""), port, true);
}

static int build_vhosts(struct match *m, struct view *v, const struct snap_view *sv,
			struct err *err)
{
	size_t n_domains = 0, size = 8;
	for (size_t i = 0; i < sv->vhosts.n; i++)
		n_domains += sv->vhosts.v[i].domains.n;
	while (size < n_domains * 2)
		size *= 2;
	v->mask = size - 1;
	v->domains = arena_new_n(&m->arena, struct domain, size);
	struct match_vhost *vhosts = arena_new_n(&m->arena, struct match_vhost, sv->vhosts.n);
	for (size_t i = 0; i < sv->vhosts.n; i++) {
		vhosts[i].snap = &sv->vhosts.v[i];
		int r = route_table_new(vhosts[i].snap, &m->patterns, &m->arena, &vhosts[i].table,
					err);
		if (r < 0)
			return r;
		for (size_t k = 0; k < vhosts[i].snap->domains.n; k++)
			add_domain(v, vhosts[i].snap->domains.v[k], &vhosts[i]);
	}
	return 0;
}

/* ---- servers of a gateway ------------------------------------------------------------------- */
static bool covers(struct str host, struct str name)
{
	if (str_eq(host, STR("*")))
		return true;
	if (!str_has_prefix(host, STR("*.")))
		return str_ieq(host, name);
	size_t n = host.n - 1;          /* ".suffix" */

	return name.n > n && str_ieq(str_skip(name, name.n - n), str_skip(host, 1));
}

/* Exact names before wildcards, the longer wildcard first. */
static size_t weight_of(struct str host)
{
	return host.p[0] == '*' ? host.n : SIZE_MAX;
}

int64_t match_server(const struct snap_listener *l, struct str sni)
{
	int64_t found = -1;
	size_t best = 0;

	for (size_t i = 0; i < l->servers.n; i++) {
		const struct str_list *hosts = &l->servers.v[i].hosts;

		for (size_t k = 0; k < hosts->n; k++) {
			if (!covers(hosts->v[k], sni) || weight_of(hosts->v[k]) <= best)
				continue;
			found = (int64_t)i;
			best = weight_of(hosts->v[k]);
		}
	}
	return found;
}

/* ---- L4 ------------------------------------------------------------------------------------- */
static int build_l4(struct match *m, struct view *v, const struct snap_view *sv, struct err *err)
{
	v->n_l4 = sv->l4.n;
	v->l4 = arena_new_n(&m->arena, struct l4, sv->l4.n);
	for (size_t i = 0; i < sv->l4.n; i++) {
		const struct snap_l4 *row = &sv->l4.v[i];
		v->l4[i] = (struct l4){ .port = row->port, .row = row };
		v->l4[i].cidrs = arena_new_n(&m->arena, struct cidr, row->addresses.n);
		for (size_t k = 0; k < row->addresses.n; k++) {
			if (!cidr_parse(row->addresses.v[k], &v->l4[i].cidrs[k]))
				return err_set(err, KV_ERR_SCHEMA,
					       "snapshot: '%.*s' of %.*s is no address",
					       STR_ARG(row->addresses.v[k]), STR_ARG(row->name));
		}
	}
	return 0;
}

static bool address_fits(const struct l4 *l, const struct match_l4_facts *f)
{
	/* An explicit listener has named the service: its addresses play no part. */
	if (l->row->addresses.n == 0 || !str_is_empty(f->service))
		return true;
	for (size_t i = 0; i < l->row->addresses.n && f->has_addr; i++) {
		if (cidr_has(&l->cidrs[i], f->addr))
			return true;
	}
	return false;
}

static bool sni_fits(const struct snap_l4 *row, struct str sni)
{
	for (size_t i = 0; i < row->sni.n; i++) {
		struct str want = row->sni.v[i];
		bool wild = want.n > 0 && want.p[0] == '*';
		struct str tail = str_skip(want, wild);
		if (wild ? sni.n > tail.n && str_ieq(str_skip(sni, sni.n - tail.n), tail)
			 : str_ieq(sni, want))
			return true;
	}
	return row->sni.n == 0;
}

const struct snap_l4 *match_l4(const struct match *m, int64_t view, const struct match_l4_facts *f)
{
	kv_assert(view >= 0 && (size_t)view < m->n_views);
	const struct view *v = &m->views[view];
	bool explicit = !str_is_empty(f->service);
	const struct snap_l4 *last = NULL;
	for (size_t i = 0; i < v->n_l4; i++) {
		const struct l4 *l = &v->l4[i];
		if (l->port != 0 && l->port != f->port)
			continue;
		if (explicit && !str_eq(l->row->service, f->service))
			continue;
		if (address_fits(l, f) && sni_fits(l->row, f->sni))
			return l->row;
		last = l->row;
	}
	/* Who dialled the service by its own listener need not say its name a second time. */
	return explicit ? last : NULL;
}

size_t match_weighted(const struct snap_weighted *v, size_t n, int64_t total, struct rng *rng)
{
	if (n == 1)
		return 0;
	int64_t at = (int64_t)rng_below(rng, (uint64_t)total);
	size_t i = 0;
	for (; i + 1 < n && at >= v[i].weight; i++)
		at -= v[i].weight;
	return i;
}

/* ---- life ----------------------------------------------------------------------------------- */
int match_new(const struct snap *s, struct match **ret, struct err *err)
{
	struct match *m = kv_zalloc(sizeof(*m));
	arena_init(&m->arena, 64 << 10);
	regex_cache_init(&m->patterns);
	m->n_views = s->views.n;
	m->views = arena_new_n(&m->arena, struct view, s->views.n);
	for (size_t i = 0; i < s->views.n; i++) {
		int r = build_vhosts(m, &m->views[i], &s->views.v[i], err);
		if (r == 0)
			r = build_l4(m, &m->views[i], &s->views.v[i], err);
		if (r < 0) {
			match_free(m);
			return r;
		}
	}
	*ret = m;
	return 0;
}

void match_free(struct match *m)
{
	if (!m)
		return;
	regex_cache_done(&m->patterns);
	arena_done(&m->arena);
	free(m);
}
