/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy: may this caller have a certificate for that identity? (docs/IPC.md, "How an identity gets
 * its certificate") Layer daemons/ca. Pure but for user names, which the caller's lookup resolves.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"
#include "ca/registry.h"

struct policy_rules {
	bool standalone;                /* kvmeshctl run: no units, the own user is the proxies' */
	uid_t own_uid;
	bool (*is_user)(uid_t uid, const char *name);   /* uid is that of the named user */
};

struct policy_caller {
	uid_t uid;
	const char *unit;               /* system unit, "" none */
	struct str proxy;               /* instance it says it is, empty: says nothing */
	const char *executable;         /* for the log */
	/* Does it run what the registration names? NULL: nobody can tell, so it does not. */
	bool (*runs)(void *process, const struct registry_identity *id);
	void *process;
};

struct policy_grant {
	const struct registry_identity *identity;
	struct str proxy;               /* instance it is granted to; empty: the workload itself */
};

/* 0; KV_ERR_NOT_FOUND: there is no such identity; KV_ERR_REFUSED: not this caller's. */
int policy_decide(const struct policy_rules *rules, const struct registry *r,
		  const struct policy_caller *c, struct str spiffe, struct policy_grant *ret,
		  struct err *err);
/* Is the caller one of the proxies? *ret: its instance, borrowed from the caller's facts. */
int policy_is_proxy(const struct policy_rules *rules, const struct policy_caller *c, struct str *ret,
		    struct err *err);
/* Each identity that is the caller's own as a workload, once. */
void policy_each_own(const struct policy_rules *rules, const struct registry *r,
		     const struct policy_caller *c,
		     void (*fn)(void *arg, const struct registry_identity *id), void *arg);
