/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which VirtualService a request's host leads to (Istio 2.1.3 to 2.1.6, 2.2.1, 2.2.3), from random
 * resources through compiler and tables, against an oracle that only knows the rules. Layer test.
 */
#include "base/rng.h"
#include "base/vec.h"
#include "config/compile.h"
#include "core/match.h"

#include "config_unit.h"

#define ROUNDS 250
#define HOSTS_ASKED 60
#define THINGS_MAX 12

struct thing {                          /* a VirtualService or a ServiceEntry */
	char host[64];
	bool seen;                      /* by the client, which is in namespace default */
};
struct world {
	struct rng rng;
	struct thing vs[THINGS_MAX], se[THINGS_MAX];
	size_t n_vs, n_se;
	struct arena a;
};

static size_t below(struct world *w, size_t n)
{
	return (size_t)rng_below(&w->rng, n);
}

/* "[*.]a.b.t", with few letters, so that names meet. */
static void random_host(struct world *w, bool wildcards, char host[64])
{
	size_t labels = 1 + below(w, 3);

	host[0] = '\0';
	if (wildcards && below(w, 2) == 0)
		strncat(host, "*.", 3);
	for (size_t i = 0; i < labels; i++) {
		char label[3] = { (char)('a' + below(w, 3)), '.', '\0' };
		strncat(host, label, 3);
	}
	strncat(host, "t", 2);
}

static bool is_known(const struct thing *v, size_t n, const char *host)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(v[i].host, host) == 0)
			return true;
	}
	return false;
}

static size_t random_things(struct world *w, struct thing *v)
{
	size_t n = 0, want = below(w, THINGS_MAX);

	for (size_t i = 0; i < want; i++) {
		char host[64];
		random_host(w, true, host);
		if (is_known(v, n, host))
			continue;
		memcpy(v[n].host, host, sizeof(host));
		v[n++].seen = below(w, 4) != 0;
	}
	return n;
}

/* ---- the rules, slowly ---------------------------------------------------------------------- */
static bool covers(const char *wide, const char *host)
{
	size_t n = strlen(wide), h = strlen(host);

	if (wide[0] != '*')
		return strcmp(wide, host) == 0;
	if (host[0] == '*')
		return h >= n && strcmp(host + h - (n - 1), wide + 1) == 0;
	return h > n - 1 && strcmp(host + h - (n - 1), wide + 1) == 0;
}

static bool is_better(const char *a, const char *b)
{
	if (!b || (a[0] != '*') != (b[0] != '*'))
		return !b || a[0] != '*';
	return strlen(a) > strlen(b);
}

/* The most specific of those seen that cover host; NULL: none. */
static const struct thing *most_specific(const struct thing *v, size_t n, const char *host)
{
	const struct thing *best = NULL;

	for (size_t i = 0; i < n; i++) {
		if (v[i].seen && covers(v[i].host, host) &&
		    is_better(v[i].host, best ? best->host : NULL))
			best = &v[i];
	}
	return best;
}

/* A VirtualService that covers a service speaks for that service, and not for its own host. */
static bool has_own_host(const struct world *w, const struct thing *vs)
{
	for (size_t i = 0; i < w->n_se; i++) {
		if (w->se[i].seen && covers(vs->host, w->se[i].host))
			return false;
	}
	return vs->seen;
}

/* "vs HOST", "default HOST" of a service, or "none". */
static const char *expected(struct world *w, const char *host)
{
	const struct thing *se = most_specific(w->se, w->n_se, host);
	const char *best = se ? se->host : NULL;
	const struct thing *own = NULL;

	for (size_t i = 0; i < w->n_vs; i++) {
		const struct thing *v = &w->vs[i];
		if (has_own_host(w, v) && covers(v->host, host) && is_better(v->host, best)) {
			own = v;
			best = v->host;
		}
	}
	if (own)
		return arena_printf(&w->a, "vs %s", own->host).p;
	if (!se)
		return "none";
	const struct thing *vs = most_specific(w->vs, w->n_vs, se->host);
	return vs ? arena_printf(&w->a, "vs %s", vs->host).p
		  : arena_printf(&w->a, "default %s", se->host).p;
}

/* ---- what is built -------------------------------------------------------------------------- */
static struct snap *compile_world(struct world *w, struct model **ret_model)
{
	struct str text = STR("");
	struct err_list errs;
	struct snap *s = NULL;

	for (size_t i = 0; i < w->n_se; i++)
		text = arena_printf(&w->a,
				    "%.*s%s{ name = \"se%zu\"; namespace = \"%s\"; hosts = [ "
				    "\"%s\" ]; resolution = \"NONE\"; exportTo = [ \"%s\" ]; ports = ( { "
				    "number = 80; name = \"http\"; protocol = \"HTTP\"; } ); }%s",
				    STR_ARG(text), i == 0 ? "ServiceEntry = ( " : ", ", i, w->se[i].seen ? "default" : "data", w->se[i].host,
				    w->se[i].seen ? "*" : ".", i + 1 == w->n_se ? " );\n" : "");
	for (size_t i = 0; i < w->n_vs; i++)
		text = arena_printf(&w->a,
				    "%.*s%s{ name = \"v%zu\"; namespace = \"data\"; hosts = [ "
				    "\"%s\" ]; exportTo = [ \"%s\" ]; http = ( { name = \"%s\"; "
				    "directResponse = { status = 200; }; } ); }%s",
				    STR_ARG(text), i == 0 ? "VirtualService = ( " : ", ", i, w->vs[i].host, w->vs[i].seen ? "default" : ".",
				    w->vs[i].host, i + 1 == w->n_vs ? " );\n" : "");
	*ret_model = config_model(text.p);
	err_list_init(&errs);
	ck_assert_int_eq(snap_compile(*ret_model, STR("node"), &(struct compile_env){ .version = 1 }, &s,
				      &errs), 0);
	err_list_done(&errs);
	return s;
}

static const char *found(struct world *w, const struct snap *s, const struct match *m,
			 const char *host)
{
	const struct match_vhost *vh = match_vhost(m, s->workloads.v[0].view, 80, str_c(host));
	const struct snap_route *r = vh && vh->snap->routes.n > 0 ? &vh->snap->routes.v[0] : NULL;

	if (!r || str_eq(r->name, STR("allow_any")))
		return "none";
	if (str_eq(r->name, STR("default")))
		return arena_printf(&w->a, "default %.*s", STR_ARG(vh->snap->service)).p;
	return arena_printf(&w->a, "vs %.*s", STR_ARG(r->name)).p;
}

START_TEST(random_hosts_as_the_rules_say)
{
	struct world w = { 0 };
	unsigned kinds[3] = { 0 };

	rng_init(&w.rng, 20261124);
	for (int round = 0; round < ROUNDS; round++) {
		struct model *model;
		struct match *m = NULL;
		struct err err = { 0 };

		arena_init(&w.a, 0);
		w.n_vs = random_things(&w, w.vs);
		w.n_se = random_things(&w, w.se);
		struct snap *s = compile_world(&w, &model);
		ck_assert_int_eq(match_new(s, &m, &err), 0);
		for (int i = 0; i < HOSTS_ASKED; i++) {
			char host[64];
			random_host(&w, false, host);
			const char *want = expected(&w, host), *got = found(&w, s, m, host);
			ck_assert_msg(strcmp(want, got) == 0, "round %d, %s: want %s, got %s", round, host,
				      want, got);
			kinds[want[0] == 'v' ? 0 : want[0] == 'd' ? 1 : 2]++;
		}
		match_free(m);
		snap_unref(s);
		model_free(model);
		arena_done(&w.a);
	}
	/* Each outcome has been seen often. */
	for (int i = 0; i < 3; i++)
		ck_assert_uint_gt(kinds[i], ROUNDS * HOSTS_ASKED / 50);
}
END_TEST

UNIT_MAIN("precedence", random_hosts_as_the_rules_say)
