/* SPDX-License-Identifier: Apache-2.0 */
/* config/compile: what a configuration means for a proxy; numbers are those of the semantics reference, part 2. */
#include "config/compile.h"

#include "base/rng.h"
#include "config/load.h"

#include "unit.h"

#define APP "my-app.default.svc.cluster.local"

/* ---- making and looking ------------------------------------------------------------------------------ */
static struct model *model_of(const char *yaml)
{
	struct model_load_opts opts = { .node_name = "n1", .any_owner = true };
	struct model *m = NULL;
	struct err_list errs;
	err_list_init(&errs);
	/* Not checked: some cases are what check refuses, and must not harm a compiler all the same. */
	int r = model_load_text(str_c(yaml), "test.yaml", DOC_SYNTAX_YAML, &opts, &m, &errs);
	for (size_t i = 0; i < errs.n && r < 0; i++)
		ck_assert_msg(errs.v[i].level != ERR_LEVEL_ERROR, "line %u: %s", errs.v[i].line, errs.v[i].text);
	err_list_done(&errs);
	return m;
}

static struct snap *compiled_with(struct model *m, const char *proxy, const struct compile_env *env)
{
	struct snap *s = NULL;
	struct err_list errs;
	err_list_init(&errs);
	int r = snap_compile(m, str_c(proxy), env, &s, &errs);
	ck_assert_msg(r == 0, "%s", errs.n > 0 ? errs.v[0].text : "no finding");
	err_list_done(&errs);
	model_free(m);
	return s;
}

static struct snap *compiled(const char *yaml)
{
	return compiled_with(model_of(yaml), "node", NULL);
}

static const struct snap_view *view_of(const struct snap *s, const char *name)
{
	for (size_t i = 0; i < s->views.n; i++) {
		if (str_eq(s->views.v[i].name, str_c(name)))
			return &s->views.v[i];
	}
	ck_abort_msg("no view '%s'", name);
}

static const struct snap_vhost *find_vhost(const struct snap *s, const char *view, const char *name)
{
	const struct snap_view *v = view_of(s, view);
	for (size_t i = 0; i < v->vhosts.n; i++) {
		if (str_eq(v->vhosts.v[i].name, str_c(name)))
			return &v->vhosts.v[i];
	}
	return NULL;
}

static const struct snap_vhost *vhost_of(const struct snap *s, const char *view, const char *name)
{
	const struct snap_vhost *v = find_vhost(s, view, name);
	ck_assert_msg(v != NULL, "no virtual host '%s'", name);
	return v;
}

static const struct snap_cluster *find_cluster(const struct snap *s, const char *name)
{
	for (size_t i = 0; i < s->clusters.n; i++) {
		if (str_eq(s->clusters.v[i].name, str_c(name)))
			return &s->clusters.v[i];
	}
	return NULL;
}

static const struct snap_cluster *cluster_of(const struct snap *s, const char *name)
{
	const struct snap_cluster *c = find_cluster(s, name);
	ck_assert_msg(c != NULL, "no cluster '%s'", name);
	return c;
}

static const struct snap_sni *sni_of(const struct snap *s, const char *name)
{
	for (size_t i = 0; i < s->snis.n; i++) {
		if (str_eq(s->snis.v[i].name, str_c(name)))
			return &s->snis.v[i];
	}
	ck_abort_msg("no server name '%s'", name);
}

static void check_domains(const struct snap_vhost *v, const char *blank_separated)
{
	struct str rest = str_c(blank_separated), want;
	size_t i = 0;
	for (; str_split(&rest, ' ', &want); i++) {
		ck_assert_uint_lt(i, v->domains.n);
		ck_assert_msg(str_eq(v->domains.v[i], want), "got %.*s", STR_ARG(v->domains.v[i]));
	}
	ck_assert_uint_eq(i, v->domains.n);
}

/* ---- resources ------------------------------------------------------------------------------------------- */
#define DOC(kind, version, meta, spec) \
	"apiVersion: " version "\nkind: " kind "\nmetadata: { " meta " }\nspec: { " spec " }\n---\n"
#define SERVICE(name, spec) DOC("Service", "v1", "name: " name, spec)
#define WORKLOAD(name, meta, spec) DOC("Workload", "kvmesh/v1", "name: " name ", " meta, spec)
#define ENTRY(name, spec) DOC("WorkloadEntry", "networking.istio.io/v1", "name: " name, spec)
#define SE(name, spec) DOC("ServiceEntry", "networking.istio.io/v1", "name: " name, spec)
#define VS(name, spec) DOC("VirtualService", "networking.istio.io/v1", "name: " name, spec)
#define DR(name, spec) DOC("DestinationRule", "networking.istio.io/v1", "name: " name, spec)
#define PA(name, meta, spec) DOC("PeerAuthentication", "security.istio.io/v1", "name: " name meta, spec)

#define MY_APP \
	SERVICE("my-app", "selector: { app: my-app }, ports: [ { name: http, port: 80, targetPort: http } ]") \
	WORKLOAD("my-app-v1", "labels: { app: my-app, version: v1 }", \
		 "unit: my-app-v1.service, serviceAccount: my-app, ports: [ { name: http, number: 8001, protocol: HTTP } ]") \
	WORKLOAD("my-app-v2", "labels: { app: my-app, version: v2 }", \
		 "unit: my-app-v2.service, serviceAccount: my-app, ports: [ { name: http, number: 8002, protocol: HTTP } ]")
#define SUBSETS "subsets: [ { name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } } ]"
#define TO(host) "route: [ { destination: { host: " host " } } ]"

/* ---- names ------------------------------------------------------------------------------------------------ */
START_TEST(rule_2_1_2_aliases_depend_on_the_caller)
{
	struct snap *s = compiled(MY_APP DOC("Workload", "kvmesh/v1", "name: web, namespace: shop, labels: { app: web }",
					     "unit: web.service, ports: [ { number: 9000 } ]"));
	check_domains(vhost_of(s, "default", APP ":80"),
		      "my-app my-app.default my-app.default.svc " APP " " APP ".");
	check_domains(vhost_of(s, "shop", APP ":80"), "my-app.default my-app.default.svc " APP " " APP ".");
	/* unregistered callers, workload 0, see what namespace default sees */
	ck_assert_ptr_eq(&s->views.v[s->workloads.v[0].view], view_of(s, "default"));
	unit_str_eq(s->peers.v[s->workloads.v[0].peer].principal, "spiffe://cluster.local/ns/kvmesh-system/sa/n1");
	unit_str_eq(s->identities.v[0], "spiffe://cluster.local/ns/kvmesh-system/sa/n1");
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_2_2_the_oldest_keeps_a_host)
{
	struct snap *s = compiled(MY_APP VS("one", "hosts: [ my-app ], http: [ { name: first, " TO("my-app") " } ]")
				  VS("two", "hosts: [ " APP " ], http: [ { name: second, " TO("my-app") " } ]"));
	const struct snap_vhost *v = vhost_of(s, "default", APP ":80");
	ck_assert_uint_eq(v->routes.n, 1);
	unit_str_eq(v->routes.v[0].name, "first");
	unit_str_eq(v->routes.v[0].source, "VirtualService one.default");
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_2_3_a_wildcard_covers_what_has_no_better_one)
{
	struct snap *s = compiled(MY_APP SERVICE("other", "selector: { app: other }, ports: [ { name: http, port: 80 } ]")
				  VS("wild", "hosts: [ '*.default.svc.cluster.local' ], http: [ { name: wild, " TO("my-app") " } ]")
				  VS("exact", "hosts: [ other ], http: [ { name: exact, " TO("other") " } ]"));
	unit_str_eq(vhost_of(s, "default", APP ":80")->routes.v[0].name, "wild");
	unit_str_eq(vhost_of(s, "default", "other.default.svc.cluster.local:80")->routes.v[0].name, "exact");
	snap_unref(s);
}
END_TEST

/* Random VirtualServices over a small set of hosts: every service gets the most specific, oldest one. */
START_TEST(host_precedence_as_the_oracle)
{
	static const char *const hosts[] = { "a.x.test", "b.x.test", "a.y.test", "'*.x.test'", "'*.y.test'", "'*.test'" };
	struct rng r;
	rng_init(&r, 21);
	for (int round = 0; round < 40; round++) {
		struct arena a;
		arena_init(&a, 0);
		struct str text = STR(SE("all", "hosts: [ a.x.test, b.x.test, a.y.test ], resolution: DNS, "
						"ports: [ { number: 80, name: http, protocol: HTTP } ]"));
		size_t chosen[6], n = rng_below(&r, 6) + 1;
		for (size_t i = 0; i < n; i++) {
			chosen[i] = rng_below(&r, 6);
			text = arena_printf(&a, "%.*s" VS("v%zu", "hosts: [ %s ], http: [ { name: r%zu, " TO("a.x.test") " } ]"),
					    STR_ARG(text), i, hosts[chosen[i]], i);
		}
		struct snap *s = compiled(arena_str(&a, text).p);
		for (size_t h = 0; h < 3; h++) {
			size_t best = SIZE_MAX, best_length = 0;
			for (size_t i = 0; i < n; i++) {
				const char *pattern = hosts[chosen[i]];
				bool wild = pattern[0] == '\'';
				struct str tail = wild ? str_from(pattern + 2, strlen(pattern) - 3) : str_c(pattern);
				bool hit = wild ? str_has_suffix(str_c(hosts[h]), tail) : str_eq(str_c(hosts[h]), tail);
				size_t length = wild ? tail.n : 1000;
				if (hit && length > best_length) {
					best = i;
					best_length = length;
				}
			}
			struct str name = arena_printf(&a, "%s:80", hosts[h]);
			struct str want = best == SIZE_MAX ? STR("default") : arena_printf(&a, "r%zu", best);
			ck_assert(str_eq(vhost_of(s, "default", name.p)->routes.v[0].name, want));
		}
		snap_unref(s);
		arena_done(&a);
	}
}
END_TEST

START_TEST(a_host_that_only_a_virtual_service_names)
{
	struct snap *s = compiled(MY_APP VS("alias", "hosts: [ shop.example ], http: [ { " TO("my-app") " } ]")
				  VS("later", "hosts: [ shop.example ], http: [ { name: lost, " TO("my-app") " } ]"));
	const struct snap_vhost *v = vhost_of(s, "default", "shop.example:80");
	check_domains(v, "shop.example");
	unit_str_eq(v->routes.v[0].source, "VirtualService alias.default");
	unit_str_eq(v->routes.v[0].destinations.v[0].cluster_name, "outbound|80||" APP);
	ck_assert_uint_eq(v->service.n, 0);
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_3_13_everything_else)
{
	struct snap *s = compiled(MY_APP);
	const struct snap_vhost *v = vhost_of(s, "default", "allow_any");
	check_domains(v, "*");
	ck_assert_int_eq(s->clusters.v[v->routes.v[0].destinations.v[0].cluster].kind, SNAP_CLUSTER_ORIGINAL_DST);
	snap_unref(s);
	struct model *m = model_of(MY_APP);
	m->mesh.mesh.outboundTrafficPolicy.mode = MODEL_MESH_REGISTRY_ONLY;
	s = compiled_with(m, "node", NULL);
	v = vhost_of(s, "default", "block_all");
	ck_assert_int_eq(s->clusters.v[v->routes.v[0].destinations.v[0].cluster].kind, SNAP_CLUSTER_BLACKHOLE);
	ck_assert_int_eq(s->views.v[0].outbound, SNAP_OUTBOUND_REGISTRY_ONLY);
	snap_unref(s);
}
END_TEST

/* ---- routes --------------------------------------------------------------------------------------------------- */
START_TEST(rule_2_3_2_static_predicates)
{
	struct snap *s = compiled(
		MY_APP WORKLOAD("web", "labels: { app: web, tier: front, irrelevant: x }", "unit: web.service, ports: [ { number: 9000 } ]")
		VS("v", "hosts: [ my-app ], http: [ "
			"{ name: by-label, match: [ { sourceLabels: { app: web } } ], " TO("my-app") " }, "
			"{ name: by-port, match: [ { port: 81 } ], " TO("my-app") " }, "
			"{ name: by-ns, match: [ { sourceNamespace: elsewhere } ], " TO("my-app") " }, "
			"{ name: by-gateway, match: [ { gateways: [ gw ] } ], " TO("my-app") " }, "
			"{ name: mesh-beats-labels, match: [ { gateways: [ mesh ], sourceLabels: { app: nobody }, uri: { prefix: /m } } ], " TO("my-app") " } ]"));
	const struct snap_vhost *v = vhost_of(s, "default app=web", APP ":80");
	ck_assert_uint_eq(v->routes.n, 1);      /* the first one takes everything */
	unit_str_eq(v->routes.v[0].name, "by-label");
	v = vhost_of(s, "default", APP ":80");
	ck_assert_uint_eq(v->routes.n, 1);
	unit_str_eq(v->routes.v[0].name, "mesh-beats-labels");
	snap_unref(s);
	/* no route left for this caller: the VirtualService counts as absent */
	s = compiled(MY_APP VS("v", "hosts: [ my-app ], http: [ { match: [ { sourceLabels: { app: web } } ], " TO("my-app") " } ]"));
	unit_str_eq(vhost_of(s, "default", APP ":80")->routes.v[0].name, "default");
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_3_4_a_catch_all_ends_the_list)
{
	static const char *const all[] = { "uri: { prefix: / }", "uri: { regex: '.*' }" };
	static const char *const some[] = { "uri: { prefix: / }, method: { exact: GET }", "uri: { prefix: / }, headers: { x: {} }",
					    "uri: { exact: / }" };
	for (size_t i = 0; i < 5; i++) {
		struct arena a;
		arena_init(&a, 0);
		struct str text = arena_printf(&a, MY_APP VS("v", "hosts: [ my-app ], http: [ { match: [ { %s } ], " TO("my-app") " }, { "
							     TO("my-app") " } ]"), i < 2 ? all[i] : some[i - 2]);
		struct snap *s = compiled(text.p);
		ck_assert_uint_eq(vhost_of(s, "default", APP ":80")->routes.n, i < 2 ? 1 : 2);
		snap_unref(s);
		arena_done(&a);
	}
}
END_TEST

START_TEST(matches_are_what_was_written)
{
	struct snap *s = compiled(MY_APP VS("v",
		"hosts: [ my-app ], http: [ { name: r, match: [ { name: m1, ignoreUriCase: true, uri: { exact: /A }, method: { regex: 'GET|PUT' }, "
		"authority: { prefix: my }, scheme: { exact: https }, headers: { X-User: { exact: ada }, x-any: {}, x-star: { regex: '*' }, uri: { exact: no } }, "
		"withoutHeaders: { x-bad: { prefix: b } }, queryParams: { q: { exact: '1' }, p: { exact: '' } } }, { name: m2, uri: { prefix: /b } } ], "
		TO("my-app") " } ]"));
	const struct snap_vhost *v = vhost_of(s, "default", APP ":80");
	ck_assert_uint_eq(v->routes.n, 2);      /* named matches are routes of their own */
	unit_str_eq(v->routes.v[0].name, "r.m1");
	unit_str_eq(v->routes.v[1].name, "r.m2");
	ck_assert_int_gt(v->routes.v[0].line, 0);
	unit_str_eq(v->routes.v[0].file, "test.yaml");
	const struct snap_match *m = &v->routes.v[0].matches.v[0];
	ck_assert(m->uri->kind == SNAP_MATCH_EXACT && m->uri->icase);
	ck_assert_int_eq(m->method->kind, SNAP_MATCH_REGEX);
	ck_assert_int_eq(m->authority->kind, SNAP_MATCH_PREFIX);
	ck_assert_uint_eq(m->headers.n, 4);
	unit_str_eq(m->headers.v[0].name, "x-user");
	ck_assert_int_eq(m->headers.v[1].kind, SNAP_MATCH_PRESENT);
	ck_assert_int_eq(m->headers.v[2].kind, SNAP_MATCH_PRESENT);
	ck_assert(m->headers.v[3].invert && m->headers.v[3].kind == SNAP_MATCH_PREFIX);
	ck_assert(m->query.v[0].kind == SNAP_MATCH_EXACT && m->query.v[1].kind == SNAP_MATCH_PRESENT);
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_4_1_weights)
{
	struct snap *s = compiled(MY_APP DR("d", "host: my-app, " SUBSETS) VS("v",
		"hosts: [ my-app ], http: [ { match: [ { uri: { prefix: /one } } ], route: [ { destination: { host: my-app, subset: v1 }, weight: 7 } ] }, "
		"{ route: [ { destination: { host: my-app, subset: v1 }, weight: 95 }, { destination: { host: my-app, subset: v2 }, weight: 0 }, "
		"{ destination: { host: my-app, subset: v2 }, weight: 5 } ] } ]"));
	const struct snap_vhost *v = vhost_of(s, "default", APP ":80");
	ck_assert_int_eq(v->routes.v[0].total_weight, 1);
	ck_assert_uint_eq(v->routes.v[1].destinations.n, 2);
	ck_assert_int_eq(v->routes.v[1].total_weight, 100);
	unit_str_eq(v->routes.v[1].destinations.v[1].cluster_name, "outbound|80|v2|" APP);
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_3_15_unknown_destinations)
{
	struct snap *s = compiled(MY_APP SERVICE("two", "selector: { app: two }, ports: [ { name: http-a, port: 8080 }, { name: http-b, port: 8081 } ]")
		VS("v", "hosts: [ my-app ], http: [ { match: [ { uri: { prefix: /a } } ], route: [ { destination: { host: my-app, subset: nope } } ] }, "
		"{ match: [ { uri: { prefix: /b } } ], " TO("gone.example") " }, { match: [ { uri: { prefix: /c } } ], " TO("two") " }, "
		"{ route: [ { destination: { host: two, port: { number: 8081 } } } ] } ]"));
	const struct snap_vhost *v = vhost_of(s, "default", APP ":80");
	static const char *const names[] = { "outbound|80|nope|" APP, "outbound|80||gone.example",
					     "outbound|80||two.default.svc.cluster.local", "outbound|8081||two.default.svc.cluster.local" };
	for (size_t i = 0; i < 4; i++) {
		unit_str_eq(v->routes.v[i].destinations.v[0].cluster_name, names[i]);
		ck_assert((v->routes.v[i].destinations.v[0].cluster < 0) == (i < 3));
	}
	snap_unref(s);
}
END_TEST

static void check_pairs(const struct snap_pair *v, size_t n, const char *text)
{
	struct str rest = str_c(text), want;
	size_t i = 0;
	for (; text[0] && str_split(&rest, ' ', &want); i++) {
		struct str name;
		ck_assert_uint_lt(i, n);
		str_split(&want, '=', &name);
		ck_assert_msg(str_eq(v[i].name, name) && str_eq(v[i].value, want), "%zu: %.*s=%.*s", i, STR_ARG(v[i].name),
			      STR_ARG(v[i].value));
	}
	ck_assert_uint_eq(i, n);
}

START_TEST(rule_2_4_4_header_operations)
{
	struct snap *s = compiled(MY_APP VS("v",
		"hosts: [ my-app ], http: [ { match: [ { uri: { prefix: /one } } ], headers: { request: { set: { x-b: route, x-a: route, Host: r.example }, add: { x-c: route }, remove: [ X-Gone ] } }, "
		"route: [ { destination: { host: my-app }, headers: { request: { set: { x-a: dest, x-c: dest, Host: d.example }, add: { x-b: dest } }, response: { remove: [ x-r ] } } } ] }, "
		"{ headers: { request: { set: { x-a: route } } }, route: [ { destination: { host: my-app }, weight: 1, headers: { request: { set: { x-a: dest } } } }, { destination: { host: my-app }, weight: 1 } ] } ]"));
	const struct snap_vhost *v = vhost_of(s, "default", APP ":80");
	/* one destination: its operations behind the route's, in one list */
	const struct snap_header_ops *o = v->routes.v[0].headers.request;
	check_pairs(o->set.v, o->set.n, "host=r.example x-b=route x-a=dest x-c=dest");
	check_pairs(o->add.v, o->add.n, "x-b=dest");
	unit_str_eq(o->remove.v[0], "x-gone");
	unit_str_eq(v->routes.v[0].headers.response->remove.v[0], "x-r");
	ck_assert_ptr_null(v->routes.v[0].destinations.v[0].headers.request);
	/* several: each has its own, the route's come last */
	check_pairs(v->routes.v[1].headers.request->set.v, 1, "x-a=route");
	check_pairs(v->routes.v[1].destinations.v[0].headers.request->set.v, 1, "x-a=dest");
	ck_assert_ptr_null(v->routes.v[1].destinations.v[1].headers.request);
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_5_4_retries)
{
	static const struct { const char *retries; int64_t attempts, on, per_try, backoff; size_t codes; } t[] = {
		{ "timeout: 3s", 2, SNAP_RETRY_CONNECT_FAILURE | SNAP_RETRY_REFUSED_STREAM | SNAP_RETRY_GRPC_UNAVAILABLE |
		  SNAP_RETRY_GRPC_CANCELLED | SNAP_RETRY_STATUS_CODES, 0, 25000, 0 },
		{ "retries: { attempts: 0 }", 0, 0, 0, 0, 0 },
		{ "retries: { attempts: 5, perTryTimeout: 1s, backoff: 100ms, retryOn: '5xx, reset,503,internal' }", 5,
		  SNAP_RETRY_5XX | SNAP_RETRY_RESET | SNAP_RETRY_STATUS_CODES | SNAP_RETRY_GRPC_INTERNAL, 1000000, 100000, 1 },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct arena a;
		arena_init(&a, 0);
		struct str text = arena_printf(&a, MY_APP VS("v", "hosts: [ my-app ], http: [ { %s, " TO("my-app") " } ]"), t[i].retries);
		struct snap *s = compiled(text.p);
		const struct snap_route *route = &vhost_of(s, "default", APP ":80")->routes.v[0];
		const struct snap_retry *p = route->retry;
		ck_assert_int_eq(route->timeout_us, i == 0 ? 3000000 : 0);
		ck_assert((p == NULL) == (t[i].attempts == 0));
		if (p) {
			ck_assert(p->attempts == t[i].attempts && p->on == t[i].on && p->per_try_us == t[i].per_try);
			ck_assert(p->backoff_us == t[i].backoff && p->codes.n == t[i].codes && p->ignore_previous_hosts);
		}
		snap_unref(s);
		arena_done(&a);
	}
	/* without a VirtualService */
	struct snap *s = compiled(MY_APP);
	ck_assert_int_eq(vhost_of(s, "default", APP ":80")->routes.v[0].retry->attempts, 2);
	snap_unref(s);
}
END_TEST

START_TEST(answers_and_rewrites)
{
	struct snap *s = compiled(MY_APP VS("v",
		"hosts: [ my-app ], http: [ { match: [ { uri: { prefix: /r } } ], redirect: { uri: /n, authority: x.example, port: 81, redirectCode: 308 } }, "
		"{ match: [ { uri: { prefix: /p } } ], redirect: { scheme: https, derivePort: FROM_REQUEST_PORT } }, "
		"{ match: [ { uri: { prefix: /d } } ], directResponse: { status: 418, body: { string: tea } } }, "
		"{ match: [ { uri: { prefix: /e } } ], directResponse: { status: 200, body: { bytes: w6bDuMOl } } }, "
		"{ match: [ { uri: { prefix: /w } } ], rewrite: { uri: /x, authority: y }, " TO("my-app") " }, "
		"{ rewrite: { uriRegexRewrite: { match: '/a/(.*)', rewrite: '/\\1' } }, " TO("my-app") " } ]"));
	const struct snap_route *r = vhost_of(s, "default", APP ":80")->routes.v;
	ck_assert(r[0].action == SNAP_ACTION_REDIRECT && r[0].redirect->port == 81 && r[0].redirect->code == 308);
	unit_str_eq(r[0].redirect->authority, "x.example");
	ck_assert(r[1].redirect->code == 301 && r[1].redirect->derive_port == SNAP_DERIVE_PORT_REQUEST);
	ck_assert(r[1].redirect->uri.p == NULL && r[1].retry == NULL);
	ck_assert(r[2].action == SNAP_ACTION_DIRECT && r[2].direct->status == 418);
	unit_str_eq(r[2].direct->body, "tea");
	unit_str_eq(r[3].direct->body, "\xc3\xa6\xc3\xb8\xc3\xa5");
	unit_str_eq(r[4].rewrite->uri, "/x");
	unit_str_eq(r[4].rewrite->authority, "y");
	unit_str_eq(r[5].rewrite->substitution, "/\\1");
	snap_unref(s);
	/* Bytes that are no text travel as they were written. */
	s = compiled(MY_APP VS("v", "hosts: [ my-app ], http: [ { directResponse: { status: 200, body: { bytes: '/w==' } } } ]"));
	unit_str_eq(vhost_of(s, "default", APP ":80")->routes.v[0].direct->base64, "/w==");
	snap_unref(s);
}
END_TEST

/* ---- clusters ------------------------------------------------------------------------------------------------- */
START_TEST(defaults_of_a_cluster)
{
	struct snap *s = compiled(MY_APP);
	const struct snap_cluster *c = cluster_of(s, "outbound|80||" APP);
	ck_assert(c->lb == SNAP_LB_LEAST_REQUEST && c->kind == SNAP_CLUSTER_STATIC && c->protocol == SNAP_PROTOCOL_HTTP);
	ck_assert(c->limits.connect_timeout_us == 10000000 && c->limits.idle_timeout_us == INT64_C(3600000000));
	ck_assert(c->limits.max_connections == 0 && c->limits.max_requests == 0 && c->tls.mode == SNAP_TLS_AUTO);
	ck_assert_ptr_null(c->outlier);
	ck_assert_uint_eq(c->endpoints.n, 2);
	const struct snap_endpoint *e = &c->endpoints.v[1];
	unit_str_eq(e->mesh_address, "127.0.0.1");
	ck_assert_int_eq(e->mesh_port, 15443);
	unit_str_eq(e->mesh_sni, "inbound_.8002_.my-app-v2_." APP);
	unit_str_eq(s->peers.v[e->peer].canonical_name, "my-app");
	unit_str_eq(s->peers.v[e->peer].canonical_revision, "v2");
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_7_5_policies_by_port_and_subset)
{
	struct snap *s = compiled(
		SERVICE("my-app", "selector: { app: my-app }, ports: [ { name: http, port: 80, targetPort: 8001 }, { name: http-b, port: 81, targetPort: 8001 } ]")
		WORKLOAD("w", "labels: { app: my-app, version: v1 }", "unit: w.service, ports: [ { number: 8001 } ]")
		DR("d", "host: my-app, trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN }, connectionPool: { tcp: { maxConnections: 5, connectTimeout: 2s, "
			"tcpKeepalive: { time: 60s, probes: 3 } }, http: { http1MaxPendingRequests: 6, http2MaxRequests: 7, maxRetries: 8, maxRequestsPerConnection: 9, idleTimeout: 30s } }, "
			"portLevelSettings: [ { port: { number: 81 }, loadBalancer: { simple: RANDOM } } ] }, "
			"subsets: [ { name: v1, labels: { version: v1 }, trafficPolicy: { loadBalancer: { simple: LEAST_CONN } } } ]"));
	const struct snap_cluster *c = cluster_of(s, "outbound|80||" APP);
	ck_assert(c->lb == SNAP_LB_ROUND_ROBIN && c->limits.max_connections == 5 && c->limits.connect_timeout_us == 2000000);
	ck_assert(c->limits.max_pending == 6 && c->limits.max_requests == 7 && c->limits.max_retries == 8);
	ck_assert(c->limits.max_requests_per_connection == 9 && c->limits.idle_timeout_us == 30000000);
	ck_assert(c->limits.keepalive_time_us == 60000000 && c->limits.keepalive_probes == 3);
	unit_str_eq(c->destination_rule, "d.default");
	c = cluster_of(s, "outbound|81||" APP);
	ck_assert(c->lb == SNAP_LB_RANDOM && c->limits.max_connections == 0);   /* the built-in defaults, not the top's */
	c = cluster_of(s, "outbound|80|v1|" APP);
	ck_assert(c->lb == SNAP_LB_LEAST_REQUEST && c->limits.max_connections == 5);
	snap_unref(s);
}
END_TEST

START_TEST(rule_2_7_1_a_clients_own_rules)
{
	struct snap *s = compiled(
		MY_APP DOC("Workload", "kvmesh/v1", "name: web, namespace: shop, labels: { app: web }", "unit: web.service, ports: [ { number: 9000 } ]")
		DR("d", "host: my-app, trafficPolicy: { loadBalancer: { simple: RANDOM } }")
		DOC("DestinationRule", "networking.istio.io/v1", "name: mine, namespace: shop", "host: " APP ", trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } }"));
	ck_assert_int_eq(cluster_of(s, "outbound|80||" APP)->lb, SNAP_LB_RANDOM);
	ck_assert_int_eq(cluster_of(s, "outbound|80||" APP "@shop/mine")->lb, SNAP_LB_ROUND_ROBIN);
	unit_str_eq(vhost_of(s, "shop", APP ":80")->routes.v[0].destinations.v[0].cluster_name, "outbound|80||" APP "@shop/mine");
	unit_str_eq(vhost_of(s, "default", APP ":80")->routes.v[0].destinations.v[0].cluster_name, "outbound|80||" APP);
	snap_unref(s);
}
END_TEST

#define TLS_RULE(tls) DR("d", "host: my-app, trafficPolicy: { tls: { " tls " } }")
#define STRICT PA("strict", "", "mtls: { mode: STRICT }")
#define DISABLED PA("off", "", "mtls: { mode: DISABLE }")

static struct snap_endpoint first_endpoint(const char *yaml, int *ret_mode)
{
	struct snap *s = compiled(yaml);
	const struct snap_cluster *c = cluster_of(s, "outbound|80||" APP);
	struct snap_endpoint e = c->endpoints.v[0];
	*ret_mode = c->tls.mode;
	static char address[64], sni[128];
	snprintf(address, sizeof(address), "%.*s", STR_ARG(e.address));
	snprintf(sni, sizeof(sni), "%.*s", STR_ARG(e.mesh_sni));
	e.address = str_c(address);
	e.mesh_sni = str_c(sni);
	snap_unref(s);
	return e;
}

START_TEST(rule_2_9_tls_modes)
{
	int mode;
	struct snap_endpoint e = first_endpoint(MY_APP STRICT, &mode);
	ck_assert(mode == SNAP_TLS_AUTO && e.port == 8001 && e.mesh_port == 15443);
	/* the server does not take it: plain text (2.9.2) */
	e = first_endpoint(MY_APP DISABLED, &mode);
	ck_assert(mode == SNAP_TLS_AUTO && e.port == 8001 && e.mesh_port == 0);
	/* an explicit mode wins, also when it cannot work (2.9.1) */
	e = first_endpoint(MY_APP DISABLED TLS_RULE("mode: ISTIO_MUTUAL"), &mode);
	ck_assert(mode == SNAP_TLS_ISTIO_MUTUAL && e.mesh_port == 15443);
	e = first_endpoint(MY_APP TLS_RULE("mode: DISABLE"), &mode);
	ck_assert(mode == SNAP_TLS_DISABLE && e.port == 8001 && e.mesh_port == 0);
	/* plain text towards STRICT meets the door that refuses it (2.9.5) */
	e = first_endpoint(MY_APP STRICT TLS_RULE("mode: DISABLE"), &mode);
	ck_assert(mode == SNAP_TLS_DISABLE && e.port == 15443 && e.mesh_port == 0);
	e = first_endpoint(MY_APP STRICT TLS_RULE("mode: SIMPLE, sni: x.example"), &mode);
	ck_assert(mode == SNAP_TLS_SIMPLE && e.port == 15443);
}
END_TEST

START_TEST(tls_to_the_outside)
{
	struct snap *s = compiled(SE("pay", "hosts: [ api.pay.example ], location: MESH_EXTERNAL, resolution: DNS, subjectAltNames: [ alt.pay.example ], "
					"ports: [ { number: 443, name: https, protocol: HTTP, targetPort: 8443 } ]")
				  DR("d", "host: api.pay.example, trafficPolicy: { tls: { mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, "
				     "caCertificates: /ca.pem, sni: other.example } }"));
	const struct snap_cluster *c = cluster_of(s, "outbound|443||api.pay.example");
	ck_assert(c->kind == SNAP_CLUSTER_DNS && c->tls.mode == SNAP_TLS_MUTUAL);
	unit_str_eq(c->tls.cert, "/c.pem");
	unit_str_eq(c->tls.key, "/k.pem");
	unit_str_eq(c->tls.ca, "/ca.pem");
	unit_str_eq(c->tls.sni, "other.example");
	unit_str_eq(c->tls.sans.v[0], "alt.pay.example");
	ck_assert(c->tls.sans.n == 1 && c->endpoints.n == 1);
	unit_str_eq(c->endpoints.v[0].address, "api.pay.example");
	ck_assert(c->endpoints.v[0].port == 8443 && c->endpoints.v[0].peer == -1);
	check_domains(vhost_of(s, "default", "api.pay.example:443"), "api.pay.example");
	snap_unref(s);
}
END_TEST

START_TEST(endpoints_of_entries)
{
	struct snap *s = compiled(
		SERVICE("db", "selector: { app: db }, ports: [ { name: tcp-db, port: 5432, targetPort: pg } ]")
		ENTRY("db-1", "address: 10.0.0.5, ports: { pg: 15432 }, labels: { app: db, security.istio.io/tlsMode: istio }, serviceAccount: db, weight: 3, locality: eu/fra")
		ENTRY("db-2", "address: 10.0.0.4, ports: { pg: 15433 }, labels: { app: db }")
		ENTRY("db-3", "address: 10.0.0.9, labels: { app: db }")
		SE("cache", "hosts: [ cache.example ], location: MESH_INTERNAL, resolution: STATIC, workloadSelector: { labels: { app: db } }, "
		   "ports: [ { number: 6379, name: tcp, protocol: TCP, targetPort: 16379 } ]")
		SE("none", "hosts: [ legacy.example ], resolution: NONE, addresses: [ 192.0.2.0/24 ], ports: [ { number: 25, name: tcp, protocol: TCP } ]"));
	const struct snap_cluster *c = cluster_of(s, "outbound|5432||db.default.svc.cluster.local");
	ck_assert_uint_eq(c->endpoints.n, 2);   /* db-3 has no port of that name */
	unit_str_eq(c->endpoints.v[0].address, "10.0.0.4");
	ck_assert(c->endpoints.v[0].mesh_port == 0 && c->endpoints.v[0].port == 15433);
	const struct snap_endpoint *e = &c->endpoints.v[1];
	unit_str_eq(e->mesh_address, "10.0.0.5");
	unit_str_eq(e->mesh_sni, "inbound_.15432_.db-1_.db.default.svc.cluster.local");
	ck_assert(e->weight == 3 && e->mesh_port == 15443);
	unit_str_eq(e->locality, "eu/fra");
	unit_str_eq(s->peers.v[e->peer].principal, "spiffe://cluster.local/ns/default/sa/db");
	unit_str_eq(s->peers.v[e->peer].name, "db-1");
	c = cluster_of(s, "outbound|6379||cache.example");
	ck_assert(c->endpoints.n == 3 && c->endpoints.v[0].port == 16379);
	ck_assert_int_eq(cluster_of(s, "outbound|25||legacy.example")->kind, SNAP_CLUSTER_ORIGINAL_DST);
	snap_unref(s);
}
END_TEST

START_TEST(mutual_tls_to_an_endpoint_without_a_proxy_of_ours)
{
	struct snap *s = compiled(
		SE("db", "hosts: [ db.example ], location: MESH_INTERNAL, resolution: STATIC, ports: [ { number: 5432, name: tcp, protocol: TCP } ], "
		   "subjectAltNames: [ spiffe://other/ns/a/sa/b ], endpoints: [ { address: 10.0.0.5, serviceAccount: db } ]")
		DR("d", "host: db.example, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } }"));
	const struct snap_cluster *c = cluster_of(s, "outbound|5432||db.example");
	unit_str_eq(c->endpoints.v[0].mesh_address, "10.0.0.5");
	ck_assert_int_eq(c->endpoints.v[0].mesh_port, 5432);
	unit_str_eq(c->endpoints.v[0].mesh_sni, "outbound_.5432_._.db.example");
	ck_assert_uint_eq(c->tls.sans.n, 2);
	unit_str_eq(c->tls.sans.v[0], "spiffe://other/ns/a/sa/b");
	unit_str_eq(c->tls.sans.v[1], "spiffe://cluster.local/ns/default/sa/db");
	snap_unref(s);
}
END_TEST

static bool v1_is_down(void *arg, const struct model_resource *r)
{
	(void)arg;
	return str_eq(r->name, STR("my-app-v1"));
}

START_TEST(what_the_environment_knows)
{
	struct compile_env env = { .version = 12, .is_inactive = v1_is_down };
	struct snap *s = compiled_with(model_of(MY_APP), "node", &env);
	ck_assert_int_eq(s->version, 12);
	const struct snap_cluster *c = cluster_of(s, "outbound|80||" APP);
	ck_assert(c->endpoints.v[0].inactive && !c->endpoints.v[1].inactive);
	/* Who names the service alone is led to one that is in; who names the workload, to that one. */
	for (size_t i = 0; i < s->snis.n; i++)
		if (str_has_prefix(s->snis.v[i].name, STR("outbound_.80_._.my-app."))) {
			ck_assert_uint_eq(s->snis.v[i].targets.n, 1);
			const struct snap_inbound *in = &s->inbounds.v[s->snis.v[i].targets.v[0]];
			unit_str_eq(s->peers.v[s->workloads.v[in->workload].peer].name, "my-app-v2");
		}
	snap_unref(s);
}
END_TEST

/* ---- L4 -------------------------------------------------------------------------------------------------------- */
START_TEST(l4_rows_and_their_order)
{
	struct snap *s = compiled(
		SERVICE("redis", "selector: { app: redis }, ports: [ { name: redis, port: 6379, listen: '127.0.0.1:6400' } ]")
		WORKLOAD("redis", "labels: { app: redis, version: v1 }", "unit: redis.service, ports: [ { number: 6379, protocol: TCP } ]")
		DR("d", "host: redis, " SUBSETS)
		VS("v", "hosts: [ redis ], tcp: [ { match: [ { destinationSubnets: [ 10.0.0.0/8 ] } ], route: [ { destination: { host: redis, subset: v1 } } ] }, "
			"{ route: [ { destination: { host: redis, subset: v1 }, weight: 1 }, { destination: { host: redis, subset: v2 }, weight: 3 } ] } ]")
		SE("wild", "hosts: [ '*.tls.example' ], resolution: NONE, ports: [ { number: 443, name: tls, protocol: TLS } ]")
		SE("exact", "hosts: [ api.tls.example ], resolution: DNS, ports: [ { number: 443, name: tls, protocol: TLS } ]")
		SE("addr", "hosts: [ pg.example ], addresses: [ 192.0.2.7 ], resolution: STATIC, endpoints: [ { address: 10.0.0.1 } ], ports: [ { number: 5432, name: tcp, protocol: TCP } ]")
		VS("sni", "hosts: [ api.tls.example ], tls: [ { match: [ { port: 443, sniHosts: [ api.tls.example ] } ], route: [ { destination: { host: redis, subset: v1 } } ] } ]"));
	const struct snap_view *v = view_of(s, "default");
	static const char *const names[] = { "pg.example:5432", "api.tls.example:443", "*.tls.example:443",
					     "redis.default.svc.cluster.local:6379", "redis.default.svc.cluster.local:6379" };
	ck_assert_uint_eq(v->l4.n, 5);
	for (size_t i = 0; i < 5; i++)
		unit_str_eq(v->l4.v[i].name, names[i]);
	unit_str_eq(v->l4.v[0].addresses.v[0], "192.0.2.7");
	ck_assert_uint_eq(v->l4.v[0].sni.n, 0);
	unit_str_eq(v->l4.v[1].sni.v[0], "api.tls.example");
	unit_str_eq(v->l4.v[1].destinations.v[0].cluster_name, "outbound|6379|v1|redis.default.svc.cluster.local");
	unit_str_eq(v->l4.v[2].sni.v[0], "*.tls.example");
	unit_str_eq(v->l4.v[3].addresses.v[0], "10.0.0.0/8");
	ck_assert(v->l4.v[4].addresses.n == 0 && v->l4.v[4].total_weight == 4 && v->l4.v[4].destinations.n == 2);
	unit_str_eq(v->l4.v[4].service, "redis.default.svc.cluster.local");
	ck_assert_ptr_null(find_vhost(s, "default", "redis.default.svc.cluster.local:6379"));
	const struct snap_listener *l = &s->listeners.v[s->listeners.n - 1];
	ck_assert(l->kind == SNAP_LISTENER_TCP && l->port == 6400 && l->service_port == 6379);
	unit_str_eq(l->service, "redis.default.svc.cluster.local");
	snap_unref(s);
}
END_TEST

START_TEST(undeclared_protocols_are_both)
{
	struct snap *s = compiled(SERVICE("x", "selector: { app: x }, ports: [ { name: main, port: 7000 } ]"));
	ck_assert_int_eq(cluster_of(s, "outbound|7000||x.default.svc.cluster.local")->protocol, SNAP_PROTOCOL_AUTO);
	ck_assert_ptr_nonnull(find_vhost(s, "default", "x.default.svc.cluster.local:7000"));
	ck_assert_uint_eq(view_of(s, "default")->l4.n, 1);
	snap_unref(s);
}
END_TEST

/* ---- inbound ----------------------------------------------------------------------------------------------------- */
static const struct snap_inbound *inbound_of(const struct snap *s, int64_t port)
{
	for (size_t i = 0; i < s->inbounds.n; i++) {
		if (s->inbounds.v[i].port == port)
			return &s->inbounds.v[i];
	}
	ck_abort_msg("no inbound %d", (int)port);
}

START_TEST(rule_2_10_modes_of_ports)
{
	struct snap *s = compiled(
		SERVICE("my-app", "selector: { app: my-app }, ports: [ { name: http, port: 80, targetPort: 8001 } ]")
		WORKLOAD("w", "labels: { app: my-app }", "unit: w.service, ports: [ { number: 8001, protocol: HTTP }, { number: 9090 } ]")
		PA("ns", "", "mtls: { mode: STRICT }")
		PA("app", "", "selector: { matchLabels: { app: my-app } }, portLevelMtls: { 9090: { mode: DISABLE } }"));
	const struct snap_inbound *i = inbound_of(s, 8001);
	ck_assert(i->mtls == SNAP_MTLS_STRICT && i->protocol == SNAP_PROTOCOL_HTTP && i->services.n == 1);
	unit_str_eq(i->policy, "ns.default");
	ck_assert_int_eq(i->services.v[0].port, 80);
	i = inbound_of(s, 9090);
	ck_assert(i->mtls == SNAP_MTLS_DISABLE && i->services.n == 0);
	unit_str_eq(i->policy, "app.default");
	snap_unref(s);
	s = compiled(MY_APP);
	ck_assert_int_eq(inbound_of(s, 8001)->mtls, SNAP_MTLS_PERMISSIVE);
	ck_assert_uint_eq(inbound_of(s, 8001)->policy.n, 0);
	snap_unref(s);
}
END_TEST

START_TEST(server_names_of_both_forms)
{
	struct snap *s = compiled(MY_APP DR("d", "host: my-app, " SUBSETS));
	ck_assert_uint_eq(sni_of(s, "outbound_.80_._." APP)->targets.n, 2);
	const struct snap_sni *v2 = sni_of(s, "outbound_.80_.v2_." APP);
	ck_assert(v2->targets.n == 1 && s->inbounds.v[v2->targets.v[0]].port == 8002);
	const struct snap_sni *one = sni_of(s, "inbound_.8001_.my-app-v1_." APP);
	ck_assert(one->targets.n == 1 && s->inbounds.v[one->targets.v[0]].port == 8001);
	unit_str_eq(s->inbounds.v[one->targets.v[0]].services.v[one->service].service, APP);
	snap_unref(s);
}
END_TEST

/* A name that leads to several ports means one service at all of them, whatever else the ports serve. */
START_TEST(services_that_share_ports)
{
	struct snap *s = compiled(
		SERVICE("a", "selector: { a: 'y' }, ports: [ { name: http, port: 80, targetPort: 8000 }, { name: http-2, port: 8080, targetPort: 8000 } ]")
		SERVICE("b", "selector: { b: 'y' }, ports: [ { name: http, port: 80, targetPort: 8000 } ]")
		SERVICE("c", "selector: { c: 'y' }, ports: [ { name: http, port: 80, targetPort: 8000 } ]")
		WORKLOAD("ab", "labels: { a: 'y', b: 'y' }", "unit: ab.service, address: 127.0.0.2, ports: [ { number: 8000 } ]")
		WORKLOAD("bc", "labels: { b: 'y', c: 'y' }", "unit: bc.service, address: 127.0.0.3, ports: [ { number: 8000 } ]")
		WORKLOAD("ca", "labels: { c: 'y', a: 'y' }", "unit: ca.service, address: 127.0.0.4, ports: [ { number: 8000 } ]"));
	static const char *const names[] = { "a", "b", "c" };
	for (size_t k = 0; k < 3; k++) {
		struct arena a;
		arena_init(&a, 0);
		struct str fqdn = arena_printf(&a, "%s.default.svc.cluster.local", names[k]);
		const struct snap_sni *sni = sni_of(s, arena_printf(&a, "outbound_.80_._.%s", fqdn.p).p);
		ck_assert_uint_eq(sni->targets.n, 2);
		for (size_t i = 0; i < 2; i++) {
			const struct snap_inbound *in = &s->inbounds.v[sni->targets.v[i]];
			ck_assert_int_lt(sni->service, (int64_t)in->services.n);
			ck_assert(str_eq(in->services.v[sni->service].service, fqdn) && in->services.v[sni->service].port == 80);
		}
		arena_done(&a);
	}
	snap_unref(s);
}
END_TEST

START_TEST(who_is_served)
{
	struct snap *s = compiled(
		MY_APP WORKLOAD("out", "labels: { app: my-app }", "unit: out.service, inject: false, ports: [ { name: http, number: 8003 } ]")
		WORKLOAD("edge", "labels: { istio: ingressgateway }", "gateway: true"));
	ck_assert_uint_eq(s->workloads.n, 3);   /* the node, v1, v2 */
	unit_str_eq(s->workloads.v[1].unit, "my-app-v1.service");
	ck_assert_uint_eq(s->identities.n, 2);  /* the two share an account */
	const struct snap_cluster *c = cluster_of(s, "outbound|80||" APP);
	ck_assert_uint_eq(c->endpoints.n, 3);
	ck_assert(c->endpoints.v[2].port == 8003 && c->endpoints.v[2].mesh_port == 0);
	ck_assert_uint_eq(s->peers.v[c->endpoints.v[2].peer].principal.n, 0);
	snap_unref(s);
}
END_TEST

START_TEST(instances)
{
	struct model *m = model_of(MY_APP WORKLOAD("edge", "labels: { istio: ingressgateway }", "gateway: true, serviceAccount: edge"));
	struct arena a;
	struct err_list errs;
	struct snap *s = NULL;
	arena_init(&a, 0);
	err_list_init(&errs);
	struct str_list l = compile_proxies(m, &a);
	ck_assert_uint_eq(l.n, 2);
	unit_str_eq(l.v[0], "node");
	unit_str_eq(l.v[1], "edge");
	ck_assert_int_eq(snap_compile(m, STR("nobody"), NULL, &s, &errs), KV_ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(errs.v[0].text, "nobody"));
	err_list_done(&errs);
	arena_done(&a);
	struct snap *node = compiled(MY_APP WORKLOAD("node", "labels: { x: 'y' }", "gateway: true"));
	ck_assert_uint_eq(node->listeners.n, 5);        /* that name stays the node's */
	snap_unref(node);
	s = compiled_with(m, "edge", NULL);
	unit_str_eq(s->identities.v[0], "spiffe://cluster.local/ns/default/sa/edge");
	ck_assert(s->workloads.n == 1 && s->listeners.n == 0 && s->inbounds.n == 0);
	ck_assert(s->views.n == 1 && s->views.v[0].vhosts.n == 0);      /* no Gateway selects it */
	snap_unref(s);
}
END_TEST

START_TEST(ports_and_settings)
{
	struct model *m = model_of(MY_APP);
	m->mesh.node.outboundPort = 0;
	m->mesh.node.inboundPort = 0;
	m->mesh.node.meshPort = 0;
	m->mesh.node.unregisteredCallers = MODEL_UNREGISTERED_REFUSE;
	m->mesh.mesh.pathNormalization.normalization = MODEL_PATH_NORM_MERGE_SLASHES;
	m->mesh.mesh.accessLogFile = STR("/dev/stdout");
	m->mesh.mesh.accessLogEncoding = MODEL_LOG_JSON;
	struct snap *s = compiled_with(m, "node", NULL);
	ck_assert_uint_eq(s->listeners.n, 2);   /* port 0 switches a listener off */
	ck_assert(s->listeners.v[0].kind == SNAP_LISTENER_HTTP_PROXY && s->listeners.v[1].kind == SNAP_LISTENER_READY);
	ck_assert(s->settings.refuse_unregistered && s->settings.access_log_json && s->settings.path_normalization == 2);
	unit_str_eq(s->settings.access_log, "/dev/stdout");
	/* without a mesh port there is nothing to speak mTLS to */
	ck_assert_int_eq(cluster_of(s, "outbound|80||" APP)->endpoints.v[0].mesh_port, 0);
	snap_unref(s);
	s = compiled(MY_APP);
	ck_assert(s->settings.path_normalization == 1 && s->settings.retry_body_bytes == 65536);
	snap_unref(s);
}
END_TEST

START_TEST(the_same_model_gives_the_same_bytes)
{
	static const char text[] = MY_APP DR("d", "host: my-app, " SUBSETS) STRICT
		VS("v", "hosts: [ my-app ], http: [ { match: [ { sourceLabels: { app: my-app } } ], " TO("my-app") " }, { " TO("my-app") " } ]");
	struct arena a;
	arena_init(&a, 0);
	struct snap *s = compiled(text), *t = compiled(text);
	ck_assert(str_eq(snap_dump(s, &a, false), snap_dump(t, &a, false)));
	ck_assert_uint_eq(s->hash, t->hash);
	snap_unref(s);
	snap_unref(t);
	arena_done(&a);
}
END_TEST

START_TEST(an_empty_model_is_a_snapshot)
{
	struct snap *s = compiled("");
	ck_assert(s->workloads.n == 1 && s->views.n == 1 && s->listeners.n == 5 && s->inbounds.n == 0);
	snap_unref(s);
}
END_TEST

UNIT_MAIN("compile", rule_2_1_2_aliases_depend_on_the_caller, rule_2_2_2_the_oldest_keeps_a_host,
	  rule_2_2_3_a_wildcard_covers_what_has_no_better_one, host_precedence_as_the_oracle,
	  a_host_that_only_a_virtual_service_names, rule_2_3_13_everything_else, rule_2_3_2_static_predicates,
	  rule_2_3_4_a_catch_all_ends_the_list, matches_are_what_was_written, rule_2_4_1_weights,
	  rule_2_3_15_unknown_destinations, rule_2_4_4_header_operations, rule_2_5_4_retries, answers_and_rewrites,
	  defaults_of_a_cluster, rule_2_7_5_policies_by_port_and_subset, rule_2_7_1_a_clients_own_rules, rule_2_9_tls_modes,
	  tls_to_the_outside, endpoints_of_entries, mutual_tls_to_an_endpoint_without_a_proxy_of_ours,
	  what_the_environment_knows, l4_rows_and_their_order, undeclared_protocols_are_both, rule_2_10_modes_of_ports,
	  server_names_of_both_forms, services_that_share_ports, who_is_served, instances, ports_and_settings,
	  the_same_model_gives_the_same_bytes, an_empty_model_is_a_snapshot)
