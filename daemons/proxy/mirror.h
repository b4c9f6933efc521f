/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror: copies of requests for other services (Istio 2.4.7): sent once the whole request is here,
 * as exchanges of their own without a client, whose answers nobody gets. They are not tried again,
 * leave no record at this end (the service's own proxy tells of them) and never hold the request up:
 * a body longer than what is kept for retries, too many copies under way, a service that is unknown
 * or full: the copy is dropped and counted. Layer proxy; lives in the stream's arena.
 */
#pragma once

#include "proxy/stream.h"

#define MIRRORS_MAX 128                 /* copies under way in one worker */

/* The request as it is about to leave: throws the dice for each mirror of the route. */
void mirror_begin(struct stream *s);
/* While s->mirror: bytes of the body, its end, the stream's. */
void mirror_data(struct stream *s, const struct buf *b);
void mirror_end(struct stream *s);
void mirror_drop(struct stream *s);
