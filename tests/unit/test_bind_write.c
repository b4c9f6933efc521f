/* SPDX-License-Identifier: Apache-2.0 */
/* bind: struct → doc, the canonical form, hiding secrets, visiting, finding fields. */
#include "bind_things.h"

static const char full_yaml[] =
	"on: true\nonOpt: false\ncount: 7\nshare: 2.5\nname: n\nsecret: s\nmode: STRICT\ntimeout: "
	"90s\n"
	"perTryTimeout: 0.3s\nback: -0.000001s\nhosts: [ a, \"5\" ]\ncodes: [ 200 ]\nlabels: { "
	"app: x }\n"
	"first: { host: h, weight: 0 }\nsecond: { host: i }\nroute: [ { host: j, weight: 5 } ]\n"
	"ports: { 9090: { mode: STRICT }, 9091: {} }\nheaders: { x-a: { exact: b } }\nany: { k: [ "
	"1 ] }\nexact: e\n";

START_TEST(writes_what_it_read)
{
	struct thing *t = bound(full_yaml, YAML);
	struct doc *d = bind_write(&thing_table, t, &ta);

	ck_assert_str_eq(
		json_of(d),
		"{\"on\":true,\"onOpt\":false,\"count\":7,\"share\":2.5,\"name\":\"n\",\"secret\":"
		"\"s\",\"mode\":\"STRICT\","
		"\"timeout\":\"90s\",\"perTryTimeout\":\"0.3s\",\"back\":\"-0.000001s\",\"hosts\":["
		"\"a\",\"5\"],\"codes\":[200],"
		"\"labels\":{\"app\":\"x\"},\"first\":{\"host\":\"h\",\"weight\":0},\"second\":{"
		"\"host\":\"i\"},"
		"\"route\":[{\"host\":\"j\",\"weight\":5}],\"ports\":{\"9090\":{\"mode\":"
		"\"STRICT\"},\"9091\":{}},"
		"\"headers\":{\"x-a\":{\"exact\":\"b\"}},\"any\":{\"k\":[\"1\"]},\"exact\":\"e\"}");
	/* And reads what it wrote. */
	struct thing *u = bound(json_of(d), JSON);
	ck_assert(doc_eq(d, bind_write(&thing_table, u, &ta)));
}
END_TEST

START_TEST(leaves_out_what_is_absent)
{
	ck_assert_str_eq(json_of(bind_write(&thing_table, bound("{}", JSON), &ta)), "{}");
	ck_assert_str_eq(json_of(bind_write(
				 &thing_table,
				 bound("{\"on\":false,\"count\":1,\"name\":\"\",\"hosts\":[\"h\"],"
				       "\"words\":[],\"second\":{\"host\":\"x\"},\"ignored\":1}",
				       JSON),
				 &ta)),
			 "{\"count\":1,\"name\":\"\",\"hosts\":[\"h\"],\"words\":[],\"second\":{"
			 "\"host\":\"x\"}}");
}
END_TEST

START_TEST(brings_all_forms_to_one)
{
	struct doc *yaml = bind_canon(
		&thing_table,
		good("on: true\ncount: 7\nshare: 2\nname: 5\nper_try_timeout: 1s\nlabels: { a.b/c: "
		     "1 }\ncodes: [ 200 ]\nhosts: [ 5 ]\n"
		     "ports: { 80: { mode: STRICT } }\nheaders: { \":a\": { exact: 5 } }\nany: { "
		     "n: 5, r: .5, b: true, s: x, z: ~ }\n"
		     "first: { host: 1, weight: 3 }\nroute: [ { host: 2 } ]\nsecond: ~\nother: 5\n",
		     YAML),
		&ta);
	struct doc *native =
		bind_canon(&thing_table,
			   good("on = true; count = 7; share = 2.0; name = \"5\"; perTryTimeout = "
				"\"1s\"; labels = [ \"a.b/c=1\" ]; codes = [ 200 ];\n"
				"hosts = [ \"5\" ]; ports = ( { port = 80; mode = \"STRICT\"; } ); "
				"headers = ( { key = \":a\"; value = { exact = \"5\"; "
				"}; } ); any = { n = 5; r = 0.5; b = true; s = \"x\"; }; first = { "
				"host = \"1\"; weight = 3; };\n"
				"route = ( { host = \"2\"; } ); other = \"5\";",
				NATIVE),
			   &ta);

	doc_set(&ta, doc_get(native, STR("any")), "z", doc_new_null(&ta));
	ck_assert_str_eq(json_of(yaml),
			 "{\"on\":true,\"count\":7,\"share\":2.0,\"name\":\"5\",\"perTryTimeout\":"
			 "\"1s\",\"labels\":{\"a.b/c\":\"1\"},"
			 "\"codes\":[200],\"hosts\":[\"5\"],\"ports\":{\"80\":{\"mode\":\"STRICT\"}"
			 "},\"headers\":{\":a\":{\"exact\":\"5\"}},"
			 "\"any\":{\"n\":5,\"r\":0.5,\"b\":true,\"s\":\"x\",\"z\":null},\"first\":{"
			 "\"host\":\"1\",\"weight\":3},"
			 "\"route\":[{\"host\":\"2\"}],\"other\":\"5\"}");
	ck_assert_str_eq(json_of(native), json_of(yaml));
	/* Places stay. */
	ck_assert_uint_eq(doc_get(yaml, STR("count"))->at.line, 2);
	ck_assert_uint_eq(doc_get(native, STR("ports"))->v[0]->key_at.line, 2);
}
END_TEST

/* Canonical docs go through both syntaxes without loss. */
START_TEST(canon_makes_conversion_lossless)
{
	struct doc *d = bind_canon(&thing_table, good(full_yaml, YAML), &ta);
	struct str native = doc_to_native(d, &ta, false), yaml = doc_to_yaml(d, &ta);
	struct doc *from_native = bind_canon(&thing_table, good(native.p, NATIVE), &ta);
	struct doc *from_yaml = bind_canon(&thing_table, good(yaml.p, YAML), &ta);

	ck_assert_str_eq(json_of(d), json_of(from_native));
	ck_assert_str_eq(json_of(d), json_of(from_yaml));
	ck_assert(doc_eq(d, bind_canon(&thing_table, d, &ta)));
}
END_TEST

START_TEST(canon_leaves_what_it_cannot_read)
{
	struct doc *d = bind_canon(&thing_table,
				   good("count: x\non: \"true\"\nhosts: 5\nlabels: [ a, b=c "
					"]\nroute: 1\nfirst: [ 1 ]\n"
					"ports: [ 1 ]\nheaders: { a: 1 }\nnope: { x: ~ }\n",
					YAML),
				   &ta);

	ck_assert_str_eq(json_of(d), "{\"count\":\"x\",\"on\":\"true\",\"hosts\":\"5\",\"labels\":["
				     "\"a\",\"b=c\"],\"route\":\"1\","
				     "\"first\":[\"1\"],\"ports\":[\"1\"],\"headers\":{\"a\":\"1\"}"
				     ",\"nope\":{\"x\":null}}");
	ck_assert_str_eq(json_of(bind_canon(&thing_table, good("[ 1 ]", YAML), &ta)), "[\"1\"]");
}
END_TEST

START_TEST(hides_secrets)
{
	struct doc *d = good("secret: hunter2\nname: n\n", YAML);

	ck_assert_str_eq(json_of(bind_redact(&thing_table, d, &ta)),
			 "{\"secret\":\"(hidden)\",\"name\":\"n\"}");
	ck_assert_str_eq(json_of(bind_canon(&thing_table, d, &ta)),
			 "{\"secret\":\"hunter2\",\"name\":\"n\"}");
}
END_TEST

static void note(void *arg, const char *path, const struct field *f, const struct doc *d)
{
	struct str *all = arg;

	*all = arena_printf(&ta, "%.*s%s %s %u\n", STR_ARG(*all), path, field_type_name(f),
			    d->at.line);
}

START_TEST(visits_what_is_used)
{
	struct doc *d = good("name: n\nroute:\n- host: a\n- { host: b, weight: ~ }\nlater: x\nfoo: "
			     "1\nsecond:\n  host: c\n"
			     "ports: { 80: { mode: STRICT } }\non_opt: true\nwords: [ a ]\n",
			     YAML);
	struct str all = STR("");

	bind_visit(&thing_table, d, "Thing", note, &all);
	unit_str_eq(
		all,
		"Thing.name string 1\nThing.route Destination[] 3\nThing.route[0].host string 3\n"
		"Thing.route[1].host string 4\nThing.later string 5\nThing.second Destination 8\n"
		"Thing.second.host string 8\nThing.ports map<string, PortMtls> "
		"9\nThing.ports[80].mode enum 9\n"
		"Thing.onOpt boolean 10\nThing.words string[] 11\n");
	all = STR("");
	d = good("ports = ( { port = 80; mode = \"STRICT\"; } ); headers = ( { key = \"x\"; value "
		 "= { exact = \"y\"; }; } );",
		 NATIVE);
	bind_visit(&thing_table, d, "", note, &all);
	unit_str_eq(all, "ports map<string, PortMtls> 1\nports[80].mode enum 1\nheaders "
			 "map<string, Match> 1\n"
			 "headers[x].exact string 1\n");
}
END_TEST

START_TEST(finds_fields)
{
	ck_assert_str_eq(bind_find(&thing_table, STR("route.weight"))->name, "weight");
	ck_assert_str_eq(bind_find(&thing_table, STR("route[0].host"))->name, "host");
	ck_assert_str_eq(bind_find(&thing_table, STR("per_try_timeout"))->name, "perTryTimeout");
	ck_assert_str_eq(bind_find(&thing_table, STR("ports[80].mode"))->name, "mode");
	ck_assert_ptr_null(bind_find(&thing_table, STR("route.nope")));
	ck_assert_ptr_null(bind_find(&thing_table, STR("name.x")));
	ck_assert_ptr_null(bind_find(&thing_table, STR("")));
	ck_assert_ptr_null(bind_find(&thing_table, STR("route..host")));
	ck_assert_str_eq(field_type_name(bind_find(&thing_table, STR("timeout"))), "duration");
	ck_assert_str_eq(field_type_name(bind_find(&thing_table, STR("labels"))),
			 "map<string, string>");
}
END_TEST

UNIT_MAIN("bind_write", writes_what_it_read, leaves_out_what_is_absent, brings_all_forms_to_one,
	  canon_makes_conversion_lossless, canon_leaves_what_it_cannot_read, hides_secrets,
	  visits_what_is_used, finds_fields)
