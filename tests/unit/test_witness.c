/* SPDX-License-Identifier: Apache-2.0 */
/* witness: what it is told to look at, the batch made of it, and counters that are told once. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "witness/counts.h"
#include "witness/rules.h"

static struct arena arena;

static int read_plan(const char *json, struct plan *ret)
{
	struct err err = { 0 };
	struct doc *d;

	ck_assert_msg(doc_read_json(str_c(json), &arena, &d, &err) == 0, "%s", err.text);
	return plan_read(d, &arena, ret, &err);
}

#define WIRE(ports) "{\"meshPort\":15443,\"inboundPort\":15006,\"ports\":[" ports "]}"
#define PORT(address, port) \
	"{\"address\":\"" address "\",\"port\":" port ",\"workload\":\"w\",\"namespace\":\"ns\"}"

START_TEST(what_is_no_address_or_port_never_reaches_a_rule)
{
	static const char *const bad[] = {
		"{}", "{\"ports\":1}", "{\"meshPort\":70000,\"ports\":[]}", "{\"meshPort\":-1,\"ports\":[]}",
		WIRE(PORT("127.0.0.1 } ; flush ruleset", "80")), WIRE(PORT("", "80")),
		WIRE(PORT("localhost", "80")), WIRE(PORT("127.0.0.1", "0")), WIRE(PORT("127.0.0.1", "65536")),
		WIRE(PORT("1234567890123456789012345678901234567890123456", "80")), WIRE("7"),
	};
	struct plan p;

	arena_init(&arena, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(read_plan(bad[i], &p) == KV_ERR_SCHEMA, "%s", bad[i]);
	arena_done(&arena);
}
END_TEST

START_TEST(one_port_of_two_addresses_is_counted_once)
{
	struct plan p, q;

	arena_init(&arena, 0);
	ck_assert_int_eq(read_plan(WIRE(PORT("127.0.0.1", "80") "," PORT("127.0.0.2", "80") ","
					PORT("127.0.0.1", "80") "," PORT("::1", "81")), &p), 0);
	ck_assert_uint_eq(p.n_ports, 3);
	unit_str_eq(p.ports[0].workload, "w.ns");
	q = plan_copy(&p, &arena);
	ck_assert(plan_eq(&p, &q));
	q.own[q.n_own++] = 7;
	ck_assert(!plan_eq(&p, &q));
	const char *text = arena_printf(&arena, "%.*s", STR_ARG(rules_text(&q, true, &arena))).p;
	const char *counter = strstr(text, "add counter inet kvmesh_witness app_80\n");

	ck_assert(counter && !strstr(counter + 1, "add counter inet kvmesh_witness app_80\n"));
	ck_assert_ptr_nonnull(strstr(text, "127.0.0.1 . 80, 127.0.0.2 . 80"));
	ck_assert_ptr_nonnull(strstr(text, "ip6 daddr . tcp dport { ::1 . 81 } meta skuid != { 7 }"));
	ck_assert_ptr_nonnull(strstr(text, "delete table inet kvmesh_witness"));
	/* A change takes nothing of what was counted. */
	text = arena_printf(&arena, "%.*s", STR_ARG(rules_text(&q, false, &arena))).p;
	ck_assert_ptr_null(strstr(text, "delete table"));
	arena_done(&arena);
}
END_TEST

START_TEST(the_number_of_ports_is_capped)
{
	struct str list = STR("");
	struct plan p;

	arena_init(&arena, 0);
	for (unsigned i = 0; i < PLAN_PORTS_MAX + 3; i++)
		list = arena_printf(&arena, "%.*s%s{\"address\":\"127.0.0.1\",\"port\":%u}", STR_ARG(list),
				    i > 0 ? "," : "", i + 1);
	ck_assert_int_eq(read_plan(arena_printf(&arena, "{\"meshPort\":0,\"ports\":[%.*s]}",
						STR_ARG(list)).p, &p), 0);
	ck_assert_uint_eq(p.n_ports, PLAN_PORTS_MAX);
	ck_assert_uint_eq(p.n_left_off, 3);
	arena_done(&arena);
}
END_TEST

static void see(struct counts *c, int64_t packets, int64_t bytes)
{
	struct err err = { 0 };
	struct doc *d;
	struct str json = arena_printf(&arena, "{\"nftables\":[{\"metainfo\":{}},{\"counter\":{\"name\":"
				       "\"app_80\",\"packets\":%lld,\"bytes\":%lld}}]}",
				       (long long)packets, (long long)bytes);

	ck_assert_int_eq(doc_read_json(json, &arena, &d, &err), 0);
	ck_assert(counts_read(c, d));
}

/* -1: nothing to tell. */
static int64_t fresh(struct counts *c)
{
	struct map_entry *at = NULL;
	struct count *x = counts_next(c, &at);

	if (!x)
		return -1;
	counts_tell(x);
	return x->fresh_bytes;
}

START_TEST(what_is_not_heard_is_told_again_and_nothing_twice)
{
	struct counts c;
	struct doc none = { .kind = DOC_MAP };

	arena_init(&arena, 0);
	counts_init(&c);
	see(&c, 0, 0);
	ck_assert_int_eq(fresh(&c), -1);
	see(&c, 2, 100);
	ck_assert_int_eq(fresh(&c), 100);
	see(&c, 3, 150);                        /* while it is on its way */
	counts_told(&c, false);
	ck_assert_int_eq(fresh(&c), 150);
	see(&c, 4, 175);
	counts_told(&c, true);
	ck_assert_int_eq(fresh(&c), 25);
	counts_told(&c, true);
	ck_assert_int_eq(fresh(&c), -1);
	see(&c, 1, 40);                         /* somebody reset it */
	ck_assert_int_eq(fresh(&c), 40);
	counts_told(&c, true);
	counts_restart(&c);                     /* we did, and it grew beyond what it was */
	see(&c, 9, 900);
	ck_assert_int_eq(fresh(&c), 900);
	ck_assert(!counts_read(&c, &none));
	counts_done(&c);
	arena_done(&arena);
}
END_TEST

UNIT_MAIN("witness", what_is_no_address_or_port_never_reaches_a_rule,
	  one_port_of_two_addresses_is_counted_once, the_number_of_ports_is_capped,
	  what_is_not_heard_is_told_again_and_nothing_twice)
