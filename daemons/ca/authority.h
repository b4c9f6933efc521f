/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority: the CA without its socket: keys, ledger, registry, policy and the clock decide
 * together whether a certificate is issued. Layer daemons/ca. Owns keystore, ledger and registry.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "ca/acks.h"
#include "ca/jwt_keys.h"
#include "ca/keystore.h"
#include "ca/ledger.h"
#include "ca/mint.h"
#include "ca/policy.h"
#include "ca/rate.h"
#include "ca/registry.h"
#include "ca/revoked.h"
#include "ca/rotation.h"
#include "ca/sign.h"

struct authority {
	char *etc_dir, *state_dir;
	char *registry_path;
	struct keystore *keystore;      /* NULL until the trust domain is known */
	struct ledger *ledger;
	struct registry *registry;      /* NULL until the router told the first one */
	struct rate rate;
	struct policy_rules rules;
	char refused_registry[512];     /* why the router's last list is not in force; "" it is */
	struct rotation rotation;       /* under way, as it is on disk */
	struct acks acks;
	struct revoked *revoked;
	struct jwt_keys *jwt;           /* NULL until the router told the first list */
};

/* Open what there is. A state that cannot be used is an error; no registry or CA yet is none. */
int authority_open(const char *etc_dir, const char *state_dir, const struct policy_rules *rules,
		   int64_t now_us, struct authority *ret, struct err *err);
void authority_close(struct authority *a);
/* What an earlier run left half-written, once no other CA can be at work here. */
void authority_sweep(const struct authority *a);
/* For -t: everything readable and whole? Changes nothing. */
int authority_check(const char *etc_dir, const char *state_dir, struct err *err);

/*
 * The router's list replaces the one in force, and is kept on disk. The first one makes the CA when
 * there is none. On error the old list stays. *ret_changed: bundle or issuer is another, watchers
 * must be told.
 */
int authority_set_registry(struct authority *a, const struct doc *parameters, int64_t now_us,
			   bool *ret_changed, struct err *err);
/* Read the keys again; on error the old ones stay. */
int authority_reload(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err);

struct authority_ask {
	struct policy_caller caller;
	struct str csr, spiffe;
	int64_t now_us;                 /* real time, for validity */
	uint64_t mono_us;               /* for the rate limit */
};
struct authority_cert {
	char *pem;                      /* malloc'ed */
	struct sign_serial serial;
	const char *issuer;             /* keystore_issuer_id; until the next change */
	int64_t not_before_s, not_after_s;
};
/*
 * Decide, sign, record; the certificate exists for the caller only once the ledger has it on disk.
 * -EAGAIN: too often, or no CA yet; KV_ERR_NOT_FOUND, KV_ERR_REFUSED: policy; KV_ERR_SCHEMA,
 * KV_ERR_LIMIT: the request; others: the CA cannot.
 */
int authority_issue(struct authority *a, const struct authority_ask *ask,
		    struct authority_cert *ret, struct err *err);

/* The second half of it, once somebody has decided. */
struct authority_grant {
	struct str spiffe;              /* the text that is trusted, not the caller's */
	struct str proxy;               /* instance that it is for; "" none */
	int64_t life_us;
	const char *use;                /* sign_leaf.use */
};
/* Is there a CA, and has it a key? */
int authority_can_sign(const struct authority *a, struct err *err);
/* K6: what is revoked is not renewed; and the clock must be right (F12). */
int authority_check_revoked(const struct authority *a, struct str id, struct err *err);
int authority_check_clock(const struct authority *a, int64_t now_us, struct err *err);
/* Keys of tokens: made, published, changed and forgotten when it is time. */
int authority_advance_jwt(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err);
int authority_sign(struct authority *a, const struct authority_ask *ask,
		   const struct authority_grant *grant, struct authority_cert *ret, struct err *err);

/* How this CA makes what is missing; needs a registry. */
struct mint authority_mint(const struct authority *a, int64_t now_us);
