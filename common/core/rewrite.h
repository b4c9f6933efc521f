/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewrite: what a route changes: path and authority (Istio 2.6.1–2.6.4), the Location of a redirect
 * (2.6.5, 2.6.6), header operations (2.4.4–2.4.6). Layer core. New strings live in the arena of the
 * head.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/match.h"
#include "http/head.h"
#include "snap/snap.h"

/*
 * Apply hit->route->rewrite to a request: its path (query kept) and authority. What was there
 * before goes into x-envoy-original-path and x-envoy-original-host. Nothing happens without a
 * rewrite. The result of a regex that was given up (REGEX_LIMIT) is the old path. scratch as in
 * match_facts.
 */
void rewrite_request(const struct match_hit *hit, struct head *req, struct regex_scratch *scratch);

struct rewrite_origin {                 /* of the request that is answered by a redirect */
	struct str scheme;              /* "http" or "https" */
	struct str authority;           /* as sent */
	struct str path;                /* with query */
	int64_t listener_port; /* of the service or gateway port; FROM_REQUEST_PORT means it */
};
/* m: the block that fitted, or NULL; prefix_rewrite needs its prefix. */
struct str rewrite_location(const struct snap_redirect *r, const struct snap_match *m,
			    const struct rewrite_origin *from, struct arena *a);

/* What %OPERATORS% in header values stand for; p == NULL: not known here. */
struct rewrite_ctx {
	const struct head *req;         /* %REQ(NAME?ALTERNATIVE):MAX% */
	const struct head *res;         /* %RESP(NAME)%; NULL while there is none */
	int64_t start_real_us;          /* %START_TIME% */
	struct str protocol;            /* "HTTP/1.1" */
	struct str request_id;
	struct str downstream_remote_address,
		downstream_remote_ip; /* "192.0.2.7:4711", "192.0.2.7" */
	struct str downstream_local_address, downstream_local_ip;
	struct str downstream_peer_uri, downstream_local_uri;           /* SPIFFE IDs */
	struct str downstream_tls_version, requested_server_name;
	struct str upstream_host, upstream_cluster;
	struct str route_name, hostname;
};
/*
 * Header operations in Envoy's order: remove, set, add. h is a request or a response. set of "host"
 * or
 * ":authority" on a request is an authority rewrite. An operation whose value comes out empty is
 * skipped when operators made it so; one whose value could not stand in a header is skipped always.
 * ops may be NULL.
 */
void rewrite_headers(const struct snap_header_ops *ops, struct head *h,
		     const struct rewrite_ctx *ctx);
#define REWRITE_VALUE_MAX 16384
/*
 * A value with its operators replaced; "%%" is '%', what is not an operator stays. Longer than the
 * maximum: empty.
 */
struct str rewrite_value(struct str value, const struct rewrite_ctx *ctx, struct arena *a);
