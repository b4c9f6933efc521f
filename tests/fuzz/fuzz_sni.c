/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_sni: a ClientHello in front of any bytes. A verdict once given does not change when more
 * bytes come, and names lie inside what was given.
 */
#include <string.h>

#include "base/arena.h"
#include "fuzz.h"
#include "io/tls.h"

static bool inside(struct str s, struct str in)
{
	return s.n == 0 || (s.p >= in.p && s.p + s.n <= in.p + in.n);
}

static int sniff(struct str in, struct tls_hello *h)
{
	int r = tls_sniff_hello(in, h);

	fuzz_assert(r >= -1 && r <= 1);
	fuzz_assert(inside(h->sni, in) && inside(h->alpn_list, in));
	fuzz_assert(r == 1 || (h->sni.n == 0 && h->alpn_list.n == 0));
	fuzz_assert(h->sni.n <= 255);
	for (size_t i = 0; i < h->sni.n; i++)
		fuzz_assert(h->sni.p[i] > ' ' && h->sni.p[i] < 0x7f);
	tls_alpn_has(h->alpn_list, STR("h2"));
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_hello whole, part;
	struct str in = str_from((const char *)data, size);
	int verdict = sniff(in, &whole);

	tls_alpn_has(in, STR("h2"));
	for (size_t n = 0; n < size && n < 600; n++) {
		char *copy = kv_malloc(n + 1);

		if (n > 0)
			memcpy(copy, data, n);
		int r = sniff(str_from(copy, n), &part);

		fuzz_assert(r == -1 || r == verdict);
		if (r == 1)
			fuzz_assert(str_eq(part.sni, whole.sni) &&
				    str_eq(part.alpn_list, whole.alpn_list));
		free(copy);
	}
	return 0;
}
