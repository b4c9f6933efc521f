/* SPDX-License-Identifier: Apache-2.0 */
/* files: reading and writing the CA's PEM files. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/arena.h"
#include "base/fs.h"
#include "ca/files.h"

#define PEM_FILE_MAX (256u << 10)

static const char *const names[FILE__N] = {
	[FILE_ROOT_KEY] = "root-key.pem",	[FILE_ROOT_CERT] = "root-cert.pem",
	[FILE_CA_KEY] = "ca-key.pem",		[FILE_CA_CERT] = "ca-cert.pem",
	[FILE_CHAIN] = "cert-chain.pem",	[FILE_NEXT_KEY] = "ca-next-key.pem",
	[FILE_NEXT_CERT] = "ca-next-cert.pem",	[FILE_OLD_CERT] = "ca-old-cert.pem",
};

void files_init(struct files *f, const char *dir)
{
	for (int i = 0; i < FILE__N; i++)
		f->path[i] = kv_asprintf("%s/ca/%s", dir, names[i]);
}

void files_done(struct files *f)
{
	for (int i = 0; i < FILE__N; i++)
		free(f->path[i]);
}

bool files_has(const struct files *f, enum file which)
{
	return access(f->path[which], F_OK) == 0;
}

/* OpenSSL would ask for the passphrase of an encrypted key on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

int files_read_key(const struct files *f, enum file which, EVP_PKEY **ret, struct err *err)
{
	const char *path = f->path[which];
	struct stat st;
	char *text;
	size_t n;

	if (stat(path, &st) == 0 && (st.st_mode & 007) != 0)
		return err_set(
			err, -EPERM,
			"%s is open to every user (mode %03o); chmod o= it and make a new key",
			path, (unsigned)(st.st_mode & 0777));
	int r = fs_read(path, PEM_FILE_MAX, &text, &n, err);

	if (r < 0)
		return r;
	BIO *b = BIO_new_mem_buf(text, (int)n);

	*ret = b ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL) : NULL;
	BIO_free(b);
	explicit_bzero(text, n);
	free(text);
	if (!*ret) {
		ERR_clear_error();
		return err_set(err, KV_ERR_SYNTAX,
			       "%s holds no private key in PEM without passphrase", path);
	}
	return 0;
}

/* Every certificate of a file, first to last, at most FILES_CHAIN_MAX. */
int files_read_certs(const struct files *f, enum file which, STACK_OF(X509) **ret, struct err *err)
{
	const char *path = f->path[which];
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = fs_read(path, PEM_FILE_MAX, &text, &n, err);

	if (r < 0)
		return r;
	_cleanup_bio_ BIO *b = BIO_new_mem_buf(text, (int)n);
	STACK_OF(X509) *certs = sk_X509_new_null();
	X509 *x;

	while (b && certs && sk_X509_num(certs) < FILES_CHAIN_MAX &&
	       (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)) != NULL)
		if (sk_X509_push(certs, x) <= 0)
			X509_free(x);
	ERR_clear_error();
	if (sk_X509_num(certs) <= 0) {
		sk_X509_pop_free(certs, X509_free);
		return err_set(err, KV_ERR_SYNTAX, "%s holds no certificate in PEM", path);
	}
	*ret = certs;
	return 0;
}

int files_read_cert(const struct files *f, enum file which, X509 **ret, struct err *err)
{
	STACK_OF(X509) *certs;
	int r = files_read_certs(f, which, &certs, err);

	if (r < 0)
		return r;
	*ret = sk_X509_shift(certs);
	sk_X509_pop_free(certs, X509_free);
	return 0;
}

int files_write_key(const struct files *f, enum file which, EVP_PKEY *key, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_secmem());
	char *p;

	if (!b || PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
		return ossl_fail(err, "write a private key");
	long n = BIO_get_mem_data(b, &p);

	return fs_write(f->path[which], p, (size_t)n, 0400, err);
}

int files_write_cert(const struct files *f, enum file which, X509 *cert, struct err *err)
{
	_cleanup_free_ char *pem = NULL;
	int r = ossl_cert_pem(cert, &pem, err);

	return r < 0 ? r : fs_write(f->path[which], pem, strlen(pem), 0400, err);
}
