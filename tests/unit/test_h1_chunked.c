/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1: the chunked coding against an oracle that is slow and obvious: it sees the whole message,
 * walks it with a grammar written out line by line, and knows nothing of states.
 */
#include "base/rng.h"
#include "h1_unit.h"

static const struct h1_limits limits = { .line_max = 100, .head_max = 120, .fields_max = 4 };

/* ---- the oracle ---------------------------------------------------------- */

struct outcome {
	enum h1_result result;
	const char *reason;
	char data[4096];
	size_t n_data;
	size_t used;            /* when done */
	char trailers[512];
};

static bool is_hex(char c)
{
	return c != '\0' && strchr("0123456789abcdefABCDEF", c) != NULL;
}

/* One size line at *at: 1 a size, 0 not all there (but nothing wrong so far), -1 wrong. */
static int oracle_size(struct str in, size_t *at, uint64_t *ret)
{
	char digits[17] = "";
	size_t n = 0, i = *at, extension = 0;
	bool semicolon = false;

	while (i < in.n && is_hex(in.p[i])) {
		if (n == 16)
			return -1;
		digits[n++] = in.p[i++];
		if (n == 16 && digits[0] > '7')
			return -1;
	}
	if (i == in.n)
		return 0;
	if (n == 0)
		return -1;
	for (; i < in.n && in.p[i] != '\r'; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (++extension > 256)
			return -1;
		if (c == ';')
			semicolon = true;
		else if (!semicolon && c != ' ' && c != '\t')
			return -1;
		else if ((c < 32 && c != '\t') || c == 127)
			return -1;
	}
	if (i == in.n)
		return 0;
	if (extension > 0 && !semicolon)
		return -1;
	if (i + 1 == in.n)
		return 0;
	if (in.p[i + 1] != '\n')
		return -1;
	*at = i + 2;
	*ret = strtoull(digits, NULL, 16);
	return 1;
}

/* The trailer section is a header section without a first line: the request parser can judge it. */
static void oracle_trailer(struct str in, size_t at, struct outcome *o)
{
	struct arena arena;
	struct head h;
	struct h1_parser parser;
	struct h1_limits lim = { .line_max = 100,
				 .head_max = limits.head_max + 27,
				 .fields_max = 5 };
	size_t used;

	arena_init(&arena, 0);
	head_init(&h, &arena);
	h1_parser_init(&parser);
	/* 27 bytes in front, one of them a field. */
	struct str text = arena_printf(&arena, "GET / HTTP/1.1\r\nhost: abc\r\n");
	char *all = arena_alloc(&arena, text.n + in.n - at);

	memcpy(all, text.p, text.n);
	memcpy(all + text.n, in.p + at, in.n - at);
	o->result = h1_parse_request(&parser, &lim, str_from(all, text.n + in.n - at), &h, &used);
	if (o->result == H1_BAD)
		o->reason = strcmp(parser.reason, "too_large") == 0 ? "too_large" : "bad_trailer";
	if (o->result == H1_DONE) {
		o->used = at + used - text.n;
		for (size_t i = 0; i < h.n; i++)
			snprintf(o->trailers + strlen(o->trailers), 500 - strlen(o->trailers),
				 "%.*s=%.*s;", STR_ARG(h.fields[i].name),
				 STR_ARG(h.fields[i].value));
	}
	arena_done(&arena);
}

static void oracle(struct str in, struct outcome *o)
{
	size_t at = 0;
	uint64_t size;

	memset(o, 0, sizeof(*o));
	o->result = H1_MORE;
	for (;;) {
		int r = oracle_size(in, &at, &size);

		if (r < 0) {
			o->result = H1_BAD;
			o->reason = "bad_chunk";
		}
		if (r <= 0)
			return;
		if (size == 0) {
			oracle_trailer(in, at, o);
			return;
		}
		uint64_t have = size < in.n - at ? size : in.n - at;

		memcpy(o->data + o->n_data, in.p + at, have);
		o->n_data += have;
		at += have;
		if (have < size || at == in.n)
			return;
		if (in.p[at] != '\r' || (at + 1 < in.n && in.p[at + 1] != '\n')) {
			o->result = H1_BAD;
			o->reason = "bad_chunk";
			return;
		}
		if (at + 1 == in.n)
			return;
		at += 2;
	}
}

/* ---- the decoder, fed in pieces ------------------------------------------ */

struct feed {
	struct h1_chunked c;
	struct arena arena;
	struct head trailers;
	struct outcome o;
	size_t at;              /* bytes consumed */
};

/*
 * Give what is there up to end until it wants more. Exact allocations: one byte too far is noticed.
 */
static void feed_until(struct feed *f, struct str in, size_t end)
{
	f->o.result = H1_MORE;
	for (;;) {
		struct str data, piece = str_from(in.p + f->at, end - f->at);
		char *copy = kv_malloc(piece.n > 0 ? piece.n : 1);
		size_t used;

		if (piece.n > 0)
			memcpy(copy, piece.p, piece.n);
		f->o.result = h1_chunked_next(&f->c, &limits, str_from(copy, piece.n), &data, &used,
					      &f->trailers);
		ck_assert_uint_le(used, piece.n);
		if (data.n > 0)
			memcpy(f->o.data + f->o.n_data, data.p, data.n);
		f->o.n_data += data.n;
		f->at += used;
		free(copy);
		if (f->o.result != H1_MORE || data.n == 0)
			return;
	}
}

static void feed_init(struct feed *f)
{
	memset(f, 0, sizeof(*f));
	h1_chunked_init(&f->c);
	arena_init(&f->arena, 0);
	head_init(&f->trailers, &f->arena);
}

static void feed_done(struct feed *f, struct str in, const struct outcome *want, const char *how)
{
	ck_assert_msg(f->o.result == want->result, "%s of \"%.*s\": %d, not %d", how, STR_ARG(in),
		      (int)f->o.result, (int)want->result);
	ck_assert_msg(f->o.n_data == want->n_data &&
			      memcmp(f->o.data, want->data, want->n_data) == 0,
		      "%s of \"%.*s\": other data", how, STR_ARG(in));
	if (want->result == H1_BAD)
		ck_assert_msg(strcmp(f->c.reason, want->reason) == 0, "%s of \"%.*s\": %s, not %s",
			      how, STR_ARG(in), f->c.reason, want->reason);
	if (want->result == H1_DONE) {
		ck_assert_uint_eq(f->at, want->used);
		for (size_t i = 0; i < f->trailers.n; i++)
			snprintf(f->o.trailers + strlen(f->o.trailers), 500 - strlen(f->o.trailers),
				 "%.*s=%.*s;", STR_ARG(f->trailers.fields[i].name),
				 STR_ARG(f->trailers.fields[i].value));
		ck_assert_str_eq(f->o.trailers, want->trailers);
	}
	arena_done(&f->arena);
}

/* Whole, cut in two everywhere, and byte by byte. */
static void check(struct str in)
{
	struct outcome want;
	struct feed f;

	oracle(in, &want);
	for (size_t cut = 0; cut <= in.n; cut++) {
		feed_init(&f);
		feed_until(&f, in, cut);
		if (f.o.result == H1_MORE)
			feed_until(&f, in, in.n);
		feed_done(&f, in, &want, "cut in two");
	}
	feed_init(&f);
	for (size_t n = 0; n <= in.n; n++) {
		feed_until(&f, in, n);
		if (f.o.result != H1_MORE)
			break;
	}
	feed_done(&f, in, &want, "byte by byte");
}

static void gives(const char *in, enum h1_result result, const char *data_or_reason)
{
	struct outcome o;
	struct str s = str_c(in);

	oracle(s, &o);
	ck_assert_msg(o.result == result, "\"%s\": %d", in, (int)o.result);
	if (result == H1_BAD)
		ck_assert_str_eq(o.reason, data_or_reason);
	else
		unit_str_eq(str_from(o.data, o.n_data), data_or_reason);
	check(s);
}

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10

START_TEST(bodies)
{
	gives("0\r\n\r\n", H1_DONE, "");
	gives("5\r\nhello\r\n0\r\n\r\n", H1_DONE, "hello");
	gives("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", H1_DONE, "hello world");
	gives("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", H1_DONE, "01234567890123456789");
	gives("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", H1_DONE, "x");
	gives("1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", H1_DONE, "\r\n");
	gives("5\r\nhel", H1_MORE, "hel");
	gives("5\r\nhello\r\n", H1_MORE, "hello");
	gives("7fffffffffffffff\r\nabc", H1_MORE, "abc");
	gives("", H1_MORE, "");
}
END_TEST

START_TEST(extensions)
{
	gives("1;a=b\r\nx\r\n0;q=\"\xc3\xa4\"\r\n\r\n", H1_DONE, "x");
	gives("1 ; a\r\nx\r\n0\t;\r\n\r\n", H1_DONE, "x");
	gives("1;" X50 X50 X50 X50 X50 "12345\r\nx\r\n0\r\n\r\n", H1_DONE, "x");
	gives("1;" X50 X50 X50 X50 X50 "123456\r\nx\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("1;\x01\r\nx\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("1;\x7f\r\nx\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("1;a\nx\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("1 \r\nx\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("1 a\r\nx\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("1a ;\r\n", H1_MORE, "");
}
END_TEST

START_TEST(sizes_that_are_none)
{
	static const char *const bad[] = {
		"\r\n",
		"g\r\n",
		"-1\r\n",
		"+1\r\n",
		" 1\r\n",
		"0x1\r\n",
		";\r\n",
		"00000000000000001\r\n",
		"8000000000000000\r\n",
		"ffffffffffffffff\r\n",
		"1\nx\r\n",
		"1\rx\r\n",
		"1\r\r\n",
		"\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		gives(bad[i], H1_BAD, "bad_chunk");
	gives("5\r\nhello0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("5\r\nhello\n0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("5\r\nhello\r0\r\n\r\n", H1_BAD, "bad_chunk");
	gives("5\r\nhello!\r\n0\r\n\r\n", H1_BAD, "bad_chunk");
	check(STR("1\0\r\n"));
	check(STR("1;\0\r\n"));
}
END_TEST

START_TEST(trailers)
{
	struct outcome o;

	gives("0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n", H1_DONE, "");
	oracle(STR("0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n"), &o);
	ck_assert_str_eq(o.trailers, "x-sum=1;grpc-status=0;");
	gives("0\r\na: b\r\n", H1_MORE, "");
	gives("0\r\n x: y\r\n\r\n", H1_BAD, "bad_trailer");
	gives("0\r\na : b\r\n\r\n", H1_BAD, "bad_trailer");
	gives("0\r\na: b\n\r\n", H1_BAD, "bad_trailer");
	gives("0\r\n\n", H1_BAD, "bad_trailer");
	gives("0\r\n\rx", H1_BAD, "bad_trailer");
	gives("0\r\na: \x01\r\n\r\n", H1_BAD, "bad_trailer");
	gives("0\r\na: b\r\na: b\r\na: b\r\na: b\r\n\r\n", H1_DONE, "");
	gives("0\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\n\r\n", H1_BAD, "too_large");
	gives("0\r\na: " X50 X50 "xxxxxxxxxxxxx\r\n\r\n", H1_DONE, "");
	gives("0\r\na: " X50 X50 "xxxxxxxxxxxxxx\r\n\r\n", H1_BAD, "too_large");
}
END_TEST

/* After the end nothing more is taken: what follows is another message. */
START_TEST(the_end_stays_the_end)
{
	struct str in = STR("0\r\n\r\nGET /"), data;
	struct h1_chunked c;
	size_t used;

	h1_chunked_init(&c);
	ck_assert_int_eq(h1_chunked_next(&c, &limits, in, &data, &used, NULL), H1_DONE);
	ck_assert_uint_eq(used, 5);
	ck_assert_int_eq(c.state, H1_CHUNK_END);
	in = str_skip(in, used);
	ck_assert_int_eq(h1_chunked_next(&c, &limits, in, &data, &used, NULL), H1_DONE);
	ck_assert_uint_eq(used, 0);
}
END_TEST

/* Framing, routing, identity: refused whoever sends them. */
START_TEST(trailers_that_must_not_be)
{
	static const char *const bad[] = {
		"Content-Length",
		"Transfer-Encoding",
		"Host",
		"Trailer",
		"TE",
		"Connection",
		"Upgrade",
		"Expect",
		"Keep-Alive",
		"Proxy-Authorization",
		"Proxy-Connection",
		"Authorization",
		"Cookie",
		"Set-Cookie",
		"Content-Type",
		"Content-Encoding",
		"Content-Range",
		"X-Forwarded-For",
		"X-Forwarded-Client-Cert",
		"X-Envoy-Peer-Metadata",
		"X-Kvmesh-Orig-Proto",
		"Forwarded",
		"WWW-Authenticate",
		"Max-Forwards",
		"HTTP2-Settings",
	};
	struct arena a;

	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (int with_list = 0; with_list < 2; with_list++) {
			struct str in = arena_printf(&a, "0\r\nx: y\r\n%s: 1\r\n\r\n", bad[i]),
				   data;
			struct head list;
			struct h1_chunked c;
			size_t used;

			head_init(&list, &a);
			h1_chunked_init(&c);
			ck_assert_msg(h1_chunked_next(&c, &limits, in, &data, &used,
						      with_list ? &list : NULL) == H1_BAD,
				      "%s", bad[i]);
			ck_assert_str_eq(c.reason, "bad_trailer");
		}
	}
	arena_done(&a);
}
END_TEST

/* Random messages: mostly right, with a byte changed, dropped or doubled here and there. */
static size_t random_message(struct rng *r, char *out)
{
	static const char hex[] = "0123456789abcdefABCDEF", junk[] = "\r\n\t ;:0aG\x01\x7f\xff";
	size_t n = 0, chunks = rng_below(r, 4);

	for (size_t i = 0; i < chunks; i++) {
		size_t size = 1 + rng_below(r, 20);

		n += (size_t)snprintf(out + n, 40, rng_below(r, 4) ? "%zx%s\r\n" : "0%zX%s\r\n",
				      size, rng_below(r, 5) ? "" : " ;x=y");
		for (size_t k = 0; k < size; k++)
			out[n++] = hex[rng_below(r, sizeof(hex) - 1)];
		n += (size_t)snprintf(out + n, 3, "\r\n");
	}
	n += (size_t)snprintf(out + n, 40, "0\r\n%s\r\n", rng_below(r, 3) ? "" : "x-a: b\r\n");
	for (uint64_t faults = rng_below(r, 3); faults > 0; faults--) {
		size_t at = rng_below(r, n);

		switch (rng_below(r, 3)) {
		case 0:
			out[at] = junk[rng_below(r, sizeof(junk) - 1)];
			break;
		case 1:
			memmove(out + at, out + at + 1, --n - at);
			break;
		default:
			memmove(out + at + 1, out + at, n++ - at);
			break;
		}
	}
	return n;
}

START_TEST(random_messages_agree_with_the_oracle)
{
	struct rng r;
	char in[400];
	const char *more = getenv("KVMESH_MUTATIONS");
	uint64_t rounds = 3000;
	int done = 0, bad = 0;

	if (more)                       /* each is cut everywhere: a tenth of them is as much work */
		ck_assert(str_to_u64(str_c(more), &rounds) && (rounds /= 10) >= 3000);
	rng_init(&r, 42);
	for (uint64_t i = 0; i < rounds; i++) {
		struct outcome o;
		size_t n = random_message(&r, in);

		check(str_from(in, n));
		oracle(str_from(in, n), &o);
		done += o.result == H1_DONE;
		bad += o.result == H1_BAD;
	}
	ck_assert_int_gt(done, 500);
	ck_assert_int_gt(bad, 500);
}
END_TEST

/* ---- writing ------------------------------------------------------------- */

START_TEST(chunk_heads)
{
	static const struct { uint64_t n; const char *text;
	} rows[] = {
		{ 1, "1\r\n" },
		{ 15, "f\r\n" },
		{ 16, "10\r\n" },
		{ 16384, "4000\r\n" },
		{ 0x7fffffffffffffff, "7fffffffffffffff\r\n" },
		{ UINT64_MAX, "ffffffffffffffff\r\n" },
	};
	char out[H1_CHUNK_HEAD_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		unit_str_eq(str_from(out, h1_write_chunk_head(rows[i].n, out)), rows[i].text);
}
END_TEST

START_TEST(last_chunks)
{
	struct arena a;
	struct head h;
	char out[200];

	ck_assert_uint_ge(h1_trailers_size(NULL), 5);
	unit_str_eq(str_from(out, h1_write_last_chunk(NULL, out)), "0\r\n\r\n");
	arena_init(&a, 0);
	head_init(&h, &a);
	head_add(&h, STR("grpc-status"), STR("0"));
	head_add(&h, STR("x"), STR(""));
	size_t room = h1_trailers_size(&h), n = h1_write_last_chunk(&h, out);

	ck_assert_uint_le(n, room);
	unit_str_eq(str_from(out, n), "0\r\ngrpc-status: 0\r\nx: \r\n\r\n");
	/* What must not be there is left out, and the end is told all the same. */
	head_set(&h, STR("x"), STR("a\nb"));
	head_add(&h, STR("content-length"), STR("1"));
	head_add(&h, STR("Y"), STR("1"));
	head_add(&h, STR("x-forwarded-for"), STR("1"));
	n = h1_write_last_chunk(&h, out);
	ck_assert_uint_le(n, h1_trailers_size(&h));
	unit_str_eq(str_from(out, n), "0\r\ngrpc-status: 0\r\n\r\n");
	arena_done(&a);
}
END_TEST

UNIT_MAIN("h1_chunked", bodies, extensions, sizes_that_are_none, trailers,
	  trailers_that_must_not_be, the_end_stays_the_end, random_messages_agree_with_the_oracle,
	  chunk_heads,
	  last_chunks)
