/* SPDX-License-Identifier: Apache-2.0 */
/*
 * match: nanoseconds that core/match takes to find the route of a request, over the number of routes
 * (a fifth of them by regex) and of hosts. For tests/bench; prints one line of JSON.
 *
 * Of 500 routes 200 are exact paths, 200 prefixes, 100 patterns; the asked paths hit the first, the
 * last, one of each kind, or none. "prefixed" patterns begin with a literal, as people write them
 * (/api/42/users/[0-9]+), "bare" ones end with one (.*\.ext42), "inner" ones have it in the middle
 * (/[^/]+/kind-42/[0-9]+); "alike" ones have none (/[a-z]+/[0][4][2]) and are tried one by one.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "core/match.h"

#define ROUTES 500
#define ROUNDS 7
#define TEXT_MAX 128

enum shape { SHAPE_PREFIXED, SHAPE_BARE, SHAPE_INNER, SHAPE_ALIKE };

static struct snap *snap_of(size_t hosts)
{
	struct snap *s = snap_new();

	s->views.n = 1;
	s->views.v = arena_new(&s->arena, struct snap_view);
	s->views.v[0].vhosts.n = hosts;
	s->views.v[0].vhosts.v = arena_new_n(&s->arena, struct snap_vhost, hosts);
	for (size_t i = 0; i < hosts; i++) {
		struct snap_vhost *h = &s->views.v[0].vhosts.v[i];

		h->name = arena_printf(&s->arena, "service-%zu.default.svc.cluster.local:80", i);
		h->port = 80;
		h->domains.n = 1;
		h->domains.v = arena_new(&s->arena, struct str);
		h->domains.v[0] = arena_printf(&s->arena, i % 10 == 9 ? "*.wild-%zu.example" : "service-%zu", i);
	}
	return s;
}

static struct str pattern_of(struct snap *s, size_t i, enum shape shape)
{
	switch (shape) {
	case SHAPE_BARE:
		return arena_printf(&s->arena, ".*\\.ext%zu", i);
	case SHAPE_INNER:
		return arena_printf(&s->arena, "/[^/]+/kind-%zu/[0-9]+", i);
	case SHAPE_ALIKE:
		return arena_printf(&s->arena, "/[a-z]+/[%zu][%zu][%zu]", i / 100, i / 10 % 10, i % 10);
	case SHAPE_PREFIXED:
		break;
	}
	return arena_printf(&s->arena, "/api/%zu/users/[0-9]+", i);
}

/* Route i of n: by fifths two exact, two prefixes, one pattern. One route alone is a prefix. */
static struct snap_string *uri_of(struct snap *s, size_t i, enum shape shape)
{
	struct snap_string *m = arena_new(&s->arena, struct snap_string);

	if (i % 5 < 2) {
		m->kind = SNAP_MATCH_EXACT;
		m->value = arena_printf(&s->arena, "/shop/item-%zu/page", i);
	} else if (i % 5 < 4) {
		m->kind = SNAP_MATCH_PREFIX;
		m->value = arena_printf(&s->arena, "/part-%zu/", i);
	} else {
		m->kind = SNAP_MATCH_REGEX;
		m->value = pattern_of(s, i, shape);
	}
	return m;
}

static void routes_add(struct snap *s, size_t n, enum shape shape)
{
	struct snap_vhost *h = &s->views.v[0].vhosts.v[0];

	h->routes.n = n;
	h->routes.v = arena_new_n(&s->arena, struct snap_route, n);
	for (size_t i = 0; i < n; i++) {
		struct snap_route *r = &h->routes.v[i];

		r->action = SNAP_ACTION_DIRECT;
		r->matches.n = 1;
		r->matches.v = arena_new(&s->arena, struct snap_match);
		if (n > 1) {
			r->matches.v[0].uri = uri_of(s, i, shape);
		} else {
			r->matches.v[0].uri = arena_new(&s->arena, struct snap_string);
			*r->matches.v[0].uri = (struct snap_string){ .kind = SNAP_MATCH_PREFIX,
								     .value = STR("/") };
		}
	}
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The least of some rounds: what the code needs when nothing disturbs it. */
static double cost(const struct match *m, struct str host, struct str path, bool *ret_hit)
{
	struct head head = { 0 };
	struct regex_scratch *scratch = regex_scratch_new();
	struct match_facts f = { .method = STR("GET"), .scheme = STR("http"), .authority = host,
				 .path = path, .head = &head, .scratch = scratch };
	double best = 1e18;

	for (int round = 0; round < ROUNDS; round++) {
		int times = 20000;
		double start = now_ns();

		for (int i = 0; i < times; i++) {
			struct match_hit hit;
			const struct match_vhost *vh = match_vhost(m, 0, 80, host);

			*ret_hit = vh && match_route(vh, &f, &hit, NULL);
		}
		double each = (now_ns() - start) / times;

		best = each < best ? each : best;
	}
	regex_scratch_free(scratch);
	return best;
}

static struct match *prepared(struct snap *s)
{
	struct match *m;
	struct err err = { 0 };

	if (match_new(s, &m, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return m;
}

static void print_cost(const char *name, const struct match *m, const char *host, const char *path)
{
	bool hit;
	double ns = cost(m, str_c(host), str_c(path), &hit);

	printf("\"%s%s\": %.1f, ", name, hit ? "" : " (no route)", ns);
}

static void routes(void)
{
	static const struct { const char *name, *last; } shapes[] = {
		{ "prefixed", "/api/499/users/4711" }, { "bare", "/a/b/c.ext499" },
		{ "inner", "/shop/kind-499/4711" }, { "alike", "/shop/499" },
	};
	struct snap *one = snap_of(1);

	routes_add(one, 1, SHAPE_PREFIXED);
	struct match *m = prepared(one);

	printf("\"routes\": {");
	print_cost("1 route", m, "service-0", "/part-498/users/17/orders");
	match_free(m);
	snap_unref(one);
	for (int shape = SHAPE_PREFIXED; shape <= SHAPE_ALIKE; shape++) {
		struct snap *s = snap_of(1);
		char name[TEXT_MAX];

		routes_add(s, ROUTES, (enum shape)shape);
		m = prepared(s);
		static const struct { const char *name, *path; } asked[] = {
			{ "first", "/shop/item-0/page" },
			{ "prefix in the middle", "/part-252/users/17/orders" },
			{ "last prefix", "/part-498/users/17/orders" },
			{ "nothing", "/nothing/like/this" },
		};

		for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
			snprintf(name, sizeof(name), "%d routes, %s patterns: %s", ROUTES, shapes[shape].name,
				 asked[i].name);
			print_cost(name, m, "service-0", asked[i].path);
		}
		snprintf(name, sizeof(name), "%d routes, %s patterns: last pattern", ROUTES, shapes[shape].name);
		print_cost(name, m, "service-0", shapes[shape].last);
		match_free(m);
		snap_unref(s);
	}
	printf("\"end\": 0}");
}

static void hosts(void)
{
	printf("\"hosts\": {");
	for (size_t n = 1; n <= 100000; n *= 10) {
		struct snap *s = snap_of(n);
		char name[TEXT_MAX], host[TEXT_MAX];

		for (size_t i = 0; i < n; i++) {
			struct snap_vhost *h = &s->views.v[0].vhosts.v[i];

			h->routes.n = 1;
			h->routes.v = arena_new(&s->arena, struct snap_route);
			h->routes.v[0].action = SNAP_ACTION_DIRECT;
		}
		struct match *m = prepared(s);

		snprintf(name, sizeof(name), "%zu hosts: exact", n);
		snprintf(host, sizeof(host), "service-%zu", n > 1 ? n - 2 : 0);
		print_cost(name, m, host, "/");
		if (n > 1) {
			snprintf(name, sizeof(name), "%zu hosts: wildcard", n);
			snprintf(host, sizeof(host), "some.name.wild-%zu.example", n - 1);
			print_cost(name, m, host, "/");
		}
		match_free(m);
		snap_unref(s);
	}
	printf("\"end\": 0}");
}

int main(void)
{
	printf("{");
	routes();
	printf(", ");
	hosts();
	printf("}\n");
	return 0;
}
