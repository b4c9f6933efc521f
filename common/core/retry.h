/* SPDX-License-Identifier: Apache-2.0 */
/* retry: may this outcome be tried again, and when (Istio 2.5.4–2.5.10). Layer core. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "snap/snap.h"

/* How a try ended without a response of the service. */
enum retry_fail {
	RETRY_FAIL_NONE,                 /* a response came */
	RETRY_FAIL_CONNECT,              /* no connection: refused, timed out, TLS failed */
	RETRY_FAIL_REFUSED_STREAM,       /* HTTP/2 REFUSED_STREAM, GOAWAY before it */
	RETRY_FAIL_RESET_BEFORE_REQUEST, /* gone before the request's head was sent */
	RETRY_FAIL_RESET,                /* closed, reset or broken before a response */
	RETRY_FAIL_PER_TRY_TIMEOUT,
	RETRY_FAIL_NEVER, /* overflow, no endpoint, no cluster, route timeout: not retried */
};
struct retry_outcome {
	enum retry_fail fail;
	unsigned status;                /* of the response */
	int grpc_status;                /* in the response's header section; -1 none */
	bool overloaded, ratelimited; /* response carries x-envoy-overloaded, x-envoy-ratelimited */
	bool response_started;          /* a byte went down */
	bool body_kept;                 /* the request can be sent again (also: it has no body) */
};
enum retry_verdict {
	RETRY_NO,
	RETRY_YES,
	RETRY_EXHAUSTED,                /* it would be, but the attempts are used up: flag URX */
};
/* p may be NULL (no retries). done: retries made so far. */
enum retry_verdict retry_judge(const struct snap_retry *p, int64_t done,
			       const struct retry_outcome *o);
/* Wait before retry n (from 1): random in [0, min((2^n - 1), 10) · base) microseconds. */
uint64_t retry_backoff_us(const struct snap_retry *p, int64_t n, struct rng *rng);
