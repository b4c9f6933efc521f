/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf: the wire format of protocol buffers, field by field: what the few messages need that kvmesh
 * speaks (SPIFFE Workload API, Envoy SDS). Layer io. The reader is fed by strangers: it allocates
 * nothing and never looks behind the end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "io/buf.h"

enum protobuf_wire { PROTOBUF_VARINT = 0, PROTOBUF_FIXED64 = 1, PROTOBUF_BYTES = 2, PROTOBUF_FIXED32 = 5 };

struct protobuf_field {
	uint32_t number;                /* 1 … 2^29 - 1 */
	enum protobuf_wire wire;
	uint64_t value;                 /* of the kinds but BYTES */
	struct str bytes;               /* of BYTES; borrowed */
};

enum protobuf_result { PROTOBUF_FIELD, PROTOBUF_END, PROTOBUF_BROKEN };
/* Take the first field off *rest. Groups, which nothing uses any more, are broken. */
enum protobuf_result protobuf_next(struct str *rest, struct protobuf_field *ret);
/* Is that all well-formed fields? */
bool protobuf_is_whole(struct str message);

void protobuf_put_bytes(struct buf *to, uint32_t number, struct str value);
void protobuf_put_varint(struct buf *to, uint32_t number, uint64_t value);
void protobuf_put_double(struct buf *to, uint32_t number, double value);
/* A message within: what is in body moves. */
void protobuf_put_message(struct buf *to, uint32_t number, struct buf *body);
