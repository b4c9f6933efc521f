/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asked: what a caller asks for in its request, beside or above its route (Istio 2.5.1, 2.5.3): how
 * long it waits (grpc-timeout, x-envoy-upstream-rq-timeout-ms), how it is tried again. Layer proxy;
 * lives in the stream's arena.
 */
#pragma once

#include "proxy/stream.h"

/*
 * A field that goes no further. Only what a local caller says counts: not what comes from outside
 * or, on its way in, from another proxy. A value that cannot be read is not there.
 */
void asked_note(struct stream *s, const struct head_field *f);
/* Once the route is known: s->retry, s->timeout_us, s->per_try_us, and the deadline of a gRPC call. */
void asked_apply(struct stream *s);
