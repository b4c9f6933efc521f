/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc: what of the gRPC protocol over HTTP/2 a proxy must know: deadlines, messages in a body, the
 * status of answers that are made here. Layer proxy; pure, owns nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "io/buf.h"

/* "application/grpc", also with "+proto" or parameters; not grpc-web, which has no trailers. */
bool grpc_is_content_type(struct str content_type);

/* "10S", "200m": at most 8 digits and H M S m u n. False: no such value. */
bool grpc_timeout_us(struct str value, uint64_t *ret_us);

#define GRPC_DEADLINE_EXCEEDED 4

/* Where a body stands: messages are a flag byte, four of length, and so many bytes. */
struct grpc_messages {
	uint64_t n;                     /* that have begun with a whole prefix */
	uint32_t left;                  /* bytes of the current one */
	uint8_t prefix[5], have;        /* of the next prefix */
};
void grpc_count(struct grpc_messages *m, const struct buf *b);

/* Istio 2.16: HTTP status of a local answer to gRPC status. */
unsigned grpc_status_of(unsigned http_status);
/* The other way, for callers that speak plain HTTP. */
unsigned grpc_http_status(unsigned grpc_status);
/* grpc-message: printable ASCII but %, the rest percent-encoded. */
struct str grpc_message(struct str text, struct arena *a);
