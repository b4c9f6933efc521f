/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of config/names: hosts, services, endpoints and who decides; numbers are the semantics'
 * rules.
 */
#include "config/names.h"
#include "config_unit.h"

static struct arena a;

#define FQDN(name, ns) name "." ns ".svc.cluster.local"

static struct str label_of(const struct model_resource *r)
{
	return r != NULL ? r->name : STR("-");
}

START_TEST(wildcard_algebra_2_1_3)
{
	static const struct {
		const char *a, *b;
		bool match, subset;
	} rows[] = {
		{ "foo.com", "foo.com", true, true },
		{ "FOO.com", "foo.COM", true, true },
		{ "foo.com", "bar.com", false, false },
		{ "a.b.foo.com", "*.foo.com", true, true },
		{ "foo.com", "*.foo.com", false, false },
		{ "*.foo.com", "a.foo.com", true, false },
		{ "*.a.foo.com", "*.foo.com", true, true },
		{ "*.foo.com", "*.a.foo.com", true, false },
		{ "*.foo.com", "*.bar.com", false, false },
		{ "*", "anything", true, false },
		{ "anything", "*", true, true },
		{ "*", "*", true, true },
		{ "*.foo.com", "*", true, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(names_match(str_c(rows[i].a), str_c(rows[i].b)) == rows[i].match,
			      "match %zu", i);
		ck_assert_msg(names_match(str_c(rows[i].b), str_c(rows[i].a)) == rows[i].match,
			      "match back %zu", i);
		ck_assert_msg(names_subset_of(str_c(rows[i].a), str_c(rows[i].b)) == rows[i].subset,
			      "subset %zu", i);
	}
}
END_TEST

START_TEST(specificity_2_1_4)
{
	ck_assert_int_lt(names_specificity_cmp(STR("a.foo.com"), STR("*.foo.com")), 0);
	ck_assert_int_lt(names_specificity_cmp(STR("*.a.foo.com"), STR("*.foo.com")), 0);
	ck_assert_int_gt(names_specificity_cmp(STR("*"), STR("*.com")), 0);
	ck_assert_int_eq(names_specificity_cmp(STR("a"), STR("b")), 0);
}
END_TEST

START_TEST(short_names_2_1_1)
{
	struct model *m = config_model(CONFIG_BASE);

	arena_init(&a, 0);
	unit_str_eq(names_fqdn(m, STR("web"), STR("prod"), &a), FQDN("web", "prod"));
	unit_str_eq(names_fqdn(m, STR("Web"), STR("prod"), &a), FQDN("web", "prod"));
	unit_str_eq(names_fqdn(m, STR("db.data"), STR("prod"), &a), FQDN("db", "data"));
	unit_str_eq(names_fqdn(m, STR("db.other"), STR("prod"), &a), "db.other");
	unit_str_eq(names_fqdn(m, STR("x.y.svc"), STR("prod"), &a), FQDN("x", "y"));
	unit_str_eq(names_fqdn(m, STR("x.istio-system.svc.cluster.local."), STR("p"), &a),
		    FQDN("x", "kvmesh-system"));
	unit_str_eq(names_fqdn(m, STR("api.Example.org"), STR("prod"), &a), "api.example.org");
	unit_str_eq(names_fqdn(m, STR("*.example.org"), STR("prod"), &a), "*.example.org");
	unit_str_eq(names_fqdn(m, STR("10.0.0.1"), STR("prod"), &a), "10.0.0.1");
	unit_str_eq(names_fqdn(m, STR("*"), STR("prod"), &a), "*");
	arena_done(&a);
	model_free(m);
}
END_TEST

static bool has(struct str_list l, const char *s)
{
	for (size_t i = 0; i < l.n; i++)
		if (str_eq(l.v[i], str_c(s)))
			return true;
	return false;
}

START_TEST(aliases_2_1_2)
{
	struct model *m = config_model(CONFIG_BASE);
	struct str_list own, other, root;

	arena_init(&a, 0);
	own = names_aliases(m, STR("web"), STR("default"), STR("default"), &a);
	other = names_aliases(m, STR("web"), STR("default"), STR("data"), &a);
	root = names_aliases(m, STR("x"), STR("kvmesh-system"), STR("data"), &a);
	ck_assert(has(own, "web") && has(own, "web.default") && has(own, "web.default.svc"));
	ck_assert(has(own, FQDN("web", "default")) && has(own, FQDN("web", "default") "."));
	ck_assert(!has(other, "web") && has(other, "web.default"));
	ck_assert(has(root, "x.istio-system.svc.cluster.local"));
	arena_done(&a);
	model_free(m);
}
END_TEST

START_TEST(visibility_2_1_6)
{
	struct model *m = config_model(CONFIG_BASE);
	struct str words[] = { STR("istio-system"), STR(".") }, star = STR("*"), none = STR("~");
	struct str_list some = { words, 2 }, all = { &star, 1 }, nobody = { &none, 1 },
			empty = { NULL, 0 };

	ck_assert(names_exported(m, &empty, NULL, STR("a"), STR("b")));
	ck_assert(names_exported(m, &all, NULL, STR("a"), STR("b")));
	ck_assert(!names_exported(m, &nobody, NULL, STR("a"), STR("a")));
	ck_assert(names_exported(m, &some, NULL, STR("a"), STR("a")));
	ck_assert(!names_exported(m, &some, NULL, STR("a"), STR("b")));
	ck_assert(names_exported(m, &some, NULL, STR("a"), STR("kvmesh-system")));
	ck_assert(!names_exported(m, &empty, &nobody, STR("a"), STR("b")));
	model_free(m);
}
END_TEST

START_TEST(gateway_names_2_1_7)
{
	struct model *m = config_model(CONFIG_BASE);

	arena_init(&a, 0);
	unit_str_eq(names_gateway(m, STR("mesh"), STR("ns"), &a), "mesh");
	unit_str_eq(names_gateway(m, STR("gw"), STR("ns"), &a), "ns/gw");
	unit_str_eq(names_gateway(m, STR("./gw"), STR("ns"), &a), "ns/gw");
	unit_str_eq(names_gateway(m, STR("istio-system/gw"), STR("ns"), &a), "kvmesh-system/gw");
	unit_str_eq(names_gateway(m, STR("gw.other.svc.cluster.local"), STR("ns"), &a), "other/gw");
	arena_done(&a);
	model_free(m);
}
END_TEST

START_TEST(protocols_2_16)
{
	ck_assert_int_eq(names_protocol(STR("http"), STR_NULL, STR_NULL), SNAP_PROTOCOL_HTTP);
	ck_assert_int_eq(names_protocol(STR("http2-api"), STR_NULL, STR("TCP")),
			 SNAP_PROTOCOL_HTTP2);
	ck_assert_int_eq(names_protocol(STR("grpc-web-x"), STR_NULL, STR_NULL), SNAP_PROTOCOL_GRPC);
	ck_assert_int_eq(names_protocol(STR("redis"), STR_NULL, STR("TCP")), SNAP_PROTOCOL_TCP);
	ck_assert_int_eq(names_protocol(STR("main"), STR_NULL, STR("HTTP")), SNAP_PROTOCOL_HTTP);
	ck_assert_int_eq(names_protocol(STR("main"), STR_NULL, STR("TCP")), SNAP_PROTOCOL_AUTO);
	ck_assert_int_eq(names_protocol(STR("httpx"), STR_NULL, STR_NULL), SNAP_PROTOCOL_AUTO);
	ck_assert_int_eq(names_protocol(STR("tcp"), STR("kubernetes.io/h2c"), STR("TCP")),
			 SNAP_PROTOCOL_HTTP2);
	ck_assert_int_eq(names_protocol(STR("x"), STR("https"), STR_NULL), SNAP_PROTOCOL_TLS);
}
END_TEST

START_TEST(registry_and_ports)
{
	struct model *m = config_model(
		CONFIG_BASE
		"ServiceEntry = ( { name = \"a\"; hosts = [ \"*.Example.org\" ]; exportTo = [ "
		"\".\" ]; ports = ( { number = 443; name = \"tls\"; protocol = \"TLS\"; } ); },"
		" { name = \"b\"; namespace = \"data\"; hosts = [ \"*.org\", \"api.example.org\" "
		"]; ports = ( { number = 80; name = \"http\"; protocol = \"HTTP\"; targetPort = "
		"8080; } ); } );\n");
	struct names_registry reg;
	const struct names_service *s;

	arena_init(&a, 0);
	names_registry_init(&reg, m, &a);
	ck_assert_uint_eq(reg.services.n, 5);
	s = names_service_find(&reg, STR(FQDN("db", "data")), STR("default"));
	ck_assert_ptr_nonnull(s);
	unit_str_eq(s->name, "db");
	ck_assert_int_eq(names_port_find(s, 81)->target, 81);
	ck_assert_ptr_null(names_port_find(s, 80));
	/* 2.4.3: number, else the only port, else the listener's. */
	ck_assert_ptr_null(names_destination_port(s, 0, 80));
	ck_assert_int_eq(names_destination_port(s, 0, 5432)->number, 5432);
	ck_assert_int_eq(names_destination_port(s, 81, 5432)->number, 81);
	/* Exact before wildcard, the longer wildcard first, and only what is visible. */
	unit_str_eq(names_service_find(&reg, STR("api.example.org"), STR("default"))->host,
		    "api.example.org");
	unit_str_eq(names_service_find(&reg, STR("b.example.org"), STR("default"))->host,
		    "*.example.org");
	unit_str_eq(names_service_find(&reg, STR("b.example.org"), STR("data"))->host, "*.org");
	ck_assert_ptr_null(names_service_find(&reg, STR("example.com"), STR("default")));
	s = names_service_find(&reg, STR("api.example.org"), STR("x"));
	ck_assert_int_eq(names_destination_port(s, 0, 12345)->target, 8080);
	names_registry_done(&reg);
	arena_done(&a);
	model_free(m);
}
END_TEST

START_TEST(endpoints_2_15)
{
	struct model *m = config_model(
		CONFIG_BASE
		"WorkloadEntry = { metadata = { name = \"vm\"; labels = { app = \"web\"; tier = "
		"\"x\"; }; };"
		"  spec = { address = \"10.0.0.9\"; ports = { http = 9001; }; labels = { version = "
		"\"v3\"; }; serviceAccount = \"web\"; }; };\n"
		"ServiceEntry = ( { name = \"sel\"; hosts = [ \"sel.internal\" ]; location = "
		"\"MESH_INTERNAL\"; resolution = \"STATIC\";"
		"    ports = ( { number = 80; name = \"http\"; protocol = \"HTTP\"; targetPort = "
		"8080; } ); workloadSelector = { labels = { tier = \"x\"; }; }; },"
		"  { name = \"inl\"; hosts = [ \"inl.internal\" ]; resolution = \"STATIC\"; ports "
		"= ( { number = 80; name = \"http\"; protocol = \"HTTP\"; } );"
		"    endpoints = ( { address = \"10.0.0.1\"; weight = 7; }, { address = "
		"\"unix:///run/x\"; } ); } );\n");
	struct names_registry reg;
	struct names_endpoints e;
	const struct names_service *s;

	arena_init(&a, 0);
	names_registry_init(&reg, m, &a);
	s = names_service_find(&reg, STR(FQDN("web", "default")), STR("default"));
	e = names_endpoints(m, s, &a);
	ck_assert_uint_eq(e.n, 3);
	unit_str_eq(e.v[0].name, "web-1");
	unit_str_eq(e.v[0].service_account, "web");
	unit_str_eq(e.v[1].service_account, "web-2");
	ck_assert_int_eq(e.v[0].weight, 1);
	ck_assert_int_eq(e.v[1].weight, 3);
	ck_assert_int_eq(names_endpoint_port(&e.v[0], &s->ports.v[0]), 8001);
	/* The entry says its own port, and its labels are those of metadata below those of spec. */
	ck_assert_ptr_null(e.v[2].workload);
	ck_assert_int_eq(names_endpoint_port(&e.v[2], &s->ports.v[0]), 9001);
	unit_str_eq(labels_get(&e.v[2].labels, STR("version")), "v3");
	unit_str_eq(labels_get(&e.v[2].labels, STR("app")), "web");
	/* A port by name. */
	s = names_service_find(&reg, STR(FQDN("db", "data")), STR("default"));
	e = names_endpoints(m, s, &a);
	ck_assert_uint_eq(e.n, 1);
	ck_assert_int_eq(names_endpoint_port(&e.v[0], &s->ports.v[0]), 5433);
	unit_str_eq(e.v[0].address, "127.0.0.2");
	/* ServiceEntry: selected and inline. */
	s = names_service_find(&reg, STR("sel.internal"), STR("default"));
	e = names_endpoints(m, s, &a);
	ck_assert_uint_eq(e.n, 1);
	ck_assert_int_eq(names_endpoint_port(&e.v[0], &s->ports.v[0]), 9001);
	s = names_service_find(&reg, STR("inl.internal"), STR("default"));
	e = names_endpoints(m, s, &a);
	ck_assert_uint_eq(e.n, 2);
	ck_assert_int_eq(e.v[0].weight, 7);
	ck_assert_int_eq(names_endpoint_port(&e.v[0], &s->ports.v[0]), 80);
	names_registry_done(&reg);
	arena_done(&a);
	model_free(m);
}
END_TEST

/* ---- PeerAuthentication -------------------------------------------------------------------- */

static void expect_mtls(const struct model *m, const char *ns, struct str version, int64_t port,
			enum model_mtls_mode mode, const char *by)
{
	struct label l[] = { { STR("app"), STR("web") }, { STR("version"), version } };
	struct labels labels = { l, 2 };
	struct names_mtls r = names_mtls(m, str_c(ns), &labels, port);

	ck_assert_msg(r.mode == mode, "%s %.*s %d: mode %d", ns, STR_ARG(version), (int)port,
		      r.mode);
	unit_str_eq(label_of(r.by != NULL ? &r.by->r : NULL), by);
}

START_TEST(mtls_scopes_2_10)
{
	struct model *m = config_model(
		"PeerAuthentication = ("
		" { name = \"mesh\"; namespace = \"istio-system\"; mtls = { mode = \"STRICT\"; }; "
		"},"
		" { name = \"root-sel\"; namespace = \"kvmesh-system\"; selector = { matchLabels = "
		"{ app = \"web\"; }; }; mtls = { mode = \"DISABLE\"; }; },"
		" { name = \"ns\"; namespace = \"a\"; mtls = { mode = \"DISABLE\"; }; },"
		" { name = \"ns-late\"; namespace = \"a\"; mtls = { mode = \"STRICT\"; }; },"
		" { name = \"v1\"; namespace = \"a\"; selector = { matchLabels = { version = "
		"\"v1\"; }; };"
		"   portLevelMtls = ( { port = 80; mode = \"PERMISSIVE\"; }, { port = 81; mode = "
		"\"UNSET\"; } ); },"
		" { name = \"v2\"; namespace = \"a\"; selector = { matchLabels = { version = "
		"\"v2\"; }; }; mtls = { mode = \"STRICT\"; };"
		"   portLevelMtls = ( { port = 81; mode = \"UNSET\"; } ); },"
		" { name = \"empty\"; namespace = \"b\"; mtls = { mode = \"UNSET\"; }; },"
		" { name = \"empty-late\"; namespace = \"b\"; mtls = { mode = \"DISABLE\"; }; },"
		" { name = \"nolabels\"; namespace = \"c\"; selector = { matchLabels = { }; }; "
		"mtls = { mode = \"DISABLE\"; }; } );\n");

	expect_mtls(m, "x", STR("v1"), 80, MODEL_MTLS_STRICT, "mesh");
	/* A selector in the root namespace is for workloads of that namespace only. */
	expect_mtls(m, "kvmesh-system", STR("v1"), 80, MODEL_MTLS_DISABLE, "root-sel");
	expect_mtls(m, "a", STR("v9"), 80, MODEL_MTLS_DISABLE, "ns");
	expect_mtls(m, "a", STR("v1"), 80, MODEL_MTLS_PERMISSIVE, "v1");
	expect_mtls(m, "a", STR("v1"), 81, MODEL_MTLS_DISABLE, "ns");
	expect_mtls(m, "a", STR("v1"), 99, MODEL_MTLS_DISABLE, "ns");
	expect_mtls(m, "a", STR("v2"), 81, MODEL_MTLS_STRICT, "v2");
	/* The oldest decides even where it says UNSET: then the mesh's mode is inherited. */
	expect_mtls(m, "b", STR("v1"), 80, MODEL_MTLS_STRICT, "mesh");
	expect_mtls(m, "c", STR("v1"), 80, MODEL_MTLS_DISABLE, "nolabels");
	model_free(m);
	m = config_model(CONFIG_BASE);
	expect_mtls(m, "default", STR("v1"), 80, MODEL_MTLS_PERMISSIVE, "-");
	model_free(m);
}
END_TEST

START_TEST(oldest_is_by_first_seen)
{
	struct model *m =
		config_model("PeerAuthentication = ("
			     " { name = \"young\"; creationTimestamp = \"2021-01-01T00:00:00Z\"; "
			     "mtls = { mode = \"STRICT\"; }; },"
			     " { name = \"unknown\"; mtls = { mode = \"STRICT\"; }; },"
			     " { name = \"old\"; creationTimestamp = \"2020-12-31T23:59:59.5Z\"; "
			     "mtls = { mode = \"DISABLE\"; }; } );\n");

	expect_mtls(m, "default", STR("v1"), 80, MODEL_MTLS_DISABLE, "old");
	model_free(m);
}
END_TEST

/* ---- DestinationRule ----------------------------------------------------------------------- */

static struct names_rules rules_for(const struct model *m, const char *ns,
				    const struct labels *labels, const char *host,
				    const char *service_ns)
{
	struct names_client c = { .ns = str_c(ns), .labels = labels };
	struct names_rules r;

	names_rules(m, &c, str_c(host), str_c(service_ns), &a, &r);
	return r;
}

START_TEST(rule_levels_2_7_1)
{
	struct model *m = config_model(
		"DestinationRule = ("
		" { name = \"client\"; namespace = \"c\"; host = \"*.example.org\"; trafficPolicy "
		"= { tls = { mode = \"DISABLE\"; }; }; },"
		" { name = \"service\"; namespace = \"s\"; host = \"api.example.org\"; "
		"trafficPolicy = { tls = { mode = \"SIMPLE\"; }; }; },"
		" { name = \"service-private\"; namespace = \"s\"; host = \"own.example.org\"; "
		"exportTo = [ \".\" ]; trafficPolicy = { tls = { mode = \"SIMPLE\"; }; }; },"
		" { name = \"root\"; namespace = \"kvmesh-system\"; host = \"*.org\"; "
		"trafficPolicy = { tls = { mode = \"ISTIO_MUTUAL\"; }; }; },"
		" { name = \"root-private\"; namespace = \"kvmesh-system\"; host = "
		"\"*.private.org\"; exportTo = [ \".\" ]; trafficPolicy = { tls = { mode = "
		"\"DISABLE\"; }; }; } );\n");
	struct names_rules r;

	arena_init(&a, 0);
	/* The first level with a match wins, even with a less specific host. */
	r = rules_for(m, "c", NULL, "api.example.org", "s");
	ck_assert_uint_eq(r.n, 1);
	unit_str_eq(r.v[0]->r.name, "client");
	r = rules_for(m, "x", NULL, "api.example.org", "s");
	unit_str_eq(r.v[0]->r.name, "service");
	r = rules_for(m, "x", NULL, "own.example.org", "s");
	unit_str_eq(r.v[0]->r.name, "root");
	r = rules_for(m, "s", NULL, "own.example.org", "s");
	unit_str_eq(r.v[0]->r.name, "service-private");
	/* A client in the root namespace: only its private rules come first. */
	r = rules_for(m, "kvmesh-system", NULL, "api.example.org", "s");
	unit_str_eq(r.v[0]->r.name, "service");
	r = rules_for(m, "kvmesh-system", NULL, "a.private.org", "s");
	unit_str_eq(r.v[0]->r.name, "root-private");
	r = rules_for(m, "x", NULL, "a.private.org", "s");
	unit_str_eq(r.v[0]->r.name, "root");
	ck_assert_uint_eq(rules_for(m, "x", NULL, "a.com", "s").n, 0);
	arena_done(&a);
	model_free(m);
}
END_TEST

START_TEST(merged_rules_2_7_2)
{
	struct model *m = config_model(
		CONFIG_BASE "DestinationRule = ("
			    " { name = \"a\"; host = \"web\"; subsets = ( { name = \"v1\"; labels "
			    "= { version = \"v1\"; }; } ); },"
			    " { name = \"b\"; host = \"web.default.svc.cluster.local\"; "
			    "trafficPolicy = { tls = { mode = \"DISABLE\"; }; };"
			    "   subsets = ( { name = \"v1\"; labels = { version = \"other\"; }; }, "
			    "{ name = \"v2\"; labels = { version = \"v2\"; }; } ); },"
			    " { name = \"c\"; host = \"web\"; exportTo = [ \".\" ]; subsets = ( { "
			    "name = \"v3\"; } ); } );\n");
	const struct model_destination_rule *by = NULL;
	struct names_rules r;

	arena_init(&a, 0);
	r = rules_for(m, "default", NULL, FQDN("web", "default"), "default");
	ck_assert_uint_eq(r.n, 2);
	unit_str_eq(r.policy_by->r.name, "b");
	unit_str_eq(labels_get(&names_subset(&r, STR("v1"), &by)->labels, STR("version")), "v1");
	unit_str_eq(by->r.name, "a");
	ck_assert_ptr_nonnull(names_subset(&r, STR("v2"), NULL));
	ck_assert_ptr_null(names_subset(&r, STR("v3"), NULL));
	arena_done(&a);
	model_free(m);
}
END_TEST

START_TEST(client_selectors_2_7_3)
{
	struct model *m = config_model(
		CONFIG_BASE
		"DestinationRule = ("
		" { name = \"all\"; host = \"web\"; trafficPolicy = { tls = { mode = \"DISABLE\"; "
		"}; }; },"
		" { name = \"some\"; host = \"web\"; workloadSelector = { matchLabels = { app = "
		"\"x\"; }; }; trafficPolicy = { tls = { mode = \"SIMPLE\"; }; }; } );\n");
	struct label l = { STR("app"), STR("x") };
	struct labels labels = { &l, 1 };

	arena_init(&a, 0);
	unit_str_eq(
		rules_for(m, "default", &labels, FQDN("web", "default"), "default").v[0]->r.name,
		"some");
	unit_str_eq(rules_for(m, "default", NULL, FQDN("web", "default"), "default").v[0]->r.name,
		    "all");
	/* Only in its own namespace. */
	unit_str_eq(rules_for(m, "data", &labels, FQDN("web", "default"), "default").v[0]->r.name,
		    "all");
	arena_done(&a);
	model_free(m);
}
END_TEST

static void expect_policy(const struct names_rules *r, const char *subset, int64_t port, int tls,
			  int lb, int64_t pool)
{
	struct names_policy p;

	names_policy(r, str_c(subset), port, &p);
	ck_assert_msg((p.tls != NULL ? p.tls->mode : -1) == tls, "%s:%d tls", subset, (int)port);
	ck_assert_msg((p.loadBalancer != NULL ? p.loadBalancer->simple : -1) == lb, "%s:%d lb",
		      subset, (int)port);
	ck_assert_msg((p.connectionPool != NULL ? p.connectionPool->tcp->maxConnections : -1) ==
			      pool,
		      "%s:%d pool", subset, (int)port);
	ck_assert((p.tls_by != NULL) == (p.tls != NULL));
}

START_TEST(policy_levels_2_7_5)
{
	struct model *m = config_model(
		CONFIG_BASE
		"DestinationRule = { name = \"web\"; host = \"web\";\n"
		"trafficPolicy = { tls = { mode = \"SIMPLE\"; }; loadBalancer = { simple = "
		"\"RANDOM\"; };\n"
		"  portLevelSettings = ( { port = { number = 81; }; connectionPool = { tcp = { "
		"maxConnections = 81; }; }; } ); };\n"
		"subsets = ( { name = \"plain\"; },\n"
		"  { name = \"own\"; trafficPolicy = { loadBalancer = { simple = \"ROUND_ROBIN\"; "
		"}; connectionPool = { tcp = { maxConnections = 5; }; }; }; },\n"
		"  { name = \"port\"; trafficPolicy = { tls = { mode = \"DISABLE\"; }; "
		"portLevelSettings = ( { port = { number = 80; }; loadBalancer = { simple = "
		"\"PASSTHROUGH\"; }; } ); }; } ); };\n");
	struct names_rules r;

	arena_init(&a, 0);
	r = rules_for(m, "default", NULL, FQDN("web", "default"), "default");
	expect_policy(&r, "", 80, MODEL_CLIENT_TLS_SIMPLE, MODEL_LB_RANDOM, -1);
	/* A port entry replaces everything, also what it does not name. */
	expect_policy(&r, "", 81, -1, -1, 81);
	expect_policy(&r, "plain", 80, MODEL_CLIENT_TLS_SIMPLE, MODEL_LB_RANDOM, -1);
	/* A subset's blocks replace whole blocks of the base. */
	expect_policy(&r, "own", 80, MODEL_CLIENT_TLS_SIMPLE, MODEL_LB_ROUND_ROBIN, 5);
	expect_policy(&r, "own", 81, -1, MODEL_LB_ROUND_ROBIN, 5);
	expect_policy(&r, "port", 80, -1, MODEL_LB_PASSTHROUGH, -1);
	expect_policy(&r, "port", 81, MODEL_CLIENT_TLS_DISABLE, -1, 81);
	arena_done(&a);
	model_free(m);
}
END_TEST

/* ---- VirtualService ------------------------------------------------------------------------ */

static void expect_vs(const struct model *m, const char *ns, const char *host, const char *name)
{
	const struct model_virtual_service *vs =
		names_virtual_service(m, str_c(ns), str_c(host), NULL);

	unit_str_eq(label_of(vs != NULL ? &vs->r : NULL), name);
}

START_TEST(virtual_service_2_2)
{
#define ROUTE "http = ( { route = ( { destination = { host = \"web\"; }; } ); } );"
	struct model *m = config_model(
		CONFIG_BASE
		"VirtualService = ("
		" { name = \"wild\"; hosts = [ \"*.default.svc.cluster.local\" ]; " ROUTE " },"
		" { name = \"first\"; hosts = [ \"web\" ]; " ROUTE " },"
		" { name = \"second\"; hosts = [ \"web.default\" ]; " ROUTE " },"
		" { name = \"gateway\"; hosts = [ \"edge.example.org\" ]; gateways = [ \"gw\" "
		"]; " ROUTE " },"
		" { name = \"both\"; hosts = [ \"both.example.org\" ]; gateways = [ \"gw\", "
		"\"mesh\" ]; " ROUTE " },"
		" { name = \"private\"; namespace = \"data\"; hosts = [ \"private.example.org\" ]; "
		"exportTo = [ \".\" ]; " ROUTE " } );\n");

	expect_vs(m, "default", FQDN("web", "default"), "first");
	expect_vs(m, "data", FQDN("other", "default"), "wild");
	expect_vs(m, "default", "edge.example.org", "-");
	expect_vs(m, "default", "both.example.org", "both");
	expect_vs(m, "default", "private.example.org", "-");
	expect_vs(m, "data", "private.example.org", "private");
	model_free(m);
}
END_TEST

/* ---- Sidecar ------------------------------------------------------------------------------- */

static const char *sidecar_of(const struct model *m, const char *ns, const char *app)
{
	struct label l = { STR("app"), str_c(app != NULL ? app : "") };
	struct labels labels = { &l, 1 };
	struct names_client c = { .ns = str_c(ns), .labels = app != NULL ? &labels : NULL };
	const struct model_sidecar *s = names_sidecar(m, &c);

	return s != NULL ? arena_str(&a, s->r.name).p : "-";
}

START_TEST(which_sidecar_2_15_7)
{
	struct model *m = config_model(
		"Sidecar = ("
		" { name = \"own\"; workloadSelector = { labels = { app = \"web\"; }; }; egress = ( { hosts = [ \"./*\" ]; } ); },"
		" { name = \"all\"; egress = ( { hosts = [ \"./*\" ]; } ); },"
		" { name = \"other\"; namespace = \"lab\"; workloadSelector = { labels = { app = \"web\"; }; };"
		"   egress = ( { hosts = [ \"./*\" ]; } ); outboundTrafficPolicy = { mode = \"REGISTRY_ONLY\"; }; },"
		" { name = \"mesh\"; namespace = \"istio-system\"; egress = ( { hosts = [ \"./*\" ]; } ); } );\n");

	arena_init(&a, 0);
	ck_assert_str_eq(sidecar_of(m, "default", "web"), "own");
	ck_assert_str_eq(sidecar_of(m, "default", "job"), "all");
	ck_assert_str_eq(sidecar_of(m, "default", NULL), "all");
	ck_assert_str_eq(sidecar_of(m, "lab", "web"), "other");
	ck_assert_str_eq(sidecar_of(m, "lab", "job"), "mesh");
	ck_assert_str_eq(sidecar_of(m, "nowhere", NULL), "mesh");
	struct label l = { STR("app"), STR("web") };
	struct labels labels = { &l, 1 };
	struct names_client web = { STR("lab"), &labels };

	ck_assert(!names_allows_any(m, names_sidecar(m, &web)));
	ck_assert(names_allows_any(m, NULL));
	arena_done(&a);
	model_free(m);
}
END_TEST

START_TEST(what_a_sidecar_sees_2_15_7)
{
	static const struct {
		int port;
		const char *ns, *host;
		bool seen;
	} rows[] = {
		{ 80, "default", FQDN("web", "default"), true },
		{ 80, "lab", FQDN("web", "lab"), false },
		{ 80, "lab", "a.cdn.example", true },
		{ 80, "lab", "*.cdn.example", true },
		{ 80, "lab", "*.example", false },
		{ 80, "kvmesh-system", "one.example", true },
		{ 80, "default", "one.example", true },
		{ 9080, "lab", FQDN("web", "lab"), true },
		{ 9080, "default", FQDN("web", "default"), false },
		{ 3128, "any", "through.example", true },
		{ 80, "any", "through.example", true },
		{ 9080, "any", "through.example", true },
		{ 81, "none", "nothing.example", false },
	};
	struct model *m = config_model(
		"Sidecar = { name = \"s\"; egress = ("
		" { port = { number = 9080; protocol = \"HTTP\"; name = \"a\"; }; hosts = [ \"lab/*\" ]; },"
		" { port = { number = 3128; protocol = \"HTTP_PROXY\"; name = \"b\"; }; hosts = [ \"*/through.example\" ]; },"
		" { hosts = [ \"./*\", \"*/*.cdn.example\", \"istio-system/one.example\", \"~/nothing.example\" ]; } ); };\n");
	struct names_client who = { STR("default"), NULL };
	struct names_caller c = { .ns = STR("default"), .sidecar = names_sidecar(m, &who) };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c.port = rows[i].port;
		ck_assert_msg(names_sees(m, &c, str_c(rows[i].ns), str_c(rows[i].host)) == rows[i].seen,
			      "%s/%s on %d", rows[i].ns, rows[i].host, rows[i].port);
	}
	c.sidecar = NULL;
	ck_assert(names_sees(m, &c, STR("lab"), STR("anything")));
	model_free(m);
}
END_TEST

START_TEST(default_endpoints)
{
	static const struct {
		const char *text, *address;
		int64_t port;
	} rows[] = {
		{ "127.0.0.1:80", "127.0.0.1", 80 }, { "[::1]:80", "::1", 80 },
		{ "0.0.0.0:81", "", 81 },            { "[::]:82", "", 82 },
		{ ":83", "", 83 },                   { "unix:///a/b", "unix:///a/b", 0 },
		{ "127.0.0.2:80", NULL, 0 },         { "127.0.0.1:0", NULL, 0 },
		{ "127.0.0.1:65536", NULL, 0 },      { "127.0.0.1", NULL, 0 },
		{ "unix:///", NULL, 0 },             { "unix://@a", NULL, 0 },
		{ "::1:80", NULL, 0 },               { "", NULL, 0 },
	};
	struct str address;
	int64_t port;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool good = names_default_endpoint(str_c(rows[i].text), &address, &port);

		ck_assert_msg(good == (rows[i].address != NULL), "%s", rows[i].text);
		if (!good)
			continue;
		unit_str_eq(address, rows[i].address);
		ck_assert_int_eq(port, rows[i].port);
	}
}
END_TEST

UNIT_MAIN("names", wildcard_algebra_2_1_3, specificity_2_1_4, short_names_2_1_1, aliases_2_1_2,
	  visibility_2_1_6, gateway_names_2_1_7, protocols_2_16, registry_and_ports, endpoints_2_15,
	  mtls_scopes_2_10, oldest_is_by_first_seen, rule_levels_2_7_1, merged_rules_2_7_2,
	  client_selectors_2_7_3, policy_levels_2_7_5, virtual_service_2_2,
	  which_sidecar_2_15_7, what_a_sidecar_sees_2_15_7, default_endpoints)
