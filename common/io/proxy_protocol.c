/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_protocol: see proxy_protocol.h. Layer io. */
#include "io/proxy_protocol.h"

#include <stdio.h>
#include <string.h>

static bool is_told(const struct sock_addr *from, const struct sock_addr *to)
{
	return from->len > 0 && to->len > 0 && from->sa.sa_family == to->sa.sa_family &&
	       (from->sa.sa_family == AF_INET || from->sa.sa_family == AF_INET6);
}

static size_t put_text(const struct sock_addr *from, const struct sock_addr *to, char *buf)
{
	char a[SOCK_ADDR_TEXT_MAX], b[SOCK_ADDR_TEXT_MAX];
	int n;

	if (!is_told(from, to))
		n = snprintf(buf, PROXY_PROTOCOL_MAX, "PROXY UNKNOWN\r\n");
	else
		n = snprintf(buf, PROXY_PROTOCOL_MAX, "PROXY TCP%c %s %s %u %u\r\n",
			     from->sa.sa_family == AF_INET ? '4' : '6', sock_addr_host(from, a),
			     sock_addr_host(to, b), sock_addr_port(from), sock_addr_port(to));
	return (size_t)n;
}

static char *put(char *to, const void *p, size_t n)
{
	memcpy(to, p, n);
	return to + n;
}

/* The blocks behind the fixed part: addresses, then ports, all in network order. */
static char *put_addresses(char *p, const struct sock_addr *from, const struct sock_addr *to)
{
	if (from->sa.sa_family == AF_INET) {
		p = put(put(p, &from->in.sin_addr, 4), &to->in.sin_addr, 4);
		return put(put(p, &from->in.sin_port, 2), &to->in.sin_port, 2);
	}
	p = put(put(p, &from->in6.sin6_addr, 16), &to->in6.sin6_addr, 16);
	return put(put(p, &from->in6.sin6_port, 2), &to->in6.sin6_port, 2);
}

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
#define SIGNATURE_BYTES 12
#define BINARY_BYTES 16                 /* in front of the addresses */

static size_t put_binary(const struct sock_addr *from, const struct sock_addr *to, char *buf)
{
	bool told = is_told(from, to), v4 = told && from->sa.sa_family == AF_INET;
	char *p = put(buf, signature, SIGNATURE_BYTES);

	*p++ = told ? 0x21 : 0x20;                      /* version 2, PROXY or LOCAL */
	*p++ = (char)(!told ? 0x00 : v4 ? 0x11 : 0x21); /* TCP over IPv4 or IPv6 */
	*p++ = 0;
	*p++ = (char)(!told ? 0 : v4 ? 12 : 36);        /* bytes that follow */
	if (told)
		p = put_addresses(p, from, to);
	return (size_t)(p - buf);
}

size_t proxy_protocol_put(int version, const struct sock_addr *from, const struct sock_addr *to,
			  char buf[static PROXY_PROTOCOL_MAX])
{
	return version == 2 ? put_binary(from, to, buf) : put_text(from, to, buf);
}

/* ---- reading ----------------------------------------------------------------------------------- */

static struct str next_word(struct str *line)
{
	struct str word;

	return str_split(line, ' ', &word) ? word : STR_NULL;
}

/* "PROXY TCP4 FROM TO PORT PORT"; false: another line. */
static bool read_line(struct str line, struct sock_addr *ret)
{
	struct str proxy = next_word(&line), family = next_word(&line);
	uint64_t from, to;
	struct sock_addr dst;

	if (!str_eq(proxy, STR("PROXY")))
		return false;
	if (str_eq(family, STR("UNKNOWN")))
		return true;
	struct str a = next_word(&line), b = next_word(&line), port = next_word(&line);
	bool v4 = str_eq(family, STR("TCP4"));

	if ((!v4 && !str_eq(family, STR("TCP6"))) || !str_to_u64(port, &from) || from > UINT16_MAX ||
	    !str_to_u64(line, &to) || to > UINT16_MAX || !sock_addr_parse(a, (uint16_t)from, ret) ||
	    !sock_addr_parse(b, (uint16_t)to, &dst))
		return false;
	return ret->sa.sa_family == (v4 ? AF_INET : AF_INET6) && dst.sa.sa_family == ret->sa.sa_family;
}

static int get_text(struct str in, struct sock_addr *ret)
{
	ptrdiff_t end = str_find(str_take(in, PROXY_PROTOCOL_MAX - 1), '\n');

	if (end < 0)
		return in.n >= PROXY_PROTOCOL_MAX - 1 ? 0 : -1;
	if (end < 1 || in.p[end - 1] != '\r' || !read_line(str_take(in, (size_t)end - 1), ret))
		return 0;
	return (int)end + 1;
}

static bool read_addresses(unsigned family, struct str body, struct sock_addr *ret)
{
	if (family == 0x11 && body.n >= 12) {
		ret->in.sin_family = AF_INET;
		memcpy(&ret->in.sin_addr, body.p, 4);
		memcpy(&ret->in.sin_port, body.p + 8, 2);
		ret->len = sizeof(ret->in);
		return true;
	}
	if (family == 0x21 && body.n >= 36) {
		ret->in6.sin6_family = AF_INET6;
		memcpy(&ret->in6.sin6_addr, body.p, 16);
		memcpy(&ret->in6.sin6_port, body.p + 32, 2);
		ret->len = sizeof(ret->in6);
		return true;
	}
	return family != 0x11 && family != 0x21;
}

static int get_binary(struct str in, struct sock_addr *ret)
{
	const uint8_t *p = (const uint8_t *)in.p;

	if (in.n < BINARY_BYTES)
		return -1;
	size_t n = (size_t)p[14] << 8 | p[15];

	if (p[12] >> 4 != 2 || (p[12] & 15) > 1 || BINARY_BYTES + n > PROXY_PROTOCOL_READ_MAX)
		return 0;
	if (in.n < BINARY_BYTES + n)
		return -1;
	if ((p[12] & 15) == 1 && !read_addresses(p[13], str_from(in.p + BINARY_BYTES, n), ret))
		return 0;
	return (int)(BINARY_BYTES + n);
}

int proxy_protocol_get(struct str in, struct sock_addr *ret_from)
{
	const struct str binary = { signature, SIGNATURE_BYTES }, text = STR("PROXY ");
	int n = 0;

	*ret_from = (struct sock_addr){ 0 };
	if (str_has_prefix(binary, str_take(in, SIGNATURE_BYTES)))
		n = in.n < SIGNATURE_BYTES ? -1 : get_binary(in, ret_from);
	else if (str_has_prefix(text, str_take(in, text.n)))
		n = in.n < text.n ? -1 : get_text(in, ret_from);
	if (n <= 0)
		*ret_from = (struct sock_addr){ 0 };
	return n;
}
