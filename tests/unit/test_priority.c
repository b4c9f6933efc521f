/* SPDX-License-Identifier: Apache-2.0 */
/* core/priority: Envoy's documented table of levels and shares (semantics 2.8.10). */
#include "core/priority.h"

#include "unit.h"

START_TEST(shares)
{
	static const struct { struct priority_level v[3]; unsigned want[3]; } rows[] = {
		{ { { 100, 100 }, { 100, 100 }, { 100, 100 } }, { 100, 0, 0 } },
		{ { { 72, 100 }, { 72, 100 }, { 100, 100 } }, { 100, 0, 0 } },
		{ { { 71, 100 }, { 1, 100 }, { 100, 100 } }, { 99, 1, 0 } },
		{ { { 50, 100 }, { 60, 100 }, { 100, 100 } }, { 70, 30, 0 } },
		{ { { 25, 100 }, { 100, 100 }, { 100, 100 } }, { 35, 65, 0 } },
		{ { { 5, 100 }, { 0, 100 }, { 65, 100 } }, { 7, 0, 93 } },
		{ { { 20, 100 }, { 20, 100 }, { 10, 100 } }, { 42, 40, 18 } },
		{ { { 0, 100 }, { 0, 100 }, { 0, 0 } }, { 0, 0, 0 } },
		{ { { 0, 1 }, { 1, 1 }, { 1, 1 } }, { 0, 100, 0 } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned got[3], sum = 0, want = 0;

		priority_shares(rows[i].v, 3, got);
		for (size_t k = 0; k < 3; k++) {
			/* what rounding leaves over goes to the largest */
			ck_assert_msg(got[k] + 2 >= rows[i].want[k] && got[k] <= rows[i].want[k] + 2,
				      "row %zu level %zu: %u", i, k, got[k]);
			sum += got[k];
			want += rows[i].want[k];
		}
		ck_assert_uint_eq(sum, want);
	}
}
END_TEST

START_TEST(picks_follow_the_shares)
{
	static const struct priority_level v[] = { { 1, 4 }, { 4, 4 } };
	size_t first = 0;
	struct rng r;

	rng_init(&r, 3);
	for (int i = 0; i < 100000; i++)
		first += priority_pick(v, 2, &r) == 0;
	/* 35 percent, five standard deviations of a binomial */
	ck_assert_uint_ge(first, 35000 - 5 * 151);
	ck_assert_uint_le(first, 35000 + 5 * 151);
	ck_assert_uint_eq(priority_pick((const struct priority_level[]){ { 0, 3 } }, 1, &r), 0);
	ck_assert_uint_eq(priority_pick((const struct priority_level[]){ { 0, 3 }, { 0, 2 } }, 2, &r), 0);
}
END_TEST

UNIT_MAIN("priority", shares, picks_follow_the_shares)
