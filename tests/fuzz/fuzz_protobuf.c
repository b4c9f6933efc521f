/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of the Workload API or of SDS: fields lie within it, and what is read and written again reads
 * as the same. Layer test.
 */
#include "io/protobuf.h"

#include "fuzz.h"

static void put_again(struct buf *to, const struct protobuf_field *f)
{
	double d;

	if (f->wire == PROTOBUF_BYTES) {
		protobuf_put_bytes(to, f->number, f->bytes);
	} else if (f->wire == PROTOBUF_FIXED64) {
		memcpy(&d, &f->value, sizeof(d));
		protobuf_put_double(to, f->number, d);
	} else {
		protobuf_put_varint(to, f->number, f->value);
	}
}

static bool same(const struct protobuf_field *x, const struct protobuf_field *y)
{
	bool fixed32 = x->wire == PROTOBUF_FIXED32 && y->wire == PROTOBUF_VARINT;

	return x->number == y->number && (x->wire == y->wire || fixed32) && x->value == y->value &&
	       str_eq(x->bytes, y->bytes);
}

static void read_both(struct str one, struct str two)
{
	struct protobuf_field x, y;

	while (protobuf_next(&one, &x) == PROTOBUF_FIELD) {
		fuzz_assert(protobuf_next(&two, &y) == PROTOBUF_FIELD);
		fuzz_assert(same(&x, &y));
	}
	fuzz_assert(protobuf_next(&two, &y) == PROTOBUF_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_from((const char *)data, n), rest = in;
	struct protobuf_field f;
	enum protobuf_result r;
	struct buf again;
	size_t left = n;

	buf_init(&again);
	while ((r = protobuf_next(&rest, &f)) == PROTOBUF_FIELD) {
		fuzz_assert(rest.n < left);
		fuzz_assert(f.bytes.n == 0 || (f.bytes.p >= in.p && f.bytes.p + f.bytes.n <= in.p + in.n));
		fuzz_assert(f.number > 0 && f.number < 1u << 29);
		left = rest.n;
		put_again(&again, &f);
	}
	fuzz_assert((r == PROTOBUF_END) == protobuf_is_whole(in));
	read_both(in, buf_pullup(&again, again.n));
	buf_done(&again);
	return 0;
}
