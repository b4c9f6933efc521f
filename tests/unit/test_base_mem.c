/* SPDX-License-Identifier: Apache-2.0 */
/* base: arenas, vectors, lists, maps, hashes, chance, label sets. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/label.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/vec.h"

#include "unit.h"

START_TEST(arena_hands_out_aligned_and_lasting)
{
	struct arena a;
	unsigned char *p[400];

	arena_init(&a, 256);
	for (size_t i = 0; i < 400; i++) {
		p[i] = arena_alloc(&a, i % 97);
		ck_assert_uint_eq((uintptr_t)p[i] % _Alignof(max_align_t), 0);
		memset(p[i], (int)i & 0xff, i % 97);
	}
	for (size_t i = 0; i < 400; i++) {
		for (size_t k = 0; k < i % 97; k++)
			ck_assert_uint_eq(p[i][k], i & 0xff);
	}
	char *big = arena_zalloc(&a, 1 << 20);
	for (size_t i = 0; i < 1 << 20; i += 4096)
		ck_assert_int_eq(big[i], 0);
	arena_done(&a);
	ck_assert_uint_eq(a.total_bytes, 0);
}
END_TEST

START_TEST(arena_clear_keeps_one_block)
{
	struct arena a;

	arena_init(&a, 1024);
	for (int i = 0; i < 100; i++)
		arena_alloc(&a, 100);
	arena_alloc(&a, 1 << 20);
	size_t full = a.total_bytes;
	arena_clear(&a);
	ck_assert_uint_lt(a.total_bytes, 2048);
	ck_assert_uint_gt(full, (1 << 20) + 10000);
	/* Reuse within the first block asks malloc for nothing. */
	size_t kept = a.total_bytes;
	memset(arena_alloc(&a, 200), 1, 200);
	ck_assert_uint_eq(a.total_bytes, kept);
	arena_done(&a);
	arena_clear(&a); /* empty, and again */
	arena_done(&a);
}
END_TEST

START_TEST(arena_strings)
{
	struct arena a;

	arena_init(&a, 0);
	struct str s = arena_printf(&a, "%s-%d", "x", 42);
	unit_str_eq(s, "x-42");
	ck_assert_int_eq(s.p[s.n], '\0');
	s = arena_str(&a, str_from("abcdef", 3));
	ck_assert_str_eq(s.p, "abc");
	ck_assert_str_eq(arena_str(&a, STR_NULL).p, "");
	ck_assert_ptr_null(arena_strdup(&a, NULL));
	ck_assert_str_eq(arena_strdup(&a, "dup"), "dup");
	int *v = arena_alloc(&a, 2 * sizeof(int));
	v[0] = 1;
	v[1] = 2;
	v = arena_grow(&a, v, 2 * sizeof(int), 4 * sizeof(int));
	ck_assert(v[0] == 1 && v[1] == 2);
	arena_done(&a);
}
END_TEST

START_TEST(arena_product_overflow_aborts)
{
	struct arena a;

	arena_init(&a, 0);
	arena_zalloc_n(&a, SIZE_MAX / 4, 8);
}
END_TEST

START_TEST(take_hands_over)
{
	_cleanup_free_ char *x = kv_asprintf("%d", 7);
	char *y = take(&x);

	ck_assert_ptr_null(x);
	ck_assert_str_eq(y, "7");
	free(y);
}
END_TEST

START_TEST(vec_grows)
{
	int *v = NULL;
	size_t n = 0, cap = 0;

	for (int i = 0; i < 1000; i++)
		*vec_push(v, n, cap) = i;
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(v[i], i);
	free(v);
}
END_TEST

START_TEST(vec_grows_in_an_arena)
{
	struct arena a;
	int *v = NULL;
	size_t n = 0, cap = 0;

	arena_init(&a, 0);
	for (int i = 0; i < 100; i++)
		*vec_push_arena(&a, v, n, cap) = i;
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(v[i], i);
	arena_done(&a);
}
END_TEST

struct item {
	int x;
	struct list node;
};

START_TEST(list_keeps_order_and_forgives)
{
	struct list l;
	struct item it[3] = { { .x = 0 }, { .x = 1 }, { .x = 2 } };
	int want = 0;

	list_init(&l);
	ck_assert(list_is_empty(&l));
	list_push_back(&l, &it[1].node);
	list_push_back(&l, &it[2].node);
	list_push_front(&l, &it[0].node);
	list_for_each(p, &l) ck_assert_int_eq(list_entry(p, struct item, node)->x, want++);
	ck_assert_int_eq(want, 3);
	list_del(&it[1].node);
	list_del(&it[1].node);
	list_for_each_safe(p, &l) list_del(p);
	ck_assert(list_is_empty(&l));
}
END_TEST

#define MANY 2000

/* Against a plain array: insert, replace, delete every third, look everything up, check order. */
START_TEST(map_agrees_with_an_array)
{
	static char names[MANY][16];
	static int vals[MANY];
	struct map m;
	int expect = 0;

	map_init(&m);
	ck_assert_ptr_null(map_get(&m, STR("x")));
	ck_assert_ptr_null(map_del(&m, STR("x")));
	ck_assert_ptr_null(map_first(&m));
	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "key%d", i);
		ck_assert_ptr_null(map_put(&m, str_c(names[i]), &vals[i]));
	}
	ck_assert_ptr_eq(map_put(&m, str_c(names[5]), &vals[6]), &vals[5]);
	ck_assert_ptr_eq(map_put(&m, str_c(names[5]), &vals[5]), &vals[6]);
	for (int i = 0; i < MANY; i += 3)
		ck_assert_ptr_eq(map_del(&m, str_c(names[i])), &vals[i]);
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(map_get(&m, str_c(names[i])), i % 3 == 0 ? NULL : &vals[i]);
	for (struct map_entry *e = map_first(&m); e; e = map_next(&m, e)) {
		while (expect % 3 == 0)
			expect++;
		ck_assert_ptr_eq(e->val, &vals[expect++]);
	}
	ck_assert_uint_eq(m.n, MANY - (MANY + 2) / 3);
	map_clear(&m);
	ck_assert(!map_has(&m, str_c(names[1])));
	ck_assert_ptr_null(map_put(&m, STR(""), &vals[0]));
	ck_assert_ptr_eq(map_get(&m, STR_NULL), &vals[0]);
	map_done(&m);
}
END_TEST

/* Long random run with a small key space, so that probe chains are cut in every way. */
START_TEST(map_survives_churn)
{
	static char names[64][8];
	bool in[64] = { false };
	struct map m;
	struct rng r;
	size_t n = 0;

	map_init(&m);
	rng_init(&r, 3);
	for (int i = 0; i < 64; i++)
		snprintf(names[i], sizeof(names[i]), "%d", i);
	for (int step = 0; step < 20000; step++) {
		size_t i = rng_below(&r, 64);
		void *old = rng_next(&r) & 1 ? map_put(&m, str_c(names[i]), names[i])
					     : map_del(&m, str_c(names[i]));
		ck_assert_ptr_eq(old, in[i] ? names[i] : NULL);
		in[i] = map_has(&m, str_c(names[i]));
	}
	for (int i = 0; i < 64; i++) {
		n += in[i];
		ck_assert_ptr_eq(map_get(&m, str_c(names[i])), in[i] ? names[i] : NULL);
	}
	ck_assert_uint_eq(m.n, n);
	map_done(&m);
}
END_TEST

/* Vectors: the hash is part of the wire and of stored state; a change breaks consistent hashing. */
START_TEST(hash_is_frozen)
{
	ck_assert_uint_eq(hash_bytes("", 0, 0), 0x48218226ff3cd4bfu);
	ck_assert_uint_eq(hash_str(STR("a")), 0x31f60c70c2eee4b8u);
	ck_assert_uint_eq(hash_str(STR("reviews.default.svc.cluster.local")), 0x710eb764ffbcf718u);
	ck_assert_uint_eq(hash_bytes("a", 1, 1), 0x220e6eb7cc36ba59u);
	ck_assert_uint_ne(hash_str(STR("ab")), hash_str(STR("ba")));
	ck_assert_uint_ne(hash_bytes("\0", 1, 0), hash_bytes("\0\0", 2, 0));
}
END_TEST

START_TEST(hash_spreads)
{
	unsigned buckets[64] = { 0 };

	for (unsigned i = 0; i < 6400; i++) {
		char name[32];
		int n = snprintf(name, sizeof(name), "10.0.%u.%u:8080", i / 256, i % 256);
		buckets[hash_bytes(name, (size_t)n, 0) >> 58]++;
	}
	/* 100 expected each; 5 sigma is 50. */
	for (size_t i = 0; i < 64; i++)
		ck_assert(buckets[i] > 50 && buckets[i] < 150);
}
END_TEST

/* The reference vectors of the SipHash paper: key 00…0f, input 00, 01, 02 … */
START_TEST(keyed_hash_is_siphash_2_4)
{
	const uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	unsigned char in[15];

	for (unsigned char i = 0; i < 15; i++)
		in[i] = i;
	ck_assert_uint_eq(hash_keyed(in, 15, key), 0xa129ca6149be45e5u);
	ck_assert_uint_eq(hash_keyed(in, 0, key), 0x726fdb47dd0e0e31u);
	ck_assert_uint_eq(hash_keyed(in, 8, key), 0x93f5f5799a932462u);
}
END_TEST

START_TEST(rng_is_fair_and_repeatable)
{
	struct rng a, b;
	unsigned seen[7] = { 0 };

	rng_init(&a, 0);
	rng_init(&b, 0);
	for (int i = 0; i < 7000; i++) {
		uint64_t x = rng_below(&a, 7);
		ck_assert_uint_eq(x, rng_below(&b, 7));
		ck_assert_uint_lt(x, 7);
		seen[x]++;
	}
	/* 1000 expected each, sigma 29; the seed is fixed, so this is no chance. */
	for (size_t i = 0; i < 7; i++)
		ck_assert(seen[i] > 850 && seen[i] < 1150);
	ck_assert_uint_eq(rng_below(&a, 1), 0);
	for (int i = 0; i < 1000; i++) {
		double u = rng_unit(&a);
		ck_assert(u >= 0 && u < 1);
	}
	rng_init_random(&a);
	rng_init_random(&b);
	ck_assert_uint_ne(rng_next(&a), rng_next(&b));
}
END_TEST

START_TEST(rng_secure_fills_all)
{
	unsigned char x[1000] = { 0 }, zeros[16] = { 0 };

	rng_secure(x, sizeof(x));
	for (size_t i = 0; i + 16 <= sizeof(x); i += 16)
		ck_assert_int_ne(memcmp(x + i, zeros, 16), 0);
}
END_TEST

START_TEST(labels_subset_is_istios)
{
	struct label pod[] = { { STR("app"), STR("my-app") }, { STR("version"), STR("v1") } };
	struct label sel[] = { { STR("version"), STR("v1") } };
	struct label other[] = { { STR("version"), STR("v2") } };
	struct label turned[] = { pod[1], pod[0] };
	struct labels have = { pod, 2 }, want = { sel, 1 }, no = { other, 1 }, none = { 0 };
	struct labels swapped = { turned, 2 };

	ck_assert(labels_is_subset(&want, &have) && labels_is_subset(&none, &have));
	ck_assert(!labels_is_subset(&no, &have) && !labels_is_subset(&have, &want));
	ck_assert(labels_is_subset(&none, &none) && !labels_is_subset(&want, &none));
	ck_assert(labels_eq(&have, &swapped) && !labels_eq(&have, &want));
	unit_str_eq(labels_get(&have, STR("app")), "my-app");
	ck_assert_ptr_null(labels_get(&have, STR("zone")).p);
	labels_sort(&swapped);
	unit_str_eq(swapped.v[0].key, "app");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		arena_hands_out_aligned_and_lasting,
		arena_clear_keeps_one_block,
		arena_strings,
		take_hands_over,
		vec_grows,
		vec_grows_in_an_arena,
		list_keeps_order_and_forgives,
		map_agrees_with_an_array,
		map_survives_churn,
		hash_is_frozen,
		hash_spreads,
		keyed_hash_is_siphash_2_4,
		rng_is_fair_and_repeatable,
		rng_secure_fills_all,
		labels_subset_is_istios,
	};
	const TTest *const aborting[] = { arena_product_overflow_aborts };
	int ok = unit_run("base_mem", tests, sizeof(tests) / sizeof(tests[0]));

	return ok == EXIT_SUCCESS ? unit_run_signal("base_mem_aborts", aborting, 1, SIGABRT) : ok;
}
