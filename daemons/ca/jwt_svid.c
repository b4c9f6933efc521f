/* SPDX-License-Identifier: Apache-2.0 */
/* jwt_svid: see jwt_svid.h. Layer daemons/ca. */
#include "config.h"

#include <errno.h>

#include "base/base64.h"
#include "ca/jwt_svid.h"
#include "io/tls.h"
#include "io/tls_jws.h"

#define SECOND_US 1000000ll

/* UTF-8 without control characters: it ends in JSON, in headers and in logs. */
static bool is_text(struct str s)
{
	uint32_t c;
	size_t n;

	while (s.n > 0) {
		n = str_utf8(s, &c);
		if (n == 0 || c < ' ' || c == 0x7f)
			return false;
		s = str_skip(s, n);
	}
	return true;
}

int jwt_svid_check_audiences(const struct str_list *audiences, struct err *err)
{
	if (audiences->n == 0)
		return err_set(err, KV_ERR_SCHEMA, "an audience is needed");
	if (audiences->n > JWT_SVID_AUDIENCES_MAX)
		return err_set(err, KV_ERR_LIMIT, "more than %d audiences", JWT_SVID_AUDIENCES_MAX);
	for (size_t i = 0; i < audiences->n; i++) {
		struct str s = audiences->v[i];

		if (s.n == 0 || s.n > JWT_SVID_AUDIENCE_BYTES_MAX || !is_text(s))
			return err_set(err, KV_ERR_SCHEMA,
				       "an audience is a text of 1 to %d bytes",
				       JWT_SVID_AUDIENCE_BYTES_MAX);
	}
	return 0;
}

static struct str claims_json(const struct authority *a, struct str spiffe,
			      const struct str_list *audiences, int64_t now_s, struct arena *arena)
{
	struct doc *d = doc_new_map(arena), *aud;

	doc_set_str(arena, d, "iss",
		    arena_printf(arena, "spiffe://%.*s", STR_ARG(a->registry->trust_domain)));
	doc_set_str(arena, d, "sub", spiffe);
	aud = doc_set(arena, d, "aud", doc_new_list(arena));
	for (size_t i = 0; i < audiences->n; i++)
		doc_add(arena, aud, doc_new_str(arena, audiences->v[i]));
	doc_set_int(arena, d, "iat", now_s);
	doc_set_int(arena, d, "exp", now_s + a->registry->jwt_lifetime_us / SECOND_US);
	return doc_to_json(d, arena, false);
}

static int write_token(const struct authority *a, struct str claims, struct arena *arena,
		       struct str *ret, struct err *err)
{
	struct str head = arena_printf(arena, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
				       jwt_keys_kid(a->jwt));
	struct str one = base64url_encode(head, arena), two = base64url_encode(claims, arena);
	struct str input = arena_printf(arena, "%.*s.%.*s", STR_ARG(one), STR_ARG(two));
	char signature[64];
	int r = jwt_keys_sign(a->jwt, input, signature, err);

	if (r < 0)
		return r;
	one = base64url_encode(str_from(signature, sizeof(signature)), arena);
	*ret = arena_printf(arena, "%.*s.%.*s", STR_ARG(input), STR_ARG(one));
	return 0;
}

static int may_issue(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		     struct policy_grant *ret, struct err *err)
{
	if (!rate_take(&a->rate, ask->caller.uid, ask->mono_us))
		return err_set(err, -EAGAIN, "user %u asks for tokens too often",
			       (unsigned)ask->caller.uid);
	if (!a->registry || !jwt_keys_can_sign(a->jwt))
		return err_set(err, -EAGAIN, "no key signs tokens yet");
	int r = policy_decide(&a->rules, a->registry, &ask->caller, spiffe, ret, err);

	if (r == 0)
		r = authority_check_revoked(a, ret->identity->spiffe, err);
	return r < 0 ? r : authority_check_clock(a, ask->now_us, err);
}

int jwt_svid_issue(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		   const struct str_list *audiences, struct arena *arena, struct str *ret,
		   struct err *err)
{
	struct policy_grant to;
	int r = jwt_svid_check_audiences(audiences, err);

	if (r == 0)
		r = may_issue(a, ask, spiffe, &to, err);
	if (r < 0)
		return r;
	/* The registry's text, not the caller's, as in authority_issue. */
	return write_token(a,
			   /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as well */
			   claims_json(a, to.identity->spiffe, audiences, ask->now_us / SECOND_US,
				       arena),
			   arena, ret, err);
}

/* ---- checking ------------------------------------------------------------------------------ */

static const char *check_subject(const struct authority *a, struct str subject)
{
	struct tls_spiffe id;

	if (!tls_spiffe_parse(subject, &id) || id.path.n == 0 ||
	    !str_eq(id.trust_domain, a->registry->trust_domain))
		return "its subject is no identity of this trust domain";
	return revoked_has(a->revoked, subject) ? "its identity is revoked" : NULL;
}

int jwt_svid_validate(const struct authority *a, struct str token, struct str audience,
		      int64_t now_s, struct arena *arena, struct jwt *ret, struct err *err)
{
	const struct str_list allowed = { .v = &audience, .n = 1 };
	const char *why = NULL;

	if (!a->registry || !jwt_keys_can_sign(a->jwt))
		return err_set(err, -EAGAIN, "no key signs tokens yet");
	int r = jwt_svid_check_audiences(&allowed, err);

	if (r < 0)
		return r;
	why = jwt_parse(token, arena, ret);
	if (!why && (!str_eq(ret->alg, STR("ES256")) || !ret->kid.p))
		why = "it is not signed with ES256 by a key that it names";
	if (!why) {
		const struct tls_jwk *key = jwt_keys_find(a->jwt, ret->kid);

		if (!key || !tls_jws_verify(key, TLS_JWS_ES256, ret->input, ret->signature))
			why = "it is not signed by a key of this trust domain";
	}
	if (!why)
		why = jwt_check_time(ret, now_s);
	if (!why && !jwt_has_audience(ret, &allowed))
		why = "it is for another audience";
	if (!why)
		why = check_subject(a, ret->subject);
	return why ? err_set(err, KV_ERR_SCHEMA, "the token is refused: %s", why) : 0;
}
