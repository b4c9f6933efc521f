/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nft: batches and lists in a network namespace of the test's own. Skipped where namespaces are not to be had.
 */
#include "config.h"

#include <sched.h>
#include <stdio.h>

#include "nft/nft.h"

#include "unit.h"

static void ours(void)
{
	struct err err = { 0 };

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	ck_assert_msg(nft_run(STR("table inet kvmesh { counter c { }\n"
				  "chain o { type filter hook output priority 0; counter name \"c\"\n}\n}\n"), &err) == 0,
		      "%s", err.text);
}

START_TEST(a_batch_is_all_or_nothing)
{
	struct arena a;
	struct err err = { 0 };
	struct str s = STR_NULL;

	ours();
	arena_init(&a, 0);
	ck_assert_int_ne(nft_run(STR("add counter inet kvmesh second\nadd rule inet kvmesh nowhere accept\n"), &err), 0);
	ck_assert_msg(strstr(err.text, "nftables: ") == err.text, "%s", err.text);
	ck_assert_int_eq(nft_show_table(&a, &s, &err), 0);
	ck_assert_int_eq(str_find_str(s, STR("second")), -1);
	ck_assert_int_gt(str_find_str(s, STR("counter c")), 0);
	arena_done(&a);
}
END_TEST

START_TEST(json_is_a_batch_too)
{
	struct arena a;
	struct err err = { 0 };
	struct str s = STR_NULL;

	ours();
	arena_init(&a, 0);
	ck_assert_msg(nft_run(STR("{\"nftables\":[{\"add\":{\"counter\":{\"family\":\"inet\",\"table\":\"kvmesh\","
				  "\"name\":\"third\"}}}]}"), &err) == 0, "%s", err.text);
	ck_assert_int_eq(nft_list_counters(&a, &s, &err), 0);
	ck_assert_int_gt(str_find_str(s, STR("\"third\"")), 0);
	ck_assert_int_gt(str_find_str(s, STR("\"packets\": 0")), 0);
	ck_assert_int_eq(nft_list_table(&a, &s, &err), 0);
	ck_assert_int_gt(str_find_str(s, STR("\"hook\": \"output\"")), 0);
	ck_assert_int_ne(nft_run(STR("{\"nftables\":[{\"add\":{\"counter\":{\"family\":\"inet\"}}}]}"), &err), 0);
	ck_assert_uint_gt(strlen(err.text), strlen("nftables: "));
	arena_done(&a);
}
END_TEST

START_TEST(a_trial_changes_nothing)
{
	struct arena a;
	struct err err = { 0 };
	struct str s = STR_NULL;

	ours();
	arena_init(&a, 0);
	ck_assert_int_eq(nft_try(STR("add counter inet kvmesh second\n"), &err), 0);
	ck_assert_int_ne(nft_try(STR("add rule inet kvmesh nowhere accept\n"), &err), 0);
	ck_assert_int_eq(nft_list_counters(&a, &s, &err), 0);
	ck_assert_int_eq(str_find_str(s, STR("second")), -1);
	arena_done(&a);
}
END_TEST

START_TEST(no_table_is_told_apart_from_failure)
{
	struct arena a;
	struct err err = { 0 };
	struct str s = STR_NULL;

	ours();
	arena_init(&a, 0);
	ck_assert_int_eq(nft_run(STR("delete table inet kvmesh"), &err), 0);
	ck_assert_int_eq(nft_list_table(&a, &s, &err), KV_ERR_NOT_FOUND);
	ck_assert_int_eq(nft_list_counters(&a, &s, &err), KV_ERR_NOT_FOUND);
	arena_done(&a);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { a_batch_is_all_or_nothing, json_is_a_batch_too, a_trial_changes_nothing,
				       no_table_is_told_apart_from_failure };

	if (unshare(CLONE_NEWNET) != 0) {
		fprintf(stderr, "skipped: network namespaces need root\n");
		return 77;
	}
	return unit_run("nft", tests, sizeof(tests) / sizeof(tests[0]));
}
