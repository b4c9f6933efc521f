/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: shared by the files of field tables: how a row is written, the names of enum
 * values, and every table by name, so that their order does not matter. Layer config; private to
 * it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "config/model.h"
#include "doc/bind.h"

/* Rows refine what the F_* macros set (F_OPT, .name): meant. */
#pragma GCC diagnostic ignored "-Woverride-init"

#define P1 .priority = 1
#define P2 .priority = 2
#define P3 .priority = 3
#define SINCE(v) .since = (v)
#define OURS .since = ""
#define ONEOF(n) .oneof = (n)
#define NOT_YET(why) .status = FIELD_NOT_YET, .note = (why)
#define REFUSED(why) .status = FIELD_REFUSED, .note = (why)
#define IGNORED(why) .status = FIELD_IGNORED, .note = (why)

/* A duration that is not negative and at most 100 years. */
#define MODEL_TIME_MAX (INT64_C(36525) * 24 * 3600 * 1000000)
#define F_TIME(T, m) F_DURATION(T, m), .min = 0, .max = MODEL_TIME_MAX

/* T is the struct of the rows; TABLE_AT: it has a member "struct origin at". */
#define TABLE(title, rows)                                                                         \
	{                                                                                          \
		.name = (title), .size = sizeof(T), .origin_offset = -1, .fields = (rows)          \
	}
#define TABLE_AT(title, rows) \
	{ .name = (title), .size = sizeof(T), .origin_offset = offsetof(T, at), .fields = (rows) }

/* ---- names of enum values ----------------------------------------------------------------- */
extern const char *const model_redirect_port_names[];
extern const char *const model_preflight_names[];
extern const char *const model_proxy_protocol_names[];
extern const char *const model_lb_names[];
extern const char *const model_h2_upgrade_names[];
extern const char *const model_client_tls_names[];
extern const char *const model_se_location_names[];
extern const char *const model_se_resolution_names[];
extern const char *const model_sidecar_form_names[];
extern const char *const model_path_ambiguity_names[];
extern const char *const model_capture_mode_names[];
extern const char *const model_failure_mode_names[];
extern const char *const model_server_tls_names[];
extern const char *const model_tls_version_names[];
extern const char *const model_listener_capture_names[];
extern const char *const model_outbound_names[];
extern const char *const model_mtls_names[];
extern const char *const model_authz_action_names[];
extern const char *const model_workload_mode_names[];
extern const char *const model_tag_operation_names[];
extern const char *const model_istio_metric_names[];
extern const char *const model_log_encoding_names[];
extern const char *const model_mesh_h2_names[];
extern const char *const model_mesh_outbound_names[];
extern const char *const model_mesh_inbound_names[];
extern const char *const model_path_normalization_names[];
extern const char *const model_mesh_tls_names[];
extern const char *const model_zipkin_context_names[];
extern const char *const model_interception_names[];
extern const char *const model_tracing_name_names[];
extern const char *const model_xfcc_names[];
extern const char *const model_unknown_country_names[];
extern const char *const model_unregistered_names[];
extern const char *const model_same_node_names[];

/* ---- tables ------------------------------------------------------------------------------- */
extern const struct bind_table model_virtual_service_table;
extern const struct bind_table model_http_route_table;
extern const struct bind_table model_http_match_table;
extern const struct bind_table model_string_match_table;
extern const struct bind_table model_named_match_table;
extern const struct bind_table model_destination_table;
extern const struct bind_table model_port_selector_table;
extern const struct bind_table model_http_route_destination_table;
extern const struct bind_table model_route_destination_table;
extern const struct bind_table model_headers_table;
extern const struct bind_table model_header_operations_table;
extern const struct bind_table model_http_redirect_table;
extern const struct bind_table model_http_direct_response_table;
extern const struct bind_table model_http_body_table;
extern const struct bind_table model_delegate_table;
extern const struct bind_table model_http_rewrite_table;
extern const struct bind_table model_regex_rewrite_table;
extern const struct bind_table model_http_retry_table;
extern const struct bind_table model_http_fault_table;
extern const struct bind_table model_fault_delay_table;
extern const struct bind_table model_fault_abort_table;
extern const struct bind_table model_percent_table;
extern const struct bind_table model_http_mirror_table;
extern const struct bind_table model_cors_policy_table;
extern const struct bind_table model_cors_origin_table;
extern const struct bind_table model_tcp_route_table;
extern const struct bind_table model_l4_match_table;
extern const struct bind_table model_tls_route_table;
extern const struct bind_table model_tls_match_table;
extern const struct bind_table model_destination_rule_table;
extern const struct bind_table model_traffic_policy_table;
extern const struct bind_table model_port_traffic_policy_table;
extern const struct bind_table model_tunnel_table;
extern const struct bind_table model_proxy_protocol_table;
extern const struct bind_table model_retry_budget_table;
extern const struct bind_table model_subset_table;
extern const struct bind_table model_load_balancer_table;
extern const struct bind_table model_consistent_hash_table;
extern const struct bind_table model_http_cookie_table;
extern const struct bind_table model_cookie_attribute_table;
extern const struct bind_table model_ring_hash_table;
extern const struct bind_table model_maglev_table;
extern const struct bind_table model_warmup_table;
extern const struct bind_table model_connection_pool_table;
extern const struct bind_table model_tcp_settings_table;
extern const struct bind_table model_tcp_keepalive_table;
extern const struct bind_table model_http_settings_table;
extern const struct bind_table model_h2_keepalive_table;
extern const struct bind_table model_outlier_detection_table;
extern const struct bind_table model_locality_lb_table;
extern const struct bind_table model_locality_distribute_table;
extern const struct bind_table model_locality_failover_table;
extern const struct bind_table model_zone_aware_lb_table;
extern const struct bind_table model_client_tls_table;
extern const struct bind_table model_service_entry_table;
extern const struct bind_table model_se_port_table;
extern const struct bind_table model_endpoint_table;
extern const struct bind_table model_workload_selector_table;
extern const struct bind_table model_match_labels_table;
extern const struct bind_table model_service_table;
extern const struct bind_table model_service_port_table;
extern const struct bind_table model_workload_table;
extern const struct bind_table model_workload_port_table;
extern const struct bind_table model_namespace_table;
extern const struct bind_table model_sidecar_ports_table;
extern const struct bind_table model_capture_table;
extern const struct bind_table model_certificate_table;
extern const struct bind_table model_resources_table;
extern const struct bind_table model_resource_amounts_table;
extern const struct bind_table model_probe_table;
extern const struct bind_table model_probe_http_table;
extern const struct bind_table model_probe_header_table;
extern const struct bind_table model_probe_tcp_table;
extern const struct bind_table model_probe_exec_table;
extern const struct bind_table model_probe_grpc_table;
extern const struct bind_table model_gateway_table;
extern const struct bind_table model_server_table;
extern const struct bind_table model_gateway_port_table;
extern const struct bind_table model_server_tls_table;
extern const struct bind_table model_tls_certificate_table;
extern const struct bind_table model_sidecar_table;
extern const struct bind_table model_sidecar_ingress_table;
extern const struct bind_table model_sidecar_egress_table;
extern const struct bind_table model_outbound_policy_table;
extern const struct bind_table model_peer_authentication_table;
extern const struct bind_table model_mutual_tls_table;
extern const struct bind_table model_port_mtls_table;
extern const struct bind_table model_request_authentication_table;
extern const struct bind_table model_jwt_rule_table;
extern const struct bind_table model_jwt_header_table;
extern const struct bind_table model_claim_to_header_table;
extern const struct bind_table model_authorization_policy_table;
extern const struct bind_table model_provider_ref_table;
extern const struct bind_table model_authz_rule_table;
extern const struct bind_table model_authz_from_table;
extern const struct bind_table model_authz_to_table;
extern const struct bind_table model_authz_source_table;
extern const struct bind_table model_authz_operation_table;
extern const struct bind_table model_authz_condition_table;
extern const struct bind_table model_target_ref_table;
extern const struct bind_table model_telemetry_table;
extern const struct bind_table model_tracing_table;
extern const struct bind_table model_mode_selector_table;
extern const struct bind_table model_custom_tag_table;
extern const struct bind_table model_tag_value_table;
extern const struct bind_table model_tag_source_table;
extern const struct bind_table model_telemetry_metrics_table;
extern const struct bind_table model_metrics_override_table;
extern const struct bind_table model_tag_override_table;
extern const struct bind_table model_metric_selector_table;
extern const struct bind_table model_access_logging_table;
extern const struct bind_table model_log_filter_table;
extern const struct bind_table model_mesh_config_table;
extern const struct bind_table model_mode_outbound_table;
extern const struct bind_table model_mode_inbound_table;
extern const struct bind_table model_path_normalization_setting_table;
extern const struct bind_table model_tls_config_table;
extern const struct bind_table model_ca_certificate_table;
extern const struct bind_table model_default_providers_table;
extern const struct bind_table model_default_traffic_policy_table;
extern const struct bind_table model_node_table;
extern const struct bind_table model_ca_settings_table;
extern const struct bind_table model_metrics_settings_table;
extern const struct bind_table model_dashboard_settings_table;
extern const struct bind_table model_egress_policy_table;
extern const struct bind_table model_limits_table;
extern const struct bind_table model_router_settings_table;
extern const struct bind_table model_extension_provider_table;
extern const struct bind_table model_ext_authz_http_table, model_ext_authz_grpc_table;
extern const struct bind_table model_check_body_table;
extern const struct bind_table model_zipkin_table;
extern const struct bind_table model_opentelemetry_table;
extern const struct bind_table model_otel_http_table;
extern const struct bind_table model_otel_grpc_table;
extern const struct bind_table model_http_header_table;
extern const struct bind_table model_file_access_log_table;
extern const struct bind_table model_log_format_table;
extern const struct bind_table model_proxy_config_table;
extern const struct bind_table model_gateway_topology_table;
