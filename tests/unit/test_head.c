/* SPDX-License-Identifier: Apache-2.0 */
/* head: the field list, known names, what strings may hold. */
#include "http/head.h"

#include "unit.h"

static struct arena arena;
static struct head head;

static void start(void)
{
	arena_init(&arena, 0);
	head_init(&head, &arena);
}

START_TEST(every_known_name_is_found)
{
	for (int id = HEAD_ID_OTHER + 1; id < HEAD_ID__N; id++) {
		struct str name = head_id_name((enum head_id)id);

		ck_assert_uint_gt(name.n, 0);
		ck_assert_msg((int)head_id_of(name) == id, "%.*s", STR_ARG(name));
	}
	ck_assert_int_eq(head_id_of(STR("hosts")), HEAD_ID_OTHER);
	ck_assert_int_eq(head_id_of(STR("hosp")), HEAD_ID_OTHER);
	ck_assert_int_eq(head_id_of(STR("")), HEAD_ID_OTHER);
	ck_assert_int_eq(head_id_of(STR("x-a-name-that-is-longer-than-any-known-one")),
			 HEAD_ID_OTHER);
}
END_TEST

START_TEST(fields_keep_their_order)
{
	start();
	head_add(&head, STR("x-a"), STR("1"));
	head_add(&head, STR("server"), STR("s"));
	head_add(&head, STR("x-a"), STR("2"));
	head_add_id(&head, HEAD_ID_COOKIE, STR("c"));
	ck_assert_uint_eq(head.n, 4);
	unit_str_eq(head_find_name(&head, STR("x-a"))->value, "1");
	unit_str_eq(head_value(&head, HEAD_ID_SERVER), "s");
	unit_str_eq(head_find(&head, HEAD_ID_COOKIE)->name, "cookie");
	ck_assert_ptr_null(head_find(&head, HEAD_ID_HOST));
	ck_assert_ptr_null(head_find(&head, HEAD_ID_OTHER));
	ck_assert_ptr_null(head_value(&head, HEAD_ID_HOST).p);
	ck_assert_ptr_null(head_find_name(&head, STR("x-b")));
	arena_done(&arena);
}
END_TEST

/* Whoever gave it may be gone: codecs hand such names on without a copy. */
START_TEST(known_names_are_constant)
{
	char name[] = "server";

	start();
	head_add(&head, str_c(name), STR("1"));
	head_set(&head, str_c(name), STR("2"));
	ck_assert_ptr_eq(head.fields[0].name.p, head_id_name(HEAD_ID_SERVER).p);
	arena_done(&arena);
}
END_TEST

START_TEST(set_replaces_all_and_keeps_the_place)
{
	start();
	head_add(&head, STR("x-a"), STR("1"));
	head_add(&head, STR("x-b"), STR("b"));
	head_add(&head, STR("x-a"), STR("2"));
	head_add(&head, STR("x-a"), STR("3"));
	head_set(&head, STR("x-a"), STR("new"));
	ck_assert_uint_eq(head.n, 2);
	unit_str_eq(head.fields[0].value, "new");
	head_set(&head, STR("x-c"), STR("c"));
	head_set_id(&head, HEAD_ID_DATE, STR("d"));
	head_set_id(&head, HEAD_ID_DATE, STR("e"));
	ck_assert_uint_eq(head.n, 4);
	unit_str_eq(head_value(&head, HEAD_ID_DATE), "e");
	ck_assert_uint_eq(head_remove(&head, STR("x-a")), 1);
	ck_assert_uint_eq(head_remove(&head, STR("x-a")), 0);
	ck_assert_uint_eq(head_remove_id(&head, HEAD_ID_DATE), 1);
	unit_str_eq(head.fields[0].name, "x-b");
	unit_str_eq(head.fields[1].name, "x-c");
	arena_done(&arena);
}
END_TEST

START_TEST(joined_values)
{
	start();
	head_add(&head, STR("via"), STR("one"));
	unit_str_eq(head_joined(&head, STR("via")), "one");
	ck_assert_ptr_null(head_joined(&head, STR("x")).p);
	head_add(&head, STR("other"), STR("-"));
	head_add(&head, STR("via"), STR(""));
	head_add(&head, STR("via"), STR("three"));
	unit_str_eq(head_joined(&head, STR("via")), "one,,three");
	head_add(&head, STR("empty-first"), STR(""));
	head_add(&head, STR("empty-first"), STR("two"));
	unit_str_eq(head_joined(&head, STR("empty-first")), ",two");
	arena_done(&arena);
}
END_TEST

START_TEST(many_fields)
{
	start();
	for (int i = 0; i < 500; i++)
		head_add(&head, arena_printf(&arena, "x-%d", i), STR("v"));
	for (int i = 0; i < 500; i += 2)
		ck_assert_uint_eq(head_remove(&head, arena_printf(&arena, "x-%d", i)), 1);
	ck_assert_uint_eq(head.n, 250);
	unit_str_eq(head.fields[249].name, "x-499");
	arena_done(&arena);
}
END_TEST

START_TEST(tokens_and_values)
{
	static const char token[] =
		"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	ck_assert(head_is_token(str_c(token)));
	ck_assert(!head_is_token(STR("")));
	for (int c = 0; c < 256; c++) {
		char one = (char)c;

		ck_assert_msg(head_is_token(str_from(&one, 1)) ==
				      (c != 0 && strchr(token, c) != NULL),
			      "byte %d", c);
		ck_assert_msg(head_is_value(str_from(&one, 1)) ==
				      ((c >= 32 && c != 127) || c == '\t'),
			      "byte %d", c);
	}
	ck_assert(head_is_value(STR("")));
	ck_assert(!head_is_value(STR("a\rb")));
	ck_assert_str_eq(head_reason(404), "Not Found");
	ck_assert_str_eq(head_reason(200), "OK");
	ck_assert_str_eq(head_reason(799), "");
}
END_TEST

/*
 * Sixteen bytes at a time and the rest one by one give the same answer, wherever the byte stands.
 */
START_TEST(control_bytes_are_found_anywhere)
{
	for (size_t n = 0; n < 70; n++) {
		char *p = calloc(1, n + 1);

		for (size_t at = 0; at < n; at++) {
			for (int c = 0; c < 256; c++) {
				bool ctl = (c < 32 && c != '\t') || c == 127;

				memset(p, 'x', n);
				p[at] = (char)c;
				ck_assert_ptr_eq(head_find_ctl(p, p + n), ctl ? p + at : p + n);
			}
		}
		ck_assert_ptr_eq(head_find_ctl(p, p), p);
		free(p);
	}
}
END_TEST

UNIT_MAIN("head", every_known_name_is_found, fields_keep_their_order,
	  known_names_are_constant, set_replaces_all_and_keeps_the_place, joined_values,
	  many_fields, tokens_and_values,
	  control_bytes_are_found_anywhere)
