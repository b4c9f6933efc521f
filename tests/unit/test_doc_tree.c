/* SPDX-License-Identifier: Apache-2.0 */
/* doc: building trees, looking into them, copying, comparing, the caps on files. */
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"

#include "doc_test.h"

START_TEST(builds_and_looks)
{
	arena_init(&ta, 0);
	struct doc *m = doc_new_map(&ta), *l = doc_new_list(&ta);

	doc_set_str(&ta, m, "s", STR("text"));
	doc_set_int(&ta, m, "i", -5);
	doc_set_bool(&ta, m, "b", true);
	doc_set_real(&ta, m, "r", 2.5);
	doc_set(&ta, m, "n", doc_new_null(&ta));
	doc_set(&ta, m, "l", l);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(doc_add(&ta, l, doc_new_int(&ta, i))->i, i);
	ck_assert_uint_eq(l->n, 100);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(l->v[i]->i, i);
	unit_str_eq(doc_get_str(m, "s", STR("no")), "text");
	unit_str_eq(doc_get_str(m, "i", STR("no")), "no");
	ck_assert_int_eq(doc_get_int(m, "i", 1), -5);
	ck_assert_int_eq(doc_get_int(m, "missing", 7), 7);
	ck_assert(doc_get_bool(m, "b", false));
	ck_assert(doc_get_real(m, "r", 0) > 2 && doc_get_real(m, "i", 0) < -4);
	ck_assert(doc_get_real(m, "s", 9) > 8);
	ck_assert_ptr_null(doc_get(l, STR("s")));
	ck_assert_ptr_null(doc_get(NULL, STR("s")));
	ck_assert_str_eq(doc_kind_name(doc_get(m, STR("l"))->kind), "list");
	ck_assert_str_eq(json_of(doc_set_int(&ta, m, "l", 1)), "1");
	ck_assert_str_eq(json_of(m),
			 "{\"s\":\"text\",\"i\":-5,\"b\":true,\"r\":2.5,\"n\":null,\"l\":1}");
}
END_TEST

START_TEST(grows_a_map_that_was_read)
{
	struct doc *m = good("{\"a\":1,\"b\":2,\"c\":3,\"d\":4}", DOC_SYNTAX_JSON);

	for (int i = 0; i < 40; i++) {
		char key[8];
		snprintf(key, sizeof(key), "k%d", i);
		doc_set_int(&ta, m, key, i);
	}
	ck_assert_uint_eq(m->n, 44);
	ck_assert_int_eq(doc_get_int(m, "d", 0), 4);
	ck_assert_int_eq(doc_get_int(m, "k39", 0), 39);
}
END_TEST

START_TEST(copies_deep_and_compares)
{
	const char *text = "{\"a\":[1,2.5,\"x\",true,null,{\"b\":{}}],\"c\":[]}";
	struct doc *d = good(text, DOC_SYNTAX_JSON), *c = doc_copy(&ta, d);

	ck_assert(doc_eq(d, c));
	ck_assert_str_eq(json_of(c), text);
	ck_assert_uint_eq(doc_get(c, STR("c"))->at.col, doc_get(d, STR("c"))->at.col);
	doc_set_int(&ta, c, "a", 1);
	ck_assert(!doc_eq(d, c));
	ck_assert_str_eq(json_of(d), text);

	struct doc *x = good("{\"a\":1,\"b\":2}", DOC_SYNTAX_JSON),
		   *y = good("{\"b\":2,\"a\":1}", DOC_SYNTAX_JSON);
	ck_assert(doc_eq(x, y));
	y = good("{\"b\":2,\"c\":1}", DOC_SYNTAX_JSON);
	ck_assert(!doc_eq(x, y));
	ck_assert(!doc_eq(good("[1,2]", DOC_SYNTAX_JSON), good("[2,1]", DOC_SYNTAX_JSON)));
	ck_assert(!doc_eq(good("[1]", DOC_SYNTAX_JSON), good("[1,1]", DOC_SYNTAX_JSON)));
	ck_assert(!doc_eq(good("1", DOC_SYNTAX_JSON), good("1.0", DOC_SYNTAX_JSON)));
}
END_TEST

START_TEST(knows_syntaxes_by_name)
{
	enum doc_syntax s;

	ck_assert(doc_syntax_of("/x/a.conf", &s) && s == DOC_SYNTAX_NATIVE);
	ck_assert(doc_syntax_of("a.yaml", &s) && s == DOC_SYNTAX_YAML);
	ck_assert(doc_syntax_of("a.yml", &s) && s == DOC_SYNTAX_YAML);
	ck_assert(doc_syntax_of("a.json", &s) && s == DOC_SYNTAX_JSON);
	ck_assert(!doc_syntax_of("a.conf~", &s) && !doc_syntax_of("conf", &s));
}
END_TEST

static const enum doc_syntax all[] = { DOC_SYNTAX_NATIVE, DOC_SYNTAX_YAML, DOC_SYNTAX_JSON };

START_TEST(refuses_bytes_that_are_no_text)
{
	for (size_t i = 0; i < 3; i++) {
		bad("a\n\xffz", all[i], "2:1 this byte is not UTF-8\n");
		bad("\xc3\xa6\x1b", all[i], "1:3 a control character\n");
		struct doc_file f;
		err_list_done(&terrs);
		doc_read_text(str_from("\xef\xbb\xbf"
				       "a\0b",
				       6),
			      "test", all[i], &ta, &f, &terrs);
		ck_assert_str_eq(findings(), "1:2 a NUL byte (is the file text in UTF-8?)\n");
	}
}
END_TEST

START_TEST(refuses_what_is_too_large)
{
	size_t n = DOC_FILE_MAX + 1;
	char *text = malloc(n + 1);

	memset(text, ' ', n);
	text[n] = '\0';
	for (size_t i = 0; i < 3; i++) {
		read_text(text, all[i]);
		ck_assert_int_eq(terrs.v[0].code, KV_ERR_LIMIT);
	}
	/* The largest that is allowed is only empty. */
	text[n - 1] = '\0';
	ck_assert_uint_eq(read_text(text, DOC_SYNTAX_YAML).n, 0);
	ck_assert_uint_eq(terrs.n, 0);
	free(text);
}
END_TEST

/* "open" n times, then "close" n times. */
static char *nested(const char *open, const char *mid, const char *close, int n)
{
	struct str s = STR("");

	for (int i = 0; i < n; i++)
		s = arena_printf(&ta, "%.*s%s", STR_ARG(s), open);
	s = arena_printf(&ta, "%.*s%s", STR_ARG(s), mid);
	for (int i = 0; i < n; i++)
		s = arena_printf(&ta, "%.*s%s", STR_ARG(s), close);
	return arena_strdup(&ta, arena_str(&ta, s).p);
}

START_TEST(caps_the_depth)
{
	arena_init(&ta, 0);
	good(nested("[", "1", "]", DOC_DEPTH_MAX), DOC_SYNTAX_JSON);
	bad_with(nested("[", "1", "]", DOC_DEPTH_MAX + 1), DOC_SYNTAX_JSON,
		 "1:33 nested deeper than 32");
	good(nested("[", "1", "]", DOC_DEPTH_MAX), DOC_SYNTAX_YAML);
	bad_with(nested("[", "1", "]", DOC_DEPTH_MAX + 1), DOC_SYNTAX_YAML,
		 "1:33 nested deeper than 32");
	good(nested("a={", "", "};", DOC_DEPTH_MAX - 1), DOC_SYNTAX_NATIVE);
	bad_with(nested("a={", "", "};", DOC_DEPTH_MAX), DOC_SYNTAX_NATIVE,
		 "nested deeper than 32");
	ck_assert_int_eq(terrs.v[0].code, KV_ERR_LIMIT);
	/* Absurd depth is a finding, too, not a crash. */
	bad_with(nested("[", "", "", 20000), DOC_SYNTAX_JSON, "1:");
	bad_with(nested("[", "", "", 20000), DOC_SYNTAX_YAML, "1:");
	bad_with(nested("(", "", "", 20000), DOC_SYNTAX_NATIVE, "1:");
}
END_TEST

START_TEST(caps_the_number_of_values)
{
	size_t n = 600000;
	char *text = malloc(2 * n + 20), *p = text;

	arena_init(&ta, 0);
	*p++ = '[';
	for (size_t i = 0; i < n; i++)
		memcpy(p + 2 * i, "1,", 2);
	memcpy(p + 2 * n, "1]", 3);
	for (size_t i = 1; i < 3; i++)
		bad_with(text, all[i], "more than 524288 values");
	memcpy(text + 2 * n + 2, ";", 2);
	char *native = malloc(2 * n + 20);
	snprintf(native, 2 * n + 20, "a=%s", text);
	bad_with(native, DOC_SYNTAX_NATIVE, "more than 524288 values");
	free(native);
	free(text);
}
END_TEST

START_TEST(finds_duplicates_in_large_maps)
{
	struct str yaml = STR("");

	arena_init(&ta, 0);
	for (int i = 0; i < 100; i++)
		yaml = arena_printf(&ta, "%.*sk%d: 1\n", STR_ARG(yaml), i == 77 ? 30 : i);
	bad(yaml.p, DOC_SYNTAX_YAML, "78:1 'k30' is given twice, first in line 31\n");
}
END_TEST

START_TEST(reads_files)
{
	char path[] = "/tmp/kvmesh-test-doc.XXXXXX.yaml";
	int fd = mkstemps(path, 5);
	struct doc_file f;
	struct err err;

	arena_init(&ta, 0);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(fs_write(path, "a: 1\n---\nb: 2\n", 14, 0600, &err), 0);
	ck_assert_int_eq(doc_read_file(path, NULL, &ta, &f, &terrs), 0);
	ck_assert_uint_eq(f.n, 2);
	ck_assert_str_eq(f.docs[1]->at.file, path);
	ck_assert_uint_eq(f.docs[1]->v[0]->at.line, 3);
	unlink(path);
	ck_assert_int_lt(doc_read_file(path, NULL, &ta, &f, &terrs), 0);
	ck_assert_str_eq(terrs.v[0].file, path);
	ck_assert_ptr_nonnull(strstr(terrs.v[0].text, "No such file"));
	ck_assert_int_lt(doc_read_file("/tmp/x.txt", NULL, &ta, &f, &terrs), 0);
	ck_assert_ptr_nonnull(strstr(terrs.v[1].text, ".conf, .yaml"));
}
END_TEST

UNIT_MAIN("doc_tree", builds_and_looks, grows_a_map_that_was_read, copies_deep_and_compares,
	  knows_syntaxes_by_name, refuses_bytes_that_are_no_text, refuses_what_is_too_large,
	  caps_the_depth, caps_the_number_of_values, finds_duplicates_in_large_maps, reads_files)
