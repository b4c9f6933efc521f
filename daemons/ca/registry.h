/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry: which SPIFFE IDs exist on this node, which proxy instance serves each and which unit or
 * user is the workload: the router's word (message Identities), kept on disk for starts without it.
 * Layer daemons/ca. Owns the list and what of kvmesh.conf concerns the CA.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "doc/doc.h"

#define REGISTRY_FILE_MAX (16u << 20)

struct registry_identity {
	struct str spiffe;
	struct str workload, ns;
	struct str proxy;               /* instance that may ask for it */
	struct str unit, user;          /* of the workload; empty when it has none */
	struct str executable, sha256;  /* of its program besides, in hex; empty: any */
	bool files;                     /* kvmesh-certs@WORKLOAD.service may ask for it as well */
};

/* Members are those of the message; lifetimes 0: the default. */
struct registry {
	int64_t generation;
	struct str trust_domain;
	int64_t leaf_lifetime_us, issuer_lifetime_us, root_lifetime_us;
	int64_t jwt_lifetime_us, jwt_key_lifetime_us;   /* of tokens, and of the key that signs them */
	int64_t sign_per_second, sign_burst;    /* per user, security-model L15 */
	struct {
		struct registry_identity *v;
		size_t n;
	} identities;
	struct arena arena;
};

#define REGISTRY_LEAF_LIFETIME_US (24ll * 3600 * 1000000)
#define REGISTRY_LEAF_LIFETIME_MAX_US (7 * REGISTRY_LEAF_LIFETIME_US)
#define REGISTRY_JWT_LIFETIME_US (5ll * 60 * 1000000)
#define REGISTRY_JWT_LIFETIME_MAX_US (3600ll * 1000000)
#define REGISTRY_JWT_KEY_LIFETIME_US (7 * REGISTRY_LEAF_LIFETIME_US)

/* From a message; every ID is checked by the SPIFFE parser and must lie in the trust domain. */
int registry_parse(const struct doc *parameters, struct registry **ret, struct err *err);
void registry_free(struct registry *r);
int registry_load(const char *path, struct registry **ret, struct err *err);
int registry_save(const struct registry *r, const char *path, struct err *err);
/* Same content, generation aside. */
bool registry_eq(const struct registry *x, const struct registry *y);
