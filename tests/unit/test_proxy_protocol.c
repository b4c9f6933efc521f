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

/* What is written is read again, byte by byte as it comes. */
static void there_and_back(int version, const char *from, const char *to)
{
	char buf[PROXY_PROTOCOL_MAX + 4];
	struct sock_addr a, b, got;

	ck_assert(sock_addr_parse(str_c(from), 4711, &a));
	ck_assert(sock_addr_parse(str_c(to), 443, &b));
	size_t n = proxy_protocol_put(version, &a, &b, buf);

	memcpy(buf + n, "GET ", 4);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(proxy_protocol_get(str_from(buf, i), &got), -1);
	ck_assert_int_eq(proxy_protocol_get(str_from(buf, n + 4), &got), (int)n);
	ck_assert(sock_addr_eq(&got, &a));
}

START_TEST(reading)
{
	for (int version = 1; version <= 2; version++) {
		there_and_back(version, "192.0.2.1", "198.51.100.2");
		there_and_back(version, "2001:db8::1", "2001:db8::2");
	}
}
END_TEST

static int get(const char *s, size_t n)
{
	struct sock_addr from;

	return proxy_protocol_get(str_from(s, n), &from);
}

#define GET(s) get(s, sizeof(s) - 1)

START_TEST(reading_others)
{
	struct sock_addr from;

	ck_assert_int_eq(proxy_protocol_get(STR("PROXY UNKNOWN\r\n"), &from), 15);
	ck_assert_uint_eq(from.len, 0);
	ck_assert_int_eq(proxy_protocol_get(STR("PROXY UNKNOWN ff::1 ff::1 65535 65535\r\n"), &from), 39);
	/* LOCAL, and PROXY for a family that is no TCP, with bytes that are skipped */
	ck_assert_int_eq(GET("\r\n\r\n\0\r\nQUIT\n\x20\0\0\2ab"), 18);
	ck_assert_int_eq(GET("\r\n\r\n\0\r\nQUIT\n\x21\x31\0\2ab"), 18);
	ck_assert_int_eq(GET("GET / HTTP/1.1\r\n"), 0);
	ck_assert_int_eq(GET("\x16\x03\x01"), 0);
	ck_assert_int_eq(GET("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n"), 0);
	ck_assert_int_eq(GET("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n"), 0);
	ck_assert_int_eq(GET("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), 0);
	ck_assert_int_eq(GET("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), 0);
	ck_assert_int_eq(GET("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), 0);
	ck_assert_int_eq(GET("PROXY  192.0.2.1 192.0.2.2 1 2\r\n"), 0);
	ck_assert_int_eq(GET("\r\n\r\n\0\r\nQUIT\n\x31\x11\0\xc"), 0);       /* version 3 */
	ck_assert_int_eq(GET("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\4abcd"), 0);  /* too short for its addresses */
	ck_assert_int_eq(GET("\r\n\r\n\0\r\nQUIT\n\x21\x11\x7f\xff"), 0);  /* too long */
	char line[200];

	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY TCP4 ", 11);
	ck_assert_int_eq(get(line, 100), -1);
	ck_assert_int_eq(get(line, sizeof(line)), 0);
}
END_TEST

UNIT_MAIN("proxy_protocol", text, binary, nobody, reading, reading_others)
