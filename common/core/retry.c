/* SPDX-License-Identifier: Apache-2.0 */
/* retry: conditions and back-off. Layer core. */
#include "core/retry.h"

#define BACKOFF_CAP 10                  /* times the base */

static bool has_code(const struct int_list *codes, unsigned status)
{
	for (size_t i = 0; i < codes->n; i++) {
		if (codes->v[i] == (int64_t)status)
			return true;
	}
	return false;
}

static bool grpc_is_retriable(int64_t on, int grpc_status)
{
	switch (grpc_status) {
	case 1:
		return (on & SNAP_RETRY_GRPC_CANCELLED) != 0;
	case 4:
		return (on & SNAP_RETRY_GRPC_DEADLINE_EXCEEDED) != 0;
	case 8:
		return (on & SNAP_RETRY_GRPC_RESOURCE_EXHAUSTED) != 0;
	case 13:
		return (on & SNAP_RETRY_GRPC_INTERNAL) != 0;
	case 14:
		return (on & SNAP_RETRY_GRPC_UNAVAILABLE) != 0;
	default:
		return false;
	}
}

static bool response_is_retriable(const struct snap_retry *p, const struct retry_outcome *o)
{
	int64_t on = p->on;
	if (o->overloaded)
		return false;
	if (o->ratelimited)
		return (on & SNAP_RETRY_ENVOY_RATELIMITED) != 0;
	if ((on & SNAP_RETRY_5XX) != 0 && o->status >= 500 && o->status <= 599)
		return true;
	if ((on & SNAP_RETRY_GATEWAY_ERROR) != 0 && o->status >= 502 && o->status <= 504)
		return true;
	if ((on & SNAP_RETRY_RETRIABLE_4XX) != 0 && o->status == 409)
		return true;
	if ((on & SNAP_RETRY_STATUS_CODES) != 0 && has_code(&p->codes, o->status))
		return true;
	return grpc_is_retriable(on, o->grpc_status);
}

static bool failure_is_retriable(int64_t on, enum retry_fail fail)
{
	/* An exchange without a response is one that would have become a 5xx. */
	if ((on & (SNAP_RETRY_5XX | SNAP_RETRY_GATEWAY_ERROR | SNAP_RETRY_RESET)) != 0)
		return true;
	switch (fail) {
	case RETRY_FAIL_CONNECT:
		return (on & (SNAP_RETRY_CONNECT_FAILURE | SNAP_RETRY_RESET_BEFORE_REQUEST)) != 0;
	case RETRY_FAIL_REFUSED_STREAM:
		return (on & SNAP_RETRY_REFUSED_STREAM) != 0;
	case RETRY_FAIL_RESET_BEFORE_REQUEST:
		return (on & SNAP_RETRY_RESET_BEFORE_REQUEST) != 0;
	case RETRY_FAIL_NONE:
	case RETRY_FAIL_RESET:
	case RETRY_FAIL_PER_TRY_TIMEOUT:
	case RETRY_FAIL_NEVER:
	default:
		return false;
	}
}

enum retry_verdict retry_judge(const struct snap_retry *p, int64_t done,
			       const struct retry_outcome *o)
{
	if (!p || o->response_started || !o->body_kept || o->fail == RETRY_FAIL_NEVER)
		return RETRY_NO;
	bool again = o->fail == RETRY_FAIL_NONE ? response_is_retriable(p, o) :
						  failure_is_retriable(p->on, o->fail);
	if (!again)
		return RETRY_NO;
	return done < p->attempts ? RETRY_YES : RETRY_EXHAUSTED;
}

uint64_t retry_backoff_us(const struct snap_retry *p, int64_t n, struct rng *rng)
{
	int64_t times = n < 4 ? (INT64_C(1) << (n > 0 ? n : 1)) - 1 : BACKOFF_CAP;
	int64_t range;
	if (__builtin_mul_overflow(p->backoff_us, times, &range) || range < 1)
		return 0;
	return rng_below(rng, (uint64_t)range);
}
