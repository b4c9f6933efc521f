/* SPDX-License-Identifier: Apache-2.0 */
/* snap_policy: the rows of snap_policy.h in the message. Layer snap. */
#include "snap/snap_policy.h"

#define TABLE(var, T, title, f)                                                                    \
	const struct bind_table var = {                                                            \
		.name = title, .size = sizeof(T), .origin_offset = -1, .fields = f                 \
	}

const char *const snap_attr_names[] = {
	"source.principal", "source.namespace",	  "source.serviceAccount", "source.trustDomain",
	"source.ip",	    "remote.ip",	  "destination.ip",	   "destination.port",
	"connection.sni",   "request.host",	  "request.method",	   "request.path",
	"request.headers",  "request.auth.principal", "request.auth.audiences",
	"request.auth.presenter", "request.auth.claims", NULL
};
const char *const snap_authz_action_names[] = { "ALLOW", "DENY", "AUDIT", "CUSTOM", NULL };

static const struct field predicate_fields[] = {
	{ F_ENUM(struct snap_predicate, attr, snap_attr_names) },
	{ F_STR(struct snap_predicate, name) },
	{ F_STR_LIST(struct snap_predicate, values), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_BOOL(struct snap_predicate, negate) },
	F_END
};
static TABLE(predicate_table, struct snap_predicate, "Predicate", predicate_fields);

static const struct field predicates_fields[] = {
	{ F_LIST(struct snap_predicates, all, predicate_table) },
	F_END
};
static TABLE(predicates_table, struct snap_predicates, "Predicates", predicates_fields);

static const struct field rule_fields[] = {
	{ F_LIST(struct snap_authz_rule, from, predicates_table) },
	{ F_LIST(struct snap_authz_rule, to, predicates_table) },
	{ F_LIST(struct snap_authz_rule, when, predicate_table) },
	{ F_INT(struct snap_authz_rule, line, 0, INT32_MAX) },
	F_END
};
static TABLE(rule_table, struct snap_authz_rule, "AuthzRule", rule_fields);

#define INDEX_MAX INT32_MAX
#define HOUR_US (INT64_C(3600) * 1000000)

static const struct field authorizer_header_fields[] = {
	{ F_STR(struct snap_authorizer_header, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_authorizer_header, value) },
	F_END
};
static TABLE(authorizer_header_table, struct snap_authorizer_header, "AuthorizerHeader",
	     authorizer_header_fields);

static const struct field authorizer_fields[] = {
	{ F_STR(struct snap_authorizer, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_INT(struct snap_authorizer, cluster, 0, INDEX_MAX) },
	{ F_BOOL(struct snap_authorizer, grpc) },
	{ F_STR(struct snap_authorizer, path_prefix) },
	{ F_INT(struct snap_authorizer, timeout_us, 1, 24 * HOUR_US), .flags = FIELD_REQUIRED },
	{ F_BOOL(struct snap_authorizer, fail_open) },
	{ F_INT(struct snap_authorizer, status_on_error, 400, 599), .flags = FIELD_REQUIRED },
	{ F_STR_LIST(struct snap_authorizer, send) },
	{ F_STR_LIST(struct snap_authorizer, to_service) },
	{ F_STR_LIST(struct snap_authorizer, to_client) },
	{ F_STR_LIST(struct snap_authorizer, to_client_denied) },
	{ F_LIST(struct snap_authorizer, add, authorizer_header_table) },
	{ F_INT(struct snap_authorizer, body_bytes, 0, SNAP_AUTHORIZER_BODY_MAX) },
	{ F_BOOL(struct snap_authorizer, partial_body) },
	{ F_BOOL(struct snap_authorizer, raw_body) },
	F_END
};
TABLE(snap_authorizer_table, struct snap_authorizer, "Authorizer", authorizer_fields);

static const struct field policy_fields[] = {
	{ F_STR(struct snap_policy, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_policy, ns) },
	{ F_ENUM(struct snap_policy, action, snap_authz_action_names) },
	{ F_BOOL(struct snap_policy, dry_run) },
	{ F_LIST(struct snap_policy, rules, rule_table) },
	{ F_STR(struct snap_policy, file) },
	{ F_STR(struct snap_policy, provider) },
	F_END
};
TABLE(snap_policy_table, struct snap_policy, "Policy", policy_fields);
