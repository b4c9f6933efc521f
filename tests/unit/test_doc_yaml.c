/* SPDX-License-Identifier: Apache-2.0 */
/* doc: YAML in: documents, plain scalars, places, what is refused, going on after errors. */
#include "doc_test.h"

#define YAML DOC_SYNTAX_YAML

START_TEST(reads_block_and_flow_alike)
{
	struct doc *block = good(
		"spec:\n  host: my-app\n  subsets:\n  - name: v1\n    labels:\n      version: v1\n",
		YAML);
	struct doc *flow = good(
		"spec: { host: my-app, subsets: [ { name: v1, labels: { version: v1 } } ] }", YAML);

	ck_assert(doc_eq(block, flow));
	ck_assert_str_eq(json_of(flow), "{\"spec\":{\"host\":\"my-app\",\"subsets\":[{\"name\":"
					"\"v1\",\"labels\":{\"version\":\"v1\"}}]}}");
}
END_TEST

START_TEST(guesses_no_types)
{
	struct doc *d = good("version: on\nweight: 95\nnull1: ~\nnull2:\nnull3: null\nquoted: "
			     "\"5\"\nsingle: 'on'\n"
			     "block: |\n  5\n",
			     YAML);

	unit_str_eq(doc_get_str(d, "version", STR("")), "on");
	ck_assert(doc_get(d, STR("version"))->plain);
	unit_str_eq(doc_get_str(d, "weight", STR("")), "95");
	for (size_t i = 2; i < 5; i++)
		ck_assert(d->v[i]->kind == DOC_NULL && d->v[i]->plain);
	ck_assert(!doc_get(d, STR("quoted"))->plain && !doc_get(d, STR("single"))->plain);
	ck_assert(!doc_get(d, STR("block"))->plain);
	unit_str_eq(doc_get_str(d, "block", STR("")), "5\n");
}
END_TEST

START_TEST(takes_keys_of_any_scalar)
{
	reads("9090: a\ntrue: b\n~: c\n\"\": d\n'x y': e\n? f\n: g\n", YAML,
	      "{\"9090\":\"a\",\"true\":\"b\",\"~\":\"c\",\"\":\"d\",\"x y\":\"e\",\"f\":\"g\"}");
	bad("?\n: x", YAML, "1:2 the name before ':' is missing\n");
	bad("? [ a ]\n: b\nc: d", YAML, "1:3 a name must be text, not a list\n");
	bad("{ { a: b } : c }", YAML, "1:3 a name must be text, not a map\n");
}
END_TEST

START_TEST(takes_core_tags_and_no_other)
{
	reads("a: !!int 5\nb: !!bool true\nc: !!float .5\nd: !!str 7\ne: !!null ''\nf: !!seq "
	      "[]\ng: !!map {}\n"
	      "h: !!int \"8\"\n",
	      YAML,
	      "{\"a\":5,\"b\":true,\"c\":0.5,\"d\":\"7\",\"e\":null,\"f\":[],\"g\":{},\"h\":8}");
	bad("a: !!int x\nb: !!binary aGk=\nc: !local 1\nd: !!set {}\ne: !<tag:example.org,2000:x> "
	    "1\nf: !!map []",
	    YAML,
	    "1:4 'x' is no !!int\n2:4 the tag 'binary' is refused here\n3:4 the tag '!local' is "
	    "refused here\n"
	    "4:4 the tag 'set' is refused here\n5:4 the tag 'tag:example.org,2000:x' is refused "
	    "here\n"
	    "6:4 the tag 'map' is refused here\n");
}
END_TEST

START_TEST(refuses_anchors_and_aliases)
{
	struct doc_file f = read_text("a: &x 1\nb: *x\nc: &y [ 1 ]\n---\nok: 1\n", YAML);

	ck_assert_str_eq(findings(),
			 "1:4 anchors and aliases are refused ('&x'): write the value out\n"
			 "2:4 anchors and aliases are refused ('*x'): write the value out\n"
			 "3:4 anchors and aliases are refused ('&y'): write the value out\n");
	ck_assert_uint_eq(f.n, 1);
	bad_with("*x : 1", YAML, "1:1 anchors and aliases are refused");
	bad_with("a: *unknown", YAML, "anchors and aliases are refused");
	/* The usual bomb costs nothing. */
	bad_with("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: "
		 "[*b,*b,*b,*b,*b,*b,*b,*b]\n",
		 YAML, "1:4 anchors");
}
END_TEST

START_TEST(refuses_duplicates_and_keeps_the_first)
{
	struct doc_file f = read_text("a: 1\nb: { c: 1, c: 2 }\na: [ 3, { d: 1 } ]\ne: 4\n", YAML);

	ck_assert_str_eq(findings(), "2:12 'c' is given twice, first in line 2\n3:1 'a' is given "
				     "twice, first in line 1\n");
	ck_assert_uint_eq(f.n, 1);
	ck_assert_str_eq(json_of(f.docs[0]), "{\"a\":\"1\",\"b\":{\"c\":\"1\"},\"e\":\"4\"}");
}
END_TEST

START_TEST(reads_many_documents_and_skips_empty_ones)
{
	struct doc_file f = read_text(
		"# only a comment\n---\na: 1\n---\n---\n# nothing\n---\n- b\n...\n---\n\"\"\n---\n",
		YAML);

	ck_assert_uint_eq(terrs.n, 0);
	ck_assert_uint_eq(f.n, 3);
	ck_assert_str_eq(json_of(f.docs[0]), "{\"a\":\"1\"}");
	ck_assert_str_eq(json_of(f.docs[1]), "[\"b\"]");
	ck_assert_str_eq(json_of(f.docs[2]), "\"\"");
	ck_assert_uint_eq(f.docs[0]->v[0]->at.line, 3);
	ck_assert_uint_eq(read_text("", YAML).n, 0);
	ck_assert_uint_eq(read_text("# x", YAML).n, 0);
	ck_assert_uint_eq(read_text("!!null", YAML).n, 0);
	ck_assert_uint_eq(terrs.n, 0);
}
END_TEST

START_TEST(goes_on_after_a_syntax_error)
{
	struct doc_file f =
		read_text("a: 1\n---\nb: [ 1\nc: d: e\n---\nf: 2\n---\n\tg: 3\n---\nh: 4\n", YAML);

	ck_assert_uint_eq(f.n, 3);
	ck_assert_str_eq(json_of(f.docs[0]), "{\"a\":\"1\"}");
	ck_assert_str_eq(json_of(f.docs[1]), "{\"f\":\"2\"}");
	ck_assert_str_eq(json_of(f.docs[2]), "{\"h\":\"4\"}");
	ck_assert_uint_eq(f.docs[2]->v[0]->at.line, 10);
	ck_assert_uint_eq(terrs.n, 2);
	ck_assert_uint_eq(terrs.v[1].line, 8);
	ck_assert_ptr_nonnull(strstr(terrs.v[1].text, "a tab cannot indent"));
}
END_TEST

START_TEST(says_what_is_wrong_where)
{
	bad("a: b: c\n", YAML,
	    "1:5 mapping values are not allowed in this context: text that holds ': ' must be in "
	    "quotes\n");
	bad("a: @b\n", YAML,
	    "1:4 found character that cannot start any token while scanning for the next token: "
	    "put the text in quotes\n");
	bad("a:\n  b: 1\n c: 2\n", YAML,
	    "3:2 did not find expected key while parsing a block mapping that began in line 1\n");
	bad_with("a: \"x\nb: 1\n", YAML,
		 "3:1 found unexpected end of stream while scanning a quoted scalar that began in "
		 "line 1");
	bad_with("a: [1, 2\n", YAML, "did not find expected ',' or ']'");
	bad_with("%YAML 9.9\n---\na: 1\n", YAML, "incompatible");
	bad_with("a: \"\\0\"\n", YAML, "1:4 text cannot hold a NUL character");
	bad_with("a: \"\\x00z\"\n", YAML, "1:4 text cannot hold a NUL character");
	bad_with("a: \"\xc2\x80\"\n", YAML, "1:5 control characters are not allowed");
}
END_TEST

/* libyaml counts characters; columns are bytes, lines end at line feeds. */
START_TEST(knows_the_place_of_everything)
{
	struct doc *d = good("\xef\xbb\xbf# \xc3\xa6\n\xc3\xa6\xc3\xb8: { b: [ x,\n  \xe2\x82\xac, "
			     "y ] }\nc:\n  - d\n  -\n    e: f\n",
			     YAML);
	struct doc *b = d->v[0]->v[0], *c = d->v[1];

	ck_assert_uint_eq(d->v[0]->key_at.line, 2);
	ck_assert_uint_eq(d->v[0]->key_at.col, 1);
	ck_assert_uint_eq(d->v[0]->at.col, 7);
	ck_assert_uint_eq(b->key_at.col, 9);
	ck_assert_uint_eq(b->at.col, 12);
	ck_assert_uint_eq(b->v[1]->at.line, 3);
	ck_assert_uint_eq(b->v[1]->at.col, 3);
	ck_assert_uint_eq(b->v[2]->at.col, 8);
	ck_assert_uint_eq(c->v[0]->at.line, 5);
	ck_assert_uint_eq(c->v[1]->v[0]->key_at.line, 7);
	ck_assert_uint_eq(c->v[1]->v[0]->at.col, 8);
	ck_assert_str_eq(c->v[0]->at.file, "test");
}
END_TEST

START_TEST(reads_multi_line_text)
{
	struct doc *d = good("a: >-\n  one\n  two\n\n  three\nb: |\n  x\n   y\nc: plain\n  goes "
			     "on\nd: \"q\\\n  q\"\n",
			     YAML);

	ck_assert_str_eq(json_of(d), "{\"a\":\"one two\\nthree\",\"b\":\"x\\n y\\n\",\"c\":\"plain "
				     "goes on\",\"d\":\"qq\"}");
}
END_TEST

UNIT_MAIN("doc_yaml", reads_block_and_flow_alike, guesses_no_types, takes_keys_of_any_scalar,
	  takes_core_tags_and_no_other, refuses_anchors_and_aliases,
	  refuses_duplicates_and_keeps_the_first, reads_many_documents_and_skips_empty_ones,
	  goes_on_after_a_syntax_error, says_what_is_wrong_where, knows_the_place_of_everything,
	  reads_multi_line_text)
