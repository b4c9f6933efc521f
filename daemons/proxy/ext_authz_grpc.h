/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext_authz_grpc: an external authorizer over gRPC (Istio 2.11.14, 2.11.15): what is told of a request
 * or a connection, and what of the answer becomes of the request. Layer proxy; what it makes lives in
 * the arena it is given.
 */
#pragma once

#include "proxy/authz_proto.h"
#include "proxy/stream.h"

/* The head and body of the question q about s. */
void ext_authz_grpc_ask(const struct stream *s, const struct snap_authorizer *to, struct stream *q);
/* Is what q got a whole answer? body: all bytes of it, which must live as long as ret. */
bool ext_authz_grpc_read(const struct stream *q, struct str body, struct arena *a, struct authz_proto_answer *ret);
/* What an allowing answer changes in the request. */
void ext_authz_grpc_to_service(struct stream *s, const struct authz_proto_answer *a);
/* Fields of an answer into a head, but for those that are nobody else's to set. */
void ext_authz_grpc_fields(struct head *to, const struct authz_proto_headers *fields);
