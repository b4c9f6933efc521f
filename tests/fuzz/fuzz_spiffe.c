/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_spiffe: what is taken as a SPIFFE ID has one reading and only the bytes that it may have. */
#include <string.h>

#include "fuzz.h"
#include "io/tls.h"

static bool only(struct str s, const char *set)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' || !strchr(set, s.p[i]))
			return false;
	return s.n > 0;
}

static void check_id(struct str in, const struct tls_spiffe *id)
{
	static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	static const char all[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
	struct str one, rest = str_skip(id->path, 1);

	fuzz_assert(in.n == 9 + id->trust_domain.n + id->path.n && in.n <= TLS_SPIFFE_MAX);
	fuzz_assert(id->trust_domain.p == in.p + 9 && id->path.p == in.p + 9 + id->trust_domain.n);
	fuzz_assert(only(id->trust_domain, lower) && id->trust_domain.n <= 255);
	fuzz_assert(id->path.p[0] == '/' && only(id->path, all));
	while (str_split(&rest, '/', &one))
		fuzz_assert(one.n > 0 && !str_eq(one, STR(".")) && !str_eq(one, STR("..")));
	if (id->ns.n > 0 || id->sa.n > 0) {
		fuzz_assert(id->path.n == id->ns.n + id->sa.n + 8);
		fuzz_assert(str_has_prefix(id->path, STR("/ns/")));
		fuzz_assert(id->ns.p == id->path.p + 4 && id->sa.p == id->ns.p + id->ns.n + 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_from((const char *)data, size);
	struct tls_spiffe id;

	if (tls_spiffe_parse(in, &id))
		check_id(in, &id);
	return 0;
}
