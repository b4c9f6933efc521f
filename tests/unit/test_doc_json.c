/* SPDX-License-Identifier: Apache-2.0 */
/* doc: JSON in and out. */
#include "doc_test.h"

#define JSON DOC_SYNTAX_JSON

START_TEST(reads_every_kind)
{
	const char *text =
		"{\"s\":\"a\\\"\\\\\\n\\u00e6\",\"i\":-9223372036854775808,\"r\":0.1,\"t\":true,"
		"\"f\":false,\"n\":null,\"l\":[],\"m\":{},\"\":1}";
	const char *out =
		"{\"s\":\"a\\\"\\\\\\n\xc3\xa6\",\"i\":-9223372036854775808,\"r\":0.1,\"t\":true,"
		"\"f\":false,\"n\":null,\"l\":[],\"m\":{},\"\":1}";

	reads(text, JSON, out);
	reads(" [ 1 , 2 ] \n", JSON, "[1,2]");
	reads("\"x\"", JSON, "\"x\"");
	reads("5", JSON, "5");
}
END_TEST

START_TEST(knows_the_place_of_everything)
{
	struct doc *d = good(
		"{ \"a\": 1,\n  \"b\\\"}\" : [ true,\n\"x,]\" , { } ,-1e3],\n \"c\":{\"d\":null}}",
		JSON);
	struct doc *b = d->v[1], *c = d->v[2];

	ck_assert_uint_eq(d->v[0]->key_at.col, 3);
	ck_assert_uint_eq(d->v[0]->at.col, 8);
	ck_assert_uint_eq(b->key_at.line, 2);
	ck_assert_uint_eq(b->at.col, 12);
	ck_assert_uint_eq(b->v[1]->at.line, 3);
	ck_assert_uint_eq(b->v[1]->at.col, 1);
	ck_assert_uint_eq(b->v[2]->at.col, 9);
	ck_assert_uint_eq(b->v[3]->at.col, 14);
	ck_assert_uint_eq(c->at.line, 4);
	ck_assert_uint_eq(c->v[0]->key_at.col, 7);
	ck_assert_uint_eq(c->v[0]->at.col, 11);
	ck_assert_str_eq(c->v[0]->at.file, "test");
}
END_TEST

START_TEST(is_strict)
{
	bad("{\"a\":1,\n\"a\":2}", JSON, "2:3 not JSON: duplicate object key near '\"a\"'\n");
	bad_with("{\"a\":1,}", JSON, "1:8 not JSON");
	bad_with("{\"a\":1} x", JSON, "1:9 not JSON");
	bad_with("", JSON, "1:1 not JSON");
	bad_with("[1,", JSON, "not JSON");
	bad_with("[01]", JSON, "not JSON");
	bad_with("['x']", JSON, "not JSON");
	bad_with("[NaN]", JSON, "not JSON");
	bad_with("[1e999]", JSON, "not JSON");
	bad_with("[9223372036854775808]", JSON, "not JSON");
	bad_with("[\"\\u0000\"]", JSON, "not JSON");
	bad_with("[\"\\ud800\"]", JSON, "not JSON");
	bad_with("// no comments\n1", JSON, "not JSON");
}
END_TEST

START_TEST(reads_messages)
{
	struct doc *d;
	struct err err;

	arena_init(&ta, 0);
	ck_assert_int_eq(doc_read_json(STR("{\"method\":\"Stats\"}"), &ta, &d, &err), 0);
	unit_str_eq(doc_get_str(d, "method", STR("")), "Stats");
	ck_assert_int_eq(doc_read_json(STR("{\"method\":\"Stats\"}{}"), &ta, &d, &err),
			 KV_ERR_SYNTAX);
	ck_assert_ptr_null(d);
	ck_assert_uint_eq(err.col, 19);
	ck_assert_int_eq(doc_read_json(STR("{"), &ta, &d, NULL), KV_ERR_SYNTAX);
	ck_assert_int_eq(doc_read_json(str_from("[1]]]]", 3), &ta, &d, &err), 0);
	ck_assert_int_eq(doc_read_json(STR("[\"\xff\"]"), &ta, &d, &err), KV_ERR_SYNTAX);
}
END_TEST

/* What a program puts together from peers' bytes must still be JSON. */
START_TEST(writes_what_any_reader_takes)
{
	arena_init(&ta, 0);
	struct doc *l = doc_new_list(&ta), *back;
	struct err err;

	doc_add(&ta, l, doc_new_str(&ta, STR("\xff\x01\x7f\"\\\b\f\n\r\t/\xe2\x82")));
	doc_add(&ta, l, doc_new_real(&ta, 1));
	doc_add(&ta, l, doc_new_real(&ta, -1e300));
	doc_add(&ta, l, doc_new_real(&ta, 0.1));
	doc_add(&ta, l, doc_new_real(&ta, 1.0 / 3));
	doc_add(&ta, l, doc_new_real(&ta, 0.0 / 0.0));
	doc_add(&ta, l, doc_new_int(&ta, INT64_MIN));
	ck_assert_str_eq(
		json_of(l),
		"[\"\xef\xbf\xbd\\u0001\\u007f\\\"\\\\\\b\\f\\n\\r\\t/\xef\xbf\xbd\xef\xbf\xbd\","
		"1.0,-1e+300,0.1,0.3333333333333333,null,-9223372036854775808]");
	ck_assert_int_eq(doc_read_json(doc_to_json(l, &ta, false), &ta, &back, &err), 0);
	ck_assert(back->v[4]->r >= 1.0 / 3 && back->v[4]->r <= 1.0 / 3);
}
END_TEST

START_TEST(writes_pretty)
{
	struct doc *d = good("{\"a\":[1,{\"b\":[]}],\"c\":{}}", JSON);

	ck_assert_str_eq(doc_to_json(d, &ta, true).p,
			 "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n"
			 "  \"c\": {}\n}\n");
}
END_TEST

UNIT_MAIN("doc_json", reads_every_kind, knows_the_place_of_everything, is_strict, reads_messages,
	  writes_what_any_reader_takes, writes_pretty)
