/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_snap: any bytes as a snapshot. What loads dumps and loads to the same, and can be prepared and asked: no
 * index of it leads astray.
 */
#include "core/match.h"
#include "fuzz.h"

static void ask_view(const struct match *m, const struct snap *s, size_t view, struct arena *a)
{
	const struct snap_view *v = &s->views.v[view];
	struct rng rng;
	struct head h;

	rng_init(&rng, 1);
	head_init(&h, a);
	head_add(&h, STR("x"), STR("1"));
	for (size_t i = 0; i < v->vhosts.n; i++) {
		const struct match_vhost *vh = match_vhost(m, (int64_t)view, v->vhosts.v[i].port,
							   v->vhosts.v[i].domains.v[0]);
		struct match_facts f = { .method = STR("GET"), .path = STR("/a/b"), .query = STR("q=1"), .head = &h };
		struct match_hit hit;

		if (!vh || !match_route(vh, &f, &hit, NULL) || hit.route->destinations.n == 0)
			continue;
		size_t k = match_weighted(hit.route->destinations.v, hit.route->destinations.n,
					  hit.route->total_weight, &rng);
		fuzz_assert(k < hit.route->destinations.n);
		fuzz_assert(hit.route->destinations.v[k].cluster < (int64_t)s->clusters.n);
	}
	for (size_t i = 0; i < v->l4.n; i++) {
		struct match_l4_facts f = { .port = v->l4.v[i].port, .service = v->l4.v[i].service, .sni = STR("a.b") };

		match_l4(m, (int64_t)view, &f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snap *s = NULL, *again = NULL;
	struct match *m = NULL;
	struct err err = { 0 };
	struct arena a;

	if (snap_load(str_from((const char *)data, size), &s, &err) < 0) {
		fuzz_assert(err.text[0] != '\0');
		return 0;
	}
	arena_init(&a, 0);
	struct str text = snap_dump(s, &a, false);

	fuzz_assert(snap_load(text, &again, &err) == 0);
	fuzz_assert(str_eq(snap_dump(again, &a, false), text) && again->hash == s->hash);
	if (match_new(s, &m, &err) == 0) {
		for (size_t i = 0; i < s->views.n; i++)
			ask_view(m, s, i, &a);
	}
	match_free(m);
	snap_unref(again);
	snap_unref(s);
	arena_done(&a);
	return 0;
}
