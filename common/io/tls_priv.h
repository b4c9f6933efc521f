/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_priv: what the tls*.c files share: the structs behind tls.h. Layer io.
 *   tls.c          contexts: trust, identities, files
 *   tls_key.c      key pairs and signing requests
 *   tls_revoked.c  who is not trusted any more
 *   tls_verify.c   is this peer whom we want: certificates, SPIFFE IDs, reason words
 *   tls_resume.c   client sessions by key
 *   tls_session.c  handshake, bytes in and out, facts
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "base/map.h"
#include "io/tls.h"

#define TLS_DIGEST_BYTES 32
#define TLS_SESSION_SECONDS 3600
#define TLS_CHAIN_MAX 5                 /* certificates a peer may send */
#define TLS_CHAIN_BYTES_MAX 16384
#define TLS_SAN_MAX 100
#define TLS_SERIAL_TEXT 64              /* 20 octets at most (RFC 5280), as hex */
#define TLS_SANS_TOLD 8                 /* of each kind, in facts */

struct tls_key {
	EVP_PKEY *pkey;
};

struct tls_trust {
	atomic_uint refs;
	X509_STORE *store;
	char *domain;
	uint64_t generation;
	unsigned char digest[TLS_DIGEST_BYTES];         /* of the anchors */
	struct map revoked;                             /* serials and SPIFFE IDs */
	struct arena arena;                             /* its keys */
};

struct tls_identity {
	atomic_uint refs;
	struct tls_trust *trust;
	X509 *leaf;
	STACK_OF(X509) *chain;          /* sent behind it; mostly empty */
	char *spiffe, *serial;
	int64_t not_before, not_after;
	SSL_CTX *server, *client;
	unsigned char sid[TLS_DIGEST_BYTES];            /* session id context */
	pthread_mutex_t lock;                           /* of sessions */
	struct map sessions;                            /* resume key → struct tls_resume * */
};

struct tls_ctx {
	atomic_uint refs;
	SSL_CTX *ssl;
	bool verify;
	const char *scope;              /* in the arena; NULL: none */
	bool listed;                    /* it asks revocation lists */
	struct arena arena;
	struct str *want;               /* servers: names of clients; n_want 0: any */
	size_t n_want;
	struct str *spki, *hashes;      /* servers: pins of clients; both n 0: any */
	size_t n_spki, n_hashes;
};

struct tls_session {
	SSL *ssl;
	struct arena arena;
	struct buf *in, *out;           /* while a call is running */
	struct tls_identity *id;        /* mesh; of a server: once it was picked */
	struct tls_ctx *ctx;            /* outside the mesh */
	bool server;
	bool established;
	bool asked_certificate;         /* client: the server wanted ours */
	bool asked_before;              /* when the session that is offered was made */
	bool flooded;
	unsigned record_bytes;          /* of the record that is read, with its tag; 0: not known */
	unsigned after_handshake;       /* messages since the last application data */
	tls_pick_fn pick;
	void *pick_arg;
	struct str alpn;                /* wire form */
	struct str sni;
	struct str *want;               /* SPIFFE IDs, or names outside the mesh */
	size_t n_want;
	struct str resume_key;
	struct str peer_spiffe;
	enum tls_result end;            /* CLOSED or FAILED once it happened; TLS_OK: not yet */
	bool end_told;
	const char *reason;
	struct str error;
	struct tls_facts *facts;
};

/* tls.c */
SSL_CTX *tls_ctx_make(bool server, int min_version);    /* NULL: OpenSSL refused */
void tls_keep_sessions(SSL_CTX *c);     /* of a server, for clients that resume */
int tls_err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
SSL_CTX *tls_front_ctx(void);           /* where mesh server sessions begin */
const EVP_MD *tls_sha256(void);
int64_t tls_time(const ASN1_TIME *t);   /* seconds since 1970 */
void tls_count_message(int write, int version, int type, const void *p, size_t n, SSL *ssl,
		       void *arg);
int tls_on_hello(SSL *ssl, int *alert, void *arg);
int tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
		unsigned in_n, void *arg);
int tls_on_certificate_asked(SSL *ssl, void *arg);

void tls_serial_text(X509 *leaf, char *ret);            /* lower-case hex, of TLS_SERIAL_TEXT bytes */

/* tls_revoked.c */
/* A sentence's end why this certificate is none, or NULL. */
const char *tls_revoked_why(const struct tls_trust *t, X509 *leaf, struct str spiffe);

/* tls_verify.c */
int tls_verify_mesh(X509_STORE_CTX *x, void *arg);
int tls_verify_outside(X509_STORE_CTX *x, void *arg);
/* A resumed session brings the peer's certificate of an earlier handshake: is it still good now? */
bool tls_recheck_mesh(struct tls_session *s);
/* The SPIFFE ID of a leaf by §5.4, borrowed from *ret_sans, which the caller frees. */
bool tls_leaf_spiffe(X509 *leaf, GENERAL_NAMES **ret_sans, struct str *ret);
bool tls_has_name(X509 *leaf, struct str want);
void tls_list_sans(X509 *leaf, struct arena *a, struct tls_names *ret_uris,
		   struct tls_names *ret_dns);
/* Why a leaf cannot be a workload's, or NULL. */
const char *tls_leaf_fault(X509 *leaf);
/* Reason word and sentence, once: the first cause stays. */
void tls_set_error(struct tls_session *s, const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same from OpenSSL's error queue, which is empty afterwards. */
void tls_set_error_from_queue(struct tls_session *s, const char *doing);

/* tls_resume.c */
int tls_on_new_client_session(SSL *ssl, SSL_SESSION *session);
int tls_on_new_server_session(SSL *ssl, SSL_SESSION *session);
void tls_resume_offer(struct tls_session *s);           /* before the handshake */
void tls_resume_forget(struct tls_session *s);          /* it led to nothing good */
void tls_resume_clear(struct tls_identity *id);
