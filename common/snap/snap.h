/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap: what one proxy needs to know, compiled, immutable and numbered. Layer snap.
 * config/compile makes it, the router sends it as JSON, the proxy loads it and walks its arrays; no name
 * is looked up in configuration at run time. References between parts are indexes into the arrays of
 * struct snap; snap_load refuses a snapshot whose indexes do not fit. Everything of a snap lives in its
 * one arena. Order is decided by the compiler: whoever reads takes the first that fits.
 *
 * Field tables: snap_fields.c. Strings never carry NUL. Times are microseconds, 0 "none" unless said.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/label.h"
#include "doc/bind.h"
#include "doc/doc.h"
#include "snap/residency.h"
#include "snap/snap_jwt.h"
#include "snap/snap_policy.h"

/* What a proxy takes; a control message has room for it (ipc.h: IPC_REPLY_MAX). */
#define SNAP_BYTES_MAX (15u << 20)

/* { type *v; size_t n; }, the layout of struct bind_list. Enum members are int for FIELD_ENUM. */
#define SNAP_LIST(type) struct { type *v; size_t n; }

/* ---- strings to match --------------------------------------------------------------------- */
enum snap_match_kind {
	SNAP_MATCH_EXACT, SNAP_MATCH_PREFIX, SNAP_MATCH_REGEX, SNAP_MATCH_PRESENT, SNAP_MATCH_KIND__N
};

struct snap_string {
	int kind;                       /* enum snap_match_kind */
	struct str value;
	bool icase;                     /* exact and prefix only */
};

#define SNAP_CLAIM '@'                  /* no header begins with it */
struct snap_field_match {               /* header, query parameter, or claim of a token */
	struct str name;                /* lower case for headers; "@a][b" for claims */
	int kind;                       /* enum snap_match_kind */
	struct str value;
	bool invert;                    /* withoutHeaders */
};

/* AND of what is given; static predicates (port, sourceLabels, gateways, …) are already decided. */
struct snap_match {
	struct str name;
	struct snap_string *uri, *scheme, *method, *authority;          /* NULL: any */
	SNAP_LIST(struct snap_field_match) headers;
	SNAP_LIST(struct snap_field_match) query;
};

/* ---- what a route does ------------------------------------------------------------------------ */
struct snap_pair {
	struct str name, value;         /* value may hold %OPERATORS%; "%%" is a percent sign */
};
struct snap_header_ops {                /* applied in this order: remove, set, add */
	struct str_list remove;
	SNAP_LIST(struct snap_pair) set;
	SNAP_LIST(struct snap_pair) add;
};
struct snap_headers {
	struct snap_header_ops *request, *response;     /* NULL: none */
};

struct snap_weighted {
	int64_t cluster;                /* index into snap.clusters; -1: unknown cluster (503 NC) */
	struct str cluster_name;        /* for logs, also when unknown */
	int64_t weight;                 /* > 0 */
	struct snap_headers headers;    /* applied before the route's (several destinations, Istio 2.4.4) */
};

enum snap_derive_port {
	SNAP_DERIVE_PORT_NONE, SNAP_DERIVE_PORT_PROTOCOL, SNAP_DERIVE_PORT_REQUEST, SNAP_DERIVE_PORT__N
};

struct snap_redirect {
	struct str uri, authority, scheme, prefix_rewrite;      /* p == NULL: unchanged */
	int64_t port;                   /* 0: not given */
	int derive_port;                /* enum snap_derive_port */
	int64_t code;                   /* 301 … */
};
struct snap_direct {
	int64_t status;
	struct str body;
	struct str base64;              /* instead of body, for bytes that are no text */
};
struct snap_rewrite {
	struct str uri, authority;      /* p == NULL: unchanged */
	struct str regex, substitution; /* uriRegexRewrite */
};

#define SNAP_RETRY_5XX 0x001
#define SNAP_RETRY_GATEWAY_ERROR 0x002
#define SNAP_RETRY_RESET 0x004
#define SNAP_RETRY_RESET_BEFORE_REQUEST 0x008
#define SNAP_RETRY_CONNECT_FAILURE 0x010
#define SNAP_RETRY_RETRIABLE_4XX 0x020
#define SNAP_RETRY_REFUSED_STREAM 0x040
#define SNAP_RETRY_STATUS_CODES 0x080
#define SNAP_RETRY_RETRIABLE_HEADERS 0x100
#define SNAP_RETRY_ENVOY_RATELIMITED 0x200
#define SNAP_RETRY_GRPC_CANCELLED 0x400
#define SNAP_RETRY_GRPC_DEADLINE_EXCEEDED 0x800
#define SNAP_RETRY_GRPC_INTERNAL 0x1000
#define SNAP_RETRY_GRPC_RESOURCE_EXHAUSTED 0x2000
#define SNAP_RETRY_GRPC_UNAVAILABLE 0x4000
struct snap_retry {
	int64_t attempts;               /* retries after the first try */
	int64_t per_try_us;
	int64_t on;                     /* SNAP_RETRY_* */
	struct int_list codes;
	int64_t backoff_us;             /* base, default 25 ms */
	bool ignore_previous_hosts;
	bool remote_localities;         /* every second try leaves the priorities that were tried */
};
/* The bit of a word of retryOn ("5xx"); 0: none of them, http3-post-connect-failure too. */
int64_t snap_retry_condition(struct str word);
/* The i-th of these words and its bit; NULL: there are no more. */
const char *snap_retry_word(size_t i, int64_t *ret_bit);

struct snap_fault {
	int64_t delay_us, delay_ppm;    /* parts per million of requests */
	int64_t abort_status, abort_grpc, abort_ppm;    /* abort_grpc -1: none */
};
struct snap_mirror {
	int64_t cluster;                /* -1: unknown, nothing is mirrored */
	int64_t ppm;
};
struct snap_cors {
	SNAP_LIST(struct snap_string) origins;          /* OR; "*" alone as EXACT: any */
	struct str methods, headers, expose, max_age;   /* values of the fields, "" none is sent */
	bool credentials;
	bool answer_unmatched;          /* preflights of other origins: 200 here, else forwarded */
};

enum snap_action { SNAP_ACTION_ROUTE, SNAP_ACTION_REDIRECT, SNAP_ACTION_DIRECT, SNAP_ACTION__N };

struct snap_route {
	struct str name;                /* %ROUTE_NAME% */
	struct str source;              /* "VirtualService my-app.default", "" for a default route */
	struct str file;                /* where it was written, "" unknown */
	int64_t line;
	SNAP_LIST(struct snap_match) matches;           /* OR; empty: everything */
	int action;                     /* enum snap_action */
	SNAP_LIST(struct snap_weighted) destinations;   /* SNAP_ACTION_ROUTE: at least one */
	int64_t total_weight;
	struct snap_redirect *redirect;
	struct snap_direct *direct;
	struct snap_rewrite *rewrite;
	struct snap_headers headers;
	struct snap_retry *retry;       /* NULL: no retries */
	struct snap_fault *fault;
	SNAP_LIST(struct snap_mirror) mirrors;
	struct snap_cors *cors;         /* NULL: none */
	int64_t timeout_us;             /* whole request with retries; 0 none */
};

/* Domains are lower case: exact names, "*.suffix", or "*". Looked up by (port, host): exact, then the
 * longest wildcard, then "*" (Istio 2.1.4). */
struct snap_vhost {
	struct str name;                /* "my-app.default.svc.cluster.local:80" */
	int64_t port;                   /* listener port (service port); 0: any */
	struct str_list domains;
	struct str service;             /* FQDN when it is a service's own, else "" */
	SNAP_LIST(struct snap_route) routes;            /* first match wins */
};

/* Opaque TCP and TLS by SNI. */
struct snap_l4 {
	struct str name;
	struct str service;             /* FQDN; explicit TCP listeners name it */
	int64_t port;
	struct str_list addresses;      /* CIDRs or IPs of the destination; empty: any */
	struct str_list sni;            /* names or "*.suffix"; empty: not by SNI */
	SNAP_LIST(struct snap_weighted) destinations;
	int64_t total_weight;
};

enum snap_outbound { SNAP_OUTBOUND_ALLOW_ANY, SNAP_OUTBOUND_REGISTRY_ONLY, SNAP_OUTBOUND__N };

/* What callers of one kind see; callers with equal views share one. */
struct snap_view {
	struct str name;
	int outbound;                   /* enum snap_outbound */
	SNAP_LIST(struct snap_vhost) vhosts;
	SNAP_LIST(struct snap_l4) l4;
};

/* ---- where requests go --------------------------------------------------------------------------- */
enum snap_protocol {
	SNAP_PROTOCOL_HTTP, SNAP_PROTOCOL_HTTP2, SNAP_PROTOCOL_GRPC, SNAP_PROTOCOL_TCP, SNAP_PROTOCOL_TLS,
	SNAP_PROTOCOL_AUTO, SNAP_PROTOCOL__N
};
enum snap_lb {
	SNAP_LB_LEAST_REQUEST, SNAP_LB_ROUND_ROBIN, SNAP_LB_RANDOM, SNAP_LB_RING_HASH, SNAP_LB_MAGLEV,
	SNAP_LB_PASSTHROUGH,
	SNAP_LB_EWMA,                   /* peak EWMA: by latency */
	SNAP_LB__N
};
enum snap_tls_mode {
	SNAP_TLS_AUTO,                  /* mTLS where the endpoint has a proxy that takes it, else plain */
	SNAP_TLS_DISABLE, SNAP_TLS_SIMPLE, SNAP_TLS_MUTUAL, SNAP_TLS_ISTIO_MUTUAL, SNAP_TLS__N
};
enum snap_cluster_kind {
	SNAP_CLUSTER_STATIC,            /* endpoints as listed */
	SNAP_CLUSTER_DNS,               /* endpoint addresses are names to resolve */
	SNAP_CLUSTER_ORIGINAL_DST,      /* the captured destination, else as BY_NAME: PassthroughCluster */
	SNAP_CLUSTER_BY_NAME,           /* the host that the request names */
	SNAP_CLUSTER_BLACKHOLE,         /* refuse */
	SNAP_CLUSTER_KIND__N
};

struct snap_certificate {               /* PEM paths */
	struct str cert, key;
};
struct snap_tls {
	int mode;                       /* enum snap_tls_mode */
	struct str sni;                 /* "" automatic */
	struct str_list sans;           /* accepted server names or SPIFFE IDs; empty: from endpoints */
	struct str cert, key, ca;       /* PEM paths for SIMPLE and MUTUAL, "" none */
	SNAP_LIST(struct snap_certificate) more;        /* servers: with keys of other kinds */
	struct str crl;                 /* PEM path of revocation lists, "" none */
	bool crl_optional;              /* crl need not be there */
	bool skip_verify;
};

enum snap_hash_source {
	SNAP_HASH_HEADER, SNAP_HASH_COOKIE, SNAP_HASH_SOURCE_IP, SNAP_HASH_QUERY, SNAP_HASH__N
};

/* What is spoken to endpoints of HTTP ports. */
enum snap_http2 {
	SNAP_HTTP2_TO_PROXIES,          /* HTTP/2 to proxies of the mesh, HTTP/1.1 to others */
	SNAP_HTTP2_ALWAYS, SNAP_HTTP2_NEVER,
	SNAP_HTTP2_AS_CLIENT,           /* what the client speaks */
	SNAP_HTTP2__N
};

struct snap_hash {
	int source;                     /* enum snap_hash_source */
	struct str name, cookie_path;
	int64_t cookie_ttl_us;          /* -1: not generated */
	SNAP_LIST(struct snap_pair) attributes;         /* further ones of the cookie; value "": the name alone */
	int64_t table_size;
};

struct snap_limits {                    /* circuit breakers; 0: unlimited */
	int64_t max_connections, max_pending, max_requests, max_retries;
	int64_t retry_budget_ppm;       /* retries as a share of requests, instead of max_retries; 0: off */
	int64_t retry_budget_min;       /* that many always */
	int64_t max_requests_per_connection;
	int64_t max_streams;            /* exchanges at once on an HTTP/2 connection */
	int64_t ping_interval_us, ping_timeout_us;      /* HTTP/2: is the peer there? */
	int64_t max_age_us;             /* of a connection; it ends with the exchange under way, opaque bytes are cut */
	int64_t connect_timeout_us;
	int64_t idle_timeout_us;        /* of pooled connections and of opaque TCP */
	int64_t keepalive_time_us, keepalive_interval_us, keepalive_probes;
};

struct snap_outlier {
	int64_t consecutive_5xx, consecutive_gateway, consecutive_local;        /* 0: off */
	bool split_local;               /* failed connects count apart */
	int64_t interval_us, base_ejection_us;
	int64_t max_ejection_percent, min_health_percent;
	struct int_list codes;          /* answers that count as 5xx, and no others do; empty: 5xx */
};

/* Facts about a workload that metrics and logs name; shared by endpoints, callers and peers. */
struct snap_peer {
	struct str name, ns, sa;
	struct str principal;           /* SPIFFE ID, "" when it has none */
	struct str app, version;        /* labels, "" when absent */
	struct str canonical_name, canonical_revision;
	struct str cluster;             /* mesh.clusterName */
	struct labels labels;
	bool gateway;                   /* what it says of its clients is believed */
};

/* New endpoints, and those that come back, get their share bit by bit (Istio 2.8.13). */
struct snap_warmup {
	int64_t duration_us;
	int64_t minimum_ppm;            /* of the weight, to begin with */
	int64_t aggression_milli;       /* the weight grows with the exponent 1000 / this */
};

#define SNAP_PRIORITIES_MAX 16

struct snap_endpoint {
	struct str address;             /* IP, name (DNS clusters) or unix:/path */
	struct str alternate;           /* IP of the other family, tried when address does not answer; empty none */
	int64_t port;
	int64_t weight;                 /* >= 1 */
	int64_t peer;                   /* index into snap.peers, -1: outside the mesh */
	struct str locality;
	int64_t priority;               /* 0 first; below SNAP_PRIORITIES_MAX, without gaps */
	/*
	 * mesh_port > 0: the endpoint has a proxy there that takes mTLS. Dial mesh_address:mesh_port with
	 * SNI mesh_sni and accept only peers[peer].principal (or tls.sans of the cluster).
	 */
	struct str mesh_address;
	int64_t mesh_port;
	struct str mesh_sni;
	bool inactive;                  /* known to be down (unit not active, WorkloadEntry unhealthy) */
};

struct snap_cluster {
	struct str name;                /* "outbound|80|v1|my-app.default.svc.cluster.local": stable key */
	int kind;                       /* enum snap_cluster_kind */
	struct str service, service_name, service_ns;   /* FQDN, short, namespace */
	struct str subset;
	int64_t port;
	bool one_address;               /* DNS: of each name one address at a time */
	int64_t dial_port;              /* BY_NAME: another than the one that is called; 0: the same */
	int protocol;                   /* enum snap_protocol */
	int lb;                         /* enum snap_lb */
	struct snap_hash *hash;
	int http2;                      /* enum snap_http2; ports that are HTTP/2 by name: always */
	struct snap_limits limits;
	struct snap_outlier *outlier;
	struct snap_warmup *warmup;     /* ROUND_ROBIN and LEAST_REQUEST only */
	struct snap_tls tls;
	struct str tunnel;              /* "host:port" for opaque bytes: endpoints are asked for it by CONNECT; empty: not */
	int64_t proxy_protocol;         /* version of the header to endpoints without a proxy; 0: none */
	SNAP_LIST(struct snap_endpoint) endpoints;
	struct str destination_rule;    /* "my-app.default", "" none; for tls-check and proxy-config */
};

/* ---- the inbound side ------------------------------------------------------------------------------ */
enum snap_mtls { SNAP_MTLS_PERMISSIVE, SNAP_MTLS_STRICT, SNAP_MTLS_DISABLE, SNAP_MTLS__N };

struct snap_service_ref {
	struct str service, name, ns;   /* FQDN, short name, namespace */
	int64_t port;                   /* service port */
};

/* Where an application listens when that is not its port's own address, and what limits its port. */
struct snap_application {
	struct str address;             /* IP or unix:/path; p == NULL: the port's own address */
	int64_t port;
	int64_t cluster;                /* whose limits hold; index into snap.clusters, -1: none */
};

/* One port of a local workload. */
struct snap_inbound {
	int64_t workload;               /* index into snap.workloads */
	struct str address;             /* where the application listens: IP or unix:/path */
	int64_t port;
	int protocol;                   /* enum snap_protocol */
	int mtls;                       /* enum snap_mtls, effective for this port */
	struct str policy;              /* PeerAuthentication that decided: "default-strict-mtls.default", "" */
	SNAP_LIST(struct snap_service_ref) services;    /* services that select it through this port */
	struct snap_application *application;   /* what a Sidecar says of it, NULL: nothing */
	bool captured;                  /* connections to the port, at any address of the host, may come redirected */
};

/* SNI on the mesh port → where it leads. Both forms are compiled in:
 *   "inbound_.8001_.my-app-v1_.my-app.default.svc.cluster.local"   one workload's port (proxies use it)
 *   "outbound_.80_.v1_.my-app.default.svc.cluster.local"           Istio's form: any local endpoint */
struct snap_sni {
	struct str name;                /* lower case */
	struct int_list targets;        /* indexes into snap.inbounds, at least one */
	int64_t service;                /* index into that inbound's services (same for all targets), -1 */
};

/* A local workload that this proxy serves: it calls through a view and is called through inbounds. */
struct snap_workload {
	int64_t peer;                   /* index into snap.peers */
	int64_t identity;               /* index into snap.identities */
	int64_t view;                   /* index into snap.views */
	struct str unit, user;          /* how the kernel proves it: cgroup of the unit, else uid */
	/*
	 * The program that it must be besides, and its SHA-256 in hex; "": any. Who owns a TCP
	 * connection the kernel tells by user and cgroup alone: such a workload is never its caller.
	 */
	struct str executable, executable_sha256;
	struct int_list policies;       /* indexes into snap.policies that are for this workload */
	struct int_list jwt_rules;      /* and into snap.jwt_rules */
	bool ambiguous_paths;           /* allowed although path rules are in force */
	int64_t authorizer;             /* for CUSTOM: index into snap.authorizers + 1; 0: nobody */
};

/* ---- listeners ------------------------------------------------------------------------------------ */
enum snap_listener_kind {
	SNAP_LISTENER_HTTP_PROXY,       /* mesh.proxyHttpPort: absolute-form and Host-routed */
	SNAP_LISTENER_OUTBOUND,         /* node.outboundPort: redirected, original destination */
	SNAP_LISTENER_INBOUND,          /* node.inboundPort: redirected, original destination */
	SNAP_LISTENER_MESH,             /* node.meshPort: mTLS, dispatched by SNI */
	SNAP_LISTENER_TCP,              /* Service.ports[].listen: explicit entry for one TCP service port */
	SNAP_LISTENER_PORT,             /* Sidecar.egress: HTTP by Host, to services of its own port number */
	SNAP_LISTENER_READY,            /* node.readyPort */
	SNAP_LISTENER_GATEWAY,          /* a Gateway server */
	SNAP_LISTENER_KIND__N
};
/* One TLS server of a gateway's port: it is chosen by the SNI, as a vhost is by its domains. */
struct snap_server {
	struct str_list hosts;          /* lower case; "*" is also for clients that name none */
	/*
	 * SIMPLE, MUTUAL (cert, key and ca are needed); ISTIO_MUTUAL: as the gateway's own identity;
	 * DISABLE: TLS does not end here, its bytes go on.
	 */
	struct snap_tls tls;
	bool opaque;                    /* what comes is bytes, led by the view's l4; else HTTP */
	bool optional_client;           /* MUTUAL: a client may come without a certificate */
	/* A client's certificate is one of these, by SHA-256 of its public key or of itself; both empty: any. */
	struct str_list spki, hashes;   /* lower-case hex */
	bool tls13, tls12;              /* only that version */
	struct str ciphers;             /* for TLS 1.2: OpenSSL's list, "" ours */
	struct str at;                  /* "mesh.d/edge.conf:3:5", for messages */
	int64_t view;                   /* what requests through it see: never another server's */
};
struct snap_listener {
	int kind;                       /* enum snap_listener_kind */
	struct str address;
	int64_t port;                   /* 0: let the kernel choose (tests) */
	bool optional;                  /* the host may have no such address: then it is left out */
	struct str service;             /* SNAP_LISTENER_TCP: FQDN and port of the service */
	int64_t service_port;           /* gateways: by which number clients and routes know it; 0: port */
	int64_t view;                   /* gateways: their own view; else -1 */
	bool opaque;                    /* gateways without servers: bytes, led by the view's l4; else HTTP */
	SNAP_LIST(struct snap_server) servers;  /* gateways: n > 0: the port speaks TLS */
};

/* ---- the whole --------------------------------------------------------------------------------------- */
/* What a gateway does with X-Forwarded-Client-Cert; "proved": when the client has shown a certificate. */
enum snap_client_cert {
	SNAP_CLIENT_CERT_SANITIZE_SET,  /* the client's word goes, what is proved stands instead */
	SNAP_CLIENT_CERT_SANITIZE, SNAP_CLIENT_CERT_FORWARD_ONLY, SNAP_CLIENT_CERT_APPEND_FORWARD,
	SNAP_CLIENT_CERT_ALWAYS_FORWARD_ONLY, SNAP_CLIENT_CERT__N
};

struct snap_settings {
	struct str trust_domain;        /* "cluster.local" */
	struct str domain_suffix;       /* "cluster.local" */
	struct str cluster;             /* mesh.clusterName */
	struct str node;                /* node.name */
	bool refuse_unregistered;       /* node.unregisteredCallers = "refuse" */
	int path_normalization;         /* in enum url_normalize's order; names in snap_normalize_names */
	int64_t detection_timeout_us;   /* sniffing, never longer than 50 ms */
	struct str access_log;          /* "" off, "/dev/stdout" journal, or a path */
	bool access_log_json;
	struct str access_log_format;   /* "" the default */
	int64_t workers;                /* 0: CPU quota */
	int64_t max_connections;        /* per listener; security-model L4 */
	int64_t max_header_bytes, max_body_bytes;       /* 0: default, none */
	int64_t header_timeout_us, idle_timeout_us, stream_idle_timeout_us, drain_us;
	int64_t dns_refresh_us;         /* of names without a time to live; 0: a minute */
	int64_t retry_body_bytes;       /* request body kept for retries, default 64 KiB */
	/* of the whole process; 0: what the machine has, see proxy/overload.h */
	int64_t max_memory_bytes, max_total_connections, max_handshakes, max_handshakes_per_source;
	bool edge;                      /* clients are outside the mesh: narrower windows (L8) */
	int64_t trusted_proxies;        /* in front of gateways: whose X-Forwarded-For is believed */
	bool proxy_protocol;            /* clients of gateways come with a PROXY header */
	int client_cert;                /* enum snap_client_cert: X-Forwarded-Client-Cert at gateways */
};

struct snap {
	/* in the message */
	int64_t version;                /* generation, grows; 0 none */
	struct str proxy;               /* instance: "node", "ingressgateway", … */
	struct snap_settings settings;
	SNAP_LIST(struct snap_listener) listeners;
	struct str_list identities;     /* SPIFFE IDs that this proxy needs; [0] is the node's own */
	SNAP_LIST(struct snap_peer) peers;
	SNAP_LIST(struct snap_workload) workloads;      /* [0] is the node itself (unregistered callers) */
	SNAP_LIST(struct snap_view) views;
	SNAP_LIST(struct snap_cluster) clusters;
	SNAP_LIST(struct snap_inbound) inbounds;
	SNAP_LIST(struct snap_sni) snis;
	SNAP_LIST(struct snap_policy) policies;
	SNAP_LIST(struct snap_jwt_rule) jwt_rules;
	SNAP_LIST(struct snap_authorizer) authorizers;
	struct snap_residency *residency;       /* NULL: data may go anywhere */
	/* not in the message */
	struct arena arena;
	unsigned refs;                  /* atomic */
	uint64_t hash;                  /* of everything but version */
	size_t bytes;                   /* of that as a message */
};

extern const struct bind_table snap_table;
/* The words of the enums in the message, by value; NULL-ended. */
extern const char *const snap_match_kind_names[], *const snap_derive_port_names[],
	*const snap_action_names[], *const snap_outbound_names[], *const snap_protocol_names[],
	*const snap_lb_names[], *const snap_http2_names[], *const snap_tls_mode_names[], *const snap_cluster_kind_names[],
	*const snap_hash_source_names[], *const snap_mtls_names[], *const snap_listener_kind_names[],
	*const snap_normalize_names[], *const snap_client_cert_names[];

/* Does the endpoint prove an identity of the mesh when it is dialled as the cluster says? */
static inline bool snap_is_mesh_leg(const struct snap_cluster *c, const struct snap_endpoint *e)
{
	return c->tls.mode == SNAP_TLS_ISTIO_MUTUAL || (c->tls.mode == SNAP_TLS_AUTO && e->mesh_port > 0);
}

/* An empty snap with one reference; fill it from its own arena. */
struct snap *snap_new(void);
struct snap *snap_ref(struct snap *s);          /* any thread */
void snap_unref(struct snap *s);                /* any thread */
/* Parse and validate: indexes, enum ranges, totals, limits. The sentence names the member. */
int snap_load(struct str json, struct snap **ret, struct err *err);
/* The same of a message that was read already; without its hash. */
int snap_read(const struct doc *d, struct snap **ret, struct err *err);
/* A copy that owns all it holds, checked like a loaded one: of what borrows its parts. */
int snap_copy(const struct snap *s, struct snap **ret, struct err *err);
/* Indexes, totals and names between the parts; snap_load has done it. */
int snap_check(const struct snap *s, struct err *err);
/* One line of JSON, the same bytes for the same content. In the arena given. */
struct str snap_dump(const struct snap *s, struct arena *a, bool pretty);
/* Content hash, version left out: two equal ones need no push. */
uint64_t snap_content_hash(const struct snap *s);
