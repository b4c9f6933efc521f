/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: whom a session believes: every class of bad certificate of security-model §5.4, on both
 * sides, from a peer that is plain OpenSSL and holds a key that the CA once signed; peers that
 * misbehave after the handshake.
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
static void judged(struct pki_spec spec, const struct pki_ca *issuer, EVP_PKEY *key,
		   const char *want)
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
	judged((struct pki_spec){ .uri = A }, NULL, NULL, "unknown_ca"); /* signed by itself */
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
	struct pki_ca *fresh, *below, *many[100];

	start();
	fresh = pki_sub(root, NULL);
	ck_assert_str_eq(with_chain(&fresh, 0, fresh), "unknown_ca");
	ck_assert_str_eq(with_chain(&fresh, 1, fresh), "");
	below = pki_sub(fresh, NULL);
	many[0] = below;
	many[1] = fresh;
	ck_assert_str_eq(with_chain(many, 2, below), "bad_certificate");        /* path length */
	for (int i = 0; i < 100; i++)
		many[i] = fresh;
	ck_assert_str_eq(with_chain(many, 4, fresh), "");
	ck_assert_str_eq(with_chain(many, 5, fresh), "bad_certificate");
	ck_assert_str_eq(with_chain(many, 100, fresh), "bad_certificate");
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
		"spiffe://cluster.local",
		"spiffe://cluster.local/",
		"spiffe://cluster.local/a/",
		"SPIFFE://cluster.local/a",
		"spiffe://Cluster.local/a",
		"spiffe://cluster.local:80/a",
		"spiffe://u@cluster.local/a",
		"spiffe://cluster.local/a?b",
		"spiffe://cluster.local/a#b",
		"spiffe://cluster.local/a%2fb",
		"spiffe://cluster.local/../a",
		"spiffe://cluster.local/a/./b",
		"spiffe://cluster.local//a",
		"https://cluster.local/a",
		"spiffe:///a",
		"spiffe://cluster.local/a b",
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
	JUDGED("bad_spiffe_id", .san_hex = "301b8619"
					   "7370696666653a2f2f636c75737465722e6c6f63616c2f6100");
	JUDGED("bad_spiffe_id", .san_hex = "301c861a"
					   "7370696666653a2f2f636c75737465722e6c6f63616c002f6161");
	JUDGED("bad_spiffe_id", .san_hex = "301a8618"
					   "7370696666653a2f2f636c75737465722e6c6f63616c2fe4");
	/* The same valid ID with a length in long form: BER, not DER. */
	JUDGED("bad_spiffe_id", .san_hex = "301b868118"
					   "7370696666653a2f2f636c75737465722e6c6f63616c2f61");
	JUDGED("bad_spiffe_id", .san_hex = "30811a8618"
					   "7370696666653a2f2f636c75737465722e6c6f63616c2f61");
	JUDGED("bad_spiffe_id", .san_hex = "3000");
	JUDGED("bad_certificate", .san_hex = "0500");
	/* Bytes behind the sequence. */
	JUDGED("bad_spiffe_id", .san_hex = "301a8618"
					   "7370696666653a2f2f636c75737465722e6c6f63616c2f61"
					   "0000");
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

/*
 * A client whose first key share we do not take is asked again: the same name, the same identity.
 */
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

UNIT_MAIN("tls_certs", good_ones, times, leaves_that_are_no_leaves, purposes, weak_ones, chains,
	  chains_on_the_wire, name_constraints, spiffe_ids_in_certificates,
	  alternative_names_byte_by_byte, a_client_without_certificate, a_server_that_does_not_ask,
	  old_versions_are_refused, a_second_hello, a_session_is_no_second_life,
	  a_flood_of_key_updates_ends_it)
