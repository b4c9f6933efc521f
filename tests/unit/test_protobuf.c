/* SPDX-License-Identifier: Apache-2.0 */
/* io/protobuf: what is written is read again, and nothing that strangers write leads astray. */
#include "io/protobuf.h"

#include "unit.h"

static struct str all_of(struct buf *b)
{
	return buf_pullup(b, b->n);
}

START_TEST(there_and_back)
{
	static const uint64_t numbers[] = { 0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX };
	struct protobuf_field f;
	struct buf b, within;

	buf_init(&b);
	buf_init(&within);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		protobuf_put_varint(&b, (uint32_t)i + 1, numbers[i]);
	protobuf_put_bytes(&b, 16, STR("name"));
	protobuf_put_bytes(&b, (1u << 29) - 1, STR(""));
	protobuf_put_bytes(&within, 2, STR("inside"));
	protobuf_put_message(&b, 3, &within);
	protobuf_put_double(&b, 4, 1.5);
	struct str rest = all_of(&b);

	ck_assert(protobuf_is_whole(rest));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		ck_assert_int_eq(protobuf_next(&rest, &f), PROTOBUF_FIELD);
		ck_assert_uint_eq(f.number, i + 1);
		ck_assert_int_eq(f.wire, PROTOBUF_VARINT);
		ck_assert(f.value == numbers[i]);
	}
	ck_assert_int_eq(protobuf_next(&rest, &f), PROTOBUF_FIELD);
	ck_assert(f.number == 16 && f.wire == PROTOBUF_BYTES && str_eq(f.bytes, STR("name")));
	ck_assert_int_eq(protobuf_next(&rest, &f), PROTOBUF_FIELD);
	ck_assert(f.number == (1u << 29) - 1 && f.bytes.n == 0);
	ck_assert_int_eq(protobuf_next(&rest, &f), PROTOBUF_FIELD);
	ck_assert(f.number == 3 && str_eq(f.bytes, STR("\x12\x06inside")));
	ck_assert_int_eq(protobuf_next(&rest, &f), PROTOBUF_FIELD);
	ck_assert(f.number == 4 && f.wire == PROTOBUF_FIXED64 && f.value == 0x3ff8000000000000);
	ck_assert_int_eq(protobuf_next(&rest, &f), PROTOBUF_END);
	ck_assert_uint_eq(within.n, 0);
	buf_done(&b);
}
END_TEST

#define BROKEN(bytes) ck_assert(!protobuf_is_whole(str_from(bytes, sizeof(bytes) - 1)))
#define WHOLE(bytes) ck_assert(protobuf_is_whole(str_from(bytes, sizeof(bytes) - 1)))

START_TEST(what_is_none)
{
	WHOLE("");
	WHOLE("\x08\x00");
	WHOLE("\x0d\1\2\3\4");
	BROKEN("\x08");                                 /* a number that does not come */
	BROKEN("\x0a\x05hell");                         /* four of five bytes */
	BROKEN("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");        /* as long as can be said */
	BROKEN("\x0d\1\2\3");
	BROKEN("\x09\1\2\3\4\5\6\7");
	BROKEN("\x0b\x0c");                             /* groups */
	BROKEN("\x0e");
	BROKEN("\x0f");
	BROKEN("\x00\x00");                             /* no number of a field */
	BROKEN("\x02\x00");
	BROKEN("\x80\x80\x80\x80\x10\x00");             /* 2^29 is none either */
	BROKEN("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");        /* 65 bits */
	BROKEN("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00");    /* eleven bytes */
	WHOLE("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}
END_TEST

/* Every cut of a message is either broken or whole fields of it. */
START_TEST(cut_anywhere)
{
	struct buf b;

	buf_init(&b);
	protobuf_put_bytes(&b, 1, STR("audience"));
	protobuf_put_varint(&b, 2, 1u << 30);
	protobuf_put_double(&b, 3, 0.5);
	struct str all = all_of(&b);

	for (size_t n = 0; n < all.n; n++)
		ck_assert(protobuf_is_whole(str_take(all, n)) == (n == 0 || n == 10 || n == 16));
	buf_done(&b);
}
END_TEST

UNIT_MAIN("protobuf", there_and_back, what_is_none, cut_anywhere)
