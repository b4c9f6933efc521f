/* SPDX-License-Identifier: Apache-2.0 */
/* bind: doc → struct: every type from every syntax, presence, and what the findings say. */
#include "bind_things.h"

START_TEST(reads_plain_yaml)
{
	struct thing *t = bound(
		"on: true\nonOpt: False\ncount: 7\nanyInt: -5\nshare: 0.5\nname: 1.0\nmode: "
		"STRICT\n"
		"timeout: 1m30s\nperTryTimeout: 300ms\nhosts: [ a, 5, true ]\ncodes: [ 200, 503 ]\n"
		"labels: { app: x, version: 1 }\nfirst: { host: h, weight: 0 }\nsecond: { host: i "
		"}\n"
		"route:\n- host: j\n  weight: 95\n- { host: k, weight: 5 }\n"
		"ports: { 9090: { mode: PERMISSIVE }, 9091: {} }\n"
		"headers: { x-canary: { exact: always }, \":authority\": { value: v } }\nback: "
		"-0.5s\n",
		YAML);

	ck_assert(t->on && !t->onOpt && t->hasOnOpt);
	ck_assert_int_eq(t->count, 7);
	ck_assert_int_eq(t->anyInt, -5);
	ck_assert(t->share > 0.4 && t->share < 0.6);
	unit_str_eq(t->name, "1.0");
	ck_assert_int_eq(t->mode, MODE_STRICT);
	ck_assert_int_eq(t->timeout, 90000000);
	ck_assert_int_eq(t->perTryTimeout, 300000);
	ck_assert_int_eq(t->back, -500000);
	ck_assert_uint_eq(t->hosts.n, 3);
	unit_str_eq(t->hosts.v[1], "5");
	ck_assert_int_eq(t->codes.v[1], 503);
	unit_str_eq(labels_get(&t->labels, STR("version")), "1");
	unit_str_eq(t->first.host, "h");
	ck_assert(t->first.has_weight && t->first.weight == 0 && !t->second->has_weight);
	ck_assert_uint_eq(t->first.at.line, 13);
	ck_assert_uint_eq(t->route.n, 2);
	ck_assert_int_eq(t->route.v[1].weight, 5);
	ck_assert_uint_eq(t->route.v[1].at.line, 18);
	ck_assert_uint_eq(t->ports.n, 2);
	unit_str_eq(t->ports.v[0].key, "9090");
	ck_assert_int_eq(t->ports.v[0].mode, MODE_PERMISSIVE);
	unit_str_eq(t->headers.v[0].exact, "always");
	unit_str_eq(t->headers.v[1].key, ":authority");
	unit_str_eq(t->headers.v[1].value, "v");
}
END_TEST

START_TEST(reads_native_forms)
{
	struct thing *t =
		bound("on = true; count = 7; share = 1; name = \"n\"; timeout = \"3s\"; codes = [ "
		      "200 ];\n"
		      "labels = [ \"app=x\", \"k8s.io/zone=a=b\", \"empty=\" ];\n"
		      "ports = ( { port = 9090; mode = \"STRICT\"; }, { port = \"9091\"; }, { key "
		      "= \"9092\"; value = { mode = "
		      "\"STRICT\"; }; } );\n"
		      "headers = ( { key = \":authority\"; value = { exact = \"x\"; }; }, { key = "
		      "\"y\"; exact = \"e\"; value = "
		      "\"v\"; }, { key = \"z\"; value = \"only\"; }, { key = \"w\"; } );\n"
		      "hosts = ( \"a\", \"b\" );",
		      NATIVE);

	unit_str_eq(labels_get(&t->labels, STR("k8s.io/zone")), "a=b");
	unit_str_eq(labels_get(&t->labels, STR("empty")), "");
	ck_assert(t->share > 0.9);
	ck_assert_uint_eq(t->ports.n, 3);
	unit_str_eq(t->ports.v[0].key, "9090");
	ck_assert_int_eq(t->ports.v[0].mode, MODE_STRICT);
	unit_str_eq(t->ports.v[1].key, "9091");
	ck_assert_int_eq(t->ports.v[2].mode, MODE_STRICT);
	unit_str_eq(t->headers.v[0].exact, "x");
	unit_str_eq(t->headers.v[1].exact, "e");
	unit_str_eq(t->headers.v[1].value, "v");
	unit_str_eq(t->headers.v[2].value, "only");
	unit_str_eq(t->headers.v[3].key, "w");
	ck_assert_ptr_null(t->headers.v[3].exact.p);
	t = bound("labels = ( { key = \"app.io/x\"; value = \"y\"; } ); ports = { }; headers = { "
		  "x-a = { exact = \"b\"; }; };",
		  NATIVE);
	unit_str_eq(labels_get(&t->labels, STR("app.io/x")), "y");
	unit_str_eq(t->headers.v[0].key, "x-a");
}
END_TEST

START_TEST(tells_presence)
{
	struct thing *t = bound("{}", JSON);

	ck_assert(!t->hasOnOpt && !t->name.p && !t->hosts.v && !t->labels.v && !t->second &&
		  !t->route.v);
	ck_assert(!t->ports.v && !t->any && !t->first.host.p);
	t = bound("name: ''\nwords: []\ncodes: []\nlabels: {}\nroute: []\nports: []\nonOpt: "
		  "false\nany: x\n",
		  YAML);
	ck_assert(t->name.p && t->name.n == 0 && t->words.v && t->words.n == 0 && t->codes.v &&
		  t->labels.v);
	ck_assert(t->route.v && t->route.n == 0 && t->ports.v && t->hasOnOpt &&
		  t->any->kind == DOC_STR);
	/* null is absence, in every syntax that has one. */
	t = bound("name: ~\nwords:\nsecond: null\nonOpt: ~\ncount: ~\nexact: ~\nprefix: x\n", YAML);
	ck_assert(!t->name.p && !t->words.v && !t->second && !t->hasOnOpt && !t->exact.p);
	t = bound("{\"name\":null,\"first\":null}", JSON);
	ck_assert(!t->name.p);
}
END_TEST

START_TEST(keeps_defaults)
{
	struct thing t = { .count = 5, .mode = MODE_STRICT, .name = STR("dflt") };
	const struct doc *d = good("name: n\n", YAML);

	ck_assert_int_eq(bind_read(&thing_table, d, "Thing", &ta, &t, &terrs), 0);
	ck_assert_int_eq(t.count, 5);
	ck_assert_int_eq(t.mode, MODE_STRICT);
	unit_str_eq(t.name, "n");
	/* What is wrong leaves the default. */
	d = good("count: 99\nmode: NO\n", YAML);
	ck_assert_int_eq(bind_read(&thing_table, d, "Thing", &ta, &t, &terrs), KV_ERR_SCHEMA);
	ck_assert_int_eq(t.count, 5);
	ck_assert_int_eq(t.mode, MODE_STRICT);
}
END_TEST

START_TEST(takes_snake_case)
{
	struct thing *t =
		bound("per_try_timeout: 1s\nconsecutive_5xx_errors: 3\non_opt: true\n", YAML);

	ck_assert_int_eq(t->perTryTimeout, 1000000);
	ck_assert_int_eq(t->consecutive5xxErrors, 3);
	ck_assert(t->onOpt);
	unbound("per_tryTimeout: 1s\n_on: true\non_: true\n", YAML,
		"1:1 unknown field 'per_tryTimeout' in Thing (did you mean 'perTryTimeout'?)\n"
		"2:1 unknown field '_on' in Thing (did you mean 'on'?)\n"
		"3:1 unknown field 'on_' in Thing (did you mean 'on'?)\n");
	unbound("perTryTimeout: 1s\nper_try_timeout: 2s\n", YAML,
		"2:1 'perTryTimeout' is given twice in Thing\n");
}
END_TEST

START_TEST(finds_unknown_fields_everywhere)
{
	unbound("naem: x\nroute:\n- host: a\n  weigth: 5\n- host: b\n  completely: 1\nNAME: y\n",
		YAML,
		"1:1 unknown field 'naem' in Thing (did you mean 'name'?)\n"
		"4:3 unknown field 'weigth' in Thing.route[0] (did you mean 'weight'?)\n"
		"6:3 unknown field 'completely' in Thing.route[1]\n"
		"7:1 unknown field 'NAME' in Thing (did you mean 'name'?)\n");
	unbound("ports = ( { port = 80; mod = \"STRICT\"; } );\nheaders = { a = { exakt = \"x\"; "
		"}; };",
		NATIVE,
		"1:24 unknown field 'mod' in Thing.ports[80] (did you mean 'mode'?)\n"
		"2:19 unknown field 'exakt' in Thing.headers[a] (did you mean 'exact'?)\n");
}
END_TEST

START_TEST(finds_wrong_types_in_yaml)
{
	unbound("on: yes\ncount: \"5\"\nanyInt: 010\nshare: x\nname: [ a ]\nmode: strict\ntimeout: "
		"5\nhosts: a\n"
		"codes: [ 200, x ]\nlabels: [ a, b=c ]\nfirst: []\nroute: { host: a }\nports: "
		"x\nbig: 0x1F\n",
		YAML,
		"1:5 Thing.on must be true or false, is \"yes\"\n"
		"2:8 Thing.count must be an integer, is the string \"5\" (remove the quotes)\n"
		"3:9 Thing.anyInt must be an integer, is \"010\"\n"
		"4:8 Thing.share must be a number, is \"x\"\n"
		"5:7 Thing.name must be a string, is a list\n"
		"6:7 Thing.mode must be one of UNSET, STRICT or PERMISSIVE, is \"strict\" (did you "
		"mean STRICT?)\n"
		"7:10 Thing.timeout must be a duration like \"1.5s\" or \"300ms\", is \"5\"\n"
		"8:8 Thing.hosts must be a list, is \"a\"\n"
		"9:15 Thing.codes[1] must be an integer, is \"x\"\n"
		"10:11 Thing.labels: an entry must be \"key=value\" or { key = \"...\"; value = "
		"\"...\"; }\n"
		"11:8 Thing.first must be a map, is a list (only one is allowed here)\n"
		"12:8 Thing.route must be a list, is a map (put it in a list)\n"
		"13:8 Thing.ports must be a map, is \"x\"\n"
		"14:6 Thing.big must be an integer, is \"0x1F\"\n");
}
END_TEST

START_TEST(finds_wrong_types_in_native)
{
	unbound("on = 1; count = \"5\"; anyInt = 5.0; share = true; name = 5; mode = 1;\ntimeout = "
		"5; hosts = [ 1 ];\n"
		"labels = { a = 1; };\nlabels2 = 1;\nroute = ( 1 );\nports = ( { mode = "
		"\"STRICT\"; }, 7 );\nheaders = { a = \"x\"; };",
		NATIVE,
		"1:6 Thing.on must be true or false, is 1\n"
		"1:17 Thing.count must be an integer, is the string \"5\" (remove the quotes)\n"
		"1:31 Thing.anyInt must be an integer, is 5.0\n"
		"1:44 Thing.share must be a number, is true\n"
		"1:57 Thing.name must be a string, is 5 (put it in quotes)\n"
		"1:67 Thing.mode must be one of UNSET, STRICT or PERMISSIVE, is 1\n"
		"2:11 Thing.timeout must be a duration like \"1.5s\" or \"300ms\", is 5 (put it in "
		"quotes, with its unit)\n"
		"2:24 Thing.hosts[0] must be a string, is 1 (put it in quotes)\n"
		"3:16 Thing.labels[a] must be a string, is 1 (put it in quotes)\n"
		"4:1 unknown field 'labels2' in Thing (did you mean 'labels'?)\n"
		"5:11 Thing.route[0] must be a map, is 1\n"
		"6:11 Thing.ports: an entry must be a map with the member 'port'\n"
		"6:33 Thing.ports: an entry must be a map with the member 'port'\n"
		"7:17 Thing.headers[a] must be a map, is the string \"x\"\n");
}
END_TEST

START_TEST(finds_values_out_of_range)
{
	unbound("count: 11\nbig: 0\nshare: 100.5\ntimeout: -1s\nperTryTimeout: 2m\ncodes: [ 99, "
		"600, 200 ]\n"
		"first: { host: a, weight: 195 }\nhosts: []\nback: -2s\nmode: \"\"\n",
		YAML,
		"1:8 Thing.count must be between 1 and 10, is 11\n"
		"2:6 Thing.big must be at least 1, is 0\n"
		"3:8 Thing.share must be between 0 and 100, is 100.5\n"
		"4:10 Thing.timeout must not be negative\n"
		"5:16 Thing.perTryTimeout must be between 0.001s and 60s, is 120s\n"
		"6:10 Thing.codes[0] must be between 100 and 599, is 99\n"
		"6:14 Thing.codes[1] must be between 100 and 599, is 600\n"
		"7:27 Thing.first.weight must be between 0 and 100, is 195\n"
		"8:8 Thing.hosts must not be empty\n"
		"9:7 Thing.back must be between -1s and 1s, is -2s\n"
		"10:7 Thing.mode must be one of UNSET, STRICT or PERMISSIVE, is the string \"\"\n");
}
END_TEST

START_TEST(finds_what_is_missing_or_too_much)
{
	unbound("first: { weight: 1 }\nsecond: { host: \"\" }\nroute:\n- host:\n- {}\n-\nexact: "
		"a\nprefix: b\nrefused: c\n",
		YAML,
		"1:8 'host' is missing in Thing.first\n"
		"2:17 Thing.second.host must not be empty\n"
		"4:3 'host' is missing in Thing.route[0]\n"
		"5:3 'host' is missing in Thing.route[1]\n"
		"6:2 Thing.route[2] must be a map, is null\n"
		"8:1 'exact' and 'prefix' in Thing exclude each other\n"
		"9:1 'refused' in Thing is not supported: it is unsafe\n");
	ck_assert_uint_eq(bound("later: x\nignored: { a: 1 }\n", YAML)->later.n, 1);
}
END_TEST

START_TEST(finds_bad_entries)
{
	unbound("ports = ( { port = 80; }, { port = \"80\"; }, { port = true; }, { port = \"\"; } "
		");\n"
		"labels = [ \"a=1\", \"a=2\", \"=x\", \"y\" ];\nheaders = ( { key = \"a\"; value = "
		"5; } );",
		NATIVE,
		"1:27 Thing.ports: the key '80' is given twice\n"
		"1:45 Thing.ports: an entry must be a map with the member 'port'\n"
		"1:63 Thing.ports: a key must not be empty\n"
		"2:19 Thing.labels: the key 'a' is given twice\n"
		"2:26 Thing.labels: a key must not be empty\n"
		"2:32 Thing.labels: an entry must be \"key=value\" or { key = \"...\"; value = "
		"\"...\"; }\n"
		"3:34 Thing.headers[a].value must be a string, is 5 (put it in quotes)\n");
	unbound("headers: { a: ~ }\nlabels: { a: }\n", YAML,
		"1:15 Thing.headers[a] must be a map, is null\n2:14 Thing.labels[a] must be a "
		"string, is null\n");
	unbound("labels = ( { key = \"a\"; } );", NATIVE, "1:12 Thing.labels[a] has no value\n");
}
END_TEST

START_TEST(tells_no_secrets)
{
	unbound("secret = 12345;", NATIVE,
		"1:10 Thing.secret must be a string, is an integer (put it in quotes)\n");
	unbound("secret: [ hunter2 ]", YAML, "1:9 Thing.secret must be a string, is a list\n");
}
END_TEST

START_TEST(takes_maps_only)
{
	unbound("[]", JSON, "1:1 Thing must be a map, is a list\n");
	unbound("just text", YAML, "1:1 Thing must be a map, is \"just text\"\n");
}
END_TEST

START_TEST(stands_a_flood_of_findings)
{
	struct str s = STR("");

	arena_init(&ta, 0);
	for (int i = 0; i < 3000; i++)
		s = arena_printf(&ta, "%.*swrong%d: 1\n", STR_ARG(s), i);
	bind_text(s.p, YAML);
	ck_assert_uint_eq(terrs.n_errors, 3000);
	ck_assert_uint_eq(terrs.n, ERR_LIST_MAX);
}
END_TEST

UNIT_MAIN("bind_read", reads_plain_yaml, reads_native_forms, tells_presence, keeps_defaults,
	  takes_snake_case, finds_unknown_fields_everywhere, finds_wrong_types_in_yaml,
	  finds_wrong_types_in_native, finds_values_out_of_range, finds_what_is_missing_or_too_much,
	  finds_bad_entries, tells_no_secrets, takes_maps_only, stands_a_flood_of_findings)
