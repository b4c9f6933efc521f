/* SPDX-License-Identifier: Apache-2.0 */
/* tokens: see tokens.h. Layer proxy. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/log.h"
#include "io/tls_jws.h"
#include "proxy/tokens.h"

struct keys {
	struct tls_jwk **v;             /* parallel to the rule's keys; NULL: none */
	atomic_bool unknown;            /* a token came that none of them can have signed */
};
struct tokens {
	const struct snap *snap;
	struct keys *rules;             /* parallel to snap->jwt_rules */
	struct loop *loop;              /* who wants to know of such tokens; NULL: nobody */
	loop_fn tell;
	void *arg;
};

static int make_key(const struct snap_jwk *k, struct arena *a, struct tls_jwk **ret, struct err *err)
{
	struct str one, two;
	bool rsa = str_eq(k->kty, STR("RSA")), ec = str_eq(k->kty, STR("EC"));

	if (!base64url_decode(rsa ? k->n : k->x, a, &one) || !base64url_decode(rsa ? k->e : k->y, a, &two))
		return err_set(err, KV_ERR_TLS, "a member is not base64url");
	if (rsa)
		return tls_jwk_rsa(one, two, ret, err);
	if (ec)
		return tls_jwk_ec(k->crv, one, two, ret, err);
	if (str_eq(k->kty, STR("OKP")))
		return tls_jwk_okp(k->crv, one, ret, err);
	return err_set(err, KV_ERR_TLS, "kty '%.*s' is none of RSA, EC, OKP", STR_ARG(k->kty));
}

static void make_keys(const struct snap_jwt_rule *r, struct keys *to)
{
	struct arena a;

	arena_init(&a, 0);
	to->v = kv_zalloc((r->keys.n + 1) * sizeof(*to->v));
	for (size_t i = 0; i < r->keys.n; i++) {
		struct err err = { 0 };

		if (make_key(&r->keys.v[i], &a, &to->v[i], &err) < 0)
			log_warn("jwks_key_unusable: %.*s:%lld: key %zu of issuer %.*s: %s",
				 STR_ARG(r->file), (long long)r->line, i, STR_ARG(r->issuer), err.text);
	}
	arena_done(&a);
}

struct tokens *tokens_new(const struct snap *s)
{
	struct tokens *t = kv_zalloc(sizeof(*t));

	t->snap = s;
	t->rules = kv_zalloc((s->jwt_rules.n + 1) * sizeof(*t->rules));
	for (size_t i = 0; i < s->jwt_rules.n; i++)
		make_keys(&s->jwt_rules.v[i], &t->rules[i]);
	return t;
}

void tokens_free(struct tokens *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->snap->jwt_rules.n; i++) {
		for (size_t k = 0; k < t->snap->jwt_rules.v[i].keys.n; k++)
			tls_jwk_free(t->rules[i].v[k]);
		free(t->rules[i].v);
	}
	free(t->rules);
	free(t);
}

/* ---- tokens of keys that are not known ------------------------------------------------------- */

void tokens_watch(struct tokens *t, struct loop *l, loop_fn fn, void *arg)
{
	if (t->loop)
		return;                 /* workers have it already */
	t->loop = l;
	t->tell = fn;
	t->arg = arg;
}

bool tokens_unknown(const struct tokens *t, size_t rule)
{
	return atomic_load(&t->rules[rule].unknown);
}

void tokens_forget(struct tokens *t)
{
	for (size_t i = 0; i < t->snap->jwt_rules.n; i++)
		atomic_store(&t->rules[i].unknown, false);
}

/* Any worker. Whoever sends many tokens of no key makes one post of them. */
static void note_unknown(const struct tokens *t, size_t rule)
{
	bool fetched = t->snap->jwt_rules.v[rule].uri.n > 0;

	if (t->loop && fetched && !atomic_exchange(&t->rules[rule].unknown, true))
		loop_post(t->loop, t->tell, t->arg);
}

/* ---- signatures ------------------------------------------------------------------------------ */

static bool may_have_signed(const struct snap_jwk *k, const struct jwt *t)
{
	return (!t->kid.p || str_eq(k->kid, t->kid)) && (k->alg.n == 0 || str_eq(k->alg, t->alg));
}

const char *tokens_verify(const struct tokens *t, size_t rule, const struct jwt *token)
{
	const struct snap_jwt_rule *r = &t->snap->jwt_rules.v[rule];
	enum tls_jws_alg alg;
	bool tried = false;

	if (!tls_jws_alg_of(token->alg, &alg))
		return "Jwt header [alg] is not supported";
	for (size_t i = 0; i < r->keys.n; i++) {
		const struct tls_jwk *k = t->rules[rule].v[i];

		if (!k || !may_have_signed(&r->keys.v[i], token) || !tls_jwk_fits(k, alg))
			continue;
		tried = true;
		if (tls_jws_verify(k, alg, token->input, token->signature))
			return NULL;
	}
	if (tried)
		return "Jwt verification fails";
	note_unknown(t, rule);
	return "Jwks doesn't have key to match kid or alg from Jwt";
}
