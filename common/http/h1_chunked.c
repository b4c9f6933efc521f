/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_chunked: the chunked transfer coding, read byte by byte where it is framing and in runs where
 * it is payload (RFC 9112 7.1). Layer http; no memory but struct h1_chunked. A size is 1 to 16 hex
 * digits, an extension at most 256 bytes, a line end is CRLF and nothing else.
 */
#include "http/h1.h"

#include "base/vec.h"
#include "http/h1_priv.h"

#define DIGITS_MAX 16
#define EXTENSION_MAX 256

void h1_chunked_init(struct h1_chunked *c)
{
	*c = (struct h1_chunked){ 0 };
}

static enum h1_result bad(struct h1_chunked *c, const char *reason)
{
	c->reason = reason;
	return H1_BAD;
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch = (char)(ch | 0x20);
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static void begin_data(struct h1_chunked *c)
{
	c->cr = c->semicolon = false;
	c->digits = c->extension = 0;
	if (c->left > 0) {
		c->state = H1_CHUNK_DATA;
		return;
	}
	c->state = H1_CHUNK_TRAILER;
	c->scan = (struct h1_scan){ 0 };
}

/* One byte of "SIZE [BWS ; extension] CRLF". False: not such a line. */
static bool size_byte(struct h1_chunked *c, char ch)
{
	int digit = hex_digit(ch);

	if (c->cr) {
		begin_data(c);
		return ch == '\n';
	}
	if (ch == '\r') {
		c->cr = true;
		return c->digits > 0 && (c->extension == 0 || c->semicolon);
	}
	if (c->extension == 0 && digit >= 0) {
		c->left = c->left << 4 | (unsigned)digit;
		return ++c->digits <= DIGITS_MAX && c->left <= INT64_MAX;
	}
	if (c->digits == 0 || ++c->extension > EXTENSION_MAX)
		return false;
	/* Between the size and ";" there may be white space and nothing else. */
	if (ch == ';')
		c->semicolon = true;
	return ch == '\t' || ch == ' ' || (c->semicolon && (uint8_t)ch > ' ' && ch != 0x7f);
}

static bool data_end_byte(struct h1_chunked *c, char ch)
{
	if (!c->cr) {
		c->cr = true;
		return ch == '\r';
	}
	c->cr = false;
	c->state = H1_CHUNK_SIZE;
	return ch == '\n';
}

/* Trailer fields that are allowed go behind those that h has. */
static bool take_trailers(struct h1_chunked *c, struct str in, struct head *h)
{
	struct arena own;
	struct head list;
	bool ok;

	arena_init(&own, 0);
	head_init(&list, h ? h->arena : &own);
	char *p = arena_alloc(list.arena, c->scan.pos);

	memcpy(p, in.p, c->scan.pos);
	ok = h1_read_fields(&list, p, p + c->scan.pos, c->scan.lines);
	for (size_t i = 0; i < list.n && ok; i++) {
		ok = !h1_is_forbidden_trailer(&list.fields[i]);
		if (ok && h)
			head_add(h, list.fields[i].name, list.fields[i].value);
	}
	arena_done(&own);
	return ok;
}

static enum h1_result trailer(struct h1_chunked *c, const struct h1_limits *lim, struct str in,
			      size_t *ret_used, struct head *h)
{
	struct h1_scan_rules rules = { .lim = lim };
	enum h1_scanned got = h1_scan_head(&c->scan, &rules, in);

	if (got == H1_SCANNED_MORE)
		return H1_MORE;
	if (got == H1_SCANNED_HEAD || got == H1_SCANNED_FIELDS)
		return bad(c, "too_large");
	if (got != H1_SCANNED_END)
		return bad(c, "bad_trailer");
	if (c->scan.lines > 0 && !take_trailers(c, in, h))
		return bad(c, "bad_trailer");
	*ret_used += c->scan.pos;
	c->state = H1_CHUNK_END;
	return H1_DONE;
}

static void take_data(struct h1_chunked *c, struct str in, struct str *ret_data, size_t *ret_used)
{
	*ret_data = str_take(str_skip(in, *ret_used), c->left < in.n ? (size_t)c->left : in.n);
	*ret_used += ret_data->n;
	c->left -= ret_data->n;
	if (c->left == 0)
		c->state = H1_CHUNK_DATA_CRLF;
}

enum h1_result h1_chunked_next(struct h1_chunked *c, const struct h1_limits *lim, struct str in,
			       struct str *ret_data, size_t *ret_used, struct head *trailers)
{
	*ret_data = STR_NULL;
	*ret_used = 0;
	while (c->state == H1_CHUNK_SIZE || c->state == H1_CHUNK_DATA_CRLF) {
		if (*ret_used == in.n)
			return H1_MORE;
		char ch = in.p[(*ret_used)++];

		if (!(c->state == H1_CHUNK_SIZE ? size_byte(c, ch) : data_end_byte(c, ch)))
			return bad(c, "bad_chunk");
	}
	if (c->state == H1_CHUNK_END)
		return H1_DONE;
	if (c->state == H1_CHUNK_TRAILER)
		return trailer(c, lim, str_skip(in, *ret_used), ret_used, trailers);
	take_data(c, in, ret_data, ret_used);
	return H1_MORE;
}
