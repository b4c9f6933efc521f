/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_residency: egressPolicy and what ServiceEntries declare, as snap/residency.h decides by them.
 * Layer config.
 */
#include "base/vec.h"
#include "config/names.h"

struct str names_country(const struct model_resource *r)
{
	struct str s = labels_get(&r->annotations, STR(NAMES_COUNTRY_KEY));

	if (s.n == 0)
		s = labels_get(&r->labels, STR(NAMES_COUNTRY_KEY));
	return residency_is_country(s) ? s : STR_NULL;
}

struct making {
	struct snap_residency *p;
	struct arena *a;
	size_t cap_ranges, cap_hosts;
	struct map seen;                /* host → index + 1 into hosts */
};

static void add_range(struct making *m, struct str cidr, struct str country)
{
	*vec_push_arena(m->a, m->p->ranges.v, m->p->ranges.n, m->cap_ranges) =
		(struct snap_range){ .cidr = cidr, .country = country };
}

/* Of two entries of one host the stricter: one that is outside, a country that is not allowed. */
static void join(const struct making *m, struct snap_declared *d, const struct snap_declared *other)
{
	d->internal = d->internal && other->internal;
	if (d->country.n == 0 || (other->country.n > 0 && str_list_has(&m->p->allow, d->country)))
		d->country = other->country.n > 0 ? other->country : d->country;
}

static void add_host(struct making *m, const struct snap_declared *d)
{
	uintptr_t i = (uintptr_t)map_get(&m->seen, d->host);

	if (i > 0) {
		join(m, &m->p->hosts.v[i - 1], d);
		return;
	}
	*vec_push_arena(m->a, m->p->hosts.v, m->p->hosts.n, m->cap_hosts) = *d;
	map_put(&m->seen, d->host, (void *)(uintptr_t)m->p->hosts.n);
}

static void add_entry(struct making *m, const struct names_service *s)
{
	const struct model_service_entry *se = model_as_se(s->res);
	struct snap_declared d = { .host = s->host, .country = names_country(s->res),
				   .internal = se->location == MODEL_SE_MESH_INTERNAL };

	add_host(m, &d);
	/* Otherwise they are addresses that stand for the endpoints, where nothing is dialled. */
	for (size_t i = 0; se->resolution == MODEL_SE_NONE && d.country.n > 0 && i < se->addresses.n; i++)
		add_range(m, se->addresses.v[i], d.country);
}

struct snap_residency *names_residency(const struct names_registry *reg, struct arena *a)
{
	const struct model_egress_policy *e = reg->model->mesh.egressPolicy;
	struct making m = { .a = a };

	if (!e)
		return NULL;
	m.p = arena_new(a, struct snap_residency);
	*m.p = (struct snap_residency){
		.allow = e->allowCountries,
		.allow_unknown = e->unknown == MODEL_UNKNOWN_ALLOW,
		.audit = e->audit,
		.database = e->database.n > 0 ? e->database : STR_NULL,
	};
	map_init(&m.seen);
	for (size_t i = 0; i < e->ranges.n; i++)
		add_range(&m, e->ranges.v[i].cidr, e->ranges.v[i].country);
	for (size_t i = 0; i < reg->services.n; i++)
		if (reg->services.v[i].res->kind == MODEL_KIND_SERVICE_ENTRY)
			add_entry(&m, &reg->services.v[i]);
	map_done(&m.seen);
	return m.p;
}
