/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url: authorities, queries and the one normal form of a path. Layer http; owns nothing.
 * The normal form is what routing and policy look at and what is forwarded
 * (istio-semantics 2.11.18).
 */
#include "http/url.h"

#include <arpa/inet.h>

#define HOST_MAX 255

/* ---- authorities --------------------------------------------------------- */

/* RFC 3986 reg-name without sub-delims and percent signs: those hosts do not exist, tricks do. */
static bool is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

static bool is_name(struct str host)
{
	for (size_t i = 0; i < host.n; i++)
		if (!is_host_char(host.p[i]))
			return false;
	return host.n > 0 && host.n <= HOST_MAX;
}

static bool is_ipv6(struct str host)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr ip;

	if (host.n == 0 || host.n >= sizeof(text) || memchr(host.p, '\0', host.n))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return inet_pton(AF_INET6, text, &ip) == 1;
}

static bool parse_port(struct str s, uint16_t *ret)
{
	uint64_t v;

	if (s.n > 5 || !str_to_u64(s, &v) || v == 0 || v > UINT16_MAX)
		return false;
	*ret = (uint16_t)v;
	return true;
}

bool url_split_authority(struct str authority, struct str *ret_host, uint16_t *ret_port)
{
	struct str host = authority, rest = STR_NULL;
	bool v6 = authority.n > 0 && authority.p[0] == '[';

	*ret_host = STR_NULL;
	*ret_port = 0;
	if (v6) {
		ptrdiff_t end = str_find(authority, ']');

		if (end < 0)
			return false;
		host = str_from(authority.p + 1, (size_t)end - 1);
		rest = str_skip(authority, (size_t)end + 1);
	} else {
		ptrdiff_t colon = str_find(authority, ':');

		if (colon >= 0) {
			host = str_take(authority, (size_t)colon);
			rest = str_skip(authority, (size_t)colon);
		}
	}
	if (!(v6 ? is_ipv6(host) : is_name(host)))
		return false;
	if (rest.n > 0 && (rest.p[0] != ':' || !parse_port(str_skip(rest, 1), ret_port)))
		return false;
	*ret_host = host;
	return true;
}

/* ---- queries ------------------------------------------------------------- */

void url_split_query(struct str target, struct str *ret_path, struct str *ret_query)
{
	ptrdiff_t mark = str_find(target, '?');

	*ret_path = mark < 0 ? target : str_take(target, (size_t)mark);
	*ret_query = mark < 0 ? STR_NULL : str_skip(target, (size_t)mark + 1);
}

bool url_query_get(struct str query, struct str name, struct str *ret_value)
{
	struct str piece;

	*ret_value = STR_NULL;
	while (str_split(&query, '&', &piece)) {
		ptrdiff_t eq = str_find(piece, '=');
		struct str key = eq < 0 ? piece : str_take(piece, (size_t)eq);

		if (!str_eq(key, name))
			continue;
		*ret_value = eq < 0 ? STR("") : str_skip(piece, (size_t)eq + 1);
		return true;
	}
	return false;
}

struct str url_query_remove(struct str target, struct str name, struct arena *a)
{
	struct str path, query, piece;
	bool any = false;

	url_split_query(target, &path, &query);
	if (!query.p || str_find_str(query, name) < 0)
		return target;
	char *out = arena_alloc(a, target.n);
	size_t n = path.n;

	memcpy(out, path.p, n);
	while (str_split(&query, '&', &piece)) {
		ptrdiff_t eq = str_find(piece, '=');

		if (str_eq(eq < 0 ? piece : str_take(piece, (size_t)eq), name))
			continue;
		out[n++] = any ? '&' : '?';
		any = true;
		if (piece.n > 0)
			memcpy(out + n, piece.p, piece.n);
		n += piece.n;
	}
	return str_from(out, n);
}

/* ---- paths --------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_unreserved(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

/* The byte that "%XX" at p stands for, or -1. */
static int percent(const char *p, const char *end)
{
	if (end - p < 3)
		return -1;
	int hi = hex_digit(p[1]), lo = hex_digit(p[2]);

	return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/* What a path may hold at all, whatever the setting; also: does anything need a second look? */
static bool check_path(struct str path, bool *ret_plain)
{
	const char *end = path.p + path.n;

	*ret_plain = true;
	for (const char *p = path.p; p < end; p++) {
		uint8_t c = (uint8_t)*p;

		if (c <= ' ' || c >= 0x7f)
			return false;
		if (c == '%' && percent(p, end) <= 0)
			return false;
		if (c == '%' || c == '\\' || (c == '/' && p > path.p && p[-1] == '/') ||
		    (c == '.' && p > path.p && p[-1] == '/'))
			*ret_plain = false;
	}
	return true;
}

/* One pass of decoding: out is at least as long as path. "\" and what stands for "/" become "/". */
static size_t decode(struct str path, enum url_normalize how, char *out)
{
	const char *end = path.p + path.n;
	size_t n = 0;

	for (const char *p = path.p; p < end; p++) {
		int c = *p == '%' ? percent(p, end) : -1;

		if (*p == '\\') {
			out[n++] = '/';
		} else if (c >= 0 && is_unreserved(c)) {
			out[n++] = (char)c;
			p += 2;
		} else if (how == URL_NORMALIZE_DECODE_AND_MERGE_SLASHES &&
			   (c == '/' || c == '\\')) {
			out[n++] = '/';
			p += 2;
		} else {
			out[n++] = *p;
		}
	}
	return n;
}

/*
 * RFC 3986 5.2.4 on an absolute path, in place; an empty segment counts as a segment. False when
 * it climbs above the root. *n shrinks.
 */
static bool remove_dots(char *p, size_t *n)
{
	size_t out = 0, in = 0;

	while (in < *n) {
		size_t end = in + 1;            /* p[in] is '/' */

		while (end < *n && p[end] != '/')
			end++;
		size_t len = end - in - 1;
		bool last = end == *n;

		if (len == 1 && p[in + 1] == '.') {
			if (last)
				p[out++] = '/';
		} else if (len == 2 && p[in + 1] == '.' && p[in + 2] == '.') {
			if (out == 0)
				return false;
			while (p[--out] != '/')
				;
			if (last)
				p[out++] = '/';
		} else {
			memmove(p + out, p + in, len + 1);
			out += len + 1;
		}
		in = end;
	}
	*n = out;
	return true;
}

static size_t merge_slashes(char *p, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++)
		if (p[i] != '/' || i == 0 || p[i - 1] != '/')
			p[out++] = p[i];
	return out;
}

bool url_normalize(struct str target, enum url_normalize how, struct arena *a, struct str *ret)
{
	struct str path, query;
	ptrdiff_t fragment = str_find(target, '#');
	bool plain;

	if (fragment >= 0)
		target = str_take(target, (size_t)fragment);
	*ret = target;
	if (target.n == 0 || str_eq(target, STR("*")))
		return fragment < 0;
	url_split_query(target, &path, &query);
	if (path.n == 0 || (path.p[0] != '/' && path.p[0] != '\\') || !check_path(path, &plain))
		return false;
	if (how == URL_NORMALIZE_NONE)
		return path.p[0] == '/';
	if (plain && path.p[0] == '/')
		return true;
	char *out = arena_alloc(a, target.n);
	size_t n = decode(path, how, out);

	if (!remove_dots(out, &n))
		return false;
	if (how != URL_NORMALIZE_BASE)
		n = merge_slashes(out, n);
	if (query.p) {
		out[n++] = '?';
		memcpy(out + n, query.p, query.n);
		n += query.n;
	}
	*ret = str_from(out, n);
	return true;
}

/* In place: segments without what follows a ";". */
static size_t drop_parameters(char *p, size_t n)
{
	size_t out = 0;
	bool dropping = false;

	for (size_t i = 0; i < n; i++) {
		dropping = p[i] != '/' && (dropping || p[i] == ';');
		if (!dropping)
			p[out++] = p[i];
	}
	return out;
}

bool url_read_path(struct str path, unsigned reading, struct arena *a, struct str *ret)
{
	bool plain;

	*ret = path;
	if (path.n == 0 || path.p[0] != '/')
		return true;
	if (!check_path(path, &plain))
		return false;
	if (plain && str_find(path, ';') < 0)
		return true;
	char *out = arena_alloc(a, path.n);
	size_t n = decode(path, reading & URL_READ_DECODED ? URL_NORMALIZE_DECODE_AND_MERGE_SLASHES :
							     URL_NORMALIZE_BASE, out);

	if (reading & URL_READ_NO_PARAMETERS)
		n = drop_parameters(out, n);
	if (reading & URL_READ_MERGED)
		n = merge_slashes(out, n);
	if (!remove_dots(out, &n))
		return false;
	*ret = str_from(out, n);
	return true;
}
