/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwks: the keys that a snapshot's token rules name by URL (semantics 2.12.6, security-model §5.5).
 * Fetched now and again, where a rule names none from what the issuer's OpenID configuration says;
 * when that fails the last good set stays for a day, then every token is refused. Layer proxy, control thread.
 */
#pragma once

#include "io/loop.h"
#include "proxy/fetch.h"
#include "snap/snap.h"

struct jwks;
/* on_change: some set of keys is another than before; allows: fetch.h. */
struct jwks *jwks_new(struct loop *l, void (*on_change)(void *arg), fetch_allows allows, void *arg);
void jwks_free(struct jwks *u);

/* From now on the URLs of this snapshot are fetched, and no others. */
void jwks_want(struct jwks *u, const struct snap *s);
/* A token came that no key of the rule can have signed: fetch out of turn, but not often. */
void jwks_hurry(struct jwks *u, const struct snap_jwt_rule *r);
/* The snapshot with the keys as they are known. One reference; s itself when it names no URL. */
int jwks_fill(const struct jwks *u, struct snap *s, struct snap **ret, struct err *err);
