/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext_authz: an external authorizer is asked about a request (Istio 2.11.15): the question is an
 * exchange of its own, as a mirror's copy is, with the request's method, path and host and the headers
 * it may see; 200 lets the request on, any other status but 5xx is the answer to the client. Over gRPC
 * (ext_authz_grpc.h) it is a message, and connections are asked about too. While it is asked the
 * request waits in bounded memory: who goes takes the question along. Layer proxy; lives
 * in the arena of the stream that asks.
 */
#pragma once

#include "proxy/stream.h"

#define EXT_AUTHZ_BODY_MAX (64u << 10)  /* of a refusal, that goes to the client; of a message */

/*
 * The step: NEXT_WAIT until there is an answer, NEXT_STEP when the request may go on, NEXT_END when
 * it was answered here.
 */
enum next ext_authz_run(struct stream *s, const struct snap_authorizer *a);
/* The stream ends, whatever it waits for. */
void ext_authz_drop(struct stream *s);
/* What an allowing answer adds to the one that goes to the client. */
void ext_authz_to_client(struct stream *s, struct head *h);

/* What belongs to a connection, or is this proxy's own word, is nobody else's to see or to set. */
bool ext_authz_is_free(const struct head_field *f);
/* The beginning of the body, max bytes of it at most, in one run. */
struct str ext_authz_held(const struct stream *s, size_t max, struct arena *a);

/* ---- of the question's own stream ---------------------------------------------------------- */
void ext_authz_data(struct stream *q, const struct buf *b);
/* It is over, with an answer or s->fail. */
void ext_authz_answered(struct stream *q);
