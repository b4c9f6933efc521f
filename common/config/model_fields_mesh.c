/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of kvmesh.conf. Layer config.
 * From them come reading, writing, the manual (explain) and the list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_mesh_config
static const struct field mesh_config_fields[] = {
	{ F_STR(T, trustDomain), .flags = FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "First part of every identity (default cluster.local)" },
	{ F_STR_LIST(T, trustDomainAliases), P1, SINCE("1.8"),
	  NOT_YET("only the trust domain itself is accepted"),
	  .help = "Older trust domains that are accepted as well" },
	{ F_STR(T, domainSuffix), .flags = FIELD_NONEMPTY, OURS,
	  .help = "Last part of service names: NAME.NS.svc.SUFFIX (default cluster.local)" },
	{ F_STR(T, rootNamespace), .flags = FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Namespace whose policies are for the whole mesh (default kvmesh-system)" },
	{ F_STR_LIST(T, rootNamespaceAliases), OURS,
	  .help = "Other names of the root namespace (default istio-system)" },
	{ F_STR(T, clusterName), OURS,
	  .help = "Value of the cluster labels in metrics (default kvmesh)" },
	{ F_INT(T, proxyHttpPort, 0, 65535), P2, SINCE("1.8"),
	  .help = "Explicit HTTP proxy on node.localBind; 0: off (default 15080)" },
	{ F_INT(T, proxyListenPort, 0, 65535), P1, SINCE("1.8"),
	  .help = "Istio's name for node.outboundPort" },
	{ F_INT(T, proxyInboundListenPort, 0, 65535), P1, SINCE("1.18"),
	  .help = "Istio's name for node.inboundPort" },
	{ F_TIME(T, connectTimeout), P1, SINCE("1.8"),
	  .help = "Time for an upstream connection to be made (default 10s)" },
	{ F_TIME(T, protocolDetectionTimeout), P1, SINCE("1.8"),
	  .help = "Longest wait for a client's first bytes; never more than 50ms (default "
	          "50ms)" },
	{ F_PTR(T, tcpKeepalive, model_tcp_keepalive_table), P2, SINCE("1.8"),
	  .help = "Default of connectionPool.tcp.tcpKeepalive (default: the kernel's)" },
	{ F_BOOL(T, enableTracing), P2, SINCE("1.8"),
	  NOT_YET("no spans are made yet"),
	  .help = "Make trace spans (default true)" },
	{ F_STR(T, accessLogFile), P1, SINCE("1.8"),
	  .help = "Where the access log goes: /dev/stdout (the journal), a path, \"\" off "
	          "(default off)" },
	{ F_STR(T, accessLogFormat), P1, SINCE("1.8"),
	  .help = "Format with %OPERATORS%, text or JSON (default: Istio's)" },
	{ F_ENUM(T, accessLogEncoding, model_log_encoding_names), P1, SINCE("1.8"),
	  .help = "TEXT or JSON (default TEXT)" },
	{ F_STRUCT(T, defaultConfig, model_proxy_config_table), P1, SINCE("1.8"),
	  .help = "Defaults of every proxy" },
	{ F_STRUCT(T, outboundTrafficPolicy, model_mode_outbound_table), P1, SINCE("1.8"),
	  .help = "What happens to destinations outside the registry" },
	{ F_STRUCT(T, inboundTrafficPolicy, model_mode_inbound_table), P2, SINCE("1.22"),
	  NOT_YET("there is no captured inbound traffic yet"),
	  .help = "Where traffic to undeclared ports goes" },
	{ F_BOOL(T, enableAutoMtls), P1, SINCE("1.8"),
	  .help = "mTLS towards every endpoint that takes it, without a DestinationRule "
	          "(default true)" },
	{ F_LIST(T, caCertificates, model_ca_certificate_table), P2, SINCE("1.10"),
	  NOT_YET("only the mesh's own authority is trusted"),
	  .help = "Further roots of peers" },
	{ F_STR_LIST(T, defaultServiceExportTo), P2, SINCE("1.8"),
	  .help = "Default of ServiceEntry.exportTo (default \"*\")" },
	{ F_STR_LIST(T, defaultVirtualServiceExportTo), P2, SINCE("1.8"),
	  .help = "Default of VirtualService.exportTo (default \"*\")" },
	{ F_STR_LIST(T, defaultDestinationRuleExportTo), P2, SINCE("1.8"),
	  .help = "Default of DestinationRule.exportTo (default \"*\")" },
	{ F_PTR(T, localityLbSetting, model_locality_lb_table), P2, SINCE("1.8"),
	  .help = "Default of loadBalancer.localityLbSetting" },
	{ F_TIME(T, dnsRefreshRate), P1, SINCE("1.8"),
	  .help = "How often names are looked up (default 60s)" },
	{ F_ENUM(T, h2UpgradePolicy, model_mesh_h2_names), P2, SINCE("1.8"),
	  .help = "UPGRADE: HTTP/2 also to endpoints without a proxy (default DO_NOT_UPGRADE)" },
	{ F_BOOL(T, enablePrometheusMerge), P2, SINCE("1.8"),
	  NOT_YET("applications are scraped by themselves"),
	  .help = "Merge the applications' metrics into kvmesh's" },
	{ F_BOOL(T, verifyCertificateAtClient), P2, SINCE("1.8"),
	  NOT_YET("SIMPLE TLS is always verified"),
	  .help = "Verify servers with the system's authorities" },
	{ F_ANY(T, ca), P2, SINCE("1.8"),
	  NOT_YET("kvmesh-ca is the only authority"),
	  .help = "External certificate authority" },
	{ F_ANY(T, configSources), P2, SINCE("1.8"),
	  IGNORED("configuration comes from the files below /etc/kvmesh"),
	  .help = "Where configuration comes from" },
	{ F_LIST(T, extensionProviders, model_extension_provider_table), P2, SINCE("1.8"),
	  .help = "Named tracers, loggers, metrics and authorizers" },
	{ F_PTR(T, defaultProviders, model_default_providers_table), P2, SINCE("1.10"),
	  NOT_YET("no provider is used yet"),
	  .help = "Providers that are used where nothing is said" },
	{ F_STRUCT(T, pathNormalization, model_path_normalization_setting_table), P1,
	  SINCE("1.10"),
	  .help = "How paths are normalised before they are matched" },
	{ F_PTR(T, defaultHttpRetryPolicy, model_http_retry_table), P1, SINCE("1.12"),
	  .help = "Retries of routes that say nothing (default: 2, on Istio's list)" },
	{ F_PTR(T, meshMTLS, model_tls_config_table), P1, SINCE("1.14"),
	  NOT_YET("TLS 1.3 is always used inside the mesh"),
	  .help = "TLS versions and ciphers inside the mesh" },
	{ F_PTR(T, tlsDefaults, model_tls_config_table), P2, SINCE("1.18"),
	  NOT_YET("OpenSSL's defaults are used outside the mesh"),
	  .help = "TLS versions and ciphers outside the mesh" },
	{ F_PTR(T, defaultTrafficPolicy, model_default_traffic_policy_table), P2, SINCE("dev"),
	  NOT_YET("not in a release of Istio yet"),
	  .help = "Default connectionPool and outlierDetection" },
	{ F_ANY(T, unused), .name = "ingressClass", P3, SINCE("1.8"),
	  IGNORED("Kubernetes Ingress"),
	  .help = "Kubernetes Ingress" },
	{ F_ANY(T, unused), .name = "ingressService", P3, SINCE("1.8"),
	  IGNORED("Kubernetes Ingress"),
	  .help = "Kubernetes Ingress" },
	{ F_ANY(T, unused), .name = "ingressControllerMode", P3, SINCE("1.8"),
	  IGNORED("Kubernetes Ingress"),
	  .help = "Kubernetes Ingress" },
	{ F_ANY(T, unused), .name = "ingressSelector", P3, SINCE("1.8"),
	  IGNORED("Kubernetes Ingress"),
	  .help = "Kubernetes Ingress" },
	{ F_ANY(T, unused), .name = "enableEnvoyAccessLogService", P3, SINCE("1.8"),
	  IGNORED("Envoy's own protocol"),
	  .help = "Access logs over Envoy's gRPC protocol" },
	{ F_ANY(T, unused), .name = "disableEnvoyListenerLog", P3, SINCE("1.8"),
	  IGNORED("Envoy's own listener log"),
	  .help = "Suppress Envoy's listener log" },
	{ F_ANY(T, unused), .name = "inboundClusterStatName", P3, SINCE("1.8"),
	  IGNORED("Envoy's own statistics"),
	  .help = "Names of Envoy's statistics" },
	{ F_ANY(T, unused), .name = "outboundClusterStatName", P3, SINCE("1.8"),
	  IGNORED("Envoy's own statistics"),
	  .help = "Names of Envoy's statistics" },
	{ F_ANY(T, unused), .name = "certificates", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' DNS certificates"),
	  .help = "Kubernetes' DNS certificates" },
	{ F_ANY(T, unused), .name = "serviceSettings", P3, SINCE("1.8"),
	  IGNORED("several Kubernetes clusters"),
	  .help = "Services that stay in a cluster" },
	{ F_ANY(T, unused), .name = "serviceScopeConfigs", P3, SINCE("1.27"),
	  IGNORED("several Kubernetes clusters"),
	  .help = "Services that stay in a cluster" },
	{ F_ANY(T, unused), .name = "discoverySelectors", P3, SINCE("1.10"),
	  IGNORED("Kubernetes' namespaces"),
	  .help = "Namespaces that are watched" },
	{ F_ANY(T, unused), .name = "hboneIdleTimeout", P3, SINCE("1.29"),
	  IGNORED("ambient mode only"),
	  .help = "Idle time of HBONE connections" },
	{ F_ANY(T, zoneAwareLbSetting), P3, SINCE("dev"),
	  NOT_YET("not in a release of Istio yet"),
	  .help = "Prefer the own zone" },
	{ F_ANY(T, serviceEntryVisibility), P3, SINCE("dev"),
	  NOT_YET("not in a release of Istio yet"),
	  .help = "Who sees ServiceEntries" },
	F_END
};
const struct bind_table model_mesh_config_table = TABLE("MeshConfig", mesh_config_fields);
#undef T

#define T struct model_mode
static const struct field mode_outbound_fields[] = {
	{ F_ENUM(T, mode, model_mesh_outbound_names), P1, SINCE("1.8"),
	  .help = "REGISTRY_ONLY refuses them, ALLOW_ANY lets them through (default "
	          "ALLOW_ANY)" },
	F_END
};
const struct bind_table model_mode_outbound_table =
	TABLE("OutboundTrafficPolicy", mode_outbound_fields);
#undef T

#define T struct model_mode
static const struct field mode_inbound_fields[] = {
	{ F_ENUM(T, mode, model_mesh_inbound_names), P2, SINCE("1.22"),
	  .help = "PASSTHROUGH or LOCALHOST (default PASSTHROUGH)" },
	F_END
};
const struct bind_table model_mode_inbound_table =
	TABLE("InboundTrafficPolicy", mode_inbound_fields);
#undef T

#define T struct model_path_normalization_setting
static const struct field path_normalization_setting_fields[] = {
	{ F_ENUM(T, normalization, model_path_normalization_names), P1, SINCE("1.10"),
	  .help = "NONE, BASE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES (default BASE)" },
	F_END
};
const struct bind_table model_path_normalization_setting_table =
	TABLE("ProxyPathNormalization", path_normalization_setting_fields);
#undef T

#define T struct model_tls_config
static const struct field tls_config_fields[] = {
	{ F_ENUM(T, minProtocolVersion, model_mesh_tls_names), P1, SINCE("1.14"),
	  .help = "Lowest TLS version" },
	{ F_STR_LIST(T, ecdhCurves), P2, SINCE("1.18"),
	  .help = "Curves for the key exchange" },
	{ F_STR_LIST(T, cipherSuites), P2, SINCE("1.19"),
	  .help = "Cipher suites for TLS 1.2" },
	F_END
};
const struct bind_table model_tls_config_table = TABLE("TLSConfig", tls_config_fields);
#undef T

#define T struct model_ca_certificate
static const struct field ca_certificate_fields[] = {
	{ F_STR(T, pem), ONEOF(1), P2, SINCE("1.10"),
	  .help = "The certificate itself" },
	{ F_STR(T, spiffeBundleUrl), ONEOF(1), P2, SINCE("1.10"),
	  .help = "Where a SPIFFE bundle is" },
	{ F_STR_LIST(T, certSigners), P3, SINCE("1.12"),
	  IGNORED("Kubernetes' certificate signers"),
	  .help = "Kubernetes' certificate signers" },
	{ F_STR_LIST(T, trustDomains), P2, SINCE("1.12"),
	  .help = "Trust domains that it may sign for" },
	F_END
};
const struct bind_table model_ca_certificate_table =
	TABLE("CertificateData", ca_certificate_fields);
#undef T

#define T struct model_default_providers
static const struct field default_providers_fields[] = {
	{ F_STR_LIST(T, tracing), P2, SINCE("1.10"),
	  .help = "Names of tracers" },
	{ F_STR_LIST(T, metrics), P2, SINCE("1.11"),
	  .help = "Names of metrics providers" },
	{ F_STR_LIST(T, accessLogging), P2, SINCE("1.11"),
	  .help = "Names of loggers" },
	F_END
};
const struct bind_table model_default_providers_table =
	TABLE("DefaultProviders", default_providers_fields);
#undef T

#define T struct model_default_traffic_policy
static const struct field default_traffic_policy_fields[] = {
	{ F_PTR(T, connectionPool, model_connection_pool_table), P2, SINCE("dev"),
	  .help = "Default of connectionPool" },
	{ F_PTR(T, outlierDetection, model_outlier_detection_table), P2, SINCE("dev"),
	  .help = "Default of outlierDetection" },
	F_END
};
const struct bind_table model_default_traffic_policy_table =
	TABLE("DefaultTrafficPolicy", default_traffic_policy_fields);
#undef T

#define T struct model_node
static const struct field node_fields[] = {
	{ F_STR(T, name), .flags = FIELD_NONEMPTY, OURS,
	  .help = "Name of this node (default: host name)" },
	{ F_STR(T, address), .flags = FIELD_NONEMPTY, OURS,
	  .help = "Address by which other nodes reach it (default 127.0.0.1)" },
	{ F_STR(T, locality), OURS,
	  .help = "region/zone/subzone of the node" },
	{ F_STR(T, network), OURS,
	  NOT_YET("there is one network for now"),
	  .help = "Network of the node's address" },
	{ F_INT(T, meshPort, 0, 65535), OURS,
	  .help = "mTLS from other proxies: the one port to open between nodes; 0: off "
	          "(default 15443)" },
	{ F_INT(T, outboundPort, 0, 65535), OURS,
	  .help = "Redirected outgoing traffic; 0: off (default 15001)" },
	{ F_INT(T, inboundPort, 0, 65535), OURS,
	  .help = "Redirected incoming traffic; 0: off (default 15006)" },
	{ F_INT(T, dnsPort, 0, 65535), OURS,
	  NOT_YET("there is no name server yet; use mesh.proxyHttpPort"),
	  .help = "Names of the mesh; 0: off (default 15053)" },
	{ F_INT(T, readyPort, 0, 65535), OURS,
	  .help = "GET /healthz/ready; 0: off (default 15021)" },
	{ F_STR(T, meshBind), OURS,
	  .help = "Address on which the mesh port listens (default 0.0.0.0)" },
	{ F_STR(T, localBind), OURS,
	  .help = "Address on which every other port listens (default 127.0.0.1)" },
	{ F_ENUM(T, unregisteredCallers, model_unregistered_names), OURS,
	  .help = "A local caller that is no workload: node (under the node's identity) or "
	          "refuse (default node)" },
	{ F_ENUM(T, sameNode, model_same_node_names), OURS,
	  NOT_YET("two workloads of one node always meet over mTLS"),
	  .help = "mtls or local (default mtls)" },
	F_END
};
const struct bind_table model_node_table = TABLE("Node", node_fields);
#undef T

#define T struct model_ca_settings
static const struct field ca_settings_fields[] = {
	{ F_TIME(T, rootValidity), OURS,
	  .help = "Validity of a root that is made at the first start (default 87600h)" },
	{ F_TIME(T, intermediateValidity), OURS,
	  .help = "Validity of the issuing authority (default 8760h)" },
	{ F_TIME(T, workloadValidity), OURS,
	  .help = "Validity of workloads' certificates; renewed at half of it (default 24h)" },
	{ F_DURATION(T, tokenValidity), .min = 1000000, .max = 3600 * INT64_C(1000000), OURS,
	  .help = "Validity of tokens (JWT SVIDs), 1s to 1h (default 5m)" },
	{ F_DURATION(T, tokenKeyValidity), .min = 4000000, .max = MODEL_TIME_MAX, OURS,
	  .help = "How long a key signs tokens; the next one is published at half of it (default 168h)" },
	{ F_INT(T, signPerSecond, 1, 100000), OURS,
	  .help = "Certificates per second and user (default 10)" },
	{ F_INT(T, signBurst, 1, 100000), OURS,
	  .help = "Certificates at once and user (default 50)" },
	F_END
};
const struct bind_table model_ca_settings_table = TABLE("Ca", ca_settings_fields);
#undef T

#define T struct model_metrics_settings
static const struct field metrics_settings_fields[] = {
	{ F_STR(T, listen), OURS,
	  .help = "Address and port of GET /metrics; \"\" or port 0: off (default "
	          "127.0.0.1:15090)" },
	{ F_TIME(T, scrapeInterval), OURS,
	  .help = "How often proxies are asked (default 5s)" },
	{ F_STR(T, retention), OURS,
	  NOT_YET("there is no history yet"),
	  .help = "How long history is kept" },
	F_END
};
const struct bind_table model_metrics_settings_table = TABLE("Metrics", metrics_settings_fields);
#undef T

#define T struct model_dashboard_settings
static const struct field dashboard_settings_fields[] = {
	{ F_STR(T, listen), OURS,
	  NOT_YET("there is no dashboard yet"),
	  .help = "Address and port of the dashboard; \"\" or port 0: off (default "
	          "127.0.0.1:20001)" },
	F_END
};
const struct bind_table model_dashboard_settings_table =
	TABLE("Dashboard", dashboard_settings_fields);
#undef T

#define T struct model_limits
static const struct field limits_fields[] = {
	{ F_INT(T, maxConnections, 1, 1000000), OURS,
	  .help = "Connections per listener (default 10000)" },
	{ F_INT(T, maxTotalConnections, 0, 10000000), OURS,
	  .help = "Connections of a proxy over all listeners; 0: half of its descriptors (default 0)" },
	{ F_INT(T, maxMemoryBytes, 0, INT64_MAX), OURS,
	  .help = "Memory of a proxy that overload levels are measured against; 0: the MemoryMax or "
		  "MemoryHigh of its unit, without them half of the machine (default 0)" },
	{ F_INT(T, maxHandshakes, 0, 1000000), OURS,
	  .help = "TLS handshakes that wait at a time; 0: 1000 (default 0)" },
	{ F_INT(T, maxHandshakesPerSource, 0, 1000000), OURS,
	  .help = "The same of one source address; 0: 100 (default 0)" },
	{ F_INT(T, maxHeaderBytes, 1024, 1048576), OURS,
	  .help = "Bytes of a message's header section (default 61440)" },
	{ F_INT(T, maxBodyBytes, 0, INT64_MAX), OURS,
	  .help = "Bytes of a request's body; 0: no limit (default 0)" },
	{ F_TIME(T, headerTimeout), OURS,
	  .help = "Time for a request's header section (default 10s)" },
	{ F_TIME(T, idleTimeout), OURS,
	  .help = "Idle time of a client's connection (default 1h)" },
	{ F_TIME(T, gatewayIdleTimeout), OURS,
	  .help = "The same for clients of gateways (default 5m)" },
	{ F_TIME(T, streamIdleTimeout), OURS,
	  .help = "Time without a byte inside a request (default 5m)" },
	{ F_TIME(T, drainTimeout), OURS,
	  .help = "Time for connections to end after a change of listeners (default 30s)" },
	{ F_INT(T, retryBodyBytes, 0, 16777216), OURS,
	  .help = "Bytes of a request's body that are kept for a retry (default 65536)" },
	F_END
};
const struct bind_table model_limits_table = TABLE("Limits", limits_fields);
#undef T

#define T struct model_router_settings
static const struct field router_settings_fields[] = {
	{ F_STR(T, address), OURS,
	  NOT_YET("there is one node for now"),
	  .help = "Address and port of the control plane of other nodes" },
	F_END
};
const struct bind_table model_router_settings_table = TABLE("Router", router_settings_fields);
#undef T

#define T struct model_egress_range
static const struct field egress_range_fields[] = {
	{ F_STR(T, cidr), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, OURS,
	  .help = "Address or block: 203.0.113.0/24, 2001:db8::/32" },
	{ F_STR(T, country), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, OURS,
	  .help = "Country it is in, as two letters of ISO 3166" },
	{ F_STR(T, operator), OURS,
	  .help = "Who runs it; for reports" },
	F_END
};
static const struct bind_table egress_range_table = TABLE_AT("EgressRange", egress_range_fields);
#undef T

#define T struct model_egress_policy
static const struct field egress_policy_fields[] = {
	{ F_STR_LIST(T, allowCountries), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, OURS,
	  .help = "Countries that data may leave for, as two letters of ISO 3166; the rest is refused" },
	{ F_ENUM(T, unknown, model_unknown_country_names), OURS,
	  .help = "Addresses whose country nobody knows: refuse or allow (default refuse)" },
	{ F_BOOL(T, audit), OURS,
	  .help = "Count and log what would be refused, and let it pass (default false)" },
	{ F_STR(T, database), OURS,
	  .help = "Path of a MaxMind file (.mmdb) that tells countries of addresses; \"\" none (default)" },
	{ F_LIST(T, ranges, egress_range_table), OURS,
	  .help = "Addresses whose country is declared here" },
	F_END
};
const struct bind_table model_egress_policy_table = TABLE("EgressPolicy", egress_policy_fields);
#undef T

#define T struct model_mesh
static const struct field mesh_fields[] = {
	{ F_STRUCT(T, mesh, model_mesh_config_table), OURS,
	  .help = "Settings of the whole mesh, by Istio's MeshConfig names" },
	{ F_STRUCT(T, node, model_node_table), OURS,
	  .help = "This node" },
	{ F_STRUCT(T, ca, model_ca_settings_table), OURS,
	  .help = "The certificate authority" },
	{ F_STRUCT(T, metrics, model_metrics_settings_table), OURS,
	  .help = "The collector" },
	{ F_STRUCT(T, dashboard, model_dashboard_settings_table), OURS,
	  .help = "The dashboard" },
	{ F_STRUCT(T, limits, model_limits_table), OURS,
	  .help = "Limits of every proxy" },
	{ F_STRUCT(T, router, model_router_settings_table), OURS,
	  .help = "The control plane" },
	{ F_PTR(T, egressPolicy, model_egress_policy_table), OURS,
	  .help = "Countries that data may leave for (default: any)" },
	F_END
};
const struct bind_table model_mesh_table = TABLE("kvmesh.conf", mesh_fields);
#undef T
