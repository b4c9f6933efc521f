/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_h1_response: a response head is read the same however it is cut; what is taken can be sent
 * on. The second byte of the input chooses the method that was asked with.
 */
#include "fuzz_h1.h"

static struct str method;

static enum h1_result parse(struct fuzz_parsed *p, const struct h1_limits *lim, struct str in)
{
	return h1_parse_response(&p->parser, lim, in, method, &p->head, &p->used);
}

static void write_it(const struct head *h, bool close, bool to_http10)
{
	struct fuzz_parsed again;
	struct h1_limits wide = { .line_max = 1 << 20, .head_max = 1 << 20, .fields_max = 1000 };
	size_t room = h1_response_size(h);
	char *out = kv_malloc(room);
	size_t n = h1_write_response(h, close, to_http10, out);

	fuzz_assert(n > 0 && n <= room);
	fuzz_parse(&again, &wide, str_from(out, n), n, parse);
	fuzz_assert(again.result == H1_DONE && again.used == n);
	fuzz_assert(again.head.status == h->status && again.head.n == h->n);
	fuzz_assert(again.head.body == h1_response_framing(h, to_http10));
	if (h->body == HEAD_BODY_LENGTH)
		fuzz_assert(again.head.content_length == h->content_length);
	arena_done(&again.arena);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct str methods[] = {
		{ "GET", 3 }, { "HEAD", 4 }, { "CONNECT", 7 }, { "POST", 4 }
	};
	struct fuzz_parsed whole, cut, bytes;

	if (size < 3)
		return 0;
	struct str in = str_from((const char *)data + 2, size - 2);
	const struct h1_limits *lim = fuzz_limits(data[0]);

	method = methods[data[1] % 4];
	fuzz_parse(&whole, lim, in, in.n, parse);
	fuzz_parse(&cut, lim, in, 1 + data[0] % in.n, parse);
	fuzz_same(&whole, &cut);
	fuzz_parse(&bytes, lim, in, 0, parse);
	fuzz_same(&whole, &bytes);
	if (whole.result == H1_DONE) {
		fuzz_check_fields(&whole.head);
		write_it(&whole.head, false, false);
		write_it(&whole.head, true, true);
	}
	arena_done(&whole.arena);
	arena_done(&cut.arena);
	arena_done(&bytes.arena);
	return 0;
}
