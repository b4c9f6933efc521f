/* SPDX-License-Identifier: Apache-2.0 */
/* rules: what a plan becomes, without a kernel. The whole text of an example is tests/wire/golden/capture.nft. */
#include "config.h"

#include "nft/rules.h"

#include "unit.h"

static int64_t web[] = { 8080, 8443 };
static const uid_t ours[] = { 200, 201 };

struct fixture {
	struct arena a;
	struct capture_workload w[2];
	struct rules_match m[2];
	struct capture_plan plan;
	struct rules_input in;
};

static void setup(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	arena_init(&f->a, 0);
	f->w[0] = (struct capture_workload){ .name = STR("one"), .ns = STR("shop"), .outbound = true, .all_ranges = true };
	f->w[0].inbound.v = web;
	f->w[0].inbound.n = 2;
	f->w[1] = (struct capture_workload){ .name = STR("two"), .ns = STR("shop"), .outbound = true, .all_ranges = true };
	f->m[0] = (struct rules_match){ .kind = RULES_MATCH_USER, .uid = 1000 };
	f->m[1] = (struct rules_match){ .kind = RULES_MATCH_CGROUP, .level = 2, .path = STR("unified/system.slice/two.service") };
	f->plan = (struct capture_plan){ .outbound_port = 15001, .inbound_port = 15006 };
	f->plan.workloads.v = f->w;
	f->plan.workloads.n = 2;
	f->in = (struct rules_input){ .plan = &f->plan, .matches = f->m, .ours = ours, .n_ours = 2, .proxy_is_up = true };
}

static bool says(struct str text, const char *part)
{
	return str_find_str(text, str_c(part)) >= 0;
}

START_TEST(who_sends_is_told_by_user_or_cgroup)
{
	struct fixture f;

	setup(&f);
	struct str t = rules_make(&f.in, &f.a);

	ck_assert(says(t, "out meta skuid 1000 meta l4proto tcp counter name out/one.shop redirect to :15001\n"));
	ck_assert(says(t, "out socket cgroupv2 level 2 \"unified/system.slice/two.service\" meta l4proto tcp counter name "
			  "out/two.shop redirect to :15001\n"));
	ck_assert(says(t, "local meta skuid 1000 tcp dport { 8080, 8443 } accept\n"));
	arena_done(&f.a);
}
END_TEST

START_TEST(our_own_come_before_everybody)
{
	struct fixture f;

	setup(&f);
	struct str t = rules_make(&f.in, &f.a);
	ptrdiff_t own = str_find_str(t, STR("out meta skuid { 200, 201 } accept")), first = str_find_str(t, STR("redirect"));

	ck_assert_int_gt(own, 0);
	ck_assert_int_lt(own, first);
	ck_assert_int_lt(str_find_str(t, STR("out tcp dport { 22, 53, 123, 853, 4460 } accept")), first);
	ck_assert_int_lt(str_find_str(t, STR("out tcp flags & (fin | syn | rst | ack) != syn accept")), first);
	arena_done(&f.a);
}
END_TEST

START_TEST(two_that_cannot_be_told_apart_have_the_rules_of_the_first)
{
	struct fixture f;

	setup(&f);
	f.m[1] = f.m[0];
	struct str t = rules_make(&f.in, &f.a);

	ck_assert(says(t, "counter name out/one.shop redirect"));
	ck_assert(!says(t, "counter name out/two.shop redirect"));
	arena_done(&f.a);
}
END_TEST

START_TEST(who_is_not_told_sends_as_ever_and_is_called_through_the_proxy)
{
	struct fixture f;

	setup(&f);
	f.m[0] = (struct rules_match){ .kind = RULES_MATCH_NONE };
	struct str t = rules_make(&f.in, &f.a);

	ck_assert(!says(t, "counter name out/one.shop redirect"));
	ck_assert(says(t, "in tcp dport { 8080, 8443 } counter name in/one.shop redirect to :15006"));
	arena_done(&f.a);
}
END_TEST

START_TEST(open_is_left_out_while_there_is_no_proxy)
{
	struct fixture f;

	setup(&f);
	f.w[0].open = true;
	f.in.proxy_is_up = false;
	struct str t = rules_make(&f.in, &f.a);

	ck_assert(!says(t, "out/one.shop redirect") && !says(t, "in/one.shop redirect"));
	ck_assert(says(t, "out/two.shop redirect"));
	f.in.proxy_is_up = true;
	ck_assert(says(rules_make(&f.in, &f.a), "in/one.shop redirect"));
	arena_done(&f.a);
}
END_TEST

START_TEST(the_mark_is_of_the_rules)
{
	struct fixture f;

	setup(&f);
	struct str a = rules_make(&f.in, &f.a), b = rules_make(&f.in, &f.a);

	ck_assert(str_eq(a, b));
	ck_assert_uint_eq(rules_mark(a).n, 16);
	web[1] = 8444;
	struct str c = rules_make(&f.in, &f.a);

	web[1] = 8443;
	ck_assert(!str_eq(rules_mark(a), rules_mark(c)));
	ck_assert_uint_eq(rules_count(a), rules_count(c));
	ck_assert_uint_gt(rules_count(a), 10);
	arena_done(&f.a);
}
END_TEST

START_TEST(names_become_words_that_nft_takes)
{
	struct arena a;
	const struct capture_workload w = { .name = STR("a b\";drop"), .ns = STR("n\ns") };

	arena_init(&a, 0);
	unit_str_eq(rules_counter(&w, "in", &a), "in/a_b__drop.n_s");
	arena_done(&a);
}
END_TEST

UNIT_MAIN("nft_rules", who_sends_is_told_by_user_or_cgroup, our_own_come_before_everybody,
	  two_that_cannot_be_told_apart_have_the_rules_of_the_first,
	  who_is_not_told_sends_as_ever_and_is_called_through_the_proxy, open_is_left_out_while_there_is_no_proxy,
	  the_mark_is_of_the_rules, names_become_words_that_nft_takes)
