/* SPDX-License-Identifier: Apache-2.0 */
/* io/proxy_protocol: both versions, byte by byte as HAProxy's specification has them. */
#include "io/proxy_protocol.h"

#include "unit.h"

static struct sock_addr addr(const char *host, uint16_t port)
{
	struct sock_addr a;

	ck_assert(sock_addr_parse(str_c(host), port, &a));
	return a;
}

static void check(int version, const char *from, const char *to, const char *want, size_t n)
{
	struct sock_addr a = addr(from, 4660), b = addr(to, 443);
	char got[PROXY_PROTOCOL_MAX];

	ck_assert_uint_eq(proxy_protocol_put(version, &a, &b, got), n);
	ck_assert_mem_eq(got, want, n);
}

#define CHECK(version, from, to, want) check(version, from, to, want, sizeof(want) - 1)
#define V2 "\r\n\r\n\0\r\nQUIT\n"

START_TEST(text)
{
	CHECK(1, "192.0.2.1", "198.51.100.7", "PROXY TCP4 192.0.2.1 198.51.100.7 4660 443\r\n");
	CHECK(1, "2001:db8::1", "::1", "PROXY TCP6 2001:db8::1 ::1 4660 443\r\n");
	CHECK(1, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	      "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 4660 443\r\n");
	CHECK(1, "unix:/run/x", "192.0.2.1", "PROXY UNKNOWN\r\n");
	CHECK(1, "192.0.2.1", "::1", "PROXY UNKNOWN\r\n");
}
END_TEST

START_TEST(binary)
{
	CHECK(2, "192.0.2.1", "198.51.100.7", V2 "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x12\x34\x01\xbb");
	CHECK(2, "2001:db8::1", "::1",
	      V2 "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34\x01\xbb");
	CHECK(2, "unix:/run/x", "192.0.2.1", V2 "\x20\x00\x00\x00");
}
END_TEST

START_TEST(nobody)
{
	struct sock_addr none = { 0 }, to = addr("192.0.2.1", 1);
	char got[PROXY_PROTOCOL_MAX];

	ck_assert_uint_eq(proxy_protocol_put(1, &none, &to, got), 15);
	ck_assert_uint_eq(proxy_protocol_put(2, &none, &to, got), 16);
}
END_TEST

UNIT_MAIN("proxy_protocol", text, binary, nobody)
