/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of DestinationRule. Layer config.
 * From them come reading, writing, the manual (explain) and the list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_destination_rule
static const struct field destination_rule_fields[] = {
	{ F_STR(T, host), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Service that the rule is for; short names and \"*.\" as in VirtualService" },
	{ F_PTR(T, trafficPolicy, model_traffic_policy_table), P1, SINCE("1.8"),
	  .help = "Policy for all ports and subsets" },
	{ F_LIST(T, subsets, model_subset_table), P1, SINCE("1.8"),
	  .help = "Named versions of the service, chosen by endpoint labels" },
	{ F_STR_LIST(T, exportTo), P2, SINCE("1.8"),
	  .help = "Namespaces that see it: \".\", \"*\" or names (default \"*\")" },
	{ F_PTR(T, workloadSelector, model_match_labels_table), P2, SINCE("1.14"),
	  .help = "Client workloads of the same namespace that the rule is for" },
	F_END
};
const struct bind_table model_destination_rule_table =
	TABLE("DestinationRule", destination_rule_fields);
#undef T

#define T struct model_traffic_policy
static const struct field traffic_policy_fields[] = {
	{ F_PTR(T, loadBalancer, model_load_balancer_table), P1, SINCE("1.8"),
	  .help = "How an endpoint is chosen (default LEAST_REQUEST)" },
	{ F_PTR(T, connectionPool, model_connection_pool_table), P1, SINCE("1.8"),
	  .help = "Limits of connections and requests (default none)" },
	{ F_PTR(T, outlierDetection, model_outlier_detection_table), P1, SINCE("1.8"),
	  .help = "Passive health checks: eject endpoints that fail" },
	{ F_PTR(T, tls, model_client_tls_table), P1, SINCE("1.8"),
	  .help = "TLS towards the service; a block always beats automatic mTLS" },
	{ F_LIST(T, portLevelSettings, model_port_traffic_policy_table), P1, SINCE("1.8"),
	  .help = "Policy of single ports; it replaces the blocks above, also those that it "
	          "does not name" },
	{ F_PTR(T, tunnel, model_tunnel_table), P3, SINCE("1.14"),
	  .help = "The destination is an HTTP proxy that leads TCP and TLS on" },
	{ F_PTR(T, proxyProtocol, model_proxy_protocol_table), P2, SINCE("1.21"),
	  .help = "Send a PROXY protocol header to endpoints that have no proxy of the mesh" },
	{ F_PTR(T, retryBudget, model_retry_budget_table), P2, SINCE("1.27"),
	  .help = "Limit of concurrent retries as a share of requests" },
	F_END
};
const struct bind_table model_traffic_policy_table =
	TABLE_AT("TrafficPolicy", traffic_policy_fields);
#undef T

#define T struct model_port_traffic_policy
static const struct field port_traffic_policy_fields[] = {
	{ F_PTR(T, port, model_port_selector_table), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Service port that the settings are for" },
	{ F_PTR(T, loadBalancer, model_load_balancer_table), P1, SINCE("1.8"),
	  .help = "As in trafficPolicy; absent: the built-in default, not the policy above" },
	{ F_PTR(T, connectionPool, model_connection_pool_table), P1, SINCE("1.8"),
	  .help = "As in trafficPolicy; absent: the built-in default" },
	{ F_PTR(T, outlierDetection, model_outlier_detection_table), P1, SINCE("1.8"),
	  .help = "As in trafficPolicy; absent: off" },
	{ F_PTR(T, tls, model_client_tls_table), P1, SINCE("1.8"),
	  .help = "As in trafficPolicy; absent: automatic mTLS" },
	F_END
};
const struct bind_table model_port_traffic_policy_table =
	TABLE_AT("PortTrafficPolicy", port_traffic_policy_fields);
#undef T

#define T struct model_tunnel
static const struct field tunnel_fields[] = {
	{ F_STR(T, protocol), P3, SINCE("1.14"),
	  .help = "CONNECT or POST (default CONNECT)" },
	{ F_STR(T, targetHost), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P3, SINCE("1.14"),
	  .help = "Host at the far end of the tunnel" },
	{ F_INT(T, targetPort, 1, 65535), .flags = FIELD_REQUIRED, P3, SINCE("1.14"),
	  .help = "Port at the far end of the tunnel" },
	F_END
};
const struct bind_table model_tunnel_table = TABLE_AT("TunnelSettings", tunnel_fields);
#undef T

#define T struct model_proxy_protocol
static const struct field proxy_protocol_fields[] = {
	{ F_ENUM(T, version, model_proxy_protocol_names), P2, SINCE("1.21"),
	  .help = "V1 text, V2 binary (default V1)" },
	F_END
};
const struct bind_table model_proxy_protocol_table = TABLE("ProxyProtocol", proxy_protocol_fields);
#undef T

#define T struct model_retry_budget
static const struct field retry_budget_fields[] = {
	{ F_REAL(T, percent, 0, 100), F_OPT(T, has_percent), P2, SINCE("1.27"),
	  .help = "Concurrent retries in percent of active and pending requests (default 20)" },
	{ F_INT(T, minRetryConcurrency, 0, UINT32_MAX), P2, SINCE("1.27"),
	  .help = "Retries that are always allowed (default 3)" },
	{ F_TIME(T, budgetInterval), P3, SINCE("dev"),
	  NOT_YET("the requests under way now count"),
	  .help = "Look-back window (default: only the present)" },
	F_END
};
const struct bind_table model_retry_budget_table = TABLE("RetryBudget", retry_budget_fields);
#undef T

#define T struct model_subset
static const struct field subset_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Name by which destinations refer to it" },
	{ F_LABELS(T, labels), P1, SINCE("1.8"),
	  .help = "Labels that an endpoint must have; none: every endpoint" },
	{ F_PTR(T, trafficPolicy, model_traffic_policy_table), P1, SINCE("1.8"),
	  .help = "Blocks that replace those of the rule's trafficPolicy" },
	F_END
};
const struct bind_table model_subset_table = TABLE_AT("Subset", subset_fields);
#undef T

#define T struct model_load_balancer
static const struct field load_balancer_fields[] = {
	{ F_ENUM(T, simple, model_lb_names), F_OPT(T, has_simple), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Algorithm without a key (default LEAST_REQUEST); EWMA, by latency, is "
	          "kvmesh's own" },
	{ F_PTR(T, consistentHash, model_consistent_hash_table), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Same key, same endpoint" },
	{ F_PTR(T, localityLbSetting, model_locality_lb_table), P2, SINCE("1.8"),
	  .help = "Weights and failover between localities" },
	{ F_TIME(T, warmupDurationSecs), P2, SINCE("1.14"),
	  .help = "Old form of warmup.duration" },
	{ F_PTR(T, warmup, model_warmup_table), P2, SINCE("1.24"),
	  .help = "Slow start of new endpoints, with ROUND_ROBIN and LEAST_REQUEST" },
	{ F_PTR(T, zoneAwareLbSetting, model_zone_aware_lb_table), P3, SINCE("dev"),
	  NOT_YET("not in a release of Istio yet"),
	  .help = "Prefer the own zone" },
	F_END
};
const struct bind_table model_load_balancer_table =
	TABLE_AT("LoadBalancerSettings", load_balancer_fields);
#undef T

#define T struct model_consistent_hash
static const struct field consistent_hash_fields[] = {
	{ F_STR(T, httpHeaderName), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Key: value of a header" },
	{ F_PTR(T, httpCookie, model_http_cookie_table), ONEOF(1), P2, SINCE("1.8"),
	  .help = "Key: a cookie, made by the proxy when ttl is given" },
	{ F_BOOL(T, useSourceIp), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Key: the client's address" },
	{ F_STR(T, httpQueryParameterName), ONEOF(1), P2, SINCE("1.8"),
	  .help = "Key: a query parameter" },
	{ F_INT(T, minimumRingSize, 0, 8388608), F_OPT(T, has_minimumRingSize), P2, SINCE("1.8"),
	  .help = "Old form of ringHash.minimumRingSize" },
	{ F_PTR(T, ringHash, model_ring_hash_table), ONEOF(2), P2, SINCE("1.16"),
	  .help = "Ring hash algorithm" },
	{ F_PTR(T, maglev, model_maglev_table), ONEOF(2), P2, SINCE("1.16"),
	  .help = "Maglev algorithm" },
	F_END
};
const struct bind_table model_consistent_hash_table =
	TABLE_AT("ConsistentHashLB", consistent_hash_fields);
#undef T

#define T struct model_http_cookie
static const struct field http_cookie_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.8"),
	  .help = "Name of the cookie" },
	{ F_STR(T, path), P2, SINCE("1.8"),
	  .help = "Path of a cookie that the proxy makes" },
	{ F_TIME(T, ttl), F_OPT(T, has_ttl), P2, SINCE("1.8"),
	  .help = "Lifetime of a cookie that the proxy makes; 0s: session cookie; absent: "
	          "none is made" },
	{ F_LIST(T, attributes, model_cookie_attribute_table), P3, SINCE("1.28"),
	  .help = "Further attributes of the cookie" },
	F_END
};
const struct bind_table model_http_cookie_table = TABLE("HTTPCookie", http_cookie_fields);
#undef T

#define T struct model_cookie_attribute
static const struct field cookie_attribute_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P3, SINCE("1.28"),
	  .help = "Attribute's name" },
	{ F_STR(T, value), P3, SINCE("1.28"),
	  .help = "Attribute's value" },
	F_END
};
const struct bind_table model_cookie_attribute_table = TABLE("Attribute", cookie_attribute_fields);
#undef T

#define T struct model_ring_hash
static const struct field ring_hash_fields[] = {
	{ F_INT(T, minimumRingSize, 0, 8388608), P2, SINCE("1.16"),
	  .help = "Virtual nodes at least (default 1024)" },
	F_END
};
const struct bind_table model_ring_hash_table = TABLE("RingHash", ring_hash_fields);
#undef T

#define T struct model_maglev
static const struct field maglev_fields[] = {
	{ F_INT(T, tableSize, 0, 5000011), P2, SINCE("1.16"),
	  .help = "Entries of the table, a prime (default 65537)" },
	F_END
};
const struct bind_table model_maglev_table = TABLE("MagLev", maglev_fields);
#undef T

#define T struct model_warmup
static const struct field warmup_fields[] = {
	{ F_TIME(T, duration), .flags = FIELD_REQUIRED, P2, SINCE("1.24"),
	  .help = "How long a new endpoint is spared" },
	{ F_REAL(T, minimumPercent, 0, 100), F_OPT(T, has_minimumPercent), P2, SINCE("1.24"),
	  .help = "Share at the beginning (default 10)" },
	{ F_REAL(T, aggression, 0, 1000), F_OPT(T, has_aggression), P2, SINCE("1.24"),
	  .help = "Curve of the growth; 1 is linear (default 1)" },
	F_END
};
const struct bind_table model_warmup_table = TABLE_AT("WarmupConfiguration", warmup_fields);
#undef T

#define T struct model_connection_pool
static const struct field connection_pool_fields[] = {
	{ F_PTR(T, tcp, model_tcp_settings_table), P1, SINCE("1.8"),
	  .help = "Limits of connections, also for HTTP" },
	{ F_PTR(T, http, model_http_settings_table), P1, SINCE("1.8"),
	  .help = "Limits of HTTP requests" },
	F_END
};
const struct bind_table model_connection_pool_table =
	TABLE_AT("ConnectionPoolSettings", connection_pool_fields);
#undef T

#define T struct model_tcp_settings
static const struct field tcp_settings_fields[] = {
	{ F_INT(T, maxConnections, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Connections to the service; 0 is unlimited (default unlimited)" },
	{ F_TIME(T, connectTimeout), F_OPT(T, has_connectTimeout), P1, SINCE("1.8"),
	  .help = "Time for a connection to be made (default 10s)" },
	{ F_PTR(T, tcpKeepalive, model_tcp_keepalive_table), P2, SINCE("1.8"),
	  .help = "TCP keep-alive probes of the kernel" },
	{ F_TIME(T, maxConnectionDuration), F_OPT(T, has_maxConnectionDuration), P2,
	  SINCE("1.15"),
	  .help = "Close a connection after this time; HTTP: with the exchange under way" },
	{ F_TIME(T, idleTimeout), F_OPT(T, has_idleTimeout), P2, SINCE("1.21"),
	  .help = "Close a connection without traffic after this time; 0s: never (default 1h)" },
	F_END
};
const struct bind_table model_tcp_settings_table = TABLE_AT("TCPSettings", tcp_settings_fields);
#undef T

#define T struct model_tcp_keepalive
static const struct field tcp_keepalive_fields[] = {
	{ F_INT(T, probes, 0, UINT32_MAX), P2, SINCE("1.8"),
	  .help = "Probes without an answer until the connection is dead (default: kernel, 9)" },
	{ F_TIME(T, time), P2, SINCE("1.8"),
	  .help = "Idle time until the first probe (default: kernel, 2h)" },
	{ F_TIME(T, interval), P2, SINCE("1.8"),
	  .help = "Time between probes (default: kernel, 75s)" },
	F_END
};
const struct bind_table model_tcp_keepalive_table = TABLE("TcpKeepalive", tcp_keepalive_fields);
#undef T

#define T struct model_http_settings
static const struct field http_settings_fields[] = {
	{ F_INT(T, http1MaxPendingRequests, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Requests that wait for a connection; more get 503 (default unlimited)" },
	{ F_INT(T, http2MaxRequests, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Active requests, HTTP/1.1 as well; more get 503 (default unlimited)" },
	{ F_INT(T, maxRequestsPerConnection, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Requests per connection; 1 turns keep-alive off (default unlimited)" },
	{ F_INT(T, maxRetries, 0, INT32_MAX), P1, SINCE("1.8"),
	  .help = "Concurrent retries (default unlimited)" },
	{ F_TIME(T, idleTimeout), F_OPT(T, has_idleTimeout), P1, SINCE("1.8"),
	  .help = "Close an unused upstream connection after this time (default 1h)" },
	{ F_ENUM(T, h2UpgradePolicy, model_h2_upgrade_names), P2, SINCE("1.8"),
	  .help = "UPGRADE: HTTP/2 also to endpoints without a proxy; DO_NOT_UPGRADE: HTTP/1.1 also "
	          "between proxies (default: the mesh's)" },
	{ F_BOOL(T, useClientProtocol), P2, SINCE("1.8"),
	  .help = "Use the client's protocol upstream" },
	{ F_INT(T, maxConcurrentStreams, 0, INT32_MAX), P2, SINCE("1.21"),
	  .help = "Streams per HTTP/2 connection; the peer's own limit holds as well" },
	{ F_PTR(T, http2KeepAlive, model_h2_keepalive_table), P3, SINCE("dev"),
	  .help = "HTTP/2 pings: a connection whose peer does not answer is closed" },
	F_END
};
const struct bind_table model_http_settings_table = TABLE_AT("HTTPSettings", http_settings_fields);
#undef T

#define T struct model_h2_keepalive
static const struct field h2_keepalive_fields[] = {
	{ F_TIME(T, interval), .flags = FIELD_REQUIRED, P3, SINCE("dev"),
	  .help = "Time between pings" },
	{ F_TIME(T, timeout), .flags = FIELD_REQUIRED, P3, SINCE("dev"),
	  .help = "Time for the answer" },
	F_END
};
const struct bind_table model_h2_keepalive_table =
	TABLE("ConnectionKeepalive", h2_keepalive_fields);
#undef T

#define T struct model_outlier_detection
static const struct field outlier_detection_fields[] = {
	{ F_INT(T, consecutiveErrors, 0, INT32_MAX), F_OPT(T, has_consecutiveErrors), P2,
	  SINCE("1.8"),
	  .help = "Old form of consecutiveGatewayErrors" },
	{ F_BOOL(T, splitExternalLocalOriginErrors), P2, SINCE("1.11"),
	  .help = "Count failed connects apart from answers" },
	{
	  F_INT(T, consecutiveLocalOriginFailures, 0, UINT32_MAX),
	  F_OPT(T, has_consecutiveLocalOriginFailures),
	  P2, SINCE("1.11"),
	  .help = "Failed connects in a row (default 5)" },
	{
	  F_INT(T, consecutiveGatewayErrors, 0, UINT32_MAX), F_OPT(T, has_consecutiveGatewayErrors),
	  P1, SINCE("1.8"),
	  .help = "502, 503 or 504 in a row; 0 is off (default off)" },
	{ F_INT(T, consecutive5xxErrors, 0, UINT32_MAX), F_OPT(T, has_consecutive5xxErrors), P1,
	  SINCE("1.8"),
	  .help = "5xx in a row; 0 is off (default 5)" },
	{ F_TIME(T, interval), F_OPT(T, has_interval), P1, SINCE("1.8"),
	  .help = "Time between looks at ejected endpoints (default 10s)" },
	{ F_TIME(T, baseEjectionTime), F_OPT(T, has_baseEjectionTime), P1, SINCE("1.8"),
	  .help = "Ejection time, multiplied by the number of ejections (default 30s)" },
	{ F_INT(T, maxEjectionPercent, 0, 100), F_OPT(T, has_maxEjectionPercent), P1,
	  SINCE("1.8"),
	  .help = "Most endpoints that may be ejected (default 10)" },
	{ F_INT(T, minHealthPercent, 0, 100), P1, SINCE("1.8"),
	  .help = "Below this share of healthy endpoints all are used (default 0)" },
	{ F_INT_LIST(T, outlierDetectionHttpErrorCodes, 100, 599), P3, SINCE("dev"),
	  .help = "Status codes that count as 5xx, and no others do (default 5xx)" },
	F_END
};
const struct bind_table model_outlier_detection_table =
	TABLE_AT("OutlierDetection", outlier_detection_fields);
#undef T

#define T struct model_locality_lb
static const struct field locality_lb_fields[] = {
	{ F_LIST(T, distribute, model_locality_distribute_table), P2, SINCE("1.8"),
	  .help = "Weights between localities" },
	{ F_LIST(T, failover, model_locality_failover_table), P2, SINCE("1.8"),
	  .help = "Region that takes over from another" },
	{ F_STR_LIST(T, failoverPriority), P2, SINCE("1.12"),
	  .help = "Labels by which endpoints are ranked" },
	{ F_BOOL(T, enabled), F_OPT(T, has_enabled), P2, SINCE("1.8"),
	  .help = "Turn locality load balancing on or off" },
	F_END
};
const struct bind_table model_locality_lb_table =
	TABLE_AT("LocalityLoadBalancerSetting", locality_lb_fields);
#undef T

#define T struct model_locality_distribute
static const struct field locality_distribute_fields[] = {
	{ F_STR(T, from), P2, SINCE("1.8"),
	  .help = "Locality of the client: region/zone/subzone, \"*\" at the end" },
	{ F_ANY(T, to), P2, SINCE("1.8"),
	  .help = "Locality to weight; the weights make 100" },
	F_END
};
const struct bind_table model_locality_distribute_table =
	TABLE_AT("Distribute", locality_distribute_fields);
#undef T

#define T struct model_locality_failover
static const struct field locality_failover_fields[] = {
	{ F_STR(T, from), P2, SINCE("1.8"),
	  .help = "Region that fails" },
	{ F_STR(T, to), P2, SINCE("1.8"),
	  .help = "Region that takes over" },
	F_END
};
const struct bind_table model_locality_failover_table =
	TABLE_AT("Failover", locality_failover_fields);
#undef T

#define T struct model_zone_aware_lb
static const struct field zone_aware_lb_fields[] = {
	{ F_BOOL(T, enabled), F_OPT(T, has_enabled), P3, SINCE("dev"),
	  .help = "Turn it on or off" },
	{ F_LIST(T, failover, model_locality_failover_table), P3, SINCE("dev"),
	  .help = "Region that takes over from another" },
	{ F_STR_LIST(T, failoverPriority), P3, SINCE("dev"),
	  .help = "Labels by which endpoints are ranked" },
	{ F_INT(T, minClusterSize, 0, UINT32_MAX), P3, SINCE("dev"),
	  .help = "Endpoints at least (default 6)" },
	F_END
};
const struct bind_table model_zone_aware_lb_table =
	TABLE("ZoneAwareLoadBalancerSetting", zone_aware_lb_fields);
#undef T

#define T struct model_client_tls
static const struct field client_tls_fields[] = {
	{ F_ENUM(T, mode, model_client_tls_names), P1, SINCE("1.8"),
	  .help = "DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL (default DISABLE)" },
	{ F_STR(T, clientCertificate), P1, SINCE("1.8"),
	  .help = "PEM file with the client's certificate; needed for MUTUAL" },
	{ F_STR(T, privateKey), P1, SINCE("1.8"),
	  .help = "PEM file with its key; needed for MUTUAL" },
	{ F_STR(T, caCertificates), P1, SINCE("1.8"),
	  .help = "PEM file with the authorities that may sign the server (default: the "
	          "system's)" },
	{ F_STR(T, credentialName), P2, SINCE("1.8"),
	  .help = "Directory below /etc/kvmesh/tls with ca.crt, MUTUAL tls.crt and tls.key, and ca.crl where "
	          "there is one; excludes the paths; for gateways, and for workloads with workloadSelector" },
	{ F_STR_LIST(T, subjectAltNames), P1, SINCE("1.8"),
	  .help = "Names one of which the server's certificate must carry" },
	{ F_STR(T, sni), P1, SINCE("1.8"),
	  .help = "Server name to ask for (default: the host)" },
	{ F_BOOL(T, insecureSkipVerify), F_OPT(T, has_insecureSkipVerify), P2, SINCE("1.12"),
	  .help = "Do not check the server's certificate (default false)" },
	{ F_STR(T, caCrl), P2, SINCE("1.22"),
	  .help = "PEM file with revocation lists, one of each authority in a chain" },
	F_END
};
const struct bind_table model_client_tls_table = TABLE_AT("ClientTLSSettings", client_tls_fields);
#undef T
