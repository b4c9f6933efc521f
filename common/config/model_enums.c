/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_enums: the words of every enum field, in the order of the C enums of the model headers.
 * Layer config.
 */
#include "config/model_fields.h"

const char *const model_redirect_port_names[] = {
	"FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT", NULL
};
const char *const model_preflight_names[] = { "UNSPECIFIED", "FORWARD", "IGNORE", NULL };
const char *const model_proxy_protocol_names[] = { "V1", "V2", NULL };
const char *const model_lb_names[] = {
	"UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST", "EWMA", NULL
};
const char *const model_h2_upgrade_names[] = { "DEFAULT", "DO_NOT_UPGRADE", "UPGRADE", NULL };
const char *const model_client_tls_names[] = {
	"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", NULL
};
const char *const model_se_location_names[] = { "MESH_EXTERNAL", "MESH_INTERNAL", NULL };
const char *const model_se_resolution_names[] = {
	"NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS", NULL
};
const char *const model_sidecar_form_names[] = { "shared", "dedicated", NULL };
const char *const model_path_ambiguity_names[] = { "refuse", "allow", NULL };
const char *const model_failure_mode_names[] = { "closed", "open", NULL };
const char *const model_capture_mode_names[] = { "NONE", "REDIRECT", "TPROXY", NULL };
const char *const model_server_tls_names[] = {
	"PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL",
	NULL
};
const char *const model_tls_version_names[] = {
	"TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3", NULL
};
const char *const model_listener_capture_names[] = { "DEFAULT", "IPTABLES", "NONE", NULL };
const char *const model_outbound_names[] = { "REGISTRY_ONLY", "ALLOW_ANY", NULL };
const char *const model_mtls_names[] = { "UNSET", "DISABLE", "PERMISSIVE", "STRICT", NULL };
const char *const model_authz_action_names[] = { "ALLOW", "DENY", "AUDIT", "CUSTOM", NULL };
const char *const model_workload_mode_names[] = { "CLIENT_AND_SERVER", "CLIENT", "SERVER", NULL };
const char *const model_tag_operation_names[] = { "UPSERT", "REMOVE", NULL };
const char *const model_istio_metric_names[] = {
	"ALL_METRICS", "REQUEST_COUNT", "REQUEST_DURATION", "REQUEST_SIZE", "RESPONSE_SIZE",
	"TCP_OPENED_CONNECTIONS", "TCP_CLOSED_CONNECTIONS", "TCP_SENT_BYTES",
	"TCP_RECEIVED_BYTES", "GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES", NULL
};
const char *const model_log_encoding_names[] = { "TEXT", "JSON", NULL };
const char *const model_mesh_h2_names[] = { "DO_NOT_UPGRADE", "UPGRADE", NULL };
const char *const model_mesh_outbound_names[] = {
	"REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS", NULL
};
const char *const model_mesh_inbound_names[] = { "PASSTHROUGH", "LOCALHOST", NULL };
const char *const model_path_normalization_names[] = {
	"DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES", NULL
};
const char *const model_mesh_tls_names[] = { "TLS_AUTO", "TLSV1_2", "TLSV1_3", NULL };
const char *const model_zipkin_context_names[] = { "USE_B3", "USE_B3_WITH_W3C_PROPAGATION", NULL };
const char *const model_interception_names[] = { "REDIRECT", "TPROXY", "NONE", NULL };
const char *const model_tracing_name_names[] = {
	"APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE", NULL
};
const char *const model_xfcc_names[] = {
	"UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET",
	"ALWAYS_FORWARD_ONLY", NULL
};
const char *const model_unknown_country_names[] = { "refuse", "allow", NULL };
const char *const model_unregistered_names[] = { "node", "refuse", NULL };
const char *const model_same_node_names[] = { "mtls", "local", NULL };
