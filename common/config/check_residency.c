/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_residency: egressPolicy by itself, and what becomes of each ServiceEntry under it, by the code
 * that the proxies decide with (snap/residency.h). Layer config. Reads the database of countries.
 */
#include "base/cidr.h"
#include "config/check_parts.h"
#include "snap/countries.h"

static struct origin place(const struct check *c, const char *name)
{
	const struct doc *g = doc_get(c->m->mesh.doc, STR("egressPolicy"));
	const struct doc *d = g ? doc_get(g, str_c(name)) : NULL;

	return d ? d->at : g ? g->at : (struct origin){ 0 };
}

/* ---- the policy ------------------------------------------------------------------------------ */

static bool check_country(struct check *c, struct origin at, const char *field, struct str s)
{
	if (residency_is_country(s) && !str_eq(s, STR("EU")) && !str_eq(s, STR("UK")))
		return true;
	check_add(c, "KVM0395", at,
		  "egressPolicy.%s: '%.*s' is no country of ISO 3166%s", field, STR_ARG(s),
		  str_eq(s, STR("UK")) ? ": it is GB" :
		  str_eq(s, STR("EU")) ? ": list its members" : ", such as DE or FR");
	return false;
}

static bool check_range(struct check *c, const struct model_egress_range *r)
{
	bool good = check_country(c, r->at, "ranges", r->country);

	if (check_is_cidr(r->cidr))
		return good;
	check_add(c, "KVM0395", r->at,
		  "egressPolicy.ranges: '%.*s' is neither an IP address nor a block such as 203.0.113.0/24",
		  STR_ARG(r->cidr));
	return false;
}

static bool check_policy(struct check *c, const struct model_egress_policy *e)
{
	bool good = true;

	for (size_t i = 0; i < e->allowCountries.n; i++)
		good = check_country(c, place(c, "allowCountries"), "allowCountries",
				     e->allowCountries.v[i]) && good;
	for (size_t i = 0; i < e->ranges.n; i++)
		good = check_range(c, &e->ranges.v[i]) && good;
	if (e->ranges.n > RESIDENCY_RANGES_MAX / 2) {
		check_add(c, "KVM0395", place(c, "ranges"), "egressPolicy.ranges: more than %d",
			  RESIDENCY_RANGES_MAX / 2);
		good = false;
	}
	if (e->database.n > 0 && e->database.p[0] != '/') {
		check_add(c, "KVM0395", place(c, "database"),
			  "egressPolicy.database must be an absolute path, is '%.*s'",
			  STR_ARG(e->database));
		good = false;
	}
	return good;
}

static struct countries *open_database(struct check *c, const struct model_egress_policy *e)
{
	struct countries *db = NULL;
	struct err err = { 0 };

	if (e->database.n > 0 && countries_open(arena_str(&c->arena, e->database).p, &db, &err) < 0)
		check_add(c, "KVM0234", place(c, "database"), "%s", err.text);
	return db;
}

/* ---- ServiceEntries -------------------------------------------------------------------------- */

struct looking {
	struct check *c;
	const struct residency *r;
	struct str country;             /* declared; empty: not */
	bool refused, contradicted;     /* said already */
	size_t n;                       /* addresses seen */
};

static void look_at(struct looking *l, struct str text)
{
	struct residency_question q = { 0 };
	struct residency_answer a;
	char words[RESIDENCY_TEXT_MAX];
	struct cidr block;

	if (!cidr_parse(text, &block))
		return;
	memcpy(q.addr, block.addr, sizeof(q.addr));
	if (l->country.n > 0)
		memcpy(q.country, l->country.p, 2);
	l->n++;
	residency_judge(l->r, &q, &a);
	if (a.verdict == RESIDENCY_REFUSED && !l->refused)
		check_add(l->c, "KVM0231", l->c->r->at, "calls to %.*s are %s: %s", STR_ARG(text),
			  residency_audits(l->r) ? "counted as to be refused" : "refused",
			  residency_words(&a, words));
	if (a.contradicted && !l->contradicted)
		check_add(l->c, "KVM0233", l->c->r->at,
			  "%.*s is declared to be in %.*s, but it is %s", STR_ARG(text),
			  STR_ARG(l->country), residency_words(&a, words));
	l->refused |= a.verdict == RESIDENCY_REFUSED;
	l->contradicted |= a.contradicted;
}

/* Names alone: what they will lead to is seen when they are looked up. */
static void look_at_names(struct looking *l, const struct model_egress_policy *e)
{
	if (l->country.n > 0 && !str_list_has(&e->allowCountries, l->country))
		check_add(l->c, "KVM0231", l->c->r->at, "calls are %s: in %.*s by the declaration, which is not allowed",
			  e->audit ? "counted as to be refused" : "refused", STR_ARG(l->country));
	if (l->country.n == 0 && e->database.n == 0 && e->unknown == MODEL_UNKNOWN_REFUSE)
		check_add(l->c, "KVM0232", l->c->r->at,
			  "no country is declared (annotation " NAMES_COUNTRY_KEY
			  ") and there is no database: only addresses in egressPolicy.ranges are allowed");
}

static void check_entry(struct check *c, const struct residency *r, const struct model_service_entry *se)
{
	struct looking l = { .c = c, .r = r, .country = names_country(&se->r) };

	if (se->location == MODEL_SE_MESH_INTERNAL)
		return;
	for (size_t i = 0; i < se->endpoints.n; i++)
		look_at(&l, se->endpoints.v[i].address);
	for (size_t i = 0; se->resolution == MODEL_SE_NONE && i < se->addresses.n; i++)
		look_at(&l, se->addresses.v[i]);
	if (l.n == 0 && se->workloadSelector == NULL)
		look_at_names(&l, c->m->mesh.egressPolicy);
}

static void check_annotation(struct check *c, const struct model_resource *r)
{
	struct str s = labels_get(&r->annotations, STR(NAMES_COUNTRY_KEY));

	if (s.n > 0 && !residency_is_country(s))
		check_add(c, "KVM0230", r->at,
			  NAMES_COUNTRY_KEY " is '%.*s': two capital letters of ISO 3166 are needed",
			  STR_ARG(s));
}

static void check_entries(struct check *c, const struct model_egress_policy *e)
{
	struct countries *db = open_database(c, e);
	const struct snap_residency *p = names_residency(&c->reg, &c->arena);
	struct err err = { 0 };
	int code = residency_check(p, &err);
	struct residency *r = code == 0 ? residency_new(p, db) : NULL;

	/* Of a malformed address the ServiceEntry has its own finding. */
	if (code == KV_ERR_LIMIT)
		check_add(c, "KVM0395", place(c, "ranges"),
			  "egressPolicy.ranges: with addresses of ServiceEntries there are more than %d",
			  RESIDENCY_RANGES_MAX);

	model_for_each(c->m, MODEL_KIND_SERVICE_ENTRY, res) {
		check_begin(c, res);
		if (r)
			check_entry(c, r, model_as_se(res));
	}
	residency_free(r);
	countries_free(db);
}

void check_residency(struct check *c)
{
	const struct model_egress_policy *e = c->m->mesh.egressPolicy;

	model_for_each(c->m, MODEL_KIND_SERVICE_ENTRY, res) {
		check_begin(c, res);
		check_annotation(c, res);
	}
	check_begin(c, NULL);
	if (e && check_policy(c, e))
		check_entries(c, e);
}
