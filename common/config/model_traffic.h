/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_traffic: VirtualService and DestinationRule as structs. Layer config; included by model.h.
 * Members are named exactly as Istio's fields (camelCase), so that field tables and structs cannot
 * drift apart; that is the one exception from snake_case. Presence follows doc/bind.h: a str is
 * absent when p == NULL, a pointer when NULL; has_x tells it for scalars. Durations are
 * microseconds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/model_resource.h"

/* ---- shared pieces ----------------------------------------------------------------------- */
struct model_string_match {             /* at most one is present; none: matches anything */
	struct str exact, prefix, regex;
};
struct model_named_match {              /* entry of a map name → StringMatch */
	struct str key;
	struct model_string_match match;        /* all three absent, or exact "": "is present" */
};
struct model_port_selector {
	int64_t number;                 /* 0: not given */
};
struct model_destination {
	struct origin at;
	struct str host, subset;
	struct model_port_selector *port;
	struct str fqdn;                /* filled by load: what host means */
};
struct model_percent {
	double value;                   /* 0…100 */
};
struct model_workload_selector {        /* networking's form */
	struct labels labels;
};

/* ---- VirtualService ---------------------------------------------------------------------- */
struct model_header_operations {
	struct origin at;
	struct labels set, add;
	struct str_list remove;
};
struct model_headers {
	struct model_header_operations *request, *response;
};

struct model_http_match {
	struct origin at;
	struct str name;
	struct model_string_match *uri, *scheme, *method, *authority;
	MODEL_LIST(struct model_named_match) headers, withoutHeaders, queryParams;
	int64_t port;                   /* 0: any */
	struct labels sourceLabels;
	struct str_list gateways;       /* n == 0: those of the VirtualService */
	bool ignoreUriCase;
	struct str sourceNamespace, statPrefix;
};
struct model_http_route_destination {
	struct origin at;
	struct model_destination *destination;
	int64_t weight;
	bool has_weight;
	struct model_headers *headers;
};
enum model_redirect_port { MODEL_REDIRECT_FROM_PROTOCOL_DEFAULT, MODEL_REDIRECT_FROM_REQUEST_PORT };
struct model_http_redirect {
	struct origin at;
	struct str uri, authority, scheme, prefixRewrite;
	int64_t port, redirectCode;     /* redirectCode 0: 301 */
	int derivePort;                 /* enum model_redirect_port */
	bool has_derivePort, has_port;
};
struct model_http_body {
	struct str string, bytes;       /* bytes: base64 as written */
	struct str text;                /* filled by load: the body itself, whichever was written */
};
struct model_http_direct_response {
	struct origin at;
	int64_t status;
	struct model_http_body *body;
};
struct model_delegate {
	struct str name;
	struct str namespace;
};
struct model_regex_rewrite {
	struct origin at;
	struct str match, rewrite;
};
struct model_http_rewrite {
	struct origin at;
	struct str uri, authority;
	struct model_regex_rewrite *uriRegexRewrite;
};
struct model_http_retry {
	struct origin at;
	int64_t attempts;               /* 0: none */
	int64_t perTryTimeout, backoff;
	bool has_attempts, has_perTryTimeout, has_backoff;
	struct str retryOn;
	bool retryRemoteLocalities, has_retryRemoteLocalities;
	bool retryIgnorePreviousHosts, has_retryIgnorePreviousHosts;    /* absent: true */
};
struct model_fault_delay {
	struct origin at;
	int64_t percent;
	bool has_percent;
	int64_t fixedDelay, exponentialDelay;
	struct model_percent *percentage;
};
struct model_fault_abort {
	struct origin at;
	int64_t httpStatus;
	bool has_httpStatus;
	struct str grpcStatus, http2Error;
	struct model_percent *percentage;
};
struct model_http_fault {
	struct origin at;
	struct model_fault_delay *delay;
	struct model_fault_abort *abort;
};
struct model_http_mirror {
	struct origin at;
	struct model_destination *destination;
	struct model_percent *percentage;       /* NULL: 100 */
};
enum model_unmatched_preflights {
	MODEL_PREFLIGHT_UNSPECIFIED,
	MODEL_PREFLIGHT_FORWARD,
	MODEL_PREFLIGHT_IGNORE
};
struct model_cors_origin {
	struct origin at;
	struct str exact, prefix, regex;
};
struct model_cors_policy {
	struct origin at;
	struct str_list allowOrigin;
	MODEL_LIST(struct model_cors_origin) allowOrigins;
	struct str_list allowMethods, allowHeaders, exposeHeaders;
	int64_t maxAge;
	bool has_maxAge;
	bool allowCredentials, has_allowCredentials;
	int unmatchedPreflights;        /* enum model_unmatched_preflights */
};
struct model_http_route {
	struct origin at;
	struct str name;
	MODEL_LIST(struct model_http_match) match;      /* OR; n == 0: everything */
	MODEL_LIST(struct model_http_route_destination) route;
	struct model_http_redirect *redirect;
	struct model_http_direct_response *directResponse;
	struct model_delegate *delegate;
	struct model_http_rewrite *rewrite;
	int64_t timeout;                /* 0: none */
	struct model_http_retry *retries;
	struct model_http_fault *fault;
	struct model_destination *mirror;
	MODEL_LIST(struct model_http_mirror) mirrors;
	int64_t mirrorPercent;
	bool has_mirrorPercent;
	struct model_percent *mirrorPercentage;
	struct model_cors_policy *corsPolicy;
	struct model_headers *headers;
};

struct model_route_destination {        /* tcp and tls */
	struct origin at;
	struct model_destination *destination;
	int64_t weight;
	bool has_weight;
};
struct model_l4_match {
	struct origin at;
	struct str_list destinationSubnets;
	int64_t port;                   /* 0: any */
	struct str sourceSubnet;
	struct labels sourceLabels;
	struct str_list gateways;
	struct str sourceNamespace;
};
struct model_tcp_route {
	struct origin at;
	MODEL_LIST(struct model_l4_match) match;
	MODEL_LIST(struct model_route_destination) route;
};
struct model_tls_match {
	struct origin at;
	struct str_list sniHosts, destinationSubnets;
	int64_t port;                   /* 0: any */
	struct labels sourceLabels;
	struct str_list gateways;
	struct str sourceNamespace;
};
struct model_tls_route {
	struct origin at;
	MODEL_LIST(struct model_tls_match) match;
	MODEL_LIST(struct model_route_destination) route;
};
struct model_virtual_service {
	struct model_resource r;
	struct str_list hosts;
	struct str_list fqdns;          /* filled by load: what hosts mean, parallel */
	struct str_list gateways;       /* n == 0: mesh */
	MODEL_LIST(struct model_http_route) http;
	MODEL_LIST(struct model_tls_route) tls;
	MODEL_LIST(struct model_tcp_route) tcp;
	struct str_list exportTo;       /* n == 0: mesh.defaultVirtualServiceExportTo */
};

/* ---- DestinationRule --------------------------------------------------------------------- */
enum model_lb {                         /* LoadBalancerSettings.SimpleLB */
	MODEL_LB_UNSPECIFIED, MODEL_LB_LEAST_CONN, MODEL_LB_RANDOM, MODEL_LB_PASSTHROUGH,
	MODEL_LB_ROUND_ROBIN, MODEL_LB_LEAST_REQUEST,
	MODEL_LB_EWMA                   /* kvmesh's own */
};
struct model_cookie_attribute {
	struct str name, value;
};
struct model_http_cookie {
	struct str name, path;
	int64_t ttl;
	bool has_ttl;
	MODEL_LIST(struct model_cookie_attribute) attributes;
};
struct model_ring_hash {
	int64_t minimumRingSize;
};
struct model_maglev {
	int64_t tableSize;
};
struct model_consistent_hash {
	struct origin at;
	struct str httpHeaderName, httpQueryParameterName;
	struct model_http_cookie *httpCookie;
	bool useSourceIp;
	int64_t minimumRingSize;
	bool has_minimumRingSize;
	struct model_ring_hash *ringHash;
	struct model_maglev *maglev;
};
struct model_locality_distribute {
	struct origin at;
	struct str from;
	struct doc *to;                 /* as written; read toWeights */
	struct model_int_map toWeights; /* filled by load */
};
struct model_locality_failover {
	struct origin at;
	struct str from, to;
};
struct model_locality_lb {
	struct origin at;
	MODEL_LIST(struct model_locality_distribute) distribute;
	MODEL_LIST(struct model_locality_failover) failover;
	struct str_list failoverPriority;
	bool enabled, has_enabled;
};
struct model_zone_aware_lb {
	bool enabled, has_enabled;
	MODEL_LIST(struct model_locality_failover) failover;
	struct str_list failoverPriority;
	int64_t minClusterSize;
};
struct model_warmup {
	struct origin at;
	int64_t duration;
	double minimumPercent, aggression;
	bool has_minimumPercent, has_aggression;
};
struct model_load_balancer {
	struct origin at;
	int simple;                     /* enum model_lb */
	bool has_simple;
	struct model_consistent_hash *consistentHash;
	struct model_locality_lb *localityLbSetting;
	int64_t warmupDurationSecs;     /* microseconds all the same */
	struct model_warmup *warmup;
	struct model_zone_aware_lb *zoneAwareLbSetting;
};

struct model_tcp_keepalive {
	int64_t probes, time, interval; /* 0: the kernel's */
};
struct model_tcp_settings {
	struct origin at;
	int64_t maxConnections;         /* 0: unlimited */
	int64_t connectTimeout;
	bool has_connectTimeout;
	struct model_tcp_keepalive *tcpKeepalive;
	int64_t maxConnectionDuration;
	bool has_maxConnectionDuration;
	int64_t idleTimeout;
	bool has_idleTimeout;
};
enum model_h2_upgrade {
	MODEL_H2_UPGRADE_DEFAULT,
	MODEL_H2_UPGRADE_DO_NOT_UPGRADE,
	MODEL_H2_UPGRADE_UPGRADE
};
struct model_h2_keepalive {
	int64_t interval, timeout;
};
struct model_http_settings {
	struct origin at;
	/* 0: unlimited */
	int64_t http1MaxPendingRequests, http2MaxRequests, maxRequestsPerConnection, maxRetries;
	int64_t idleTimeout;
	bool has_idleTimeout;
	int h2UpgradePolicy;            /* enum model_h2_upgrade */
	bool useClientProtocol;
	int64_t maxConcurrentStreams;
	struct model_h2_keepalive *http2KeepAlive;
};
struct model_connection_pool {
	struct origin at;
	struct model_tcp_settings *tcp;
	struct model_http_settings *http;
};
struct model_outlier_detection {
	struct origin at;
	int64_t consecutiveErrors;
	bool has_consecutiveErrors;
	bool splitExternalLocalOriginErrors;
	int64_t consecutiveLocalOriginFailures, consecutiveGatewayErrors, consecutive5xxErrors;
	bool has_consecutiveLocalOriginFailures, has_consecutiveGatewayErrors,
		has_consecutive5xxErrors;
	int64_t interval, baseEjectionTime;
	bool has_interval, has_baseEjectionTime;
	int64_t maxEjectionPercent, minHealthPercent;
	bool has_maxEjectionPercent;
	struct int_list outlierDetectionHttpErrorCodes;
};
enum model_client_tls_mode {            /* ClientTLSSettings.TLSmode */
	MODEL_CLIENT_TLS_DISABLE, MODEL_CLIENT_TLS_SIMPLE, MODEL_CLIENT_TLS_MUTUAL,
	MODEL_CLIENT_TLS_ISTIO_MUTUAL
};
struct model_client_tls {
	struct origin at;
	int mode;                       /* enum model_client_tls_mode */
	struct str clientCertificate, privateKey, caCertificates, credentialName;
	struct str_list subjectAltNames;
	struct str sni;
	bool insecureSkipVerify, has_insecureSkipVerify;
	struct str caCrl;
};
struct model_port_traffic_policy {
	struct origin at;
	struct model_port_selector *port;
	struct model_load_balancer *loadBalancer;
	struct model_connection_pool *connectionPool;
	struct model_outlier_detection *outlierDetection;
	struct model_client_tls *tls;
};
struct model_tunnel {
	struct origin at;
	struct str protocol, targetHost;
	int64_t targetPort;
};
enum model_proxy_protocol_version { MODEL_PROXY_PROTOCOL_V1, MODEL_PROXY_PROTOCOL_V2 };
struct model_proxy_protocol {
	int version;                    /* enum model_proxy_protocol_version */
};
struct model_retry_budget {
	double percent;
	bool has_percent;
	int64_t minRetryConcurrency, budgetInterval;
};
struct model_traffic_policy {
	struct origin at;
	struct model_load_balancer *loadBalancer;
	struct model_connection_pool *connectionPool;
	struct model_outlier_detection *outlierDetection;
	struct model_client_tls *tls;
	MODEL_LIST(struct model_port_traffic_policy) portLevelSettings;
	struct model_tunnel *tunnel;
	struct model_proxy_protocol *proxyProtocol;
	struct model_retry_budget *retryBudget;
};
struct model_subset {
	struct origin at;
	struct str name;
	struct labels labels;
	struct model_traffic_policy *trafficPolicy;
};
struct model_match_labels {             /* security's and telemetry's WorkloadSelector */
	struct origin at;
	struct labels matchLabels;
};
struct model_destination_rule {
	struct model_resource r;
	struct str host;
	struct str fqdn;                /* filled by load: what host means */
	struct model_traffic_policy *trafficPolicy;
	MODEL_LIST(struct model_subset) subsets;
	struct str_list exportTo;       /* n == 0: mesh.defaultDestinationRuleExportTo */
	struct model_match_labels *workloadSelector;    /* of clients */
};
