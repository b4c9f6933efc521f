/* SPDX-License-Identifier: Apache-2.0 */
/* core/regex, core/regex_literals and snap/re2: RE2's dialect, whole-string match, limits, replacing, literals. */
#include "core/regex.h"
#include "core/regex_literals.h"

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

START_TEST(literals)
{
	static const struct { const char *pattern, *prefix, *suffix, *inner; } t[] = {
		{ "/api/v[0-9]+/.*", "/api/v", "", "/api/v" },
		{ "/api", "/api", "/api", "/api" },
		{ "/api/(a|b)", "/api/", "", "/api/" },
		{ "/a|/b", "/", "", "/" },
		{ "/a/x|/b/x", "/", "/x", "/x" },
		{ "(ab|ab)c", "abc", "abc", "abc" },
		{ ".*\\.ext42", "", ".ext42", ".ext42" },
		{ "^/[^/]+/orders/[0-9]+$", "/", "", "/orders/" },
		{ "/ab*", "/a", "", "/a" },
		{ "/ab*c", "/a", "c", "/a" },
		{ "/ab+", "/ab", "b", "/ab" },
		{ "/ab?c", "/a", "c", "/a" },
		{ "/a{2}", "/a", "a", "/a" },
		{ "/a{0,2}", "/", "", "/" },
		{ "/a{1}b", "/ab", "/ab", "/ab" },
		{ "/a{b}", "/a{b}", "/a{b}", "/a{b}" },
		{ "/(ab){2,}c", "/ab", "abc", "/ab" },
		{ "x(?:ab)?y", "x", "y", "x" },
		{ "(?P<n>ab)+c", "ab", "abc", "abc" },
		{ "/a\\.b.*", "/a.b", "", "/a.b" },
		{ "(?i)/a", "", "", "" },
		{ "/a(?i:b)c", "", "", "" },
		{ ".*", "", "", "" },
		{ "", "", "", "" },
		{ "(|/a)", "", "", "" },
		{ "/a[|]b", "/a", "b", "/a" },
		{ "/a[]|]b", "/a", "b", "/a" },
		{ "/a[[:alpha:]]]bc", "/a", "]bc", "]bc" },
		{ "/a\\|b", "/a|b", "/a|b", "/a|b" },
		{ "/\xc3\xa9?x", "/", "x", "/" },
		{ "/\xc3\xa9x", "/\xc3\xa9x", "/\xc3\xa9x", "/\xc3\xa9x" },
		{ "/a\\db", "/a", "b", "/a" },
		{ "/\\x{2f}b\\pLc\\x41d", "/", "d", "/" },
		{ "a(b)|c", "", "", "" },
		{ "/x\\Qa|b\\E", "", "", "" },
	};
	struct arena a;
	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ck_assert_int_eq(re2_check(str_c(t[i].pattern), NULL), 0);
		struct regex_literals l = regex_literals(str_c(t[i].pattern), &a);
		unit_str_eq(l.prefix, t[i].prefix);
		unit_str_eq(l.suffix, t[i].suffix);
		unit_str_eq(l.inner, t[i].inner);
	}
	/* Longer than what is kept: the first and the last bytes. */
	char text[301];
	memset(text, 'a', 300);
	text[0] = '/';
	text[299] = 'z';
	text[300] = '\0';
	struct regex_literals l = regex_literals(str_c(text), &a);
	ck_assert(l.prefix.n > 16 && str_has_prefix(str_c(text), l.prefix));
	ck_assert(l.suffix.n > 16 && str_has_suffix(str_c(text), l.suffix));
	ck_assert_uint_gt(l.inner.n, 16);
	arena_done(&a);
}
END_TEST

static void random_part(struct rng *r, char *to, size_t room, int depth)
{
	static const char *const parts[] = { "a", "b", "ab", ".", "[ab]", "[^b]", "\\.", "\\w", "\\x61", "^", "$", "{", "a{2}" };
	static const char *const after[] = { "*", "+", "?", "{0,1}", "{1,}", "{2}", "{1}", "+?", "", "", "", "" };
	size_t at = strlen(to);
	uint64_t kind = rng_below(r, depth > 2 ? 8 : 11);
	const char *part = parts[rng_below(r, sizeof(parts) / sizeof(parts[0]))];

	if (room < 40)
		return;
	if (kind < 8) {
		snprintf(to + at, room, "%s%s", part, strchr("^${a", part[0]) ? "" : after[rng_below(r, 12)]);
		return;
	}
	snprintf(to + at, room, "%s", rng_below(r, 2) == 0 ? "(" : "(?:");
	for (uint64_t n = rng_below(r, 4); n > 0; n--) {
		size_t used = strlen(to + at);
		random_part(r, to + at, room - used - 20, depth + 1);
		if (rng_below(r, 3) == 0)
			snprintf(to + at + strlen(to + at), 2, "|");
	}
	snprintf(to + at + strlen(to + at), 12, ")%s", after[rng_below(r, 12)]);
}

/* Whatever matches has the literals, and not all of them are empty. */
START_TEST(literals_are_had_by_every_match)
{
	struct rng r;
	struct arena a;
	unsigned matches = 0, useful = 0;
	struct regex_scratch *scratch = regex_scratch_new();
	rng_init(&r, 29);
	arena_init(&a, 0);
	for (int round = 0; round < 20000; round++) {
		char pattern[400] = "", subject[16];
		for (uint64_t n = rng_below(&r, 4) + 1; n > 0; n--)
			random_part(&r, pattern, sizeof(pattern) - strlen(pattern), 0);
		struct regex *re = NULL;
		if (regex_new(str_c(pattern), &re, NULL) < 0)
			continue;
		struct regex_literals l = regex_literals(str_c(pattern), &a);
		for (int k = 0; k < 20; k++) {
			size_t n = rng_below(&r, 8);
			for (size_t i = 0; i < n; i++)
				subject[i] = "ab.{"[rng_below(&r, 4)];
			struct str s = str_from(subject, n);
			if (regex_match(re, s, scratch) != REGEX_YES)
				continue;
			matches++;
			useful += l.inner.n > 0;
			ck_assert_msg(str_has_prefix(s, l.prefix) && str_has_suffix(s, l.suffix) &&
				      str_find_str(s, l.inner) >= 0, "'%s' matches '%.*s'", pattern, STR_ARG(s));
		}
		regex_free(re);
		arena_clear(&a);
	}
	ck_assert_uint_gt(matches, 10000);
	ck_assert_uint_gt(useful, 1000);
	arena_done(&a);
	regex_scratch_free(scratch);
}
END_TEST

UNIT_MAIN("regex", whole_string, refuses_what_re2_refuses, limits_end_a_match, judge_and_compiler_agree,
	  replaces_all, replace_is_capped, literals, literals_are_had_by_every_match)
