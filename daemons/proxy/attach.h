/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach: a snapshot made ready to serve: match tables, certificates, and pointers to the run-time
 * state that outlives snapshots (endpoint and cluster state, by stable name). Layer proxy; made by
 * the control thread, read by workers, never changed once published. A renewed certificate or
 * changed trust bundle is a new attachment over the same snap: there is one way to publish,
 * worker_publish.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/map.h"
#include "core/authz.h"
#include "core/chash.h"
#include "core/ewma.h"
#include "core/match.h"
#include "core/outlier.h"
#include "io/sock.h"
#include "io/tls.h"
#include "snap/snap.h"

/* Run-time state of one endpoint, shared by all workers: atomics only. Lives as long as somebody
 * points at it. */
struct endpoint_state {
	atomic_uint refs;
	char *key;                              /* "cluster|address:port" */
	atomic_uint active;                     /* requests under way */
	atomic_uint connections;
	struct outlier_host outlier;
	_Atomic uint64_t alternate_until_us;    /* monotonic: until then its address of the other family goes first */
	struct ewma ewma;                       /* of clusters that choose by latency */
	_Atomic uint64_t since_us;              /* monotonic: came when others were there, or back; 0: always */
	bool was_inactive;                      /* the control thread's: in the last snapshot */
	_Atomic uint64_t requests, errors;      /* totals */
};

/*
 * Circuit-breaker accounting of one cluster across workers, and its TLS context outside the mesh.
 */
struct cluster_state {
	atomic_uint refs;
	char *key;                              /* cluster name */
	atomic_uint connections, pending, requests, retries;
	_Atomic uint64_t overflow;              /* refused by a breaker */
	struct tls_ctx *tls;                    /* SIMPLE and MUTUAL, NULL else */
	char *tls_error;                        /* why tls is NULL although it should not be */
	char *tls_paths, *tls_key;              /* what tls was made from: settings; files as they were: others, another state */
};

/* The TLS context of one server of a gateway. */
struct server_state {
	atomic_uint refs;
	char *key;                              /* settings and paths */
	struct tls_ctx *tls;                    /* NULL: needs none, or the files were never good */
	char *tls_key;                          /* the files as they were when they were read */
};

/* What egressPolicy is told of an address besides itself (egress.h). No padding: part of pools' keys. */
struct attached_way {
	bool outside;                           /* no leg of the mesh, no application of this node */
	bool named, internal;                   /* of snap/residency.h */
	char country[RESIDENCY_COUNTRY];
};

struct attached_endpoint {
	struct sock_addr plain;                 /* address:port; len 0 when the address is a name */
	struct sock_addr mesh;                  /* mesh_address:mesh_port; len 0 when none */
	const struct sock_addr *alternate, *mesh_alternate;     /* of the other family; NULL none */
	struct endpoint_state *state;
	const struct residency_answer *refused; /* egressPolicy leaves no address of it; NULL: it may be used */
};
struct attached_cluster {
	struct cluster_state *state;
	struct attached_way way;
	const struct chash *hash;               /* RING_HASH and MAGLEV, NULL else */
	size_t n_levels;                /* of priority; 1: there is no difference */
	struct attached_endpoint *endpoints;    /* parallel to snap_cluster.endpoints */
	size_t n;
};

/* A gateway's port. */
struct attached_gateway {
	const struct snap_listener *desc;
	struct server_state **servers;          /* parallel to desc->servers */
};

struct tokens;
struct attached {
	atomic_uint refs;
	struct snap *snap;
	struct match *match;                    /* shared with other attachments of the same snap */
	struct authz *authz;                    /* the same */
	struct tokens *tokens;                  /* the same */
	struct residency *residency;            /* NULL: data may go anywhere */
	struct egress_base *base;               /* … of which it reads; NULL none */
	struct attached_share *share;           /* … which this counts */
	struct attached_cluster *clusters;      /* parallel to snap.clusters */
	struct tls_identity **identities;       /* parallel to snap.identities; NULL: none yet */
	size_t n_missing;                       /* of them, that are waited for; before publishing the control thread's */
	struct tls_trust *trust;                /* theirs, with what is revoked now; NULL none yet */
	struct map snis;                        /* lower-case SNI → index + 1, as pointer value */
	struct map peers_by_name;               /* "name.ns" → struct snap_peer * */
	struct map peers_by_principal;          /* by SPIFFE ID, if one workload's alone */
	uid_t *uids;                            /* parallel to snap.workloads: (uid_t)-1 none */
	/*
	 * Parallel to snap.workloads: cgroup id of the unit, 0 none. A restarted unit has another
	 * one: this and strangers are the only things that change after publishing, and only
	 * attach_caller touches them.
	 */
	_Atomic uint64_t *cgroups;
	bool tells_callers;                     /* some workload has a user or a unit to know its callers by */
	struct attached_strangers *strangers;
	struct tls_ctx **listed;                /* those of clusters and gateways that ask revocation lists */
	size_t n_listed;
	struct attached_gateway *gateways;
	size_t n_gateways;
	struct map gateway_by_addr;             /* "address:port" as bound → struct attached_gateway * */
	/* sock_addr_text of inbounds, and of the applications behind them → index + 1 */
	struct map inbound_by_addr, inbound_by_application;
	struct map inbound_by_port;             /* captured ones, "8080" → index + 1; 0: of several workloads */
	struct arena arena;                     /* keys of the maps, arrays */
};

/* The process-wide registries of state by name; one per proxy process. */
struct attach_state;
struct attach_state *attach_state_new(void);
void attach_state_free(struct attach_state *s);

/*
 * Make an attachment (one reference). identities: current certificates by SPIFFE ID (struct
 * tls_identity *, borrowed). prev may be NULL; when it is of the same snap its match tables are
 * shared.
 */
int attach_new(struct attach_state *st, struct snap *snap, const struct map *identities,
	       struct attached *prev, struct attached **ret, struct err *err);
struct attached *attach_ref(struct attached *a);        /* any thread */
void attach_unref(struct attached *a);                  /* any thread */
/* Which local workload owns a local TCP caller: index into snap.workloads, 0 (the node) when
 * unknown, or -1 when unregistered callers are refused. */
int64_t attach_caller(const struct attached *a, const struct sock_owner *owner);
/* The local port at that address, NULL when the snapshot does not know it. */
const struct snap_inbound *attach_inbound_at(const struct attached *at, const struct sock_addr *dst);
/*
 * The same of a captured port, which stands for every address of this host: dst is one. NULL also when several
 * workloads have that port at other addresses.
 */
const struct snap_inbound *attach_captured_at(const struct attached *at, const struct sock_addr *dst);
/* Does the application of some local port listen there? */
bool attach_is_application(const struct attached *at, const struct sock_addr *addr);
/* Where the application behind a local port listens. */
bool attach_application_addr(const struct snap_inbound *in, struct sock_addr *ret);
/* Were files of a gateway's servers or of a cluster's TLS replaced since? Control thread. */
bool attach_is_outdated(const struct attached *a);
/* Forget state that nothing names any more; control thread, after each publish. */
void attach_state_sweep(struct attach_state *s);
struct server_state *server_state_ref(struct server_state *s);  /* any thread */
void server_state_unref(struct server_state *s);
/* For whoever keeps a pointer longer than its attachment (pooled connections); any thread. */
struct endpoint_state *endpoint_state_ref(struct endpoint_state *e);
void endpoint_state_unref(struct endpoint_state *e);
struct cluster_state *cluster_state_ref(struct cluster_state *c);
void cluster_state_unref(struct cluster_state *c);
