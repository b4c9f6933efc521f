/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_policy: PeerAuthentication, RequestAuthentication, AuthorizationPolicy, Telemetry.
 * Layer config; included by model.h. Members carry the field's names (see model_traffic.h).
 */
#pragma once

#include "config/model_traffic.h"

struct model_target_ref {
	struct str group, kind, name, namespace;
};

/* ---- PeerAuthentication -------------------------------------------------------------------- */
enum model_mtls_mode {
	MODEL_MTLS_UNSET,
	MODEL_MTLS_DISABLE,
	MODEL_MTLS_PERMISSIVE,
	MODEL_MTLS_STRICT
};
struct model_mutual_tls {
	int mode;                       /* enum model_mtls_mode */
};
struct model_port_mtls {                /* entry of portLevelMtls */
	struct str key;                 /* the port as written */
	int mode;                       /* enum model_mtls_mode */
	int64_t port;                   /* filled by load: workload port; 0: not a port number */
	struct origin at;
};
struct model_peer_authentication {
	struct model_resource r;
	struct model_match_labels *selector;
	struct model_mutual_tls *mtls;
	MODEL_LIST(struct model_port_mtls) portLevelMtls;
};

/* ---- RequestAuthentication ----------------------------------------------------------------- */
struct model_jwt_header {
	struct str name, prefix;
};
struct model_claim_to_header {
	struct str header, claim;
};
struct model_jwt_rule {
	struct origin at;
	struct str issuer;
	struct str_list audiences;
	struct str jwksUri, jwks;
	MODEL_LIST(struct model_jwt_header) fromHeaders;
	struct str_list fromParams, fromCookies;
	struct str outputPayloadToHeader;
	bool forwardOriginalToken;
	MODEL_LIST(struct model_claim_to_header) outputClaimToHeaders;
	int64_t timeout;
	bool has_timeout;
	struct str_list spaceDelimitedClaims;
	/* Filled by load: jwks, or what the file of jwksUri holds; why it could not be read. */
	struct str keys, keys_problem;
};
struct model_request_authentication {
	struct model_resource r;
	struct model_match_labels *selector;
	MODEL_LIST(struct model_jwt_rule) jwtRules;
	struct model_target_ref *targetRef;
	MODEL_LIST(struct model_target_ref) targetRefs;
};

/* ---- AuthorizationPolicy ------------------------------------------------------------------- */
enum model_authz_action {
	MODEL_AUTHZ_ALLOW,
	MODEL_AUTHZ_DENY,
	MODEL_AUTHZ_AUDIT,
	MODEL_AUTHZ_CUSTOM
};
struct model_authz_source {
	struct origin at;
	struct str_list principals, notPrincipals, requestPrincipals, notRequestPrincipals;
	struct str_list namespaces, notNamespaces, serviceAccounts, notServiceAccounts;
	struct str_list trustDomains, notTrustDomains;
	struct str_list ipBlocks, notIpBlocks, remoteIpBlocks, notRemoteIpBlocks;
};
struct model_authz_operation {
	struct origin at;
	struct str_list hosts, notHosts, ports, notPorts, methods, notMethods, paths, notPaths;
};
struct model_authz_from {
	struct origin at;
	struct model_authz_source *source;
};
struct model_authz_to {
	struct origin at;
	struct model_authz_operation *operation;
};
struct model_authz_condition {
	struct origin at;
	struct str key;
	struct str_list values, notValues;
};
struct model_authz_rule {
	struct origin at;
	MODEL_LIST(struct model_authz_from) from;
	MODEL_LIST(struct model_authz_to) to;
	MODEL_LIST(struct model_authz_condition) when;
};
struct model_provider_ref {
	struct str name;
};
struct model_authorization_policy {
	struct model_resource r;
	struct model_match_labels *selector;
	MODEL_LIST(struct model_authz_rule) rules;      /* none: never matches; one empty: always */
	int action;                     /* enum model_authz_action */
	struct model_provider_ref *provider;
	struct model_target_ref *targetRef;
	MODEL_LIST(struct model_target_ref) targetRefs;
};

/* ---- Telemetry ----------------------------------------------------------------------------- */
enum model_workload_mode { MODEL_MODE_CLIENT_AND_SERVER, MODEL_MODE_CLIENT, MODEL_MODE_SERVER };
struct model_mode_selector {
	int mode;                       /* enum model_workload_mode */
};
struct model_tag_value {
	struct str value;
};
struct model_tag_source {
	struct str name, defaultValue;
};
struct model_custom_tag {
	struct str key;
	struct model_tag_value *literal, *formatter;
	struct model_tag_source *environment, *header;
};
struct model_tracing {
	struct origin at;
	struct model_mode_selector *match;
	MODEL_LIST(struct model_provider_ref) providers;
	double randomSamplingPercentage;
	bool has_randomSamplingPercentage;
	bool disableSpanReporting, has_disableSpanReporting;
	MODEL_LIST(struct model_custom_tag) customTags;
	bool useRequestIdForTraceSampling, has_useRequestIdForTraceSampling;
	bool enableIstioTags, has_enableIstioTags;
	bool disableContextPropagation, has_disableContextPropagation;
};
enum model_tag_operation { MODEL_TAG_UPSERT, MODEL_TAG_REMOVE };
struct model_tag_override {
	struct str key;
	int operation;                  /* enum model_tag_operation */
	struct str value;
};
struct model_metric_selector {
	int metric;                     /* index into Istio's list, 0 ALL_METRICS */
	bool has_metric;
	struct str customMetric;
	int mode;                       /* enum model_workload_mode */
};
struct model_metrics_override {
	struct origin at;
	struct model_metric_selector *match;
	bool disabled, has_disabled;
	MODEL_LIST(struct model_tag_override) tagOverrides;
};
struct model_telemetry_metrics {
	struct origin at;
	MODEL_LIST(struct model_provider_ref) providers;
	MODEL_LIST(struct model_metrics_override) overrides;
	int64_t reportingInterval;
	bool has_reportingInterval;
};
struct model_log_filter {
	struct str expression;
};
struct model_access_logging {
	struct origin at;
	struct model_mode_selector *match;
	MODEL_LIST(struct model_provider_ref) providers;
	bool disabled, has_disabled;
	struct model_log_filter *filter;
};
struct model_telemetry {
	struct model_resource r;
	struct model_match_labels *selector;
	struct model_target_ref *targetRef;
	MODEL_LIST(struct model_target_ref) targetRefs;
	MODEL_LIST(struct model_tracing) tracing;
	MODEL_LIST(struct model_telemetry_metrics) metrics;
	MODEL_LIST(struct model_access_logging) accessLogging;
};
