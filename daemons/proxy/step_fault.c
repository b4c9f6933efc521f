/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_fault: delays and aborts that a route injects (Istio 2.4.8), each by its own throw of the
 * dice: first the delay, then the abort. It is the last step before the way to a service, so what an
 * abort answers was neither tried nor mirrored. Layer proxy.
 */
#include "config.h"

#include "proxy/mirror.h"
#include "proxy/stream.h"

#define PPM 1000000

static bool happens(struct stream *s, int64_t ppm)
{
	return ppm > 0 && (int64_t)rng_below(&s->w->rng, PPM) < ppm;
}

static void delay(struct stream *s, const struct snap_fault *f)
{
	s->fault_begun = true;
	if (!happens(s, f->delay_ppm) || f->delay_us == 0)
		return;
	s->rec.delayed = true;
	s->retry_at_us = stream_now(s) + (uint64_t)f->delay_us;
	stream_arm(s);
}

static enum next inject(struct stream *s, const struct snap_fault *f)
{
	if (!s->fault_begun)
		delay(s, f);
	if (s->retry_at_us > 0)
		return NEXT_WAIT;
	if (!happens(s, f->abort_ppm))
		return NEXT_STEP;
	s->fail = FAIL_FAULT;
	return NEXT_FAIL;
}

enum next step_fault(struct stream *s)
{
	const struct snap_route *r = s->hit.route;
	enum next n;

	if (!r)
		return NEXT_STEP;
	n = r->fault ? inject(s, r->fault) : NEXT_STEP;
	if (n == NEXT_STEP && r->mirrors.n > 0)
		mirror_begin(s);
	return n;
}
