/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cross_origin: the CORS policy of a route (Istio 2.6.8, 2.6.9): preflights are answered here, other
 * requests are forwarded and their answers get the fields of the policy. Layer proxy.
 */
#pragma once

#include "proxy/stream.h"

/* s->hit.cors is set: true when the request was answered. */
bool cross_origin_answers(struct stream *s);
/* s->cross_origin is there: into an answer, the service's or one made here. */
void cross_origin_put(struct stream *s, struct head *h);
