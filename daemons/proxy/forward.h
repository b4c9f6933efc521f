/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward: heads, bodies and ends from one leg to the other. One rule of back-pressure: when a leg
 * has no room left, the other one's peer is stopped until it has (dataplane 3.8). What cannot leave
 * yet is held, up to the same limit; what may be needed for another try is kept, up to
 * retry_body_bytes. Layer proxy.
 */
#pragma once

#include "proxy/stream.h"

void forward_info(struct stream *s);                    /* a 1xx response is in s->res */
void forward_data(struct stream *s, struct leg *from, struct buf *b);
/* n bytes of it have passed by without being seen (tube.h). */
void forward_moved(struct stream *s, struct leg *from, size_t n);
void forward_end(struct stream *s, struct leg *from);
void forward_writable(struct stream *s, struct leg *to);
/* The request can be sent again from its first byte. */
bool forward_can_replay(const struct stream *s);
/* So many bytes of a request's body are kept at most, for another try or for mirrors. */
size_t forward_kept_bytes(const struct stream *s);
void forward_copy(struct buf *to, const struct buf *from);
/* A try ended: the next one begins with the head again. */
void forward_rewind(struct stream *s);
/* Progress of a long opaque exchange. */
void forward_report(struct stream *s);
