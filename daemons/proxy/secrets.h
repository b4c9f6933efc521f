/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets: certificates of the identities that this proxy serves. Keys are made here and never
 * leave; the CA sees CSRs. A certificate is renewed at half of its life, with a fresh key, and when
 * another issuer signs; while the CA is away the old one stays (security-model K3, F1, F2). Another
 * trust bundle or another list of what is revoked takes effect over the certificates there are, and
 * the CA is told once it is in force. Layer proxy, control thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "doc/doc.h"
#include "io/loop.h"
#include "io/tls.h"
#include "snap/snap.h"

struct secrets;
/* changed: some identity has another certificate (from the loop, several at once); not from inside
 * secrets_*. */
struct secrets *secrets_new(struct loop *l, const char *run_dir, const char *instance,
			    void (*changed)(void *arg), void *arg);
void secrets_free(struct secrets *s);
/* From now on these are kept and no others: new ones are asked for at once. */
void secrets_want(struct secrets *s, const struct str_list *ids);
/*
 * SPIFFE ID → struct tls_identity *, those that have a certificate, be it expired; for attach_new.
 */
const struct map *secrets_identities(const struct secrets *s);
/* All of them have a certificate that is valid now. */
bool secrets_are_live(const struct secrets *s, const struct str_list *ids);
/* "certificates" of the proxy's Status: [{spiffe, serial, notBefore, notAfter, [error]}]. */
struct doc *secrets_status(const struct secrets *s, struct arena *a);
/* The CA has revoked it: it gets no certificate, and nobody waits for one. */
bool secrets_is_revoked(const struct secrets *s, struct str id);
/* What verifies peers now; NULL: the CA has not told it yet. Borrowed. */
struct tls_trust *secrets_trust(const struct secrets *s);

/*
 * What the CA is told to be in force. secrets_mark is what an attachment made now is of; once every
 * worker serves that attachment, secrets_in_force.
 */
struct secrets_mark {
	int64_t generation, revision;   /* as the CA counts; 0: it told none */
	char issuer[65];                /* of all certificates; "" of not all */
};
struct secrets_mark secrets_mark(const struct secrets *s);
void secrets_in_force(struct secrets *s, const struct secrets_mark *m);
/* Ask again now for what failed (SIGHUP). */
void secrets_retry(struct secrets *s);
