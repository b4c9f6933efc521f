/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz: see authz.h. Layer core. Values are read into patterns once; a rule is then a walk over
 * its predicates. What is written about the order of actions stands in authz_judge alone.
 */
#include "core/authz.h"
#include "core/jwt.h"

#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"
#include "http/url.h"

enum form { FORM_EXACT, FORM_PREFIX, FORM_SUFFIX, FORM_PRESENT, FORM_TEMPLATE };

struct pattern {
	enum form form;
	struct str text;                /* without the star; a template whole */
	struct cidr cidr;               /* of address attributes */
	int64_t port;
};
struct predicate {
	const struct snap_predicate *row;
	struct pattern *patterns;       /* parallel to row->values */
};
struct predicates {
	struct predicate *v;
	size_t n;
};
struct rule {
	struct predicates *from, *to;   /* alternatives */
	size_t n_from, n_to;
	struct predicates when;
	bool http_only;                 /* some predicate is about HTTP (2.11.14) */
};
struct policy {
	const struct snap_policy *row;
	struct rule *rules;
	bool paths;
};
struct authz {
	const struct snap *snap;
	struct policy *policies;        /* parallel to snap->policies */
	bool *paths;                    /* parallel to snap->workloads */
	struct arena arena;
};

/* ---- reading values ------------------------------------------------------------------------- */

static bool is_address(int attr)
{
	return attr == SNAP_ATTR_SOURCE_IP || attr == SNAP_ATTR_REMOTE_IP ||
	       attr == SNAP_ATTR_DESTINATION_IP;
}

static bool is_http(int attr)
{
	return attr >= SNAP_ATTR_HOST;
}

static bool is_template(int attr, struct str v)
{
	return attr == SNAP_ATTR_PATH && str_find_str(v, STR("{*")) >= 0;
}

/* 2.11.6: a star elsewhere than at one end is an ordinary character. */
static void read_form(int attr, struct str v, struct pattern *ret)
{
	*ret = (struct pattern){ .form = FORM_EXACT, .text = v };
	if (attr == SNAP_ATTR_SERVICE_ACCOUNT)
		return;
	if (is_template(attr, v)) {
		ret->form = FORM_TEMPLATE;
	} else if (str_eq(v, STR("*"))) {
		ret->form = FORM_PRESENT;
	} else if (v.n > 0 && v.p[0] == '*') {
		ret->form = FORM_SUFFIX;
		ret->text = str_skip(v, 1);
	} else if (v.n > 0 && v.p[v.n - 1] == '*') {
		ret->form = FORM_PREFIX;
		ret->text = str_take(v, v.n - 1);
	}
}

static bool read_value(int attr, struct str v, struct pattern *ret)
{
	uint64_t port;

	if (is_address(attr))
		return cidr_parse(v, &ret->cidr);
	if (attr == SNAP_ATTR_PORT) {
		if (!str_to_u64(v, &port) || port < 1 || port > 65535)
			return false;
		ret->port = (int64_t)port;
		return true;
	}
	read_form(attr, v, ret);
	return true;
}

struct reading {
	struct authz *a;
	struct policy *policy;
	struct rule *rule;
	struct err *err;
};

static int read_predicate(struct reading *r, const struct snap_predicate *row, struct predicate *to)
{
	to->row = row;
	to->patterns = arena_new_n(&r->a->arena, struct pattern, row->values.n);
	r->rule->http_only |= is_http(row->attr);
	r->policy->paths |= row->attr == SNAP_ATTR_PATH;
	for (size_t i = 0; i < row->values.n; i++)
		if (!read_value(row->attr, row->values.v[i], &to->patterns[i]))
			return err_set(r->err, KV_ERR_SCHEMA,
				       "snapshot: AuthorizationPolicy %.*s.%.*s: '%.*s' is no value "
				       "of %s",
				       STR_ARG(r->policy->row->name), STR_ARG(r->policy->row->ns),
				       STR_ARG(row->values.v[i]), snap_attr_names[row->attr]);
	return 0;
}

static int read_predicates(struct reading *r, const struct snap_predicate *v, size_t n,
			   struct predicates *to)
{
	int e = 0;

	to->n = n;
	to->v = arena_new_n(&r->a->arena, struct predicate, n);
	for (size_t i = 0; i < n && e == 0; i++)
		e = read_predicate(r, &v[i], &to->v[i]);
	return e;
}

static int read_alternatives(struct reading *r, const struct snap_predicates *v, size_t n,
			     struct predicates **ret)
{
	int e = 0;

	*ret = arena_new_n(&r->a->arena, struct predicates, n);
	for (size_t i = 0; i < n && e == 0; i++)
		e = read_predicates(r, v[i].all.v, v[i].all.n, &(*ret)[i]);
	return e;
}

static int read_rule(struct reading *r, const struct snap_authz_rule *row)
{
	int e;

	r->rule->n_from = row->from.n;
	r->rule->n_to = row->to.n;
	if ((e = read_alternatives(r, row->from.v, row->from.n, &r->rule->from)) < 0 ||
	    (e = read_alternatives(r, row->to.v, row->to.n, &r->rule->to)) < 0)
		return e;
	return read_predicates(r, row->when.v, row->when.n, &r->rule->when);
}

static int read_policies(struct authz *a, struct err *err)
{
	int e = 0;

	a->policies = arena_new_n(&a->arena, struct policy, a->snap->policies.n);
	for (size_t i = 0; i < a->snap->policies.n; i++) {
		struct policy *p = &a->policies[i];

		p->row = &a->snap->policies.v[i];
		p->rules = arena_new_n(&a->arena, struct rule, p->row->rules.n);
		for (size_t k = 0; k < p->row->rules.n && e == 0; k++) {
			struct reading r = { a, p, &p->rules[k], err };

			e = read_rule(&r, &p->row->rules.v[k]);
		}
	}
	return e;
}

int authz_new(const struct snap *s, struct authz **ret, struct err *err)
{
	struct authz *a = kv_zalloc(sizeof(*a));
	int e;

	a->snap = s;
	arena_init(&a->arena, 0);
	e = read_policies(a, err);
	if (e < 0) {
		authz_free(a);
		return e;
	}
	a->paths = arena_new_n(&a->arena, bool, s->workloads.n);
	for (size_t i = 0; i < s->workloads.n; i++)
		for (size_t k = 0; k < s->workloads.v[i].policies.n; k++)
			a->paths[i] |= a->policies[s->workloads.v[i].policies.v[k]].paths;
	*ret = a;
	return 0;
}

void authz_free(struct authz *a)
{
	if (!a)
		return;
	arena_done(&a->arena);
	free(a);
}

bool authz_has_policies(const struct authz *a, size_t workload)
{
	return a->snap->workloads.v[workload].policies.n > 0;
}

/* ---- one value against one pattern ---------------------------------------------------------- */

static bool has_isuffix(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_ieq(str_skip(s, s.n - suffix.n), suffix);
}

/*
 * "{*}" is one segment, not empty; "{**}" any rest, behind which the value may go on with text
 * (2.11.12).
 */
static bool template_fits(struct str t, struct str path)
{
	while (t.n > 0) {
		if (str_has_prefix(t, STR("{**}")))
			return str_has_suffix(path, str_skip(t, 4));
		if (str_has_prefix(t, STR("{*}"))) {
			ptrdiff_t end = str_find(path, '/');
			size_t n = end < 0 ? path.n : (size_t)end;

			if (n == 0)
				return false;
			path = str_skip(path, n);
			t = str_skip(t, 3);
			continue;
		}
		if (path.n == 0 || path.p[0] != t.p[0])
			return false;
		path = str_skip(path, 1);
		t = str_skip(t, 1);
	}
	return path.n == 0;
}

static bool text_fits(const struct pattern *p, struct str v, bool icase)
{
	switch (p->form) {
	case FORM_EXACT:
		return icase ? str_ieq(v, p->text) : str_eq(v, p->text);
	case FORM_PREFIX:
		return icase ? str_has_iprefix(v, p->text) : str_has_prefix(v, p->text);
	case FORM_SUFFIX:
		return icase ? has_isuffix(v, p->text) : str_has_suffix(v, p->text);
	case FORM_PRESENT:
		return v.n > 0;
	case FORM_TEMPLATE:
		return template_fits(p->text, v);
	}
	return false;
}

static bool any_text(const struct predicate *p, struct str v)
{
	bool icase = p->row->attr == SNAP_ATTR_HOST || p->row->attr == SNAP_ATTR_SNI;

	for (size_t i = 0; i < p->row->values.n; i++)
		if (text_fits(&p->patterns[i], v, icase))
			return true;
	return false;
}

static bool any_cidr(const struct predicate *p, const uint8_t *addr)
{
	for (size_t i = 0; addr && i < p->row->values.n; i++)
		if (cidr_has(&p->patterns[i].cidr, addr))
			return true;
	return false;
}

static bool any_port(const struct predicate *p, int64_t port)
{
	for (size_t i = 0; i < p->row->values.n; i++)
		if (p->patterns[i].port == port)
			return true;
	return false;
}

/* ---- attributes ----------------------------------------------------------------------------- */

struct identity {
	struct str trust_domain, ns, account;   /* account: "NS/SA" */
};

/* "TD/ns/NS/sa/SA" was checked when the certificate was; another form has only a trust domain. */
static struct identity identity_of(struct str principal, char *account, size_t max)
{
	struct identity id = { 0 };
	struct str part[5] = { 0 }, rest = principal, one;
	size_t n = 0;

	for (; str_split(&rest, '/', &one); n++)
		if (n < 5)
			part[n] = one;
	id.trust_domain = part[0];
	if (n != 5 || !str_eq(part[1], STR("ns")) || !str_eq(part[3], STR("sa")))
		return id;
	id.ns = part[2];
	if (part[2].n + 1 + part[4].n <= max) {
		memcpy(account, part[2].p, part[2].n);
		account[part[2].n] = '/';
		memcpy(account + part[2].n + 1, part[4].p, part[4].n);
		id.account = str_from(account, part[2].n + 1 + part[4].n);
	}
	return id;
}

static bool identity_fits(const struct predicate *p, const struct authz_facts *f)
{
	char account[1024];
	struct identity id;

	if (f->principal.n == 0)
		return false;
	if (p->row->attr == SNAP_ATTR_PRINCIPAL)
		return any_text(p, f->principal);
	id = identity_of(f->principal, account, sizeof(account));
	if (p->row->attr == SNAP_ATTR_TRUST_DOMAIN)
		return any_text(p, id.trust_domain);
	if (p->row->attr == SNAP_ATTR_NAMESPACE)
		return id.ns.n > 0 && any_text(p, id.ns);
	return id.account.n > 0 && any_text(p, id.account);
}

/*
 * A field may come several times, and who reads it behind us may take any of them (P11). all:
 * every one must fit; else it is enough that one does, or what they are when joined.
 */
static bool header_fits(const struct predicate *p, const struct head *h, bool all)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++) {
		if (!str_eq(h->fields[i].name, p->row->name))
			continue;
		n++;
		if (any_text(p, h->fields[i].value) != all)
			return !all;
	}
	if (n > 1 && !all)
		return any_text(p, head_joined(h, p->row->name));
	return n > 0 && all;
}

/* As sent, without its port, and without the dot at its end: it is one host (P11). */
static bool host_fits(const struct predicate *p, struct str host)
{
	struct str bare;
	uint16_t port;

	if (any_text(p, host))
		return true;
	if (!url_split_authority(host, &bare, &port))
		return false;
	return any_text(p, bare) || (str_has_suffix(bare, STR(".")) &&
				     any_text(p, str_take(bare, bare.n - 1)));
}

static bool list_fits(const struct predicate *p, const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (any_text(p, l->v[i]))
			return true;
	return false;
}

/* A claim is text, or a list in which one does (2.11.13). */
static bool claim_fits(const struct predicate *p, const struct doc *claims)
{
	const struct doc *d = jwt_claim_at(claims, p->row->name);

	if (!d)
		return false;
	if (d->kind == DOC_STR)
		return any_text(p, d->s);
	for (size_t i = 0; d->kind == DOC_LIST && i < d->n; i++)
		if (d->v[i]->kind == DOC_STR && any_text(p, d->v[i]->s))
			return true;
	return false;
}

static bool token_fits(const struct predicate *p, const struct authz_token *t)
{
	if (!t)
		return false;
	switch (p->row->attr) {
	case SNAP_ATTR_REQUEST_PRINCIPAL:
		return any_text(p, t->principal);
	case SNAP_ATTR_AUDIENCE:
		return list_fits(p, &t->audiences);
	case SNAP_ATTR_PRESENTER:
		return t->presenter.n > 0 && any_text(p, t->presenter);
	default:
		return claim_fits(p, t->claims);
	}
}

static bool values_fit(const struct predicate *p, const struct authz_facts *f, bool all)
{
	switch ((enum snap_attr)p->row->attr) {
	case SNAP_ATTR_PRINCIPAL:
	case SNAP_ATTR_NAMESPACE:
	case SNAP_ATTR_SERVICE_ACCOUNT:
	case SNAP_ATTR_TRUST_DOMAIN:
		return identity_fits(p, f);
	case SNAP_ATTR_SOURCE_IP:
		return any_cidr(p, f->source);
	case SNAP_ATTR_REMOTE_IP:
		return any_cidr(p, f->remote);
	case SNAP_ATTR_DESTINATION_IP:
		return any_cidr(p, f->destination);
	case SNAP_ATTR_PORT:
		return any_port(p, f->port);
	case SNAP_ATTR_SNI:
		return f->sni.n > 0 && any_text(p, f->sni);
	case SNAP_ATTR_HOST:
		return host_fits(p, f->host);
	case SNAP_ATTR_METHOD:
		return any_text(p, f->method);
	case SNAP_ATTR_PATH:
		return any_text(p, f->path);
	case SNAP_ATTR_HEADER:
		return header_fits(p, f->head, all);
	case SNAP_ATTR_REQUEST_PRINCIPAL:
	case SNAP_ATTR_AUDIENCE:
	case SNAP_ATTR_PRESENTER:
	case SNAP_ATTR_CLAIM:
		return token_fits(p, f->token);
	case SNAP_ATTR__N:
		break;
	}
	return false;
}

/* ---- rules ---------------------------------------------------------------------------------- */

/*
 * What is no HTTP has none of its attributes: such a predicate is passed over, which widens a rule
 * that denies; rules that allow never get here with one (2.11.14).
 */
static bool predicate_fits(const struct predicate *p, const struct authz_facts *f, bool allows)
{
	if (is_http(p->row->attr) && !f->http)
		return true;
	/* In doubt about several values an ALLOW rule does not fit, any other does. */
	return values_fit(p, f, allows != p->row->negate) != p->row->negate;
}

static bool all_fit(const struct predicates *p, const struct authz_facts *f, bool allows)
{
	for (size_t i = 0; i < p->n; i++)
		if (!predicate_fits(&p->v[i], f, allows))
			return false;
	return true;
}

static bool any_fit(const struct predicates *v, size_t n, const struct authz_facts *f, bool allows)
{
	for (size_t i = 0; i < n; i++)
		if (all_fit(&v[i], f, allows))
			return true;
	return n == 0;
}

static bool rule_fits(const struct rule *r, const struct authz_facts *f, bool allows)
{
	if (allows && r->http_only && !f->http)
		return false;
	return any_fit(r->from, r->n_from, f, allows) && any_fit(r->to, r->n_to, f, allows) &&
	       all_fit(&r->when, f, allows);
}

/* ---- the decision (2.11.2) ------------------------------------------------------------------ */

struct found {
	bool some;                      /* policies of that action there are */
	const struct snap_policy *policy;       /* that fits */
	size_t rule;
};

static struct found find(const struct authz *a, size_t workload, const struct authz_facts *f,
			 enum snap_authz_action action, bool dry_run)
{
	const struct int_list *l = &a->snap->workloads.v[workload].policies;
	struct found r = { 0 };

	for (size_t i = 0; i < l->n; i++) {
		const struct policy *p = &a->policies[l->v[i]];

		if (p->row->action != (int)action || p->row->dry_run != dry_run)
			continue;
		r.some = true;
		for (size_t k = 0; k < p->row->rules.n; k++)
			if (rule_fits(&p->rules[k], f, action == SNAP_AUTHZ_ALLOW)) {
				r.policy = p->row;
				r.rule = k;
				return r;
			}
	}
	return r;
}

static bool has_authorizer(const struct authz *a, size_t workload)
{
	return a->snap->workloads.v[workload].authorizer > 0;
}

/* Who is asked over HTTP has no say about bytes (2.11.14). */
static bool is_asked(const struct authz *a, size_t workload, bool http)
{
	int64_t i = a->snap->workloads.v[workload].authorizer - 1;

	return i >= 0 && (http || a->snap->authorizers.v[i].grpc);
}

static bool decide(const struct authz *a, size_t workload, const struct authz_facts *f,
		   bool dry_run, struct found *ret)
{
	/* Nobody to ask for CUSTOM: who it is about is refused (2.11.15). */
	static const enum snap_authz_action refusing[] = { SNAP_AUTHZ_CUSTOM, SNAP_AUTHZ_DENY };

	for (size_t i = has_authorizer(a, workload); i < 2; i++) {
		*ret = find(a, workload, f, refusing[i], dry_run);
		if (ret->policy)
			return false;
	}
	*ret = find(a, workload, f, SNAP_AUTHZ_ALLOW, dry_run);
	return ret->policy || !ret->some;
}

void authz_judge(const struct authz *a, size_t workload, const struct authz_facts *f,
		 struct authz_verdict *ret)
{
	struct found by, shadow;

	*ret = (struct authz_verdict){ .allowed = decide(a, workload, f, false, &by) };
	ret->policy = by.policy;
	ret->rule = by.rule;
	ret->audit = find(a, workload, f, SNAP_AUTHZ_AUDIT, false).policy;
	if (is_asked(a, workload, f->http))
		ret->custom = find(a, workload, f, SNAP_AUTHZ_CUSTOM, false).policy;
	ret->shadow_denied = !decide(a, workload, f, true, &shadow);
	ret->shadow = ret->shadow_denied ? shadow.policy : NULL;
}

/* A program may drop ";…" and keep "%2f", or the other way round: any reading may be the one that counts. */
static bool is_ambiguous(const struct authz *a, size_t workload, const struct authz_facts *f,
			 struct arena *arena, struct authz_verdict *ret)
{
	struct authz_facts other = *f;
	struct authz_verdict v;

	if (!f->http || !a->paths[workload] || a->snap->workloads.v[workload].ambiguous_paths)
		return false;
	for (unsigned reading = 0; reading < URL_READINGS; reading++) {
		if (!url_read_path(f->path, reading, arena, &other.path))
			return true;
		if (str_eq(other.path, f->path))
			continue;
		authz_judge(a, workload, &other, &v);
		ret->custom = ret->custom ? ret->custom : v.custom;
		if (!v.allowed)
			return true;
	}
	return false;
}

void authz_decide(const struct authz *a, size_t workload, const struct authz_facts *f,
		  struct arena *arena, struct authz_verdict *ret)
{
	authz_judge(a, workload, f, ret);
	if (!ret->allowed || !is_ambiguous(a, workload, f, arena, ret))
		return;
	ret->allowed = false;
	ret->ambiguous = true;
	ret->policy = NULL;
}
