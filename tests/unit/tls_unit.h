/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_unit: certificates made on the spot, and two ends of a TLS connection that share two byte
 * queues. Used by the TLS tests; everything aborts when it does not work.
 */
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "io/tls.h"

#include "unit.h"

/* ---- certificates -------------------------------------------------------- */

struct pki_ca {
	X509 *cert;
	EVP_PKEY *key;
};

/* What a certificate says; zero fields: the usual of a workload's leaf (or of a CA with .ca). */
struct pki_spec {
	const char *uri, *uri2, *dns;
	const char *san_hex;            /* the extension's raw content instead */
	int many_dns;                   /* that many more DNS names */
	const char *usage;              /* "digitalSignature" unless given; "" none */
	const char *eku;                /* "clientAuth,serverAuth" unless given; "" none */
	const char *basic;              /* basicConstraints; "" none */
	const char *constraints;        /* name constraints of a CA */
	const char *cn;
	bool ca, unknown_critical, sha1, san_not_critical;
	int64_t from, until;            /* seconds from now; 0: -60, +3600 */
};

EVP_PKEY *pki_ec_key(void);
EVP_PKEY *pki_rsa_key(unsigned bits);
X509 *pki_cert(const struct pki_spec *spec, EVP_PKEY *subject_key, const struct pki_ca *issuer);
struct pki_ca *pki_root(void);
struct pki_ca *pki_sub(const struct pki_ca *parent, const char *constraints);
void pki_ca_free(struct pki_ca *ca);
char *pki_pem(X509 *cert);              /* malloc'ed */
char *pki_key_pem(EVP_PKEY *key);
EVP_PKEY *pki_public_of(const char *csr_pem);

/* A trust of the CA certificates given (NULL-ended). */
struct tls_trust *pki_trust(uint64_t generation, const struct pki_ca *ca, ...);
struct tls_identity *pki_identity(const struct pki_ca *issuer, struct tls_trust *trust,
				  const char *spiffe);
/* Dies at from + life: the leaf's notAfter is that many seconds from now. */
struct tls_identity *pki_identity_until(const struct pki_ca *issuer, struct tls_trust *trust,
					const char *spiffe, int64_t until);

/* ---- connections --------------------------------------------------------- */

struct wire {
	struct tls_session *client, *server;
	struct buf up, down;            /* ciphertext client → server, server → client */
	enum tls_result client_result, server_result;
};

void wire_init(struct wire *w, struct tls_session *client, struct tls_session *server);
/* Handshake of both until neither moves; steps of at most step bytes of ciphertext (0: all). */
void wire_shake(struct wire *w, size_t step);
/* Both finished. */
void wire_ok(const struct wire *w);
/* Let the client read the ticket that follows the handshake. */
void wire_tickets(struct wire *w);
/* One string through it, in that direction. */
void wire_say(struct wire *w, bool to_server, const char *text);
void wire_close(struct wire *w);        /* close_notify both ways, then all is freed */
void wire_done(struct wire *w);

/* A peer that is plain OpenSSL and may do anything. */
struct raw {
	SSL *ssl;
	BIO *in, *out;
};
void raw_init(struct raw *r, SSL_CTX *ctx, bool server);
void raw_done(struct raw *r);
/* Handshake of r against s; result of s. *ret_raw: what SSL_do_handshake said last. */
enum tls_result raw_shake(struct raw *r, struct tls_session *s, struct buf *to_s,
			  struct buf *from_s, int *ret_raw);
/* Move what r wrote into b, and what is in b into r. */
void raw_flush(struct raw *r, struct buf *b);
void raw_feed(struct raw *r, struct buf *b);
