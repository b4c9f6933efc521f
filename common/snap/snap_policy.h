/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap_policy: AuthorizationPolicies as a proxy evaluates them (semantics 2.11). Layer snap;
 * included by snap.h. Trust domains are expanded and keys are parsed by the compiler; forms of
 * values ("abc*", "*abc", "*", {*} in paths) stay as written and are read by core/authz.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "doc/bind.h"

enum snap_attr {
	/* of the connection */
	SNAP_ATTR_PRINCIPAL,            /* "TRUST-DOMAIN/ns/NS/sa/SA" of the peer's certificate */
	SNAP_ATTR_NAMESPACE,            /* its parts */
	SNAP_ATTR_SERVICE_ACCOUNT,      /* "NS/SA", exact */
	SNAP_ATTR_TRUST_DOMAIN,
	SNAP_ATTR_SOURCE_IP,            /* direct peer; CIDRs */
	SNAP_ATTR_REMOTE_IP,            /* first client by trusted X-Forwarded-For; CIDRs */
	SNAP_ATTR_DESTINATION_IP,       /* CIDRs */
	SNAP_ATTR_PORT,                 /* of the workload */
	SNAP_ATTR_SNI,
	/* of an HTTP request */
	SNAP_ATTR_HOST,
	SNAP_ATTR_METHOD,
	SNAP_ATTR_PATH,
	SNAP_ATTR_HEADER,               /* name: lower case */
	SNAP_ATTR_REQUEST_PRINCIPAL,    /* "ISSUER/SUBJECT" of a verified token */
	SNAP_ATTR_AUDIENCE,
	SNAP_ATTR_PRESENTER,
	SNAP_ATTR_CLAIM,                /* name: "group" or "realm][roles" */
	SNAP_ATTR__N
};

/* One of the values fits; negate: none of them does. */
struct snap_predicate {
	int attr;                       /* enum snap_attr */
	struct str name;
	struct str_list values;         /* at least one */
	bool negate;
};
struct snap_predicates {                /* AND; as an entry of a list of alternatives */
	struct { struct snap_predicate *v; size_t n; } all;
};

struct snap_authz_rule {                /* from AND to AND when; an empty list: any */
	struct { struct snap_predicates *v; size_t n; } from, to;
	struct { struct snap_predicate *v; size_t n; } when;
	int64_t line;                   /* in the policy's file, 0 unknown */
};

enum snap_authz_action {
	SNAP_AUTHZ_ALLOW, SNAP_AUTHZ_DENY, SNAP_AUTHZ_AUDIT, SNAP_AUTHZ_CUSTOM, SNAP_AUTHZ__N
};

struct snap_policy {
	struct str name, ns;
	int action;                     /* enum snap_authz_action */
	bool dry_run;                   /* evaluated and told, not enforced */
	struct { struct snap_authz_rule *v; size_t n; } rules;  /* OR; none: never matches */
	struct str file;                /* where it was written, "" unknown */
	struct str provider;            /* SNAP_AUTHZ_CUSTOM: whom it names */
};

/* Who is asked for CUSTOM policies (semantics 2.11.15). */
#define SNAP_AUTHORIZER_BODY_MAX (128 << 10)
struct snap_authorizer_header {
	struct str name, value;
};
struct snap_authorizer {
	struct str name;                /* of the provider */
	int64_t cluster;                /* where it is; index into snap.clusters */
	bool grpc;                      /* else over HTTP: of paths and headers only that knows */
	struct str path_prefix;
	int64_t timeout_us;
	bool fail_open;
	int64_t status_on_error;
	/* Names of headers, lower case; forms as of values: "x-a", "x-*", "*-id". */
	struct str_list send, to_service, to_client, to_client_denied;
	struct { struct snap_authorizer_header *v; size_t n; } add;     /* to the question */
	int64_t body_bytes;             /* of the request's body that it gets; 0: none */
	bool partial_body;              /* the beginning of a longer one; else it is refused with 413 */
	bool raw_body;                  /* over gRPC: as bytes, not as text */
};

extern const struct bind_table snap_policy_table, snap_authorizer_table;
extern const char *const snap_attr_names[], *const snap_authz_action_names[];
