/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_parts: what the parts of the compiler share while one snapshot is made. Layer config,
 * private.
 */
#pragma once

#include "base/vec.h"
#include "config/compile.h"
#include "config/names.h"

/* An endpoint of a service with what is known of it. */
struct compile_endpoint {
	struct names_endpoint e;
	int64_t peer;
	bool meshed;                    /* it has a proxy in front that takes mTLS */
	bool inactive;
};
struct compile_endpoints {
	struct compile_endpoint *v;
	size_t n;
};

/* A host of the registry: every Service and ServiceEntry of that name together (2.15.5). */
struct compile_service {
	struct str host, name, ns;
	const struct names_service *first;      /* the oldest */
	MODEL_LIST(struct names_port) ports;    /* by number, first come */
	/* parallel: which Service or ServiceEntry, and its endpoints */
	const struct names_service **parts;
	struct compile_endpoints *endpoints;
	size_t n_parts;
	struct names_rules neutral;     /* for a client of the service's own namespace */
};

/* Who calls through a view. */
struct compile_client {
	struct str ns;
	struct labels labels;           /* those that some resource asks for */
	const struct model_sidecar *sidecar;    /* that scopes it (2.15.7); NULL: none */
	bool nobody;                    /* no caller comes as this one: it sees nothing */
	int64_t view;
	struct names_rules *rules;      /* by service, filled when first asked */
	bool *has_rules;
	struct compile_gateway *gateway;        /* NULL: a caller in the mesh */
	struct str bound_gateway, bound_ns;     /* whose routes are being compiled, for which VS's ns */
};

struct compile {
	const struct model *m;
	const struct compile_env *env;
	/*
	 * Put together here from parts of the model and of the work arena; what is handed out is a
	 * copy that owns its strings (snap_copy).
	 */
	struct snap *s;
	struct arena work;
	struct arena *a;                /* &work */
	struct err_list *errs;
	bool failed;
	struct names_registry reg;
	struct compile_service *services;
	size_t n_services;
	struct map service_by_host;     /* host → struct compile_service * */
	struct map clusters, peers, identities, clients_by_key; /* key → index + 1 */
	size_t cap_clusters, cap_peers, cap_identities, cap_inbounds, cap_listeners,
		cap_authorizers;
	struct compile_client *clients; /* parallel to snap.views */
	size_t n_clients, cap_clients;
	struct labels asked;            /* of callers, by some resource; sorted, keys repeat */
	const struct model_workload **locals;   /* parallel to snap.workloads; [0] NULL: the node */
	struct map local_by_id;         /* Workload's id → index + 1 into snap.workloads */
};

/* Address of a new last element of a { v, n } list whose capacity is kept apart. */
#define compile_push(c, list, cap) (vec_push_arena((c)->a, (list).v, (list).n, (cap)))

/* compile_peer.c: who is who */
struct str compile_principal(struct compile *c, struct str ns, struct str sa);
int64_t compile_identity(struct compile *c, struct str spiffe);
int64_t compile_node_peer(struct compile *c);
int64_t compile_workload_peer(struct compile *c, const struct model_workload *w);
/* -1: outside of the mesh. */
int64_t compile_endpoint_peer(struct compile *c, const struct names_service *s,
			      const struct names_endpoint *e);
/* Does the node proxy stand before this workload? */
bool compile_is_served(const struct model_workload *w);

/* compile_service.c: hosts, their endpoints, the rules for them */
void compile_services(struct compile *c);
struct compile_service *compile_service_of(const struct compile *c, const struct names_service *s);
/* The service that a destination means for this client; NULL: unknown. */
struct compile_service *compile_service_find(const struct compile *c,
					     const struct compile_client *client, struct str host);
bool compile_is_visible(const struct compile *c, const struct compile_client *client,
			const struct compile_service *s);
const struct names_port *compile_port(const struct compile_service *s, int64_t number);
const struct names_rules *compile_rules(struct compile *c, struct compile_client *client,
					const struct compile_service *s);
/* The name of the endpoint's proxy that the mesh port dispatches by. */
struct str compile_sni_inbound(struct compile *c, int64_t port, struct str workload,
			       struct str host);
struct str compile_sni_outbound(struct compile *c, int64_t port, struct str subset,
				struct str host);
bool compile_port_is_http(const struct names_port *p);  /* also when it is to be found out */
bool compile_port_is_opaque(const struct names_port *p);

/* compile_cluster.c, compile_policy.c: where requests go */
/* The cluster of (service, port, subset) for this client; -1: the subset does not exist. */
int64_t compile_cluster(struct compile *c, struct compile_client *client,
			const struct compile_service *s, const struct names_port *p,
			struct str subset);
/*
 * The same for TLS between proxies that is passed on (AUTO_PASSTHROUGH): to the endpoints' own
 * proxies, as it comes. Its name is the server name that clients say.
 */
int64_t compile_sealed_cluster(struct compile *c, struct compile_client *client,
			       const struct compile_service *s, const struct names_port *p,
			       struct str subset);
struct str compile_cluster_name(struct compile *c, int64_t port, struct str subset,
				struct str host);
int64_t compile_special_cluster(struct compile *c, const char *name, enum snap_cluster_kind kind);
int64_t compile_cluster_add(struct compile *c, const struct snap_cluster *cl);
/* pool NULL: the mesh's own limits. */
void compile_limits(const struct compile *c, const struct names_port *p,
		    const struct model_connection_pool *pool, struct snap_limits *l);
void compile_policy(struct compile *c, const struct names_port *p,
		    const struct names_policy *policy, struct snap_cluster *ret);

/* compile_target.c: destinations with weights (2.4.1–2.4.3) */
struct compile_targets {                /* a list of destinations of any protocol */
	const struct model_destination **v;
	int64_t *weights;
	const struct model_headers **headers;   /* NULL: TCP and TLS have none */
	size_t n;
};
struct compile_weighted {
	struct snap_weighted *v;
	size_t n;
	int64_t total;
};
struct compile_weighted compile_weighted(struct compile *c, struct compile_client *client,
					 const struct compile_targets *t, int64_t listener_port);
struct compile_weighted compile_sole(struct compile *c, int64_t cluster);
/* Cluster and name of one destination, -1 where there is none. */
void compile_destination(struct compile *c, struct compile_client *client,
			 const struct model_destination *d, int64_t listener_port,
			 struct snap_weighted *ret);
/* The static predicates of a match block (2.3.2). */
bool compile_is_source(struct compile *c, const struct compile_client *client,
		       const struct str_list *gateways, const struct labels *labels,
		       struct str ns);

/* compile_route.c, compile_match.c, compile_headers.c, compile_retry.c: HTTP */
/*
 * Routes of vs for this client and port; false: none is left, the VirtualService counts as absent.
 */
bool compile_routes(struct compile *c, struct compile_client *client,
		    const struct model_virtual_service *vs, struct snap_vhost *vhost);
void compile_sole_route(struct compile *c, const char *name, int64_t cluster,
			struct snap_retry *retry, struct snap_vhost *vhost);
/* compile_action.c; NULL: no effect. */
struct snap_fault *compile_fault(struct compile *c, const struct model_http_fault *f);
struct snap_cors *compile_cors(struct compile *c, const struct model_cors_policy *p);
void compile_mirrors(struct compile *c, struct compile_client *client,
		     const struct model_http_route *r, int64_t port, struct snap_route *to);
void compile_match(struct compile *c, const struct model_http_match *m, struct snap_match *ret);
bool compile_is_catch_all(const struct snap_match *m);
struct str compile_lower(struct compile *c, struct str s);
void compile_headers(struct compile *c, const struct model_headers *h, struct snap_headers *ret);
/* One destination: its operations behind the route's, into the route's (2.4.4). */
void compile_headers_merge(struct compile *c, struct snap_headers *route,
			   const struct snap_headers *dest);
/* r NULL: the default policy (2.5.4). */
struct snap_retry *compile_retry(struct compile *c, const struct model_http_retry *r);

/* compile_scope.c: what exportTo and a Sidecar leave of the mesh (2.1.6, 2.15.7) */
/* Is this part of a service exported to the client? */
bool compile_sees_part(const struct compile *c, const struct compile_client *client,
		       const struct names_service *part);
/* Is the service's host one that this client calls on that port? */
bool compile_sees(const struct compile *c, const struct compile_client *client,
		  const struct compile_service *s, int64_t port);
/* … on some port of the service. */
bool compile_sees_some(const struct compile *c, const struct compile_client *client,
		       const struct compile_service *s);
/* Which VirtualService routes host on that port; ret_host may be NULL. */
const struct model_virtual_service *compile_virtual_service(const struct compile *c,
							    const struct compile_client *client,
							    struct str host, int64_t port,
							    struct str *ret_host);

/* compile_view.c, compile_l4.c: what a caller sees */
/* labels NULL: a caller that is no workload. */
struct compile_client *compile_client(struct compile *c, struct str ns,
				      const struct labels *labels);
/* Another one, whatever there is for that namespace and those labels. */
struct compile_client *compile_client_new(struct compile *c, struct str ns, struct labels labels);
void compile_asked(struct compile *c);
void compile_views(struct compile *c);
void compile_l4(struct compile *c, struct compile_client *client, struct snap_view *view);
/* Behind them all: what no row took goes there. */
void compile_l4_rest(struct compile *c, struct snap_view *view, int64_t cluster);
struct compile_weighted compile_l4_weighted(struct compile *c, struct compile_client *client,
					    const struct model_route_destination *v, size_t n,
					    int64_t port);

/* compile_gateway.c: what an edge proxy listens on and routes */
struct compile_gateway {                /* of one view */
	struct {
		const struct model_server *server;
		const struct model_gateway *gateway;
	} *v;
	size_t n, cap;
	int64_t port;
};
void compile_gateways(struct compile *c, const struct model_workload *w);
void compile_gateway_view(struct compile *c, struct compile_client *client, struct snap_view *view);
/* Does the client see the VirtualService, and is it bound to client->bound_gateway? */
bool compile_is_bound(struct compile *c, const struct compile_client *client,
		      const struct model_virtual_service *vs);
/* compile_gateway_l4.c: the view of an opaque server (2.14.3, 2.14.6) */
void compile_gateway_l4(struct compile *c, struct compile_client *client, struct snap_view *view);
/* The names by which clients of an AUTO_PASSTHROUGH server come to it. */
void compile_gateway_auto_hosts(struct compile *c, struct str_list *hosts);

/* compile_sidecar.c: the listeners of Sidecars */
void compile_sidecar_doors(struct compile *c);
const struct model_sidecar *compile_sidecar_of(const struct compile *c,
					       const struct model_workload *w);
/* When all of them are known: an application behind one of the proxy's own doors is an error. */
void compile_sidecar_circles(struct compile *c);
/* Fills in->application. */
void compile_application(struct compile *c, const struct model_workload *w,
			 struct snap_inbound *in);

/* compile_inbound.c: the local workloads' own ports */
void compile_inbounds(struct compile *c);

/* compile_locality.c: priorities and weights of endpoints by where they are */
void compile_locality(const struct compile *c, const struct model_load_balancer *balancer,
		      struct snap_cluster *cl);

/* compile_authz.c, compile_authorizer.c: policies for them, and whom CUSTOM ones ask */
void compile_authz(struct compile *c);
/* compile_jwt.c */
void compile_jwt(struct compile *c);
/* By namespace and name: an order of age would change with a clock, and with it a snapshot. */
const struct model_resource **compile_by_name(struct compile *c, enum model_kind kind, size_t *ret_n);
/* Is a policy of ns with that selector for w: of its own namespace or the root one (2.11.1). */
bool compile_selects(const struct compile *c, struct str ns,
		     const struct model_match_labels *selector, const struct model_workload *w);
void compile_authorizers(struct compile *c);

/* A finding of the compiler; nothing is handed out then. */
void compile_error(struct compile *c, struct origin at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
