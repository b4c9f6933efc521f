/* SPDX-License-Identifier: Apache-2.0 */
/* jwt: see jwt.h. Layer core. */
#include "core/jwt.h"

#include <math.h>

#include "base/base64.h"
#include "doc/doc_file.h"

#define FORM "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"

/* ---- JSON ---------------------------------------------------------------------------------- */

static bool is_shallow(const struct doc *d, int depth)
{
	if (depth > JWT_DEPTH_MAX)
		return false;
	if (d->kind != DOC_LIST && d->kind != DOC_MAP)
		return true;
	for (size_t i = 0; i < d->n; i++)
		if (!is_shallow(d->v[i], depth + 1))
			return false;
	return true;
}

/* An object, without a member twice and not too deep. */
static bool read_object(struct str text, struct arena *a, struct doc **ret)
{
	return doc_read_json(text, a, ret, NULL) == 0 && (*ret)->kind == DOC_MAP && is_shallow(*ret, 1);
}

static bool read_number(const struct doc *d, double *ret)
{
	if (d->kind == DOC_INT)
		*ret = (double)d->i;
	else if (d->kind == DOC_REAL && isfinite(d->r))
		*ret = d->r;
	else
		return false;
	return *ret >= 0;
}

/* A member that, when it is there, is a string. */
static bool read_text(const struct doc *d, const char *name, struct str *ret)
{
	const struct doc *v = doc_get(d, str_c(name));

	*ret = v && v->kind == DOC_STR ? v->s : STR_NULL;
	return !v || v->kind == DOC_STR;
}

/* ---- header -------------------------------------------------------------------------------- */

static const char *read_header(struct str text, struct arena *a, struct jwt *t)
{
	struct doc *d;

	if (!base64url_decode(text, a, &text))
		return "Jwt header is an invalid Base64url encoded";
	if (!read_object(text, a, &d))
		return "Jwt header is an invalid JSON";
	if (!read_text(d, "alg", &t->alg) || t->alg.n == 0)
		return "Jwt header [alg] field is required and must be a string";
	if (!read_text(d, "kid", &t->kid))
		return "Jwt header [kid] field is not a string";
	/* RFC 7515 4.1.11: what we do not understand must not be passed over. */
	return doc_get(d, STR("crit")) ? "Jwt header [crit] field is not supported" : NULL;
}

/* ---- payload ------------------------------------------------------------------------------- */

static bool read_audiences(const struct doc *d, struct arena *a, struct str_list *ret)
{
	const struct doc *v = doc_get(d, STR("aud"));

	*ret = (struct str_list){ 0 };
	if (!v)
		return true;
	size_t n = v->kind == DOC_LIST ? v->n : 1;

	ret->v = arena_new_n(a, struct str, n);
	for (; ret->n < n; ret->n++) {
		const struct doc *one = v->kind == DOC_LIST ? v->v[ret->n] : v;

		if (one->kind != DOC_STR)
			return false;
		ret->v[ret->n] = one->s;
	}
	return true;
}

static const char *read_payload(struct str text, struct arena *a, struct jwt *t)
{
	static const char *const times[] = { "exp", "nbf", "iat" };
	struct doc *d;
	double unused;

	t->payload = text;
	if (!base64url_decode(text, a, &text))
		return "Jwt payload is an invalid Base64url encoded";
	if (!read_object(text, a, &d))
		return "Jwt payload is an invalid JSON";
	if (!read_text(d, "iss", &t->issuer))
		return "Jwt payload [iss] field is not a string";
	if (!read_text(d, "sub", &t->subject))
		return "Jwt payload [sub] field is not a string";
	if (!read_text(d, "azp", &t->presenter))
		return "Jwt payload [azp] field is not a string";
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		const struct doc *v = doc_get(d, str_c(times[i]));

		if (v && !read_number(v, &unused))
			return "Jwt payload [exp], [nbf] or [iat] field is not a number";
	}
	if (!read_audiences(d, a, &t->audiences))
		return "Jwt payload [aud] field is neither a string nor a list of them";
	t->claims = d;
	return NULL;
}

/* ---- the whole ----------------------------------------------------------------------------- */

const char *jwt_parse(struct str token, struct arena *a, struct jwt *ret)
{
	struct str rest = token, header, payload, signature;
	const char *why;

	*ret = (struct jwt){ 0 };
	if (token.n > JWT_BYTES_MAX)
		return "Jwt is too long";
	if (!str_split(&rest, '.', &header) || !str_split(&rest, '.', &payload) ||
	    !str_split(&rest, '.', &signature) || rest.p || header.n == 0 || payload.n == 0)
		return FORM;
	ret->input = str_from(header.p, header.n + 1 + payload.n);
	why = read_header(header, a, ret);
	if (!why)
		why = read_payload(payload, a, ret);
	if (!why && !base64url_decode(signature, a, &ret->signature))
		why = "Jwt signature is an invalid Base64url encoded";
	return why;
}

const char *jwt_check_time(const struct jwt *t, int64_t now_s)
{
	const struct doc *exp = doc_get(t->claims, STR("exp")), *nbf = doc_get(t->claims, STR("nbf"));
	double now = (double)now_s, v;

	if (!exp || !read_number(exp, &v))
		return "Jwt has no exp field";
	if (now > v + JWT_SKEW_S)
		return "Jwt is expired";
	if (nbf && read_number(nbf, &v) && now < v - JWT_SKEW_S)
		return "Jwt not yet valid";
	return NULL;
}

bool jwt_has_audience(const struct jwt *t, const struct str_list *allowed)
{
	for (size_t i = 0; i < allowed->n; i++)
		if (str_list_has(&t->audiences, allowed->v[i]))
			return true;
	return allowed->n == 0;
}

const struct doc *jwt_claim(const struct jwt *t, struct str path)
{
	const struct doc *d = t->claims;
	struct str key;

	while (d && str_split(&path, '.', &key))
		d = doc_get(d, key);
	return d;
}

const struct doc *jwt_claim_at(const struct doc *claims, struct str keys)
{
	const struct doc *d = claims;

	while (d && keys.n > 0) {
		ptrdiff_t end = str_find_str(keys, STR("]["));

		d = doc_get(d, end < 0 ? keys : str_take(keys, (size_t)end));
		keys = end < 0 ? STR_NULL : str_skip(keys, (size_t)end + 2);
	}
	return d;
}
