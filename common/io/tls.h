/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: the only file that knows OpenSSL on the data path. Contexts, sessions between a socket and
 * two byte queues, peer identity. Layer io. TLS 1.3 between proxies (design §5, dataplane §3.4).
 *
 * A tls_session has no descriptor: ciphertext goes in and out through bufs (a custom BIO), so that
 * conn.c owns all reads and writes and several records leave in one send.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/buf.h"

/*
 * OpenSSL allocates as kv_try_malloc does: what fails is tried again on the reserve of
 * base/arena.h before it sees NULL. First thing in a program.
 */
void tls_use_reserve(void);

/* ---- SPIFFE IDs: one strict parser for certificates, policy and configuration  */
#define TLS_SPIFFE_MAX 2048
struct tls_spiffe {
	struct str trust_domain;
	struct str ns, sa;                      /* empty when the path has not Istio's form */
	struct str path;                        /* with the leading '/' */
};
/* security-model §5.4; borrowed from s. */
bool tls_spiffe_parse(struct str s, struct tls_spiffe *ret);

/* ---- trust and identities: reference counted, used by several threads ---- */
struct tls_trust;               /* anchors of one trust domain: roots and intermediates alike */
/*
 * pem: concatenated certificates. generation: changes when the anchors change (binds resumption,
 * P5).
 */
int tls_trust_new(struct str pem, struct str trust_domain, uint64_t generation,
		  struct tls_trust **ret, struct err *err);
/*
 * Who is not trusted although the anchors vouch for it: certificates by serial (lower-case hex),
 * identities by SPIFFE ID. Once, before the trust's first use; its generation must tell lists apart.
 */
struct tls_revoked {
	const struct str *serials, *ids;
	size_t n_serials, n_ids;
};
void tls_trust_revoke(struct tls_trust *t, const struct tls_revoked *r);
bool tls_trust_has_revoked(const struct tls_trust *t);          /* anything at all */
bool tls_trust_revokes(const struct tls_trust *t, struct str serial_or_id);
struct tls_trust *tls_trust_ref(struct tls_trust *t);
void tls_trust_unref(struct tls_trust *t);

struct tls_identity;            /* one leaf with its key and contexts for both sides */
/* Key pair for a new certificate: private key stays inside, csr_pem is malloc'ed. */
struct tls_key;
int tls_key_new(struct tls_key **ret, struct err *err);                 /* EC P-256 */
int tls_key_csr(struct tls_key *k, struct str spiffe_id, char **ret_csr_pem, struct err *err);
/* The private key itself, malloc'ed; for a program outside the mesh. The caller wipes it. */
int tls_key_pem(struct tls_key *k, char **ret_pem, struct err *err);
void tls_key_free(struct tls_key *k);
/*
 * cert_pem: the leaf, and behind it what peers need that know the root alone; all of it is sent. Takes the key on
 * success. Checks that they belong together.
 */
int tls_identity_new(struct tls_key *key, struct str cert_pem, struct tls_trust *trust,
		     struct tls_identity **ret, struct err *err);
/* The same certificate and key over another trust, as long as that vouches for it. */
int tls_identity_retrust(const struct tls_identity *i, struct tls_trust *trust,
			 struct tls_identity **ret, struct err *err);
struct tls_identity *tls_identity_ref(struct tls_identity *i);
void tls_identity_unref(struct tls_identity *i);
struct str tls_identity_spiffe(const struct tls_identity *i);
int64_t tls_identity_not_before(const struct tls_identity *i);          /* seconds since 1970 */
int64_t tls_identity_not_after(const struct tls_identity *i);
const char *tls_identity_serial(const struct tls_identity *i);          /* lower-case hex */

/*
 * Client side towards services outside the mesh (DestinationRule SIMPLE, MUTUAL); server side of a
 * gateway.
 */
struct tls_pair {
	const char *cert, *key;
};
struct tls_files {
	const char *cert, *key, *ca;            /* PEM paths, NULL when not given; ca "system" */
	const struct tls_pair *more;            /* servers: certificates with keys of other kinds */
	size_t n_more;
	const char *crl;                        /* revocation lists of ca's authorities, NULL: none is asked */
	const char *scope;                      /* what it is for: of one scope a later one succeeds a former; NULL: none */
	bool skip_verify;
};
enum tls_clients {                              /* certificates of a server's clients */
	TLS_CLIENTS_ANY,                        /* not asked for */
	TLS_CLIENTS_OPTIONAL,                   /* asked for; one that is sent must be good */
	TLS_CLIENTS_PROVED,                     /* one that the files' ca vouches for is required */
};
struct tls_server_opts {
	enum tls_clients clients;
	const struct str *names;                /* a client's certificate carries one of them; n 0: any does */
	size_t n_names;
	/* … and is one of these, by SHA-256 (lower-case hex) of its public key or of itself; both n 0: any */
	const struct str *spki, *hashes;
	size_t n_spki, n_hashes;
	bool tls13, tls12;                      /* only that version */
	const char *ciphers;                    /* OpenSSL's list for TLS 1.2, NULL: ours */
};
/*
 * Clients check the server against ca (NULL: the system's list) unless skip_verify. A server may
 * have an expired certificate: refusing is up to its clients. These sessions have no SPIFFE
 * identity.
 */
struct tls_ctx;
int tls_ctx_new_client(const struct tls_files *f, struct tls_ctx **ret, struct err *err);
int tls_ctx_new_server(const struct tls_files *f, const struct tls_server_opts *o,
		       struct tls_ctx **ret, struct err *err);
int64_t tls_ctx_not_after(const struct tls_ctx *c);     /* of its certificate; INT64_MAX none */
bool tls_ctx_is_for(const struct tls_ctx *c, struct str host);  /* its certificate names the host */
struct tls_ctx *tls_ctx_ref(struct tls_ctx *c);
void tls_ctx_unref(struct tls_ctx *c);

/* ---- sessions ------------------------------------------------------------ */
struct tls_session;

struct tls_names {
	struct str *v;
	size_t n;
};
/* What was negotiated, for logs, metrics and proof (P6). Strings live as long as the session. */
struct tls_facts {
	const char *version;            /* "TLSv1.3" */
	const char *cipher;             /* "TLS_AES_128_GCM_SHA256" */
	struct str alpn;                /* chosen protocol, empty when none */
	struct str sni;
	struct str peer_spiffe;         /* verified; empty when the peer sent no certificate */
	struct str own_spiffe;
	bool mutual;                    /* both sides proved an identity */
	bool resumed;
	const char *peer_cert_sha256;   /* hex, for x-forwarded-client-cert; NULL when none */
	const char *peer_subject;       /* RFC 2253; NULL when none */
	struct tls_names peer_uris, peer_dns;   /* outside the mesh: of its SANs; printable ones, a few */
};

/*
 * Mesh client: presents id, sends sni, offers alpn (wire names in order, NULL-ended; NULL: none)
 * and accepts the server only when its SPIFFE ID is one of want (P3; at least one).
 * resume_key: sessions are kept per identity and this key, and never cross either (P5); empty:
 * none. Everything is copied; a session holds a reference on its identity.
 */
struct tls_session *tls_client_new(struct tls_identity *id, const char *sni,
				   const char *const *alpn, const struct str *want, size_t n_want,
				   struct str resume_key);
/*
 * Mesh server: which identity answers is decided by pick from the SNI during the handshake (may
 * return NULL: unrecognized_name; what it returns is borrowed). It runs inside tls_handshake, in
 * the caller's thread. A client certificate of the same trust is required.
 *
 * Each identity has one SSL_CTX per side, used by all threads. A server session begins on a context
 * of the process and moves to the identity's with SSL_set_SSL_CTX inside the ClientHello callback,
 * before a ticket is looked up. OpenSSL keeps looking in the first context's session cache, so
 * there is one cache for the process (512 sessions), and what separates identities in it is the
 * session id context: SHA-256 of SPIFFE ID, trust domain, generation and anchors. A session of
 * another identity or trust is not found, and a full handshake follows. Loading a certificate into
 * each SSL instead would cost key checks per connection and lose that separation.
 */
typedef struct tls_identity *(*tls_pick_fn)(void *arg, struct str sni);
struct tls_session *tls_server_new(tls_pick_fn pick, void *arg, const char *const *alpn);
/* Before the handshake: of the clients of the trust only these SPIFFE IDs; n 0: all. Copied. */
void tls_server_want(struct tls_session *s, const struct str *want, size_t n);
/* Outside the mesh: want_dns names the server must have (SANs), n 0 with sni set: sni. */
struct tls_session *tls_client_new_ctx(struct tls_ctx *c, const char *sni, const char *const *alpn,
				       const struct str *want_dns, size_t n_want);
struct tls_session *tls_server_new_ctx(struct tls_ctx *c, const char *const *alpn);
void tls_session_free(struct tls_session *s);

enum tls_result {
	TLS_OK,                         /* made progress */
	TLS_AGAIN,                      /* needs more ciphertext in */
	TLS_CLOSED,                     /* close_notify received */
	TLS_TRUNCATED,                  /* from tls_eof: end without close_notify */
	TLS_FAILED,                     /* text in tls_error; flush: an alert may wait to go out */
};
/* Continue the handshake: cipher_in → …, output appended to cipher_out. TLS_OK: finished. */
enum tls_result tls_handshake(struct tls_session *s, struct buf *cipher_in, struct buf *cipher_out);
/*
 * Decrypt at most max bytes of plaintext into plain. TLS_OK: *some* came, TLS_AGAIN: none. When
 * bytes come in front of a close_notify or a failure they are told first, and tls_has_pending is
 * true.
 */
enum tls_result tls_decrypt(struct tls_session *s, struct buf *cipher_in, struct buf *plain,
			    size_t max, struct buf *cipher_out);
/* True when decrypted bytes or an outcome wait inside (the socket will not tell). */
bool tls_has_pending(const struct tls_session *s);
/* The socket ended: TLS_CLOSED after a close_notify, else TLS_TRUNCATED. */
enum tls_result tls_eof(struct tls_session *s);
/* Encrypt all of plain: full records, and small pieces together in one. */
enum tls_result tls_encrypt(struct tls_session *s, struct buf *plain, struct buf *cipher_out);
/* Append close_notify; marks the session resumable. */
void tls_shutdown(struct tls_session *s, struct buf *cipher_out);
const struct tls_facts *tls_facts(struct tls_session *s);       /* after the handshake */
/* Outside the mesh: does it ask revocation lists at all? */
bool tls_ctx_is_listed(const struct tls_ctx *c);
/*
 * Outside the mesh, after the handshake, over another context of the same scope: does a certificate that
 * the peer has shown stand on a list of this one?
 */
bool tls_ctx_revokes(const struct tls_ctx *now, const struct tls_session *s);
/* Of the mesh, after the handshake: has this trust revoked either side's certificate? */
bool tls_is_revoked(const struct tls_session *s, const struct tls_trust *t);
const char *tls_error(const struct tls_session *s);     /* sentence, word first: "expired: …" */
/*
 * Words counted in tls_refused_total{reason}: "no_certificate", "bad_certificate", "expired",
 * "bad_spiffe_id", …
 */
const char *tls_error_reason(const struct tls_session *s);

/*
 * Look at the first bytes of a connection without consuming them.
 * Returns 1 when it is a TLS ClientHello with sni/alpn filled (borrowed from in; alpn is the raw
 * protocol name list), 0 when it is certainly no TLS, -1 when more bytes are needed.
 */
struct tls_hello {
	struct str sni;
	struct str alpn_list;
};
int tls_sniff_hello(struct str in, struct tls_hello *ret);
/*
 * The host name in the content of a server_name extension (RFC 6066); empty when there is none, or
 * when it holds what no host name holds.
 */
struct str tls_sni_of(struct str ext);
bool tls_alpn_has(struct str alpn_list, struct str proto);
