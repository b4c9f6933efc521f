/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_protocol: the header by which a proxy tells a server whose connection it forwards, as
 * HAProxy defined it (version 1: a line of text; version 2: binary). Layer io.
 */
#pragma once

#include <stddef.h>

#include "io/sock.h"

#define PROXY_PROTOCOL_MAX 108          /* bytes of the longest header of either version */
#define PROXY_PROTOCOL_READ_MAX 4096    /* … that is read: version 2 may carry more than addresses */

/*
 * The header of a connection from `from` to `to` into buf; returns its bytes. Without two IP addresses
 * of one family it says that there is nobody: UNKNOWN, or the command LOCAL.
 */
size_t proxy_protocol_put(int version, const struct sock_addr *from, const struct sock_addr *to,
			  char buf[static PROXY_PROTOCOL_MAX]);
/*
 * Read one from the first bytes of a connection. Returns its bytes, and whose connection it is (len 0:
 * it says nobody's, or what is no TCP); 0: this is none; -1: more bytes are needed.
 */
int proxy_protocol_get(struct str in, struct sock_addr *ret_from);
