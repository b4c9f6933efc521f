/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1: the parser of heads against an oracle that is slow and obvious, on messages that are damaged at
 * random, the same ones in every run: KVMESH_MUTATIONS of each kind (default 40,000). Whatever way
 * a message is cut, the outcome is the oracle's.
 */
#include "config.h"

#include "base/rng.h"
#include "h1_oracle.h"
#include "h1_unit.h"

#define MESSAGE_MAX 4096

static const struct h1_limits small = { .line_max = 64, .head_max = 220, .fields_max = 6 };

static uint64_t mutations(void)
{
	const char *s = getenv("KVMESH_MUTATIONS");
	uint64_t n;

	return s && str_to_u64(str_c(s), &n) ? n : 40000;
}

/* ---- messages -------------------------------------------------------------------------------- */

static const char *const requests[] = {
	"GET / HTTP/1.1\r\nHost: app\r\n\r\n",
	"GET /a/b?c=d HTTP/1.1\r\nHost: app:8080\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhello",
	"POST /x HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"\r\nPUT /%41?%zz HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
	"GET http://app/x HTTP/1.1\r\nHost: APP:80\r\n\r\n",
	"GET http://app?x HTTP/1.1\r\nHost: app\r\n\r\n",
	"GET https://[::1]:443/ HTTP/1.1\r\nHost: [::1]\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: app\r\nMax-Forwards: 1\r\n\r\n",
	"OPTIONS http://app HTTP/1.1\r\nHost: app\r\n\r\n",
	"CONNECT app:443 HTTP/1.1\r\nHost: app:443\r\n\r\n",
	"TRACE / HTTP/1.1\r\nHost: app\r\n\r\n",
	"GET /old HTTP/1.0\r\n\r\n",
	"GET /old HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n",
	"GET /#frag HTTP/1.1\r\nHost: app\r\nConnection: close, x-a, TE\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
	"GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: h2c, websocket\r\n"
	"HTTP2-Settings: A\r\n\r\n",
	"GET /c HTTP/1.1\r\nHost: app\r\nCookie: a=b\r\nCookie: c=d\r\nAuthorization: x\r\n"
	"Connection: cookie, authorization\r\n\r\n",
	"GET /t HTTP/1.1\r\nHost: app\r\nX: \t spaced \t\r\nY:\r\nZ:none\r\nX-\xc3: \xc3\xa4\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: app\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nForwarded: for=x\r\n"
	"X-Forwarded-For: 1\r\nConnection: forwarded, x-forwarded-for\r\n\r\n",
};

static const char *const responses[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\nuntil close",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\nETag: \"a\"\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
	"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 404 \r\nConnection: close, x-a\r\nX-A: b\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 599 Odd \xe4 phrase\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nKeep-Alive: 5\r\n\r\n",
	"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n",
};

/* What is put into messages: whole lines, and pieces that mean something somewhere. */
static const char *const words[] = {
	"\r\n", "\r", "\n", " ", "\t", ":", ",", "\r\n ", "%00", "%2e", "%", "#", "?", "*", "/", "@", "\\",
	"\x01", "\x7f", "\xff", "0", "9", "-1", "+", "host: b\r\n", "Host: app\r\n", "chunked", "gzip",
	"Transfer-Encoding: chunked\r\n", "transfer-encoding: identity, chunked\r\n",
	"Transfer-Encoding:\tchunked \r\n", "Content-Length: 0\r\n", "content-length: 5\r\n",
	"Content-Length: 9223372036854775807\r\n", "Content-Length: 9223372036854775808\r\n",
	"Content-Length: 5,5\r\n", "Connection: close\r\n", "Connection: keep-alive, upgrade\r\n",
	"Connection: a,,b\r\n", "Connection: content-type, b3\r\nB3: 1\r\n", "Upgrade: websocket\r\n",
	"Upgrade: h2c\r\n", "Upgrade: a/b, c\r\n", "TE: trailers\r\n", "TE: gzip\r\nConnection: te\r\n",
	"Expect: 100-continue\r\n", "Expect: x\r\n", "Trailer: x\r\n", "X: y\r\n", ": y\r\n", "X y: z\r\n",
	"HTTP/1.0", "HTTP/1.1", "HTTP/1.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", "GET ", "HEAD ",
	"CONNECT ", "OPTIONS ", "http://", "https://", "app", "app:80", ":443", "[::1]", "[", "]",
	"200", "204", "304", "101", "100", "099", "1000",
};

struct text {
	char p[MESSAGE_MAX];
	size_t n;
};

static void insert(struct text *t, size_t at, const char *p, size_t n)
{
	if (t->n + n > sizeof(t->p))
		return;
	memmove(t->p + at + n, t->p + at, t->n - at);
	memcpy(t->p + at, p, n);
	t->n += n;
}

static void erase(struct text *t, size_t at, size_t n)
{
	n = n < t->n - at ? n : t->n - at;
	memmove(t->p + at, t->p + at + n, t->n - at - n);
	t->n -= n;
}

static size_t line_at(const struct text *t, size_t at)
{
	while (at > 0 && t->p[at - 1] != '\n')
		at--;
	return at;
}

static void double_line(struct text *t, size_t at)
{
	char line[MESSAGE_MAX];
	size_t from = line_at(t, at), n = 0;

	while (from + n < t->n && (n == 0 || t->p[from + n - 1] != '\n'))
		n++;
	memcpy(line, t->p + from, n);
	insert(t, from, line, n);
}

static void damage(struct rng *r, struct text *t)
{
	const char *w = words[rng_below(r, sizeof(words) / sizeof(words[0]))];
	size_t at = rng_below(r, t->n + 1);

	switch (rng_below(r, 7)) {
	case 0:
		insert(t, at, w, strlen(w));
		break;
	case 1:                         /* where a line begins, so that whole lines are fields */
		insert(t, line_at(t, at), w, strlen(w));
		break;
	case 2:
		erase(t, at, 1 + rng_below(r, 4));
		break;
	case 3:
		if (at < t->n)
			t->p[at] = (char)rng_below(r, 256);
		break;
	case 4:
		if (at < t->n)
			t->p[at] = (char)(t->p[at] ^ 0x20);
		break;
	case 5:
		double_line(t, at);
		break;
	default:                        /* over what stands there */
		erase(t, at, strlen(w));
		insert(t, at < t->n ? at : t->n, w, strlen(w));
		break;
	}
}

static void make(struct rng *r, const char *const *seeds, size_t n_seeds, struct text *t)
{
	const char *seed = seeds[rng_below(r, n_seeds)];

	t->n = 0;
	insert(t, 0, seed, strlen(seed));
	for (uint64_t n = rng_below(r, 5); n > 0; n--)
		damage(r, t);
	if (rng_below(r, 20) == 0)
		t->n = rng_below(r, t->n + 1);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static struct str method = { "GET", 3 };

static enum h1_result parse_request(struct parsed *p, const struct h1_limits *lim, struct str in)
{
	return h1_parse_request(&p->parser, lim, in, &p->head, &p->used);
}

static enum h1_result parse_response(struct parsed *p, const struct h1_limits *lim, struct str in)
{
	return h1_parse_response(&p->parser, lim, in, method, &p->head, &p->used);
}

static void agree(const struct parsed *p, struct str in, const struct oracle *o)
{
	struct arena a;

	ck_assert_msg(p->result == o->result, "\"%.*s\": %d (%s), the oracle says %d (%s)",
		      STR_ARG(in), (int)p->result, p->parser.reason ? p->parser.reason : "",
		      (int)o->result, o->reason ? o->reason : "");
	if (o->result == H1_BAD)
		ck_assert_msg(p->parser.status == o->status &&
				      strcmp(p->parser.reason, o->reason) == 0,
			      "\"%.*s\": %u %s, the oracle says %u %s", STR_ARG(in),
			      p->parser.status, p->parser.reason, o->status, o->reason);
	if (o->result != H1_DONE)
		return;
	arena_init(&a, 0);
	struct str text = oracle_text(&a, &p->head, p->parser.fragment);

	ck_assert_msg(str_eq(text, o->text), "\"%.*s\":\n%.*sthe oracle says:\n%.*s", STR_ARG(in),
		      STR_ARG(text), STR_ARG(o->text));
	ck_assert_uint_eq(p->used, o->used);
	arena_done(&a);
}

/* All at once; in two pieces; now and then at every byte. */
static void check(struct rng *r, const struct h1_limits *lim, struct str in, parse_fn parse,
		  const struct oracle *o)
{
	struct parsed p;

	parsed_init(&p);
	parse_copy(&p, lim, in, parse);
	agree(&p, in, o);
	if (rng_below(r, 64) == 0)
		same_for_every_split(in, lim, parse, &p);
	parsed_done(&p);
	parsed_init(&p);
	if (parse_copy(&p, lim, str_take(in, rng_below(r, in.n + 1)), parse) == H1_MORE)
		parse_copy(&p, lim, in, parse);
	agree(&p, in, o);
	parsed_done(&p);
}

struct tally {
	uint64_t done, bad, more;
};

static void count(struct tally *t, enum h1_result r)
{
	t->done += r == H1_DONE;
	t->bad += r == H1_BAD;
	t->more += r == H1_MORE;
}

/* Each outcome is met often enough to mean something. */
static void enough(const struct tally *t)
{
	uint64_t n = t->done + t->bad + t->more;

	ck_assert_uint_gt(t->done, n / 10);
	ck_assert_uint_gt(t->bad, n / 10);
	ck_assert_uint_gt(t->more, n / 100);
}

START_TEST(requests_agree_with_the_oracle)
{
	struct tally tally = { 0 };
	struct text *t = kv_malloc(sizeof(*t));
	struct rng r;

	rng_init(&r, 1);
	for (uint64_t i = mutations(); i > 0; i--) {
		const struct h1_limits *lim = rng_below(&r, 4) ? &h1_limits_default : &small;
		struct arena a;
		struct oracle o;

		arena_init(&a, 0);
		make(&r, requests, sizeof(requests) / sizeof(requests[0]), t);
		oracle_request(&a, lim, str_from(t->p, t->n), &o);
		check(&r, lim, str_from(t->p, t->n), parse_request, &o);
		count(&tally, o.result);
		arena_done(&a);
	}
	enough(&tally);
	free(t);
}
END_TEST

START_TEST(responses_agree_with_the_oracle)
{
	static const char *const methods[] = { "GET", "GET", "POST", "HEAD", "CONNECT" };
	struct tally tally = { 0 };
	struct text *t = kv_malloc(sizeof(*t));
	struct rng r;

	rng_init(&r, 2);
	for (uint64_t i = mutations(); i > 0; i--) {
		const struct h1_limits *lim = rng_below(&r, 4) ? &h1_limits_default : &small;
		struct arena a;
		struct oracle o;

		method = str_c(methods[rng_below(&r, 5)]);
		arena_init(&a, 0);
		make(&r, responses, sizeof(responses) / sizeof(responses[0]), t);
		oracle_response(&a, lim, str_from(t->p, t->n), method, &o);
		check(&r, lim, str_from(t->p, t->n), parse_response, &o);
		count(&tally, o.result);
		arena_done(&a);
	}
	enough(&tally);
	free(t);
}
END_TEST

START_TEST(undamaged_messages_at_every_split)
{
	struct arena a;
	struct oracle o;
	struct rng r;

	rng_init(&r, 3);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct str in = str_c(requests[i]);
		struct parsed p;

		arena_init(&a, 0);
		parsed_init(&p);
		oracle_request(&a, &h1_limits_default, in, &o);
		parse_copy(&p, &h1_limits_default, in, parse_request);
		agree(&p, in, &o);
		same_for_every_split(in, &h1_limits_default, parse_request, &p);
		parsed_done(&p);
		arena_done(&a);
	}
}
END_TEST

UNIT_MAIN("h1_oracle", requests_agree_with_the_oracle, responses_agree_with_the_oracle,
	  undamaged_messages_at_every_split)
