/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_mesh: kvmesh.conf and its drop-ins: mesh (Istio's MeshConfig), node, ca, metrics,
 * dashboard, limits. Every member holds its effective value: the default where nothing was
 * written. Layer config; included by model.h. Members carry the setting's names (see
 * model_traffic.h).
 */
#pragma once

#include "config/model_net.h"
#include "config/model_policy.h"

/* ---- mesh = { … } -------------------------------------------------------------------------- */
struct model_mode {
	int mode;
};
enum model_mesh_outbound {              /* MeshConfig.OutboundTrafficPolicy.Mode */
	MODEL_MESH_REGISTRY_ONLY, MODEL_MESH_ALLOW_ANY, MODEL_MESH_ALLOW_ANY_DYNAMIC_DNS
};
enum model_mesh_inbound { MODEL_INBOUND_PASSTHROUGH, MODEL_INBOUND_LOCALHOST };
enum model_access_log_encoding { MODEL_LOG_TEXT, MODEL_LOG_JSON };
enum model_path_normalization {
	MODEL_PATH_NORM_DEFAULT,
	MODEL_PATH_NORM_NONE,
	MODEL_PATH_NORM_BASE,
	MODEL_PATH_NORM_MERGE_SLASHES,
	MODEL_PATH_NORM_DECODE_AND_MERGE_SLASHES
};
struct model_path_normalization_setting {
	int normalization;              /* enum model_path_normalization */
};
enum model_mesh_tls_version { MODEL_MESH_TLS_AUTO, MODEL_MESH_TLS_V1_2, MODEL_MESH_TLS_V1_3 };
struct model_tls_config {
	int minProtocolVersion;         /* enum model_mesh_tls_version */
	struct str_list ecdhCurves, cipherSuites;
};
struct model_ca_certificate {
	struct str pem, spiffeBundleUrl;
	struct str_list certSigners, trustDomains;
};
struct model_default_providers {
	struct str_list tracing, metrics, accessLogging;
};
struct model_default_traffic_policy {
	struct model_connection_pool *connectionPool;
	struct model_outlier_detection *outlierDetection;
};
struct model_gateway_topology {
	int64_t numTrustedProxies;
	int forwardClientCertDetails;   /* index into Istio's list, 0 UNDEFINED */
	struct doc *proxyProtocol;
};
struct model_proxy_config {             /* MeshConfig.defaultConfig */
	int64_t concurrency;            /* worker threads; 0: the CPU quota */
	int64_t drainDuration, terminationDrainDuration, statusPort, proxyAdminPort;
	bool holdApplicationUntilProxyStarts;
	int interceptionMode;           /* 0 REDIRECT, 1 TPROXY, 2 NONE */
	int tracingServiceName;
	struct model_gateway_topology *gatewayTopology;
	struct model_probe *readinessProbe;
	struct str statsdUdpAddress, meshId;
	struct str_list extraStatTags, caCertificatesPem;
	struct doc *tracing, *proxyHeaders, *connectionSettings;
	struct doc *unused;             /* what is accepted without a meaning */
};
struct model_http_header {
	struct str name, value, envName;
};
struct model_check_body {
	int64_t maxRequestBytes;
	bool allowPartialMessage, packAsBytes;
};
/* Over HTTP or gRPC, which has fewer of the fields. */
struct model_ext_authz {
	struct str service, pathPrefix, statusOnError;
	int64_t port, timeout;
	bool failOpen, clearRouteCache;
	struct str_list includeHeadersInCheck, includeRequestHeadersInCheck;
	struct str_list headersToUpstreamOnAllow, headersToDownstreamOnDeny,
		headersToDownstreamOnAllow;
	struct labels includeAdditionalHeadersInCheck;
	struct model_check_body *includeRequestBodyInCheck;
};
struct model_zipkin {
	struct str service, path;
	int64_t port, maxTagLength, timeout;
	bool enable64bitTraceId;
	int traceContextOption;         /* 0 USE_B3, 1 USE_B3_WITH_W3C_PROPAGATION */
	MODEL_LIST(struct model_http_header) headers;
};
struct model_otel_http {
	struct str path;
	int64_t timeout;
	MODEL_LIST(struct model_http_header) headers;
};
struct model_otel_grpc {
	int64_t timeout;
	MODEL_LIST(struct model_http_header) initialMetadata;
};
struct model_opentelemetry {
	struct str service;
	int64_t port, maxTagLength;
	struct model_otel_http *http;
	struct model_otel_grpc *grpc;
	struct doc *resourceDetectors, *serviceAttributeEnrichment;
	struct doc *refused;            /* never set */
};
struct model_log_format {
	struct str text;
	struct doc *labels;
};
struct model_file_access_log {
	struct str path;
	struct model_log_format *logFormat;
	bool omitEmptyValues;
};
struct model_extension_provider {
	struct origin at;
	struct str name;
	struct model_ext_authz *envoyExtAuthzHttp, *envoyExtAuthzGrpc;
	struct model_zipkin *zipkin;
	struct model_opentelemetry *opentelemetry;
	struct model_file_access_log *envoyFileAccessLog;
	struct doc *prometheus;         /* an empty message */
	struct doc *refused;            /* never set */
};
/* NULL: it is no authorizer. */
static inline const struct model_ext_authz *model_ext_authz_of(const struct model_extension_provider *p)
{
	return p->envoyExtAuthzHttp ? p->envoyExtAuthzHttp : p->envoyExtAuthzGrpc;
}
struct model_mesh_config {
	struct str trustDomain;         /* "cluster.local" */
	struct str_list trustDomainAliases;
	struct str domainSuffix;        /* ours: "cluster.local" */
	struct str rootNamespace;       /* "kvmesh-system" */
	struct str_list rootNamespaceAliases;   /* ours: [ "istio-system" ] */
	struct str clusterName;         /* ours: "kvmesh" */
	int64_t proxyHttpPort;          /* 15080; 0 off */
	/* 0: see node.outboundPort, node.inboundPort */
	int64_t proxyListenPort, proxyInboundListenPort;
	int64_t connectTimeout;         /* 10s */
	int64_t protocolDetectionTimeout;       /* 50ms, also the most */
	struct model_tcp_keepalive *tcpKeepalive;
	bool enableTracing;
	struct str accessLogFile, accessLogFormat;      /* "" off, "" built-in */
	int accessLogEncoding;          /* enum model_access_log_encoding */
	struct model_proxy_config defaultConfig;
	struct model_mode outboundTrafficPolicy;        /* enum model_mesh_outbound: ALLOW_ANY */
	struct model_mode inboundTrafficPolicy;         /* enum model_mesh_inbound */
	bool enableAutoMtls;            /* true */
	MODEL_LIST(struct model_ca_certificate) caCertificates;
	/* n == 0: everywhere */
	struct str_list defaultServiceExportTo, defaultVirtualServiceExportTo,
		defaultDestinationRuleExportTo;
	struct model_locality_lb *localityLbSetting;
	int64_t dnsRefreshRate;         /* 60s */
	int h2UpgradePolicy;            /* 0 DO_NOT_UPGRADE, 1 UPGRADE */
	bool enablePrometheusMerge, verifyCertificateAtClient;
	struct doc *ca, *configSources;
	MODEL_LIST(struct model_extension_provider) extensionProviders;
	struct model_default_providers *defaultProviders;
	struct model_path_normalization_setting pathNormalization;
	struct model_http_retry *defaultHttpRetryPolicy; /* NULL: Istio's built-in (rule 2.5.4) */
	struct model_tls_config *meshMTLS, *tlsDefaults;
	struct model_default_traffic_policy *defaultTrafficPolicy;
	struct doc *zoneAwareLbSetting, *serviceEntryVisibility;
	struct doc *unused;             /* what is accepted without a meaning */
};

/* ---- node, ca, metrics, dashboard, limits, router ------------------------------------------ */
enum model_unregistered { MODEL_UNREGISTERED_NODE, MODEL_UNREGISTERED_REFUSE };
enum model_same_node { MODEL_SAME_NODE_MTLS, MODEL_SAME_NODE_LOCAL };
struct model_node {
	struct str name;                /* host name */
	struct str address;             /* 127.0.0.1: what other nodes dial */
	struct str locality, network;   /* "" */
	int64_t meshPort, outboundPort, inboundPort, dnsPort, readyPort;        /* 0: off */
	struct str meshBind;            /* "0.0.0.0": address of the mesh port */
	struct str localBind;           /* "127.0.0.1": address of every other port */
	int unregisteredCallers;        /* enum model_unregistered */
	int sameNode;                   /* enum model_same_node */
};
struct model_ca_settings {
	int64_t rootValidity, intermediateValidity, workloadValidity;   /* 10 years, 1 year, 24h */
	int64_t tokenValidity, tokenKeyValidity;        /* 5m, 168h: of the CA's tokens (JWT SVIDs) */
	int64_t signPerSecond, signBurst;       /* per user; security-model L15 */
};
struct model_metrics_settings {
	struct str listen;              /* "127.0.0.1:15090"; port 0 or "" off */
	int64_t scrapeInterval;
	struct str retention;
};
struct model_dashboard_settings {
	struct str listen;              /* "127.0.0.1:20001"; port 0 or "" off */
};
struct model_limits {
	int64_t maxConnections;         /* per listener */
	int64_t maxHeaderBytes, maxBodyBytes;   /* maxBodyBytes 0: none */
	int64_t headerTimeout, idleTimeout, gatewayIdleTimeout, streamIdleTimeout, drainTimeout;
	int64_t retryBodyBytes;
	/* 0: what the machine has */
	int64_t maxMemoryBytes, maxTotalConnections, maxHandshakes, maxHandshakesPerSource;
};
struct model_router_settings {
	struct str address;
};
enum model_unknown_country { MODEL_UNKNOWN_REFUSE, MODEL_UNKNOWN_ALLOW };
struct model_egress_range {
	struct origin at;
	struct str cidr, country, operator;
};
struct model_egress_policy {            /* NULL in struct model_mesh: data may go anywhere */
	struct str_list allowCountries;
	int unknown;                    /* enum model_unknown_country */
	bool audit;
	struct str database;            /* "" none */
	MODEL_LIST(struct model_egress_range) ranges;
};

struct model_mesh {
	struct model_mesh_config mesh;
	struct model_node node;
	struct model_ca_settings ca;
	struct model_metrics_settings metrics;
	struct model_dashboard_settings dashboard;
	struct model_limits limits;
	struct model_router_settings router;
	struct model_egress_policy *egressPolicy;
	const struct doc *doc; /* what was written, merged and canonical, with origins; a map */
};
