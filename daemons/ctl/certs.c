/* SPDX-License-Identifier: Apache-2.0 */
/* certs: see certs.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fs.h"
#include "ctl/certs.h"
#include "io/tls_digest.h"

/* ---- the place ----------------------------------------------------------------------------- */

/* Nobody but root and the caller can rename what is in it: not its own, not in a sticky one. */
static bool is_ours(const struct stat *st)
{
	bool open = (st->st_mode & (S_IWGRP | S_IWOTH)) != 0;

	return S_ISDIR(st->st_mode) && (st->st_uid == 0 || st->st_uid == geteuid()) &&
	       (!open || (st->st_mode & S_ISVTX) != 0);
}

/* Every directory on the way: a link that others could turn would lead root's pen elsewhere. */
static int check_way(const char *dir, struct err *err)
{
	_cleanup_free_ char *part = kv_strdup(dir);
	struct stat st;

	for (char *p = part + 1;; p++) {
		char at = *p;

		if (at != '/' && at != '\0')
			continue;
		*p = '\0';
		if (lstat(part, &st) != 0)
			return err_set(err, -errno, "%s: %s", part, strerror(errno));
		if (!is_ours(&st))
			return err_set(err, KV_ERR_REFUSED,
				       "%s must be a directory, no link, that only root can change: keys "
				       "are put below it",
				       part);
		if (at == '\0')
			break;
		*p = at;
	}
	/* The last one holds the files. */
	return (st.st_mode & (S_IWGRP | S_IWOTH)) == 0
		       ? 0
		       : err_set(err, KV_ERR_REFUSED, "group or others may write to %s (chmod go-w)", dir);
}

static int find_owner(const struct model_certificate *f, struct arena *a, struct certs_place *ret,
		      struct err *err)
{
	ret->uid = geteuid();
	ret->gid = getegid();
	if (f->owner.n > 0) {
		const struct passwd *pw = getpwnam(arena_str(a, f->owner).p);

		if (!pw)
			return err_set(err, KV_ERR_NOT_FOUND, "certificate.owner: there is no user '%.*s'",
				       STR_ARG(f->owner));
		ret->uid = pw->pw_uid;
		ret->gid = pw->pw_gid;
	}
	if (f->group.n > 0) {
		const struct group *gr = getgrnam(arena_str(a, f->group).p);

		if (!gr)
			return err_set(err, KV_ERR_NOT_FOUND, "certificate.group: there is no group '%.*s'",
				       STR_ARG(f->group));
		ret->gid = gr->gr_gid;
	}
	return 0;
}

static mode_t mode_of(struct str s)
{
	mode_t mode = 0;

	for (size_t i = 0; i < s.n; i++)
		mode = mode << 3 | (mode_t)(s.p[i] - '0');
	return s.n > 0 ? mode & 0640 : 0600;
}

int certs_place_of(const struct model_workload *w, const char *run_dir, struct arena *a,
		   struct certs_place *ret, struct err *err)
{
	const struct model_certificate *f = w->certificate;
	bool dflt = f->directory.n == 0;
	int r = 0;

	*ret = (struct certs_place){ .key_mode = mode_of(f->mode) };
	if (!dflt)
		ret->dir = arena_str(a, f->directory).p;
	else if (str_eq(w->r.ns, STR("default")))
		ret->dir = arena_printf(a, "%s/certs/%.*s", run_dir, STR_ARG(w->r.name)).p;
	else
		ret->dir = arena_printf(a, "%s/certs/%.*s.%.*s", run_dir, STR_ARG(w->r.name),
					STR_ARG(w->r.ns)).p;
	if (dflt)
		r = fs_mkdir(ret->dir, 0755, err);
	if (r == 0)
		r = check_way(ret->dir, err);
	return r < 0 ? r : find_owner(f, a, ret, err);
}

/* ---- the files ----------------------------------------------------------------------------- */

/* Base64 between the lines of a PEM block, as bytes. */
static bool decode(struct str pem, struct arena *a, struct str *ret)
{
	char *text = arena_alloc(a, pem.n + 1);
	struct str line;
	size_t n = 0;

	while (str_split(&pem, '\n', &line)) {
		if (line.n == 0 || line.p[0] == '-')
			continue;
		memcpy(text + n, line.p, line.n);
		n += line.n;
	}
	return base64_decode(str_from(text, n), a, ret);
}

static bool is_certificate(struct str pem, struct str digest, struct arena *a)
{
	char hex[TLS_DIGEST_HEX_MAX];
	struct str der;

	if (!decode(pem, a, &der))
		return false;
	struct tls_digest *d = tls_digest_new();

	tls_digest_add(d, der);
	tls_digest_end(d, hex);
	return str_eq(str_c(hex), digest);
}

/* The one of the bundle that has that digest; empty: none. */
static struct str find_issuer(struct str bundle, struct str digest, struct arena *a)
{
	const struct str end = STR("-----END CERTIFICATE-----\n");
	ptrdiff_t at;

	while ((at = str_find_str(bundle, end)) >= 0) {
		struct str one = str_take(bundle, (size_t)at + end.n);

		if (is_certificate(one, digest, a))
			return one;
		bundle = str_skip(bundle, one.n);
	}
	return STR("");
}

static int write_one(const struct certs_place *p, const char *name, struct str text, bool is_key,
		     struct err *err)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", p->dir, name);

	return fs_write_as(path, text.p, text.n, is_key ? p->key_mode : 0644, p->uid, p->gid, err);
}

int certs_write(const struct certs_place *p, const struct certs_set *s, struct err *err)
{
	struct arena a;

	arena_init(&a, 0);
	struct str issuer = find_issuer(s->bundle, s->issuer, &a);
	struct str chain = arena_printf(&a, "%.*s%.*s", STR_ARG(s->leaf), STR_ARG(issuer));
	char *pair = kv_asprintf("%.*s%.*s", STR_ARG(s->key), STR_ARG(chain));
	int r = write_one(p, "svid_bundle.pem", s->bundle, false, err);

	if (r == 0)
		r = write_one(p, "svid_pair.pem", str_c(pair), true, err);
	/* The key first: who reads in between finds a pair that does not fit, and keeps what it has. */
	if (r == 0)
		r = write_one(p, "svid_key.pem", s->key, true, err);
	if (r == 0)
		r = write_one(p, "svid.pem", chain, false, err);
	explicit_bzero(pair, strlen(pair));
	free(pair);
	arena_done(&a);
	return r;
}
