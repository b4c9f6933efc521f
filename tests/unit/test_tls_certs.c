/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: whom a session believes: every class of bad certificate of security-model §5.4, on both sides,
 * from a peer that is plain OpenSSL and holds a key that the CA once signed; trust bundles, identities,
 * files; peers that misbehave after the handshake.
 */
#include <stdio.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/clock.h"

#include "tls_unit.h"

#define A "spiffe://cluster.local/ns/default/sa/a"
#define B "spiffe://cluster.local/ns/default/sa/b"

static struct pki_ca *root, *sub;
static struct tls_trust *trust;
static struct tls_identity *b;

static void start(void)
{
	root = pki_root();
	sub = pki_sub(root, NULL);
	trust = pki_trust(1, root, sub, NULL);
	b = pki_identity(sub, trust, B);
}

static void end(void)
{
	tls_identity_unref(b);
	tls_trust_unref(trust);
	pki_ca_free(root);
	pki_ca_free(sub);
}

static struct tls_identity *pick(void *arg, struct str sni)
{
	(void)sni;
	return arg;
}

/* A context of plain OpenSSL that checks nothing. cert may be NULL. */
static SSL_CTX *raw_ctx(bool server, X509 *cert, EVP_PKEY *key)
{
	SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	SSL_CTX_set_security_level(c, 0);
	SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
	if (cert) {
		ck_assert_int_eq(SSL_CTX_use_certificate(c, cert), 1);
		ck_assert_int_eq(SSL_CTX_use_PrivateKey(c, key), 1);
	}
	return c;
}

/* What the session thought: the reason word, "" when it was content. */
static const char *verdict(struct raw *r, struct tls_session *s)
{
	static char reason[40];
	struct buf up = { 0 }, down = { 0 };
	int raw_result;
	enum tls_result got = raw_shake(r, s, &up, &down, &raw_result);

	ck_assert(got == TLS_OK || got == TLS_FAILED);
	snprintf(reason, sizeof(reason), "%s", got == TLS_OK ? "" : tls_error_reason(s));
	ck_assert((got == TLS_FAILED) == (reason[0] != '\0'));
	if (got == TLS_FAILED)
		ck_assert_int_eq(strncmp(tls_error(s), reason, strlen(reason)), 0);
	tls_session_free(s);
	buf_done(&up);
	buf_done(&down);
	raw_done(r);
	return reason;
}

static const char *as_client(X509 *cert, EVP_PKEY *key)
{
	SSL_CTX *c = raw_ctx(false, cert, key);
	struct raw r;

	raw_init(&r, c, false);
	SSL_CTX_free(c);
	return verdict(&r, tls_server_new(pick, b, NULL));
}

static const char *as_server(X509 *cert, EVP_PKEY *key, const char *want)
{
	SSL_CTX *c = raw_ctx(true, cert, key);
	struct str id = str_c(want);
	struct raw r;

	raw_init(&r, c, true);
	SSL_CTX_free(c);
	return verdict(&r, tls_client_new(b, "x", NULL, &id, 1, STR("")));
}

/* A peer with that certificate, on each side, gets that word. */
static void judged(struct pki_spec spec, const struct pki_ca *issuer, EVP_PKEY *key, const char *want)
{
	EVP_PKEY *own = key ? key : pki_ec_key();
	X509 *cert = pki_cert(&spec, own, issuer);
	const char *what = spec.uri ? spec.uri : spec.san_hex ? spec.san_hex : "(no uri)";
	const char *got = as_client(cert, own);

	ck_assert_msg(strcmp(got, want) == 0, "client %s: '%s', not '%s'", what, got, want);
	got = as_server(cert, own, spec.uri ? spec.uri : A);
	ck_assert_msg(strcmp(got, want) == 0, "server %s: '%s', not '%s'", what, got, want);
	X509_free(cert);
	EVP_PKEY_free(own);
}

#define JUDGED(want, ...) judged((struct pki_spec){ __VA_ARGS__ }, sub, NULL, want)

START_TEST(good_ones)
{
	start();
	JUDGED("", .uri = A);
	judged((struct pki_spec){ .uri = A }, root, NULL, "");
	JUDGED("", .uri = A, .cn = "anything");
	JUDGED("", .uri = A, .dns = "a.example");        /* other names never count */
	JUDGED("", .uri = A, .many_dns = 99);
	JUDGED("", .uri = A, .usage = "critical,digitalSignature,keyAgreement");
	judged((struct pki_spec){ .uri = A }, sub, pki_rsa_key(2048), "");
	end();
}
END_TEST

START_TEST(times)
{
	start();
	JUDGED("expired", .uri = A, .from = -7200, .until = -3600);
	JUDGED("not_yet_valid", .uri = A, .from = 3600, .until = 7200);
	end();
}
END_TEST

START_TEST(leaves_that_are_no_leaves)
{
	start();
	JUDGED("bad_certificate", .uri = A, .basic = "critical,CA:TRUE");
	JUDGED("bad_certificate", .uri = A, .usage = "critical,digitalSignature,keyCertSign");
	JUDGED("bad_certificate", .uri = A, .usage = "critical,digitalSignature,cRLSign");
	JUDGED("bad_certificate", .uri = A, .usage = "critical,keyAgreement");
	JUDGED("bad_certificate", .uri = A, .usage = "");
	JUDGED("bad_certificate", .uri = A, .unknown_critical = true);
	JUDGED("bad_certificate", .uri = A, .eku = "codeSigning");
	JUDGED("bad_certificate", .uri = A, .san_not_critical = true);   /* with an empty subject */
	end();
}
END_TEST

/* Each side looks for its own purpose. */
START_TEST(purposes)
{
	EVP_PKEY *key = pki_ec_key();
	X509 *only_server, *only_client;

	start();
	only_server = pki_cert(&(struct pki_spec){ .uri = A, .eku = "serverAuth" }, key, sub);
	only_client = pki_cert(&(struct pki_spec){ .uri = A, .eku = "clientAuth" }, key, sub);
	ck_assert_str_eq(as_client(only_server, key), "bad_certificate");
	ck_assert_str_eq(as_server(only_server, key, A), "");
	ck_assert_str_eq(as_client(only_client, key), "");
	ck_assert_str_eq(as_server(only_client, key, A), "bad_certificate");
	X509_free(only_server);
	X509_free(only_client);
	EVP_PKEY_free(key);
	end();
}
END_TEST

START_TEST(weak_ones)
{
	start();
	judged((struct pki_spec){ .uri = A }, sub, pki_rsa_key(1024), "bad_certificate");
	JUDGED("bad_certificate", .uri = A, .sha1 = true);
	end();
}
END_TEST

START_TEST(chains)
{
	struct pki_ca *other, *below;

	start();
	other = pki_root();
	judged((struct pki_spec){ .uri = A }, other, NULL, "unknown_ca");
	judged((struct pki_spec){ .uri = A }, NULL, NULL, "unknown_ca");        /* signed by itself */
	/* sub may sign leaves only (pathlen 0), and below is not in the bundle. */
	below = pki_sub(sub, NULL);
	judged((struct pki_spec){ .uri = A }, below, NULL, "unknown_ca");
	pki_ca_free(other);
	pki_ca_free(below);
	end();
}
END_TEST

/* Chains on the wire: what is not in the bundle may be sent, up to five certificates. */
static const char *with_chain(struct pki_ca *const *extra, size_t n, const struct pki_ca *issuer)
{
	EVP_PKEY *key = pki_ec_key();
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = A }, key, issuer);
	SSL_CTX *c = raw_ctx(false, cert, key);
	struct raw r;

	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(SSL_CTX_add1_chain_cert(c, extra[i]->cert), 1);
	raw_init(&r, c, false);
	SSL_CTX_free(c);
	X509_free(cert);
	EVP_PKEY_free(key);
	return verdict(&r, tls_server_new(pick, b, NULL));
}

START_TEST(chains_on_the_wire)
{
	struct pki_ca *fresh, *below, *many[40];

	start();
	fresh = pki_sub(root, NULL);
	ck_assert_str_eq(with_chain(&fresh, 0, fresh), "unknown_ca");
	ck_assert_str_eq(with_chain(&fresh, 1, fresh), "");
	below = pki_sub(fresh, NULL);
	many[0] = below;
	many[1] = fresh;
	ck_assert_str_eq(with_chain(many, 2, below), "bad_certificate");        /* path length */
	for (int i = 0; i < 40; i++)
		many[i] = fresh;
	ck_assert_str_eq(with_chain(many, 4, fresh), "");
	ck_assert_str_eq(with_chain(many, 5, fresh), "bad_certificate");
	ck_assert_str_eq(with_chain(many, 40, fresh), "bad_certificate");
	pki_ca_free(fresh);
	pki_ca_free(below);
	end();
}
END_TEST

START_TEST(name_constraints)
{
	struct pki_ca *bound;
	struct tls_trust *t;

	start();
	bound = pki_sub(root, "critical,permitted;URI:other.example");
	t = pki_trust(1, bound, NULL);
	tls_identity_unref(b);
	tls_trust_unref(trust);
	trust = pki_trust(1, root, sub, bound, NULL);
	b = pki_identity(sub, trust, B);
	judged((struct pki_spec){ .uri = A }, bound, NULL, "bad_certificate");
	tls_trust_unref(t);
	pki_ca_free(bound);
	end();
}
END_TEST

START_TEST(spiffe_ids_in_certificates)
{
	static const char *const bad[] = {
		"spiffe://cluster.local", "spiffe://cluster.local/", "spiffe://cluster.local/a/", "SPIFFE://cluster.local/a",
		"spiffe://Cluster.local/a", "spiffe://cluster.local:80/a", "spiffe://u@cluster.local/a",
		"spiffe://cluster.local/a?b", "spiffe://cluster.local/a#b", "spiffe://cluster.local/a%2fb",
		"spiffe://cluster.local/../a", "spiffe://cluster.local/a/./b", "spiffe://cluster.local//a", "https://cluster.local/a",
		"spiffe:///a", "spiffe://cluster.local/a b",
	};

	start();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		JUDGED("bad_spiffe_id", .uri = bad[i]);
	JUDGED("bad_spiffe_id", .uri = "spiffe://other.example/ns/default/sa/a");
	JUDGED("bad_spiffe_id", .uri = A, .uri2 = B);
	JUDGED("bad_spiffe_id", .uri = A, .uri2 = "https://example.com/");
	JUDGED("bad_spiffe_id", .dns = "a.example");
	JUDGED("bad_spiffe_id", .cn = A);
	JUDGED("bad_spiffe_id", .uri = A, .many_dns = 100);
	end();
}
END_TEST

/* Raw extension contents: NUL, 8 bit, lengths that are no DER, an IA5String of another tag. */
START_TEST(alternative_names_byte_by_byte)
{
	start();
	/* SEQUENCE { [6] "spiffe://cluster.local/a" } */
	JUDGED("", .uri = "spiffe://cluster.local/a",
	       .san_hex = "301a8618" "7370696666653a2f2f636c75737465722e6c6f63616c2f61");
	/* … "/a\0" and "\0" in the domain */
	JUDGED("bad_spiffe_id", .san_hex = "301b8619" "7370696666653a2f2f636c75737465722e6c6f63616c2f6100");
	JUDGED("bad_spiffe_id", .san_hex = "301c861a" "7370696666653a2f2f636c75737465722e6c6f63616c002f6161");
	JUDGED("bad_spiffe_id", .san_hex = "301a8618" "7370696666653a2f2f636c75737465722e6c6f63616c2fe4");
	/* The same valid ID with a length in long form: BER, not DER. */
	JUDGED("bad_spiffe_id", .san_hex = "301b868118" "7370696666653a2f2f636c75737465722e6c6f63616c2f61");
	JUDGED("bad_spiffe_id", .san_hex = "30811a8618" "7370696666653a2f2f636c75737465722e6c6f63616c2f61");
	JUDGED("bad_spiffe_id", .san_hex = "3000");
	JUDGED("bad_certificate", .san_hex = "0500");
	/* Bytes behind the sequence. */
	JUDGED("bad_spiffe_id", .san_hex = "301a8618" "7370696666653a2f2f636c75737465722e6c6f63616c2f61" "0000");
	end();
}
END_TEST

START_TEST(a_client_without_certificate)
{
	start();
	ck_assert_str_eq(as_client(NULL, NULL), "no_certificate");
	end();
}
END_TEST

/* A server that does not ask for our certificate is not mutual, and we say so. */
START_TEST(a_server_that_does_not_ask)
{
	EVP_PKEY *key = pki_ec_key();
	struct buf up = { 0 }, down = { 0 };
	struct str id = STR(A);
	struct tls_session *s;
	struct raw r;
	int raw_result;

	start();
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = A }, key, sub);
	SSL_CTX *c = raw_ctx(true, cert, key);

	for (int asks = 0; asks < 2; asks++) {
		SSL_CTX_set_verify(c, asks ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
		SSL_CTX_load_verify_file(c, "/dev/null");
		ERR_clear_error();
		X509_STORE_add_cert(SSL_CTX_get_cert_store(c), root->cert);
		X509_STORE_add_cert(SSL_CTX_get_cert_store(c), sub->cert);
		raw_init(&r, c, true);
		s = tls_client_new(b, "x", NULL, &id, 1, STR(""));
		ck_assert_int_eq(raw_shake(&r, s, &up, &down, &raw_result), TLS_OK);
		ck_assert_int_eq(tls_facts(s)->mutual, asks);
		unit_str_eq(tls_facts(s)->peer_spiffe, A);
		tls_session_free(s);
		raw_done(&r);
		buf_done(&up);
		buf_done(&down);
	}
	SSL_CTX_free(c);
	X509_free(cert);
	EVP_PKEY_free(key);
	end();
}
END_TEST

START_TEST(old_versions_are_refused)
{
	EVP_PKEY *key = pki_ec_key();
	struct raw r;

	start();
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = A }, key, sub);
	SSL_CTX *c = raw_ctx(false, cert, key);

	SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
	raw_init(&r, c, false);
	SSL_CTX_free(c);
	ck_assert_str_eq(verdict(&r, tls_server_new(pick, b, NULL)), "handshake");
	X509_free(cert);
	EVP_PKEY_free(key);
	end();
}
END_TEST

/* A client whose first key share we do not take is asked again: the same name, the same identity. */
START_TEST(a_second_hello)
{
	EVP_PKEY *key = pki_ec_key();
	struct buf up = { 0 }, down = { 0 };
	struct raw r;
	int raw_result;

	start();
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = A }, key, sub);
	SSL_CTX *c = raw_ctx(false, cert, key);
	static char groups[] = "P-384:P-256";
	static char name[] = "b.example";

	SSL_CTX_set1_groups_list(c, groups);
	raw_init(&r, c, false);
	SSL_set_tlsext_host_name(r.ssl, name);
	struct tls_session *s = tls_server_new(pick, b, NULL);

	ck_assert_int_eq(raw_shake(&r, s, &up, &down, &raw_result), TLS_OK);
	unit_str_eq(tls_facts(s)->sni, "b.example");
	unit_str_eq(tls_facts(s)->peer_spiffe, A);
	tls_session_free(s);
	raw_done(&r);
	buf_done(&up);
	buf_done(&down);
	SSL_CTX_free(c);
	X509_free(cert);
	EVP_PKEY_free(key);
	end();
}
END_TEST

/* A client that keeps a session past its certificate's life does not get in with it. */
START_TEST(a_session_is_no_second_life)
{
	EVP_PKEY *key = pki_ec_key();
	struct buf up = { 0 }, down = { 0 };
	struct raw r;
	int raw_result;
	char byte;

	start();
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = A, .until = 2 }, key, sub);
	SSL_CTX *c = raw_ctx(false, cert, key);
	SSL_SESSION *kept = NULL;

	for (int i = 0; i < 2; i++) {
		struct tls_session *s = tls_server_new(pick, b, NULL);

		raw_init(&r, c, false);
		if (kept)
			SSL_set_session(r.ssl, kept);
		ck_assert_int_eq(raw_shake(&r, s, &up, &down, &raw_result), TLS_OK);
		ck_assert_int_eq(tls_facts(s)->resumed, i);
		SSL_read(r.ssl, &byte, 1);
		SSL_SESSION_free(kept);
		kept = SSL_get1_session(r.ssl);
		SSL_set_shutdown(r.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		tls_session_free(s);
		raw_done(&r);
		buf_done(&up);
		buf_done(&down);
	}
	while (clock_real_us() < (tls_identity_not_before(b) + 60 + 4) * 1000000)
		usleep(20000);
	raw_init(&r, c, false);
	SSL_set_session(r.ssl, kept);
	ck_assert_str_eq(verdict(&r, tls_server_new(pick, b, NULL)), "expired");
	SSL_SESSION_free(kept);
	SSL_CTX_free(c);
	X509_free(cert);
	EVP_PKEY_free(key);
	end();
}
END_TEST

START_TEST(a_flood_of_key_updates_ends_it)
{
	EVP_PKEY *key = pki_ec_key();
	struct buf up = { 0 }, down = { 0 }, plain = { 0 };
	struct raw r;
	int raw_result, rounds = 0;
	enum tls_result got = TLS_AGAIN;

	start();
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = A }, key, sub);
	SSL_CTX *c = raw_ctx(false, cert, key);
	struct tls_session *s = tls_server_new(pick, b, NULL);

	raw_init(&r, c, false);
	ck_assert_int_eq(raw_shake(&r, s, &up, &down, &raw_result), TLS_OK);
	/* A few in between data are normal. */
	for (int i = 0; i < 100; i++) {
		SSL_key_update(r.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		ck_assert_int_eq(SSL_write(r.ssl, "x", 1), 1);
		raw_flush(&r, &up);
		ck_assert_int_eq(tls_decrypt(s, &up, &plain, 100, &down), TLS_OK);
	}
	for (; got == TLS_AGAIN && rounds < 1000; rounds++) {
		SSL_key_update(r.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		SSL_do_handshake(r.ssl);
		raw_flush(&r, &up);
		got = tls_decrypt(s, &up, &plain, 100, &down);
	}
	ck_assert_int_eq(got, TLS_FAILED);
	ck_assert_int_lt(rounds, 100);
	ck_assert_str_eq(tls_error_reason(s), "flood");
	buf_done(&up);
	buf_done(&down);
	buf_done(&plain);
	tls_session_free(s);
	raw_done(&r);
	SSL_CTX_free(c);
	X509_free(cert);
	EVP_PKEY_free(key);
	end();
}
END_TEST

/* ---- trust and identities ------------------------------------------------------------------------------- */

static void no_trust(const char *pem, const char *domain, const char *says)
{
	struct tls_trust *t = NULL;
	struct err err;

	ck_assert_int_lt(tls_trust_new(str_c(pem), str_c(domain), 1, &t, &err), 0);
	ck_assert_ptr_null(t);
	ck_assert_msg(strstr(err.text, says), "'%s' does not say '%s'", err.text, says);
}

START_TEST(bundles)
{
	EVP_PKEY *key = pki_ec_key();

	start();
	X509 *leaf = pki_cert(&(struct pki_spec){ .uri = A }, key, sub);
	char *ca_pem = pki_pem(root->cert), *leaf_pem = pki_pem(leaf);
	char *both = kv_asprintf("%s%s", ca_pem, leaf_pem);
	char *cut = kv_asprintf("%s%.*s", ca_pem, 200, ca_pem);

	no_trust("", "cluster.local", "no certificate");
	no_trust("hello", "cluster.local", "no certificate");
	no_trust(both, "cluster.local", "certificate 2 of the trust bundle is no CA");
	no_trust(cut, "cluster.local", "certificate 2 of the trust bundle is damaged");
	no_trust(ca_pem, "Cluster.local", "no trust domain");
	no_trust(ca_pem, "", "no trust domain");
	no_trust(ca_pem, "a/b", "no trust domain");
	free(ca_pem);
	free(leaf_pem);
	free(both);
	free(cut);
	X509_free(leaf);
	EVP_PKEY_free(key);
	end();
}
END_TEST

static int make(struct tls_key *key, X509 *cert, const char *behind, struct tls_identity **ret, struct err *err)
{
	char *pem = pki_pem(cert), *all = kv_asprintf("%s%s", pem, behind);
	int r = tls_identity_new(key, str_c(all), trust, ret, err);

	free(pem);
	free(all);
	X509_free(cert);
	return r;
}

START_TEST(identities)
{
	struct tls_key *key;
	struct tls_identity *id;
	struct err err;
	char *csr;

	start();
	ck_assert_int_eq(tls_key_new(&key, &err), 0);
	ck_assert_int_eq(tls_key_csr(key, STR("spiffe://x"), &csr, &err), -EINVAL);
	ck_assert_int_eq(tls_key_csr(key, STR(A), &csr, &err), 0);
	EVP_PKEY *pub = pki_public_of(csr), *other = pki_ec_key();
	struct pki_ca *stranger = pki_root();
#define REFUSED(says, cert, behind) do { \
	ck_assert_int_eq(make(key, cert, behind, &id, &err), KV_ERR_TLS); \
	ck_assert_msg(strstr(err.text, says), "'%s' does not say '%s'", err.text, says); \
} while (0)
	REFUSED("another key", pki_cert(&(struct pki_spec){ .uri = A }, other, sub), "");
	REFUSED("does not fit the trust bundle", pki_cert(&(struct pki_spec){ .uri = A }, pub, stranger), "");
	REFUSED("does not fit the trust bundle",
		pki_cert(&(struct pki_spec){ .uri = A, .eku = "serverAuth" }, pub, sub), "");
	REFUSED("trust domain", pki_cert(&(struct pki_spec){ .uri = "spiffe://other/a" }, pub, sub), "");
	REFUSED("SPIFFE ID", pki_cert(&(struct pki_spec){ .dns = "a" }, pub, sub), "");
	REFUSED("is a CA", pki_cert(&(struct pki_spec){ .uri = A, .basic = "CA:TRUE" }, pub, sub), "");
	char *second = pki_pem(sub->cert);

	REFUSED("alone", pki_cert(&(struct pki_spec){ .uri = A }, pub, sub), second);
	free(second);
	ck_assert_int_eq(tls_identity_new(key, STR("junk"), trust, &id, &err), KV_ERR_TLS);
	/* An old one is taken: peers say when it is too old, and renewal is under way. */
	X509 *good = pki_cert(&(struct pki_spec){ .uri = A, .from = -7200, .until = -3600 }, pub, sub);
	int64_t now = clock_real_us() / 1000000;

	ck_assert_msg(make(key, good, "\n", &id, &err) == 0, "%s", err.text);
	unit_str_eq(tls_identity_spiffe(id), A);
	ck_assert_int_ge(tls_identity_not_after(id), now - 3610);
	ck_assert_int_le(tls_identity_not_after(id), now - 3590);
	ck_assert_int_eq(tls_identity_not_after(id) - tls_identity_not_before(id), 3600);
	ck_assert_msg(strncmp(tls_identity_serial(id), "abc", 3) == 0 || strlen(tls_identity_serial(id)) == 4, "%s",
		      tls_identity_serial(id));
	tls_identity_unref(id);
	pki_ca_free(stranger);
	EVP_PKEY_free(pub);
	EVP_PKEY_free(other);
	free(csr);
	end();
}
END_TEST

START_TEST(requests_carry_the_id)
{
	struct tls_key *key;
	char *csr;

	ck_assert_int_eq(tls_key_new(&key, NULL), 0);
	ck_assert_int_eq(tls_key_csr(key, STR(A), &csr, NULL), 0);
	BIO *bio = BIO_new_mem_buf(csr, -1);
	X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);

	ck_assert_int_eq(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), 0);
	STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(req);
	GENERAL_NAMES *sans = X509V3_get_d2i(exts, NID_subject_alt_name, NULL, NULL);

	ck_assert_int_eq(sk_GENERAL_NAME_num(sans), 1);
	ck_assert_str_eq((const char *)ASN1_STRING_get0_data(sk_GENERAL_NAME_value(sans, 0)->d.ia5), A);
	GENERAL_NAMES_free(sans);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	X509_REQ_free(req);
	BIO_free(bio);
	free(csr);
	tls_key_free(key);
}
END_TEST

/* ---- files: the world outside ------------------------------------------------------------------------------ */

#define DIR_PATTERN "/tmp/kvmesh-test-tls-XXXXXX"
static char dir[] = DIR_PATTERN;

static char *file_of(const char *name, char *text)
{
	char *path = kv_asprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	free(text);
	return path;
}

struct files {
	char *ca, *cert, *key, *client_cert, *client_key;
};

static void files_make(struct files *f)
{
	EVP_PKEY *key = pki_ec_key(), *client = pki_ec_key();

	memcpy(dir, DIR_PATTERN, sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	X509 *cert = pki_cert(&(struct pki_spec){ .dns = "shop.example,DNS:*.api.example,IP:192.0.2.1", .cn = "common.example" },
			      key, sub);
	X509 *client_cert = pki_cert(&(struct pki_spec){ .dns = "client.example", .cn = "client" }, client, sub);
	char *leaf = pki_pem(cert), *issuer = pki_pem(sub->cert);

	f->ca = file_of("ca.crt", pki_pem(root->cert));
	f->cert = file_of("tls.crt", kv_asprintf("%s%s", leaf, issuer));
	f->key = file_of("tls.key", pki_key_pem(key));
	free(leaf);
	leaf = pki_pem(client_cert);
	f->client_cert = file_of("client.crt", kv_asprintf("%s%s", leaf, issuer));
	f->client_key = file_of("client.key", pki_key_pem(client));
	free(leaf);
	free(issuer);
	X509_free(cert);
	X509_free(client_cert);
	EVP_PKEY_free(key);
	EVP_PKEY_free(client);
}

static void files_done(struct files *f)
{
	char **all[] = { &f->ca, &f->cert, &f->key, &f->client_cert, &f->client_key };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		unlink(*all[i]);
		free(*all[i]);
	}
	rmdir(dir);
}

struct outside {
	struct tls_ctx *client, *server;
	struct wire w;
};

/* want: names, or NULL for those of the SNI. "" when both were content, else the client's or server's word. */
static const char *meet(struct outside *o, const char *sni, const char *want)
{
	static const char *const alpn[] = { "http/1.1", NULL };
	struct str name = str_c(want);

	wire_init(&o->w, tls_client_new_ctx(o->client, sni, alpn, &name, want ? 1 : 0),
		  tls_server_new_ctx(o->server, alpn));
	wire_shake(&o->w, 0);
	if (o->w.client_result == TLS_FAILED && strcmp(tls_error_reason(o->w.client), "peer_alert") != 0)
		return tls_error_reason(o->w.client);
	if (o->w.server_result == TLS_FAILED)
		return tls_error_reason(o->w.server);
	wire_ok(&o->w);
	wire_say(&o->w, true, "hello");
	return "";
}

static void meets(struct outside *o, const char *sni, const char *want, const char *word)
{
	const char *got = meet(o, sni, want);

	ck_assert_msg(strcmp(got, word) == 0, "%s for %s: '%s', not '%s': %s", sni, want, got, word,
		      tls_error(o->w.client));
	wire_close(&o->w);
}

START_TEST(names_outside_the_mesh)
{
	struct files f;
	struct outside o;
	struct err err;

	start();
	files_make(&f);
	ck_assert_msg(tls_ctx_new_server(&(struct tls_files){ .cert = f.cert, .key = f.key }, false, &o.server, &err) == 0,
		      "%s", err.text);
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = f.ca }, &o.client, &err), 0);
	meets(&o, "shop.example", NULL, "");
	meets(&o, "x.api.example", NULL, "");
	meets(&o, "api.example", NULL, "unexpected_peer");
	meets(&o, "x.y.api.example", NULL, "unexpected_peer");
	meets(&o, "common.example", NULL, "unexpected_peer");
	meets(&o, "shop.example.evil", NULL, "unexpected_peer");
	meets(&o, "other.example", "shop.example", "");
	meets(&o, "shop.example", "other.example", "unexpected_peer");
	meets(&o, "192.0.2.1", NULL, "");
	meets(&o, "192.0.2.2", NULL, "unexpected_peer");
	meets(&o, NULL, "spiffe://cluster.local/a", "unexpected_peer");
	meets(&o, NULL, NULL, "");
	ck_assert_str_eq(meet(&o, "shop.example", NULL), "");
	unit_str_eq(tls_facts(o.w.server)->sni, "shop.example");
	unit_str_eq(tls_facts(o.w.client)->alpn, "http/1.1");
	ck_assert(!tls_facts(o.w.server)->mutual && !tls_facts(o.w.client)->mutual);
	ck_assert_uint_eq(tls_facts(o.w.client)->peer_spiffe.n, 0);
	ck_assert_str_eq(tls_facts(o.w.client)->peer_subject, "CN=common.example");
	ck_assert_ptr_null(tls_facts(o.w.server)->peer_cert_sha256);
	wire_close(&o.w);
	tls_ctx_unref(o.client);
	/* Another CA: not trusted unless told not to look. */
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = "system" }, &o.client, &err), 0);
	meets(&o, "shop.example", NULL, "unknown_ca");
	tls_ctx_unref(o.client);
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .skip_verify = true }, &o.client, &err), 0);
	meets(&o, "whatever.example", NULL, "");
	tls_ctx_unref(o.client);
	tls_ctx_unref(o.server);
	files_done(&f);
	end();
}
END_TEST

START_TEST(clients_of_a_gateway)
{
	struct files f;
	struct outside o;
	struct err err;

	start();
	files_make(&f);
	ck_assert_int_eq(tls_ctx_new_server(&(struct tls_files){ .cert = f.cert, .key = f.key, .ca = f.ca }, true,
					    &o.server, &err), 0);
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = f.ca }, &o.client, &err), 0);
	meets(&o, "shop.example", NULL, "no_certificate");
	tls_ctx_unref(o.client);
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = f.ca, .cert = f.client_cert, .key = f.client_key },
					    &o.client, &err), 0);
	ck_assert_str_eq(meet(&o, "shop.example", NULL), "");
	ck_assert(tls_facts(o.w.server)->mutual && tls_facts(o.w.client)->mutual);
	ck_assert_str_eq(tls_facts(o.w.server)->peer_subject, "CN=client");
	wire_close(&o.w);
	tls_ctx_unref(o.client);
	tls_ctx_unref(o.server);
	files_done(&f);
	end();
}
END_TEST

START_TEST(files_that_do_not_fit)
{
	struct files f;
	struct tls_ctx *c;
	struct err err;

	start();
	files_make(&f);
#define NO_SERVER(says, ...) do { \
	ck_assert_int_lt(tls_ctx_new_server(&(struct tls_files){ __VA_ARGS__ }, true, &c, &err), 0); \
	ck_assert_msg(strstr(err.text, says), "'%s' does not say '%s'", err.text, says); \
} while (0)
	NO_SERVER("certificate and its key", .cert = f.cert);
	NO_SERVER("certificate and its key", .ca = f.ca);
	NO_SERVER("for the certificate", .cert = f.cert, .key = f.client_key);
	NO_SERVER("/nonexistent", .cert = "/nonexistent", .key = f.key);
	NO_SERVER(f.cert, .cert = f.cert, .key = f.cert);
	NO_SERVER("/nonexistent", .cert = f.cert, .key = f.key, .ca = "/nonexistent");
	ck_assert_int_lt(tls_ctx_new_client(&(struct tls_files){ .key = f.key, .ca = f.ca }, &c, &err), 0);
	files_done(&f);
	end();
}
END_TEST

UNIT_MAIN("tls_certs", good_ones, times, leaves_that_are_no_leaves, purposes, weak_ones, chains,
	  chains_on_the_wire, name_constraints, spiffe_ids_in_certificates, alternative_names_byte_by_byte,
	  a_client_without_certificate, a_server_that_does_not_ask, old_versions_are_refused, a_second_hello,
	  a_session_is_no_second_life, a_flood_of_key_updates_ends_it, bundles, identities,
	  requests_carry_the_id, names_outside_the_mesh, clients_of_a_gateway, files_that_do_not_fit)
