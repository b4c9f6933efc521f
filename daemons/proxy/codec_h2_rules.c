/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_h2_rules: what RFC 9113 8 demands of a message, looked at while it comes, see codec_h2.h. nghttp2 is told to
 * leave that to this file: a head may become HTTP/1.1, so each byte has to be looked at as strictly as there, and once
 * is enough. fuzz_h2_session compares with what nghttp2 would let pass. Layer proxy.
 */
#include "config.h"

#include "http/h1.h"
#include "proxy/codec_h2.h"

/* What a block has brought. */
enum {
	SEEN_METHOD = 1, SEEN_SCHEME = 2, SEEN_AUTHORITY = 4, SEEN_PATH = 8, SEEN_PROTOCOL = 16, SEEN_STATUS = 32,
	SEEN_FIELD = 64, SEEN_HOST = 128, SEEN_LENGTH = 256, SEEN_CONNECT = 512,
};
#define OF_REQUEST (SEEN_METHOD | SEEN_SCHEME | SEEN_AUTHORITY | SEEN_PATH | SEEN_PROTOCOL)

/* ---- one field --------------------------------------------------------------------------------- */

enum h2_pseudo h2_pseudo_of(struct str name)
{
	switch (name.n) {
	case 5:
		return str_eq(name, STR(":path")) ? H2_PSEUDO_PATH : H2_PSEUDO_NONE;
	case 7:
		if (str_eq(name, STR(":method")))
			return H2_PSEUDO_METHOD;
		if (str_eq(name, STR(":status")))
			return H2_PSEUDO_STATUS;
		return str_eq(name, STR(":scheme")) ? H2_PSEUDO_SCHEME : H2_PSEUDO_NONE;
	case 9:
		return str_eq(name, STR(":protocol")) ? H2_PSEUDO_PROTOCOL : H2_PSEUDO_NONE;
	case 10:
		return str_eq(name, STR(":authority")) ? H2_PSEUDO_AUTHORITY : H2_PSEUDO_NONE;
	default:
		return H2_PSEUDO_NONE;
	}
}

static bool is_blank(struct str s)
{
	return str_trim(s).n == 0;
}

static bool take_status(struct h2_stream *hs, struct str v)
{
	hs->status = 0;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
		hs->status = hs->status * 10 + (unsigned)(v.p[i] - '0');
	}
	return v.n == 3 && hs->status >= 100 && hs->status != 101;      /* 8.6 */
}

/* Once each, before all fields, of the right direction, and never among trailers (8.3). */
bool h2_pseudo_ok(struct h2_stream *hs, enum h2_pseudo id, struct str value)
{
	static const unsigned bits[] = {
		[H2_PSEUDO_METHOD] = SEEN_METHOD, [H2_PSEUDO_SCHEME] = SEEN_SCHEME,
		[H2_PSEUDO_AUTHORITY] = SEEN_AUTHORITY, [H2_PSEUDO_PATH] = SEEN_PATH,
		[H2_PSEUDO_PROTOCOL] = SEEN_PROTOCOL, [H2_PSEUDO_STATUS] = SEEN_STATUS,
	};
	unsigned bit = bits[id], wanted = hs->h->server ? OF_REQUEST : SEEN_STATUS;

	if ((bit & wanted) == 0 || (hs->seen & (bit | SEEN_FIELD)) != 0 || hs->final_in || is_blank(value))
		return false;
	hs->seen |= bit;
	if (id == H2_PSEUDO_METHOD && str_eq(value, STR("CONNECT")))
		hs->seen |= SEEN_CONNECT;
	return id != H2_PSEUDO_STATUS || take_status(hs, value);
}

/* A length that tells of no body is dropped: of 204, and of a tunnel that opens (RFC 9110 8.6). */
static bool length_ok(struct h2_stream *hs, struct str value)
{
	uint64_t n;

	if (!hs->h->server && hs->tunnel && hs->status / 100 == 2)
		return true;
	if (hs->final_in || (hs->seen & SEEN_LENGTH) != 0 || !str_to_u64(value, &n) || n > INT64_MAX)
		return false;
	hs->seen |= SEEN_LENGTH;
	if (!hs->h->server && hs->status < 200)
		return false;
	if (!hs->h->server && hs->status == 204)
		return n == 0;
	hs->length = (int64_t)n;
	return true;
}

static bool host_ok(struct h2_stream *hs, struct str value)
{
	if (!hs->h->server)
		return true;
	if (hs->final_in || (hs->seen & SEEN_HOST) != 0 || is_blank(value))
		return false;
	hs->seen |= SEEN_HOST;
	return true;
}

bool h2_field_ok(struct h2_stream *hs, const struct head_field *f)
{
	hs->seen |= SEEN_FIELD;
	if (!h1_field_ok(f))
		return false;
	switch ((unsigned)f->id) {
	case HEAD_ID_CONNECTION:        /* 8.2.2 */
	case HEAD_ID_KEEP_ALIVE:
	case HEAD_ID_PROXY_CONNECTION:
	case HEAD_ID_TRANSFER_ENCODING:
	case HEAD_ID_UPGRADE:
		return false;
	case HEAD_ID_TE:
		return str_ieq(f->value, STR("trailers"));
	case HEAD_ID_HOST:
		return host_ok(hs, f->value);
	case HEAD_ID_CONTENT_LENGTH:
		return length_ok(hs, f->value);
	default:
		return true;
	}
}

/* ---- a block ----------------------------------------------------------------------------------- */

void h2_block_begins(struct h2_stream *hs)
{
	hs->seen = 0;
	hs->length = -1;
}

/* 8.3.1, 8.5; RFC 8441 4. */
static bool request_ok(const struct h2_stream *hs)
{
	const unsigned all = SEEN_METHOD | SEEN_SCHEME | SEEN_PATH;
	bool connect = (hs->seen & SEEN_CONNECT) != 0, extended = (hs->seen & SEEN_PROTOCOL) != 0;
	bool authority = (hs->seen & SEEN_AUTHORITY) != 0;

	if (connect && !extended)
		return authority && (hs->seen & (SEEN_SCHEME | SEEN_PATH)) == 0;
	if (extended && (!connect || !authority))
		return false;
	return (hs->seen & all) == all && (authority || (hs->seen & SEEN_HOST) != 0);
}

/* How long the body has to be; negative: nobody said. */
static int64_t body_length(const struct h2_stream *hs)
{
	if (hs->h->server)
		return (hs->seen & SEEN_CONNECT) != 0 && (hs->seen & SEEN_PROTOCOL) == 0 ? -1 : hs->length;
	if (hs->to_head || hs->status == 204 || hs->status == 304)
		return 0;
	return hs->tunnel ? -1 : hs->length;
}

bool h2_block_ok(struct h2_stream *hs, bool end)
{
	if (hs->final_in)               /* trailers are the end (8.1) */
		return end && h2_body_ok(hs, 0, true);
	if (hs->h->server ? !request_ok(hs) : (hs->seen & SEEN_STATUS) == 0)
		return false;
	if (!hs->h->server && hs->status < 200)
		return !end;
	hs->body_left = body_length(hs);
	return h2_body_ok(hs, 0, end);
}

/* ---- a body ------------------------------------------------------------------------------------ */

/* As long as the head says (8.1.1). */
bool h2_body_ok(struct h2_stream *hs, size_t n, bool end)
{
	if (hs->body_left < 0)
		return true;
	if (n > (uint64_t)hs->body_left)
		return false;
	hs->body_left -= (int64_t)n;
	return !end || hs->body_left == 0;
}
