/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel: asks an HTTP proxy at the other end of a new connection to lead it on (CONNECT, RFC 9110
 * 9.3.6), for DestinationRule's tunnel. While it asks it is the connection's codec; what the
 * connection carries comes after it. Layer proxy.
 */
#pragma once

#include "base/str.h"
#include "proxy/codec.h"

/* Bytes of the proxy's answer that are looked at. */
#define TUNNEL_HEAD_MAX (16u << 10)

extern const struct codec_ops codec_tunnel;

/*
 * To "host:port". Then owner->ready once more, with codec_tunnel still in place, or owner->failed:
 * tunnel_failure says why in words.
 */
void tunnel_ask(struct conn *c, struct str to);
/* NULL: it is not the tunnel that failed. */
const char *tunnel_failure(const struct conn *c);
