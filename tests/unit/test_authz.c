/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/authz: against a slow, obvious reading of semantics 2.11 on random policies and requests, and
 * the rules that are easier to say than to draw by lot. The oracle works on text alone: it shares
 * nothing with what it judges.
 */
#include "config.h"

#include "core/authz.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"

#include "unit.h"

#define N_PAIRS 100000
#define N_REQUESTS 50                   /* for one set of policies */

/* ---- making things by lot -------------------------------------------------------------------- */
struct lot {
	struct rng rng;
	struct snap *s;
};

static size_t pick(struct lot *l, size_t n)
{
	return (size_t)rng_below(&l->rng, n);
}

#define PICK(l, words) str_c((words)[pick((l), sizeof(words) / sizeof((words)[0]))])

static struct str some_value(struct lot *l, int attr)
{
	static const char *const principals[] = { "td/ns/a/sa/x", "td/ns/b/sa/x", "td/ns/*", "*/sa/y", "*" };
	static const char *const spaces[] = { "a", "b", "a*", "*b", "*" };
	static const char *const accounts[] = { "a/x", "b/y", "a/y" };
	static const char *const domains[] = { "td", "t*", "other", "*" };
	static const char *const blocks[] = { "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "::/0", "2001:db8::/33" };
	static const char *const ports[] = { "80", "81", "8080" };
	static const char *const hosts[] = { "H.x", "h.*", "*.X", "*", "h.x:80" };
	static const char *const methods[] = { "GET", "P*", "*ST", "*" };
	static const char *const paths[] = { "/a", "/a*", "*/b", "*", "/{*}/b", "/a/{**}", "/a*b" };
	static const char *const values[] = { "v", "v*", "*w", "*" };

	switch (attr) {
	case SNAP_ATTR_PRINCIPAL: return PICK(l, principals);
	case SNAP_ATTR_NAMESPACE: return PICK(l, spaces);
	case SNAP_ATTR_SERVICE_ACCOUNT: return PICK(l, accounts);
	case SNAP_ATTR_TRUST_DOMAIN: return PICK(l, domains);
	case SNAP_ATTR_SOURCE_IP:
	case SNAP_ATTR_REMOTE_IP:
	case SNAP_ATTR_DESTINATION_IP: return PICK(l, blocks);
	case SNAP_ATTR_PORT: return PICK(l, ports);
	case SNAP_ATTR_SNI:
	case SNAP_ATTR_HOST: return PICK(l, hosts);
	case SNAP_ATTR_METHOD: return PICK(l, methods);
	case SNAP_ATTR_PATH: return PICK(l, paths);
	default: return PICK(l, values);
	}
}

static void some_predicate(struct lot *l, int low, int high, struct snap_predicate *to)
{
	*to = (struct snap_predicate){ .attr = low + (int)pick(l, (size_t)(high - low)), .negate = pick(l, 3) == 0 };
	if (to->attr == SNAP_ATTR_HEADER)
		to->name = STR("x-h");
	if (to->attr == SNAP_ATTR_CLAIM)
		to->name = pick(l, 2) ? STR("group") : STR("realm][roles");
	to->values.n = 1 + pick(l, 2);
	to->values.v = arena_new_n(&l->s->arena, struct str, to->values.n);
	for (size_t i = 0; i < to->values.n; i++)
		to->values.v[i] = some_value(l, to->attr);
}

static struct snap_predicate *some_predicates(struct lot *l, size_t n, int low, int high)
{
	struct snap_predicate *v = arena_new_n(&l->s->arena, struct snap_predicate, n);

	for (size_t i = 0; i < n; i++)
		some_predicate(l, low, high, &v[i]);
	return v;
}

static struct snap_predicates *some_alternatives(struct lot *l, size_t n, int low, int high)
{
	struct snap_predicates *v = arena_new_n(&l->s->arena, struct snap_predicates, n);

	for (size_t i = 0; i < n; i++) {
		v[i].all.n = 1 + pick(l, 2);
		v[i].all.v = some_predicates(l, v[i].all.n, low, high);
	}
	return v;
}

static void some_policy(struct lot *l, struct snap_policy *p)
{
	*p = (struct snap_policy){ .name = STR("p"), .ns = STR("n"), .action = (int)pick(l, 4),
				   .dry_run = pick(l, 5) == 0 };
	p->rules.n = pick(l, 3);
	p->rules.v = arena_new_n(&l->s->arena, struct snap_authz_rule, p->rules.n);
	for (size_t i = 0; i < p->rules.n; i++) {
		struct snap_authz_rule *r = &p->rules.v[i];

		r->from.n = pick(l, 3);
		r->from.v = some_alternatives(l, r->from.n, 0, SNAP_ATTR_DESTINATION_IP);
		r->to.n = pick(l, 3);
		r->to.v = some_alternatives(l, r->to.n, SNAP_ATTR_PORT, SNAP_ATTR_HEADER);
		r->when.n = pick(l, 2);
		r->when.v = some_predicates(l, r->when.n, 0, SNAP_ATTR__N);
	}
}

static struct snap *some_snap(struct lot *l)
{
	struct snap *s = l->s = snap_new();

	s->workloads.n = 1;
	s->workloads.v = arena_new(&s->arena, struct snap_workload);
	s->policies.n = pick(l, 5);
	s->policies.v = arena_new_n(&s->arena, struct snap_policy, s->policies.n);
	s->workloads.v[0].policies.v = arena_new_n(&s->arena, int64_t, s->policies.n);
	for (size_t i = 0; i < s->policies.n; i++) {
		some_policy(l, &s->policies.v[i]);
		s->workloads.v[0].policies.v[s->workloads.v[0].policies.n++] = (int64_t)i;
	}
	return s;
}

/* ---- a request, also as the text that the oracle reads ----------------------------------------- */
struct request {
	struct authz_facts f;
	struct arena arena;
	struct head head;
	struct authz_token token;
	uint8_t ips[3][16];
	const char *ip_texts[3];        /* NULL: unknown */
	struct doc *claims;
};

static const uint8_t *some_ip(struct lot *l, struct request *r, size_t i)
{
	static const struct { const char *text; uint8_t bytes[16]; } all[] = {
		{ "10.1.2.3", { [10] = 0xff, 0xff, 10, 1, 2, 3 } },
		{ "10.1.9.9", { [10] = 0xff, 0xff, 10, 1, 9, 9 } },
		{ "192.0.2.1", { [10] = 0xff, 0xff, 192, 0, 2, 1 } },
		{ "2001:db8::1", { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } },
		{ "2001:db8:8000::1", { 0x20, 0x01, 0x0d, 0xb8, 0x80, 0, [15] = 1 } },
	};
	size_t k = pick(l, 6);

	if (k == 5)
		return NULL;
	r->ip_texts[i] = all[k].text;
	memcpy(r->ips[i], all[k].bytes, 16);
	return r->ips[i];
}

static void some_token(struct lot *l, struct request *r)
{
	static const char *const values[] = { "v", "vw", "w", "z" };
	struct arena *a = &r->arena;

	if (pick(l, 3) == 0)
		return;
	r->token.principal = PICK(l, values);
	r->token.presenter = pick(l, 2) ? PICK(l, values) : STR_NULL;
	r->token.audiences.n = pick(l, 3);
	r->token.audiences.v = arena_new_n(a, struct str, r->token.audiences.n);
	for (size_t i = 0; i < r->token.audiences.n; i++)
		r->token.audiences.v[i] = PICK(l, values);
	r->claims = doc_new_map(a);
	if (pick(l, 2))
		doc_set_str(a, r->claims, "group", PICK(l, values));
	if (pick(l, 2)) {
		struct doc *realm = doc_set(a, r->claims, "realm", doc_new_map(a));
		struct doc *roles = doc_set(a, realm, "roles", doc_new_list(a));

		for (size_t i = pick(l, 3); i > 0; i--)
			doc_add(a, roles, doc_new_str(a, PICK(l, values)));
	}
	r->token.claims = r->claims;
	r->f.token = &r->token;
}

static void some_request(struct lot *l, struct request *r)
{
	static const char *const principals[] = { "", "td/ns/a/sa/x", "td/ns/b/sa/y", "other/ns/ab/sa/x", "td/else" };
	static const char *const hosts[] = { "h.x", "H.X", "h.x:80", "g.x" };
	static const char *const methods[] = { "GET", "POST", "PUT" };
	static const char *const paths[] = { "/a", "/a/b", "/c/b", "/a/b/c", "/a*b", "/", "/ab" };
	static const char *const values[] = { "v", "vw", "w", "z" };

	memset(r, 0, sizeof(*r));
	arena_init(&r->arena, 0);
	head_init(&r->head, &r->arena);
	r->f.principal = PICK(l, principals);
	r->f.source = some_ip(l, r, 0);
	r->f.remote = some_ip(l, r, 1);
	r->f.destination = some_ip(l, r, 2);
	r->f.port = 80 + (int64_t)pick(l, 3);
	r->f.sni = pick(l, 2) ? PICK(l, hosts) : STR_NULL;
	r->f.http = pick(l, 4) > 0;
	if (!r->f.http)
		return;
	r->f.host = PICK(l, hosts);
	r->f.method = PICK(l, methods);
	r->f.path = PICK(l, paths);
	for (size_t i = pick(l, 4); i > 0; i--)
		head_add(&r->head, STR("x-h"), PICK(l, values));
	r->f.head = &r->head;
	some_token(l, r);
}

/* ---- the oracle -------------------------------------------------------------------------------- */
/* A star at one end, or alone, by the C library's globbing; everything else is escaped. */
static bool glob(struct str pattern, struct str v, bool icase)
{
	char p[256], text[128];
	size_t n = 0;

	if (str_eq(pattern, STR("*")))
		return v.n > 0;
	for (size_t i = 0; i < pattern.n; i++) {
		bool star = pattern.p[i] == '*' && (i == 0 || (i + 1 == pattern.n && pattern.p[0] != '*'));

		if (!star && strchr("*?[]\\", pattern.p[i]))
			p[n++] = '\\';
		p[n++] = pattern.p[i];
	}
	p[n] = '\0';
	snprintf(text, sizeof(text), "%.*s", STR_ARG(v));
	return fnmatch(p, text, icase ? FNM_CASEFOLD : 0) == 0;
}

static bool path_like(struct str pattern, struct str path)
{
	if (str_eq(pattern, STR("/{*}/b")))
		return str_eq(path, STR("/a/b")) || str_eq(path, STR("/c/b"));
	if (str_eq(pattern, STR("/a/{**}")))
		return str_has_prefix(path, STR("/a/"));
	return glob(pattern, path, false);
}

/* By hand: which of the addresses of some_ip are in which block. */
static bool in_block(struct str block, const char *ip)
{
	if (!ip)
		return false;
	if (str_eq(block, STR("::/0")))
		return true;
	if (str_eq(block, STR("10.0.0.0/8")))
		return strncmp(ip, "10.", 3) == 0;
	if (str_eq(block, STR("10.1.0.0/16")))
		return strncmp(ip, "10.1.", 5) == 0;
	if (str_eq(block, STR("2001:db8::/33")))
		return strcmp(ip, "2001:db8::1") == 0;
	return strcmp(ip, "10.1.2.3") == 0;
}

static bool claim_like(const struct request *r, struct str name, struct str pattern)
{
	const struct doc *d = r->claims ? doc_get(r->claims, str_eq(name, STR("group")) ? name : STR("realm")) : NULL;

	if (d && d->kind == DOC_STR)
		return glob(pattern, d->s, false);
	d = d ? doc_get(d, STR("roles")) : NULL;
	for (size_t i = 0; d && i < d->n; i++)
		if (glob(pattern, d->v[i]->s, false))
			return true;
	return false;
}

static bool one_like(const struct request *r, const struct snap_predicate *p, struct str v)
{
	const struct authz_facts *f = &r->f;
	struct str id = f->principal;
	char part[3][32] = { "", "", "" };
	int n = sscanf(id.n ? id.p : "", "%31[^/]/ns/%31[^/]/sa/%31[^/]", part[0], part[1], part[2]);
	char account[80];

	snprintf(account, sizeof(account), "%s/%s", part[1], part[2]);
	switch (p->attr) {
	case SNAP_ATTR_PRINCIPAL: return id.n > 0 && glob(v, id, false);
	case SNAP_ATTR_NAMESPACE: return n == 3 && glob(v, str_c(part[1]), false);
	case SNAP_ATTR_SERVICE_ACCOUNT: return n == 3 && str_eq(v, str_c(account));
	case SNAP_ATTR_TRUST_DOMAIN: return n >= 1 && glob(v, str_c(part[0]), false);
	case SNAP_ATTR_SOURCE_IP: return in_block(v, r->ip_texts[0]);
	case SNAP_ATTR_REMOTE_IP: return in_block(v, r->ip_texts[1]);
	case SNAP_ATTR_DESTINATION_IP: return in_block(v, r->ip_texts[2]);
	case SNAP_ATTR_PORT: return strtol(v.p, NULL, 10) == f->port;
	case SNAP_ATTR_SNI: return f->sni.n > 0 && glob(v, f->sni, true);
	case SNAP_ATTR_HOST: return glob(v, f->host, true) || (str_has_suffix(f->host, STR(":80")) && glob(v, str_take(f->host, f->host.n - 3), true));
	case SNAP_ATTR_METHOD: return glob(v, f->method, false);
	case SNAP_ATTR_PATH: return path_like(v, f->path);
	case SNAP_ATTR_REQUEST_PRINCIPAL: return f->token && glob(v, f->token->principal, false);
	case SNAP_ATTR_PRESENTER: return f->token && f->token->presenter.n > 0 && glob(v, f->token->presenter, false);
	case SNAP_ATTR_CLAIM: return claim_like(r, p->name, v);
	}
	for (size_t i = 0; f->token && i < f->token->audiences.n; i++)
		if (glob(v, f->token->audiences.v[i], false))
			return true;
	return false;
}

static bool some_like(const struct request *r, const struct snap_predicate *p)
{
	for (size_t i = 0; i < p->values.n; i++)
		if (one_like(r, p, p->values.v[i]))
			return true;
	return false;
}

/* How many of the values of x-h fit, and how many there are; joined counts as one more that may. */
static void header_like(const struct request *r, const struct snap_predicate *p, size_t *fit, size_t *n, bool *joined)
{
	char text[64] = "";

	*fit = *n = 0;
	*joined = false;
	for (size_t i = 0; i < r->head.n; i++) {
		bool one = false;

		for (size_t k = 0; k < p->values.n; k++)
			one |= glob(p->values.v[k], r->head.fields[i].value, false);
		*fit += one;
		(*n)++;
		if (i > 0)
			strcat(text, ",");
		strncat(text, r->head.fields[i].value.p, r->head.fields[i].value.n);
	}
	for (size_t k = 0; *n > 1 && k < p->values.n; k++)
		*joined |= glob(p->values.v[k], str_c(text), false);
}

static bool holds(const struct request *r, const struct snap_predicate *p, bool allow)
{
	size_t fit, n;
	bool joined;

	if (p->attr >= SNAP_ATTR_HOST && !r->f.http)
		return true;
	if (p->attr != SNAP_ATTR_HEADER)
		return some_like(r, p) != p->negate;
	header_like(r, p, &fit, &n, &joined);
	if (allow)      /* it must be beyond doubt */
		return p->negate ? fit == 0 && !joined : n > 0 && fit == n;
	return p->negate ? n == 0 || fit < n : fit > 0 || joined;
}

static bool rule_holds(const struct request *r, const struct snap_authz_rule *rule, bool allow)
{
	const struct { const struct snap_predicates *v; size_t n; } sides[] = { { rule->from.v, rule->from.n },
										{ rule->to.v, rule->to.n } };
	bool http = false;

	for (size_t k = 0; k < 2; k++) {
		bool any = sides[k].n == 0;

		for (size_t i = 0; i < sides[k].n; i++) {
			bool all = true;

			for (size_t j = 0; j < sides[k].v[i].all.n; j++) {
				http |= sides[k].v[i].all.v[j].attr >= SNAP_ATTR_HOST;
				all &= holds(r, &sides[k].v[i].all.v[j], allow);
			}
			any |= all;
		}
		if (!any)
			return false;
	}
	for (size_t i = 0; i < rule->when.n; i++) {
		http |= rule->when.v[i].attr >= SNAP_ATTR_HOST;
		if (!holds(r, &rule->when.v[i], allow))
			return false;
	}
	return !(allow && http && !r->f.http);
}

static bool any_rule(const struct request *r, const struct snap *s, int action, bool dry, bool *some)
{
	bool any = false;

	for (size_t i = 0; i < s->policies.n; i++) {
		const struct snap_policy *p = &s->policies.v[i];

		if (p->action != action || p->dry_run != dry)
			continue;
		*some = true;
		for (size_t k = 0; k < p->rules.n; k++)
			any |= rule_holds(r, &p->rules.v[k], action == SNAP_AUTHZ_ALLOW);
	}
	return any;
}

static bool allowed(const struct request *r, const struct snap *s, bool dry)
{
	bool unused = false, some = false;

	/* With an authorizer what it says comes before, and is not in the policies. */
	if (s->workloads.v[0].authorizer == 0 && any_rule(r, s, SNAP_AUTHZ_CUSTOM, dry, &unused))
		return false;
	if (any_rule(r, s, SNAP_AUTHZ_DENY, dry, &unused))
		return false;
	return any_rule(r, s, SNAP_AUTHZ_ALLOW, dry, &some) || !some;
}

/* ---- tests ------------------------------------------------------------------------------------- */
static struct authz *prepared(struct snap *s)
{
	struct authz *a = NULL;
	struct err err = { 0 };

	ck_assert_msg(authz_new(s, &a, &err) == 0, "%s", err.text);
	return a;
}

static void compare(struct lot *l, size_t set)
{
	struct snap *s = some_snap(l);
	struct authz *a = prepared(s);
	struct snap_authorizer authorizer = { .grpc = rng_below(&l->rng, 2) != 0 };

	s->authorizers.v = &authorizer;
	s->authorizers.n = 1;
	s->workloads.v[0].authorizer = (int64_t)rng_below(&l->rng, 2);
	for (size_t i = 0; i < N_REQUESTS; i++) {
		struct authz_verdict v;
		struct request r;
		bool unused = false;

		some_request(l, &r);
		authz_judge(a, 0, &r.f, &v);
		ck_assert_msg(v.allowed == allowed(&r, s, false), "set %zu, request %zu", set, i);
		ck_assert_msg(v.shadow_denied == !allowed(&r, s, true), "set %zu, request %zu: dry run", set, i);
		ck_assert_msg((v.audit != NULL) == any_rule(&r, s, SNAP_AUTHZ_AUDIT, false, &unused),
			      "set %zu, request %zu: audit", set, i);
		bool asked = s->workloads.v[0].authorizer > 0 && (r.f.http || authorizer.grpc) &&
			     any_rule(&r, s, SNAP_AUTHZ_CUSTOM, false, &unused);

		ck_assert_msg((v.custom != NULL) == asked, "set %zu, request %zu: custom", set, i);
		ck_assert(v.allowed || !v.policy || v.policy->action != SNAP_AUTHZ_ALLOW);
		arena_done(&r.arena);
	}
	s->authorizers.n = 0;
	authz_free(a);
	snap_unref(s);
}

START_TEST(rule_2_11_random_policies_and_requests)
{
	struct lot l = { 0 };

	rng_init(&l.rng, 20211);
	for (size_t i = 0; i < N_PAIRS / N_REQUESTS; i++)
		compare(&l, i);
}
END_TEST

/* One ALLOW policy with one path, one request. */
static bool path_fits(const char *pattern, const char *path)
{
	struct snap *s = snap_new();
	struct str value = str_c(pattern);
	struct snap_predicate one = { .attr = SNAP_ATTR_PATH, .values = { .v = &value, .n = 1 } };
	struct snap_predicates to = { .all = { &one, 1 } };
	struct snap_authz_rule rule = { .to = { &to, 1 } };
	struct snap_policy policy = { .name = STR("p"), .rules = { &rule, 1 } };
	struct snap_workload workload = { .policies = { .v = &(int64_t){ 0 }, .n = 1 } };
	struct authz_facts f = { .http = true, .path = str_c(path) };
	struct authz_verdict v;

	s->policies.v = &policy;
	s->workloads.v = &workload;
	s->policies.n = s->workloads.n = 1;
	struct authz *a = prepared(s);

	authz_judge(a, 0, &f, &v);
	authz_free(a);
	snap_unref(s);
	return v.allowed;
}

START_TEST(rule_2_11_12_path_templates)
{
	static const struct { const char *pattern, *path; bool fits; } rows[] = {
		{ "/foo/{*}", "/foo/bar", true }, { "/foo/{*}", "/foo/bar/baz", false }, { "/foo/{*}", "/foo/", false },
		{ "/foo/{*}", "/foo", false }, { "/foo/{**}/", "/foo/bar/", true }, { "/foo/{**}/", "/foo//", true },
		{ "/foo/{**}/", "/foo/bar", false }, { "/foo/{**}", "/foo/", true }, { "/foo/{**}", "/foo/a/b", true },
		{ "/{*}/x/{*}", "/a/x/b", true }, { "/{*}/x/{*}", "/a/y/b", false }, { "/{*}/{**}/end", "/a/b/c/end", true },
		{ "/{*}/{**}/end", "/end", false }, { "{*}", "a", true }, { "{**}", "", true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(path_fits(rows[i].pattern, rows[i].path) == rows[i].fits, "%s %s", rows[i].pattern, rows[i].path);
}
END_TEST

START_TEST(values_that_cannot_be_read_are_refused)
{
	static const struct { int attr; const char *value; } rows[] = { { SNAP_ATTR_SOURCE_IP, "10.0.0.0/40" }, { SNAP_ATTR_REMOTE_IP, "x" },
									{ SNAP_ATTR_PORT, "0" }, { SNAP_ATTR_PORT, "http" } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct snap *s = snap_new();
		struct str value = str_c(rows[i].value);
		struct snap_predicate one = { .attr = rows[i].attr, .values = { .v = &value, .n = 1 } };
		struct snap_authz_rule rule = { .when = { &one, 1 } };
		struct snap_policy policy = { .name = STR("odd"), .ns = STR("n"), .rules = { &rule, 1 } };
		struct err err = { 0 };
		struct authz *a;

		s->policies.v = &policy;
		s->policies.n = 1;
		ck_assert_int_lt(authz_new(s, &a, &err), 0);
		ck_assert_ptr_nonnull(strstr(err.text, "odd.n"));
		ck_assert_ptr_nonnull(strstr(err.text, rows[i].value));
		snap_unref(s);
	}
}
END_TEST

UNIT_MAIN("authz", rule_2_11_random_policies_and_requests, rule_2_11_12_path_templates,
	  values_that_cannot_be_read_are_refused)
