/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_verify: is this peer whom we want? Layer io; owns nothing.
 * Sizes first, then what a workload's certificate may be and its one SPIFFE ID by our own parser,
 * then OpenSSL's chain verification, then the list of wanted peers (security-model §5.4: the parser
 * runs before and regardless of name constraints). The first cause is kept as reason word and
 * sentence.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>

#include "base/clock.h"
#include "io/tls_priv.h"

/* ---- reasons ------------------------------------------------------------- */

void tls_set_error(struct tls_session *s, const char *reason, const char *fmt, ...)
{
	va_list ap;

	if (s->reason)
		return;
	va_start(ap, fmt);
	struct str text = arena_vprintf(&s->arena, fmt, ap);

	va_end(ap);
	s->reason = reason;
	s->error = arena_printf(&s->arena, "%s: %.*s", reason, STR_ARG(text));
}

void tls_set_error_from_queue(struct tls_session *s, const char *doing)
{
	unsigned long e = ERR_peek_last_error();
	int reason = ERR_GET_REASON(e);
	const char *why = e != 0 ? ERR_reason_error_string(e) : NULL;

	if (s->flooded)
		tls_set_error(s, "flood", "the peer sent too many messages that carry no data");
	else if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET)
		tls_set_error(s, "peer_alert", "the peer refused: %s", why ? why : "unknown alert");
	else if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		tls_set_error(s, "no_certificate", "the peer sent no certificate");
	else if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason == SSL_R_EXCESSIVE_MESSAGE_SIZE)
		tls_set_error(s, "bad_certificate", "the peer sent too long a message while %s",
			      doing);
	else
		tls_set_error(s, "handshake", "%s failed: %s", doing, why ? why : "unknown error");
	ERR_clear_error();
}

/* Word for a verdict of X509_verify_cert. */
static const char *reason_of(int error)
{
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return "expired";
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return "not_yet_valid";
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
		return "unknown_ca";
	case X509_V_ERR_CERT_REVOKED:
		return "certificate_revoked";
	default:
		return "bad_certificate";
	}
}

/* ---- the leaf ------------------------------------------------------------ */

const char *tls_leaf_fault(X509 *leaf)
{
	uint32_t flags = X509_get_extension_flags(leaf);
	uint32_t usage = X509_get_key_usage(leaf);

	if ((flags & EXFLAG_INVALID) != 0)
		return "has malformed extensions";
	if ((flags & EXFLAG_CA) != 0)
		return "is a CA certificate";
	if ((flags & EXFLAG_KUSAGE) == 0 || (usage & KU_DIGITAL_SIGNATURE) == 0)
		return "does not allow digital signatures";
	if ((usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0)
		return "may sign certificates or CRLs";
	return NULL;
}

/* OpenSSL reads BER; what is compared and logged must be what was signed, byte for byte. */
static bool is_der(X509 *leaf, GENERAL_NAMES *sans)
{
	int at = X509_get_ext_by_NID(leaf, NID_subject_alt_name, -1);
	const ASN1_OCTET_STRING *raw = X509_EXTENSION_get_data(X509_get_ext(leaf, at));
	unsigned char *der = NULL;
	int n = i2d_GENERAL_NAMES(sans, &der);
	bool same = n == ASN1_STRING_length(raw) &&
		    memcmp(der, ASN1_STRING_get0_data(raw), (size_t)n) == 0;

	OPENSSL_free(der);
	return same;
}

static struct str san_uri(const GENERAL_NAME *san)
{
	const ASN1_IA5STRING *uri = san->d.uniformResourceIdentifier;

	return str_from((const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri));
}

static GENERAL_NAMES *leaf_sans(X509 *leaf)
{
	GENERAL_NAMES *sans = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);

	if (!sans)
		ERR_clear_error();
	return sans;
}

bool tls_leaf_spiffe(X509 *leaf, GENERAL_NAMES **ret_sans, struct str *ret)
{
	GENERAL_NAMES *sans = leaf_sans(leaf);
	int uris = 0;

	*ret_sans = sans;
	*ret = STR_NULL;
	if (!sans || sk_GENERAL_NAME_num(sans) > TLS_SAN_MAX || !is_der(leaf, sans))
		return false;
	for (int i = 0; i < sk_GENERAL_NAME_num(sans); i++) {
		const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);

		if (san->type != GEN_URI)
			continue;
		uris++;
		*ret = san_uri(san);
	}
	return uris == 1;
}

/* Reads the peer's SPIFFE ID into s->peer_spiffe. */
static bool read_peer(struct tls_session *s, X509 *leaf)
{
	const char *fault = tls_leaf_fault(leaf);
	GENERAL_NAMES *sans = NULL;
	struct tls_spiffe id;
	struct str spiffe;

	if (fault) {
		tls_set_error(s, "bad_certificate", "the peer's certificate %s", fault);
		return false;
	}
	bool ok = tls_leaf_spiffe(leaf, &sans, &spiffe) && tls_spiffe_parse(spiffe, &id);

	if (!ok)
		tls_set_error(s, "bad_spiffe_id", "the peer's certificate has no valid SPIFFE ID");
	else
		s->peer_spiffe = arena_str(&s->arena, spiffe);
	GENERAL_NAMES_free(sans);
	if (!ok)
		return false;
	kv_assert(tls_spiffe_parse(s->peer_spiffe, &id));
	if (!str_eq(id.trust_domain, str_c(s->id->trust->domain))) {
		tls_set_error(s, "bad_spiffe_id", "the peer %.*s is not of trust domain %s",
			      STR_ARG(s->peer_spiffe), s->id->trust->domain);
		return false;
	}
	return true;
}

/* P3: the server is one that the destination may have; a client one that the server lets in. */
static bool is_wanted(struct tls_session *s)
{
	if (s->server && s->n_want == 0)
		return true;
	for (size_t i = 0; i < s->n_want; i++)
		if (str_eq(s->want[i], s->peer_spiffe))
			return true;
	tls_set_error(s, "unexpected_peer", "the %s is %.*s, expected was %.*s%s",
		      s->server ? "client" : "server", STR_ARG(s->peer_spiffe),
		      STR_ARG(s->n_want > 0 ? s->want[0] : STR("nobody")),
		      s->n_want > 1 ? " or another that is named" : "");
	return false;
}

/* ---- verification callbacks ---------------------------------------------- */

static struct tls_session *session_of(X509_STORE_CTX *x)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());

	return SSL_get_app_data(ssl);
}

static int refuse(X509_STORE_CTX *x, struct tls_session *s)
{
	s->peer_spiffe = STR_NULL;
	X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REJECTED);   /* alert bad_certificate */
	return 0;
}

static bool chain_is_short(X509_STORE_CTX *x, struct tls_session *s)
{
	int n = sk_X509_num(X509_STORE_CTX_get0_untrusted(x));

	if (n > TLS_CHAIN_MAX)
		tls_set_error(s, "bad_certificate",
			      "the peer sent %d certificates, at most %d are read", n,
			      TLS_CHAIN_MAX);
	return n <= TLS_CHAIN_MAX;
}

static bool verify_chain(X509_STORE_CTX *x, struct tls_session *s)
{
	if (X509_verify_cert(x) == 1)
		return true;
	int error = X509_STORE_CTX_get_error(x);

	tls_set_error(s, reason_of(error), "the peer's certificate%s%.*s: %s",
		      s->peer_spiffe.n > 0 ? " of " : "", STR_ARG(s->peer_spiffe),
		      X509_verify_cert_error_string(error));
	s->peer_spiffe = STR_NULL;
	return false;
}

/* After read_peer. */
static bool is_revoked(struct tls_session *s, X509 *leaf)
{
	const char *why = tls_revoked_why(s->id->trust, leaf, s->peer_spiffe);

	if (why)
		tls_set_error(s, "certificate_revoked", "the peer %.*s: %s",
			      STR_ARG(s->peer_spiffe), why);
	return why != NULL;
}

int tls_verify_mesh(X509_STORE_CTX *x, void *arg)
{
	struct tls_session *s = session_of(x);
	X509 *leaf = X509_STORE_CTX_get0_cert(x);

	(void)arg;
	if (!chain_is_short(x, s) || !read_peer(s, leaf))
		return refuse(x, s);
	if (!verify_chain(x, s))
		return 0;       /* the alert tells OpenSSL's own verdict */
	if (is_revoked(s, leaf)) {
		s->peer_spiffe = STR_NULL;
		X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REVOKED);
		return 0;
	}
	return is_wanted(s) ? 1 : refuse(x, s);
}

bool tls_recheck_mesh(struct tls_session *s)
{
	X509 *leaf = SSL_get0_peer_certificate(s->ssl);
	int64_t now = clock_real_us() / 1000000;

	if (!leaf || SSL_get_verify_result(s->ssl) != X509_V_OK) {
		tls_set_error(s, "no_certificate", "the resumed session has no verified peer");
		return false;
	}
	if (!read_peer(s, leaf) || is_revoked(s, leaf))
		return false;
	if (now > tls_time(X509_get0_notAfter(leaf))) {
		tls_set_error(s, "expired",
			      "the certificate of %.*s expired since the session began",
			      STR_ARG(s->peer_spiffe));
		return false;
	}
	return is_wanted(s);
}

/* ---- outside the mesh ---------------------------------------------------- */

static bool has_uri(X509 *leaf, struct str want)
{
	GENERAL_NAMES *sans = leaf_sans(leaf);
	bool found = false;

	for (int i = 0; sans && i < sk_GENERAL_NAME_num(sans) && !found; i++) {
		const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);

		found = san->type == GEN_URI && str_eq(want, san_uri(san));
	}
	GENERAL_NAMES_free(sans);
	return found;
}

/* A DNS name (with the certificate's wildcards), an address, or a URI: never the common name. */
bool tls_has_name(X509 *leaf, struct str want)
{
	const unsigned flags =
		X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
	_cleanup_free_ char *text = kv_asprintf("%.*s", STR_ARG(want));

	if (str_find_str(want, STR("://")) >= 0)
		return has_uri(leaf, want);
	if (X509_check_ip_asc(leaf, text, 0) == 1)
		return true;
	return X509_check_host(leaf, want.p, want.n, flags, NULL) == 1;
}

static bool is_printable(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

static void list_san(struct arena *a, const ASN1_IA5STRING *name, struct tls_names *to)
{
	struct str s = str_from((const char *)ASN1_STRING_get0_data(name),
				(size_t)ASN1_STRING_length(name));

	if (to->n < TLS_SANS_TOLD && is_printable(s))
		to->v[to->n++] = arena_str(a, s);
}

void tls_list_sans(X509 *leaf, struct arena *a, struct tls_names *ret_uris, struct tls_names *ret_dns)
{
	GENERAL_NAMES *sans = leaf_sans(leaf);

	ret_uris->v = arena_new_n(a, struct str, TLS_SANS_TOLD);
	ret_dns->v = arena_new_n(a, struct str, TLS_SANS_TOLD);
	for (int i = 0; sans && i < sk_GENERAL_NAME_num(sans); i++) {
		const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);

		if (san->type == GEN_URI)
			list_san(a, san->d.uniformResourceIdentifier, ret_uris);
		else if (san->type == GEN_DNS)
			list_san(a, san->d.dNSName, ret_dns);
	}
	GENERAL_NAMES_free(sans);
}

static bool digest_is_one(const unsigned char *der, int n, const struct str *want, size_t n_want)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[TLS_DIGEST_BYTES];
	char hex[2 * TLS_DIGEST_BYTES];

	if (n <= 0 || EVP_Digest(der, (size_t)n, digest, NULL, tls_sha256(), NULL) != 1)
		return false;
	for (size_t i = 0; i < TLS_DIGEST_BYTES; i++) {
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	for (size_t i = 0; i < n_want; i++)
		if (str_eq(want[i], str_from(hex, sizeof(hex))))
			return true;
	return false;
}

/* Either list may have it (Istio 2.14.4). */
static bool is_pinned(const struct tls_ctx *c, X509 *leaf)
{
	unsigned char *key = NULL, *all = NULL;
	int n_key = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &key), n_all = i2d_X509(leaf, &all);
	bool found = digest_is_one(key, n_key, c->spki, c->n_spki) ||
		     digest_is_one(all, n_all, c->hashes, c->n_hashes);

	OPENSSL_free(key);
	OPENSSL_free(all);
	return found;
}

static bool pins_fit(X509_STORE_CTX *x, struct tls_session *s)
{
	const struct tls_ctx *c = s->ctx;

	if (c->n_spki + c->n_hashes == 0 || is_pinned(c, X509_STORE_CTX_get0_cert(x)))
		return true;
	tls_set_error(s, "unexpected_peer", "the client's certificate is none of those that are named");
	X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REJECTED);
	return false;
}

int tls_verify_outside(X509_STORE_CTX *x, void *arg)
{
	struct tls_session *s = session_of(x);

	(void)arg;
	if (!verify_chain(x, s) || !pins_fit(x, s))
		return 0;
	for (size_t i = 0; i < s->n_want; i++)
		if (tls_has_name(X509_STORE_CTX_get0_cert(x), s->want[i]))
			return 1;
	if (s->n_want == 0)
		return 1;
	tls_set_error(s, "unexpected_peer", "the %s's certificate is not for %.*s",
		      s->server ? "client" : "server", STR_ARG(s->want[0]));
	X509_STORE_CTX_set_error(x, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}
