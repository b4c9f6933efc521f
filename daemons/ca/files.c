/* SPDX-License-Identifier: Apache-2.0 */
/* files: reading and writing the CA's PEM files. Layer daemons/ca. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "ca/files.h"

#define PEM_FILE_MAX (256u << 10)

static const char *const names[FILE__N] = {
	[FILE_ROOT_KEY] = "root-key.pem",	[FILE_ROOT_CERT] = "root-cert.pem",
	[FILE_CA_KEY] = "ca-key.pem",		[FILE_CA_CERT] = "ca-cert.pem",
	[FILE_CHAIN] = "cert-chain.pem",	[FILE_NEXT_KEY] = "ca-next-key.pem",
	[FILE_NEXT_CERT] = "ca-next-cert.pem",	[FILE_OLD_CERT] = "ca-old-cert.pem",
	[FILE_NEXT_ROOT_KEY] = "root-next-key.pem",
	[FILE_NEXT_ROOT_CERT] = "root-next-cert.pem",
	[FILE_ASKED_KEY] = "ca-asked-key.pem",	[FILE_IN_USE] = "in-use-cert.pem",
	[FILE_ROTATION] = "rotation.json",	[FILE_JWT_KEY] = "jwt-key.pem",
	[FILE_JWT_NEXT_KEY] = "jwt-next-key.pem",
};

/* systemd.exec(5), LoadCredentialEncrypted=. */
static char *find_credential(enum file which)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char *path = dir && dir[0] ? kv_asprintf("%s/%s", dir, names[which]) : NULL;

	if (path && access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

void files_init(struct files *f, const char *dir)
{
	for (int i = 0; i < FILE__N; i++)
		f->path[i] = kv_asprintf("%s/ca/%s", dir, names[i]);
	f->credential = find_credential(FILE_CA_KEY);
	f->jwt_credential = find_credential(FILE_JWT_KEY);
}

void files_done(struct files *f)
{
	for (int i = 0; i < FILE__N; i++)
		free(f->path[i]);
	free(f->credential);
	free(f->jwt_credential);
}

static const char *credential_of(const struct files *f, enum file which)
{
	if (which == FILE_CA_KEY)
		return f->credential;
	return which == FILE_JWT_KEY ? f->jwt_credential : NULL;
}

bool files_has_file(const struct files *f, enum file which)
{
	return access(f->path[which], F_OK) == 0;
}

bool files_has(const struct files *f, enum file which)
{
	return files_has_file(f, which) || credential_of(f, which);
}

static const char *path_of(const struct files *f, enum file which)
{
	const char *credential = files_has_file(f, which) ? NULL : credential_of(f, which);

	return credential ? credential : f->path[which];
}

/* OpenSSL would ask for the passphrase of an encrypted key on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

int files_read_key(const struct files *f, enum file which, EVP_PKEY **ret, struct err *err)
{
	const char *path = path_of(f, which);
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

int files_parse_certs(struct str text, const char *what, STACK_OF(X509) **ret, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new_mem_buf(text.p, (int)text.n);
	STACK_OF(X509) *certs = sk_X509_new_null();
	X509 *x;

	while (b && certs && sk_X509_num(certs) < FILES_CHAIN_MAX &&
	       (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)) != NULL)
		if (sk_X509_push(certs, x) <= 0)
			X509_free(x);
	ERR_clear_error();
	if (sk_X509_num(certs) <= 0) {
		sk_X509_pop_free(certs, X509_free);
		return err_set(err, KV_ERR_SYNTAX, "%s holds no certificate in PEM", what);
	}
	*ret = certs;
	return 0;
}

int files_read_certs(const struct files *f, enum file which, STACK_OF(X509) **ret, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = fs_read(f->path[which], PEM_FILE_MAX, &text, &n, err);

	return r < 0 ? r : files_parse_certs(str_from(text, n), f->path[which], ret, err);
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

int files_load_or_make_key(const struct files *f, enum file which, EVP_PKEY **ret, struct err *err)
{
	if (files_has(f, which))
		return files_read_key(f, which, ret, err);
	*ret = EVP_EC_gen("P-256");
	if (!*ret)
		return ossl_fail(err, "make a key");
	int r = files_write_key(f, which, *ret, err);

	if (r < 0) {
		EVP_PKEY_free(*ret);
		*ret = NULL;
	}
	return r;
}

int files_write_cert(const struct files *f, enum file which, X509 *cert, struct err *err)
{
	_cleanup_free_ char *pem = NULL;
	int r = ossl_cert_pem(cert, &pem, err);

	return r < 0 ? r : fs_write(f->path[which], pem, strlen(pem), 0400, err);
}

int files_write_certs(const struct files *f, enum file which, const STACK_OF(X509) *certs,
		      struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	bool ok = b != NULL;
	char *p;

	for (int i = 0; ok && i < sk_X509_num(certs); i++)
		ok = PEM_write_bio_X509(b, sk_X509_value(certs, i)) == 1;
	if (!ok)
		return ossl_fail(err, "write certificates");
	long n = BIO_get_mem_data(b, &p);

	return fs_write(f->path[which], p, (size_t)n, 0400, err);
}

static bool has_cert(const STACK_OF(X509) *certs, const X509 *x)
{
	for (int i = 0; i < sk_X509_num(certs); i++)
		if (X509_cmp(sk_X509_value(certs, i), x) == 0)
			return true;
	return false;
}

/* Takes what is new of from; the oldest ones behind the limit are let go. */
static void append_new(STACK_OF(X509) *to, STACK_OF(X509) *from)
{
	X509 *x;

	while ((x = sk_X509_shift(from)) != NULL)
		if (has_cert(to, x) || sk_X509_num(to) >= FILES_CHAIN_MAX ||
		    sk_X509_push(to, x) <= 0)
			X509_free(x);
}

int files_join_certs(const struct files *f, const enum file *from, size_t n, enum file to,
		     struct err *err)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	int r = all ? 0 : ossl_fail(err, "collect certificates");

	for (size_t i = 0; r == 0 && i < n; i++) {
		STACK_OF(X509) *some = NULL;

		if (!files_has(f, from[i]))
			continue;
		r = files_read_certs(f, from[i], &some, err);
		if (r == 0)
			append_new(all, some);
		sk_X509_free(some);
	}
	if (r == 0 && sk_X509_num(all) > 0)
		r = files_write_certs(f, to, all, err);
	sk_X509_pop_free(all, X509_free);
	return r;
}

/* A move or removal is on disk once its directory is. */
static int sync_dir_of(const char *path, struct err *err)
{
	_cleanup_free_ char *dir = kv_strdup(path);
	char *slash = strrchr(dir, '/');

	kv_assert(slash);
	*slash = '\0';
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r == 0 ? 0 : err_set(err, r, "cannot write %s to disk: %s", dir, strerror(-r));
}

int files_move(const struct files *f, enum file from, enum file to, struct err *err)
{
	if (rename(f->path[from], f->path[to]) != 0)
		return err_set(err, -errno, "cannot put %s in the place of %s: %s", f->path[from],
			       f->path[to], strerror(errno));
	return sync_dir_of(f->path[to], err);
}

int files_remove(const struct files *f, enum file which, struct err *err)
{
	if (unlink(f->path[which]) == 0)
		return sync_dir_of(f->path[which], err);
	if (errno == ENOENT)
		return 0;
	return err_set(err, -errno, "cannot remove %s: %s", f->path[which], strerror(errno));
}

void files_sweep(const char *dir)
{
	_cleanup_free_ char *path = kv_asprintf("%s/ca", dir);
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		struct str name = str_c(e->d_name);

		/* As fs_write names them. */
		if (str_has_prefix(name, STR(".")) && str_has_suffix(name, STR(".tmp")) &&
		    unlinkat(dirfd(d), e->d_name, 0) != 0)
			log_warn("cannot remove %s/%s: %s", path, e->d_name, strerror(errno));
	}
	if (d)
		closedir(d);
}
