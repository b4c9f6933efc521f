/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz: may this caller do this? AuthorizationPolicies over the facts of one request or connection
 * (semantics 2.11). Layer core; pure. Prepared once per snapshot, read-only afterwards, so that
 * every thread may ask. It borrows the snap, which must live longer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "http/head.h"
#include "snap/snap.h"

struct authz;

/* Fails when a value of the snapshot cannot be read; the sentence names the policy. */
int authz_new(const struct snap *s, struct authz **ret, struct err *err);
void authz_free(struct authz *a);       /* NULL is fine */

/* Has the workload (index into snap.workloads) any policy? */
bool authz_has_policies(const struct authz *a, size_t workload);

/* A verified token (semantics 2.12.5). */
struct authz_token {
	struct str principal;           /* "ISSUER/SUBJECT" */
	struct str_list audiences;
	struct str presenter;
	const struct doc *claims;
};

struct authz_facts {
	struct str principal;           /* peer's SPIFFE ID without "spiffe://"; empty: none */
	const uint8_t *source, *remote, *destination;   /* 16 bytes as in base/cidr.h; NULL: unknown */
	int64_t port;                   /* of the workload */
	struct str sni;                 /* empty: none */
	bool http;                      /* the rest is there */
	struct str method;
	struct str host;                /* Host as sent, port included */
	struct str path;                /* normal form, without query */
	const struct head *head;
	const struct authz_token *token;        /* NULL: none */
};

struct authz_verdict {
	bool allowed;                   /* by DENY and ALLOW */
	/*
	 * A CUSTOM rule fits, and the workload has somebody to ask: what he says comes first. NULL:
	 * nobody is to be asked. Where there is nobody to ask such a rule refuses like DENY.
	 */
	const struct snap_policy *custom;
	bool ambiguous;                 /* refused for its path's other reading alone */
	/* Who decided: a DENY rule, an ALLOW rule; NULL: no rule (allowed without, denied for want of one). */
	const struct snap_policy *policy;
	size_t rule;
	const struct snap_policy *audit;        /* an AUDIT policy with a rule that fits, or NULL */
	bool shadow_denied;             /* would be refused if the dry-run policies were enforced alone */
	const struct snap_policy *shadow;       /* the dry-run policy that did; NULL: no ALLOW fits */
};

/*
 * Decide for that local workload (index into snap.workloads). Where rules look at paths, a path
 * that others may read otherwise must be allowed in each reading: nobody gets round a rule by
 * spelling (security-model §5.1), unless the workload's pathAmbiguity allows it. The readings are
 * made in the arena.
 */
void authz_decide(const struct authz *a, size_t workload, const struct authz_facts *f,
		  struct arena *arena, struct authz_verdict *ret);
/* The same by the path as it stands alone. */
void authz_judge(const struct authz *a, size_t workload, const struct authz_facts *f,
		 struct authz_verdict *ret);
