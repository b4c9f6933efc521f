/* SPDX-License-Identifier: Apache-2.0 */
/* core/asked, core/hash_key: what of a request's head decides about times, retries and endpoints. */
#include "core/asked.h"

#include "core/hash_key.h"

#include "unit.h"

START_TEST(wishes_above_a_route)
{
	int64_t code = 418;
	const struct snap_retry route = { .attempts = 2, .per_try_us = 7, .on = SNAP_RETRY_RESET,
					  .codes = { &code, 1 } };
	struct arena a;
	struct asked w;

	arena_init(&a, 0);
	asked_init(&w);
	ck_assert_ptr_eq(asked_retry(&w, &route, &a), &route);
	ck_assert_ptr_null(asked_retry(&w, NULL, &a));
	asked_read(&w, STR("x-envoy-upstream-rq-timeout-ms"), STR("250"));
	asked_read(&w, STR("x-envoy-max-retries"), STR("5"));
	asked_read(&w, STR("x-envoy-retry-on"), STR("5xx, nonsense"));
	asked_read(&w, STR("x-envoy-retriable-status-codes"), STR("409,9,600,503"));
	asked_read(&w, STR("x-envoy-other"), STR("1"));

	const struct snap_retry *r = asked_retry(&w, &route, &a);

	ck_assert_int_eq(w.timeout_us, 250000);
	ck_assert_int_eq(w.per_try_us, -1);
	ck_assert_int_eq(r->attempts, 5);
	ck_assert_int_eq(r->per_try_us, 7);
	ck_assert_int_eq(r->on, SNAP_RETRY_RESET | SNAP_RETRY_5XX);
	ck_assert_uint_eq(r->codes.n, 3);
	ck_assert_int_eq(r->codes.v[0] + r->codes.v[1] + r->codes.v[2], 418 + 409 + 503);
	arena_done(&a);
}
END_TEST

START_TEST(values_that_cannot_be_read_are_not_there)
{
	static const char *const wrong[] = { "", "-1", "x", "99999999999", "1.5" };
	struct asked w;

	asked_init(&w);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		asked_read(&w, STR("x-envoy-upstream-rq-per-try-timeout-ms"), str_c(wrong[i]));
	ck_assert_int_eq(w.per_try_us, -1);
	asked_read(&w, STR("x-envoy-max-retries"), STR("123456"));
	ck_assert_int_eq(w.attempts, 100);
	for (unsigned i = 0; i < 3 * ASKED_CODES_MAX; i++)
		asked_read(&w, STR("x-envoy-retriable-status-codes"), STR("503"));
	ck_assert_uint_eq(w.n_codes, ASKED_CODES_MAX);
	ck_assert(asked_is_one(STR("x-envoy-retry-grpc-on")) && !asked_is_one(STR("x-envoy")));
}
END_TEST

START_TEST(what_a_hash_is_made_of)
{
	struct snap_hash h = { .source = SNAP_HASH_HEADER, .name = STR("x-user") };
	struct arena a;
	struct head req;
	struct str v;

	arena_init(&a, 0);
	head_init(&req, &a);
	req.path = STR("/cart?user=eve&user=bob&none=");
	ck_assert(!hash_key_text(&h, &req, &v));
	head_add(&req, STR("x-user"), STR("ann"));
	ck_assert(hash_key_text(&h, &req, &v) && str_eq(v, STR("ann")));
	head_add(&req, STR("x-user"), STR("bob"));
	ck_assert(hash_key_text(&h, &req, &v) && str_eq(v, STR("ann,bob")));
	h = (struct snap_hash){ .source = SNAP_HASH_QUERY, .name = STR("user") };
	ck_assert(hash_key_text(&h, &req, &v) && str_eq(v, STR("eve")));
	h.name = STR("none");
	ck_assert(hash_key_text(&h, &req, &v) && v.n == 0);
	h = (struct snap_hash){ .source = SNAP_HASH_COOKIE, .name = STR("sid") };
	ck_assert(!hash_key_text(&h, &req, &v));
	head_add_id(&req, HEAD_ID_COOKIE, STR("a=1; sid=77"));
	ck_assert(hash_key_text(&h, &req, &v) && str_eq(v, STR("77")));
	h.source = SNAP_HASH_SOURCE_IP;
	ck_assert(!hash_key_text(&h, &req, &v));
	arena_done(&a);
}
END_TEST

UNIT_MAIN("asked", wishes_above_a_route, values_that_cannot_be_read_are_not_there,
	  what_a_hash_is_made_of)
