/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_ca: ca.sock in the test's own loop, with a real key behind it: signs what it is asked to,
 * for as long as the test says, and can be told to be away, silent, rude or new.
 */
#pragma once

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/sock.h"
#include "ipc/ipc.h"
#include "unit.h"

struct fake_ca {
	struct loop *loop;
	struct ipc_server *server;
	char path[160];
	EVP_PKEY *key;
	X509 *cert;
	int64_t generation;
	struct ipc_call *roots[8];      /* open streams */
	/* what the test decides */
	int life_s;                     /* of a leaf */
	bool refuse, silent, wrong_name;
	bool hold;                      /* answer only when told to */
	const char *issuer;             /* told as the one who signs; NULL: not told */
	int64_t revision;
	const char *revoked_id, *revoked_serial;        /* NULL none */
	struct ipc_call *held;
	struct str held_csr, held_spiffe;
	/* what it sees */
	unsigned n_signed, n_asked;
	char last_spiffe[256];
	unsigned char last_pubkey[256];
	int last_pubkey_n;
	unsigned n_same_key;            /* a key that was used before */
	unsigned n_acks;
	int64_t acked_generation, acked_revision;
	char acked_issuer[65];
};

static inline void fake_ca_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static inline X509 *fake_ca_cert(const char *name, EVP_PKEY *key, int life_s)
{
	static long serial = 1000;
	X509 *x = X509_new();

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), life_s);
	X509_set_pubkey(x, key);
	if (name)
		X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
					   (const unsigned char *)name, -1, -1, 0);
	return x;
}

static inline char *fake_ca_pem(X509 *x)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *data, *pem;

	ck_assert_int_eq(PEM_write_bio_X509(b, x), 1);
	long n = BIO_get_mem_data(b, &data);

	pem = kv_malloc((size_t)n + 1);
	memcpy(pem, data, (size_t)n);
	pem[n] = '\0';
	BIO_free(b);
	return pem;
}

/* A root of its own; what was there before is forgotten. */
static inline void fake_ca_new_root(struct fake_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	ca->key = EVP_EC_gen("P-256");
	ca->cert = fake_ca_cert("root", ca->key, 3600);
	X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert));
	fake_ca_extension(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE");
	fake_ca_extension(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	fake_ca_extension(ca->cert, ca->cert, NID_subject_key_identifier, "hash");
	ck_assert_int_gt(X509_sign(ca->cert, ca->key, EVP_sha256()), 0);
	ca->generation++;
}

static inline void fake_ca_note_key(struct fake_ca *ca, EVP_PKEY *key)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);

	ck_assert_int_lt(n, (int)sizeof(ca->last_pubkey));
	if (n == ca->last_pubkey_n && memcmp(der, ca->last_pubkey, (size_t)n) == 0)
		ca->n_same_key++;
	memcpy(ca->last_pubkey, der, (size_t)n);
	ca->last_pubkey_n = n;
	OPENSSL_free(der);
}

static inline char *fake_ca_sign(struct fake_ca *ca, const char *csr_pem, const char *spiffe)
{
	BIO *b = BIO_new_mem_buf(csr_pem, -1);
	X509_REQ *req = PEM_read_bio_X509_REQ(b, NULL, NULL, NULL);
	char san[300];

	ck_assert_ptr_nonnull(req);
	EVP_PKEY *key = X509_REQ_get_pubkey(req);

	ck_assert_int_eq(X509_REQ_verify(req, key), 1);
	fake_ca_note_key(ca, key);
	X509 *x = fake_ca_cert(NULL, key, ca->life_s);

	snprintf(san, sizeof(san), "critical,URI:%s", spiffe);
	X509_set_issuer_name(x, X509_get_subject_name(ca->cert));
	fake_ca_extension(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE");
	fake_ca_extension(x, ca->cert, NID_key_usage, "critical,digitalSignature");
	fake_ca_extension(x, ca->cert, NID_ext_key_usage, "serverAuth,clientAuth");
	fake_ca_extension(x, ca->cert, NID_authority_key_identifier, "keyid:always");
	fake_ca_extension(x, ca->cert, NID_subject_alt_name, san);
	ck_assert_int_gt(X509_sign(x, ca->key, EVP_sha256()), 0);
	char *pem = fake_ca_pem(x);

	X509_free(x);
	EVP_PKEY_free(key);
	X509_REQ_free(req);
	BIO_free(b);
	return pem;
}

static inline void fake_ca_answer(struct fake_ca *ca, struct ipc_call *call, const char *csr,
				  const char *spiffe)
{
	struct arena *a = ipc_call_arena(call);
	char *pem = fake_ca_sign(
		ca, csr, ca->wrong_name ? "spiffe://cluster.local/ns/default/sa/thief" : spiffe);
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "certificate", str_c(pem));
	if (ca->issuer)
		doc_set_str(a, d, "issuer", str_c(ca->issuer));
	ca->n_signed++;
	ipc_reply(call, d);
	free(pem);
}

static inline void fake_ca_on_sign(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct fake_ca *ca = arg;
	struct arena *a = ipc_call_arena(call);
	struct str spiffe = arena_str(a, doc_get_str(p, "spiffe", STR(""))),
		   csr = doc_get_str(p, "csr", STR(""));

	ca->n_asked++;
	snprintf(ca->last_spiffe, sizeof(ca->last_spiffe), "%s", spiffe.p);
	unit_str_eq(doc_get_str(p, "proxy", STR("")), "node");
	if (ca->silent)
		return;
	if (ca->refuse) {
		ipc_reply_error(call, IPC_E_NOT_PERMITTED, "not today");
		return;
	}
	if (ca->hold) {
		ca->held = call;
		ca->held_csr = arena_str(a, csr);
		ca->held_spiffe = spiffe;
		return;
	}
	fake_ca_answer(ca, call, arena_str(a, csr).p, spiffe.p);
}

static inline void fake_ca_release(struct fake_ca *ca)
{
	ck_assert_ptr_nonnull(ca->held);
	fake_ca_answer(ca, ca->held, ca->held_csr.p, ca->held_spiffe.p);
	ca->held = NULL;
}

static inline void fake_ca_tell(struct fake_ca *ca, struct ipc_call *call)
{
	struct arena *a = ipc_call_arena(call);
	char *pem = fake_ca_pem(ca->cert);
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "trustDomain", STR("cluster.local"));
	doc_set_int(a, d, "generation", ca->generation);
	doc_set_str(a, d, "bundle", str_c(pem));
	if (ca->issuer)
		doc_set_str(a, d, "issuer", str_c(ca->issuer));
	doc_set_int(a, d, "revision", ca->revision);
	struct doc *ids = doc_set(a, d, "revokedIds", doc_new_list(a));
	struct doc *serials = doc_set(a, d, "revokedSerials", doc_new_list(a));

	if (ca->revoked_id)
		doc_add(a, ids, doc_new_str(a, str_c(ca->revoked_id)));
	if (ca->revoked_serial)
		doc_add(a, serials, doc_new_str(a, str_c(ca->revoked_serial)));
	ipc_stream(call, d);
	free(pem);
}

static inline void fake_ca_on_close(void *arg, struct ipc_call *call)
{
	struct fake_ca *ca = arg;

	for (size_t i = 0; i < 8; i++)
		if (ca->roots[i] == call)
			ca->roots[i] = NULL;
}

static inline void fake_ca_on_roots(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct fake_ca *ca = arg;

	(void)p;
	for (size_t i = 0; i < 8; i++)
		if (!ca->roots[i]) {
			ca->roots[i] = call;
			break;
		}
	ipc_call_on_close(call, fake_ca_on_close, ca);
	fake_ca_tell(ca, call);
}

static inline void fake_ca_on_ack(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct fake_ca *ca = arg;

	ca->n_acks++;
	ca->acked_generation = doc_get_int(p, "generation", 0);
	ca->acked_revision = doc_get_int(p, "revision", 0);
	snprintf(ca->acked_issuer, sizeof(ca->acked_issuer), "%.*s",
		 STR_ARG(doc_get_str(p, "issuer", STR("?"))));
	ipc_reply(call, NULL);
}

static const struct ipc_method fake_ca_methods[] = {
	{ "Ack", IPC_ALLOW_ANY, fake_ca_on_ack, "" },
	{ "Sign", IPC_ALLOW_ANY, fake_ca_on_sign, "" },
	{ "Roots", IPC_ALLOW_ANY, fake_ca_on_roots, "" },
	{ 0 },
};

static inline void fake_ca_start(struct fake_ca *ca)
{
	struct err err = { 0 };
	int fd = sock_listen_unix(ca->path, 0666, (gid_t)-1, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	ca->server = ipc_server_new(ca->loop, fd, fake_ca_methods, ca);
}

static inline void fake_ca_stop(struct fake_ca *ca)
{
	ipc_server_free(ca->server);
	ca->server = NULL;
	unlink(ca->path);
}

static inline void fake_ca_tell_all(struct fake_ca *ca)
{
	for (size_t i = 0; i < 8; i++)
		if (ca->roots[i])
			fake_ca_tell(ca, ca->roots[i]);
}

static inline void fake_ca_new_trust(struct fake_ca *ca)
{
	fake_ca_new_root(ca);
	fake_ca_tell_all(ca);
}

static inline void fake_ca_init(struct fake_ca *ca, struct loop *l, const char *run_dir)
{
	*ca = (struct fake_ca){ .loop = l, .life_s = 3600 };
	snprintf(ca->path, sizeof(ca->path), "%s/ca", run_dir);
	mkdir(ca->path, 0755);
	snprintf(ca->path, sizeof(ca->path), "%s/ca/ca.sock", run_dir);
	fake_ca_new_root(ca);
}

static inline void fake_ca_done(struct fake_ca *ca)
{
	if (ca->server)
		fake_ca_stop(ca);
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
}
