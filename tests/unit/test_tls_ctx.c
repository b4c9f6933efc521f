/* SPDX-License-Identifier: Apache-2.0 */
/* tls: trust bundles, identities, signing requests; files for the world outside the mesh. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "base/clock.h"

#include "tls_unit.h"

#define A "spiffe://cluster.local/ns/default/sa/a"

static struct pki_ca *root, *sub;
static struct tls_trust *trust;

static void start(void)
{
	root = pki_root();
	sub = pki_sub(root, NULL);
	trust = pki_trust(1, root, sub, NULL);
}

static void end(void)
{
	tls_trust_unref(trust);
	pki_ca_free(root);
	pki_ca_free(sub);
}

/* ---- trust and identities ------------------------------------------------ */

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

static int make(struct tls_key *key, X509 *cert, const char *behind, struct tls_identity **ret,
		struct err *err)
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
	REFUSED("does not fit the trust bundle",
		pki_cert(&(struct pki_spec){ .uri = A }, pub, stranger), "");
	REFUSED("does not fit the trust bundle",
		pki_cert(&(struct pki_spec){ .uri = A, .eku = "serverAuth" }, pub, sub), "");
	REFUSED("trust domain", pki_cert(&(struct pki_spec){ .uri = "spiffe://other/a" }, pub, sub),
		"");
	REFUSED("SPIFFE ID", pki_cert(&(struct pki_spec){ .dns = "a" }, pub, sub), "");
	REFUSED("is a CA", pki_cert(&(struct pki_spec){ .uri = A, .basic = "CA:TRUE" }, pub, sub),
		"");
	char *second = pki_pem(sub->cert);

	char *many = kv_asprintf("%s%s%s%s%s", second, second, second, second, second);

	REFUSED("cannot read", pki_cert(&(struct pki_spec){ .uri = A }, pub, sub), many);
	REFUSED("cannot read", pki_cert(&(struct pki_spec){ .uri = A }, pub, sub), "-----BEGIN CERTIFICATE-----\nAAAA\n");
	free(many);
	free(second);
	ck_assert_int_eq(tls_identity_new(key, STR("junk"), trust, &id, &err), KV_ERR_TLS);
	/* An old one is taken: peers say when it is too old, and renewal is under way. */
	X509 *good =
		pki_cert(&(struct pki_spec){ .uri = A, .from = -7200, .until = -3600 }, pub, sub);
	int64_t now = clock_real_us() / 1000000;

	ck_assert_msg(make(key, good, "\n", &id, &err) == 0, "%s", err.text);
	unit_str_eq(tls_identity_spiffe(id), A);
	ck_assert_int_ge(tls_identity_not_after(id), now - 3610);
	ck_assert_int_le(tls_identity_not_after(id), now - 3590);
	ck_assert_int_eq(tls_identity_not_after(id) - tls_identity_not_before(id), 3600);
	ck_assert_msg(strncmp(tls_identity_serial(id), "abc", 3) == 0 ||
			      strlen(tls_identity_serial(id)) == 4,
		      "%s", tls_identity_serial(id));
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
	ck_assert_str_eq((const char *)ASN1_STRING_get0_data(sk_GENERAL_NAME_value(sans, 0)->d.ia5),
			 A);
	GENERAL_NAMES_free(sans);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	X509_REQ_free(req);
	BIO_free(bio);
	free(csr);
	tls_key_free(key);
}
END_TEST

/* ---- files: the world outside -------------------------------------------- */

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
	X509 *cert =
		pki_cert(&(struct pki_spec){ .dns = "shop.example,DNS:*.api.example,IP:192.0.2.1",
					     .cn = "common.example" },
			 key, sub);
	X509 *client_cert = pki_cert(&(struct pki_spec){ .dns = "client.example", .cn = "client" },
				     client, sub);
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

/*
 * want: names, or NULL for those of the SNI. "" when both were content, else the client's or
 * server's word.
 */
static const char *meet(struct outside *o, const char *sni, const char *want)
{
	static const char *const alpn[] = { "http/1.1", NULL };
	struct str name = str_c(want);

	wire_init(&o->w, tls_client_new_ctx(o->client, sni, alpn, &name, want ? 1 : 0),
		  tls_server_new_ctx(o->server, alpn));
	wire_shake(&o->w, 0);
	if (o->w.client_result == TLS_FAILED &&
	    strcmp(tls_error_reason(o->w.client), "peer_alert") != 0)
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
	ck_assert_msg(tls_ctx_new_server(&(struct tls_files){ .cert = f.cert, .key = f.key },
					 &(struct tls_server_opts){ 0 }, &o.server, &err) == 0,
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
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = "system" }, &o.client, &err),
			 0);
	meets(&o, "shop.example", NULL, "unknown_ca");
	tls_ctx_unref(o.client);
	ck_assert_int_eq(
		tls_ctx_new_client(&(struct tls_files){ .skip_verify = true }, &o.client, &err), 0);
	meets(&o, "whatever.example", NULL, "");
	tls_ctx_unref(o.client);
	tls_ctx_unref(o.server);
	files_done(&f);
	end();
}
END_TEST

static const struct tls_server_opts proved = { .clients = TLS_CLIENTS_PROVED };

START_TEST(clients_of_a_gateway)
{
	struct files f;
	struct outside o;
	struct err err;

	start();
	files_make(&f);
	ck_assert_int_eq(
		tls_ctx_new_server(&(struct tls_files){ .cert = f.cert, .key = f.key, .ca = f.ca },
				   &proved, &o.server, &err),
		0);
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = f.ca }, &o.client, &err), 0);
	meets(&o, "shop.example", NULL, "no_certificate");
	tls_ctx_unref(o.client);
	ck_assert_int_eq(tls_ctx_new_client(&(struct tls_files){ .ca = f.ca,
								 .cert = f.client_cert,
								 .key = f.client_key },
					    &o.client, &err),
			 0);
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
#define NO_SERVER(says, ...)                                                                       \
	do {                                                                                       \
		ck_assert_int_lt(                                                                  \
			tls_ctx_new_server(&(struct tls_files){ __VA_ARGS__ }, &proved, &c, &err), \
			0);                                                                        \
		ck_assert_msg(strstr(err.text, says), "'%s' does not say '%s'", err.text, says);   \
	} while (0)
	NO_SERVER("certificate and its key", .cert = f.cert);
	NO_SERVER("certificate and its key", .ca = f.ca);
	NO_SERVER("for the certificate", .cert = f.cert, .key = f.client_key);
	NO_SERVER("/nonexistent", .cert = "/nonexistent", .key = f.key);
	NO_SERVER(f.cert, .cert = f.cert, .key = f.cert);
	NO_SERVER("/nonexistent", .cert = f.cert, .key = f.key, .ca = "/nonexistent");
	ck_assert_int_lt(
		tls_ctx_new_client(&(struct tls_files){ .key = f.key, .ca = f.ca }, &c, &err), 0);
	files_done(&f);
	end();
}
END_TEST

UNIT_MAIN("tls_ctx", bundles, identities, requests_carry_the_id, names_outside_the_mesh,
	  clients_of_a_gateway, files_that_do_not_fit)
