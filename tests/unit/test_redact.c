/* SPDX-License-Identifier: Apache-2.0 */
/* What is given away holds no secret; what helps stays. */
#include "ctl/redact.h"
#include "unit.h"

static struct redact *redact;
static struct arena arena;

static void check(const char *text, const char *expected)
{
	size_t n;
	struct str clean = redact_text(redact, str_c(text), &arena, &n);

	unit_str_eq(clean, expected);
	ck_assert_uint_eq(n > 0, strcmp(text, expected) != 0);
}

START_TEST(secrets_are_taken_out)
{
	redact = redact_new();
	arena_init(&arena, 0);
	check("a\n-----BEGIN EC PRIVATE KEY-----\nMHcC\nAQEE\n-----END EC PRIVATE KEY-----\nb\n", "a\n[removed]\nb\n");
	check("-----BEGIN PRIVATE KEY-----\nMHcC\n", "[removed]\n");
	check("{\"pem\": \"-----BEGIN PRIVATE KEY-----\\nMHcC\\n-----END PRIVATE KEY-----\\n\"}\n", "{\"pem\": \"[removed]\\n\"}\n");
	check("got eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl here\n", "got [removed] here\n");
	check("  authorization: Bearer abc.def~ghi=\n", "  authorization: [removed] [removed]\n");
	check("value: Basic dXNlcjpwYXNz\n", "value: Basic [removed]\n");
	check("db_password = \"a \\\" b\"; next = 1\n", "db_password = \"[removed]\"; next = 1\n");
	check("{ \"apiKey\": 'x', client_secret: s3cr3t, ok: yes }\n", "{ \"apiKey\": 'x', client_secret: [removed], ok: yes }\n");
	check("https://user:pw@example.com/a\n", "https://[removed]@example.com/a\n");
	check("\"GET /a?card=4111&x=1 HTTP/1.1\" 200\n", "\"GET /a?[removed] HTTP/1.1\" 200\n");
	check("Cookie: sid=1234567890\n", "Cookie: [removed]\n");
	arena_done(&arena);
	redact_free(redact);
}
END_TEST

START_TEST(what_helps_stays)
{
	redact = redact_new();
	arena_init(&arena, 0);
	check("", "");
	check("listen 127.0.0.1:15080\n\n", "listen 127.0.0.1:15080\n\n");
	check("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
	check("regex: ^/a(\\?.*)?$\n", "regex: ^/a(\\?.*)?$\n");
	check("spiffe://cluster.local/ns/default/sa/shop\n", "spiffe://cluster.local/ns/default/sa/shop\n");
	check("\"GET /a HTTP/1.1\" 503 UF\n", "\"GET /a HTTP/1.1\" 503 UF\n");
	arena_done(&arena);
	redact_free(redact);
}
END_TEST

/* What cannot be looked through is taken out whole. */
START_TEST(long_lines_and_junk_go)
{
	char line[20000];
	size_t n;

	redact = redact_new();
	arena_init(&arena, 0);
	memset(line, 'a', sizeof(line));
	struct str clean = redact_text(redact, str_from(line, sizeof(line)), &arena, &n);

	unit_str_eq(clean, "[a line of 20000 bytes was removed]\n");
	clean = redact_text(redact, str_from("\xff\xfe password=x\n", 14), &arena, &n);
	ck_assert_msg(str_find_str(clean, STR("=x")) < 0, "%.*s", STR_ARG(clean));
	ck_assert_uint_ge(n, 1);
	arena_done(&arena);
	redact_free(redact);
}
END_TEST

UNIT_MAIN("redact", secrets_are_taken_out, what_helps_stays, long_lines_and_junk_go)
