/* SPDX-License-Identifier: Apache-2.0 */
/* spiffe: the strict parser; tls_sniff: names of a ClientHello before anybody consumes it. */
#include <stdio.h>

#include "base/rng.h"

#include "tls_unit.h"

START_TEST(ids_of_workloads)
{
	struct tls_spiffe id;

	ck_assert(tls_spiffe_parse(STR("spiffe://cluster.local/ns/default/sa/my-app_1.x"), &id));
	unit_str_eq(id.trust_domain, "cluster.local");
	unit_str_eq(id.path, "/ns/default/sa/my-app_1.x");
	unit_str_eq(id.ns, "default");
	unit_str_eq(id.sa, "my-app_1.x");
	ck_assert(tls_spiffe_parse(STR("spiffe://a-b_c.9/Path/With...Dots/.x/..."), &id));
	unit_str_eq(id.trust_domain, "a-b_c.9");
	ck_assert_uint_eq(id.ns.n + id.sa.n, 0);
	static const char *const other[] = {
		"spiffe://d/ns/a/sa/b/c", "spiffe://d/ns/a/sa",     "spiffe://d/sa/a/ns/b",
		"spiffe://d/NS/a/SA/b",   "spiffe://d/x/ns/a/sa/b",
	};

	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		ck_assert(tls_spiffe_parse(str_c(other[i]), &id));
		ck_assert_uint_eq(id.ns.n + id.sa.n, 0);
	}
}
END_TEST

START_TEST(what_is_no_id)
{
	static const char *const bad[] = {
		"",
		"spiffe",
		"spiffe:",
		"spiffe:/d/a",
		"spiffe://",
		"spiffe:///a",
		"spiffe://d",
		"spiffe://d/",
		"spiffe://d/a/",
		"spiffe://d//a",
		"spiffe://d/a//b",
		"spiffe://d/.",
		"spiffe://d/..",
		"spiffe://d/a/../b",
		"Spiffe://d/a",
		"SPIFFE://d/a",
		"https://d/a",
		" spiffe://d/a",
		"spiffe://d/a ",
		"spiffe://D/a",
		"spiffe://d:80/a",
		"spiffe://u@d/a",
		"spiffe://u:p@d/a",
		"spiffe://d/a?b",
		"spiffe://d/a#b",
		"spiffe://d?/a",
		"spiffe://d#/a",
		"spiffe://d%2e/a",
		"spiffe://d/%61",
		"spiffe://d/a%2fb",
		"spiffe://[::1]/a",
		"spiffe://d/a:b",
		"spiffe://d/a*b",
		"spiffe://d/a@b",
		"spiffe://d/a;b",
		"spiffe://d/a\\b",
		"spiffe://d/\xc3\xa4",
		"spiffe://\xc3\xa4/a",
		"spiffe://allowed:x@other/a",
		"spiffe://d/a\n",
		"spiffe://d/a\t",
	};
	struct tls_spiffe id;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!tls_spiffe_parse(str_c(bad[i]), &id), "%s", bad[i]);
	ck_assert(!tls_spiffe_parse(STR("spiffe://d/a\0b"), &id));
	ck_assert(!tls_spiffe_parse(STR("spiffe://d\0/a"), &id));
	ck_assert(!tls_spiffe_parse(STR("spiffe://d/a\0"), &id));
	ck_assert(!tls_spiffe_parse(STR_NULL, &id));
}
END_TEST

START_TEST(lengths_of_ids)
{
	struct tls_spiffe id;
	char text[3000] = "spiffe://";

	memset(text + 9, 'a', 255);
	memcpy(text + 264, "/x", 2);
	ck_assert(tls_spiffe_parse(str_from(text, 266), &id));
	memcpy(text + 264, "a/x", 3);
	ck_assert(!tls_spiffe_parse(str_from(text, 267), &id));
	memset(text, 'a', sizeof(text));
	memcpy(text, "spiffe://d/", 11);
	ck_assert(tls_spiffe_parse(str_from(text, 2048), &id));
	ck_assert(!tls_spiffe_parse(str_from(text, 2049), &id));
}
END_TEST

/* ---- hellos -------------------------------------------------------------- */

static struct buf hello_of(const char *sni, const char *const *alpn)
{
	struct tls_ctx *c;
	struct buf in = { 0 }, out = { 0 };

	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .skip_verify = true }, &c, NULL),
			 0);
	struct tls_session *s = tls_client_new_ctx(c, sni, alpn, NULL, 0);

	ck_assert_int_eq(tls_handshake(s, &in, &out), TLS_AGAIN);
	tls_session_free(s);
	tls_ctx_unref(c);
	return out;
}

START_TEST(a_hello_is_read_once_it_is_there)
{
	static const char *const alpn[] = { "istio", "h2", NULL };
	struct buf out = hello_of("outbound_.80_.v1_.my-app.default.svc.cluster.local", alpn);
	struct str all = buf_pullup(&out, out.n);
	struct tls_hello h;

	for (size_t n = 0; n < all.n; n++) {
		char *copy = kv_malloc(n + 1);

		memcpy(copy, all.p, n);
		ck_assert_int_eq(tls_sniff_hello(str_from(copy, n), &h), -1);
		free(copy);
	}
	ck_assert_int_eq(tls_sniff_hello(all, &h), 1);
	unit_str_eq(h.sni, "outbound_.80_.v1_.my-app.default.svc.cluster.local");
	unit_str_eq(h.alpn_list, "\x05istio\x02h2");
	ck_assert(tls_alpn_has(h.alpn_list, STR("h2")));
	ck_assert(tls_alpn_has(h.alpn_list, STR("istio")));
	ck_assert(!tls_alpn_has(h.alpn_list, STR("h")));
	ck_assert(!tls_alpn_has(h.alpn_list, STR("istio\x02h2")));
	ck_assert(!tls_alpn_has(h.alpn_list, STR("")));
	ck_assert(!tls_alpn_has(STR_NULL, STR("h2")));
	ck_assert(!tls_alpn_has(STR("\x05h2"), STR("h2")));
	buf_done(&out);
}
END_TEST

START_TEST(a_hello_without_names)
{
	struct buf out = hello_of(NULL, NULL);
	struct tls_hello h;

	ck_assert_int_eq(tls_sniff_hello(buf_pullup(&out, out.n), &h), 1);
	ck_assert_uint_eq(h.sni.n, 0);
	ck_assert_uint_eq(h.alpn_list.n, 0);
	buf_done(&out);
}
END_TEST

START_TEST(what_is_no_hello)
{
	static const struct str none[] = {
		{ "G", 1 },
		{ "\x16\x02", 2 },
		{ "\x16\x03\x05", 3 },
		{ "\x15\x03\x01\x00\x02", 5 },
		{ "\x16\x03\x01\x00\x00", 5 },
		{ "\x16\x03\x01\xff\xff", 5 },
		{ "\x16\x03\x01\x01\x00\x02", 6 },
		{ "\x80\x2e\x01\x03\x01", 5 },
		{ "SSH-2.0-x\r\n", 11 },
		{ "\0", 1 },
	};
	struct tls_hello h;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		ck_assert_msg(tls_sniff_hello(none[i], &h) == 0, "row %zu", i);
	ck_assert_int_eq(tls_sniff_hello(STR_NULL, &h), -1);
	ck_assert_int_eq(tls_sniff_hello(STR("\x16"), &h), -1);
	ck_assert_int_eq(tls_sniff_hello(STR("\x16\x03\x01\x02\x00\x01"), &h), -1);
	/* TLS, but nothing in it can be read. */
	ck_assert_int_eq(tls_sniff_hello(STR("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), &h), 1);
	ck_assert_uint_eq(h.sni.n, 0);
}
END_TEST

/* Any byte changed: no crash, and nothing that is not a host name is ever reported. */
START_TEST(damaged_hellos)
{
	static const char *const alpn[] = { "h2", NULL };
	struct buf out = hello_of("shop.example", alpn);
	struct str all = buf_pullup(&out, out.n);
	struct rng r;

	rng_init(&r, 3);
	for (int i = 0; i < 20000; i++) {
		char *copy = kv_malloc(all.n);
		struct tls_hello h;

		memcpy(copy, all.p, all.n);
		copy[5 + rng_below(&r, all.n - 5)] = (char)rng_next(&r);
		copy[5 + rng_below(&r, all.n - 5)] = (char)rng_next(&r);
		tls_sniff_hello(str_from(copy, all.n), &h);
		for (size_t k = 0; k < h.sni.n; k++)
			ck_assert(h.sni.p[k] > ' ' && h.sni.p[k] < 0x7f);
		free(copy);
	}
	buf_done(&out);
}
END_TEST

UNIT_MAIN("spiffe", ids_of_workloads, what_is_no_id, lengths_of_ids,
	  a_hello_is_read_once_it_is_there, a_hello_without_names, what_is_no_hello, damaged_hellos)
