/* SPDX-License-Identifier: Apache-2.0 */
/* str: comparing, cutting and reading numbers out of borrowed bytes. Layer base. */
#include "base/str.h"

#include <math.h>
#include <stdlib.h>

#define DISTANCE_MAX 64 /* names longer than this are not compared */
#define DOUBLE_MAX_CHARS 400

static unsigned char fold(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool str_ieq(struct str a, struct str b)
{
	return a.n == b.n && str_has_iprefix(a, b);
}

int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n > 0 ? memcmp(a.p, b.p, n) : 0;

	if (c != 0)
		return c;
	return a.n < b.n ? -1 : a.n > b.n;
}

bool str_has_iprefix(struct str s, struct str prefix)
{
	if (s.n < prefix.n)
		return false;
	for (size_t i = 0; i < prefix.n; i++) {
		if (fold(s.p[i]) != fold(prefix.p[i]))
			return false;
	}
	return true;
}

bool str_has_suffix(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq(str_skip(s, s.n - suffix.n), suffix);
}

struct str str_trim(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = str_skip(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

struct str str_skip(struct str s, size_t n)
{
	if (n > s.n)
		n = s.n;
	return str_from(n > 0 ? s.p + n : s.p, s.n - n);
}

struct str str_take(struct str s, size_t n)
{
	return str_from(s.p, n < s.n ? n : s.n);
}

ptrdiff_t str_find(struct str s, char c)
{
	const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

	return at ? at - s.p : -1;
}

ptrdiff_t str_rfind(struct str s, char c)
{
	for (size_t i = s.n; i > 0; i--) {
		if (s.p[i - 1] == c)
			return (ptrdiff_t)(i - 1);
	}
	return -1;
}

ptrdiff_t str_find_str(struct str s, struct str needle)
{
	if (needle.n == 0)
		return 0;
	for (size_t i = 0; i + needle.n <= s.n; i++) {
		if (memcmp(s.p + i, needle.p, needle.n) == 0)
			return (ptrdiff_t)i;
	}
	return -1;
}

bool str_split(struct str *rest, char sep, struct str *ret_piece)
{
	if (!rest->p)
		return false;
	ptrdiff_t at = str_find(*rest, sep);
	if (at < 0) {
		*ret_piece = *rest;
		*rest = STR_NULL;
	} else {
		*ret_piece = str_take(*rest, (size_t)at);
		*rest = str_skip(*rest, (size_t)at + 1);
	}
	return true;
}

size_t str_utf8(struct str s, uint32_t *ret_code)
{
	static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };

	if (s.n == 0)
		return 0;
	uint32_t c = (unsigned char)s.p[0];
	size_t n = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;

	if (n == 0 || n > s.n)
		return 0;
	if (n > 1)
		c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		uint32_t next = (unsigned char)s.p[i];
		if ((next & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (next & 0x3f);
	}
	if (c < lowest[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	*ret_code = c;
	return n;
}

bool str_to_u64(struct str s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_digit(s.p[i]) || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}

size_t str_put_u64(char out[static STR_U64_MAX], uint64_t v)
{
	char digits[STR_U64_MAX], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	size_t n = (size_t)(digits + sizeof(digits) - p);

	memcpy(out, p, n);
	return n;
}

bool str_to_i64(struct str s, int64_t *ret)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	uint64_t v;

	if (!str_to_u64(minus ? str_skip(s, 1) : s, &v) || v > (uint64_t)INT64_MAX + minus)
		return false;
	*ret = minus ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = (char)fold(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_hex_to_u64(struct str s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int d = hex_value(s.p[i]);
		if (d < 0 || v >> 60 != 0)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*ret = v;
	return true;
}

static size_t count_digits(struct str s)
{
	size_t n = 0;

	while (n < s.n && is_digit(s.p[n]))
		n++;
	return n;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)? */
static bool is_json_number(struct str s)
{
	if (s.n > 0 && s.p[0] == '-')
		s = str_skip(s, 1);
	size_t n = count_digits(s);
	if (n == 0 || (n > 1 && s.p[0] == '0'))
		return false;
	s = str_skip(s, n);
	if (s.n > 0 && s.p[0] == '.') {
		n = count_digits(str_skip(s, 1));
		if (n == 0)
			return false;
		s = str_skip(s, n + 1);
	}
	if (s.n == 0)
		return true;
	if (s.p[0] != 'e' && s.p[0] != 'E')
		return false;
	s = str_skip(s, 1);
	if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
		s = str_skip(s, 1);
	return s.n > 0 && count_digits(s) == s.n;
}

/* No program of ours calls setlocale, so strtod's decimal point is a dot. */
bool str_to_double(struct str s, double *ret)
{
	char buf[DOUBLE_MAX_CHARS + 1];

	if (s.n > DOUBLE_MAX_CHARS || !is_json_number(s))
		return false;
	memcpy(buf, s.p, s.n);
	buf[s.n] = '\0';
	double v = strtod(buf, NULL);
	if (!isfinite(v))
		return false;
	*ret = v;
	return true;
}

/* Takes the unit off the front of *s; its length in nanoseconds, or 0. */
static uint64_t take_unit_ns(struct str *s)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", 1000 },
		{ "\xc2\xb5s", 1000 }, /* µ, micro sign */
		{ "\xce\xbcs", 1000 }, /* μ, Greek letter */
		{ "ms", 1000000 },
		{ "s", 1000000000 },
		{ "m", 60 * UINT64_C(1000000000) },
		{ "h", 3600 * UINT64_C(1000000000) },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		struct str name = str_c(units[i].name);
		if (str_has_prefix(*s, name)) {
			*s = str_skip(*s, name.n);
			return units[i].ns;
		}
	}
	return 0;
}

/* One "1.5h" off the front of *s, in nanoseconds. */
static bool take_duration_part(struct str *s, uint64_t *ret_ns)
{
	struct str whole = str_take(*s, count_digits(*s)), frac = STR_NULL;
	uint64_t value = 0, ns;

	*s = str_skip(*s, whole.n);
	if (s->n > 0 && s->p[0] == '.') {
		*s = str_skip(*s, 1);
		frac = str_take(*s, count_digits(*s));
		*s = str_skip(*s, frac.n);
	}
	if (whole.n + frac.n == 0 || (whole.n > 0 && !str_to_u64(whole, &value)))
		return false;
	uint64_t place = take_unit_ns(s);
	if (place == 0 || __builtin_mul_overflow(value, place, &ns))
		return false;
	for (size_t i = 0; i < frac.n; i++) {
		place /= 10;
		ns += (uint64_t)(frac.p[i] - '0') * place;
	}
	*ret_ns = ns;
	return true;
}

bool str_to_duration_us(struct str s, int64_t *ret_us)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	uint64_t total = 0, part;

	if (minus)
		s = str_skip(s, 1);
	if (s.n == 0)
		return false;
	if (str_eq(s, STR("0"))) {
		*ret_us = 0;
		return true;
	}
	while (s.n > 0) {
		if (!take_duration_part(&s, &part) || __builtin_add_overflow(total, part, &total) ||
		    total > (uint64_t)INT64_MAX)
			return false;
	}
	int64_t us = (int64_t)((total + 500) / 1000);
	*ret_us = minus ? -us : us;
	return true;
}

static unsigned min_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Three rows of the usual table (optimal string alignment). */
unsigned str_distance(struct str a, struct str b, unsigned cap)
{
	unsigned rows[3][DISTANCE_MAX + 1];
	size_t gap = a.n > b.n ? a.n - b.n : b.n - a.n;

	if (gap >= cap || a.n > DISTANCE_MAX || b.n > DISTANCE_MAX)
		return cap;
	for (unsigned j = 0; j <= b.n; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned differs = a.p[i - 1] != b.p[j - 1];
			row[j] = min_of(up[j - 1] + differs, min_of(up[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
				row[j] = min_of(row[j], up2[j - 2] + 1);
		}
	}
	return min_of(rows[a.n % 3][b.n], cap);
}
