/* SPDX-License-Identifier: Apache-2.0 */
/* base64: see base64.h. Layer base. */
#include "base/base64.h"

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

bool base64_decode(struct str s, struct arena *a, struct str *ret)
{
	char *out = arena_alloc(a, s.n + 1);
	uint32_t bits = 0;
	size_t n = 0, n_bits = 0;

	while (s.n > 0 && s.p[s.n - 1] == '=')
		s.n--;
	if (s.n % 4 == 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int v = base64_value(s.p[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (char)(bits >> n_bits & 0xff);
		}
	}
	*ret = str_from(out, n);
	return true;
}

bool base64url_decode(struct str s, struct arena *a, struct str *ret)
{
	static const int unused[] = { 0, 0, 0xf, 0x3 };

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '+' || s.p[i] == '/' || s.p[i] == '=')
			return false;
	if (s.n > 0 && base64_value(s.p[s.n - 1]) & unused[s.n % 4])
		return false;
	return base64_decode(s, a, ret);
}

struct str base64url_encode(struct str s, struct arena *a)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *out = arena_alloc(a, s.n / 3 * 4 + 4);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = s.n - i < 3 ? s.n - i : 3;
		uint32_t bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < left ? (unsigned char)s.p[i + k] : 0);
		for (size_t k = 0; k <= left; k++)
			out[n++] = digits[bits >> (18 - 6 * k) & 63];
	}
	return str_from(out, n);
}
