/* SPDX-License-Identifier: Apache-2.0 */
/*
 * people: what an administrator has the CA do by hand: a certificate for a program that is no workload
 * here, and taking trust away. Layer daemons/ca, above authority.
 */
#pragma once

#include "ca/authority.h"

#define PEOPLE_LIFE_DEFAULT_US (7ll * 24 * 3600 * 1000000)
#define PEOPLE_LIFE_MAX_US (90ll * 24 * 3600 * 1000000)

/*
 * The name must be of this mesh's trust domain and Istio's form, and nobody's: no identity of a
 * workload here, none of the mesh's own namespace. life_us 0: a week.
 */
int people_issue(struct authority *a, const struct authority_ask *ask, int64_t life_us,
		 struct authority_cert *ret, struct err *err);

struct people_revoke {
	struct str serial, spiffe;      /* one of them */
	struct str reason;
	bool lift;                      /* take it off the list */
	uid_t uid;
	int64_t now_us;
};
/* KV_ERR_NOT_FOUND: never issued, or not on the list. */
int people_revoke(struct authority *a, const struct people_revoke *p, struct err *err);
/* Entries that have ended leave. */
int people_prune(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err);
