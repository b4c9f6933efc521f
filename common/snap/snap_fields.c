/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap_fields: one table row per member of snap.h: what load, dump, the golden files and the manual
 * know of a snapshot. Layer snap. Ranges of numbers stand here, what ties parts together in
 * snap_check.c.
 */
#include "snap/snap.h"

#define PORT_MAX 65535
#define PPM_MAX 1000000
/* A year: no time in a snapshot means more, and sums of a few stay far from overflow. */
#define US_MAX INT64_C(31536000000000)
#define COUNT_MAX INT64_C(4294967295)
#define BYTES_MAX (INT64_C(1) << 40)
#define INDEX_MAX INT32_MAX

#define F_US(T, m) F_INT(T, m, 0, US_MAX)
#define F_PORT(T, m) F_INT(T, m, 0, PORT_MAX)
#define F_INDEX(T, m) F_INT(T, m, 0, INDEX_MAX)
#define F_INDEX_OR_NONE(T, m) F_INT(T, m, -1, INDEX_MAX)
#define TABLE(var, T, title, f)                                                                    \
	static const struct bind_table var = {                                                     \
		.name = title, .size = sizeof(T), .origin_offset = -1, .fields = f                 \
	}

const char *const snap_match_kind_names[] = { "EXACT", "PREFIX", "REGEX", "PRESENT", NULL };
const char *const snap_derive_port_names[] = { "NONE", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT",
					       NULL };
const char *const snap_action_names[] = { "ROUTE", "REDIRECT", "DIRECT", NULL };
const char *const snap_outbound_names[] = { "ALLOW_ANY", "REGISTRY_ONLY", NULL };
const char *const snap_protocol_names[] = { "HTTP", "HTTP2", "GRPC", "TCP", "TLS", "AUTO", NULL };
const char *const snap_lb_names[] = { "LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "RING_HASH",
				      "MAGLEV",        "PASSTHROUGH",  "EWMA",   NULL };
const char *const snap_tls_mode_names[] = { "AUTO", "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL",
					    NULL };
const char *const snap_cluster_kind_names[] = { "STATIC", "DNS", "ORIGINAL_DST", "BY_NAME",
						"BLACKHOLE", NULL };
const char *const snap_http2_names[] = { "TO_PROXIES", "ALWAYS", "NEVER", "AS_CLIENT", NULL };
const char *const snap_hash_source_names[] = { "HEADER", "COOKIE", "SOURCE_IP", "QUERY", NULL };
const char *const snap_mtls_names[] = { "PERMISSIVE", "STRICT", "DISABLE", NULL };
const char *const snap_listener_kind_names[] = { "HTTP_PROXY", "OUTBOUND", "INBOUND", "MESH", "TCP",
						 "PORT", "READY", "GATEWAY", NULL };
const char *const snap_client_cert_names[] = { "SANITIZE_SET", "SANITIZE", "FORWARD_ONLY",
					       "APPEND_FORWARD", "ALWAYS_FORWARD_ONLY", NULL };
const char *const snap_normalize_names[] = { "NONE", "BASE", "MERGE_SLASHES",
					     "DECODE_AND_MERGE_SLASHES", NULL };

/* ---- strings to match, headers -------------------------------------------------------------- */
static const struct field string_fields[] = {
	{ F_ENUM(struct snap_string, kind, snap_match_kind_names) },
	{ F_STR(struct snap_string, value) },
	{ F_BOOL(struct snap_string, icase) },
	F_END
};
TABLE(string_table, struct snap_string, "String", string_fields);

static const struct field field_match_fields[] = {
	{ F_STR(struct snap_field_match, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_ENUM(struct snap_field_match, kind, snap_match_kind_names) },
	{ F_STR(struct snap_field_match, value) },
	{ F_BOOL(struct snap_field_match, invert) },
	F_END
};
TABLE(field_match_table, struct snap_field_match, "FieldMatch", field_match_fields);

static const struct field match_fields[] = {
	{ F_STR(struct snap_match, name) },
	{ F_PTR(struct snap_match, uri, string_table) },
	{ F_PTR(struct snap_match, scheme, string_table) },
	{ F_PTR(struct snap_match, method, string_table) },
	{ F_PTR(struct snap_match, authority, string_table) },
	{ F_LIST(struct snap_match, headers, field_match_table) },
	{ F_LIST(struct snap_match, query, field_match_table) },
	F_END
};
TABLE(match_table, struct snap_match, "Match", match_fields);

static const struct field pair_fields[] = {
	{ F_STR(struct snap_pair, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_pair, value) },
	F_END
};
TABLE(pair_table, struct snap_pair, "Pair", pair_fields);

static const struct field header_ops_fields[] = {
	{ F_STR_LIST(struct snap_header_ops, remove) },
	{ F_LIST(struct snap_header_ops, set, pair_table) },
	{ F_LIST(struct snap_header_ops, add, pair_table) },
	F_END
};
TABLE(header_ops_table, struct snap_header_ops, "HeaderOperations", header_ops_fields);

static const struct field headers_fields[] = {
	{ F_PTR(struct snap_headers, request, header_ops_table) },
	{ F_PTR(struct snap_headers, response, header_ops_table) },
	F_END
};
TABLE(headers_table, struct snap_headers, "Headers", headers_fields);

/* ---- routes --------------------------------------------------------------------------------- */
static const struct field weighted_fields[] = {
	{ F_INDEX_OR_NONE(struct snap_weighted, cluster) },
	{ F_STR(struct snap_weighted, cluster_name) },
	{ F_INT(struct snap_weighted, weight, 1, COUNT_MAX), .flags = FIELD_REQUIRED },
	{ F_STRUCT(struct snap_weighted, headers, headers_table) },
	F_END
};
TABLE(weighted_table, struct snap_weighted, "Weighted", weighted_fields);

static const struct field redirect_fields[] = {
	{ F_STR(struct snap_redirect, uri) },
	{ F_STR(struct snap_redirect, authority) },
	{ F_STR(struct snap_redirect, scheme) },
	{ F_STR(struct snap_redirect, prefix_rewrite) },
	{ F_PORT(struct snap_redirect, port) },
	{ F_ENUM(struct snap_redirect, derive_port, snap_derive_port_names) },
	{ F_INT(struct snap_redirect, code, 300, 399), .flags = FIELD_REQUIRED },
	F_END
};
TABLE(redirect_table, struct snap_redirect, "Redirect", redirect_fields);

static const struct field direct_fields[] = {
	{ F_INT(struct snap_direct, status, 200, 599), .flags = FIELD_REQUIRED },
	{ F_STR(struct snap_direct, body) },
	{ F_STR(struct snap_direct, base64) },
	F_END
};
TABLE(direct_table, struct snap_direct, "Direct", direct_fields);

static const struct field rewrite_fields[] = {
	{ F_STR(struct snap_rewrite, uri) },
	{ F_STR(struct snap_rewrite, authority) },
	{ F_STR(struct snap_rewrite, regex) },
	{ F_STR(struct snap_rewrite, substitution) },
	F_END
};
TABLE(rewrite_table, struct snap_rewrite, "Rewrite", rewrite_fields);

static const struct field retry_fields[] = {
	{ F_INT(struct snap_retry, attempts, 1, 1000), .flags = FIELD_REQUIRED },
	{ F_US(struct snap_retry, per_try_us) },
	{ F_INT(struct snap_retry, on, 0, 0x7fff) },
	{ F_INT_LIST(struct snap_retry, codes, 100, 599) },
	{ F_INT(struct snap_retry, backoff_us, 1, US_MAX), .flags = FIELD_REQUIRED },
	{ F_BOOL(struct snap_retry, ignore_previous_hosts) },
	{ F_BOOL(struct snap_retry, remote_localities) },
	F_END
};
TABLE(retry_table, struct snap_retry, "Retry", retry_fields);

static const struct field fault_fields[] = {
	{ F_US(struct snap_fault, delay_us) },
	{ F_INT(struct snap_fault, delay_ppm, 0, PPM_MAX) },
	{ F_INT(struct snap_fault, abort_status, 0, 600) },
	{ F_INT(struct snap_fault, abort_grpc, -1, 16) },
	{ F_INT(struct snap_fault, abort_ppm, 0, PPM_MAX) },
	F_END
};
TABLE(fault_table, struct snap_fault, "Fault", fault_fields);

static const struct field mirror_fields[] = {
	{ F_INDEX_OR_NONE(struct snap_mirror, cluster) },
	{ F_INT(struct snap_mirror, ppm, 0, PPM_MAX) },
	F_END
};
TABLE(mirror_table, struct snap_mirror, "Mirror", mirror_fields);

static const struct field cors_fields[] = {
	{ F_LIST(struct snap_cors, origins, string_table) },
	{ F_STR(struct snap_cors, methods) },
	{ F_STR(struct snap_cors, headers) },
	{ F_STR(struct snap_cors, expose) },
	{ F_STR(struct snap_cors, max_age) },
	{ F_BOOL(struct snap_cors, credentials) },
	{ F_BOOL(struct snap_cors, answer_unmatched) },
	F_END
};
TABLE(cors_table, struct snap_cors, "Cors", cors_fields);

static const struct field route_fields[] = {
	{ F_STR(struct snap_route, name) },
	{ F_STR(struct snap_route, source) },
	{ F_STR(struct snap_route, file) },
	{ F_INT(struct snap_route, line, 0, UINT32_MAX) },
	{ F_LIST(struct snap_route, matches, match_table) },
	{ F_ENUM(struct snap_route, action, snap_action_names) },
	{ F_LIST(struct snap_route, destinations, weighted_table) },
	{ F_INT(struct snap_route, total_weight, 0, INT64_MAX) },
	{ F_PTR(struct snap_route, redirect, redirect_table) },
	{ F_PTR(struct snap_route, direct, direct_table) },
	{ F_PTR(struct snap_route, rewrite, rewrite_table) },
	{ F_STRUCT(struct snap_route, headers, headers_table) },
	{ F_PTR(struct snap_route, retry, retry_table) },
	{ F_PTR(struct snap_route, fault, fault_table) },
	{ F_LIST(struct snap_route, mirrors, mirror_table) },
	{ F_PTR(struct snap_route, cors, cors_table) },
	{ F_US(struct snap_route, timeout_us) },
	F_END
};
TABLE(route_table, struct snap_route, "Route", route_fields);

static const struct field vhost_fields[] = {
	{ F_STR(struct snap_vhost, name), .flags = FIELD_REQUIRED },
	{ F_PORT(struct snap_vhost, port) },
	{ F_STR_LIST(struct snap_vhost, domains), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_vhost, service) },
	{ F_LIST(struct snap_vhost, routes, route_table) },
	F_END
};
TABLE(vhost_table, struct snap_vhost, "VirtualHost", vhost_fields);

static const struct field l4_fields[] = {
	{ F_STR(struct snap_l4, name), .flags = FIELD_REQUIRED },
	{ F_STR(struct snap_l4, service) },
	{ F_PORT(struct snap_l4, port) },
	{ F_STR_LIST(struct snap_l4, addresses) },
	{ F_STR_LIST(struct snap_l4, sni) },
	{ F_LIST(struct snap_l4, destinations, weighted_table),
	  .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_INT(struct snap_l4, total_weight, 1, INT64_MAX), .flags = FIELD_REQUIRED },
	F_END
};
TABLE(l4_table, struct snap_l4, "L4", l4_fields);

static const struct field view_fields[] = {
	{ F_STR(struct snap_view, name) },
	{ F_ENUM(struct snap_view, outbound, snap_outbound_names) },
	{ F_LIST(struct snap_view, vhosts, vhost_table) },
	{ F_LIST(struct snap_view, l4, l4_table) },
	F_END
};
TABLE(view_table, struct snap_view, "View", view_fields);

/* ---- clusters ------------------------------------------------------------------------------- */
static const struct field certificate_fields[] = {
	{ F_STR(struct snap_certificate, cert), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_certificate, key), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	F_END
};
TABLE(certificate_table, struct snap_certificate, "Certificate", certificate_fields);

static const struct field tls_fields[] = {
	{ F_ENUM(struct snap_tls, mode, snap_tls_mode_names) },
	{ F_STR(struct snap_tls, sni) },
	{ F_STR_LIST(struct snap_tls, sans) },
	{ F_STR(struct snap_tls, cert) },
	{ F_STR(struct snap_tls, key) },
	{ F_STR(struct snap_tls, ca) },
	{ F_LIST(struct snap_tls, more, certificate_table) },
	{ F_STR(struct snap_tls, crl) },
	{ F_BOOL(struct snap_tls, crl_optional) },
	{ F_BOOL(struct snap_tls, skip_verify) },
	F_END
};
TABLE(tls_table, struct snap_tls, "Tls", tls_fields);

static const struct field hash_fields[] = {
	{ F_ENUM(struct snap_hash, source, snap_hash_source_names) },
	{ F_STR(struct snap_hash, name) },
	{ F_STR(struct snap_hash, cookie_path) },
	{ F_INT(struct snap_hash, cookie_ttl_us, -1, US_MAX) },
	{ F_LIST(struct snap_hash, attributes, pair_table) },
	{ F_INT(struct snap_hash, table_size, 0, 8 << 20) },
	F_END
};
TABLE(hash_table, struct snap_hash, "Hash", hash_fields);

static const struct field limits_fields[] = {
	{ F_INT(struct snap_limits, max_connections, 0, COUNT_MAX) },
	{ F_INT(struct snap_limits, max_pending, 0, COUNT_MAX) },
	{ F_INT(struct snap_limits, max_requests, 0, COUNT_MAX) },
	{ F_INT(struct snap_limits, max_retries, 0, COUNT_MAX) },
	{ F_INT(struct snap_limits, retry_budget_ppm, 0, PPM_MAX) },
	{ F_INT(struct snap_limits, retry_budget_min, 0, COUNT_MAX) },
	{ F_INT(struct snap_limits, max_requests_per_connection, 0, COUNT_MAX) },
	{ F_INT(struct snap_limits, max_streams, 0, COUNT_MAX) },
	{ F_US(struct snap_limits, ping_interval_us) },
	{ F_US(struct snap_limits, ping_timeout_us) },
	{ F_US(struct snap_limits, max_age_us) },
	{ F_US(struct snap_limits, connect_timeout_us) },
	{ F_US(struct snap_limits, idle_timeout_us) },
	{ F_US(struct snap_limits, keepalive_time_us) },
	{ F_US(struct snap_limits, keepalive_interval_us) },
	{ F_INT(struct snap_limits, keepalive_probes, 0, INT32_MAX) },
	F_END
};
TABLE(limits_table, struct snap_limits, "Limits", limits_fields);

static const struct field outlier_fields[] = {
	{ F_INT(struct snap_outlier, consecutive_5xx, 0, COUNT_MAX) },
	{ F_INT(struct snap_outlier, consecutive_gateway, 0, COUNT_MAX) },
	{ F_INT(struct snap_outlier, consecutive_local, 0, COUNT_MAX) },
	{ F_BOOL(struct snap_outlier, split_local) },
	{ F_US(struct snap_outlier, interval_us) },
	{ F_US(struct snap_outlier, base_ejection_us) },
	{ F_INT(struct snap_outlier, max_ejection_percent, 0, 100) },
	{ F_INT(struct snap_outlier, min_health_percent, 0, 100) },
	{ F_INT_LIST(struct snap_outlier, codes, 100, 599) },
	F_END
};
TABLE(outlier_table, struct snap_outlier, "Outlier", outlier_fields);

static const struct field warmup_fields[] = {
	{ F_INT(struct snap_warmup, duration_us, 1, US_MAX), .flags = FIELD_REQUIRED },
	{ F_INT(struct snap_warmup, minimum_ppm, 0, PPM_MAX) },
	{ F_INT(struct snap_warmup, aggression_milli, 1, 1000000), .flags = FIELD_REQUIRED },
	F_END
};
TABLE(warmup_table, struct snap_warmup, "Warmup", warmup_fields);

static const struct field peer_fields[] = {
	{ F_STR(struct snap_peer, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_peer, ns) },
	{ F_STR(struct snap_peer, sa) },
	{ F_STR(struct snap_peer, principal) },
	{ F_STR(struct snap_peer, app) },
	{ F_STR(struct snap_peer, version) },
	{ F_STR(struct snap_peer, canonical_name) },
	{ F_STR(struct snap_peer, canonical_revision) },
	{ F_STR(struct snap_peer, cluster) },
	{ F_LABELS(struct snap_peer, labels) },
	{ F_BOOL(struct snap_peer, gateway) },
	F_END
};
TABLE(peer_table, struct snap_peer, "Peer", peer_fields);

static const struct field endpoint_fields[] = {
	{ F_STR(struct snap_endpoint, address), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_PORT(struct snap_endpoint, port) },
	{ F_INT(struct snap_endpoint, weight, 1, COUNT_MAX), .flags = FIELD_REQUIRED },
	{ F_INDEX_OR_NONE(struct snap_endpoint, peer) },
	{ F_STR(struct snap_endpoint, locality) },
	{ F_INT(struct snap_endpoint, priority, 0, SNAP_PRIORITIES_MAX - 1) },
	{ F_STR(struct snap_endpoint, alternate) },
	{ F_STR(struct snap_endpoint, mesh_address) },
	{ F_PORT(struct snap_endpoint, mesh_port) },
	{ F_STR(struct snap_endpoint, mesh_sni) },
	{ F_BOOL(struct snap_endpoint, inactive) },
	F_END
};
TABLE(endpoint_table, struct snap_endpoint, "Endpoint", endpoint_fields);

static const struct field cluster_fields[] = {
	{ F_STR(struct snap_cluster, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_ENUM(struct snap_cluster, kind, snap_cluster_kind_names) },
	{ F_STR(struct snap_cluster, service) },
	{ F_STR(struct snap_cluster, service_name) },
	{ F_STR(struct snap_cluster, service_ns) },
	{ F_STR(struct snap_cluster, subset) },
	{ F_PORT(struct snap_cluster, port) },
	{ F_BOOL(struct snap_cluster, one_address) },
	{ F_PORT(struct snap_cluster, dial_port) },
	{ F_ENUM(struct snap_cluster, protocol, snap_protocol_names) },
	{ F_ENUM(struct snap_cluster, lb, snap_lb_names) },
	{ F_PTR(struct snap_cluster, hash, hash_table) },
	{ F_ENUM(struct snap_cluster, http2, snap_http2_names) },
	{ F_STRUCT(struct snap_cluster, limits, limits_table) },
	{ F_PTR(struct snap_cluster, outlier, outlier_table) },
	{ F_PTR(struct snap_cluster, warmup, warmup_table) },
	{ F_STRUCT(struct snap_cluster, tls, tls_table) },
	{ F_STR(struct snap_cluster, tunnel) },
	{ F_INT(struct snap_cluster, proxy_protocol, 0, 2) },
	{ F_LIST(struct snap_cluster, endpoints, endpoint_table) },
	{ F_STR(struct snap_cluster, destination_rule) },
	F_END
};
TABLE(cluster_table, struct snap_cluster, "Cluster", cluster_fields);

/* ---- the inbound side, listeners, settings -------------------------------------------------- */
static const struct field service_ref_fields[] = {
	{ F_STR(struct snap_service_ref, service), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_service_ref, name) },
	{ F_STR(struct snap_service_ref, ns) },
	{ F_PORT(struct snap_service_ref, port) },
	F_END
};
TABLE(service_ref_table, struct snap_service_ref, "ServiceRef", service_ref_fields);

static const struct field application_fields[] = {
	{ F_STR(struct snap_application, address) },
	{ F_PORT(struct snap_application, port) },
	{ F_INDEX_OR_NONE(struct snap_application, cluster) },
	F_END
};
TABLE(application_table, struct snap_application, "Application", application_fields);

static const struct field inbound_fields[] = {
	{ F_INDEX(struct snap_inbound, workload) },
	{ F_STR(struct snap_inbound, address), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_PORT(struct snap_inbound, port) },
	{ F_ENUM(struct snap_inbound, protocol, snap_protocol_names) },
	{ F_ENUM(struct snap_inbound, mtls, snap_mtls_names) },
	{ F_STR(struct snap_inbound, policy) },
	{ F_LIST(struct snap_inbound, services, service_ref_table) },
	{ F_PTR(struct snap_inbound, application, application_table) },
	{ F_BOOL(struct snap_inbound, captured) },
	F_END
};
TABLE(inbound_table, struct snap_inbound, "Inbound", inbound_fields);

static const struct field sni_fields[] = {
	{ F_STR(struct snap_sni, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_INT_LIST(struct snap_sni, targets, 0, INDEX_MAX),
	  .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_INDEX_OR_NONE(struct snap_sni, service) },
	F_END
};
TABLE(sni_table, struct snap_sni, "Sni", sni_fields);

static const struct field workload_fields[] = {
	{ F_INDEX(struct snap_workload, peer) },
	{ F_INDEX(struct snap_workload, identity) },
	{ F_INDEX(struct snap_workload, view) },
	{ F_STR(struct snap_workload, unit) },
	{ F_STR(struct snap_workload, user) },
	{ F_STR(struct snap_workload, executable) },
	{ F_STR(struct snap_workload, executable_sha256) },
	{ F_INT_LIST(struct snap_workload, policies, 0, INDEX_MAX) },
	{ F_INT_LIST(struct snap_workload, jwt_rules, 0, INDEX_MAX) },
	{ F_BOOL(struct snap_workload, ambiguous_paths) },
	{ F_INT(struct snap_workload, authorizer, 0, INDEX_MAX) },
	F_END
};
TABLE(workload_table, struct snap_workload, "Workload", workload_fields);

static const struct field server_fields[] = {
	{ F_STR_LIST(struct snap_server, hosts), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STRUCT(struct snap_server, tls, tls_table) },
	{ F_BOOL(struct snap_server, opaque) },
	{ F_BOOL(struct snap_server, optional_client) },
	{ F_STR_LIST(struct snap_server, spki) },
	{ F_STR_LIST(struct snap_server, hashes) },
	{ F_BOOL(struct snap_server, tls13) },
	{ F_BOOL(struct snap_server, tls12) },
	{ F_STR(struct snap_server, ciphers) },
	{ F_STR(struct snap_server, at) },
	{ F_INDEX(struct snap_server, view) },
	F_END
};
TABLE(server_table, struct snap_server, "Server", server_fields);

static const struct field listener_fields[] = {
	{ F_ENUM(struct snap_listener, kind, snap_listener_kind_names) },
	{ F_STR(struct snap_listener, address), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_PORT(struct snap_listener, port) },
	{ F_BOOL(struct snap_listener, optional) },
	{ F_STR(struct snap_listener, service) },
	{ F_PORT(struct snap_listener, service_port) },
	{ F_INDEX_OR_NONE(struct snap_listener, view) },
	{ F_BOOL(struct snap_listener, opaque) },
	{ F_LIST(struct snap_listener, servers, server_table) },
	F_END
};
TABLE(listener_table, struct snap_listener, "Listener", listener_fields);

static const struct field settings_fields[] = {
	{ F_STR(struct snap_settings, trust_domain), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_settings, domain_suffix) },
	{ F_STR(struct snap_settings, cluster) },
	{ F_STR(struct snap_settings, node) },
	{ F_BOOL(struct snap_settings, refuse_unregistered) },
	{ F_ENUM(struct snap_settings, path_normalization, snap_normalize_names) },
	{ F_INT(struct snap_settings, detection_timeout_us, 0, 50000) },
	{ F_STR(struct snap_settings, access_log) },
	{ F_BOOL(struct snap_settings, access_log_json) },
	{ F_STR(struct snap_settings, access_log_format) },
	{ F_INT(struct snap_settings, workers, 0, 256) },
	{ F_INT(struct snap_settings, max_connections, 0, COUNT_MAX) },
	{ F_INT(struct snap_settings, max_header_bytes, 0, 1 << 20) },
	{ F_INT(struct snap_settings, max_body_bytes, 0, BYTES_MAX) },
	{ F_US(struct snap_settings, header_timeout_us) },
	{ F_US(struct snap_settings, idle_timeout_us) },
	{ F_US(struct snap_settings, stream_idle_timeout_us) },
	{ F_US(struct snap_settings, drain_us) },
	{ F_US(struct snap_settings, dns_refresh_us) },
	{ F_INT(struct snap_settings, retry_body_bytes, 0, 1 << 24) },
	{ F_INT(struct snap_settings, max_memory_bytes, 0, INT64_MAX) },
	{ F_INT(struct snap_settings, max_total_connections, 0, 10000000) },
	{ F_INT(struct snap_settings, max_handshakes, 0, 1000000) },
	{ F_INT(struct snap_settings, max_handshakes_per_source, 0, 1000000) },
	{ F_BOOL(struct snap_settings, edge) },
	{ F_INT(struct snap_settings, trusted_proxies, 0, 255) },
	{ F_BOOL(struct snap_settings, proxy_protocol) },
	{ F_ENUM(struct snap_settings, client_cert, snap_client_cert_names) },
	F_END
};
TABLE(settings_table, struct snap_settings, "Settings", settings_fields);

static const struct field snap_fields[] = {
	{ F_INT(struct snap, version, 0, INT64_MAX) },
	{ F_STR(struct snap, proxy), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STRUCT(struct snap, settings, settings_table) },
	{ F_LIST(struct snap, listeners, listener_table) },
	{ F_STR_LIST(struct snap, identities), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_LIST(struct snap, peers, peer_table) },
	{ F_LIST(struct snap, workloads, workload_table) },
	{ F_LIST(struct snap, views, view_table) },
	{ F_LIST(struct snap, clusters, cluster_table) },
	{ F_LIST(struct snap, inbounds, inbound_table) },
	{ F_LIST(struct snap, snis, sni_table) },
	{ F_LIST(struct snap, policies, snap_policy_table) },
	{ F_LIST(struct snap, jwt_rules, snap_jwt_rule_table) },
	{ F_LIST(struct snap, authorizers, snap_authorizer_table) },
	{ F_PTR(struct snap, residency, snap_residency_table) },
	F_END
};
const struct bind_table snap_table = {
	.name = "Snapshot", .size = sizeof(struct snap), .origin_offset = -1, .fields = snap_fields
};
