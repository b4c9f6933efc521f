/* SPDX-License-Identifier: Apache-2.0 */
/* grpc: see grpc.h. Layer proxy. */
#include "config.h"

#include "proxy/grpc.h"

#define TIMEOUT_DIGITS 8

bool grpc_is_content_type(struct str v)
{
	const struct str grpc = STR("application/grpc");

	if (!str_has_iprefix(v, grpc))
		return false;
	return v.n == grpc.n || v.p[grpc.n] == '+' || v.p[grpc.n] == ';';
}

/* Of a unit, in nanoseconds; 0: no unit. */
static uint64_t unit_ns(char unit)
{
	switch (unit) {
	case 'H':
		return UINT64_C(3600000000000);
	case 'M':
		return UINT64_C(60000000000);
	case 'S':
		return 1000000000;
	case 'm':
		return 1000000;
	case 'u':
		return 1000;
	case 'n':
		return 1;
	default:
		return 0;
	}
}

bool grpc_timeout_us(struct str value, uint64_t *ret_us)
{
	uint64_t n, ns;

	if (value.n < 2 || value.n > TIMEOUT_DIGITS + 1)
		return false;
	ns = unit_ns(value.p[value.n - 1]);
	if (ns == 0 || !str_to_u64(str_take(value, value.n - 1), &n))
		return false;
	*ret_us = ns >= 1000 ? n * (ns / 1000) : n * ns / 1000;
	return true;
}

/* The bytes of a prefix, which may come one by one. */
static size_t take_prefix(struct grpc_messages *m, const uint8_t *p, size_t n)
{
	size_t used = 0;

	while (used < n && m->have < sizeof(m->prefix))
		m->prefix[m->have++] = p[used++];
	if (m->have < sizeof(m->prefix))
		return used;
	m->left = (uint32_t)m->prefix[1] << 24 | (uint32_t)m->prefix[2] << 16 |
		  (uint32_t)m->prefix[3] << 8 | m->prefix[4];
	m->have = 0;
	m->n++;
	return used;
}

static void count_run(struct grpc_messages *m, const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t used = m->left < n ? m->left : n;

		if (m->left > 0)
			m->left -= (uint32_t)used;
		else
			used = take_prefix(m, p, n);
		p += used;
		n -= used;
	}
}

void grpc_count(struct grpc_messages *m, const struct buf *b)
{
	_scratch_ struct iovec iov[64];
	int n = buf_iov(b, iov, 64);

	for (int i = 0; i < n; i++)
		count_run(m, iov[i].iov_base, iov[i].iov_len);
}

unsigned grpc_http_status(unsigned grpc_status)
{
	static const unsigned of[] = { 200, 499, 500, 400, 504, 404, 409, 403, 429,
				       400, 409, 400, 501, 500, 503, 500, 401 };

	return grpc_status < sizeof(of) / sizeof(of[0]) ? of[grpc_status] : 500;
}

unsigned grpc_status_of(unsigned http_status)
{
	switch (http_status) {
	case 200:
		return 0;
	case 400:
		return 13;
	case 401:
		return 16;
	case 403:
		return 7;
	case 404:
		return 12;
	case 429:
	case 502:
	case 503:
	case 504:
		return 14;
	default:
		return 2;
	}
}

struct str grpc_message(struct str text, struct arena *a)
{
	static const char hex[] = "0123456789ABCDEF";
	char *p = arena_alloc(a, text.n * 3 + 1);
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = (uint8_t)text.p[i];

		if (c >= ' ' && c <= '~' && c != '%') {
			p[n++] = (char)c;
			continue;
		}
		p[n++] = '%';
		p[n++] = hex[c >> 4];
		p[n++] = hex[c & 15];
	}
	return str_from(p, n);
}
