/* SPDX-License-Identifier: Apache-2.0 */
/* doc: YAML and native text out, and that every reader gets the same tree back. */
#include "doc_test.h"

static struct doc *json(const char *text)
{
	return good(text, DOC_SYNTAX_JSON);
}

START_TEST(writes_yaml_in_istios_style)
{
	struct doc *d = json("{\"kind\":\"VirtualService\",\"spec\":{\"hosts\":[\"my-app\"],"
			     "\"http\":[{\"route\":[{\"weight\":95,"
			     "\"destination\":{\"host\":\"my-app\"}}],\"timeout\":\"3s\"}],\"a\":{}"
			     ",\"b\":[],\"c\":null,"
			     "\"d\":[[1,[2]],{\"e\":true}]}}");

	ck_assert_str_eq(doc_to_yaml(d, &ta).p, "kind: VirtualService\nspec:\n  hosts:\n  - "
						"my-app\n  http:\n  - route:\n    - weight: 95\n"
						"      destination:\n        host: my-app\n    "
						"timeout: 3s\n  a: {}\n  b: []\n  c: null\n  d:\n"
						"  - - 1\n    - - 2\n  - e: true\n");
	ck_assert_str_eq(doc_to_yaml(json("{}"), &ta).p, "{}\n");
	ck_assert_str_eq(doc_to_yaml(json("\"x\""), &ta).p, "x\n");
	ck_assert_str_eq(doc_to_yaml(json("[1,\"2\"]"), &ta).p, "- 1\n- \"2\"\n");
}
END_TEST

/* text written as YAML: bare when it reads as the same string everywhere. */
START_TEST(quotes_what_yaml_would_read_otherwise)
{
	static const char *const pairs[][2] = {
		{ "my-app", "my-app" },
		{ "reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local" },
		{ "/etc/x y", "/etc/x y" },
		{ "300ms", "300ms" },
		{ "v1", "v1" },
		{ "a#b", "a#b" },
		{ "a:b", "a:b" },
		{ "^/v2/[0-9]+$", "^/v2/[0-9]+$" },
		{ "true", "\"true\"" },
		{ "On", "\"On\"" },
		{ "n", "\"n\"" },
		{ "null", "\"null\"" },
		{ "~", "\"~\"" },
		{ "", "\"\"" },
		{ "5", "\"5\"" },
		{ "-1.5e3", "\"-1.5e3\"" },
		{ "0x1F", "\"0x1F\"" },
		{ "1_000", "\"1_000\"" },
		{ "12:30:45", "\"12:30:45\"" },
		{ "2020-12-01", "\"2020-12-01\"" },
		{ ".5", "\".5\"" },
		{ "-.inf", "\"-.inf\"" },
		{ "10.0.0.1", "\"10.0.0.1\"" },
		{ "a: b", "\"a: b\"" },
		{ "a:", "\"a:\"" },
		{ "a #b", "\"a #b\"" },
		{ " a", "\" a\"" },
		{ "a ", "\"a \"" },
		{ "*", "\"*\"" },
		{ "*.example.org", "\"*.example.org\"" },
		{ "@x", "\"@x\"" },
		{ "- a", "\"- a\"" },
		{ "-a", "-a" },
		{ "---", "\"---\"" },
		{ "{a}", "\"{a}\"" },
		{ "say \"hi\" ", "'say \"hi\" '" },
		{ "it's \\d", "it's \\d" },
		{ "'it' \\d", "'''it'' \\d'" },
		{ "\\d+: x", "'\\d+: x'" },
		{ "two\nlines\t", "\"two\\nlines\\t\"" },
		{ "\xc3\xa6", "\"\xc3\xa6\"" },
		{ "\xc2\x85\xe2\x80\xa8\xef\xbb\xbf\x7f", "\"\\x85\\u2028\\uFEFF\\x7F\"" },
	};

	arena_init(&ta, 0);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct str text = doc_to_yaml(doc_new_str(&ta, str_c(pairs[i][0])), &ta);
		unit_str_eq(str_take(text, text.n - 1), pairs[i][1]);
		struct doc *back = good(text.p, DOC_SYNTAX_YAML);
		unit_str_eq(back->s, pairs[i][0]);
	}
}
END_TEST

/* A plain scalar keeps its right to become a number; a quoted one keeps its quotes. */
START_TEST(keeps_plain_plain)
{
	struct doc *d = good("a: 5\nb: \"5\"\nc: on\nd: -5\ne: ~\nf: +.5e3\n", DOC_SYNTAX_YAML);

	ck_assert_str_eq(doc_to_yaml(d, &ta).p,
			 "a: 5\nb: \"5\"\nc: on\nd: -5\ne: null\nf: +.5e3\n");
}
END_TEST

static void round_trip_yaml(const char *text)
{
	struct doc *d = json(text);
	struct str yaml = doc_to_yaml(d, &ta);
	struct doc_file f = read_text(yaml.p, DOC_SYNTAX_YAML);

	ck_assert_msg(terrs.n == 0 && f.n == 1, "%s\n%s", yaml.p, findings());
	ck_assert_msg(doc_eq(d, f.docs[0]), "%s\nread back as %s", yaml.p, json_of(f.docs[0]));
}

START_TEST(yaml_survives_odd_shapes)
{
	char longer[1300];

	arena_init(&ta, 0);
	round_trip_yaml("{\"\":\"\",\":authority\":\"x\",\"a "
			"b\":{\"-\":\"-\"},\"?\":[[],{},[[]],[{}]],\"true\":\"x\"}");
	round_trip_yaml("[[[\"a\"],{\"b\":[{\"c\":[\"d\"]}]}],[{\"e\":{\"f\":\"g\"}}]]");
	round_trip_yaml("\"\"");
	round_trip_yaml("[]");
	memset(longer, 'k', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	round_trip_yaml(arena_printf(&ta,
				     "{\"%s\":{\"a\":[\"b\"]},\"%s2\":[\"c\",\"d\"],\"%s3\":\"e\","
				     "\"f\":{\"%s\":{}}}",
				     longer, longer, longer, longer)
				.p);
}
END_TEST

START_TEST(writes_native_in_the_manuals_style)
{
	struct doc *d = json("{\"VirtualService\":{\"name\":\"my-app\",\"hosts\":[\"my-app\"],"
			     "\"http\":[{\"route\":[{\"destination\":"
			     "{\"host\":\"my-app\",\"subset\":\"v1\"},\"weight\":95},{"
			     "\"destination\":{\"host\":\"my-app\",\"subset\":"
			     "\"v2\"},\"weight\":5}]}]},\"x\":1,\"e\":{},\"f\":[],\"n\":null}");

	ck_assert_str_eq(
		doc_to_native(d, &ta, false).p,
		"VirtualService = {\n"
		"  name = \"my-app\";\n"
		"  hosts = [ \"my-app\" ];\n"
		"  http = (\n"
		"    {\n"
		"      route = (\n"
		"        { destination = { host = \"my-app\"; subset = \"v1\"; }; weight = 95; },\n"
		"        { destination = { host = \"my-app\"; subset = \"v2\"; }; weight = 5; }\n"
		"      );\n"
		"    }\n"
		"  );\n"
		"};\n"
		"x = 1;\n"
		"e = { };\n"
		"f = [ ];\n");
	ck_assert_str_eq(doc_to_native(json("{}"), &ta, false).p, "");
}
END_TEST

START_TEST(marks_where_settings_came_from)
{
	struct doc *d = good("\na = 1;\nb = { c = 2; };", DOC_SYNTAX_NATIVE);

	doc_set_int(&ta, d, "made", 3);
	d->v[1]->at.file = "/etc/b\n.conf";
	ck_assert_str_eq(
		doc_to_native(d, &ta, true).p,
		"# from test:2\na = 1;\n# from /etc/b?.conf:3\nb = {\n  c = 2;\n};\nmade = 3;\n");
}
END_TEST

START_TEST(writes_odd_names_as_pairs)
{
	struct doc *d = json("{\"m\":{\":authority\":{\"exact\":\"x\"},\"ok\":null,\"true\":1},"
			     "\"n\":[null,[],1]}");

	ck_assert_str_eq(doc_to_native(d, &ta, false).p,
			 "m = (\n"
			 "  { key = \":authority\"; value = { exact = \"x\"; }; },\n"
			 "  { key = \"ok\"; },\n"
			 "  { key = \"true\"; value = 1; }\n"
			 ");\n"
			 "n = ( [ ], 1 );\n");
}
END_TEST

/* Everything that has names of the grammar and no null comes back as it was. */
START_TEST(native_survives_odd_values)
{
	static const char *const texts[] = {
		"{\"a\":[1,5000000000],\"b\":-2147483649,\"c\":[1.0,-1e+300,0.1],\"d\":[true,false]"
		",\"e\":[1,2.5,\"x\"]}",
		"{\"a\":\"\\\"\\\\\\n\\r\\t\\f\\u0001\\u007f \xc3\xa6 \\\\x41 ${x} "
		"%s\",\"b\":\"\",\"c\":[\"\",\"\"]}",
		"{\"a\":[[[[]]]],\"b\":[{},{\"c\":{}}],\"d\":{\"e\":{\"f\":{\"g\":[{\"h\":1}]}}}}",
		"{\"a\":9223372036854775807,\"b\":-9223372036854775808,\"c\":0,\"x-y_z\":1}",
	};

	for (size_t i = 0; i < 4; i++) {
		struct doc *d = json(texts[i]);
		struct str native = doc_to_native(d, &ta, false);
		struct doc *back = good(native.p, DOC_SYNTAX_NATIVE);
		ck_assert_msg(doc_eq(d, back), "%s\nread back as %s", native.p, json_of(back));
	}
}
END_TEST

START_TEST(breaks_lines_that_are_too_long)
{
	arena_init(&ta, 0);
	struct doc *d = doc_new_map(&ta), *l = doc_set(&ta, d, "l", doc_new_list(&ta));

	for (int i = 0; i < 40; i++)
		doc_add(&ta, l, doc_new_str(&ta, STR("a-host.default.svc.cluster.local")));
	struct doc *g = doc_set(&ta, d, "g", doc_new_map(&ta));
	doc_set(&ta, g, "inner", doc_copy(&ta, l));
	struct str text = doc_to_native(d, &ta, false), rest = text, line;
	while (str_split(&rest, '\n', &line))
		ck_assert_uint_le(line.n, 100);
	ck_assert(doc_eq(d, good(text.p, DOC_SYNTAX_NATIVE)));
}
END_TEST

UNIT_MAIN("doc_write", writes_yaml_in_istios_style, quotes_what_yaml_would_read_otherwise,
	  keeps_plain_plain, yaml_survives_odd_shapes, writes_native_in_the_manuals_style,
	  marks_where_settings_came_from, writes_odd_names_as_pairs, native_survives_odd_values,
	  breaks_lines_that_are_too_long)
