/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt_http: a GET whose status decides: 200 to 399 is healthy, a redirect is not followed. Layer
 * daemons/probe. The body is nobody's business: the connection is closed behind the head.
 */
#include "config.h"

#include "http/h1.h"
#include "probe/attempt.h"
#include "probe/net.h"

#define HEAD_MAX (16u << 10)

struct http {
	struct attempt *attempt;
	struct net net;
	struct head request, response;
	struct h1_parser parser;
};

static const struct h1_limits limits = { .line_max = HEAD_MAX, .head_max = HEAD_MAX,
					 .fields_max = 100 };

static struct str lower(struct arena *a, struct str s)
{
	struct str copy = arena_str(a, s);
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++) {
		char low = (char)head_token_lower[(uint8_t)copy.p[i]];

		p[i] = low ? low : copy.p[i];
	}
	return str_from(p, s.n);
}

static void add_headers(struct http *h, const struct doc *list)
{
	struct arena *a = attempt_arena(h->attempt);

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++) {
		struct str name = lower(a, doc_get_str(list->v[i], "name", STR("")));
		struct str value = arena_str(a, doc_get_str(list->v[i], "value", STR("")));

		if (str_eq(name, STR("host")))
			h->request.authority = value;
		else if (head_find_name(&h->request, name) &&
			 str_eq(name, STR("user-agent")))
			head_set(&h->request, name, value);
		else
			head_add(&h->request, name, value);
	}
}

static void make_request(struct http *h, const struct doc *spec, const struct sock_addr *to)
{
	struct arena *a = attempt_arena(h->attempt);
	char text[SOCK_ADDR_TEXT_MAX];
	bool local = to->sa.sa_family == AF_UNIX;

	head_init(&h->request, a);
	h->request.version = HEAD_VERSION_11;
	h->request.method = STR("GET");
	h->request.scheme = STR("http");
	h->request.path = arena_str(a, doc_get_str(spec, "path", STR("/")));
	h->request.authority = arena_str(a, local ? STR("localhost") :
						    str_c(sock_addr_text(to, text)));
	head_add(&h->request, STR("user-agent"), STR("kvmesh-probe/" PACKAGE_VERSION));
	head_add(&h->request, STR("accept"), STR("*/*"));
	add_headers(h, doc_get(spec, STR("headers")));
}

static void on_open(void *arg)
{
	struct http *h = arg;
	size_t room = h1_request_size(&h->request);
	char *out = arena_alloc(attempt_arena(h->attempt), room);
	size_t n = h1_write_request(&h->request, true, out);

	if (n == 0)
		attempt_end(h->attempt, false, "http probe: path or headers cannot be sent");
	else
		net_write(&h->net, str_from(out, n));
}

static void judge(struct http *h)
{
	unsigned status = h->response.status;

	attempt_end(h->attempt, status >= 200 && status < 400, "http probe: status %u", status);
}

static void on_data(void *arg, bool end)
{
	struct http *h = arg;
	size_t used;

	(void)end;
	for (;;) {
		struct str in = buf_pullup(&h->net.in, HEAD_MAX + 1);
		enum h1_result r;

		head_init(&h->response, attempt_arena(h->attempt));
		r = h1_parse_response(&h->parser, &limits, in, STR("GET"), &h->response, &used);
		if (r == H1_MORE)
			return;
		if (r == H1_BAD) {
			attempt_end(h->attempt, false, "http probe: no HTTP answer (%s)",
				    h->parser.reason);
			return;
		}
		if (h->response.status >= 200 || h->response.status == 101) {
			judge(h);
			return;
		}
		buf_consume(&h->net.in, used);
	}
}

static void on_failed(void *arg, const char *why)
{
	struct http *h = arg;

	attempt_end(h->attempt, false, "http probe: %s", why);
}

static void start(struct attempt *a, const struct doc *spec)
{
	static const struct net_ops ops = { on_open, on_data, on_failed };
	struct http *h = arena_new(attempt_arena(a), struct http);
	struct sock_addr to;
	struct err err = { 0 };

	h->attempt = a;
	h->net.fd = -1;
	attempt_set_state(a, h);
	h1_parser_init(&h->parser);
	if (!net_address(spec, &to)) {
		attempt_end(a, false, "http probe: no address to connect to");
		return;
	}
	make_request(h, spec, &to);
	if (net_open(&h->net, attempt_loop(a), &to, doc_get_bool(spec, "tls", false), &ops, h,
		     &err) < 0)
		attempt_end(a, false, "http probe: %s", err.text);
}

static void stop(struct attempt *a)
{
	struct http *h = attempt_state(a);

	net_close(&h->net);
}

const struct attempt_method attempt_http = { "http", start, stop };
