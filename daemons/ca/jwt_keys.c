/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt_keys: see jwt_keys.h. Layer daemons/ca. Which key signs is what jwt-key.pem holds; the list of
 * public keys follows it, whatever a crash left of it.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/sha.h>

#include "base/base64.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "ca/files.h"
#include "ca/jwt_keys.h"
#include "ca/ossl.h"
#include "doc/doc.h"
#include "io/tls_jws.h"
#include "ipc/kept.h"

#define KEYS_MAX 8
#define LIST_FILE_MAX (64u << 10)
#define COORDINATE 32                   /* bytes, of P-256 */
#define TEXT_MAX 44                     /* of 32 bytes in base64url, and NUL */

struct entry {
	char kid[TEXT_MAX], x[TEXT_MAX], y[TEXT_MAX];
	int64_t from_s;                 /* signs since, or will */
	int64_t life_s;                 /* of the longest token that it may have signed */
	bool is_old;
	int64_t until_s;                /* of an old one: its last token ends */
	struct tls_jwk *jwk;
};

struct jwt_keys {
	char *list_path, *jwks_dir, *jwks_path;
	struct files files;
	EVP_PKEY *key;                  /* NULL: none yet */
	char kid[TEXT_MAX];
	struct entry v[KEYS_MAX];
	size_t n;
	char *jwks;
	bool unwritten;                 /* the file of public keys is not what jwks says */
	bool unsaved;                   /* the list on disk is another */
};

/* ---- public keys --------------------------------------------------------------------------- */

static void set_text(char to[TEXT_MAX], struct str s)
{
	snprintf(to, TEXT_MAX, "%.*s", STR_ARG(str_take(s, TEXT_MAX - 1)));
}

static bool put_coordinate(const EVP_PKEY *key, const char *name, struct arena *a, char to[TEXT_MAX])
{
	unsigned char raw[COORDINATE];
	BIGNUM *n = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 &&
		  BN_bn2binpad(n, raw, sizeof(raw)) == (int)sizeof(raw);

	BN_free(n);
	if (ok)
		set_text(to, base64url_encode(str_from((const char *)raw, sizeof(raw)), a));
	return ok;
}

/* The kid is the key's thumbprint (RFC 7638): the same key has the same name wherever it is seen. */
static int describe(const EVP_PKEY *key, struct entry *ret, struct err *err)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	struct arena a;

	*ret = (struct entry){ 0 };
	arena_init(&a, 0);
	bool ok = EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 256 &&
		  put_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, &a, ret->x) &&
		  put_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, &a, ret->y);
	struct str text = arena_printf(
		&a, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", ret->x, ret->y);

	if (ok) {
		SHA256((const unsigned char *)text.p, text.n, digest);
		set_text(ret->kid, base64url_encode(str_from((const char *)digest, sizeof(digest)), &a));
	}
	arena_done(&a);
	ERR_clear_error();
	return ok ? 0 : err_set(err, KV_ERR_TLS, "the key that signs tokens must be EC P-256");
}

/* What it verifies with; false: its coordinates are no point of the curve. */
static bool prepare(struct entry *e)
{
	struct arena a;
	struct str x, y;

	arena_init(&a, 0);
	bool ok = base64url_decode(str_c(e->x), &a, &x) && base64url_decode(str_c(e->y), &a, &y) &&
		  tls_jwk_ec(STR("P-256"), x, y, &e->jwk, NULL) == 0;

	arena_done(&a);
	return ok;
}

static struct entry *find(const struct jwt_keys *k, struct str kid)
{
	for (size_t i = 0; i < k->n; i++)
		if (str_eq(str_c(k->v[i].kid), kid))
			return (struct entry *)(uintptr_t)&k->v[i];
	return NULL;
}

static void drop(struct jwt_keys *k, size_t i)
{
	tls_jwk_free(k->v[i].jwk);
	memmove(&k->v[i], &k->v[i + 1], (k->n - i - 1) * sizeof(k->v[0]));
	k->n--;
}

/* The oldest goes when there is no room: its tokens, should there be any, are refused. */
static struct entry *add(struct jwt_keys *k, const struct entry *e)
{
	if (k->n == KEYS_MAX)
		drop(k, 0);
	k->v[k->n] = *e;
	if (!prepare(&k->v[k->n]))
		return NULL;
	return &k->v[k->n++];
}

/* ---- the list on disk ---------------------------------------------------------------------- */

static struct doc *entry_doc(const struct entry *e, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "kid", str_c(e->kid));
	doc_set_str(a, d, "x", str_c(e->x));
	doc_set_str(a, d, "y", str_c(e->y));
	doc_set_int(a, d, "from", e->from_s);
	doc_set_int(a, d, "life", e->life_s);
	doc_set_int(a, d, "until", e->until_s);
	doc_set_bool(a, d, "old", e->is_old);
	return d;
}

static int save_list(struct jwt_keys *k, struct err *err)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a), *list = doc_set(&a, d, "keys", doc_new_list(&a));

	for (size_t i = 0; i < k->n; i++)
		doc_add(&a, list, entry_doc(&k->v[i], &a));
	int r = kept_save(k->list_path, doc_to_json(d, &a, false), err);

	arena_done(&a);
	return r;
}

static void load_entry(struct jwt_keys *k, const struct doc *d)
{
	struct entry e = {
		.from_s = doc_get_int(d, "from", 0), .until_s = doc_get_int(d, "until", 0),
		.life_s = doc_get_int(d, "life", 0), .is_old = doc_get_bool(d, "old", false),
	};

	set_text(e.kid, doc_get_str(d, "kid", STR("")));
	set_text(e.x, doc_get_str(d, "x", STR("")));
	set_text(e.y, doc_get_str(d, "y", STR("")));
	if (e.kid[0] && !find(k, str_c(e.kid)))
		(void)add(k, &e);
}

/* Old public keys alone are lost with the list: it is no reason to stay down. */
static void load_list(struct jwt_keys *k)
{
	_cleanup_free_ char *text = NULL;
	struct err err = { 0 };
	struct arena a;
	struct doc *d = NULL;
	size_t n = 0;
	int r = kept_load(k->list_path, LIST_FILE_MAX, &text, &n, &err);

	arena_init(&a, 0);
	if (r == 0)
		r = doc_read_json(str_from(text, n), &a, &d, &err);
	const struct doc *list = r == 0 ? doc_get(d, STR("keys")) : NULL;

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n && i < KEYS_MAX; i++)
		load_entry(k, list->v[i]);
	if (r < 0 && r != -ENOENT)
		log_warn("keys of tokens before the present one are forgotten: %s", err.text);
	arena_done(&a);
}

/* ---- what is published --------------------------------------------------------------------- */

static void render(struct jwt_keys *k)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a), *list = doc_set(&a, d, "keys", doc_new_list(&a));

	for (size_t i = 0; i < k->n; i++) {
		struct doc *key = doc_add(&a, list, doc_new_map(&a));

		doc_set_str(&a, key, "kty", STR("EC"));
		doc_set_str(&a, key, "crv", STR("P-256"));
		doc_set_str(&a, key, "alg", STR("ES256"));
		doc_set_str(&a, key, "kid", str_c(k->v[i].kid));
		doc_set_str(&a, key, "x", str_c(k->v[i].x));
		doc_set_str(&a, key, "y", str_c(k->v[i].y));
	}
	struct str json = doc_to_json(d, &a, true);

	free(k->jwks);
	k->jwks = kv_asprintf("%.*s\n", STR_ARG(json));
	arena_done(&a);
	k->unwritten = true;
}

static int publish(struct jwt_keys *k, struct err *err)
{
	if (!k->unwritten)
		return 0;
	int r = fs_mkdir(k->jwks_dir, 0755, err);

	if (r == 0)
		r = fs_write(k->jwks_path, k->jwks, strlen(k->jwks), 0644, err);
	k->unwritten = r < 0;
	return r;
}

/* ---- life ---------------------------------------------------------------------------------- */

int jwt_keys_open(const char *state_dir, struct jwt_keys **ret, struct err *err)
{
	struct jwt_keys *k = kv_zalloc(sizeof(*k));
	struct entry e;
	int r = 0;

	k->list_path = kv_asprintf("%s/ca/jwt-keys.json", state_dir);
	k->jwks_dir = kv_asprintf("%s/jwks", state_dir);
	k->jwks_path = kv_asprintf("%s/mesh.json", k->jwks_dir);
	files_init(&k->files, state_dir);
	load_list(k);
	if (files_has(&k->files, FILE_JWT_KEY))
		r = files_read_key(&k->files, FILE_JWT_KEY, &k->key, err);
	if (r == 0 && k->key)
		r = describe(k->key, &e, err);
	if (r < 0) {
		jwt_keys_free(k);
		return r;
	}
	if (k->key)
		set_text(k->kid, str_c(e.kid));
	*ret = k;
	return 0;
}

void jwt_keys_free(struct jwt_keys *k)
{
	if (!k)
		return;
	while (k->n > 0)
		drop(k, k->n - 1);
	EVP_PKEY_free(k->key);
	files_done(&k->files);
	free(k->list_path);
	free(k->jwks_dir);
	free(k->jwks_path);
	free(k->jwks);
	free(k);
}

static bool is_credential(const struct jwt_keys *k)
{
	return k->files.jwt_credential && !files_has_file(&k->files, FILE_JWT_KEY);
}

static int take_signer(struct jwt_keys *k, EVP_PKEY *key, struct err *err)
{
	struct entry e;
	int r = describe(key, &e, err);

	if (r < 0) {
		EVP_PKEY_free(key);
		return r;
	}
	EVP_PKEY_free(k->key);
	k->key = key;
	set_text(k->kid, str_c(e.kid));
	return 0;
}

/* There is one that signs, it is in the list, and whoever signed before it is old. */
static int settle_signer(struct jwt_keys *k, const struct jwt_keys_life *life, int64_t now_s,
			 bool *changed, struct err *err)
{
	struct entry e;
	EVP_PKEY *key = NULL;
	int r = k->key ? 0 : files_load_or_make_key(&k->files, FILE_JWT_KEY, &key, err);

	if (r == 0 && key)
		r = take_signer(k, key, err);
	if (r == 0)
		r = describe(k->key, &e, err);
	if (r < 0)
		return r;
	struct entry *own = find(k, str_c(k->kid));

	if (!own) {
		e.from_s = now_s;
		own = add(k, &e);
		*changed = true;
	}
	if (!own)
		return err_set(err, KV_ERR_TLS, "the key that signs tokens is unusable");
	if (own->from_s > now_s)
		own->from_s = now_s;            /* it was the next one when the list was written */
	if (own->life_s < life->token_s) {
		own->life_s = life->token_s;
		k->unsaved = true;
	}
	for (size_t i = 0; i < k->n; i++) {
		struct entry *o = &k->v[i];

		if (o == own || o->is_old || o->from_s > own->from_s)
			continue;
		o->is_old = true;
		o->until_s = now_s + o->life_s;
		*changed = true;
	}
	return 0;
}

static struct entry *next_of(struct jwt_keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		if (!k->v[i].is_old && strcmp(k->v[i].kid, k->kid) != 0)
			return &k->v[i];
	return NULL;
}

/* Published for a while before it signs: whoever verifies must have heard of it. */
static int make_next(struct jwt_keys *k, const struct jwt_keys_life *life, int64_t now_s,
		     bool *changed, struct err *err)
{
	const struct entry *own = find(k, str_c(k->kid));
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	int64_t due_s = own->from_s + life->key_s, least_s = now_s + life->key_s / 2;
	struct entry e;

	if (is_credential(k) || next_of(k) || now_s < own->from_s + life->key_s / 2)
		return 0;
	int r = files_load_or_make_key(&k->files, FILE_JWT_NEXT_KEY, &key, err);

	if (r == 0)
		r = describe(key, &e, err);
	if (r < 0)
		return r;
	e.from_s = due_s > least_s ? due_s : least_s;
	*changed = true;
	if (!add(k, &e))
		return err_set(err, KV_ERR_TLS, "the next key of tokens is unusable");
	log_info("jwt_key_published: kid %s", e.kid);
	return 0;
}

static int switch_if_due(struct jwt_keys *k, const struct jwt_keys_life *life, int64_t now_s,
			 bool *changed, struct err *err)
{
	const struct entry *next = next_of(k);
	EVP_PKEY *key = NULL;

	if (!next || now_s < next->from_s || is_credential(k))
		return 0;
	int r = files_read_key(&k->files, FILE_JWT_NEXT_KEY, &key, err);

	if (r < 0)
		return r;
	r = files_move(&k->files, FILE_JWT_NEXT_KEY, FILE_JWT_KEY, err);
	if (r < 0) {
		EVP_PKEY_free(key);
		return r;
	}
	r = take_signer(k, key, err);
	if (r < 0)
		return r;
	log_info("jwt_key_in_use: kid %s", k->kid);
	*changed = true;
	return settle_signer(k, life, now_s, changed, err);
}

/* An entry of a next key that is not there any more will never sign. */
static void forget(struct jwt_keys *k, int64_t now_s, bool *changed)
{
	for (size_t i = k->n; i-- > 0; ) {
		const struct entry *e = &k->v[i];
		bool over = e->is_old && e->until_s + JWT_KEYS_SKEW_S <= now_s;
		bool lost = !e->is_old && strcmp(e->kid, k->kid) != 0 &&
			    (is_credential(k) || !files_has_file(&k->files, FILE_JWT_NEXT_KEY));

		if (!over && !lost)
			continue;
		log_info("jwt_key_gone: kid %s", e->kid);
		drop(k, i);
		*changed = true;
	}
}

int jwt_keys_advance(struct jwt_keys *k, const struct jwt_keys_life *life, int64_t now_s,
		     bool *ret_changed, struct err *err)
{
	int r = settle_signer(k, life, now_s, ret_changed, err);

	if (r < 0)
		return r;
	forget(k, now_s, ret_changed);
	r = make_next(k, life, now_s, ret_changed, err);
	if (r == 0)
		r = switch_if_due(k, life, now_s, ret_changed, err);
	if (*ret_changed || !k->jwks)
		render(k);
	k->unsaved |= *ret_changed;
	if (r == 0 && k->unsaved)
		r = save_list(k, err);
	if (r < 0)
		return r;
	k->unsaved = false;
	return publish(k, err);
}

/* ---- asking -------------------------------------------------------------------------------- */

bool jwt_keys_can_sign(const struct jwt_keys *k)
{
	return k && k->key && k->jwks;
}

struct str jwt_keys_jwks(const struct jwt_keys *k)
{
	return str_c(k->jwks);
}

uint64_t jwt_keys_revision(const struct jwt_keys *k)
{
	return k && k->jwks ? hash_str(str_c(k->jwks)) : 0;
}

const char *jwt_keys_kid(const struct jwt_keys *k)
{
	return k->kid;
}

const struct tls_jwk *jwt_keys_find(const struct jwt_keys *k, struct str kid)
{
	const struct entry *e = k ? find(k, kid) : NULL;

	return e ? e->jwk : NULL;
}

/* DER, as OpenSSL signs, to the two numbers side by side (RFC 7518 3.4). */
static bool to_raw(const unsigned char *der, size_t n, char ret[static 64])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
	unsigned char *to = (unsigned char *)ret;
	bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), to, COORDINATE) == COORDINATE &&
		  BN_bn2binpad(ECDSA_SIG_get0_s(sig), to + COORDINATE, COORDINATE) == COORDINATE;

	ECDSA_SIG_free(sig);
	return ok;
}

int jwt_keys_sign(const struct jwt_keys *k, struct str input, char ret[static 64], struct err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char der[128];
	size_t n = sizeof(der);
	bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 &&
		  EVP_DigestSign(ctx, der, &n, (const unsigned char *)input.p, input.n) == 1 &&
		  to_raw(der, n, ret);

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : ossl_fail(err, "sign a token");
}
