/* SPDX-License-Identifier: Apache-2.0 */
/*
 * match: listener → virtual host → route, and destination → L4 row: tables prepared over one
 * snapshot. Layer core. Made once per snapshot, read-only afterwards, so that every thread may ask.
 * It borrows the snap, which must live longer. Which row wins is decided by the snapshot's order;
 * tables only find it fast.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "core/regex.h"
#include "http/head.h"
#include "snap/snap.h"

struct cors;
struct match;

/* Fails when a pattern of the snapshot does not compile; the sentence names it. */
int match_new(const struct snap *s, struct match **ret, struct err *err);
void match_free(struct match *m);       /* NULL is fine */

/* ---- virtual hosts -------------------------------------------------------------------------- */
struct match_vhost {
	const struct snap_vhost *snap;
	const struct route_table *table;
};
/*
 * By host without port (any case): exact, then the longest wildcard, then "*"; at each step the
 * rows of this port before those of any port (Istio 2.1.4). NULL: none, not even "*".
 */
const struct match_vhost *match_vhost(const struct match *m, int64_t view, int64_t port,
				      struct str host);

/* ---- routes --------------------------------------------------------------------------------- */
struct match_facts {
	struct str method, scheme;
	struct str authority;           /* as sent, port included */
	struct str path;                /* normalised, without query */
	struct str query;               /* behind the '?'; p == NULL: none */
	const struct head *head;        /* the request's fields */
	const struct doc *claims;       /* of a proven token; NULL: none */
	struct regex_scratch *scratch;  /* the thread's own; NULL: made per regex */
};
struct match_hit {
	const struct snap_route *route;
	const struct snap_match *match; /* the block that fitted; NULL: the route has none */
	const struct regex *rewrite;    /* of route->rewrite->regex, or NULL */
	const struct cors *cors;        /* of route->cors, or NULL */
};
/*
 * First route with a block that fits (Istio 2.3.1). False: none, 404 NR. *ret_limits (may be NULL)
 * grows by the number of regex matches that were given up; such a predicate does not fit.
 */
bool match_route(const struct match_vhost *vh, const struct match_facts *f, struct match_hit *ret,
		 unsigned *ret_limits);

/* ---- servers of a gateway ------------------------------------------------------------------- */
/*
 * Which of a gateway's TLS servers a name means (Istio 2.14.2): exact, then the longest wildcard; -1
 * none.
 */
int64_t match_server(const struct snap_listener *l, struct str sni);

/* ---- opaque TCP, TLS by SNI ----------------------------------------------------------------- */
struct match_l4_facts {
	int64_t port; /* of the destination, or of the service for explicit listeners */
	bool has_addr;
	uint8_t addr[16];               /* destination; IPv4 as ::ffff:a.b.c.d */
	struct str sni;                 /* empty: no TLS seen */
	struct str service;             /* explicit listener: FQDN of the service, else empty */
};
/* First row that fits; NULL: none (outbound policy decides). */
const struct snap_l4 *match_l4(const struct match *m, int64_t view, const struct match_l4_facts *f);

/* Index of a destination by weight; n > 0, total is the sum of the weights (snap_check). */
size_t match_weighted(const struct snap_weighted *v, size_t n, int64_t total, struct rng *rng);
