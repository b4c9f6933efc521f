/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names: questions about a model that have one answer everywhere: what a host name means, which
 * VirtualService, DestinationRule and PeerAuthentication decide, which endpoints a service has.
 * Layer config. Pure: no I/O, nothing is changed; results point into the model or the arena given.
 * Numbers are those of the semantics reference, part 2 (docs/istio-semantics).
 */
#pragma once

#include "config/model.h"
#include "snap/snap.h"

/* ---- host names (2.1) ---------------------------------------------------------------------- */
bool names_is_wildcard(struct str host);                /* "*" or "*.suffix" */
bool names_is_ip(struct str host);                      /* IPv4 or IPv6 literal */
/* One of both covers the other, wildcards on either side (2.1.3). ASCII case is ignored. */
bool names_match(struct str a, struct str b);
/* Everything a matches, b matches too. */
bool names_subset_of(struct str a, struct str b);
/* < 0: a is more specific: exact names, then the longer wildcard, then "*" (2.1.4, 2.1.5). */
int names_specificity_cmp(struct str a, struct str b);
/*
 * The FQDN that host means in a resource of namespace ns: a name without dot is ns's own service;
 * NAME.NS of an existing Service and NAME.NS.svc get their suffix; everything else stays. Lower
 * case. In the arena.
 */
struct str names_fqdn(const struct model *m, struct str host, struct str ns, struct arena *a);
struct str names_service_fqdn(const struct model *m, struct str name, struct str ns,
			      struct arena *a);
/* Host headers by which a client in client_ns may call service name.ns, without port (2.1.2). */
struct str_list names_aliases(const struct model *m, struct str name, struct str ns,
			      struct str client_ns, struct arena *a);
/*
 * exportTo: "." own, "*" all, "~" none, names; an empty list means dflt, an empty dflt everywhere
 * (2.1.6).
 */
bool names_exported(const struct model *m, const struct str_list *export_to,
		    const struct str_list *dflt, struct str owner_ns, struct str client_ns);
/* "gw", "ns/gw", "./gw", "gw.ns.svc.…" as a key "ns/gw"; "mesh" stays (2.1.7). */
struct str names_gateway(const struct model *m, struct str gateway, struct str ns, struct arena *a);

/* What clients of a Gateway's port speak: servers of one port share one family (2.14.1). */
enum names_family {
	NAMES_FAMILY_HTTP,
	NAMES_FAMILY_TCP,
	NAMES_FAMILY_TLS                /* each server by the server name, whatever is inside */
};
enum names_family names_server_family(const struct model_server *s);
const char *names_family_name(enum names_family f);
/*
 * Where a gateway listens for the port of a server: a Service that selects it says which of its ports
 * that is, as in Istio; without one it is that port itself.
 */
int64_t names_gateway_port(const struct model *m, const struct model_workload *w, int64_t number);
/* Bytes, led by tls or tcp routes; else HTTP. */
bool names_server_is_opaque(const struct model_server *s);
/* TLS is passed on without being ended here. */
bool names_server_passes_tls(const struct model_server *s);
/*
 * A server's host "[ns/]name": the name; true when resources of namespace ns may use it ("." is the
 * Gateway's own, 2.2.5).
 */
bool names_server_host(const struct model *m, const struct model_gateway *g, struct str served,
		       struct str ns, struct str *ret_name);
/* What both cover, the narrower of the two; empty: they do not meet. */
struct str names_narrower(struct str a, struct str b);
/* A file of a credential below the configuration directory (NULL: /etc/kvmesh). */
struct str names_credential(const char *etc_dir, struct str name, const char *file,
			    struct arena *a);
/*
 * The certificates of a server, two at most, and the authorities of its clients: by credential or by
 * path; empty where nothing is given.
 */
struct names_server_files {
	struct str cert[2], key[2], ca;
	size_t n;
};
struct names_server_files names_server_files(const struct model_server_tls *t, const char *etc_dir,
					     struct arena *a);
/* "df:6F…" → "df6f…"; empty: no SHA-256. */
struct str names_digest_of_hex(struct str s, struct arena *a);
/* The same from base64. */
struct str names_digest_of_base64(struct str s, struct arena *a);
bool names_is_cipher(struct str s);     /* a TLS 1.2 suite by OpenSSL's name, one of Istio's */
/* Does an edge proxy open this server? Else why not. */
bool names_is_servable(const struct model_server *s, const char **ret_why);

/* ---- services and endpoints ---------------------------------------------------------------- */
struct names_port {
	int64_t number;                 /* service port */
	struct str name;                /* "" none */
	enum snap_protocol protocol;
	int64_t target;                 /* port of the endpoint; 0: by name */
	struct str target_name;         /* name of a workload port, p == NULL: by number */
	struct str listen;              /* Service.ports[].listen, "" none */
	struct origin at;
};
/* A host of the registry: one per Service and one per host of a ServiceEntry. */
struct names_service {
	struct str host;                /* FQDN or "*.suffix", lower case */
	struct str name, ns;            /* name: Service's or the host */
	const struct model_resource *res;       /* Service or ServiceEntry */
	MODEL_LIST(struct names_port) ports;
};
struct names_registry {                 /* made once per model, read-only afterwards */
	const struct model *model;
	/* Services first, then ServiceEntries, oldest first */
	MODEL_LIST(struct names_service) services;
	struct map by_host;             /* host → struct names_service *, the oldest */
};
void names_registry_init(struct names_registry *reg, const struct model *m, struct arena *a);
void names_registry_done(struct names_registry *reg);
/* By exportTo (2.1.6). */
bool names_service_is_visible(const struct model *m, const struct names_service *s,
			      struct str client_ns);
/*
 * The service that host (FQDN) means for client_ns: exact, else the most specific wildcard; NULL:
 * unknown.
 */
const struct names_service *names_service_find(const struct names_registry *reg, struct str host,
					       struct str client_ns);
const struct names_port *names_port_find(const struct names_service *s, int64_t number);
/*
 * Port of a destination (2.4.3): number when > 0, else the only port, else listener_port; NULL:
 * none fits.
 */
const struct names_port *names_destination_port(const struct names_service *s, int64_t number,
						int64_t listener_port);
/* Protocol by appProtocol, then protocol field, then name prefix (2.16); AUTO: to be sniffed. */
enum snap_protocol names_protocol(struct str name, struct str app_protocol, struct str protocol);

/* An endpoint that a service selects, before anything is known about its health. */
struct names_endpoint {
	const struct model_workload *workload;  /* or NULL */
	const struct model_workload_entry *entry;       /* or NULL */
	/* endpoint of entry or of the ServiceEntry; NULL: workload */
	const struct model_endpoint *inlined;
	struct str ns, name; /* of the workload or entry; the ServiceEntry's for inline ones */
	struct labels labels;           /* by which subsets choose */
	struct str address, service_account, locality, network;
	int64_t weight;                 /* >= 1 */
};
struct names_endpoints {
	struct names_endpoint *v;
	size_t n;
};
/*
 * Service: Workloads and WorkloadEntries of its namespace by selector. ServiceEntry: inline or
 * selected.
 */
struct names_endpoints names_endpoints(const struct model *m, const struct names_service *s,
				       struct arena *a);
/* Port of one endpoint behind a service port (2.15.3); 0: the endpoint has no such port. */
int64_t names_endpoint_port(const struct names_endpoint *e, const struct names_port *p);
/* Labels of a Workload (metadata) or WorkloadEntry (spec over metadata). */
struct labels names_labels(const struct model_resource *r, struct arena *a);

/* ---- data residency ------------------------------------------------------------------------ */
#define NAMES_COUNTRY_KEY "kvmesh.io/country"
/* What the resource declares by annotation or label; empty: nothing, or no country. */
struct str names_country(const struct model_resource *r);
/* egressPolicy with what ServiceEntries declare, in the arena; NULL: there is no policy. */
struct snap_residency *names_residency(const struct names_registry *reg, struct arena *a);

/* ---- who decides --------------------------------------------------------------------------- */
struct names_client {                   /* who calls */
	struct str ns;
	const struct labels *labels;    /* NULL: none */
};

/* PeerAuthentication in force for a workload's port (2.10); by == NULL: the built-in PERMISSIVE. */
struct names_mtls {
	enum model_mtls_mode mode;      /* never UNSET */
	const struct model_peer_authentication *by;
};
struct names_mtls names_mtls(const struct model *m, struct str ns, const struct labels *labels,
			     int64_t port);

/* DestinationRules in force for (client, service host): equal ones merged (2.7.1–2.7.3). */
struct names_rules {
	const struct model_destination_rule **v;        /* oldest first; n == 0: none */
	size_t n;
	const struct model_traffic_policy *policy;      /* of the first that has one, or NULL */
	const struct model_destination_rule *policy_by;
};
void names_rules(const struct model *m, const struct names_client *c, struct str host,
		 struct str service_ns, struct arena *a, struct names_rules *ret);
/* ret_by may be NULL. NULL: no such subset. */
const struct model_subset *names_subset(const struct names_rules *rules, struct str subset,
					const struct model_destination_rule **ret_by);
/* The blocks that apply to (subset, port) (2.7.5). */
struct names_policy {
	const struct model_load_balancer *loadBalancer;
	const struct model_connection_pool *connectionPool;
	const struct model_outlier_detection *outlierDetection;
	const struct model_client_tls *tls;     /* NULL: auto mTLS */
	const struct model_destination_rule *tls_by;    /* the rule that tls is from, or NULL */
	const struct model_tunnel *tunnel;
	const struct model_proxy_protocol *proxyProtocol;
	const struct model_retry_budget *retryBudget;
};
void names_policy(const struct names_rules *rules, struct str subset, int64_t port,
		  struct names_policy *ret);

/*
 * The Sidecar in force for a workload (2.15.7): of its namespace with a selector that fits, else its
 * namespace's without, else the root's; NULL: none. A client without labels is no workload.
 */
const struct model_sidecar *names_sidecar(const struct model *m, const struct names_client *c);
/* Its ingress listener for a port, NULL: none; s may be NULL. */
const struct model_sidecar_ingress *names_ingress(const struct model_sidecar *s, int64_t port);
/*
 * defaultEndpoint: 127.0.0.1:PORT, [::1]:PORT; 0.0.0.0:PORT, [::]:PORT and :PORT for the workload's
 * own address, which is "" then; unix:///path, port 0. False: none of these.
 */
bool names_default_endpoint(struct str s, struct str *ret_address, int64_t *ret_port);
/* What happens to destinations that nobody declared (2.15.6); s may be NULL. */
bool names_allows_any(const struct model *m, const struct model_sidecar *s);
/* Who calls, on which port of the destination. */
struct names_caller {
	struct str ns;
	const struct model_sidecar *sidecar;    /* NULL: none, everything is seen */
	int64_t port;
};
/* Does its Sidecar's egress list host, which a resource of ns declares? */
bool names_sees(const struct model *m, const struct names_caller *c, struct str ns,
		struct str host);
/* Exported to it, and one of the hosts is listed: then the whole of it is in force (2.2.1). */
bool names_sees_virtual_service(const struct model *m, const struct names_caller *c,
				const struct model_virtual_service *vs);

/*
 * The VirtualService that client_ns uses for a mesh host: visible, bound to "mesh", most specific
 * host, oldest among equals (2.1.5, 2.2.1–2.2.3). ret_host (may be NULL): its host that matched,
 * as FQDN. NULL: default route.
 */
const struct model_virtual_service *names_virtual_service(const struct model *m,
							  struct str client_ns, struct str host,
							  struct str *ret_host);
/* The same for a caller with a Sidecar. */
const struct model_virtual_service *names_virtual_service_of(const struct model *m,
							     const struct names_caller *c,
							     struct str host, struct str *ret_host);
