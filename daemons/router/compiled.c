/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compiled: one snapshot per instance; identities are read off the snapshots, so both always agree.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "config/compile.h"
#include "router/compiled.h"

int compiled_make(const struct model *m, const struct compile_env *env, struct compiled *ret,
		  struct err_list *errs)
{
	*ret = (struct compiled){ 0 };
	arena_init(&ret->arena, 0);
	struct str_list names = compile_proxies(m, &ret->arena);

	ret->v = arena_new_n(&ret->arena, struct compiled_proxy, names.n);
	for (size_t i = 0; i < names.n; i++) {
		struct compiled_proxy *p = &ret->v[ret->n];
		int r = snap_compile(m, names.v[i], env, &p->snap, errs);

		if (r < 0) {
			compiled_done(ret);
			return r;
		}
		ret->n++;
		p->name = arena_str(&ret->arena, names.v[i]);
		p->hash = p->snap->hash;
	}
	return 0;
}

void compiled_done(struct compiled *c)
{
	for (size_t i = 0; i < c->n; i++)
		snap_unref(c->v[i].snap);
	arena_done(&c->arena);
	*c = (struct compiled){ 0 };
}

/* ---- identities ---------------------------------------------------------------------------- */

/* Its certificate is wanted as files. */
static bool has_files(const struct model *m, struct str ns, struct str name)
{
	const struct model_resource *r = model_find(m, MODEL_KIND_WORKLOAD, ns, name);

	return r && model_as_workload(r)->certificate;
}

static void add_identity(const struct model *m, struct arena *a, struct doc *list,
			 const struct snap *s, const struct snap_workload *w)
{
	const struct snap_peer *peer = &s->peers.v[w->peer];
	struct doc *d = doc_add(a, list, doc_new_map(a));

	doc_set_str(a, d, "spiffe", s->identities.v[w->identity]);
	doc_set_str(a, d, "workload", peer->name);
	doc_set_str(a, d, "namespace", peer->ns);
	doc_set_str(a, d, "proxy", s->proxy);
	if (w->unit.n > 0)
		doc_set_str(a, d, "unit", w->unit);
	if (w->user.n > 0)
		doc_set_str(a, d, "user", w->user);
	if (w->executable.n > 0)
		doc_set_str(a, d, "executable", w->executable);
	if (w->executable_sha256.n > 0)
		doc_set_str(a, d, "executableSha256", w->executable_sha256);
	if (has_files(m, peer->ns, peer->name))
		doc_set_bool(a, d, "files", true);
}

/* An identity of the proxy that no workload of it has. */
static void add_own(struct arena *a, struct doc *list, const struct snap *s, size_t identity)
{
	for (size_t i = 0; i < s->workloads.n; i++)
		if ((size_t)s->workloads.v[i].identity == identity)
			return;
	struct doc *d = doc_add(a, list, doc_new_map(a));

	doc_set_str(a, d, "spiffe", s->identities.v[identity]);
	doc_set_str(a, d, "workload", s->proxy);
	doc_set_str(a, d, "namespace", STR(""));
	doc_set_str(a, d, "proxy", s->proxy);
}

struct doc *compiled_identities(const struct compiled *c, const struct model *m, struct arena *a)
{
	struct doc *d = doc_new_map(a), *list = doc_new_list(a);
	const struct model_ca_settings *ca = &m->mesh.ca;

	for (size_t i = 0; i < c->n; i++) {
		const struct snap *s = c->v[i].snap;

		for (size_t k = 0; k < s->workloads.n; k++)
			add_identity(m, a, list, s, &s->workloads.v[k]);
		for (size_t k = 0; k < s->identities.n; k++)
			add_own(a, list, s, k);
	}
	doc_set_str(a, d, "trustDomain", m->mesh.mesh.trustDomain);
	doc_set_int(a, d, "leafLifetimeUs", ca->workloadValidity);
	doc_set_int(a, d, "issuerLifetimeUs", ca->intermediateValidity);
	doc_set_int(a, d, "rootLifetimeUs", ca->rootValidity);
	doc_set_int(a, d, "jwtLifetimeUs", ca->tokenValidity);
	doc_set_int(a, d, "jwtKeyLifetimeUs", ca->tokenKeyValidity);
	doc_set_int(a, d, "signPerSecond", ca->signPerSecond);
	doc_set_int(a, d, "signBurst", ca->signBurst);
	doc_set(a, d, "identities", list);
	return d;
}

/* ---- digest -------------------------------------------------------------------------------- */

static uint64_t add_doc(uint64_t h, const struct doc *d)
{
	struct arena a;

	if (!d)
		return h;
	arena_init(&a, 0);
	struct str json = doc_to_json(d, &a, false);

	h = hash_bytes(json.p, json.n, h);
	arena_done(&a);
	return h;
}

void compiled_digest(const struct compiled *c, const struct model *m, const struct doc *identities,
		     char ret[static COMPILED_DIGEST_BYTES])
{
	uint64_t h = add_doc(0, m->mesh.doc);

	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, r) {
			h = hash_bytes(r->id.p, r->id.n, h);
			h = add_doc(add_doc(h, r->metadata), r->doc);
		}
	for (size_t i = 0; i < c->n; i++) {
		h = hash_bytes(c->v[i].name.p, c->v[i].name.n, h);
		h = hash_bytes(&c->v[i].hash, sizeof(c->v[i].hash), h);
	}
	snprintf(ret, COMPILED_DIGEST_BYTES, "%016" PRIx64, add_doc(h, identities));
}
