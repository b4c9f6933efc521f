/* SPDX-License-Identifier: Apache-2.0 */
/* url: authorities, queries, the normal form of paths (istio-semantics 2.11.18). */
#include "http/url.h"

#include "unit.h"

START_TEST(authorities)
{
	static const struct { const char *in, *host; uint16_t port; } good[] = {
		{ "host", "host", 0 }, { "host:80", "host", 80 }, { "a.b-c_d~e.", "a.b-c_d~e.", 0 },
		{ "[::1]:80", "::1", 80 }, { "[2001:db8::1]", "2001:db8::1", 0 },
		{ "127.0.0.1:65535", "127.0.0.1", 65535 }, { "HOST:1", "HOST", 1 },
	};
	static const char *const bad[] = {
		"",
		":80",
		"host:",
		"host:0",
		"host:65536",
		"host:123456",
		"host:+80",
		"host:8x",
		"a:1:2",
		"user@host",
		"user:pw@host",
		"host/",
		"ho st",
		"host?",
		"host#",
		"[::1",
		"[]",
		"[x]",
		"[::1]80",
		"[::1]:",
		"[fe80::1%25eth0]",
		"[127.0.0.1]",
		"::1",
		"h%41st",
		"a,b",
		"\\host",
		"a\\b",
		"[::1]]:80",
	};
	struct str host;
	uint16_t port;
	char longest[300];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(url_split_authority(str_c(good[i].in), &host, &port), "%s",
			      good[i].in);
		unit_str_eq(host, good[i].host);
		ck_assert_uint_eq(port, good[i].port);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!url_split_authority(str_c(bad[i]), &host, &port), "%s", bad[i]);
	ck_assert(!url_split_authority(STR("a\0b"), &host, &port));
	memset(longest, 'a', sizeof(longest));
	ck_assert(url_split_authority(str_from(longest, 255), &host, &port));
	ck_assert(!url_split_authority(str_from(longest, 256), &host, &port));
}
END_TEST

START_TEST(queries)
{
	struct str path, query, v;

	url_split_query(STR("/a?b?c"), &path, &query);
	unit_str_eq(path, "/a");
	unit_str_eq(query, "b?c");
	url_split_query(STR("/a?"), &path, &query);
	ck_assert(query.p && query.n == 0);
	url_split_query(STR("/a"), &path, &query);
	ck_assert_ptr_null(query.p);
	ck_assert(!url_query_get(query, STR("a"), &v));
	query = STR("a=1&b=&c&a=2&=x&b%20=3&d=e=f");
	ck_assert(url_query_get(query, STR("a"), &v));
	unit_str_eq(v, "1");
	ck_assert(url_query_get(query, STR("b"), &v));
	unit_str_eq(v, "");
	ck_assert(url_query_get(query, STR("c"), &v));
	unit_str_eq(v, "");
	ck_assert(url_query_get(query, STR("d"), &v));
	unit_str_eq(v, "e=f");
	ck_assert(url_query_get(query, STR("b%20"), &v));
	ck_assert(!url_query_get(query, STR("e"), &v));
	ck_assert(!url_query_get(query, STR("A"), &v));
}
END_TEST

#define R NULL                          /* refused */

/* in, then NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES. */
static const char *const paths[][5] = {
	{ "/", "/", "/", "/", "/" },
	{ "/a/b", "/a/b", "/a/b", "/a/b", "/a/b" },
	{ "/app#foo", "/app", "/app", "/app", "/app" },
	{ "/a?x=/../%zz&y=%00#f", "/a?x=/../%zz&y=%00", "/a?x=/../%zz&y=%00", "/a?x=/../%zz&y=%00",
	  "/a?x=/../%zz&y=%00" },
	{ "/a/./b", "/a/./b", "/a/b", "/a/b", "/a/b" },
	{ "/a/../b", "/a/../b", "/b", "/b", "/b" },
	{ "/a/..", "/a/..", "/", "/", "/" },
	{ "/a/.", "/a/.", "/a/", "/a/", "/a/" },
	{ "/app//../admin", "/app//../admin", "/app/admin", "/app/admin", "/app/admin" },
	{ "//a//b//", "//a//b//", "//a//b//", "/a/b/", "/a/b/" },
	{ "/a///..//b?q=//", "/a///..//b?q=//", "/a///b?q=//", "/a/b?q=//", "/a/b?q=//" },
	{ "/%61%2D%7e%5F", "/%61%2D%7e%5F", "/a-~_", "/a-~_", "/a-~_" },
	{ "/a%2fb%5Cc", "/a%2fb%5Cc", "/a%2fb%5Cc", "/a%2fb%5Cc", "/a/b/c" },
	{ "/a%2f%2F..%2fb", "/a%2f%2F..%2fb", "/a%2f%2F..%2fb", "/a%2f%2F..%2fb", "/a/b" },
	{ "/a\\b", "/a\\b", "/a/b", "/a/b", "/a/b" },
	{ "/\\evil", "/\\evil", "//evil", "/evil", "/evil" },
	{ "/a/%2e%2e/b", "/a/%2e%2e/b", "/b", "/b", "/b" },
	{ "/a/%2E/b", "/a/%2E/b", "/a/b", "/a/b", "/a/b" },
	{ "/%252e%252e/", "/%252e%252e/", "/%252e%252e/", "/%252e%252e/", "/%252e%252e/" },
	{ "/%c0%ae%c0%ae/", "/%c0%ae%c0%ae/", "/%c0%ae%c0%ae/", "/%c0%ae%c0%ae/",
	  "/%c0%ae%c0%ae/" },
	{ "/.well-known/x", "/.well-known/x", "/.well-known/x", "/.well-known/x",
	  "/.well-known/x" },
	{ "/...", "/...", "/...", "/...", "/..." },
	{ "/a..b/..c/d..", "/a..b/..c/d..", "/a..b/..c/d..", "/a..b/..c/d..", "/a..b/..c/d.." },
	{ "/%20", "/%20", "/%20", "/%20", "/%20" },
	{ "/a;x=1/b", "/a;x=1/b", "/a;x=1/b", "/a;x=1/b", "/a;x=1/b" },
	{ "/a/b/../../c", "/a/b/../../c", "/c", "/c", "/c" },
	{ "/a/./../b/.", "/a/./../b/.", "/b/", "/b/", "/b/" },
	{ "*", "*", "*", "*", "*" },
	{ "/..", "/..", R, R, R },
	{ "/../a", "/../a", R, R, R },
	{ "/a/../../b", "/a/../../b", R, R, R },
	{ "/a/%2e%2e/%2e%2e", "/a/%2e%2e/%2e%2e", R, R, R },
	{ "/a%2f..%2f..%2f..", "/a%2f..%2f..%2f..", "/a%2f..%2f..%2f..", "/a%2f..%2f..%2f..", R },
	{ "/%", R, R, R, R },
	{ "/%4", R, R, R, R },
	{ "/%4g", R, R, R, R },
	{ "/%g4", R, R, R, R },
	{ "/%00", R, R, R, R },
	{ "/a b", R, R, R, R },
	{ "/a\tb", R, R, R, R },
	{ "/\x7f", R, R, R, R },
	{ "/\xc3\xa4", R, R, R, R },
	{ "a", R, R, R, R },
	{ "?a", R, R, R, R },
	{ "#", R, R, R, R },
	{ "http://h/", R, R, R, R },
};

START_TEST(normal_forms)
{
	struct arena a;
	struct str out;

	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		for (int how = URL_NORMALIZE_NONE; how <= URL_NORMALIZE_DECODE_AND_MERGE_SLASHES;
		     how++) {
			const char *want = paths[i][1 + how];
			bool ok = url_normalize(str_c(paths[i][0]), (enum url_normalize)how, &a,
						&out);

			ck_assert_msg(ok == (want != NULL), "%s, setting %d", paths[i][0], how);
			if (want)
				ck_assert_msg(str_eq(out, str_c(want)), "%s, setting %d: %.*s",
					      paths[i][0], how, STR_ARG(out));
		}
	}
	ck_assert(!url_normalize(STR("/a\0b"), URL_NORMALIZE_NONE, &a, &out));
	ck_assert(url_normalize(STR(""), URL_NORMALIZE_BASE, &a, &out)); /* CONNECT has none */
	arena_done(&a);
}
END_TEST

/* A form is normal: doing it again changes nothing, and plain paths are not copied. */
START_TEST(normal_forms_are_stable)
{
	struct arena a;
	struct str out, again, plain = STR("/plain/path?x");

	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		for (int how = URL_NORMALIZE_NONE; how <= URL_NORMALIZE_DECODE_AND_MERGE_SLASHES;
		     how++) {
			if (!url_normalize(str_c(paths[i][0]), (enum url_normalize)how, &a, &out))
				continue;
			ck_assert(url_normalize(out, (enum url_normalize)how, &a, &again));
			ck_assert(str_eq(out, again));
		}
	}
	ck_assert(url_normalize(plain, URL_NORMALIZE_DECODE_AND_MERGE_SLASHES, &a, &out));
	ck_assert_ptr_eq(out.p, plain.p);
	arena_done(&a);
}
END_TEST

START_TEST(parameters_are_taken_away)
{
	static const char *const rows[][2] = {
		{ "/a", "/a" }, { "/a?", "/a?" }, { "/a?b=1", "/a?b=1" }, { "/a?t=x", "/a" }, { "/a?t=x&b=1", "/a?b=1" },
		{ "/a?b=1&t=x", "/a?b=1" }, { "/a?t=x&b=1&t=y", "/a?b=1" }, { "/a?t", "/a" }, { "/a?tt=1&t=2", "/a?tt=1" },
		{ "/t?b=t", "/t?b=t" }, { "/a?t=1&&b", "/a?&b" },
	};
	struct arena a;

	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str got = url_query_remove(str_c(rows[i][0]), STR("t"), &a);

		ck_assert_msg(str_eq(got, str_c(rows[i][1])), "%s: %.*s", rows[i][0], STR_ARG(got));
	}
	arena_done(&a);
}
END_TEST

/* Each row: a path, then what readers 0 to 7 make of it; NULL: above the root. */
START_TEST(a_path_as_its_readers_understand_it)
{
	static const struct { const char *path, *as[URL_READINGS]; } rows[] = {
		{ "/a/b", { "/a/b", "/a/b", "/a/b", "/a/b", "/a/b", "/a/b", "/a/b", "/a/b" } },
		{ "/x/..;v/a", { "/x/..;v/a", "/x/..;v/a", "/a", "/a", "/x/..;v/a", "/x/..;v/a", "/a", "/a" } },
		{ "/x%2fy/..;/a", { "/x%2fy/..;/a", "/x/y/..;/a", "/a", "/x/a", "/x%2fy/..;/a", "/x/y/..;/a", "/a", "/x/a" } },
		{ "/x//../a", { "/x/a", "/x/a", "/x/a", "/x/a", "/a", "/a", "/a", "/a" } },
		{ "/..%2fa", { "/..%2fa", NULL, "/..%2fa", NULL, "/..%2fa", NULL, "/..%2fa", NULL } },
	};
	struct arena a;

	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (unsigned k = 0; k < URL_READINGS; k++) {
			struct str got;
			bool ok = url_read_path(str_c(rows[i].path), k, &a, &got);

			ck_assert_msg(ok == (rows[i].as[k] != NULL), "%s, reading %u", rows[i].path, k);
			if (ok)
				ck_assert_msg(str_eq(got, str_c(rows[i].as[k])), "%s, reading %u: %.*s", rows[i].path, k,
					      STR_ARG(got));
		}
	arena_done(&a);
}
END_TEST

UNIT_MAIN("url", authorities, queries, normal_forms, normal_forms_are_stable,
	  parameters_are_taken_away,
	  a_path_as_its_readers_understand_it)
