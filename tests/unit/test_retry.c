/* SPDX-License-Identifier: Apache-2.0 */
/* core/retry: which outcomes are tried again, and after how long. */
#include "core/retry.h"

#include "unit.h"

#define DEFAULT_ON (SNAP_RETRY_CONNECT_FAILURE | SNAP_RETRY_REFUSED_STREAM | SNAP_RETRY_GRPC_UNAVAILABLE | \
		    SNAP_RETRY_GRPC_CANCELLED | SNAP_RETRY_STATUS_CODES)

static enum retry_verdict judge(int64_t on, struct retry_outcome o)
{
	static int64_t code = 429;
	struct snap_retry p = { .attempts = 2, .on = on, .codes = { &code, 1 }, .backoff_us = 25000 };
	return retry_judge(&p, 0, &o);
}

#define RESPONSE(s) ((struct retry_outcome){ .status = (s), .grpc_status = -1, .body_kept = true })
#define FAILED(f) ((struct retry_outcome){ .fail = RETRY_FAIL_##f, .grpc_status = -1, .body_kept = true })
#define GRPC(s) ((struct retry_outcome){ .status = 200, .grpc_status = (s), .body_kept = true })

START_TEST(default_policy)
{
	ck_assert_int_eq(judge(DEFAULT_ON, FAILED(CONNECT)), RETRY_YES);
	ck_assert_int_eq(judge(DEFAULT_ON, FAILED(REFUSED_STREAM)), RETRY_YES);
	ck_assert_int_eq(judge(DEFAULT_ON, GRPC(14)), RETRY_YES);
	ck_assert_int_eq(judge(DEFAULT_ON, GRPC(1)), RETRY_YES);
	ck_assert_int_eq(judge(DEFAULT_ON, RESPONSE(429)), RETRY_YES);
	ck_assert_int_eq(judge(DEFAULT_ON, RESPONSE(503)), RETRY_NO);  /* not since Istio 1.24 */
	ck_assert_int_eq(judge(DEFAULT_ON, FAILED(RESET)), RETRY_NO);
	ck_assert_int_eq(judge(DEFAULT_ON, FAILED(PER_TRY_TIMEOUT)), RETRY_NO);
	ck_assert_int_eq(judge(DEFAULT_ON, FAILED(NEVER)), RETRY_NO);
	ck_assert_int_eq(judge(DEFAULT_ON, GRPC(13)), RETRY_NO);
	ck_assert_int_eq(judge(DEFAULT_ON, RESPONSE(200)), RETRY_NO);
}
END_TEST

START_TEST(each_condition)
{
	ck_assert_int_eq(judge(SNAP_RETRY_5XX, RESPONSE(500)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_5XX, RESPONSE(499)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_5XX, FAILED(RESET)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_5XX, FAILED(PER_TRY_TIMEOUT)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_5XX, FAILED(NEVER)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_GATEWAY_ERROR, RESPONSE(500)), RETRY_NO);
	for (unsigned s = 502; s <= 504; s++)
		ck_assert_int_eq(judge(SNAP_RETRY_GATEWAY_ERROR, RESPONSE(s)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_RESET, FAILED(RESET)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_RESET, RESPONSE(503)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_RESET_BEFORE_REQUEST, FAILED(RESET_BEFORE_REQUEST)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_RESET_BEFORE_REQUEST, FAILED(CONNECT)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_RESET_BEFORE_REQUEST, FAILED(RESET)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_CONNECT_FAILURE, FAILED(RESET_BEFORE_REQUEST)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_RETRIABLE_4XX, RESPONSE(409)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_RETRIABLE_4XX, RESPONSE(404)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_5XX, RESPONSE(429)), RETRY_NO);
	ck_assert_int_eq(judge(SNAP_RETRY_GRPC_DEADLINE_EXCEEDED, GRPC(4)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_GRPC_INTERNAL, GRPC(13)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_GRPC_RESOURCE_EXHAUSTED, GRPC(8)), RETRY_YES);
	ck_assert_int_eq(judge(SNAP_RETRY_GRPC_RESOURCE_EXHAUSTED, GRPC(0)), RETRY_NO);
}
END_TEST

START_TEST(what_forbids_it)
{
	struct retry_outcome o = RESPONSE(503);
	struct snap_retry p = { .attempts = 2, .on = SNAP_RETRY_5XX, .backoff_us = 1 };
	ck_assert_int_eq(retry_judge(&p, 1, &o), RETRY_YES);
	ck_assert_int_eq(retry_judge(&p, 2, &o), RETRY_EXHAUSTED);
	ck_assert_int_eq(retry_judge(NULL, 0, &o), RETRY_NO);
	o.response_started = true;
	ck_assert_int_eq(retry_judge(&p, 0, &o), RETRY_NO);
	o = RESPONSE(503);
	o.body_kept = false;
	ck_assert_int_eq(retry_judge(&p, 0, &o), RETRY_NO);
	o = RESPONSE(503);
	o.overloaded = true;
	ck_assert_int_eq(retry_judge(&p, 0, &o), RETRY_NO);
	o = RESPONSE(503);
	o.ratelimited = true;
	ck_assert_int_eq(retry_judge(&p, 0, &o), RETRY_NO);
	p.on |= SNAP_RETRY_ENVOY_RATELIMITED;
	ck_assert_int_eq(retry_judge(&p, 0, &o), RETRY_YES);
}
END_TEST

START_TEST(backs_off)
{
	static const uint64_t range[] = { 0, 25000, 75000, 175000, 250000, 250000, 250000 };
	struct snap_retry p = { .attempts = 9, .backoff_us = 25000 };
	struct rng r;
	rng_init(&r, 5);
	for (int64_t n = 1; n <= 6; n++) {
		uint64_t most = 0, sum = 0;
		for (int i = 0; i < 20000; i++) {
			uint64_t us = retry_backoff_us(&p, n, &r);
			most = us > most ? us : most;
			sum += us;
		}
		ck_assert_uint_lt(most, range[n]);
		ck_assert_uint_gt(most, range[n] - range[n] / 100);
		/* Mean of a uniform distribution: half the range, within 2 % (7 standard errors). */
		ck_assert_uint_lt(sum / 20000, range[n] / 2 + range[n] / 100);
		ck_assert_uint_gt(sum / 20000, range[n] / 2 - range[n] / 100);
	}
	ck_assert_uint_lt(retry_backoff_us(&p, 1000000, &r), 250000);
}
END_TEST

UNIT_MAIN("retry", default_policy, each_condition, what_forbids_it, backs_off)
