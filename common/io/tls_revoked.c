/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_revoked: certificates and identities that a trust does not vouch for any more. Layer io. The
 * list is part of the trust and never changes: another list is another trust.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "io/tls_priv.h"

void tls_trust_revoke(struct tls_trust *t, const struct tls_revoked *r)
{
	for (size_t i = 0; i < r->n_serials; i++)
		map_put(&t->revoked, arena_str(&t->arena, r->serials[i]), t);
	for (size_t i = 0; i < r->n_ids; i++)
		map_put(&t->revoked, arena_str(&t->arena, r->ids[i]), t);
}

bool tls_trust_has_revoked(const struct tls_trust *t)
{
	return t->revoked.n > 0;
}

bool tls_trust_revokes(const struct tls_trust *t, struct str serial_or_id)
{
	return map_has(&t->revoked, serial_or_id);
}

void tls_serial_text(X509 *leaf, char *ret)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
	const unsigned char *p = ASN1_STRING_get0_data(serial);
	int n = ASN1_STRING_length(serial);

	/* Longer than a certificate may have it: no list names it. */
	ret[0] = '\0';
	for (int i = 0; i < n && 2 * i + 3 <= TLS_SERIAL_TEXT; i++)
		snprintf(ret + 2 * (size_t)i, 3, "%02x", p[i]);
}

const char *tls_revoked_why(const struct tls_trust *t, X509 *leaf, struct str spiffe)
{
	char serial[TLS_SERIAL_TEXT];

	if (t->revoked.n == 0)
		return NULL;
	if (map_has(&t->revoked, spiffe))
		return "the identity is revoked";
	tls_serial_text(leaf, serial);
	return map_has(&t->revoked, str_c(serial)) ? "the certificate is revoked" : NULL;
}

bool tls_is_revoked(const struct tls_session *s, const struct tls_trust *t)
{
	X509 *peer = SSL_get0_peer_certificate(s->ssl);

	if (!s->id || t->revoked.n == 0)
		return false;
	return (peer && tls_revoked_why(t, peer, s->peer_spiffe)) ||
	       tls_revoked_why(t, s->id->leaf, str_c(s->id->spiffe));
}
