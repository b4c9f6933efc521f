/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field tables of PeerAuthentication, RequestAuthentication,
 * AuthorizationPolicy. Layer config. From them come reading, writing, the manual (explain) and the
 * list of what is not enforced yet.
 */
#include "config/model_fields.h"

#define T struct model_peer_authentication
static const struct field peer_authentication_fields[] = {
	{ F_PTR(T, selector, model_match_labels_table), P1, SINCE("1.8"),
	  .help = "Workloads; absent: the namespace, or the mesh in the root namespace" },
	{ F_PTR(T, mtls, model_mutual_tls_table), P1, SINCE("1.8"),
	  .help = "Mode of every port" },
	{ F_MAP(T, portLevelMtls, model_port_mtls_table), .key_name = "port", P1, SINCE("1.8"),
	  .help = "Mode of single workload ports; needs a selector" },
	F_END
};
const struct bind_table model_peer_authentication_table =
	TABLE("PeerAuthentication", peer_authentication_fields);
#undef T

#define T struct model_mutual_tls
static const struct field mutual_tls_fields[] = {
	{ F_ENUM(T, mode, model_mtls_names), P1, SINCE("1.8"),
	  .help = "UNSET (inherit), DISABLE, PERMISSIVE or STRICT (default UNSET)" },
	F_END
};
const struct bind_table model_mutual_tls_table = TABLE("MutualTLS", mutual_tls_fields);
#undef T

#define T struct model_port_mtls
static const struct field port_mtls_fields[] = {
	{ F_ENUM(T, mode, model_mtls_names), P1, SINCE("1.8"),
	  .help = "UNSET (inherit), DISABLE, PERMISSIVE or STRICT (default UNSET)" },
	F_END
};
const struct bind_table model_port_mtls_table = TABLE_AT("MutualTLS", port_mtls_fields);
#undef T

#define T struct model_request_authentication
static const struct field request_authentication_fields[] = {
	{ F_PTR(T, selector, model_match_labels_table), P2, SINCE("1.8"),
	  .help = "Workloads; absent: the namespace, or the mesh in the root namespace" },
	{ F_LIST(T, jwtRules, model_jwt_rule_table), P2, SINCE("1.8"),
	  .help = "Accepted tokens" },
	{ F_PTR(T, targetRef, model_target_ref_table), P3, SINCE("1.20"),
	  REFUSED("it names an object of the Kubernetes Gateway API; use selector"),
	  .help = "Kubernetes Gateway API object" },
	{ F_LIST(T, targetRefs, model_target_ref_table), P3, SINCE("1.22"),
	  REFUSED("they name objects of the Kubernetes Gateway API; use selector"),
	  .help = "Kubernetes Gateway API objects" },
	F_END
};
const struct bind_table model_request_authentication_table =
	TABLE("RequestAuthentication", request_authentication_fields);
#undef T

#define T struct model_jwt_rule
static const struct field jwt_rule_fields[] = {
	{ F_STR(T, issuer), P2, SINCE("1.8"),
	  .help = "The token's iss" },
	{ F_STR_LIST(T, audiences), P2, SINCE("1.8"),
	  .help = "One of them must be in the token's aud (default: any)" },
	{ F_STR(T, jwksUri), P2, SINCE("1.8"),
	  .help = "Where the keys are; not read when jwks is given (default: from the "
	          "issuer's OIDC discovery)" },
	{ F_STR(T, jwks), P2, SINCE("1.8"),
	  .help = "The keys themselves, as a JWK set" },
	{ F_LIST(T, fromHeaders, model_jwt_header_table), P2, SINCE("1.8"),
	  .help = "Headers that carry the token (default: Authorization with Bearer)" },
	{ F_STR_LIST(T, fromParams), P2, SINCE("1.8"),
	  .help = "Query parameters that carry the token (default: access_token)" },
	{ F_STR_LIST(T, fromCookies), P3, SINCE("1.21"),
	  .help = "Cookies that carry the token" },
	{ F_STR(T, outputPayloadToHeader), P2, SINCE("1.8"),
	  .help = "Header that gets the payload in base64url" },
	{ F_BOOL(T, forwardOriginalToken), P2, SINCE("1.8"),
	  .help = "Leave the token in the request (default false)" },
	{ F_LIST(T, outputClaimToHeaders, model_claim_to_header_table), P3, SINCE("1.17"),
	  .help = "Claims that are copied into headers" },
	{ F_TIME(T, timeout), F_OPT(T, has_timeout), P3, SINCE("1.22"),
	  .help = "Deadline for fetching the keys (default 5s)" },
	{ F_STR_LIST(T, spaceDelimitedClaims), P3, SINCE("1.28"),
	  .help = "Claims that hold several values separated by blanks (default scope, "
	          "permission)" },
	F_END
};
const struct bind_table model_jwt_rule_table = TABLE_AT("JWTRule", jwt_rule_fields);
#undef T

#define T struct model_jwt_header
static const struct field jwt_header_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.8"),
	  .help = "Name of the header" },
	{ F_STR(T, prefix), P2, SINCE("1.8"),
	  .help = "What stands before the token, for example \"Bearer \"" },
	F_END
};
const struct bind_table model_jwt_header_table = TABLE("JWTHeader", jwt_header_fields);
#undef T

#define T struct model_claim_to_header
static const struct field claim_to_header_fields[] = {
	{ F_STR(T, header), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P3, SINCE("1.17"),
	  .help = "Name of the header" },
	{ F_STR(T, claim), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P3, SINCE("1.17"),
	  .help = "Name of the claim; a dot goes deeper" },
	F_END
};
const struct bind_table model_claim_to_header_table =
	TABLE("ClaimToHeader", claim_to_header_fields);
#undef T

#define T struct model_authorization_policy
static const struct field authorization_policy_fields[] = {
	{ F_PTR(T, selector, model_match_labels_table), P1, SINCE("1.8"),
	  .help = "Workloads; absent: the namespace, or the mesh in the root namespace" },
	{ F_LIST(T, rules, model_authz_rule_table), P1, SINCE("1.8"),
	  .help = "Alternatives; none at all never matches, an empty one always" },
	{ F_ENUM(T, action, model_authz_action_names), P1, SINCE("1.8"),
	  .help = "ALLOW, DENY, AUDIT or CUSTOM (default ALLOW)" },
	{ F_PTR(T, provider, model_provider_ref_table), P2, SINCE("1.8"),
	  .help = "External authorizer of a CUSTOM policy" },
	{ F_PTR(T, targetRef, model_target_ref_table), P3, SINCE("1.20"),
	  REFUSED("it names an object of the Kubernetes Gateway API; use selector"),
	  .help = "Kubernetes Gateway API object" },
	{ F_LIST(T, targetRefs, model_target_ref_table), P3, SINCE("1.22"),
	  REFUSED("they name objects of the Kubernetes Gateway API; use selector"),
	  .help = "Kubernetes Gateway API objects" },
	F_END
};
const struct bind_table model_authorization_policy_table =
	TABLE("AuthorizationPolicy", authorization_policy_fields);
#undef T

#define T struct model_provider_ref
static const struct field provider_ref_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P2, SINCE("1.8"),
	  .help = "Name of one of mesh.extensionProviders" },
	F_END
};
const struct bind_table model_provider_ref_table = TABLE("ExtensionProvider", provider_ref_fields);
#undef T

#define T struct model_authz_rule
static const struct field authz_rule_fields[] = {
	{ F_LIST(T, from, model_authz_from_table), P1, SINCE("1.8"),
	  .help = "Who calls; alternatives" },
	{ F_LIST(T, to, model_authz_to_table), P1, SINCE("1.8"),
	  .help = "What is called; alternatives" },
	{ F_LIST(T, when, model_authz_condition_table), P1, SINCE("1.8"),
	  .help = "Further conditions, all of which must hold" },
	F_END
};
const struct bind_table model_authz_rule_table = TABLE_AT("Rule", authz_rule_fields);
#undef T

#define T struct model_authz_from
static const struct field authz_from_fields[] = {
	{ F_PTR(T, source, model_authz_source_table), .flags = FIELD_REQUIRED, P1, SINCE("1.8"),
	  .help = "Who calls" },
	F_END
};
const struct bind_table model_authz_from_table = TABLE_AT("From", authz_from_fields);
#undef T

#define T struct model_authz_to
static const struct field authz_to_fields[] = {
	{ F_PTR(T, operation, model_authz_operation_table), .flags = FIELD_REQUIRED, P1,
	  SINCE("1.8"),
	  .help = "What is called" },
	F_END
};
const struct bind_table model_authz_to_table = TABLE_AT("To", authz_to_fields);
#undef T

#define T struct model_authz_source
static const struct field authz_source_fields[] = {
	{ F_STR_LIST(T, principals), P1, SINCE("1.8"),
	  .help = "Identities TRUST-DOMAIN/ns/NS/sa/ACCOUNT; \"*\" at one end; needs mTLS" },
	{ F_STR_LIST(T, notPrincipals), P1, SINCE("1.8"),
	  .help = "Identities that are excluded" },
	{ F_STR_LIST(T, requestPrincipals), P2, SINCE("1.8"),
	  .help = "ISSUER/SUBJECT of a valid token; \"*\": any token" },
	{ F_STR_LIST(T, notRequestPrincipals), P2, SINCE("1.8"),
	  .help = "Those that are excluded" },
	{ F_STR_LIST(T, namespaces), P1, SINCE("1.8"),
	  .help = "Namespaces of the peer's identity; needs mTLS" },
	{ F_STR_LIST(T, notNamespaces), P1, SINCE("1.8"),
	  .help = "Namespaces that are excluded" },
	{ F_STR_LIST(T, serviceAccounts), P2, SINCE("1.25"),
	  .help = "NS/ACCOUNT, or ACCOUNT in the own namespace; needs mTLS" },
	{ F_STR_LIST(T, notServiceAccounts), P2, SINCE("1.25"),
	  .help = "Accounts that are excluded" },
	{ F_STR_LIST(T, trustDomains), P3, SINCE("1.30"),
	  .help = "Trust domains of the peer's identity" },
	{ F_STR_LIST(T, notTrustDomains), P3, SINCE("1.30"),
	  .help = "Trust domains that are excluded" },
	{ F_STR_LIST(T, ipBlocks), P1, SINCE("1.8"),
	  .help = "IPs or CIDRs of the direct peer" },
	{ F_STR_LIST(T, notIpBlocks), P1, SINCE("1.8"),
	  .help = "Those that are excluded" },
	{ F_STR_LIST(T, remoteIpBlocks), P2, SINCE("1.8"),
	  .help = "IPs or CIDRs of the original client (X-Forwarded-For, PROXY)" },
	{ F_STR_LIST(T, notRemoteIpBlocks), P2, SINCE("1.8"),
	  .help = "Those that are excluded" },
	F_END
};
const struct bind_table model_authz_source_table = TABLE_AT("Source", authz_source_fields);
#undef T

#define T struct model_authz_operation
static const struct field authz_operation_fields[] = {
	{ F_STR_LIST(T, hosts), P1, SINCE("1.8"),
	  .help = "Host header; HTTP only" },
	{ F_STR_LIST(T, notHosts), P1, SINCE("1.8"),
	  .help = "Hosts that are excluded" },
	{ F_STR_LIST(T, ports), P1, SINCE("1.8"),
	  .help = "Ports of the workload" },
	{ F_STR_LIST(T, notPorts), P1, SINCE("1.8"),
	  .help = "Ports that are excluded" },
	{ F_STR_LIST(T, methods), P1, SINCE("1.8"),
	  .help = "HTTP methods; POST for gRPC" },
	{ F_STR_LIST(T, notMethods), P1, SINCE("1.8"),
	  .help = "Methods that are excluded" },
	{ F_STR_LIST(T, paths), P1, SINCE("1.8"),
	  .help = "Paths without query; \"*\" at one end, {*} and {**} as segments" },
	{ F_STR_LIST(T, notPaths), P1, SINCE("1.8"),
	  .help = "Paths that are excluded" },
	F_END
};
const struct bind_table model_authz_operation_table = TABLE_AT("Operation", authz_operation_fields);
#undef T

#define T struct model_authz_condition
static const struct field authz_condition_fields[] = {
	{ F_STR(T, key), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Attribute, for example request.headers[x-tenant]" },
	{ F_STR_LIST(T, values), P1, SINCE("1.8"),
	  .help = "Values one of which it must have" },
	{ F_STR_LIST(T, notValues), P1, SINCE("1.8"),
	  .help = "Values that it must not have" },
	F_END
};
const struct bind_table model_authz_condition_table = TABLE_AT("Condition", authz_condition_fields);
#undef T

#define T struct model_target_ref
static const struct field target_ref_fields[] = {
	{ F_STR(T, group), P3, SINCE("1.20"),
	  .help = "API group" },
	{ F_STR(T, kind), P3, SINCE("1.20"),
	  .help = "Kind" },
	{ F_STR(T, name), P3, SINCE("1.20"),
	  .help = "Name" },
	{ F_STR(T, namespace), P3, SINCE("1.20"),
	  .help = "Namespace" },
	F_END
};
const struct bind_table model_target_ref_table = TABLE("PolicyTargetReference", target_ref_fields);
#undef T
