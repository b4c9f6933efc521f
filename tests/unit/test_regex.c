/* SPDX-License-Identifier: Apache-2.0 */
/* core/regex and snap/re2: RE2's dialect, whole-string match, limits, replacing, literal prefixes. */
#include "core/regex.h"

#include "base/rng.h"
#include "snap/re2.h"

#include "unit.h"

static enum regex_result matches(const char *pattern, const char *subject)
{
	struct regex *re = NULL;
	struct err err = { 0 };
	ck_assert_msg(regex_new(str_c(pattern), &re, &err) == 0, "%s: %s", pattern, err.text);
	enum regex_result r = regex_match(re, str_c(subject), NULL);
	regex_free(re);
	return r;
}

START_TEST(whole_string)
{
	static const struct { const char *pattern, *subject; bool hit; } t[] = {
		{ "/v2/[0-9]+", "/v2/17", true }, { "/v2/[0-9]+", "/v2/17/x", false },
		{ "/v2/[0-9]+", "x/v2/17", false }, { "a|ab", "ab", true }, { "", "", true },
		{ "", "x", false }, { ".*", "anything", true }, { ".*", "two\nlines", false },
		{ "(?s).*", "two\nlines", true }, { "a$", "a", true }, { "a$", "a\n", false },
		{ "(?i)Abc", "aBC", true }, { "(?U)a+", "aaa", true }, { "\\d{2,3}", "1234", false },
		{ "[^/]+", "a/b", false }, { "\\pL+", "\xc3\xa5", true }, { "[\\w-]+", "a-b_c", true },
		{ ".", "\xe2\x82\xac", true }, { "\\Qa.b\\E", "a.b", true }, { "\\Qa.b\\E", "axb", false },
		{ "(?P<x>a)(?:b)", "ab", true }, { "a{", "a{", true }, { "{x}", "{x}", true },
		{ "[]a]+", "]a", true }, { "[a-]", "-", true }, { "[[:alpha:]]+", "abc", true },
		{ "\\x{20ac}|\\x41", "A", true }, { "\\.\\/", "./", true },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		ck_assert_msg(matches(t[i].pattern, t[i].subject) == (t[i].hit ? REGEX_YES : REGEX_NO),
			      "'%s' against '%s'", t[i].pattern, t[i].subject);
}
END_TEST

START_TEST(refuses_what_re2_refuses)
{
	static const struct { const char *pattern, *why; } t[] = {
		{ "(?=a)", "look-ahead" }, { "a(?!b)", "look-ahead" }, { "(?<=a)b", "look-behind" },
		{ "(?<!a)b", "look-behind" }, { "(?>a)", "atomic" }, { "(a)\\1", "back-reference" },
		{ "(?P<n>a)(?P=n)", "back-reference" }, { "(?P<n>a)\\k<n>", "back-reference" },
		{ "a++", "repetition of a repetition" }, { "a{2}{3}", "repetition of a repetition" },
		{ "a*+", "repetition of a repetition" }, { "(?R)", "recursion" }, { "(a)(?1)", "recursion" },
		{ "(?(1)a|b)", "condition" }, { "(?C1)a", "callout" }, { "(?#c)a", "comment" },
		{ "(*UTF)a", "verb" }, { "*", "nothing to repeat" }, { "a|*", "nothing to repeat" },
		{ "^*", "nothing to repeat" }, { "(?i)*", "nothing to repeat" }, { "{2}", "nothing to repeat" },
		{ "(", "missing ')'" }, { "a)", "not opened" }, { "[a", "missing ']'" }, { "[]", "missing ']'" },
		{ "[b-a]", "ascend" }, { "[\\d-z]", "range" }, { "[a-\\d]", "ascend" },
		{ "[[:foo:]]", "character class" }, { "[[.a.]]", "collating" }, { "\\h", "escape" },
		{ "\\v", "\\x0b" }, { "\\C", "single bytes" }, { "\\Z", "escape" }, { "\\", "backslash" },
		{ "\\x4", "hexadecimal" }, { "\\x{d800}", "Unicode" }, { "\\p{Klingon}", "Unicode class" },
		{ "a{1001}", "1000" }, { "a{3,2}", "ascending" }, { "a{,3}", "{n}" },
		{ "(a{100}){100}", "nested" }, { "(?x)a", "flags" }, { "(?P<a>x)(?P<a>y)", "twice" },
		{ "(?P<1>x)", "group name" }, { "\xff", "UTF-8" }, { "\xed\xa0\x80", "UTF-8" },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct regex *re = NULL;
		struct err err = { 0 };
		ck_assert_msg(regex_new(str_c(t[i].pattern), &re, &err) == KV_ERR_SCHEMA, "'%s' passed",
			      t[i].pattern);
		ck_assert_msg(strstr(err.text, t[i].why) != NULL, "'%s': %s", t[i].pattern, err.text);
	}
	char many[RE2_PATTERN_MAX + 2];
	memset(many, 'a', sizeof(many));
	ck_assert_int_eq(re2_check(str_from(many, sizeof(many)), NULL), KV_ERR_SCHEMA);
	ck_assert_int_eq(re2_check(str_from(many, RE2_PATTERN_MAX), NULL), 0);
	memset(many, '(', sizeof(many));
	ck_assert_int_eq(re2_check(str_from(many, RE2_PATTERN_MAX), NULL), KV_ERR_SCHEMA);
}
END_TEST

START_TEST(limits_end_a_match)
{
	char subject[64];
	memset(subject, 'a', sizeof(subject));
	subject[63] = '\0';
	subject[62] = 'b';
	ck_assert_int_eq(matches("(a+)+", subject), REGEX_LIMIT);
	struct regex *re = NULL;
	ck_assert_int_eq(regex_new(STR(".*"), &re, NULL), 0);
	char *longer = kv_zalloc(REGEX_SUBJECT_MAX + 2);
	memset(longer, 'a', REGEX_SUBJECT_MAX + 1);
	ck_assert_int_eq(regex_match(re, str_from(longer, REGEX_SUBJECT_MAX + 1), NULL), REGEX_LIMIT);
	ck_assert_int_eq(regex_match(re, str_from(longer, REGEX_SUBJECT_MAX), NULL), REGEX_YES);
	ck_assert_int_eq(regex_match(re, STR("\xff"), NULL), REGEX_LIMIT);
	free(longer);
	regex_free(re);
}
END_TEST

/* Whatever the judge lets through compiles: a proxy never meets a pattern that it cannot load. */
START_TEST(judge_and_compiler_agree)
{
	static const char *const parts[] = {
		"a", "b", "/", "\xc3\xa9", ".", "^", "$", "|", "(", ")", "(?:", "(?i)", "(?i:", "(?P<n>", "(?<m>",
		"[", "]", "[^", "[a-z]", "-", "\\d", "\\b", "\\.", "\\pL", "\\p{Greek}", "\\x41", "\\x{e9}", "\\0",
		"*", "+", "?", "{2}", "{2,}", "{0,3}", "{100}", "{", "}", ",", "[[:alpha:]]", "[:", ":]", "\\Q", "\\E",
		"#", " ", "\\n", "\\z", "(?U)", "(?-s)", "\\S", "0", "9",
	};
	struct rng rng;
	rng_init(&rng, 7);
	unsigned accepted = 0;
	for (unsigned round = 0; round < 60000; round++) {
		char pattern[256];
		size_t n = 0;
		for (uint64_t k = rng_below(&rng, 12) + 1; k > 0; k--) {
			const char *p = parts[rng_below(&rng, sizeof(parts) / sizeof(parts[0]))];
			memcpy(pattern + n, p, strlen(p));
			n += strlen(p);
		}
		if (re2_check(str_from(pattern, n), NULL) < 0)
			continue;
		accepted++;
		struct regex *re = NULL;
		struct err err = { 0 };
		ck_assert_msg(regex_new(str_from(pattern, n), &re, &err) == 0, "'%.*s': %s", (int)n,
			      pattern, err.text);
		regex_free(re);
	}
	ck_assert_uint_gt(accepted, 3000);
	/* The size estimate is an upper bound: the largest repetitions that pass do compile. */
	for (int times = 1; times <= 1000; times += 13) {
		for (int k = 0; k < 3; k++) {
			const char *const inner[] = { "[a-z\xc3\xa9\xc4\x80-\xc4\x90]", "(\xe2\x82\xac|\\pL)x", "a?b(?i)c" };
			char pattern[64];
			int n = snprintf(pattern, sizeof(pattern), "(?:%s){%d}", inner[k], times);
			struct regex *re = NULL;
			struct err err = { 0 };
			if (re2_check(str_from(pattern, (size_t)n), NULL) == 0)
				ck_assert_msg(regex_new(str_c(pattern), &re, &err) == 0, "%s", err.text);
			regex_free(re);
		}
	}
}
END_TEST

static void check_replace(const char *pattern, const char *subject, const char *with, const char *want)
{
	struct arena a;
	arena_init(&a, 0);
	struct regex *re = NULL;
	ck_assert_int_eq(regex_new_search(str_c(pattern), &re, NULL), 0);
	struct str got = STR_NULL;
	enum regex_result r = regex_replace(re, str_c(subject), str_c(with), NULL, &a, &got);
	ck_assert_int_eq(r, want ? REGEX_YES : REGEX_NO);
	if (want)
		unit_str_eq(got, want);
	regex_free(re);
	arena_done(&a);
}

START_TEST(replaces_all)
{
	check_replace("/service/([^/]+)(/.*)?", "/service/foo/v1/api", "\\2/instance/\\1", "/v1/api/instance/foo");
	check_replace("one", "/xxx/one/yyy/one/zzz", "two", "/xxx/two/yyy/two/zzz");
	check_replace("x*", "abc", "-", "-a-b-c-");
	check_replace("b*", "abc", "-", "-a-c-");
	check_replace("x*", "\xc3\xa9", "-", "-\xc3\xa9-");
	check_replace("b", "abc", "[\\0\\\\]", "a[b\\]c");
	check_replace("b", "abc", "\\7", "ac");
	check_replace("q", "abc", "x", NULL);
	check_replace("^a", "aaa", "x", "xaa");
}
END_TEST

START_TEST(replace_is_capped)
{
	struct arena a;
	arena_init(&a, 0);
	struct regex *re = NULL;
	ck_assert_int_eq(regex_new_search(STR("a"), &re, NULL), 0);
	char *subject = arena_alloc(&a, 8000);
	memset(subject, 'a', 8000);
	struct str got;
	ck_assert_int_eq(regex_replace(re, str_from(subject, 8000), STR("twice"), NULL, &a, &got), REGEX_LIMIT);
	regex_free(re);
	arena_done(&a);
}
END_TEST

START_TEST(literal_prefixes)
{
	static const struct { const char *pattern, *prefix; } t[] = {
		{ "/api/v[0-9]+/.*", "/api/v" }, { "/api", "/api" }, { "/api/(a|b)", "/api/" }, { "/a|/b", "" },
		{ "/ab*", "/a" }, { "/ab+", "/a" }, { "/a\\.b.*", "/a.b" }, { "(?i)/a", "" }, { ".*", "" }, { "", "" },
		{ "/a[|]b", "/a" }, { "/a[]|]b", "/a" }, { "/a\\|b", "/a|b" }, { "/\xc3\xa9?x", "/" }, { "/a\\d", "/a" },
		{ "/a{2}", "/" }, { "a(b)|c", "" }, { "/x\\Qa|b\\E", "" },
	};
	struct arena a;
	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		unit_str_eq(regex_literal_prefix(str_c(t[i].pattern), &a), t[i].prefix);
	arena_done(&a);
}
END_TEST

UNIT_MAIN("regex", whole_string, refuses_what_re2_refuses, limits_end_a_match, judge_and_compiler_agree,
	  replaces_all, replace_is_capped, literal_prefixes)
