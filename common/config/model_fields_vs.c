/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of VirtualService. Layer config.
 * From them come reading, writing, the manual (explain) and the list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_virtual_service
static const struct field virtual_service_fields[] = {
	{ F_STR_LIST(T, hosts), .flags = FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Host names that the rules are for; a short name is resolved in the "
	          "resource's namespace, \"*.\" covers a suffix" },
	{ F_STR_LIST(T, gateways), P1, SINCE("1.8"),
	  .help = "Gateways that apply the rules; the word mesh stands for every workload's "
	          "proxy (default mesh)" },
	{ F_LIST(T, http, model_http_route_table), P1, SINCE("1.8"),
	  .help = "HTTP routes; the first that matches is taken" },
	{ F_LIST(T, tls, model_tls_route_table), P1, SINCE("1.8"),
	  .help = "Routes by SNI for TLS that is passed through" },
	{ F_LIST(T, tcp, model_tcp_route_table), P1, SINCE("1.8"),
	  .help = "Routes for opaque TCP" },
	{ F_STR_LIST(T, exportTo), P2, SINCE("1.8"),
	  .help = "Namespaces that see it: \".\", \"*\" or names (default \"*\")" },
	F_END
};
const struct bind_table model_virtual_service_table =
	TABLE("VirtualService", virtual_service_fields);
#undef T

#define T struct model_http_route
static const struct field http_route_fields[] = {
	{ F_STR(T, name), P2, SINCE("1.8"),
	  .help = "Name in the access log (%ROUTE_NAME%)" },
	{ F_LIST(T, match, model_http_match_table), P1, SINCE("1.8"),
	  .help = "Conditions, one of which must hold; none: every request" },
	{ F_LIST(T, route, model_http_route_destination_table), P1, SINCE("1.8"),
	  .help = "Destinations with weights; excludes redirect and directResponse" },
	{ F_PTR(T, redirect, model_http_redirect_table), P1, SINCE("1.8"),
	  .help = "Answer with a redirect instead of forwarding" },
	{ F_PTR(T, directResponse, model_http_direct_response_table), P2, SINCE("1.15"),
	  .help = "Answer with a fixed status and body" },
	{ F_PTR(T, delegate, model_delegate_table), P3, SINCE("1.8"),
	  .help = "VirtualService that holds the sub-routes" },
	{ F_PTR(T, rewrite, model_http_rewrite_table), P1, SINCE("1.8"),
	  .help = "Change path or authority before forwarding" },
	{ F_TIME(T, timeout), P1, SINCE("1.8"),
	  .help = "Deadline for the whole request with its retries; 0s: none (default none)" },
	{ F_PTR(T, retries, model_http_retry_table), P1, SINCE("1.8"),
	  .help = "Retry policy (default: mesh.defaultHttpRetryPolicy)" },
	{ F_PTR(T, fault, model_http_fault_table), P1, SINCE("1.8"),
	  .help = "Delays and aborts injected on the client's side" },
	{ F_PTR(T, mirror, model_destination_table), P1, SINCE("1.8"),
	  .help = "One destination that gets a copy of the requests; excludes mirrors" },
	{ F_LIST(T, mirrors, model_http_mirror_table), P2, SINCE("1.19"),
	  .help = "Several such destinations with their own percentage" },
	{ F_INT(T, mirrorPercent, 0, 100), F_OPT(T, has_mirrorPercent), P2, SINCE("1.8"),
	  .help = "Old integer form of mirrorPercentage" },
	{ F_PTR(T, mirrorPercentage, model_percent_table), P1, SINCE("1.8"),
	  .help = "Share of requests that is mirrored (default 100)" },
	{ F_PTR(T, corsPolicy, model_cors_policy_table), P2, SINCE("1.8"),
	  .help = "Answers to CORS preflights and headers for other origins" },
	{ F_PTR(T, headers, model_headers_table), P1, SINCE("1.8"),
	  .help = "Header operations for all destinations of the route" },
	F_END
};
const struct bind_table model_http_route_table = TABLE_AT("HTTPRoute", http_route_fields);
#undef T

#define T struct model_http_match
static const struct field http_match_fields[] = {
	{ F_STR(T, name), P2, SINCE("1.8"),
	  .help = "Appended to the route's name in the access log" },
	{ F_PTR(T, uri, model_string_match_table), P1, SINCE("1.8"),
	  .help = "Path without query and fragment" },
	{ F_PTR(T, scheme, model_string_match_table), P2, SINCE("1.8"),
	  .help = "http or https" },
	{ F_PTR(T, method, model_string_match_table), P1, SINCE("1.8"),
	  .help = "Request method, case-sensitive" },
	{ F_PTR(T, authority, model_string_match_table), P1, SINCE("1.8"),
	  .help = "Host header as it was sent, with its port" },
	{ F_MAP(T, headers, model_named_match_table), P1, SINCE("1.8"),
	  .help = "Header name in lower case to matcher; an empty matcher: the header is "
	          "present" },
	{ F_MAP(T, withoutHeaders, model_named_match_table), P2, SINCE("1.8"),
	  .help = "Headers that must not match" },
	{ F_MAP(T, queryParams, model_named_match_table), P2, SINCE("1.8"),
	  .help = "Query parameter to matcher, first occurrence; an empty matcher: it is "
	          "present" },
	{ F_INT(T, port, 0, 65535), P1, SINCE("1.8"),
	  .help = "Port of the service that the client asked for" },
	{ F_LABELS(T, sourceLabels), P2, SINCE("1.8"),
	  .help = "Labels that the calling workload must have" },
	{ F_STR_LIST(T, gateways), P2, SINCE("1.8"),
	  .help = "Narrows the gateways of the VirtualService for this match" },
	{ F_BOOL(T, ignoreUriCase), P2, SINCE("1.8"),
	  .help = "Compare an exact or prefix uri without regard to case (default false)" },
	{ F_STR(T, sourceNamespace), P2, SINCE("1.8"),
	  .help = "Namespace of the calling workload" },
	{ F_STR(T, statPrefix), P3, SINCE("1.15"),
	  IGNORED("Envoy's own per-route statistics; kvmesh has Istio's standard metrics"),
	  .help = "Prefix for extra statistics of the route" },
	F_END
};
const struct bind_table model_http_match_table = TABLE_AT("HTTPMatchRequest", http_match_fields);
#undef T

#define T struct model_string_match
static const struct field string_match_fields[] = {
	{ F_STR(T, exact), ONEOF(1), P1, SINCE("1.8"),
	  .help = "The whole string is equal" },
	{ F_STR(T, prefix), ONEOF(1), P1, SINCE("1.8"),
	  .help = "The string begins with it; not aware of path segments" },
	{ F_STR(T, regex), ONEOF(1), P1, SINCE("1.8"),
	  .help = "RE2 expression for the whole string, at most 1024 bytes" },
	F_END
};
const struct bind_table model_string_match_table = TABLE("StringMatch", string_match_fields);
#undef T

#define T struct model_named_match
static const struct field named_match_fields[] = {
	{ F_STR(T, match.exact), .name = "exact", ONEOF(1), P1, SINCE("1.8"),
	  .help = "The whole string is equal; \"\" asks for presence" },
	{ F_STR(T, match.prefix), .name = "prefix", ONEOF(1), P1, SINCE("1.8"),
	  .help = "The string begins with it" },
	{ F_STR(T, match.regex), .name = "regex", ONEOF(1), P1, SINCE("1.8"),
	  .help = "RE2 expression for the whole string; \"*\" asks for presence" },
	F_END
};
const struct bind_table model_named_match_table = TABLE("StringMatch", named_match_fields);
#undef T

#define T struct model_destination
static const struct field destination_fields[] = {
	{ F_STR(T, host), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Service: short name, FQDN or host of a ServiceEntry" },
	{ F_STR(T, subset), P1, SINCE("1.8"),
	  .help = "Subset that a DestinationRule of the host defines" },
	{ F_PTR(T, port, model_port_selector_table), P1, SINCE("1.8"),
	  .help = "Port of the service; needed when it has several and the listener's is none"
	          " of them" },
	F_END
};
const struct bind_table model_destination_table = TABLE_AT("Destination", destination_fields);
#undef T

#define T struct model_port_selector
static const struct field port_selector_fields[] = {
	{ F_INT(T, number, 1, 65535), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Port number" },
	F_END
};
const struct bind_table model_port_selector_table = TABLE("PortSelector", port_selector_fields);
#undef T

#define T struct model_http_route_destination
static const struct field http_route_destination_fields[] = {
	{ F_PTR(T, destination, model_destination_table), .flags = FIELD_REQUIRED, P1,
	  SINCE("1.8"),
	  .help = "Where requests go" },
	{ F_INT(T, weight, 0, INT32_MAX), F_OPT(T, has_weight), P1, SINCE("1.8"),
	  .help = "Share among the destinations of the route; a sole destination takes all "
	          "(default 0)" },
	{ F_PTR(T, headers, model_headers_table), P1, SINCE("1.8"),
	  .help = "Header operations for this destination" },
	F_END
};
const struct bind_table model_http_route_destination_table =
	TABLE_AT("HTTPRouteDestination", http_route_destination_fields);
#undef T

#define T struct model_route_destination
static const struct field route_destination_fields[] = {
	{ F_PTR(T, destination, model_destination_table), .flags = FIELD_REQUIRED, P1,
	  SINCE("1.8"),
	  .help = "Where connections go" },
	{ F_INT(T, weight, 0, INT32_MAX), F_OPT(T, has_weight), P1, SINCE("1.8"),
	  .help = "Share among the destinations of the route (default 0)" },
	F_END
};
const struct bind_table model_route_destination_table =
	TABLE_AT("RouteDestination", route_destination_fields);
#undef T

#define T struct model_headers
static const struct field headers_fields[] = {
	{ F_PTR(T, request, model_header_operations_table), P1, SINCE("1.8"),
	  .help = "Operations on the request before it is forwarded" },
	{ F_PTR(T, response, model_header_operations_table), P1, SINCE("1.8"),
	  .help = "Operations on the response before it goes back" },
	F_END
};
const struct bind_table model_headers_table = TABLE("Headers", headers_fields);
#undef T

#define T struct model_header_operations
static const struct field header_operations_fields[] = {
	{ F_LABELS(T, set), P1, SINCE("1.8"),
	  .help = "Headers to overwrite; values may use %OPERATORS%, a percent sign is %%" },
	{ F_LABELS(T, add), P1, SINCE("1.8"),
	  .help = "Headers to append" },
	{ F_STR_LIST(T, remove), P1, SINCE("1.8"),
	  .help = "Headers to drop" },
	F_END
};
const struct bind_table model_header_operations_table =
	TABLE_AT("HeaderOperations", header_operations_fields);
#undef T

#define T struct model_http_redirect
static const struct field http_redirect_fields[] = {
	{ F_STR(T, uri), P1, SINCE("1.8"),
	  .help = "New path; excludes prefixRewrite" },
	{ F_STR(T, authority), P1, SINCE("1.8"),
	  .help = "New host" },
	{ F_INT(T, port, 1, 65535), F_OPT(T, has_port), ONEOF(1), P2, SINCE("1.12"),
	  .help = "Port in Location" },
	{ F_ENUM(T, derivePort, model_redirect_port_names), F_OPT(T, has_derivePort), ONEOF(1),
	  P2, SINCE("1.12"),
	  .help = "Which port to write when port is not given" },
	{ F_STR(T, scheme), P2, SINCE("1.12"),
	  .help = "http or https" },
	{ F_INT(T, redirectCode, 300, 399), P1, SINCE("1.8"),
	  .help = "Status (default 301)" },
	{ F_STR(T, prefixRewrite), P2, SINCE("dev"),
	  .help = "Replaces the matched prefix of the path" },
	F_END
};
const struct bind_table model_http_redirect_table = TABLE_AT("HTTPRedirect", http_redirect_fields);
#undef T

#define T struct model_http_direct_response
static const struct field http_direct_response_fields[] = {
	{ F_INT(T, status, 200, 599), .flags = FIELD_REQUIRED, P2, SINCE("1.15"),
	  .help = "Status of the answer" },
	{ F_PTR(T, body, model_http_body_table), P2, SINCE("1.15"),
	  .help = "Body of the answer, at most 1 MiB" },
	F_END
};
const struct bind_table model_http_direct_response_table =
	TABLE_AT("HTTPDirectResponse", http_direct_response_fields);
#undef T

#define T struct model_http_body
static const struct field http_body_fields[] = {
	{ F_STR(T, string), ONEOF(1), P2, SINCE("1.15"),
	  .help = "Body as text" },
	{ F_STR(T, bytes), ONEOF(1), P2, SINCE("1.15"),
	  .help = "Body in base64" },
	F_END
};
const struct bind_table model_http_body_table = TABLE("HTTPBody", http_body_fields);
#undef T

#define T struct model_delegate
static const struct field delegate_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED, P3, SINCE("1.8"),
	  .help = "Name of the other VirtualService" },
	{ F_STR(T, namespace), P3, SINCE("1.8"),
	  .help = "Its namespace (default: the same)" },
	F_END
};
const struct bind_table model_delegate_table = TABLE("Delegate", delegate_fields);
#undef T

#define T struct model_http_rewrite
static const struct field http_rewrite_fields[] = {
	{ F_STR(T, uri), P1, SINCE("1.8"),
	  .help = "Replaces the matched prefix, or the whole path under an exact match; "
	          "excludes uriRegexRewrite" },
	{ F_STR(T, authority), P1, SINCE("1.8"),
	  .help = "New Host header" },
	{ F_PTR(T, uriRegexRewrite, model_regex_rewrite_table), P2, SINCE("1.19"),
	  .help = "Substitution on the path by a regular expression" },
	F_END
};
const struct bind_table model_http_rewrite_table = TABLE_AT("HTTPRewrite", http_rewrite_fields);
#undef T

#define T struct model_regex_rewrite
static const struct field regex_rewrite_fields[] = {
	{ F_STR(T, match), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.19"),
	  .help = "RE2 expression; every occurrence is replaced" },
	{ F_STR(T, rewrite), .flags = FIELD_REQUIRED, P2, SINCE("1.19"),
	  .help = "Replacement; \\1 to \\9 are groups, \\0 the whole match" },
	F_END
};
const struct bind_table model_regex_rewrite_table = TABLE_AT("RegexRewrite", regex_rewrite_fields);
#undef T

#define T struct model_http_retry
static const struct field http_retry_fields[] = {
	{ F_INT(T, attempts, 0, INT32_MAX), F_OPT(T, has_attempts), .flags = FIELD_REQUIRED, P1,
	  SINCE("1.8"),
	  .help = "Retries after the first try; 0 turns them off" },
	{ F_TIME(T, perTryTimeout), F_OPT(T, has_perTryTimeout), P1, SINCE("1.8"),
	  .help = "Deadline of each try (default: the route's timeout)" },
	{ F_STR(T, retryOn), P1, SINCE("1.8"),
	  .help = "Conditions separated by commas, also status codes (default: Istio's list)" },
	{ F_BOOL(T, retryRemoteLocalities), F_OPT(T, has_retryRemoteLocalities), P3,
	  SINCE("1.8"),
	  .help = "Every second try leaves the localities that were tried" },
	{ F_BOOL(T, retryIgnorePreviousHosts), F_OPT(T, has_retryIgnorePreviousHosts), P2,
	  SINCE("1.26"),
	  .help = "Prefer hosts that were not tried yet (default true)" },
	{ F_TIME(T, backoff), F_OPT(T, has_backoff), P2, SINCE("1.26"),
	  .help = "Base of the jittered back-off (default 25ms)" },
	F_END
};
const struct bind_table model_http_retry_table = TABLE_AT("HTTPRetry", http_retry_fields);
#undef T

#define T struct model_http_fault
static const struct field http_fault_fields[] = {
	{ F_PTR(T, delay, model_fault_delay_table), P1, SINCE("1.8"),
	  .help = "Delay before forwarding" },
	{ F_PTR(T, abort, model_fault_abort_table), P1, SINCE("1.8"),
	  .help = "Answer with an error instead of forwarding" },
	F_END
};
const struct bind_table model_http_fault_table = TABLE_AT("HTTPFaultInjection", http_fault_fields);
#undef T

#define T struct model_fault_delay
static const struct field fault_delay_fields[] = {
	{ F_INT(T, percent, 0, 100), F_OPT(T, has_percent), P2, SINCE("1.8"),
	  .help = "Old integer form of percentage" },
	{ F_TIME(T, fixedDelay), ONEOF(1), P1, SINCE("1.8"),
	  .help = "How long" },
	{ F_TIME(T, exponentialDelay), ONEOF(1), P3, SINCE("1.8"),
	  REFUSED("Istio never implemented it; use fixedDelay"),
	  .help = "Exponentially distributed delay" },
	{ F_PTR(T, percentage, model_percent_table), P1, SINCE("1.8"),
	  .help = "Share of requests; absent: none" },
	F_END
};
const struct bind_table model_fault_delay_table = TABLE_AT("Delay", fault_delay_fields);
#undef T

#define T struct model_fault_abort
static const struct field fault_abort_fields[] = {
	{ F_INT(T, httpStatus, 200, 600), F_OPT(T, has_httpStatus), ONEOF(1), P1, SINCE("1.8"),
	  .help = "Status of the answer" },
	{ F_STR(T, grpcStatus), ONEOF(1), P2, SINCE("1.8"),
	  .help = "gRPC status by name, for example UNAVAILABLE" },
	{ F_STR(T, http2Error), ONEOF(1), P3, SINCE("1.8"),
	  REFUSED("Istio never implemented it; use httpStatus"),
	  .help = "HTTP/2 error code" },
	{ F_PTR(T, percentage, model_percent_table), P1, SINCE("1.8"),
	  .help = "Share of requests; absent: none" },
	F_END
};
const struct bind_table model_fault_abort_table = TABLE_AT("Abort", fault_abort_fields);
#undef T

#define T struct model_percent
static const struct field percent_fields[] = {
	{ F_REAL(T, value, 0, 100), P1, SINCE("1.8"),
	  .help = "0 or 0.0001 to 100" },
	F_END
};
const struct bind_table model_percent_table = TABLE("Percent", percent_fields);
#undef T

#define T struct model_http_mirror
static const struct field http_mirror_fields[] = {
	{ F_PTR(T, destination, model_destination_table), .flags = FIELD_REQUIRED, P2,
	  SINCE("1.19"),
	  .help = "Where the copies go" },
	{ F_PTR(T, percentage, model_percent_table), P2, SINCE("1.19"),
	  .help = "Share of requests (default 100)" },
	F_END
};
const struct bind_table model_http_mirror_table = TABLE_AT("HTTPMirrorPolicy", http_mirror_fields);
#undef T

#define T struct model_cors_policy
static const struct field cors_policy_fields[] = {
	{ F_STR_LIST(T, allowOrigin), P2, SINCE("1.8"),
	  .help = "Old list of exact origins; ignored when allowOrigins is given" },
	{ F_LIST(T, allowOrigins, model_cors_origin_table), P2, SINCE("1.8"),
	  .help = "Matchers for the Origin header" },
	{ F_STR_LIST(T, allowMethods), P2, SINCE("1.8"),
	  .help = "Methods for Access-Control-Allow-Methods, or \"*\"" },
	{ F_STR_LIST(T, allowHeaders), P2, SINCE("1.8"),
	  .help = "Header names for Access-Control-Allow-Headers" },
	{ F_STR_LIST(T, exposeHeaders), P2, SINCE("1.8"),
	  .help = "Header names for Access-Control-Expose-Headers" },
	{ F_TIME(T, maxAge), F_OPT(T, has_maxAge), P2, SINCE("1.8"),
	  .help = "How long a preflight may be cached; whole seconds" },
	{ F_BOOL(T, allowCredentials), F_OPT(T, has_allowCredentials), P2, SINCE("1.8"),
	  .help = "Send Access-Control-Allow-Credentials: true" },
	{ F_ENUM(T, unmatchedPreflights, model_preflight_names), P2, SINCE("1.23"),
	  .help = "What happens to a preflight of another origin (default FORWARD)" },
	F_END
};
const struct bind_table model_cors_policy_table = TABLE_AT("CorsPolicy", cors_policy_fields);
#undef T

#define T struct model_cors_origin
static const struct field cors_origin_fields[] = {
	{ F_STR(T, exact), ONEOF(1), P1, SINCE("1.8"),
	  .help = "The whole origin is equal" },
	{ F_STR(T, prefix), ONEOF(1), P1, SINCE("1.8"),
	  .help = "The origin begins with it" },
	{ F_STR(T, regex), ONEOF(1), P1, SINCE("1.8"),
	  .help = "RE2 expression for the whole origin" },
	F_END
};
const struct bind_table model_cors_origin_table = TABLE_AT("StringMatch", cors_origin_fields);
#undef T

#define T struct model_tcp_route
static const struct field tcp_route_fields[] = {
	{ F_LIST(T, match, model_l4_match_table), P1, SINCE("1.8"),
	  .help = "Conditions, one of which must hold; none: every connection" },
	{ F_LIST(T, route, model_route_destination_table),
	  .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Destinations with weights" },
	F_END
};
const struct bind_table model_tcp_route_table = TABLE_AT("TCPRoute", tcp_route_fields);
#undef T

#define T struct model_l4_match
static const struct field l4_match_fields[] = {
	{ F_STR_LIST(T, destinationSubnets), P2, SINCE("1.8"),
	  .help = "IPs or CIDRs of the original destination" },
	{ F_INT(T, port, 0, 65535), P1, SINCE("1.8"),
	  .help = "Port that the client asked for" },
	{ F_STR(T, sourceSubnet), P3, SINCE("1.8"),
	  IGNORED("Istio never implemented it"),
	  .help = "Subnet of the client" },
	{ F_LABELS(T, sourceLabels), P2, SINCE("1.8"),
	  .help = "Labels that the calling workload must have" },
	{ F_STR_LIST(T, gateways), P2, SINCE("1.8"),
	  .help = "Narrows the gateways of the VirtualService for this match" },
	{ F_STR(T, sourceNamespace), P2, SINCE("1.8"),
	  .help = "Namespace of the calling workload" },
	F_END
};
const struct bind_table model_l4_match_table = TABLE_AT("L4MatchAttributes", l4_match_fields);
#undef T

#define T struct model_tls_route
static const struct field tls_route_fields[] = {
	{ F_LIST(T, match, model_tls_match_table), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1,
	  SINCE("1.8"),
	  .help = "Conditions, one of which must hold" },
	{ F_LIST(T, route, model_route_destination_table),
	  .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Destinations with weights" },
	F_END
};
const struct bind_table model_tls_route_table = TABLE_AT("TLSRoute", tls_route_fields);
#undef T

#define T struct model_tls_match
static const struct field tls_match_fields[] = {
	{ F_STR_LIST(T, sniHosts), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Server names; each must be one of the VirtualService's hosts or below one" },
	{ F_STR_LIST(T, destinationSubnets), P2, SINCE("1.8"),
	  .help = "IPs or CIDRs of the original destination" },
	{ F_INT(T, port, 0, 65535), P1, SINCE("1.8"),
	  .help = "Port that the client asked for" },
	{ F_LABELS(T, sourceLabels), P2, SINCE("1.8"),
	  .help = "Labels that the calling workload must have" },
	{ F_STR_LIST(T, gateways), P2, SINCE("1.8"),
	  .help = "Narrows the gateways of the VirtualService for this match" },
	{ F_STR(T, sourceNamespace), P2, SINCE("1.8"),
	  .help = "Namespace of the calling workload" },
	F_END
};
const struct bind_table model_tls_match_table = TABLE_AT("TLSMatchAttributes", tls_match_fields);
#undef T
