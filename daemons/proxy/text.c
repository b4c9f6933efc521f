/* SPDX-License-Identifier: Apache-2.0 */
/* text: growing bytes with JSON and log escapes, see text.h. Layer proxy. */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vec.h"
#include "proxy/text.h"

static const char hex_digits[] = "0123456789abcdef";

void text_done(struct text *t)
{
	free(t->p);
	*t = (struct text){ 0 };
}

void text_bytes(struct text *t, const void *p, size_t n)
{
	if (n == 0)
		return;
	vec_reserve(t->p, t->cap, t->n + n);
	memcpy(t->p + t->n, p, n);
	t->n += n;
}

void text_add(struct text *t, struct str s)
{
	text_bytes(t, s.p, s.n);
}

void text_char(struct text *t, char c)
{
	*vec_push(t->p, t->n, t->cap) = c;
}

void text_u64(struct text *t, uint64_t v)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	text_bytes(t, digits + i, sizeof(digits) - i);
}

void text_i64(struct text *t, int64_t v)
{
	if (v < 0)
		text_char(t, '-');
	text_u64(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void text_real(struct text *t, double v)
{
	char buf[64];
	int n = snprintf(buf, sizeof(buf), "%.15g", v);

	text_bytes(t, buf, (size_t)n);
}

/* Length of the UTF-8 sequence at the start of s and its code point; 0: none. */
static size_t utf8_at(struct str s, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = (unsigned char)s.p[0];
	size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
	uint32_t v = n == 1 ? c : c & (0x7fu >> n);

	if (n == 0 || c > 0xf4 || n > s.n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		unsigned char b = (unsigned char)s.p[i];

		if ((b & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (b & 0x3fu);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return 0;
	*ret = v;
	return n;
}

static void add_u16(struct text *t, uint32_t v)
{
	char esc[6] = { '\\', 'u', hex_digits[v >> 12 & 15], hex_digits[v >> 8 & 15],
			hex_digits[v >> 4 & 15], hex_digits[v & 15] };

	text_bytes(t, esc, sizeof(esc));
}

static void add_xhh(struct text *t, unsigned char c)
{
	char esc[4] = { '\\', 'x', hex_digits[c >> 4], hex_digits[c & 15] };

	text_bytes(t, esc, sizeof(esc));
}

static bool is_clean(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* The longest run at the start that needs no escape. */
static size_t clean_run(struct str s)
{
	size_t i = 0;

	while (i < s.n && is_clean((unsigned char)s.p[i]))
		i++;
	return i;
}

static size_t json_escape(struct text *t, struct str s)
{
	unsigned char c = (unsigned char)s.p[0];
	uint32_t v;
	size_t n = utf8_at(s, &v);

	if (c == '"' || c == '\\') {
		text_char(t, '\\');
		text_char(t, (char)c);
	} else if (n == 0 || c == 0) {
		text_char(t, '\\');
		add_xhh(t, c);
		return 1;
	} else if (v < 0x10000) {
		add_u16(t, v);
	} else {
		add_u16(t, 0xd800 | (v - 0x10000) >> 10);
		add_u16(t, 0xdc00 | ((v - 0x10000) & 0x3ff));
	}
	return n;
}

void text_json(struct text *t, struct str s)
{
	text_char(t, '"');
	while (s.n > 0) {
		size_t n = clean_run(s);

		text_bytes(t, s.p, n);
		s = str_skip(s, n);
		if (s.n > 0)
			s = str_skip(s, json_escape(t, s));
	}
	text_char(t, '"');
}

void text_plain(struct text *t, struct str s)
{
	while (s.n > 0) {
		size_t n = clean_run(s);

		text_bytes(t, s.p, n);
		s = str_skip(s, n);
		if (s.n > 0) {
			add_xhh(t, (unsigned char)s.p[0]);
			s = str_skip(s, 1);
		}
	}
}
