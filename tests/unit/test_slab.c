/* SPDX-License-Identifier: Apache-2.0 */
/* slab: small blocks that are used again, and how much is kept. */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "proxy/slab.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__
#define KEEPS 0                         /* every block is a new one there */
#else
#define KEEPS 1
#endif

START_TEST(a_block_given_back_is_taken_again)
{
	struct slab *s = slab_new();
	char *a = slab_take(s, 100), *b;

	ck_assert_uint_eq((uintptr_t)a % _Alignof(max_align_t), 0);
	memset(a, 'a', 100);
	slab_give(s, a);
	ck_assert_int_eq(slab_kept_bytes(s) >= 100, KEEPS);
	b = slab_take_zeroed(s, 120);
	if (KEEPS)
		ck_assert_ptr_eq(b, a);
	for (int i = 0; i < 120; i++)
		ck_assert_int_eq(b[i], 0);
	slab_give(s, b);
	slab_give(s, NULL);
	slab_free(s);
}
END_TEST

START_TEST(growing_keeps_the_bytes)
{
	struct slab *s = slab_new();
	char *p = NULL;
	size_t had = 0;

	for (size_t n = 1; n < 100000; n = n * 2 + 1) {
		p = slab_resize(s, p, n);
		for (size_t i = 0; i < had; i++)
			ck_assert_int_eq(p[i], (char)i);
		for (size_t i = 0; i < n; i++)
			p[i] = (char)i;
		had = n;
	}
	slab_give(s, p);
	slab_free(s);
}
END_TEST

#define MANY 4000

START_TEST(a_burst_is_not_kept)
{
	static void *p[MANY];
	struct slab *s = slab_new();

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < MANY; i++)
			p[i] = slab_take(s, 1 + i % 1500);
		for (size_t i = 0; i < MANY; i++)
			slab_give(s, p[i]);
		ck_assert_uint_le(slab_kept_bytes(s), 2 * SLAB_KEPT_BYTES);
	}
	slab_free(s);
}
END_TEST

UNIT_MAIN("slab", a_block_given_back_is_taken_again, growing_keeps_the_bytes, a_burst_is_not_kept)
