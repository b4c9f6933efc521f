/* SPDX-License-Identifier: Apache-2.0 */
/* h1: response heads (security-model §5.2) and what goes out to clients. */
#include "h1_unit.h"

static struct str method;

static enum h1_result response(struct parsed *p, const struct h1_limits *lim, struct str in)
{
	return h1_parse_response(&p->parser, lim, in, method, &p->head, &p->used);
}

static void parse_all(struct parsed *p, struct str in)
{
	parsed_init(p);
	parse_copy(p, &h1_limits_default, in, response);
	same_for_every_split(in, &h1_limits_default, response, p);
}

static void good_to(struct parsed *p, const char *request_method, const char *in)
{
	method = str_c(request_method);
	parse_all(p, str_c(in));
	ck_assert_msg(p->result == H1_DONE, "\"%s\" to %s: %d", in, request_method, (int)p->result);
	ck_assert_uint_eq(p->used, strlen(in));
}

static void good(struct parsed *p, const char *in)
{
	good_to(p, "GET", in);
}

static void refused_n(struct str in)
{
	struct parsed p;

	method = STR("GET");
	parse_all(&p, in);
	ck_assert_msg(p.result == H1_BAD, "\"%.*s\" was taken", STR_ARG(in));
	ck_assert_uint_eq(p.parser.status, 502);
	ck_assert_str_eq(p.parser.reason, "bad_response");
	parsed_done(&p);
}

static void refused(const char *in)
{
	refused_n(str_c(in));
}

#define OK "HTTP/1.1 200 OK\r\n"

START_TEST(the_usual)
{
	struct parsed p;

	good(&p,
	     OK "Server: nginx\r\nContent-Length: 12\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n");
	ck_assert_uint_eq(p.head.status, 200);
	unit_str_eq(p.head.reason, "OK");
	ck_assert_int_eq(p.head.body, HEAD_BODY_LENGTH);
	ck_assert_uint_eq(p.head.content_length, 12);
	ck_assert(p.head.keep_alive);
	unit_str_eq(fields_text(&p), "server: nginx\nset-cookie: a\nset-cookie: b\n");
	parsed_done(&p);
}
END_TEST

START_TEST(status_lines)
{
	struct parsed p;

	good(&p, "HTTP/1.0 404 Nicht \xc3\xa4 da\r\n\r\n");
	unit_str_eq(p.head.reason, "Nicht \xc3\xa4 da");
	ck_assert_int_eq(p.head.version, HEAD_VERSION_10);
	parsed_done(&p);
	good(&p, "HTTP/1.1 200 \r\n\r\n");
	ck_assert_uint_eq(p.head.reason.n, 0);
	parsed_done(&p);
	good(&p, "HTTP/1.1 999\r\n\r\n");
	parsed_done(&p);
	refused("HTTP/1.1 20 OK\r\n\r\n");
	refused("HTTP/1.1 2000 OK\r\n\r\n");
	refused("HTTP/1.1 099 OK\r\n\r\n");
	refused("HTTP/1.1 2x0 OK\r\n\r\n");
	refused("HTTP/1.1  200 OK\r\n\r\n");
	refused("HTTP/1.1 -20 OK\r\n\r\n");
	refused("HTTP/2.0 200 OK\r\n\r\n");
	refused("http/1.1 200 OK\r\n\r\n");
	refused("HTTP/1.x 200 OK\r\n\r\n");
	refused("HTTP/1.1\t200 OK\r\n\r\n");
	refused("ICY 200 OK\r\n\r\n");
	refused("\r\n" OK "\r\n");
	refused("HTTP/1.1 200 O\x01K\r\n\r\n");
	refused_n(STR("HTTP/1.1 200 O\0K\r\n\r\n"));
	refused("HTTP/1.1 200 OK\n\n");
	refused("220 mail.example ESMTP\r\n");
	refused("-ERR");
}
END_TEST

START_TEST(field_sections)
{
	char big[70000];
	size_t n;
	struct parsed p;

	refused(OK "a : b\r\n\r\n");
	refused(OK "a: b\r\n c\r\n\r\n");
	refused(OK " a: b\r\n\r\n");
	refused(OK "nothing\r\n\r\n");
	refused(OK ": b\r\n\r\n");
	refused(OK "a: b\n\r\n");
	refused(OK "a: b\rc\r\n\r\n");
	refused_n(STR("HTTP/1.1 200 OK\r\na: \0\r\n\r\n"));
	n = (size_t)snprintf(big, sizeof(big), OK);
	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "a: b\r\n");
	memcpy(big + n, "\r\n", 2);
	parsed_init(&p);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, n + 2), response),
			 H1_DONE);
	ck_assert_uint_eq(p.head.n, 100);
	parsed_done(&p);
	memcpy(big + n, "a: b\r\n\r\n", 8);
	parsed_init(&p);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, n + 8), response),
			 H1_BAD);
	ck_assert_uint_eq(p.parser.status, 502);
	parsed_done(&p);
	memset(big + n, 'x', sizeof(big) - n);
	parsed_init(&p);
	ck_assert_int_eq(parse_copy(&p, &h1_limits_default, str_from(big, sizeof(big)), response),
			 H1_BAD);
	ck_assert_str_eq(p.parser.reason, "bad_response");
	parsed_done(&p);
}
END_TEST

START_TEST(framing)
{
	struct parsed p;

	good(&p, OK "\r\n");
	ck_assert_int_eq(p.head.body, HEAD_BODY_UNTIL_CLOSE);
	ck_assert(!p.head.keep_alive);
	parsed_done(&p);
	good(&p, OK "Transfer-Encoding: CHUNKED\r\n\r\n");
	ck_assert_int_eq(p.head.body, HEAD_BODY_CHUNKED);
	ck_assert(p.head.keep_alive);
	parsed_done(&p);
	good(&p, OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n");
	ck_assert_uint_eq(p.head.content_length, 5);
	parsed_done(&p);
	good(&p, OK "Content-Length: 5, 5\r\n\r\n");
	ck_assert_uint_eq(p.head.content_length, 5);
	parsed_done(&p);
	refused(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n");
	refused(OK "Content-Length: 5, 6\r\n\r\n");
	refused(OK "Content-Length: 5,\r\n\r\n");
	refused(OK "Content-Length:\r\n\r\n");
	refused(OK "Content-Length: -1\r\n\r\n");
	refused(OK "Content-Length: 9223372036854775808\r\n\r\n");
	refused(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
	refused(OK "Transfer-Encoding: gzip, chunked\r\n\r\n");
	refused(OK "Transfer-Encoding: gzip\r\n\r\n");
	refused(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
	refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}
END_TEST

START_TEST(messages_without_body)
{
	static const struct { const char *method, *line; bool described;
	} none[] = {
		{ "HEAD", "HTTP/1.1 200 OK\r\n", true },
		{ "GET", "HTTP/1.1 204 No Content\r\n", false },
		{ "GET", "HTTP/1.1 304 Not Modified\r\n", true },
		{ "GET", "HTTP/1.1 100 Continue\r\n", false },
		{ "GET", "HTTP/1.1 103 Early Hints\r\n", false },
		{ "CONNECT", "HTTP/1.1 200 OK\r\n", false },
	};
	struct parsed p;
	char in[200];

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		snprintf(in, sizeof(in), "%sContent-Length: 012\r\n\r\n", none[i].line);
		good_to(&p, none[i].method, in);
		ck_assert_int_eq(p.head.body, HEAD_BODY_NONE);
		ck_assert(p.head.keep_alive);
		unit_str_eq(fields_text(&p), none[i].described ? "content-length: 12\n" : "");
		parsed_done(&p);
		snprintf(in, sizeof(in), "%sTransfer-Encoding: chunked\r\n\r\n", none[i].line);
		good_to(&p, none[i].method, in);
		ck_assert_int_eq(p.head.body, HEAD_BODY_NONE);
		parsed_done(&p);
	}
	good_to(&p, "CONNECT", "HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\n");
	ck_assert_int_eq(p.head.body, HEAD_BODY_LENGTH);
	parsed_done(&p);
}
END_TEST

START_TEST(connections)
{
	struct parsed p;

	good(&p, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n");
	ck_assert(!p.head.keep_alive);
	parsed_done(&p);
	good(&p, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\nKeep-Alive: "
		 "timeout=5\r\n\r\n");
	ck_assert(p.head.keep_alive);
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
	good(&p, OK "Content-Length: 1\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nTE: "
		    "x\r\nUpgrade: h2\r\n\r\n");
	ck_assert(!p.head.keep_alive);
	ck_assert_uint_eq(p.head.n, 0);
	parsed_done(&p);
	good(&p, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Accept: x\r\n\r\n");
	unit_str_eq(p.head.upgrade, "websocket");
	ck_assert_int_eq(p.head.body, HEAD_BODY_NONE);
	unit_str_eq(fields_text(&p), "sec-websocket-accept: x\n");
	parsed_done(&p);
}
END_TEST

/* ---- what goes out ------------------------------------------------------- */

static struct arena arena;
static struct head head;

static void make(unsigned status, enum head_body body, uint64_t length)
{
	arena_init(&arena, 0);
	head_init(&head, &arena);
	head.status = status;
	head.body = body;
	head.content_length = length;
	head_add(&head, STR("server"), STR("x"));
}

static void gives(bool close, bool to_http10, const char *want)
{
	char out[1000];
	size_t room = h1_response_size(&head), n = h1_write_response(&head, close, to_http10, out);

	ck_assert_uint_gt(room, 0);
	ck_assert_uint_le(n, room);
	unit_str_eq(str_from(out, n), want);
	arena_done(&arena);
}

START_TEST(canonical_responses)
{
	make(200, HEAD_BODY_LENGTH, 12);
	gives(false, false, "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 12\r\n\r\n");
	make(200, HEAD_BODY_LENGTH, 0);
	gives(true, false,
	      "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
	make(200, HEAD_BODY_LENGTH, 1);
	gives(false, true,
	      "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 1\r\nconnection: "
	      "keep-alive\r\n\r\n");
	make(200, HEAD_BODY_CHUNKED, 0);
	gives(false, false, "HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n");
	make(200, HEAD_BODY_UNTIL_CLOSE, 0);
	ck_assert_int_eq(h1_response_framing(&head, false), HEAD_BODY_CHUNKED);
	gives(false, false, "HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n");
	make(200, HEAD_BODY_CHUNKED, 0);
	ck_assert_int_eq(h1_response_framing(&head, true), HEAD_BODY_UNTIL_CLOSE);
	gives(false, true, "HTTP/1.1 200 OK\r\nserver: x\r\nconnection: close\r\n\r\n");
	make(799, HEAD_BODY_LENGTH, 0);
	head.reason = STR("Odd one");
	gives(false, false, "HTTP/1.1 799 Odd one\r\nserver: x\r\ncontent-length: 0\r\n\r\n");
	make(799, HEAD_BODY_LENGTH, 0);
	gives(false, false, "HTTP/1.1 799 \r\nserver: x\r\ncontent-length: 0\r\n\r\n");
}
END_TEST

START_TEST(responses_without_body)
{
	make(204, HEAD_BODY_NONE, 0);
	head_add(&head, STR("content-length"), STR("9"));
	gives(false, false, "HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n");
	make(204, HEAD_BODY_LENGTH, 0);
	gives(false, false, "HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n");
	make(304, HEAD_BODY_NONE, 0);
	head_add(&head, STR("content-length"), STR("9"));
	gives(false, false, "HTTP/1.1 304 Not Modified\r\nserver: x\r\ncontent-length: 9\r\n\r\n");
	make(200, HEAD_BODY_LENGTH, 3);
	head_add(&head, STR("content-length"), STR("9"));
	gives(false, false, "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 3\r\n\r\n");
	make(100, HEAD_BODY_NONE, 0);
	gives(true, false, "HTTP/1.1 100 Continue\r\nserver: x\r\n\r\n");
	make(101, HEAD_BODY_NONE, 0);
	head.upgrade = STR("websocket");
	gives(false, false,
	      "HTTP/1.1 101 Switching Protocols\r\nserver: x\r\nupgrade: websocket\r\n"
	      "connection: upgrade\r\n\r\n");
}
END_TEST

static void refuses(void)
{
	char *out = malloc(h1_response_size(&head));

	ck_assert(!h1_response_ok(&head));
	ck_assert_uint_eq(h1_write_response(&head, false, false, out), 0);
	free(out);
}

START_TEST(nothing_ambiguous_gets_out)
{
	make(200, HEAD_BODY_NONE, 0);
	head.reason = STR("OK\r\nx: y");
	refuses();
	head.reason = STR("OK");
	head.status = 99;
	refuses();
	head.status = 1000;
	refuses();
	head.status = 200;
	ck_assert(h1_response_ok(&head));
	head_add(&head, STR("x-a"), STR("1\r\n\r\nHTTP/1.1 200 OK"));
	refuses();
	arena_done(&arena);
}
END_TEST

UNIT_MAIN("h1_response", the_usual, status_lines, field_sections, framing, messages_without_body,
	  connections, canonical_responses, responses_without_body, nothing_ambiguous_gets_out)
