/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket: an upgrade between protocol versions. In HTTP/1.1 a key in the request and its digest in
 * the answer prove that both sides mean it (RFC 6455); HTTP/2 does without (RFC 8441). What one leg
 * needs and the other has not is made here. Layer proxy.
 */
#pragma once

#include "proxy/stream.h"

/* Before each try, the connection is known. */
void websocket_ask(struct stream *s);
/* The service has switched. False: its proof is none. */
bool websocket_answer(struct stream *s);
