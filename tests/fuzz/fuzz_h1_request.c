/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_h1_request: a request head is read the same however it is cut; what is taken can be sent on,
 * and is read again as the same request.
 */
#include "fuzz_h1.h"

#include "http/url.h"

static enum h1_result parse(struct fuzz_parsed *p, const struct h1_limits *lim, struct str in)
{
	return h1_parse_request(&p->parser, lim, in, &p->head, &p->used);
}

static void check_request(const struct head *h)
{
	struct str host;
	uint16_t port;

	fuzz_assert(head_is_token(h->method));
	fuzz_assert(h->authority.n > 0 || h->version == HEAD_VERSION_10);
	fuzz_assert(h->authority.n == 0 || url_split_authority(h->authority, &host, &port));
	fuzz_assert(h->body != HEAD_BODY_UNTIL_CLOSE);
	fuzz_assert(h->content_length <= INT64_MAX);
	fuzz_assert(str_find(h->path, '#') < 0);
	fuzz_assert(!head_find(h, HEAD_ID_CONTENT_LENGTH));
	fuzz_check_fields(h);
}

static void round_trip(const struct head *h)
{
	struct fuzz_parsed again;
	struct h1_limits wide = { .line_max = 1 << 20, .head_max = 1 << 20, .fields_max = 1000 };
	size_t room = h1_request_size(h);
	char *out = kv_malloc(room);
	size_t n = h1_write_request(h, false, out);

	fuzz_assert(n > 0 && n <= room);
	fuzz_parse(&again, &wide, str_from(out, n), n, parse);
	/* HTTP/1.0 without Host has nothing to say there; the route fills it in. */
	if (h->authority.n > 0) {
		fuzz_assert(again.result == H1_DONE && again.used == n);
		struct head want = *h;

		/* What an old message did not say is said now. */
		want.scheme = again.head.scheme;
		if (want.body == HEAD_BODY_NONE && again.head.body == HEAD_BODY_LENGTH)
			want.body = HEAD_BODY_LENGTH;
		fuzz_assert(fuzz_head_eq(&want, &again.head));
	}
	arena_done(&again.arena);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_parsed whole, cut, bytes;

	if (size < 2)
		return 0;
	struct str in = str_from((const char *)data + 1, size - 1);
	const struct h1_limits *lim = fuzz_limits(data[0]);

	fuzz_parse(&whole, lim, in, in.n, parse);
	fuzz_parse(&cut, lim, in, 1 + data[0] % in.n, parse);
	fuzz_same(&whole, &cut);
	fuzz_parse(&bytes, lim, in, 0, parse);
	fuzz_same(&whole, &bytes);
	if (whole.result == H1_DONE) {
		check_request(&whole.head);
		round_trip(&whole.head);
	}
	arena_done(&whole.arena);
	arena_done(&cut.arena);
	arena_done(&bytes.arena);
	return 0;
}
