/* SPDX-License-Identifier: Apache-2.0 */
/* registry: the identities of this node, read, checked and kept. Layer daemons/ca. */
#include "config.h"

#include <stdlib.h>

#include "ca/registry.h"
#include "doc/bind.h"
#include "io/tls.h"
#include "ipc/kept.h"

#define SECOND_US 1000000ll
#define DAY_US (24 * 3600 * SECOND_US)

/* The wire's names are Istio's style, the members' ours. */
#define NAMED(T, m, wire, ty)                                                                      \
	.name = (wire), .type = (ty), .offset = offsetof(T, m), .has_offset = -1
#define ID_STR(m, wire) NAMED(struct registry_identity, m, wire, FIELD_STR)
#define REG_INT(m, wire, hi) NAMED(struct registry, m, wire, FIELD_INT), .min = 0, .max = (hi)

static const struct bind_table identity_table = {
	.name = "Identity",
	.size = sizeof(struct registry_identity),
	.origin_offset = -1,
	.fields = (const struct field[]){
		{ ID_STR(spiffe, "spiffe"), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
		{ ID_STR(workload, "workload"), .flags = FIELD_REQUIRED },
		{ ID_STR(ns, "namespace"), .flags = FIELD_REQUIRED },
		{ ID_STR(proxy, "proxy"), .flags = FIELD_REQUIRED },
		{ ID_STR(unit, "unit") },
		{ ID_STR(user, "user") },
		{ ID_STR(executable, "executable") },
		{ ID_STR(sha256, "executableSha256") },
		{ NAMED(struct registry_identity, files, "files", FIELD_BOOL) },
		F_END,
	},
};

/*
 * An unknown field refuses the list: what an older CA does not understand it must not act on (F20).
 */
static const struct bind_table registry_table = {
	.name = "Identities",
	.size = sizeof(struct registry),
	.origin_offset = -1,
	.fields = (const struct field[]){
		{ REG_INT(generation, "generation", INT64_MAX) },
		{ NAMED(struct registry, trust_domain, "trustDomain", FIELD_STR),
		  .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
		{ REG_INT(leaf_lifetime_us, "leafLifetimeUs", REGISTRY_LEAF_LIFETIME_MAX_US) },
		{ REG_INT(issuer_lifetime_us, "issuerLifetimeUs", 3660 * DAY_US) },
		{ REG_INT(root_lifetime_us, "rootLifetimeUs", 36600 * DAY_US) },
		{ REG_INT(jwt_lifetime_us, "jwtLifetimeUs", REGISTRY_JWT_LIFETIME_MAX_US) },
		{ REG_INT(jwt_key_lifetime_us, "jwtKeyLifetimeUs", 3660 * DAY_US) },
		{ REG_INT(sign_per_second, "signPerSecond", 10000) },
		{ REG_INT(sign_burst, "signBurst", 100000) },
		{ F_LIST(struct registry, identities, identity_table), .flags = FIELD_REQUIRED },
		F_END,
	},
};

static int check_identities(const struct registry *r, struct err *err)
{
	for (size_t i = 0; i < r->identities.n; i++) {
		const struct registry_identity *id = &r->identities.v[i];
		struct tls_spiffe s;

		if (!tls_spiffe_parse(id->spiffe, &s) || s.path.n == 0)
			return err_set(err, KV_ERR_SCHEMA,
				       "identities[%zu]: \"%.*s\" is no SPIFFE ID of a workload", i,
				       STR_ARG(str_take(id->spiffe, 200)));
		if (!str_eq(s.trust_domain, r->trust_domain))
			return err_set(err, KV_ERR_SCHEMA,
				       "identities[%zu]: %.*s is outside the trust domain %.*s", i,
				       STR_ARG(str_take(id->spiffe, 200)),
				       STR_ARG(str_take(r->trust_domain, 80)));
	}
	return 0;
}

static void set_defaults(struct registry *r)
{
	if (r->leaf_lifetime_us == 0)
		r->leaf_lifetime_us = REGISTRY_LEAF_LIFETIME_US;
	if (r->issuer_lifetime_us == 0)
		r->issuer_lifetime_us = 365 * DAY_US;
	if (r->root_lifetime_us == 0)
		r->root_lifetime_us = 3652 * DAY_US;
	if (r->jwt_lifetime_us == 0)
		r->jwt_lifetime_us = REGISTRY_JWT_LIFETIME_US;
	if (r->jwt_key_lifetime_us == 0)
		r->jwt_key_lifetime_us = REGISTRY_JWT_KEY_LIFETIME_US;
	if (r->sign_per_second == 0)
		r->sign_per_second = 10;
	if (r->sign_burst == 0)
		r->sign_burst = 50;
}

int registry_parse(const struct doc *parameters, struct registry **ret, struct err *err)
{
	struct registry *r = kv_zalloc(sizeof(*r));
	struct err_list errs;

	arena_init(&r->arena, 0);
	err_list_init(&errs);
	/*
	 * Strings are borrowed from the document, which lives as long as one message: copy it
	 * first.
	 */
	const struct doc *own = doc_copy(&r->arena, parameters);
	int code = bind_read(&registry_table, own, "Identities", &r->arena, r, &errs);

	if (code < 0)
		err_set(err, code, "%s",
			errs.n > 0 ? errs.v[0].text : "unreadable list of identities");
	err_list_done(&errs);
	if (code == 0) {
		set_defaults(r);
		code = check_identities(r, err);
	}
	if (code < 0) {
		registry_free(r);
		return code;
	}
	*ret = r;
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	arena_done(&r->arena);
	free(r);
}

int registry_load(const char *path, struct registry **ret, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = kept_load(path, REGISTRY_FILE_MAX, &text, &n, err);

	if (r < 0)
		return r;
	struct arena a;
	struct doc *d;

	arena_init(&a, 0);
	r = doc_read_json(str_from(text, n), &a, &d, err);
	if (r == 0)
		r = registry_parse(d, ret, err);
	arena_done(&a);
	return r;
}

int registry_save(const struct registry *r, const char *path, struct err *err)
{
	struct arena a;

	arena_init(&a, 0);
	int code = kept_save(path, doc_to_json(bind_write(&registry_table, r, &a), &a, false), err);

	arena_done(&a);
	return code;
}

bool registry_eq(const struct registry *x, const struct registry *y)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *dx = bind_write(&registry_table, x, &a),
		   *dy = bind_write(&registry_table, y, &a);

	doc_set_int(&a, dx, "generation", 0);
	doc_set_int(&a, dy, "generation", 0);
	bool same = doc_eq(dx, dy);

	arena_done(&a);
	return same;
}
