/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_url: a normal form is one (doing it again changes nothing), has no dot segments left to
 * climb with, and keeps the query; authorities that are taken put together again are the same.
 */
#include <string.h>

#include "fuzz.h"
#include "http/url.h"

/* No segment that RFC 3986 would still remove. */
static bool has_dot_segment(struct str path)
{
	struct str one;

	while (str_split(&path, '/', &one))
		if (str_eq(one, STR(".")) || str_eq(one, STR("..")))
			return true;
	return false;
}

static void check_form(struct str target, struct str out, enum url_normalize how)
{
	struct str path, query, out_path, out_query;
	ptrdiff_t fragment = str_find(target, '#');

	url_split_query(fragment < 0 ? target : str_take(target, (size_t)fragment), &path, &query);
	url_split_query(out, &out_path, &out_query);
	fuzz_assert(str_eq(query, out_query) && (query.p == NULL) == (out_query.p == NULL));
	fuzz_assert(out.n <= target.n && str_find(out, '#') < 0);
	if (out.n == 0 || str_eq(out, STR("*")))
		return;
	fuzz_assert(out_path.n > 0 && out_path.p[0] == '/');
	if (how == URL_NORMALIZE_NONE)
		return;
	fuzz_assert(!has_dot_segment(out_path) && str_find(out_path, '\\') < 0);
	if (how != URL_NORMALIZE_BASE)
		fuzz_assert(str_find_str(out_path, STR("//")) < 0);
}

static void check_authority(struct str s, struct arena *a)
{
	struct str host, back;
	uint16_t port;

	if (!url_split_authority(s, &host, &port))
		return;
	bool v6 = str_find(host, ':') >= 0;

	back = arena_printf(a, v6 ? "[%.*s]" : "%.*s", STR_ARG(host));
	fuzz_assert(str_has_prefix(s, back));
	fuzz_assert((s.n == back.n) == (port == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_from((const char *)data, size), out, again, value;
	struct arena a;

	arena_init(&a, 0);
	check_authority(in, &a);
	url_query_get(in, STR("a"), &value);
	for (int i = URL_NORMALIZE_NONE; i <= URL_NORMALIZE_DECODE_AND_MERGE_SLASHES; i++) {
		enum url_normalize how = (enum url_normalize)i;

		if (!url_normalize(in, how, &a, &out))
			continue;
		check_form(in, out, how);
		fuzz_assert(url_normalize(out, how, &a, &again) && str_eq(out, again));
	}
	arena_done(&a);
	return 0;
}
