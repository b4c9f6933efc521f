/* SPDX-License-Identifier: Apache-2.0 */
/* core/rewrite: paths, authorities, Location (the table of Istio rule 2.6.6), header operations. */
#include "core/rewrite.h"

#include "unit.h"

static struct arena arena;

static struct head request(const char *method, const char *authority, const char *path)
{
	struct head h;
	head_init(&h, &arena);
	h.method = str_c(method);
	h.scheme = STR("http");
	h.authority = str_c(authority);
	h.path = str_c(path);
	return h;
}

/* ---- path and authority -------------------------------------------------------------------------- */
struct rw {
	struct snap_string uri;
	struct snap_match match;
	struct snap_rewrite rewrite;
	struct snap_route route;
};

static struct match_hit hit_of(struct rw *w, int kind, const char *value)
{
	w->uri = (struct snap_string){ .kind = kind, .value = str_c(value) };
	w->match.uri = value ? &w->uri : NULL;
	w->route.rewrite = &w->rewrite;
	return (struct match_hit){ .route = &w->route, .match = &w->match };
}

static void check_path(int kind, const char *match, const char *uri, const char *path, const char *want)
{
	struct rw w = { .rewrite = { .uri = str_c(uri) } };
	struct match_hit hit = hit_of(&w, kind, match);
	struct head h = request("GET", "b", path);
	rewrite_request(&hit, &h, NULL);
	unit_str_eq(h.path, want);
	if (strcmp(path, want) != 0)
		unit_str_eq(head_value(&h, HEAD_ID_X_ENVOY_ORIGINAL_PATH), path);
}

START_TEST(paths)
{
	arena_init(&arena, 0);
	check_path(SNAP_MATCH_PREFIX, "/foo", "/new", "/foo/bar", "/new/bar");
	check_path(SNAP_MATCH_PREFIX, "/foo", "/", "/foo/bar", "//bar");        /* Istio 2.6.2 */
	check_path(SNAP_MATCH_PREFIX, "/foo/", "/", "/foo/bar?q=1", "/bar?q=1");
	check_path(SNAP_MATCH_PREFIX, "/foo", "", "/foo/bar", "/bar");
	check_path(SNAP_MATCH_PREFIX, "/foo", "", "/foobar", "/bar");
	check_path(SNAP_MATCH_PREFIX, "/foo", "", "/foo", "/");
	check_path(SNAP_MATCH_EXACT, "/foo", "/new", "/foo?a=b", "/new?a=b");
	check_path(SNAP_MATCH_REGEX, "/f.*", "/new", "/foo/bar", "/new");
	check_path(SNAP_MATCH_EXACT, NULL, "/v1/", "/foo", "/v1/foo");
	check_path(SNAP_MATCH_EXACT, NULL, "/v1", "*", "*");
	arena_done(&arena);
}
END_TEST

START_TEST(regex_paths)
{
	arena_init(&arena, 0);
	struct rw w = { .rewrite = { .regex = STR("/service/([^/]+)(/.*)?"), .substitution = STR("\\2/instance/\\1") } };
	struct match_hit hit = hit_of(&w, 0, NULL);
	struct regex *re = NULL;
	ck_assert_int_eq(regex_new_search(w.rewrite.regex, &re, NULL), 0);
	hit.rewrite = re;
	struct head h = request("GET", "b", "/service/foo/v1/api?x=/service/y");
	rewrite_request(&hit, &h, NULL);
	unit_str_eq(h.path, "/v1/api/instance/foo?x=/service/y");
	h = request("GET", "b", "/other");
	rewrite_request(&hit, &h, NULL);
	unit_str_eq(h.path, "/other");
	ck_assert_ptr_null(head_find(&h, HEAD_ID_X_ENVOY_ORIGINAL_PATH));
	regex_free(re);
	arena_done(&arena);
}
END_TEST

START_TEST(authorities)
{
	arena_init(&arena, 0);
	struct rw w = { .rewrite = { .authority = STR("other.example") } };
	struct match_hit hit = hit_of(&w, 0, NULL);
	struct head h = request("GET", "b:80", "/x");
	rewrite_request(&hit, &h, NULL);
	unit_str_eq(h.authority, "other.example");
	unit_str_eq(h.path, "/x");
	unit_str_eq(head_value(&h, HEAD_ID_X_ENVOY_ORIGINAL_HOST), "b:80");
	w.route.rewrite = NULL;
	h = request("GET", "b", "/x");
	rewrite_request(&hit, &h, NULL);
	unit_str_eq(h.authority, "b");
	arena_done(&arena);
}
END_TEST

/* ---- Location --------------------------------------------------------------------------------------- */
static void check_location(struct snap_redirect r, const char *authority, const char *path, int64_t listener,
			   const char *want)
{
	struct rewrite_origin from = { .scheme = STR("http"), .authority = str_c(authority), .path = str_c(path),
				       .listener_port = listener };
	struct snap_string prefix = { .kind = SNAP_MATCH_PREFIX, .value = STR("/old") };
	struct snap_match m = { .uri = &prefix };
	unit_str_eq(rewrite_location(&r, &m, &from, &arena), want);
}

#define REDIRECT(...) ((struct snap_redirect){ .code = 301, __VA_ARGS__ })

START_TEST(locations)
{
	arena_init(&arena, 0);
	/* FROM_REQUEST_PORT */
	struct snap_redirect request_port = REDIRECT(.derive_port = SNAP_DERIVE_PORT_REQUEST);
	check_location(request_port, "b", "/foo", 80, "http://b/foo");
	check_location(request_port, "b:80", "/foo", 80, "http://b:80/foo");
	check_location(request_port, "b", "/foo", 85, "http://b:85/foo");
	check_location(request_port, "b:85", "/foo", 85, "http://b:85/foo");
	check_location(REDIRECT(.derive_port = SNAP_DERIVE_PORT_REQUEST, .scheme = STR("https")), "host", "/foo", 80,
		       "https://host:80/foo");
	/* neither port nor derivePort */
	check_location(REDIRECT(.uri = STR("/new")), "b:8080", "/old?q=1", 80, "http://b:8080/new?q=1");
	check_location(REDIRECT(.uri = STR("/new?z=2")), "b", "/old?q=1", 80, "http://b/new?z=2");
	check_location(REDIRECT(.scheme = STR("https")), "b:80", "/x", 80, "https://b/x");
	check_location(REDIRECT(.scheme = STR("https")), "b:8080", "/x", 80, "https://b:8080/x");
	check_location(REDIRECT(.authority = STR("c.example")), "b:8080", "/x?y", 80, "http://c.example/x?y");
	check_location(REDIRECT(.authority = STR("c.example:90")), "b", "/x", 80, "http://c.example:90/x");
	/* fixed port, protocol default */
	check_location(REDIRECT(.port = 80), "b:8080", "/x", 80, "http://b:80/x");
	check_location(REDIRECT(.port = 8443, .scheme = STR("https")), "b", "/x", 80, "https://b:8443/x");
	check_location(REDIRECT(.derive_port = SNAP_DERIVE_PORT_PROTOCOL), "b:8080", "/x", 80, "http://b/x");
	/* prefix, IPv6 */
	check_location(REDIRECT(.prefix_rewrite = STR("/new")), "b", "/old/x?q", 80, "http://b/new/x?q");
	check_location(REDIRECT(.uri = STR("/n")), "[2001:db8::1]:81", "/x", 80, "http://[2001:db8::1]:81/n");
	check_location(REDIRECT(.uri = STR("/n")), "[::1]", "/x", 80, "http://[::1]/n");
	arena_done(&arena);
}
END_TEST

/* ---- header operations --------------------------------------------------------------------------------- */
static const struct rewrite_ctx *some_ctx(const struct head *req, const struct head *res)
{
	static struct rewrite_ctx ctx;
	ctx = (struct rewrite_ctx){
		.req = req, .res = res, .start_real_us = INT64_C(1606816800123000), .protocol = STR("HTTP/1.1"),
		.request_id = STR("id-1"), .downstream_remote_address = STR("192.0.2.7:4711"),
		.downstream_remote_ip = STR("192.0.2.7"), .route_name = STR("main"),
	};
	return &ctx;
}

static void check_value(const struct head *req, const char *value, const char *want)
{
	unit_str_eq(rewrite_value(str_c(value), some_ctx(req, NULL), &arena), want);
}

START_TEST(operators)
{
	arena_init(&arena, 0);
	struct head h = request("PUT", "b:80", "/p?q");
	head_add(&h, STR("x-user"), STR("ada"));
	check_value(&h, "plain", "plain");
	check_value(&h, "100%%", "100%");
	check_value(&h, "%REQ(X-User)%", "ada");
	check_value(&h, "<%REQ(x-none?x-user)%|%REQ(:method)%|%REQ(:PATH)%|%REQ(:authority)%>", "<ada|PUT|/p?q|b:80>");
	check_value(&h, "%REQ(x-user):2%", "ad");
	check_value(&h, "%REQ(x-none)%", "");
	check_value(&h, "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.0.2.7:4711 192.0.2.7");
	check_value(&h, "%START_TIME%", "2020-12-01T10:00:00.123Z");
	check_value(&h, "%PROTOCOL%/%ROUTE_NAME%/%REQUEST_ID%", "HTTP/1.1/main/id-1");
	check_value(&h, "%RESP(x)%", "");
	/* what is no operator stays as it is */
	check_value(&h, "50% of %NOTHING% %REQ(x", "50% of %NOTHING% %REQ(x");
	check_value(&h, "%REQ(x-user):z%", "%REQ(x-user):z%");
	check_value(&h, "%", "%");
	arena_done(&arena);
}
END_TEST

START_TEST(operations_in_order)
{
	static struct str removed[] = { { "x-old", 5 }, { "x-set", 5 } };
	static struct snap_pair set[] = { { { "x-set", 5 }, { "1", 1 } }, { { "host", 4 }, { "new.example", 11 } },
					  { { "x-empty", 7 }, { "%REQ(nope)%", 11 } }, { { "x-blank", 7 }, { "", 0 } } };
	static struct snap_pair add[] = { { { "x-set", 5 }, { "2", 1 } }, { { "x-bad", 5 }, { "a\nb", 3 } } };
	struct snap_header_ops ops = { .remove = { removed, 2 }, .set = { set, 4 }, .add = { add, 2 } };
	arena_init(&arena, 0);
	struct head h = request("GET", "b", "/");
	head_add(&h, STR("x-old"), STR("o"));
	head_add(&h, STR("x-set"), STR("0"));
	head_add(&h, STR("x-empty"), STR("kept"));
	rewrite_headers(&ops, &h, some_ctx(&h, NULL));
	ck_assert_ptr_null(head_find_name(&h, STR("x-old")));
	unit_str_eq(head_joined(&h, STR("x-set")), "1,2");
	unit_str_eq(head_joined(&h, STR("x-empty")), "kept");
	ck_assert_ptr_nonnull(head_find_name(&h, STR("x-blank")));
	ck_assert_ptr_null(head_find_name(&h, STR("x-bad")));
	unit_str_eq(h.authority, "new.example");
	unit_str_eq(head_value(&h, HEAD_ID_X_ENVOY_ORIGINAL_HOST), "b");
	/* a response has no authority to set; its own values can be used */
	struct head res;
	head_init(&res, &arena);
	res.status = 200;
	head_add(&res, STR("etag"), STR("e1"));
	static struct snap_pair res_set[] = { { { "host", 4 }, { "x", 1 } }, { { "x-tag", 5 }, { "%RESP(etag)%", 12 } } };
	struct snap_header_ops res_ops = { .set = { res_set, 2 } };
	rewrite_headers(&res_ops, &res, some_ctx(&h, &res));
	unit_str_eq(head_joined(&res, STR("x-tag")), "e1");
	ck_assert_ptr_null(head_find_name(&res, STR("host")));
	rewrite_headers(NULL, &res, some_ctx(&h, &res));
	arena_done(&arena);
}
END_TEST

START_TEST(values_are_capped)
{
	arena_init(&arena, 0);
	struct head h = request("GET", "b", "/");
	char *big = arena_alloc(&arena, 9000);
	memset(big, 'x', 9000);
	head_add(&h, STR("x-big"), str_from(big, 9000));
	ck_assert_uint_eq(rewrite_value(STR("%REQ(x-big)%"), some_ctx(&h, NULL), &arena).n, 9000);
	ck_assert_ptr_null(rewrite_value(STR("%REQ(x-big)%%REQ(x-big)%"), some_ctx(&h, NULL), &arena).p);
	arena_done(&arena);
}
END_TEST

UNIT_MAIN("rewrite", paths, regex_paths, authorities, locations, operators, operations_in_order, values_are_capped)
