/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf: see protobuf.h. Layer io. */
#include "io/protobuf.h"

#include <string.h>

#define VARINT_BYTES_MAX 10
#define NUMBER_MAX ((1u << 29) - 1)

/* ---- reading ------------------------------------------------------------------------------- */

static bool take_varint(struct str *rest, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < VARINT_BYTES_MAX && i < rest->n; i++) {
		unsigned char c = (unsigned char)rest->p[i];

		/* The tenth byte has room for one bit. */
		if (i == VARINT_BYTES_MAX - 1 && c > 1)
			return false;
		v |= (uint64_t)(c & 0x7f) << (7 * i);
		if (c < 0x80) {
			*rest = str_skip(*rest, i + 1);
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool take_fixed(struct str *rest, size_t n, uint64_t *ret)
{
	if (rest->n < n)
		return false;
	*ret = 0;
	for (size_t i = 0; i < n; i++)
		*ret |= (uint64_t)(unsigned char)rest->p[i] << (8 * i);
	*rest = str_skip(*rest, n);
	return true;
}

static bool take_bytes(struct str *rest, struct str *ret)
{
	uint64_t n;

	if (!take_varint(rest, &n) || n > rest->n)
		return false;
	*ret = str_take(*rest, (size_t)n);
	*rest = str_skip(*rest, (size_t)n);
	return true;
}

static bool take_value(struct str *rest, uint64_t wire, struct protobuf_field *f)
{
	switch (wire) {
	case PROTOBUF_VARINT:
		return take_varint(rest, &f->value);
	case PROTOBUF_FIXED64:
		return take_fixed(rest, 8, &f->value);
	case PROTOBUF_FIXED32:
		return take_fixed(rest, 4, &f->value);
	case PROTOBUF_BYTES:
		return take_bytes(rest, &f->bytes);
	default:
		return false;
	}
}

enum protobuf_result protobuf_next(struct str *rest, struct protobuf_field *ret)
{
	uint64_t tag;

	if (rest->n == 0)
		return PROTOBUF_END;
	*ret = (struct protobuf_field){ 0 };
	if (!take_varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
		return PROTOBUF_BROKEN;
	ret->number = (uint32_t)(tag >> 3);
	ret->wire = (enum protobuf_wire)(tag & 7);
	return take_value(rest, tag & 7, ret) ? PROTOBUF_FIELD : PROTOBUF_BROKEN;
}

bool protobuf_is_whole(struct str message)
{
	struct protobuf_field f;
	enum protobuf_result r;

	while ((r = protobuf_next(&message, &f)) == PROTOBUF_FIELD)
		;
	return r == PROTOBUF_END;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void put_raw_varint(struct buf *to, uint64_t v)
{
	unsigned char p[VARINT_BYTES_MAX];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		p[n++] = (unsigned char)(v | 0x80);
	p[n++] = (unsigned char)v;
	buf_append(to, p, n);
}

static void put_tag(struct buf *to, uint32_t number, enum protobuf_wire wire)
{
	put_raw_varint(to, (uint64_t)number << 3 | wire);
}

void protobuf_put_bytes(struct buf *to, uint32_t number, struct str value)
{
	put_tag(to, number, PROTOBUF_BYTES);
	put_raw_varint(to, value.n);
	buf_append_str(to, value);
}

void protobuf_put_varint(struct buf *to, uint32_t number, uint64_t value)
{
	put_tag(to, number, PROTOBUF_VARINT);
	put_raw_varint(to, value);
}

void protobuf_put_double(struct buf *to, uint32_t number, double value)
{
	uint64_t bits;
	unsigned char p[8];

	memcpy(&bits, &value, sizeof(bits));
	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = (unsigned char)(bits >> (8 * i));
	put_tag(to, number, PROTOBUF_FIXED64);
	buf_append(to, p, sizeof(p));
}

void protobuf_put_message(struct buf *to, uint32_t number, struct buf *body)
{
	put_tag(to, number, PROTOBUF_BYTES);
	put_raw_varint(to, body->n);
	buf_move(to, body);
}
