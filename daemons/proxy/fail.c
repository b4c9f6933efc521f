/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail: one row per way to fail (istio-semantics 2.17): Envoy's flag, status, details and the text
 * that users grep for. Layer proxy.
 */
#include "config.h"

#include "proxy/fail.h"

#define RESET(reason) \
	"upstream connect error or disconnect/reset before headers. reset reason: " reason

const struct fail_row fail_rows[FAIL__N] = {
	[FAIL_NONE] = { "none", "", 0, "via_upstream", "" },
	[FAIL_NO_ROUTE] = { "no_route", "NR", 404, "route_not_found", "" },
	[FAIL_NO_CLUSTER] = { "no_cluster", "NC", 503, "cluster_not_found", "" },
	[FAIL_NO_HEALTHY] = { "no_healthy_upstream", "UH", 503, "no_healthy_upstream",
			      "no healthy upstream" },
	[FAIL_OVERFLOW] = { "overflow", "UO", 503,
			    "upstream_reset_before_response_started{overflow}", RESET("overflow") },
	[FAIL_LOOKUP] = { "lookup_failure", "DF", 503, "dns_resolution_failure",
			  "DNS resolution failure" },
	[FAIL_CONNECT] = { "connect_failure", "UF", 503,
			   "upstream_reset_before_response_started{connection_failure}",
			   RESET("connection failure") },
	[FAIL_CONNECT_TIMEOUT] = { "connect_timeout", "UF", 503,
				   "upstream_reset_before_response_started{connection_timeout}",
				   RESET("connection timeout") },
	[FAIL_UP_CLOSED] = { "upstream_closed", "UC", 503,
			     "upstream_reset_before_response_started{connection_termination}",
			     RESET("connection termination") },
	[FAIL_UP_RESET] = { "upstream_reset", "UR", 503,
			    "upstream_reset_before_response_started{remote_reset}",
			    RESET("remote reset") },
	[FAIL_UP_CUT] = { "upstream_cut", "UC", 0,
			  "upstream_reset_after_response_started{connection_termination}", "" },
	[FAIL_UP_PROTOCOL] = { "upstream_protocol", "UPE", 502,
			       "upstream_reset_before_response_started{protocol_error}",
			       RESET("protocol error") },
	[FAIL_TIMEOUT] = { "timeout", "UT", 504, "response_timeout", "upstream request timeout" },
	[FAIL_PER_TRY_TIMEOUT] = { "per_try_timeout", "UT", 504, "upstream_per_try_timeout",
				   "upstream request timeout" },
	[FAIL_IDLE] = { "idle_timeout", "SI", 408, "stream_idle_timeout", "stream timeout" },
	[FAIL_MAX_DURATION] = { "max_duration", "DT", 0, "max_duration_timeout", "" },
	[FAIL_DOWN_CLOSED] = { "downstream_closed", "DC", 0, "downstream_remote_disconnect", "" },
	[FAIL_DOWN_PROTOCOL] = { "downstream_protocol", "DPE", 400, "http1.codec_error", "" },
	[FAIL_RETRY_LIMIT] = { "retry_limit", "URX", 503, "via_upstream", "" },
	[FAIL_DENIED] = { "denied", "", 403, "rbac_access_denied", "RBAC: access denied" },
	[FAIL_MISDIRECTED] = { "misdirected", "", 421, "misdirected_request", "" },
	[FAIL_BLOCKED] = { "blocked", "", 502, "direct_response", "" },
	[FAIL_PLAINTEXT] = { "plaintext", "", 0, "plaintext_refused", "" },
	[FAIL_TLS] = { "tls", "", 0, "tls_handshake_failed", "" },
	[FAIL_FAULT] = { "fault", "FI", 503, "fault_filter_abort", "fault filter abort" },
	[FAIL_LOCAL] = { "local_reset", "LR", 503, "local_reset", RESET("local reset") },
	[FAIL_RESIDENCY] = { "residency", "RD", 403, "residency_denied",
			     "egress denied: data residency" },
	[FAIL_EXT_AUTHZ] = { "ext_authz", "UAEX", 403, "ext_authz_denied", "" },
};
