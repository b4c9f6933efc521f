/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_parts: what the files of check share. Layer config; private. A rule is one row of
 * check_rules.c; check_add gives a finding the rule's level, unless the resource at hand silences
 * it.
 */
#pragma once

#include "config/check.h"
#include "config/names.h"

struct check {
	const struct model *m;
	struct err_list *errs;
	const struct model_resource *r; /* at hand; NULL: none (kvmesh.conf) */
	struct str what;                /* how messages name it */
	struct names_registry reg;
	struct arena arena;
};

/* Begin with a resource. */
void check_begin(struct check *c, const struct model_resource *r);
/* at without a line: the resource's own place. */
void check_add(struct check *c, const char *code, struct origin at, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- check_values.c: values of one kind wherever they stand -------------------------------- */
bool check_is_label(struct str s);              /* DNS-1123 label */
bool check_is_fqdn(struct str s);               /* DNS name; one trailing dot allowed */
bool check_is_token(struct str s);              /* HTTP token */
bool check_is_cidr(struct str s);               /* IP or IP/bits */
/* "127.0.0.1:80", "[::1]:80" */
bool check_host_port(struct str s, struct str *ret_host, int64_t *ret_port);
/* A host that may be a wildcard; allow_ip: an IP as well. Adds KVM0302. */
void check_host(struct check *c, struct origin at, const char *field, struct str host,
		bool allow_ip);
void check_export_to(struct check *c, const struct str_list *l, bool allow_none);
void check_labels(struct check *c, struct origin at, const char *field, const struct labels *l);
void check_cidrs(struct check *c, struct origin at, const char *field, const struct str_list *l);
/*
 * Values that a field's name or type tells, by walking the document: durations, percentages,
 * regexes, uses of fields that are not enforced, deprecated ones.
 */
void check_fields(struct check *c);

/* ---- one function per kind ----------------------------------------------------------------- */
void check_virtual_service(struct check *c, const struct model_virtual_service *vs);
void check_destination_rule(struct check *c, const struct model_destination_rule *dr);
void check_service_entry(struct check *c, const struct model_service_entry *se);
void check_workload_entry(struct check *c, const struct model_workload_entry *we);
void check_service(struct check *c, const struct model_service *s);
void check_namespace(struct check *c, const struct model_namespace *n);
void check_workload(struct check *c, const struct model_workload *w);
void check_probe(struct check *c, const struct model_probe *p);         /* NULL is fine */
void check_gateway(struct check *c, const struct model_gateway *g);
void check_sidecar(struct check *c, const struct model_sidecar *s);
void check_peer_authentication(struct check *c, const struct model_peer_authentication *pa);
void check_request_authentication(struct check *c, const struct model_request_authentication *ra);
void check_authorization_policy(struct check *c, const struct model_authorization_policy *ap);
void check_telemetry(struct check *c, const struct model_telemetry *t);
/* Pieces that several kinds have. */
void check_http_match(struct check *c, const struct model_virtual_service *vs,
		      const struct model_http_match *m);
void check_unreachable(struct check *c, const struct model_virtual_service *vs);
void check_balancer(struct check *c, const struct model_load_balancer *lb, bool outlier);
void check_pool(struct check *c, struct origin at, const struct model_connection_pool *p);
void check_client_tls(struct check *c, const struct model_client_tls *tls, bool at_port);
void check_outlier(struct check *c, const struct model_outlier_detection *o);
void check_server_tls(struct check *c, const struct model_server *s);
bool check_is_gateway_protocol(struct str protocol, bool *ret_tls);

/* ---- across resources ---------------------------------------------------------------------- */
/* hosts, subsets, ports, gateways; VirtualService conflicts */
void check_references(struct check *c);
void check_workloads(struct check *c);          /* selectors, ports, protocols, identities */
void check_mtls(struct check *c);               /* PeerAuthentication against DestinationRule */
void check_scopes(struct check *c);             /* several policies for one scope, gateways */
void check_settings(struct check *c);           /* kvmesh.conf, listeners */
void check_residency(struct check *c);          /* egressPolicy, ServiceEntries under it */
void check_practice(struct check *c);           /* what is taken and still misses its aim */
