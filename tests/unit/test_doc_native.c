/* SPDX-License-Identifier: Apache-2.0 */
/* doc: the native syntax in: values, places, every finding of the pre-scan, includes. */
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

#include "doc_test.h"

#define NATIVE DOC_SYNTAX_NATIVE

START_TEST(reads_every_kind)
{
	reads("a = 1; b : -2147483648, c = 5000000000L\nd = 0x1F; e = 0xFFFFFFFFFL; f = 1.5; g = "
	      "-.5e1 h = TRUE; i = false;"
	      "j = \"x\\ty\\\"\\\\\\x41\\d\"; k = { }; l = ( ); m = [ ]; n = ( 1, \"a\", ( ), { o "
	      "= 2; } ); p = [ 1.0, 2. ];"
	      "q = +7; r = [ 1L, 2LL ];",
	      NATIVE,
	      "{\"a\":1,\"b\":-2147483648,\"c\":5000000000,\"d\":31,\"e\":68719476735,\"f\":1.5,"
	      "\"g\":-5.0,\"h\":true,"
	      "\"i\":false,\"j\":\"x\\ty\\\"\\\\A\\\\d\",\"k\":{},\"l\":[],\"m\":[],\"n\":[1,\"a\","
	      "[],{\"o\":2}],"
	      "\"p\":[1.0,2.0],\"q\":7,\"r\":[1,2]}");
	reads("", NATIVE, "{}");
	reads("# comment without an end of line", NATIVE, "{}");
	reads("/* a */ x-y_z* = 1 // b\n*a = \"two\" /* c */ \"parts\" # d", NATIVE,
	      "{\"x-y_z*\":1,\"*a\":\"twoparts\"}");
	reads("a = \"line\nfeed\";\r\n\fb = \"\";", NATIVE, "{\"a\":\"line\\nfeed\",\"b\":\"\"}");
	reads("a = \"\xc3\xa6 \\xc3\\xa6 # no comment { ( [\";", NATIVE,
	      "{\"a\":\"\xc3\xa6 \xc3\xa6 # no comment { ( [\"}");
}
END_TEST

START_TEST(knows_the_place_of_everything)
{
	struct doc *d = good("a = 1;\n\tb = ( { c = \"x\"\n \"y\"; },\n  [ 2 ] ); # \xc3\xa6\n/* "
			     "\n */ d /* e */ = /* f\n */ true;",
			     NATIVE);
	struct doc *b = d->v[1], *e = d->v[2];

	ck_assert_uint_eq(b->key_at.line, 2);
	ck_assert_uint_eq(b->key_at.col, 2);
	ck_assert_uint_eq(b->at.col, 6);
	ck_assert_uint_eq(b->v[0]->at.col, 8);
	ck_assert_uint_eq(b->v[0]->v[0]->key_at.col, 10);
	ck_assert_uint_eq(b->v[0]->v[0]->at.col, 14);
	ck_assert_uint_eq(b->v[1]->at.line, 4);
	ck_assert_uint_eq(b->v[1]->v[0]->at.col, 5);
	ck_assert_uint_eq(e->key_at.line, 6);
	ck_assert_uint_eq(e->key_at.col, 5);
	ck_assert_uint_eq(e->at.line, 7);
	ck_assert_uint_eq(e->at.col, 5);
}
END_TEST

/* libconfig's own line numbers have 16 bits. */
START_TEST(knows_lines_beyond_65535)
{
	size_t n = 70000;
	char *text = malloc(n + 20);

	memset(text, '\n', n);
	memcpy(text + n, "a = 1;", 7);
	ck_assert_uint_eq(good(text, NATIVE)->v[0]->at.line, 70001);
	memcpy(text + n, "a = x;", 7);
	bad(text, NATIVE, "70001:5 'x': text must be in double quotes\n");
	free(text);
}
END_TEST

START_TEST(finds_values_that_are_none)
{
	bad("a = 10s; b = yes; c = null;\nd = word; e = 1Gi; f = .; g = 1.2.3; h = 0x; i = -; j = "
	    "'x';",
	    NATIVE,
	    "1:5 '10s' is no number: put a duration, size or address in quotes\n"
	    "1:14 'yes' is no value: write true or false\n"
	    "1:23 there is no null: leave the setting out\n"
	    "2:5 'word': text must be in double quotes\n"
	    "2:15 '1Gi' is no number: put a duration, size or address in quotes\n"
	    "2:24 '.': text must be in double quotes\n"
	    "2:31 '1.2.3' is no number: put a duration, size or address in quotes\n"
	    "2:42 '0x' is no number: put a duration, size or address in quotes\n"
	    "2:50 '-': text must be in double quotes\n"
	    "2:57 ''x'': text must be in double quotes\n");
	bad("a = 10.0.0.1:80;\nuri = /x/y;\nurl = http://x;\nb = 1;", NATIVE,
	    "1:5 '10.0.0.1' is no number: put a duration, size or address in quotes\n"
	    "2:7 '/x/y': text must be in double quotes\n"
	    "3:7 'http': text must be in double quotes\n");
}
END_TEST

START_TEST(finds_numbers_that_libconfig_would_change)
{
	bad("a = 2147483648; b = -2147483649; c = 0600; d = 99999999999999999999; e = 0xffffffff;\n"
	    "f = 0x10000000000000000L; g = 1e999; h = 9223372036854775808L; i = 00;",
	    NATIVE,
	    "1:5 2147483648 needs more than 32 bits: write 2147483648L\n"
	    "1:21 -2147483649 needs more than 32 bits: write -2147483649L\n"
	    "1:38 0600 would be read as decimal: leave the zeros out, or put a mode in quotes\n"
	    "1:48 99999999999999999999 does not fit 64 bits\n"
	    "1:74 0xffffffff needs more than 32 bits: write 0xffffffffL\n"
	    "2:5 0x10000000000000000L does not fit 64 bits\n"
	    "2:31 1e999 is too large\n"
	    "2:42 9223372036854775808L does not fit 64 bits\n"
	    "2:68 00 would be read as decimal: leave the zeros out, or put a mode in quotes\n");
	reads("a = 2147483647; b = -2147483648; c = 0; d = 9223372036854775807L; e = 0x7fffffff; f "
	      "= -0;",
	      NATIVE,
	      "{\"a\":2147483647,\"b\":-2147483648,\"c\":0,\"d\":9223372036854775807,\"e\":"
	      "2147483647,\"f\":0}");
}
END_TEST

START_TEST(finds_bad_lists)
{
	bad("a = [ 1, 2, ];\nb = ( 1,, 2 );\nc = ( \"a\" \"b\" );\nd = [ 1, \"x\", 2L ];\ne = [ { "
	    "} ];\nf = ( g = 1 );\n"
	    "h = ( 1; 2 );\ni = ( 10s, 2 );",
	    NATIVE,
	    "1:11 nothing follows this ',': remove it\n"
	    "2:9 an element is missing before ','\n"
	    "3:11 expected ',' or ')' in the list that begins at 3:5\n"
	    "4:10 all elements of [ ] must be of one type: this is a string, the first is a 32-bit "
	    "integer; ( ) may mix "
	    "them\n"
	    "4:15 all elements of [ ] must be of one type: this is a 64-bit integer, the first is "
	    "a 32-bit integer; ( ) "
	    "may mix them\n"
	    "5:7 [ ] holds plain values only: write ( ) for lists of groups and lists\n"
	    "6:7 a setting cannot stand in a list: put { } around it\n"
	    "7:8 elements are separated by ',', not by ';'\n"
	    "8:7 '10s' is no number: put a duration, size or address in quotes\n");
}
END_TEST

#define PAIRS "a map with such names is written ( { key = \"...\"; value = ...; } )\n"

START_TEST(finds_bad_names)
{
	bad("x.y = 1;\n8080 = 2;\n:authority = 3;\n\"q\" = 4;\ntrue = 5;\n@x = 6;\n;\n{ } a = "
	    "1;\nb = 2;;",
	    NATIVE,
	    "1:1 'x.y' cannot be a name (a letter, then letters, digits, '_', '-'): " PAIRS
	    "2:1 '8080' cannot be a name (a letter, then letters, digits, '_', '-'): " PAIRS
	    "3:1 a name cannot begin with ':': " PAIRS "4:1 a name cannot be in quotes: " PAIRS
	    "5:1 'true' cannot be a name (a letter, then letters, digits, '_', '-'): " PAIRS
	    "6:1 @include must be the first word of its line, between settings\n"
	    "7:1 there is no setting before this ';'\n"
	    "8:1 expected a name, not '{'\n"
	    "9:7 there is no setting before this ';'\n");
}
END_TEST

START_TEST(finds_what_is_missing)
{
	bad("a = ;\nb\nc = 1\nd =\ne = 2;\nf = { g = };\nh = 5 s;\ni = 1 = 2;\nj = ", NATIVE,
	    "1:5 the value of 'a' is missing\n"
	    "2:1 '=' is missing after 'b'\n"
	    "4:1 the value of 'd' is missing\n"
	    "6:11 the value of 'g' is missing\n"
	    "7:7 's' follows a value: is the text meant to be in quotes?\n"
	    "8:7 expected ';' behind the value of 'i'\n"
	    "9:1 the value of 'j' is missing\n");
}
END_TEST

START_TEST(finds_brackets_that_do_not_fit)
{
	bad("a = {\n  b = ( 1, 2 };\n", NATIVE, "2:14 '}' does not close the '(' of 2:7\n");
	bad("a = 1; }\nb = x;", NATIVE, "1:8 '}' closes nothing\n");
	bad("a = {\n  b = { c = 1;\n};\n", NATIVE,
	    "1:5 the '{' that begins here is never closed\n");
	bad("a = ( { b = 1; }\nc = 2;", NATIVE,
	    "1:5 the '(' that begins here is never closed\n"
	    "2:1 expected ',' or ')' in the list that begins at 1:5\n");
}
END_TEST

START_TEST(finds_strings_and_comments_without_an_end)
{
	bad("a = 1;\nb = \"x;\nc = 2;\n", NATIVE,
	    "2:5 the string that begins here never ends (closing quote missing?)\n");
	bad("a = 1; /* x\nb = y;", NATIVE, "1:8 the comment that begins here never ends\n");
	/* The next quote closes it: the finding names the quote that is missing. */
	bad("a = \"x;\nb = \"y\";\nc = \"z\";\n", NATIVE,
	    "2:6 expected ';' behind the value of 'a' (the string that begins at 1:5 runs to here: "
	    "is its closing quote "
	    "missing?)\n");
	bad("a = [ \"x, \"y\",\n \"z\" ];", NATIVE,
	    "1:12 expected ',' or ']' in the list that begins at 1:5\n"
	    "2:4 the string that begins here never ends (closing quote missing?)\n");
	bad("a = \"x\\\"", NATIVE,
	    "1:5 the string that begins here never ends (closing quote missing?)\n");
	bad("a = \"x\\x00\"; b = \"\\X00\"; c = \"\\\\x00\";", NATIVE,
	    "1:7 text cannot hold a NUL character\n1:19 text cannot hold a NUL character\n");
	bad("a = \"\\xff\";", NATIVE, "1:5 with its \\x escapes this text is not UTF-8\n");
}
END_TEST

START_TEST(finds_duplicates_with_both_places)
{
	bad("a = 1;\nb = { a = 1; c = 2; a = 3; };\na = ( 1 );", NATIVE,
	    "2:21 'a' is given twice, first in line 2\n3:1 'a' is given twice, first in line 1\n");
}
END_TEST

START_TEST(caps_the_names_of_a_group)
{
	struct str s = STR("");

	arena_init(&ta, 0);
	for (int i = 0; i < 257; i++) {
		if (i == 256)
			good(arena_str(&ta, s).p, NATIVE);
		s = arena_printf(&ta, "%.*sa%d=1;", STR_ARG(s), i);
	}
	bad_with(s.p, NATIVE, "more than 256 names in one group: use a list");
}
END_TEST

/* ---- includes ------------------------------------------------------------------------------- */

static char dir[64];

static void dir_make(void)
{
	arena_init(&ta, 0);
	snprintf(dir, sizeof(dir), "/tmp/kvmesh-test-inc.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static const char *path_of(const char *name)
{
	return arena_printf(&ta, "%s/%s", dir, name).p;
}

static void put(const char *name, const char *text)
{
	struct err err;

	ck_assert_int_eq(fs_write(path_of(name), text, strlen(text), 0600, &err), 0);
}

static struct doc_file read_dir(const char *name)
{
	struct doc_file f;

	err_list_done(&terrs);
	doc_read_file(path_of(name), dir, &ta, &f, &terrs);
	return f;
}

static void dir_remove(const char *const *names)
{
	for (; *names; names++)
		ck_assert_int_eq(remove(path_of(*names)), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(includes_with_places_of_their_own)
{
	dir_make();
	ck_assert_int_eq(mkdir(path_of("sub"), 0700), 0);
	put("main.conf", "a = 1;\nb = {\n  @include \"sub/one.inc\"\n  z = 9;\n};\n@include "
			 "\"sub/one.inc\"\n# @include \"no\"\n");
	put("sub/one.inc", "c = 2;\n@include \"two.inc\" d = ( 3 );");
	put("sub/two.inc", "\n e = \"@include\"; # no end of line");
	struct doc_file f = read_dir("main.conf");
	ck_assert_msg(terrs.n == 0, "%s", findings());
	ck_assert_str_eq(json_of(f.docs[0]),
			 "{\"a\":1,\"b\":{\"c\":2,\"e\":\"@include\",\"d\":[3],\"z\":9},\"c\":2,"
			 "\"e\":\"@include\",\"d\":[3]}");
	struct doc *b = f.docs[0]->v[1];
	ck_assert_str_eq(b->v[1]->at.file, path_of("sub/two.inc"));
	ck_assert_uint_eq(b->v[1]->key_at.line, 2);
	ck_assert_uint_eq(b->v[1]->key_at.col, 2);
	ck_assert_str_eq(b->v[2]->at.file, path_of("sub/one.inc"));
	ck_assert_uint_eq(b->v[2]->v[0]->at.col, 26);
	ck_assert_str_eq(b->v[3]->at.file, path_of("main.conf"));
	ck_assert_uint_eq(b->v[3]->at.line, 4);
	dir_remove((const char *[]){ "main.conf", "sub/one.inc", "sub/two.inc", "sub", NULL });
}
END_TEST

START_TEST(tells_errors_of_includes)
{
	dir_make();
	put("main.conf", "@include \"one.inc\"\n@include \"none.inc\"\nl = (\n@include "
			 "\"one.inc\"\n);\n@include x\n");
	put("one.inc", "a = 1;\nb = yes;\nc = {");
	read_dir("main.conf");
	ck_assert_uint_eq(terrs.n, 2);
	ck_assert_str_eq(terrs.v[0].file, path_of("one.inc"));
	ck_assert_uint_eq(terrs.v[0].line, 2);
	ck_assert_str_eq(terrs.v[1].text, "the '{' that begins here is never closed");
	put("one.inc", "a = 1; };");
	read_dir("main.conf");
	ck_assert_str_eq(terrs.v[0].text, "'}' closes nothing that was opened in this file");
	put("one.inc", "a = 1;");
	read_dir("main.conf");
	ck_assert_str_eq(findings(),
			 arena_printf(&ta,
				      "2:1 @include: cannot open %s: No such file or directory\n"
				      "4:1 @include can stand only between settings\n"
				      "6:1 @include needs a file name in quotes\n",
				      path_of("none.inc"))
				 .p);
	dir_remove((const char *[]){ "main.conf", "one.inc", NULL });
}
END_TEST

START_TEST(caps_includes)
{
	dir_make();
	put("main.conf", "@include \"loop.inc\"\n");
	put("loop.inc", "@include \"loop.inc\"\n");
	read_dir("main.conf");
	ck_assert_str_eq(findings(), "1:1 includes are nested deeper than 4 files\n");
	put("loop.inc", "@include \"end.inc\"\n@include \"end.inc\"\n@include "
			"\"end.inc\"\n@include \"end.inc\"\n");
	put("end.inc", "@include \"empty.inc\"\n@include \"empty.inc\"\n@include "
		       "\"empty.inc\"\n@include \"empty.inc\"\n");
	put("empty.inc",
	    "@include \"nothing.inc\"\n@include \"nothing.inc\"\n@include \"nothing.inc\"\n");
	put("nothing.inc", "");
	read_dir("main.conf");
	ck_assert_ptr_nonnull(strstr(findings(), "more than 64 includes"));
	dir_remove((const char *[]){ "main.conf", "loop.inc", "end.inc", "empty.inc", "nothing.inc",
				     NULL });
}
END_TEST

START_TEST(keeps_includes_below_the_root)
{
	dir_make();
	put("main.conf", "@include \"/etc/hostname\"\n@include \"../../etc/hostname\"\n@include "
			 "\"link.inc\"\n@include \"\"\n"
			 "@include \"a\\x2f\"\n");
	ck_assert_int_eq(symlink("/etc/hostname", path_of("link.inc")), 0);
	read_dir("main.conf");
	ck_assert_str_eq(findings(), "1:1 @include: the file is outside of the configuration\n"
				     "2:1 @include: the file is outside of the configuration\n"
				     "3:1 @include: the file is outside of the configuration\n"
				     "4:1 @include: this is no file name\n"
				     "5:1 @include: this is no file name\n");
	bad("@include \"/etc/hostname\"\n", NATIVE, "1:1 @include: refused here\n");
	dir_remove((const char *[]){ "main.conf", "link.inc", NULL });
}
END_TEST

UNIT_MAIN("doc_native", reads_every_kind, knows_the_place_of_everything, knows_lines_beyond_65535,
	  finds_values_that_are_none, finds_numbers_that_libconfig_would_change, finds_bad_lists,
	  finds_bad_names, finds_what_is_missing, finds_brackets_that_do_not_fit,
	  finds_strings_and_comments_without_an_end, finds_duplicates_with_both_places,
	  caps_the_names_of_a_group, includes_with_places_of_their_own, tells_errors_of_includes,
	  caps_includes, keeps_includes_below_the_root)
