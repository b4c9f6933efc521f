/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1: request heads: every row of security-model §5.1 that a parser decides, and what goes out
 * again.
 */
#include "h1_unit.h"

static enum h1_result request(struct parsed *p, const struct h1_limits *lim, struct str in)
{
	return h1_parse_request(&p->parser, lim, in, &p->head, &p->used);
}

static const struct h1_limits small = { .line_max = 40, .head_max = 160, .fields_max = 5 };

static void parse_with(struct parsed *p, const struct h1_limits *lim, struct str in)
{
	parsed_init(p);
	parse_copy(p, lim, in, request);
	same_for_every_split(in, lim, request, p);
}

static void good(struct parsed *p, const char *in)
{
	parse_with(p, &h1_limits_default, str_c(in));
	ck_assert_msg(p->result == H1_DONE, "\"%s\": %s", in,
		      p->result == H1_BAD ? p->parser.reason : "wants more");
	ck_assert_uint_eq(p->used, strlen(in));
}

static void refused_n(struct str in, unsigned status, const char *reason)
{
	struct parsed p;

	parse_with(&p, &h1_limits_default, in);
	ck_assert_msg(p.result == H1_BAD, "\"%.*s\" was taken", STR_ARG(in));
	ck_assert_msg(p.parser.status == status && strcmp(p.parser.reason, reason) == 0,
		      "\"%.*s\": %u %s, not %u %s", STR_ARG(in), p.parser.status, p.parser.reason,
		      status, reason);
	parsed_done(&p);
}

static void refused(const char *in, unsigned status, const char *reason)
{
	refused_n(str_c(in), status, reason);
}

#define HOST "Host: h\r\n"
#define REQ(line, fields) line "\r\n" HOST fields "\r\n"
#define GET(fields) REQ("GET / HTTP/1.1", fields)

START_TEST(the_usual)
{
	struct parsed p;

	good(&p, "GET /a/b?c=d HTTP/1.1\r\nHost: Shop.Example:8080\r\nUser-Agent:curl/7\r\n"
		 "X-Empty:\r\nACCEPT: \t */* \t\r\nx-obs: \xc3\xa4\r\n\r\n");
	unit_str_eq(p.head.method, "GET");
	unit_str_eq(p.head.path, "/a/b?c=d");
	unit_str_eq(p.head.authority, "Shop.Example:8080");
	unit_str_eq(p.head.scheme, "http");
	unit_str_eq(fields_text(&p),
		    "user-agent: curl/7\nx-empty: \naccept: */*\nx-obs: \xc3\xa4\n");
	ck_assert_int_eq(p.head.version, HEAD_VERSION_11);
	ck_assert_int_eq(p.head.body, HEAD_BODY_NONE);
	ck_assert(p.head.keep_alive && !p.head.expect_continue && !p.head.te_trailers);
	ck_assert_int_eq(p.head.fields[0].id, HEAD_ID_USER_AGENT);
	parsed_done(&p);
}
END_TEST

START_TEST(what_follows_is_left_alone)
{
	struct parsed p;
	struct str in = STR(
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/9.9\r\n\r\n");

	parse_with(&p, &h1_limits_default, in);
	ck_assert_int_eq(p.result, H1_DONE);
	unit_str_eq(str_take(str_skip(in, p.used), 3), "abc");
	/* The parser is ready for the next one. */
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_skip(in, p.used + 3), request),
			 H1_BAD);
	ck_assert_str_eq(p.parser.reason, "bad_version");
	parsed_done(&p);
}
END_TEST

START_TEST(request_lines)
{
	struct parsed p;

	refused(REQ("GET /", ""), 400, "bad_request_line");
	refused(REQ("GET", ""), 400, "bad_request_line");
	refused(REQ(" GET / HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET  / HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET /  HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET / HTTP/1.1 ", ""), 400, "bad_request_line");
	refused(REQ("GET / x HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET\t/ HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET /\ta HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("G(T / HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET /\x01 HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET /\x7f HTTP/1.1", ""), 400, "bad_request_line");
	refused(REQ("GET /\xc3\xa4 HTTP/1.1", ""), 400, "bad_request_line");
	refused_n(STR("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), 400, "bad_request_line");
	refused("GET / HTTP/1.1\n" HOST "\r\n", 400, "bad_request_line");
	refused("GET / HTTP/1.1\r" HOST "\r\n", 400, "bad_request_line");
	refused_n(STR("\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), 400, "bad_request_line");
	good(&p, REQ("get / HTTP/1.1", ""));
	unit_str_eq(p.head.method, "get");              /* the route's list decides */
	parsed_done(&p);
	good(&p, REQ("PROPFIND / HTTP/1.1", ""));
	parsed_done(&p);
	refused(REQ("TRACE / HTTP/1.1", ""), 405, "method");
}
END_TEST

START_TEST(versions)
{
	struct parsed p;

	refused(REQ("GET / HTTP/2.0", ""), 505, "bad_version");
	refused(REQ("GET / HTTP/0.9", ""), 505, "bad_version");
	refused(REQ("GET / HTTP/1.10", ""), 505, "bad_version");
	refused(REQ("GET / HTTP/11.1", ""), 505, "bad_version");
	refused(REQ("GET / http/1.1", ""), 505, "bad_version");
	refused(REQ("GET / HTTP/1", ""), 400, "bad_version");
	refused(REQ("GET / HTTP/1.", ""), 400, "bad_version");
	refused(REQ("GET / HTTP/1.x", ""), 400, "bad_version");
	refused(REQ("GET / HTTP/", ""), 400, "bad_version");
	refused(REQ("GET / HTCPCP/1.0", ""), 400, "bad_request_line");
	refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "bad_version");
	good(&p, REQ("GET / HTTP/1.9", ""));
	ck_assert_int_eq(p.head.version, HEAD_VERSION_11);
	parsed_done(&p);
}
END_TEST

START_TEST(http_1_0)
{
	struct parsed p;

	good(&p, "GET / HTTP/1.0\r\n\r\n");
	ck_assert_int_eq(p.head.version, HEAD_VERSION_10);
	ck_assert_uint_eq(p.head.authority.n, 0);
	ck_assert(!p.head.keep_alive);
	parsed_done(&p);
	good(&p, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nTE: trailers\r\nUpgrade: x\r\n\r\n");
	ck_assert(p.head.keep_alive && !p.head.te_trailers && p.head.upgrade.n == 0);
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
	good(&p, "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n");
	ck_assert(!p.head.keep_alive);
	parsed_done(&p);
	good(&p, "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
	ck_assert(!p.head.expect_continue);
	parsed_done(&p);
	refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "te_in_10");
	refused("POST / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, "bad_host");
}
END_TEST

START_TEST(field_lines)
{
	refused(GET("a: b\rc\r\n"), 400, "bad_field");
	refused(GET("a: b\nc: d\r\n"), 400, "bad_field");
	refused(GET("a: b\n"), 400, "bad_field");
	refused_n(STR("GET / HTTP/1.1\r\n" HOST "a: \0\r\n\r\n"), 400, "bad_field");
	refused_n(STR("GET / HTTP/1.1\r\n" HOST "a\0: b\r\n\r\n"), 400, "bad_field");
	refused(GET("a: b\r\n c\r\n"), 400, "bad_field");
	refused(GET("a: b\r\n\tc\r\n"), 400, "bad_field");
	refused(GET("a : b\r\n"), 400, "bad_field");
	refused(GET("a\t: b\r\n"), 400, "bad_field");
	refused("GET / HTTP/1.1\r\n " HOST "\r\n", 400, "bad_field");
	refused(GET(": b\r\n"), 400, "bad_field");
	refused(GET("a(b: c\r\n"), 400, "bad_field");
	refused(GET("\xc3\xa4: c\r\n"), 400, "bad_field");
	refused(GET("no-colon\r\n"), 400, "bad_field");
	refused(GET("a: \x01\r\n"), 400, "bad_field");
	refused(GET("a: \x7f\r\n"), 400, "bad_field");
	refused(GET("a: \x1b[31m\r\n"), 400, "bad_field");
	refused("GET / HTTP/1.1\r\n" HOST "a: b\r\n\rX", 400, "bad_field");
	refused("GET / HTTP/1.1\r\n" HOST "a: b\r\n\n", 400, "bad_field");
	refused(GET("Connection: a b\r\n"), 400, "bad_field");
}
END_TEST

START_TEST(one_empty_line_in_front)
{
	struct parsed p;

	good(&p, "\r\n" GET(""));
	parsed_done(&p);
	refused("\r\n\r\n" GET(""), 400, "bad_request_line");
	refused("\n" GET(""), 400, "bad_request_line");
	refused("\r\n \r\n" GET(""), 400, "bad_request_line");
}
END_TEST

START_TEST(hosts)
{
	static const char *const bad[] = {
		"",   "a b", "a,b", "u@h",  "u:p@h", "h:",   "h:x",  "h:65536",  "h:0",
		"h/", "h?x", "h#x", "[::1", "::1",   "h\\x", "h%41", "http://h", "\"h\"",
	};
	struct parsed p;
	char in[200];

	refused("GET / HTTP/1.1\r\n\r\n", 400, "bad_host");
	refused("GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400, "bad_host");
	refused("GET http://h/ HTTP/1.1\r\n\r\n", 400, "bad_host");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(in, sizeof(in), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
		refused(in, 400, "bad_host");
	}
	good(&p, "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n");
	unit_str_eq(p.head.authority, "[2001:db8::1]:8443");
	parsed_done(&p);
}
END_TEST

START_TEST(absolute_targets)
{
	struct parsed p;

	good(&p, REQ("GET http://h HTTP/1.1", ""));
	unit_str_eq(p.head.path, "/");
	unit_str_eq(p.head.authority, "h");
	parsed_done(&p);
	good(&p, REQ("GET HTTPS://H:443/x?y HTTP/1.1", ""));
	unit_str_eq(p.head.path, "/x?y");
	unit_str_eq(p.head.scheme, "https");
	parsed_done(&p);
	good(&p, REQ("GET http://h?y HTTP/1.1", ""));
	unit_str_eq(p.head.path, "/?y");
	parsed_done(&p);
	good(&p, REQ("OPTIONS http://h HTTP/1.1", ""));
	unit_str_eq(p.head.path, "*");
	parsed_done(&p);
	good(&p, "GET http://h:81/ HTTP/1.0\r\n\r\n");
	unit_str_eq(p.head.authority, "h:81");
	parsed_done(&p);
	refused(REQ("GET http://other/ HTTP/1.1", ""), 400, "host_mismatch");
	refused(REQ("GET http://h:81/ HTTP/1.1", ""), 400, "host_mismatch");
	refused(REQ("GET https://h:80/ HTTP/1.1", ""), 400, "host_mismatch");
	refused(REQ("GET http:/// HTTP/1.1", ""), 400, "bad_host");
	refused(REQ("GET http://u@h/ HTTP/1.1", ""), 400, "bad_host");
	refused(REQ("GET http://h\\@evil/ HTTP/1.1", ""), 400, "bad_host");
	refused(REQ("GET http://h:x/ HTTP/1.1", ""), 400, "bad_host");
	refused(REQ("GET ftp://h/ HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET http:\\\\h/ HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET http://h/%zz HTTP/1.1", ""), 400, "bad_target");
}
END_TEST

START_TEST(targets)
{
	struct parsed p;

	good(&p, REQ("GET /app#foo?x HTTP/1.1", ""));
	unit_str_eq(p.head.path, "/app");
	ck_assert(p.parser.fragment);
	parsed_done(&p);
	good(&p, REQ("OPTIONS * HTTP/1.1", ""));
	unit_str_eq(p.head.path, "*");
	ck_assert(!p.parser.fragment);
	parsed_done(&p);
	good(&p, REQ("GET /a%20b?50%&%00 HTTP/1.1", ""));        /* the query is the service's */
	parsed_done(&p);
	refused(REQ("GET * HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET #x HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET a HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET ?a HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET /% HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET /%4 HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET /%4x HTTP/1.1", ""), 400, "bad_target");
	refused(REQ("GET /%00 HTTP/1.1", ""), 400, "bad_target");
	good(&p, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n");
	unit_str_eq(p.head.authority, "h:443");
	ck_assert_uint_eq(p.head.path.n, 0);
	parsed_done(&p);
	refused("CONNECT h:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", 400, "host_mismatch");
	refused("CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_target");
	refused("CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_target");
	refused("CONNECT http://h:1/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_target");
}
END_TEST

START_TEST(lengths)
{
	static const char *const bad[] = {
		"",
		"-1",
		"+1",
		"0x1",
		"1 2",
		"1,1",
		"1, 1",
		"a",
		"9223372036854775808",
		"99999999999999999999",
		"1.0",
		"1;",
		"\xc2\xb2",
	};
	struct parsed p;
	char in[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(in, sizeof(in), "POST / HTTP/1.1\r\n" HOST "Content-Length: %s\r\n\r\n",
			 bad[i]);
		refused(in, 400, "bad_cl");
	}
	refused(GET("Content-Length: 5\r\nContent-Length: 5\r\n"), 400, "bad_cl");
	refused(GET("Content-Length: 5\r\ncontent-length: 6\r\n"), 400, "bad_cl");
	good(&p, GET("Content-Length: 9223372036854775807\r\n"));
	ck_assert_uint_eq(p.head.content_length, INT64_MAX);
	ck_assert_int_eq(p.head.body, HEAD_BODY_LENGTH);
	parsed_done(&p);
	good(&p, GET("Content-Length: 0\r\nExpect: 100-Continue\r\n"));
	ck_assert_int_eq(p.head.body, HEAD_BODY_LENGTH);
	ck_assert(p.head.expect_continue);
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
}
END_TEST

START_TEST(codings)
{
	struct parsed p;

	good(&p, GET("Transfer-Encoding: Chunked\r\n"));
	ck_assert_int_eq(p.head.body, HEAD_BODY_CHUNKED);
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
	refused(GET("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400, "cl_te");
	refused(GET("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "cl_te");
	refused(GET("Content-Length: 5\r\nTransfer-Encoding: identity\r\n"), 400, "cl_te");
	refused(GET("Transfer-Encoding: gzip, chunked\r\n"), 501, "bad_te");
	refused(GET("Transfer-Encoding: gzip\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: identity\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: chunked, chunked\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: chunked, gzip\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 400,
		"bad_te");
	refused(GET("Transfer-Encoding: chunked;q=1\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: \"chunked\"\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding:\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: xchunked\r\n"), 400, "bad_te");
	refused(GET("Transfer-Encoding: \x0b" "chunked\r\n"), 400, "bad_field");
	refused(GET("Transfer-Encoding : chunked\r\n"), 400, "bad_field");
}
END_TEST

START_TEST(limits)
{
	struct parsed p;
	char big[70000];
	size_t n = (size_t)snprintf(big, sizeof(big), "GET /");

	/* 16 KiB of request line and not a byte more. */
	memset(big + n, 'a', h1_limits_default.line_max - n - 9);
	n = h1_limits_default.line_max - 9;
	memcpy(big + n, " HTTP/1.1\r\n" HOST "\r\n", 22);
	parsed_init(&p);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, n + 22), request),
			 H1_DONE);
	parsed_done(&p);
	memcpy(big + n, "a HTTP/1.1\r\n" HOST "\r\n", 23);
	parsed_init(&p);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, n + 23), request),
			 H1_BAD);
	ck_assert_uint_eq(p.parser.status, 414);
	ck_assert_str_eq(p.parser.reason, "too_large");
	parsed_done(&p);

	/* A slow sender of an endless field is told as soon as the limit is crossed. */
	n = (size_t)snprintf(big, sizeof(big), "GET / HTTP/1.1\r\n" HOST "a: ");
	memset(big + n, 'x', sizeof(big) - n);
	parsed_init(&p);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, 61440), request),
			 H1_MORE);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, 61441), request), H1_BAD);
	ck_assert_uint_eq(p.parser.status, 431);
	ck_assert_str_eq(p.parser.reason, "too_large");
	parsed_done(&p);
}
END_TEST

static void limited(const char *in, enum h1_result want, unsigned status)
{
	struct parsed p;

	parse_with(&p, &small, str_c(in));
	ck_assert_msg(p.result == want, "%s", in);
	if (want == H1_BAD)
		ck_assert_uint_eq(p.parser.status, status);
	parsed_done(&p);
}

#define A10 "aaaaaaaaaa"
START_TEST(small_limits_at_every_split)
{
	limited(REQ("GET /" A10 A10 "aaaaaa HTTP/1.1", ""), H1_DONE, 0);
	limited(REQ("GET /" A10 A10 "aaaaaaa HTTP/1.1", ""), H1_BAD, 414);
	limited(REQ("GET /" A10 A10 "\x01" A10 A10 " HTTP/1.1", ""), H1_BAD, 400);
	limited(GET("a: b\r\nc: d\r\ne: f\r\ng: h\r\n"), H1_DONE, 0);
	limited(GET("a: b\r\nc: d\r\ne: f\r\ng: h\r\ni: j\r\n"), H1_BAD, 431);
	/* 160 bytes in all. */
	limited(GET("a: " A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 "aaaaaaaa\r\n"), H1_DONE,
		0);
	limited(GET("a: " A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 "aaaaaaaaa\r\n"), H1_BAD,
		431);
	limited(GET("a: " A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 "aaaaaaaaaaa\r\n"),
		H1_BAD, 431);
}
END_TEST

START_TEST(hop_by_hop)
{
	struct parsed p;

	good(&p,
	     GET("Connection: close, X-Gone ,, te, Authorization, host, content-length, "
		 "X-Forwarded-For\r\n"
		 "X-GONE: 1\r\nX-Stays: 2\r\nAuthorization: secret\r\nContent-Length: 0\r\n"
		 "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip, Trailers\r\n"
		 "X-Forwarded-For: 1.2.3.4\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: h2c\r\n"));
	unit_str_eq(fields_text(&p),
		    "x-stays: 2\nauthorization: secret\nx-forwarded-for: 1.2.3.4\n");
	ck_assert(!p.head.keep_alive);
	ck_assert(p.head.te_trailers);
	ck_assert_uint_eq(p.head.upgrade.n, 0);
	ck_assert_int_eq(p.head.body, HEAD_BODY_LENGTH);
	unit_str_eq(p.head.authority, "h");
	parsed_done(&p);
}
END_TEST

START_TEST(connection_options_are_capped)
{
	char in[400] = "GET / HTTP/1.1\r\n" HOST "Connection: ";

	for (int i = 0; i < 65; i++)
		strncat(in, "a,", 3);
	strncat(in, "\r\n\r\n", 5);
	refused(in, 400, "bad_field");
}
END_TEST

START_TEST(upgrades)
{
	struct parsed p;

	good(&p, GET("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
	unit_str_eq(p.head.upgrade, "websocket");
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
	good(&p, GET("Upgrade: websocket\r\n"));                 /* not asked for hop by hop */
	ck_assert_uint_eq(p.head.upgrade.n, 0);
	parsed_done(&p);
	good(&p,
	     GET("Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"));
	ck_assert_uint_eq(p.head.upgrade.n, 0);
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
	good(&p, GET("Connection: upgrade\r\nUpgrade: h2c, ,foo/2, bar\r\n"));
	unit_str_eq(p.head.upgrade, "foo/2");
	parsed_done(&p);
	good(&p, GET("Connection: upgrade\r\nUpgrade: a b, /1, c/\r\n"));
	ck_assert_uint_eq(p.head.upgrade.n, 0);
	parsed_done(&p);
	refused(GET("Content-Length: 1\r\nExpect: magic\r\n"), 417, "expect");
}
END_TEST

/* ---- what goes out ------------------------------------------------------- */

static void writes(const char *in, bool close, const char *want)
{
	struct parsed p;
	char out[2000];

	good(&p, in);
	size_t room = h1_request_size(&p.head);

	ck_assert_uint_gt(room, 0);
	size_t n = h1_write_request(&p.head, close, out);

	ck_assert_uint_le(n, room);
	unit_str_eq(str_from(out, n), want);
	parsed_done(&p);
}

START_TEST(canonical_requests)
{
	writes("GET http://H/x?y HTTP/1.0\r\nACCEPT:  */*\r\n\r\n", false,
	       "GET /x?y HTTP/1.1\r\nhost: H\r\naccept: */*\r\n\r\n");
	writes(REQ("POST / HTTP/1.1", "Content-Length: 007\r\nExpect: 100-continue\r\n"), true,
	       "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\nexpect: 100-continue\r\n"
	       "connection: close\r\n\r\n");
	writes(REQ("PUT / HTTP/1.1",
		   "Transfer-Encoding: CHUNKED\r\nTE: trailers\r\nTrailer: x\r\n"),
	       false,
	       "PUT / HTTP/1.1\r\nhost: h\r\ntrailer: x\r\ntransfer-encoding: chunked\r\nte: "
	       "trailers\r\n"
	       "connection: te\r\n\r\n");
	writes(REQ("POST / HTTP/1.1", ""), false,
	       "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
	writes(REQ("DELETE / HTTP/1.1", ""), false, "DELETE / HTTP/1.1\r\nhost: h\r\n\r\n");
	writes(GET("Connection: upgrade\r\nUpgrade: websocket\r\n"), false,
	       "GET / HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
	writes("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", false,
	       "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n");
	writes(REQ("OPTIONS * HTTP/1.1", ""), false, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
}
END_TEST

static struct arena made_arena;
static struct head make(void)
{
	struct head h;

	arena_init(&made_arena, 0);
	head_init(&h, &made_arena);
	h.method = STR("GET");
	h.path = STR("/");
	h.authority = STR("h");
	return h;
}

/* Fields of another codec that would be framing here are left out. */
START_TEST(framing_comes_from_the_body_alone)
{
	struct head h = make();
	char out[500];

	head_add(&h, STR("content-length"), STR("999"));
	head_add(&h, STR("transfer-encoding"), STR("chunked"));
	head_add(&h, STR("connection"), STR("x"));
	head_add(&h, STR("host"), STR("evil"));
	head_add(&h, STR("x"), STR("y"));
	unit_str_eq(str_from(out, h1_write_request(&h, false, out)),
		    "GET / HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n");
	arena_done(&made_arena);
}
END_TEST

static void refuses_to_write(const struct head *h)
{
	char *out = malloc(h1_request_size(h));

	ck_assert_uint_eq(h1_write_request(h, false, out), 0);
	free(out);
}

START_TEST(nothing_ambiguous_gets_out)
{
	static const struct { struct str name, value;
	} bad[] = {
		{ { "X", 1 }, { "a", 1 } },         { { "", 0 }, { "a", 1 } },
		{ { "a b", 3 }, { "a", 1 } },       { { "a:", 2 }, { "a", 1 } },
		{ { ":path", 5 }, { "a", 1 } },     { { "a\0", 2 }, { "a", 1 } },
		{ { "a", 1 }, { "b\r\nc: d", 7 } }, { { "a", 1 }, { "b\n", 2 } },
		{ { "a", 1 }, { "b\0", 2 } },       { { "a", 1 }, { " b", 2 } },
		{ { "a", 1 }, { "b\t", 2 } },       { { "a", 1 }, { "\x7f", 1 } },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct head h = make();

		head_add(&h, bad[i].name, bad[i].value);
		ck_assert_msg(!h1_request_ok(&h), "row %zu", i);
		refuses_to_write(&h);
		arena_done(&made_arena);
	}
#define REFUSES(what)                                                                              \
	do {                                                                                       \
		struct head h = make();                                                            \
		ck_assert(h1_request_ok(&h));                                                      \
		what;                                                                              \
		ck_assert_msg(!h1_request_ok(&h), #what);                                          \
		refuses_to_write(&h);                                                              \
		arena_done(&made_arena);                                                           \
	} while (0)
	REFUSES(h.method = STR("G T"));
	REFUSES(h.method = STR(""));
	REFUSES(h.method = STR("CONNECT"));
	REFUSES(h.path = STR(""));
	REFUSES(h.path = STR("x"));
	REFUSES(h.path = STR("*"));
	REFUSES(h.path = STR("/ HTTP/1.1\r\n"));
	REFUSES(h.path = STR("/a b"));
	REFUSES(h.path = STR("/a#b"));
	REFUSES(h.path = STR("/\xc3\xa4"));
	REFUSES(h.authority = STR("h\r\nx: y"));
	REFUSES(h.authority = STR("h x"));
	REFUSES(h.upgrade = STR("a\r\nb: c"));
}
END_TEST

/* What is written is read again as the same thing. */
START_TEST(written_requests_are_read_the_same)
{
	static const char *const in[] = {
		GET("A: 1\r\nB: 2\r\na: 3\r\n"),
		REQ("POST /x?y HTTP/1.1", "Content-Length: 5\r\n"),
		REQ("PUT / HTTP/1.1",
		    "Transfer-Encoding: chunked\r\nTE: trailers\r\nExpect: 100-continue\r\n"),
		GET("Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
		"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		struct parsed p, q;
		char out[1000];

		good(&p, in[i]);
		size_t n = h1_write_request(&p.head, false, out);

		parse_with(&q, &h1_limits_default, str_from(out, n));
		ck_assert_int_eq(q.result, H1_DONE);
		same_head(&p.head, &q.head);
		parsed_done(&p);
		parsed_done(&q);
	}
}
END_TEST

UNIT_MAIN("h1_request", the_usual, what_follows_is_left_alone, request_lines, versions, http_1_0,
	  field_lines, one_empty_line_in_front, hosts, absolute_targets, targets, lengths, codings,
	  limits, small_limits_at_every_split, hop_by_hop, connection_options_are_capped, upgrades,
	  canonical_requests, framing_comes_from_the_body_alone, nothing_ambiguous_gets_out,
	  written_requests_are_read_the_same)
