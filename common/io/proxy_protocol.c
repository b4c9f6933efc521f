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

static size_t put_binary(const struct sock_addr *from, const struct sock_addr *to, char *buf)
{
	static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
	bool told = is_told(from, to), v4 = told && from->sa.sa_family == AF_INET;
	char *p = put(buf, signature, 12);

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
