/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_token: whose token a request carries, proven or refused (RequestAuthentication, semantics
 * 2.12, security-model §5.5). None is fine: policies say who needs one. Layer proxy.
 */
#include "config.h"

#include <inttypes.h>

#include "base/clock.h"
#include "core/cors.h"
#include "http/cookie.h"
#include "http/url.h"
#include "proxy/attach.h"
#include "proxy/conn.h"
#include "proxy/headers.h"
#include "proxy/reply.h"
#include "proxy/stream.h"
#include "proxy/tokens.h"

/* The one token of a request and where it was. */
struct found {
	struct str value;               /* p NULL: none */
	bool several;                   /* others besides, that differ */
	struct str header, param;       /* name; empty: not there */
	uint64_t rules;                 /* which of the workload's look at that place */
};
#define RULES_MAX 64

static const struct snap_workload *workload_of(const struct stream *s)
{
	const struct snap *snap = stream_snap(s);

	if (s->entry.inbound)
		return s->entry.target ? &snap->workloads.v[s->entry.target->workload] : NULL;
	return entry_is_edge(s->down.conn->owner_data) ? &snap->workloads.v[0] : NULL;
}

static const struct snap_jwt_rule *rule_of(const struct stream *s, const struct snap_workload *w,
					   size_t i)
{
	return &stream_snap(s)->jwt_rules.v[w->jwt_rules.v[i]];
}

/* ---- where it is ----------------------------------------------------------------------------- */

static void note(struct found *f, size_t rule, struct str value, struct str header, struct str param)
{
	if (f->value.p && !str_eq(f->value, value)) {
		f->several = true;
		return;
	}
	f->value = value;
	f->rules |= UINT64_C(1) << rule;
	if (header.n > 0)
		f->header = header;
	if (param.n > 0)
		f->param = param;
}

/* Each field of the name: a second credential in a repeated one is a credential too. */
static void look_in_headers(const struct stream *s, const struct snap_jwt_rule *r, size_t rule,
			    struct found *f)
{
	for (size_t i = 0; i < r->headers.n; i++) {
		const struct snap_jwt_header *h = &r->headers.v[i];

		for (size_t k = 0; k < s->req.n; k++) {
			struct str v = s->req.fields[k].value;

			if (str_eq(s->req.fields[k].name, h->name) && str_has_iprefix(v, h->prefix))
				note(f, rule, str_trim(str_skip(v, h->prefix.n)), h->name, STR(""));
		}
	}
}

static void look_in_params(const struct stream *s, const struct snap_jwt_rule *r, size_t rule,
			   struct found *f)
{
	struct str path, query, piece;

	url_split_query(s->req.path, &path, &query);
	while (r->params.n > 0 && str_split(&query, '&', &piece)) {
		ptrdiff_t eq = str_find(piece, '=');

		if (eq >= 0 && str_list_has(&r->params, str_take(piece, (size_t)eq)))
			note(f, rule, str_skip(piece, (size_t)eq + 1), STR(""),
			     str_take(piece, (size_t)eq));
	}
}

static void look_in_cookies(const struct stream *s, const struct snap_jwt_rule *r, size_t rule,
			    struct found *f)
{
	struct str v;

	for (size_t i = 0; i < r->cookies.n; i++)
		if (cookie_get(&s->req, r->cookies.v[i], &v))
			note(f, rule, v, STR(""), STR(""));
}

static struct found look(const struct stream *s, const struct snap_workload *w)
{
	struct found f = { 0 };

	for (size_t i = 0; i < w->jwt_rules.n && i < RULES_MAX; i++) {
		const struct snap_jwt_rule *r = rule_of(s, w, i);

		look_in_headers(s, r, i, &f);
		look_in_params(s, r, i, &f);
		look_in_cookies(s, r, i, &f);
	}
	return f;
}

/* ---- refused --------------------------------------------------------------------------------- */

static struct str joined(struct stream *s, const char *why)
{
	struct str text = arena_str(&s->arena, str_c(why));
	char *p = (char *)(uintptr_t)text.p;

	for (size_t i = 0; i < text.n; i++)
		p[i] = p[i] == ' ' ? '_' : p[i];
	return arena_printf(&s->arena, "jwt_authn_access_denied{%.*s}", STR_ARG(text));
}

static enum next refuse(struct stream *s, unsigned status, const char *why)
{
	struct head fields;

	head_init(&fields, &s->arena);
	if (status == 401)
		head_add(&fields, STR("www-authenticate"),
			 STR("Bearer realm=\"kvmesh\", error=\"invalid_token\""));
	stats_add_reason(s->w->stats, "kvmesh_jwt_denied_total", NULL, why);
	reply_given(s, status, &fields, str_c(why), joined(s, why).p);
	return NEXT_END;
}

/* ---- proven ---------------------------------------------------------------------------------- */

/* NULL: that rule takes it. */
static const char *judge(const struct stream *s, size_t rule, const struct jwt *t,
			 unsigned *ret_status)
{
	const struct snap_jwt_rule *r = &stream_snap(s)->jwt_rules.v[rule];
	const char *why = jwt_check_time(t, clock_real_us() / 1000000);

	*ret_status = 401;
	if (!why)
		why = tokens_verify(s->lease->at->tokens, rule, t);
	if (!why && !jwt_has_audience(t, &r->audiences)) {
		*ret_status = 403;
		why = "Audiences in Jwt are not allowed";
	}
	return why;
}

static const struct snap_jwt_rule *accepting(struct stream *s, const struct snap_workload *w,
					     const struct found *f, const struct jwt *t,
					     const char **ret_why, unsigned *ret_status)
{
	*ret_why = "Jwt issuer is not configured";
	*ret_status = 401;
	for (size_t i = 0; i < w->jwt_rules.n && i < RULES_MAX; i++) {
		const struct snap_jwt_rule *r = rule_of(s, w, i);

		if (!(f->rules >> i & 1) || (r->issuer.n > 0 && !str_eq(r->issuer, t->issuer)))
			continue;
		*ret_why = judge(s, (size_t)w->jwt_rules.v[i], t, ret_status);
		if (!*ret_why)
			return r;
	}
	return NULL;
}

/* ---- what it leaves -------------------------------------------------------------------------- */

static struct str claim_text(struct stream *s, const struct doc *d)
{
	if (!d)
		return STR_NULL;
	if (d->kind == DOC_STR)
		return head_is_value(d->s) ? d->s : STR_NULL;
	if (d->kind == DOC_INT)
		return arena_printf(&s->arena, "%" PRId64, d->i);
	if (d->kind == DOC_BOOL)
		return d->b ? STR("true") : STR("false");
	return STR_NULL;
}

/* Only we may fill these in (promise P12). */
static void clear_outputs(struct stream *s, const struct snap_workload *w)
{
	for (size_t i = 0; i < w->jwt_rules.n; i++) {
		const struct snap_jwt_rule *r = rule_of(s, w, i);

		if (r->payload_header.n > 0)
			head_remove(&s->req, r->payload_header);
		for (size_t k = 0; k < r->claims.n; k++)
			head_remove(&s->req, r->claims.v[k].header);
	}
}

static void put_outputs(struct stream *s, const struct snap_jwt_rule *r, const struct jwt *t)
{
	if (r->payload_header.n > 0)
		head_set(&s->req, r->payload_header, arena_str(&s->arena, t->payload));
	for (size_t i = 0; i < r->claims.n; i++) {
		struct str v = claim_text(s, jwt_claim(t, r->claims.v[i].claim));

		if (v.p)
			head_set(&s->req, r->claims.v[i].header, v);
	}
}

static void take_away(struct stream *s, const struct found *f)
{
	if (f->header.n > 0)
		head_remove(&s->req, f->header);
	if (f->param.n > 0)
		s->req.path = url_query_remove(s->req.path, f->param, &s->arena);
}

/* "a b" of a claim that is known to hold several becomes a list, as policies want to see it. */
static struct doc *spaced_claims(struct stream *s, const struct snap_jwt_rule *r, const struct jwt *t)
{
	struct doc *all = doc_copy(&s->arena, t->claims);

	for (size_t i = 0; i < r->spaced.n; i++) {
		const struct doc *d = doc_get(all, r->spaced.v[i]);

		if (!d || d->kind != DOC_STR)
			continue;
		struct doc *list = doc_new_list(&s->arena);
		struct str rest = d->s, word;

		while (str_split(&rest, ' ', &word))
			if (word.n > 0)
				doc_add(&s->arena, list, doc_new_str(&s->arena, word));
		doc_set(&s->arena, all, arena_str(&s->arena, r->spaced.v[i]).p, list);
	}
	return all;
}

static void remember(struct stream *s, const struct snap_jwt_rule *r, const struct jwt *t)
{
	struct authz_token *to = arena_new(&s->arena, struct authz_token);

	*to = (struct authz_token){
		.principal = arena_printf(&s->arena, "%.*s/%.*s", STR_ARG(t->issuer),
					  STR_ARG(t->subject)),
		.audiences = t->audiences,
		.presenter = t->presenter,
		.claims = spaced_claims(s, r, t),
	};
	s->token = to;
}

/* ---- the step -------------------------------------------------------------------------------- */

static enum next prove(struct stream *s, const struct snap_workload *w, const struct found *f)
{
	const struct snap_jwt_rule *r;
	unsigned status = 401;
	struct jwt t;
	const char *why = jwt_parse(f->value, &s->arena, &t);

	s->token_param = f->param;
	s->rec.path = headers_path_to_tell(s);
	r = why ? NULL : accepting(s, w, f, &t, &why, &status);
	if (!r)
		return refuse(s, status, why);
	remember(s, r, &t);
	put_outputs(s, r, &t);
	if (!r->forward)
		take_away(s, f);
	return NEXT_STEP;
}

enum next step_token(struct stream *s)
{
	const struct snap_workload *w = s->http ? workload_of(s) : NULL;

	if (!w || w->jwt_rules.n == 0 || cors_is_preflight(&s->req))
		return NEXT_STEP;
	struct found f = look(s, w);

	clear_outputs(s, w);
	if (f.several)
		return refuse(s, 401, "Jwt is there more than once");
	return f.value.p ? prove(s, w, &f) : NEXT_STEP;
}
