/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz_proto: the two messages of envoy.service.auth.v3.Authorization/Check, written and read by hand:
 * no more of protobuf than they need. What is read comes from a service that may be anybody: whatever
 * is no such message is refused whole. Layer proxy; pure, owns nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "http/head.h"
#include "io/sock.h"
#include "proxy/text.h"

#define AUTHZ_PROTO_PATH "/envoy.service.auth.v3.Authorization/Check"
#define AUTHZ_PROTO_FIELDS_MAX 64       /* of each list of an answer */

struct authz_proto_peer {
	const struct sock_addr *addr;   /* an IP address, or left out */
	int64_t port;
	struct str principal;           /* "spiffe://…", empty: not known */
};
struct authz_proto_request {
	struct authz_proto_peer source, destination;
	struct str sni;
	int64_t time_us;                /* since 1970 */
	/* of a request; head NULL: about a connection */
	const struct head *head;
	struct str id;
	struct str body;                /* what may be seen of it */
	bool with_body, partial, raw_body;
};
/* CheckRequest. Text that is not UTF-8 is sent with '!' in place of each such byte, as Envoy does. */
void authz_proto_put(const struct authz_proto_request *r, struct text *to);

enum authz_proto_how {
	AUTHZ_PROTO_SET,                /* in place of all of that name */
	AUTHZ_PROTO_APPEND,             /* one more, where there is one */
	AUTHZ_PROTO_ADD,                /* one more */
	AUTHZ_PROTO_IF_ABSENT,
	AUTHZ_PROTO_IF_THERE,           /* in place of those that are there */
};
struct authz_proto_header {
	struct str name, value;         /* lower case; a token but for pseudo-headers, printable */
	enum authz_proto_how how;
};
struct authz_proto_headers {
	struct authz_proto_header *v;
	size_t n;
};
struct authz_proto_param {
	struct str name, value;
};
struct authz_proto_answer {
	bool allowed;
	unsigned status;                /* of a refusal: 200 to 599 */
	struct str body;
	struct authz_proto_headers refusal, to_service, to_client;
	struct { struct str *v; size_t n; } remove, remove_params;
	struct { struct authz_proto_param *v; size_t n; } set_params;
};
/* CheckResponse: strings point into message and the arena. False: it is none, or has too much. */
bool authz_proto_read(struct str message, struct arena *a, struct authz_proto_answer *ret);
