/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain: what the proxies would do with one request, step by step, by their own code (core/match,
 * core/authz, core/cors, core/rewrite, core/priority, core/chash, core/asked) over the snapshots
 * that they run or that the files make. Layer daemons/ctl.
 * Everything found out is a member of a document; text is a view of it.
 */
#pragma once

#include "core/authz.h"
#include "core/match.h"
#include "ctl/ctl.h"
#include "ctl/request.h"
#include "ctl/snapshot.h"

struct explain {
	struct ctl *c;
	struct arena *a;
	struct snapshot own;  /* of the proxy that the caller's traffic goes through */
	struct snapshot node; /* of the one that local workloads are called through */
	struct match *match;  /* of own */
	struct authz *own_authz, *node_authz;
	struct residency *residency; /* of own; NULL: no egressPolicy */
	struct countries *countries; /* that it reads; NULL none */
	const struct doc *resources; /* resources_gather */
	const struct doc *health; /* rows of the router\'s Status, or NULL: not asked */
	struct request request;
	const char *client; /* --client: address of who calls from outside; NULL */

	bool edge;            /* own is a gateway */
	bool opaque;           /* its server passes bytes on */
	int64_t workload;     /* who calls, in own.snap->workloads; -1: refused */
	int64_t view;         /* what it sees; -1 nothing */
	int64_t port;         /* by which virtual hosts are found */
	int64_t door; /* of a gateway: where it listens */
	struct str principal; /* of the caller, "spiffe://…" */
};

/* How one way ends. */
struct outcome {
	bool good;
	int status;        /* of the answer that a proxy gives itself; 0: none */
	const char *flags; /* of the access log, "" none */
	const char *why;
};

/* ---- explain_open.c -------------------------------------------------------------------------- */
/* The question of the command line. 0, or an exit code with the reason printed. */
int explain_open(struct ctl *c, struct explain *ret);
void explain_done(struct explain *x);
/* "NAME.NS" of a peer. */
struct str explain_peer_name(struct arena *a, const struct snap_peer *p);
/* Is the Workload "NAME.NS" a gateway's? */
bool explain_is_gateway(const struct explain *x, struct str name);
/* Sets KEY to a resource's "NAME.NS" and KEY_file to where it is written, when it is known. */
void explain_put_resource(const struct explain *x, struct doc *d, const char *key, const char *kind,
			  struct str name);
void explain_put_outcome(struct arena *a, struct doc *d, const struct outcome *o);

/* ---- explain_steps.c ------------------------------------------------------------------------- */
/* All of it; out grows members. */
void explain_walk(struct explain *x, struct doc *out, struct outcome *ret);

/* ---- explain_route.c ------------------------------------------------------------------------- */
/* What the route does besides leading somewhere, members of d. */
void explain_put_route(const struct explain *x, struct doc *d, const struct match_hit *hit);

/* ---- explain_destination.c ------------------------------------------------------------------- */
/*
 * One destination: its endpoints, in or out, and what the workloads behind them would say to the
 * request as it reaches them (req; of opaque streams only its authority counts).
 */
void explain_destination(const struct explain *x, const struct snap_cluster *cluster,
			 const struct head *req, struct doc *d, struct outcome *ret);

/* ---- explain_inbound.c ----------------------------------------------------------------------- */
/* The workload's side of that endpoint, a row of "policies". */
void explain_inbound(const struct explain *x, const struct snap_cluster *cluster,
		     const struct snap_endpoint *e, const struct head *req, struct doc *d,
		     struct outcome *ret);

/* ---- explain_request.c ----------------------------------------------------------------------- */
int explain_request(struct ctl *c);

/* ---- explain_print.c ------------------------------------------------------------------------- */
void explain_print(struct ctl *c, const struct doc *out);
