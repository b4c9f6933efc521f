/* SPDX-License-Identifier: Apache-2.0 */
/* base/str, base/base64: comparing, cutting, numbers, durations, edit distance. */
#include "base/base64.h"
#include "base/str.h"

#include "unit.h"

START_TEST(compares)
{
	ck_assert(str_eq(STR(""), STR_NULL));
	ck_assert(str_eq(STR("ab"), str_from("abc", 2)));
	ck_assert(!str_eq(STR("ab"), STR("ac")));
	ck_assert(str_ieq(STR("X-Canary"), STR("x-cANARY")));
	ck_assert(!str_ieq(STR("[x"), STR("{x"))); /* differ in the case bit alone */
	ck_assert(!str_ieq(STR("ab"), STR("abc")));
	ck_assert_int_lt(str_cmp(STR("a"), STR("b")), 0);
	ck_assert_int_lt(str_cmp(STR("a"), STR("aa")), 0);
	ck_assert_int_gt(str_cmp(STR("\xff"), STR("a")), 0);
	ck_assert_int_eq(str_cmp(STR("x"), STR("x")), 0);
	ck_assert(str_has_prefix(STR("abc"), STR("ab")) && str_has_prefix(STR("a"), STR("")));
	ck_assert(!str_has_prefix(STR("a"), STR("ab")));
	ck_assert(str_has_iprefix(STR("Bearer x"), STR("bearer ")));
	ck_assert(str_has_suffix(STR("a.svc"), STR(".svc")) &&
		  !str_has_suffix(STR("c"), STR(".c")));
}
END_TEST

START_TEST(cuts)
{
	unit_str_eq(str_trim(STR(" \tx y \t")), "x y");
	unit_str_eq(str_trim(STR("  ")), "");
	unit_str_eq(str_skip(STR("abc"), 2), "c");
	unit_str_eq(str_skip(STR("abc"), 9), "");
	unit_str_eq(str_take(STR("abc"), 2), "ab");
	unit_str_eq(str_take(STR("abc"), 9), "abc");
	ck_assert_int_eq(str_find(STR("a:b:c"), ':'), 1);
	ck_assert_int_eq(str_rfind(STR("a:b:c"), ':'), 3);
	ck_assert_int_eq(str_find(STR("abc"), 'x'), -1);
	ck_assert_int_eq(str_rfind(STR(""), 'x'), -1);
	ck_assert_int_eq(str_find_str(STR("hello"), STR("lo")), 3);
	ck_assert_int_eq(str_find_str(STR("hello"), STR("lot")), -1);
	ck_assert_int_eq(str_find_str(STR("lo"), STR("hello")), -1);
	ck_assert_int_eq(str_find_str(STR("x"), STR("")), 0);
}
END_TEST

START_TEST(splits)
{
	struct str rest = STR("a,,b"), piece;

	ck_assert(str_split(&rest, ',', &piece));
	unit_str_eq(piece, "a");
	ck_assert(str_split(&rest, ',', &piece));
	unit_str_eq(piece, "");
	ck_assert(str_split(&rest, ',', &piece));
	unit_str_eq(piece, "b");
	ck_assert(!str_split(&rest, ',', &piece));

	rest = STR("");
	ck_assert(str_split(&rest, ',', &piece));
	unit_str_eq(piece, "");
	ck_assert(!str_split(&rest, ',', &piece));

	rest = STR("a,");
	ck_assert(str_split(&rest, ',', &piece) && str_split(&rest, ',', &piece));
	unit_str_eq(piece, "");
	ck_assert(!str_split(&rest, ',', &piece));
	rest = STR_NULL;
	ck_assert(!str_split(&rest, ',', &piece));
}
END_TEST

START_TEST(decodes_utf8)
{
	static const char *const bad[] = { "",
					   "\x80",
					   "\xc3",
					   "\xc0\x80",
					   "\xe0\x80\x80",
					   "\xed\xa0\x80",
					   "\xf4\x90\x80\x80",
					   "\xf8\x88\x80\x80\x80",
					   "\xff",
					   "\xe2\x82",
					   "\xc3z" };
	uint32_t c = 0;

	ck_assert(str_utf8(STR("A"), &c) == 1 && c == 'A');
	ck_assert(str_utf8(str_from("\0", 1), &c) == 1 && c == 0);
	ck_assert(str_utf8(STR("\xc3\xa6x"), &c) == 2 && c == 0xe6);
	ck_assert(str_utf8(STR("\xe2\x82\xac"), &c) == 3 && c == 0x20ac);
	ck_assert(str_utf8(STR("\xf0\x9f\x98\x80"), &c) == 4 && c == 0x1f600);
	ck_assert(str_utf8(STR("\xf4\x8f\xbf\xbf"), &c) == 4 && c == 0x10ffff);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(str_utf8(str_c(bad[i]), &c) == 0, "case %zu was taken", i);
}
END_TEST

START_TEST(integers)
{
	uint64_t u = 7;
	int64_t i = 7;

	ck_assert(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
	ck_assert(!str_to_u64(STR("18446744073709551616"), &u));
	ck_assert(!str_to_u64(STR("184467440737095516150"), &u));
	ck_assert(!str_to_u64(STR(""), &u) && !str_to_u64(STR("-1"), &u) &&
		  !str_to_u64(STR("+1"), &u));
	ck_assert(!str_to_u64(STR(" 1"), &u) && !str_to_u64(STR("1a"), &u));
	ck_assert(str_to_u64(STR("007"), &u) && u == 7);
	ck_assert(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
	ck_assert(!str_to_i64(STR("-9223372036854775809"), &i));
	ck_assert(str_to_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
	ck_assert(!str_to_i64(STR("9223372036854775808"), &i) && !str_to_i64(STR("-"), &i));
	ck_assert(str_to_i64(STR("-0"), &i) && i == 0);
	ck_assert(str_hex_to_u64(STR("fFfFfFfFfFfFfFfF"), &u) && u == UINT64_MAX);
	ck_assert(!str_hex_to_u64(STR("10000000000000000"), &u) && !str_hex_to_u64(STR("0x1"), &u));
	ck_assert(!str_hex_to_u64(STR(""), &u));
}
END_TEST

START_TEST(integers_are_written)
{
	static const struct { uint64_t v; const char *text; } rows[] = {
		{ 0, "0" }, { 7, "7" }, { 10, "10" }, { 999, "999" },
		{ UINT64_MAX, "18446744073709551615" },
	};
	char out[STR_U64_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		unit_str_eq(str_from(out, str_put_u64(out, rows[i].v)), rows[i].text);
}
END_TEST

START_TEST(reals)
{
	static const char *const bad[] = {
		"",    "-",   ".5",  "5.",    "01", "1e", "1e+", "+1",
		"nan", "inf", "0x1", "1e999", " 1", "1 ", "--1", "1.5.2"
	};
	double d = 0;

	ck_assert(str_to_double(STR("-1.5e2"), &d) && d <= -150 && d >= -150);
	ck_assert(str_to_double(STR("0"), &d) && str_to_double(STR("0.25"), &d) && d >= 0.25);
	ck_assert(str_to_double(STR("1E-400"), &d) && d <= 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!str_to_double(str_c(bad[i]), &d), "'%s' was taken", bad[i]);
}
END_TEST

static int64_t us_of(const char *text)
{
	int64_t us = -77;

	ck_assert_msg(str_to_duration_us(str_c(text), &us), "'%s' was refused", text);
	return us;
}

START_TEST(durations)
{
	static const char *const bad[] = { "",
					   "5",
					   "s",
					   ".s",
					   "1.5",
					   "-",
					   "1s ",
					   "1 s",
					   "--1s",
					   "+-1s",
					   "1d",
					   "1S",
					   "s1",
					   "1e3s",
					   "1s-1s",
					   "9223372037s",
					   "99999999999999999999s" };
	int64_t us;

	ck_assert_int_eq(us_of("300ms"), 300000);
	ck_assert_int_eq(us_of("1m30s"), 90000000);
	ck_assert_int_eq(us_of("1.5h"), INT64_C(5400000000));
	ck_assert_int_eq(us_of("0s"), 0);
	ck_assert_int_eq(us_of("0"), 0);
	ck_assert_int_eq(us_of("-1.5s"), -1500000);
	ck_assert_int_eq(us_of(".25s"), 250000);
	ck_assert_int_eq(us_of("1.s"), 1000000);
	ck_assert_int_eq(us_of("1500ns"), 2); /* rounded to the nearest microsecond */
	ck_assert_int_eq(us_of("499ns"), 0);
	ck_assert_int_eq(us_of("7us"), 7);
	ck_assert_int_eq(us_of("7\xc2\xb5s"), 7);
	ck_assert_int_eq(us_of("0.1s"), 100000);
	ck_assert_int_eq(us_of("1h0.000001s"), INT64_C(3600000001));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!str_to_duration_us(str_c(bad[i]), &us), "'%s' was taken", bad[i]);
}
END_TEST

START_TEST(distances)
{
	char longer[101];

	ck_assert_uint_eq(str_distance(STR("weight"), STR("weight"), 9), 0);
	ck_assert_uint_eq(str_distance(STR("weigth"), STR("weight"), 9), 1); /* transposition */
	ck_assert_uint_eq(str_distance(STR("weigh"), STR("weight"), 9), 1);
	ck_assert_uint_eq(str_distance(STR("wait"), STR("weight"), 9), 3);
	ck_assert_uint_eq(str_distance(STR(""), STR("abc"), 9), 3);
	ck_assert_uint_eq(str_distance(STR("abc"), STR("xyz"), 2), 2);
	ck_assert_uint_eq(str_distance(STR("a"), STR("abcdef"), 3), 3);
	memset(longer, 'x', 100);
	longer[100] = '\0';
	ck_assert_uint_eq(str_distance(str_c(longer), str_c(longer), 3), 3);
}
END_TEST

/* RFC 4648 10, and bytes that need the URL's own two digits. */
START_TEST(base64url)
{
	static const char *const pairs[][2] = { { "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" },
						{ "foob", "Zm9vYg" }, { "fooba", "Zm9vYmE" }, { "foobar", "Zm9vYmFy" },
						{ "\xfb\xff\xfe", "-__-" } };
	struct arena a;
	struct str back;

	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct str s = base64url_encode(str_c(pairs[i][0]), &a);

		unit_str_eq(s, pairs[i][1]);
		ck_assert(base64url_decode(s, &a, &back) && str_eq(back, str_c(pairs[i][0])));
	}
	arena_done(&a);
}
END_TEST

UNIT_MAIN("base_str", base64url, compares, cuts, splits, decodes_utf8, integers, integers_are_written, reals, durations, distances)
