/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spiffe: the one parser of SPIFFE IDs, for certificates, policy text, requests and configuration
 * alike (security-model §5.4). Layer io; works on bytes with a length, owns nothing.
 */
#include "io/tls.h"

#define DOMAIN_MAX 255

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static bool is_domain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_or_digit(s.p[i]))
			return false;
	return s.n > 0 && s.n <= DOMAIN_MAX;
}

static bool is_segment(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_or_digit(s.p[i]) && !(s.p[i] >= 'A' && s.p[i] <= 'Z'))
			return false;
	return s.n > 0 && !str_eq(s, STR(".")) && !str_eq(s, STR(".."));
}

/* "/ns/NS/sa/SA": the form of Istio's identities. */
static void name_parts(const struct str seg[4], size_t n, struct tls_spiffe *ret)
{
	if (n != 4 || !str_eq(seg[0], STR("ns")) || !str_eq(seg[2], STR("sa")))
		return;
	ret->ns = seg[1];
	ret->sa = seg[3];
}

bool tls_spiffe_parse(struct str s, struct tls_spiffe *ret)
{
	struct str rest, one, seg[4];
	size_t n = 0;

	*ret = (struct tls_spiffe){ 0 };
	if (s.n > TLS_SPIFFE_MAX || !str_has_prefix(s, STR("spiffe://")))
		return false;
	rest = str_skip(s, 9);
	ptrdiff_t slash = str_find(rest, '/');

	if (slash < 0 || !is_domain(str_take(rest, (size_t)slash)))
		return false;
	struct str path = str_skip(rest, (size_t)slash);
	struct tls_spiffe id = { .trust_domain = str_take(rest, (size_t)slash), .path = path };

	for (rest = str_skip(path, 1); str_split(&rest, '/', &one); n++) {
		if (!is_segment(one))
			return false;
		if (n < 4)
			seg[n] = one;
	}
	name_parts(seg, n, &id);
	*ret = id;
	return true;
}
