/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_h1_chunked: payload, trailers and outcome do not depend on how the body was cut. */
#include "fuzz_h1.h"

struct body {
	struct h1_chunked c;
	struct arena arena;
	struct head trailers;
	char *data;
	size_t n, at;
	enum h1_result result;
};

static void feed(struct body *b, const struct h1_limits *lim, struct str in, size_t end)
{
	struct str data;

	do {
		struct str piece = fuzz_copy(str_from(in.p + b->at, end - b->at));
		size_t used;

		b->result = h1_chunked_next(&b->c, lim, piece, &data, &used, &b->trailers);
		fuzz_assert(used <= piece.n && data.n <= used);
		if (data.n > 0) {
			fuzz_assert(data.p >= piece.p && data.p + data.n <= piece.p + piece.n);
			memcpy(b->data + b->n, data.p, data.n);
		}
		b->n += data.n;
		b->at += used;
		fuzz_free(piece);
	} while (b->result == H1_MORE && data.n > 0);
}

/* As in fuzz_parse: cut 0 is one byte at a time. */
static void read_body(struct body *b, const struct h1_limits *lim, struct str in, size_t cut)
{
	memset(b, 0, sizeof(*b));
	h1_chunked_init(&b->c);
	arena_init(&b->arena, 0);
	head_init(&b->trailers, &b->arena);
	b->data = kv_malloc(in.n);
	for (size_t n = cut == 0 ? 1 : cut; n <= in.n && b->result != H1_BAD;
	     n = cut == 0 ? n + 1 : in.n) {
		feed(b, lim, in, n);
		if (b->result == H1_DONE || n == in.n)
			break;
	}
}

static void same(const struct body *a, const struct body *b)
{
	fuzz_assert(a->result == b->result && a->n == b->n);
	fuzz_assert(a->n == 0 || memcmp(a->data, b->data, a->n) == 0);
	if (a->result == H1_DONE)
		fuzz_assert(a->at == b->at && fuzz_head_eq(&a->trailers, &b->trailers));
	if (a->result == H1_BAD)
		fuzz_assert(fuzz_text_eq(a->c.reason, b->c.reason));
}

/* Trailers that were taken may all be sent on. */
static void write_them(const struct head *trailers)
{
	char *out = kv_malloc(h1_trailers_size(trailers));

	fuzz_assert(h1_write_last_chunk(trailers, out) == h1_trailers_size(trailers));
	free(out);
}

static void done(struct body *b)
{
	arena_done(&b->arena);
	free(b->data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct body whole, cut, bytes;

	if (size < 2)
		return 0;
	struct str in = str_from((const char *)data + 1, size - 1);
	const struct h1_limits *lim = fuzz_limits(data[0]);

	read_body(&whole, lim, in, in.n);
	read_body(&cut, lim, in, 1 + data[0] % in.n);
	same(&whole, &cut);
	read_body(&bytes, lim, in, 0);
	same(&whole, &bytes);
	if (whole.result == H1_DONE) {
		fuzz_check_fields(&whole.trailers);
		write_them(&whole.trailers);
	}
	done(&whole);
	done(&cut);
	done(&bytes);
	return 0;
}
