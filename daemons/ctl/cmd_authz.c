/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz: the policies for a workload, and one decision by the proxies' own code over the files as
 * they are. Layer daemons/ctl.
 */
#include "config.h"

#include <string.h>

#include "config/compile.h"
#include "core/authz.h"
#include "ctl/findings.h"
#include "ctl/print.h"
#include "http/url.h"

struct question {
	struct ctl *c;
	struct snap *snap;
	struct authz *authz;
	size_t workload;                /* index into snap->workloads */
};

/* ---- which workload -------------------------------------------------------------------------- */

/* "web" or "web.shop". */
static bool is_named(const struct ctl *c, const struct snap_peer *p, struct str word)
{
	if (!str_has_prefix(word, p->name))
		return false;
	struct str rest = str_skip(word, p->name.n);

	if (rest.n == 0)
		return !c->ns || str_eq(p->ns, str_c(c->ns));
	return rest.p[0] == '.' && str_eq(str_skip(rest, 1), p->ns);
}

static int find_workload(struct question *q, const char *word)
{
	size_t found = 0;

	for (size_t i = 0; i < q->snap->workloads.n; i++)
		if (is_named(q->c, &q->snap->peers.v[q->snap->workloads.v[i].peer], str_c(word)) &&
		    found++ == 0)
			q->workload = i;
	if (found == 1)
		return 0;
	return ctl_fail(found == 0 ? CTL_EXIT_NOT_FOUND : CTL_EXIT_USAGE,
			found == 0 ? "%s: no workload of this node" :
				     "%s: several workloads are called so; add .NAMESPACE", word);
}

static int compile(struct question *q, const struct model *m)
{
	const struct compile_env env = { .etc_dir = q->c->etc };
	struct err_list errs;
	struct err err;

	err_list_init(&errs);
	int r = snap_compile(m, STR("node"), &env, &q->snap, &errs);

	if (r < 0)
		findings_print(&errs, m, ERR_LEVEL_ERROR);
	err_list_done(&errs);
	if (r < 0)
		return CTL_EXIT_CONFIG;
	return authz_new(q->snap, &q->authz, &err) < 0 ? ctl_fail_err(&err) : 0;
}

static int open_question(struct ctl *c, const char *workload, struct question *ret)
{
	struct model *m;
	int code;

	*ret = (struct question){ .c = c };
	if ((code = findings_load_or_fail(c, &m)) != 0 || (code = compile(ret, m)) != 0)
		return code;
	return find_workload(ret, workload);
}

static void close_question(struct question *q)
{
	authz_free(q->authz);
	if (q->snap)
		snap_unref(q->snap);
}

/* ---- check: the rules ------------------------------------------------------------------------ */

static struct str predicate_text(struct arena *a, const struct snap_predicate *p)
{
	struct str s = arena_printf(a, "%s", snap_attr_names[p->attr]);

	if (p->name.n > 0)
		s = arena_printf(a, "%.*s[%.*s]", STR_ARG(s), STR_ARG(p->name));
	s = arena_printf(a, "%.*s %s ", STR_ARG(s), p->negate ? "!=" : "=");
	for (size_t i = 0; i < p->values.n; i++)
		s = arena_printf(a, "%.*s%s%.*s", STR_ARG(s), i > 0 ? "|" : "",
				 STR_ARG(p->values.v[i]));
	return s;
}

static struct str joined(struct arena *a, struct str s, const char *by, struct str more)
{
	return s.n > 0 ? arena_printf(a, "%.*s%s%.*s", STR_ARG(s), by, STR_ARG(more)) : more;
}

static struct str alternatives_text(struct arena *a, const struct snap_predicates *v, size_t n)
{
	struct str s = STR("");

	for (size_t i = 0; i < n; i++) {
		struct str one = STR("");

		for (size_t k = 0; k < v[i].all.n; k++)
			one = joined(a, one, ", ", predicate_text(a, &v[i].all.v[k]));
		s = joined(a, s, " or ", one);
	}
	return s;
}

static struct str rule_text(struct arena *a, const struct snap_authz_rule *r)
{
	struct str s = alternatives_text(a, r->from.v, r->from.n);
	struct str to = alternatives_text(a, r->to.v, r->to.n);

	if (to.n > 0)
		s = joined(a, s, "; ", to);
	for (size_t i = 0; i < r->when.n; i++)
		s = joined(a, s, "; ", predicate_text(a, &r->when.v[i]));
	return s.n > 0 ? s : STR("everything");
}

static struct doc *add_row(struct question *q, struct doc *rows, const struct snap_policy *p)
{
	struct arena *a = &q->c->arena;
	struct doc *d = doc_add(a, rows, doc_new_map(a));

	doc_set_str(a, d, "action", arena_printf(a, "%s%s", snap_authz_action_names[p->action],
						 p->dry_run ? " (dry run)" : ""));
	doc_set_str(a, d, "policy", arena_printf(a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns)));
	return d;
}

static void add_policy(struct question *q, struct doc *rows, const struct snap_policy *p)
{
	struct arena *a = &q->c->arena;

	if (p->rules.n == 0)
		doc_set_str(a, add_row(q, rows, p), "what", STR("nothing"));
	for (size_t i = 0; i < p->rules.n; i++) {
		struct doc *d = add_row(q, rows, p);

		doc_set_int(a, d, "rule", (int64_t)i);
		doc_set_str(a, d, "what", rule_text(a, &p->rules.v[i]));
		doc_set_str(a, d, "file", arena_printf(a, "%.*s:%lld", STR_ARG(p->file),
						       (long long)p->rules.v[i].line));
	}
}

static const struct print_column check_columns[] = {
	{ .head = "ACTION", .key = "action" },
	{ .head = "POLICY", .key = "policy" },
	{ .head = "RULE", .key = "rule", .right = true },
	{ .head = "WHAT", .key = "what" },
	{ .head = "FILE", .key = "file", .wide = true },
	{ NULL },
};

int cmd_authz_check(struct ctl *c)
{
	/* As they are asked (2.11.2). */
	static const int order[] = { SNAP_AUTHZ_CUSTOM, SNAP_AUTHZ_AUDIT, SNAP_AUTHZ_DENY,
				     SNAP_AUTHZ_ALLOW };
	struct doc *rows = doc_new_list(&c->arena);
	struct question q;
	int code = open_question(c, c->words[0], &q);

	if (code == 0) {
		const struct int_list *l = &q.snap->workloads.v[q.workload].policies;

		for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++)
			for (size_t i = 0; i < l->n; i++)
				if (q.snap->policies.v[l->v[i]].action == order[k])
					add_policy(&q, rows, &q.snap->policies.v[l->v[i]]);
		print_list(c, rows, check_columns, "rules");
	}
	close_question(&q);
	return code;
}

/* ---- can: one decision ----------------------------------------------------------------------- */

/* A workload's identity; "-" is a caller without one, "TD/ns/NS/sa/SA" itself. */
static int put_caller(struct question *q, const char *word, struct authz_facts *f)
{
	struct question src = *q;
	struct str text = str_c(word);

	if (str_eq(text, STR("-")))
		return 0;
	if (str_has_prefix(text, STR("spiffe://")))
		text = str_skip(text, 9);
	f->principal = text;
	if (str_find_str(text, STR("/ns/")) > 0)
		return 0;
	int code = find_workload(&src, word);

	if (code == 0)
		f->principal = str_skip(
			q->snap->identities.v[q->snap->workloads.v[src.workload].identity], 9);
	return code;
}

static int put_request(struct question *q, struct head *h, struct authz_facts *f)
{
	struct ctl *c = q->c;
	struct str target = str_c(c->n_words > 3 ? c->words[3] : "/"), query;

	f->http = !ctl_has(c, "tcp");
	f->method = str_c(c->n_words > 2 ? c->words[2] : "GET");
	f->host = str_c(ctl_value(c, "host", ""));
	f->head = h;
	if (!url_normalize(target, (enum url_normalize)q->snap->settings.path_normalization,
			   &c->arena, &target))
		return ctl_fail(CTL_EXIT_NO, "%s: a path that no proxy takes (400)", c->words[3]);
	url_split_query(target, &f->path, &query);
	for (unsigned i = 0; ctl_value_at(c, "header", i); i++) {
		struct str one = str_c(ctl_value_at(c, "header", i));
		ptrdiff_t colon = str_find(one, ':');

		if (colon <= 0)
			return ctl_fail(CTL_EXIT_USAGE, "--header NAME:VALUE is needed");
		char *name = arena_alloc(&c->arena, (size_t)colon);

		for (size_t k = 0; k < (size_t)colon; k++)
			name[k] = (char)head_token_lower[(uint8_t)one.p[k]];
		head_add(h, str_from(name, (size_t)colon), str_trim(str_skip(one, (size_t)colon + 1)));
	}
	return 0;
}

static int64_t port_of(const struct question *q)
{
	uint64_t port;

	if (str_to_u64(str_c(ctl_value(q->c, "port", "")), &port))
		return (int64_t)port;
	for (size_t i = 0; i < q->snap->inbounds.n; i++)
		if ((size_t)q->snap->inbounds.v[i].workload == q->workload)
			return q->snap->inbounds.v[i].port;
	return 0;
}

static const struct print_column can_columns[] = {
	{ .head = "VERDICT", .key = "verdict" },
	{ .head = "WHY", .key = "why" },
	{ .head = "POLICY", .key = "policy" },
	{ .head = "RULE", .key = "rule", .right = true },
	{ .head = "FILE", .key = "file" },
	{ NULL },
};

static const char *reason(const struct question *q, const struct authz_verdict *v)
{
	if (v->ambiguous)
		return "the path has another reading, which is not allowed";
	if (v->policy)
		return v->allowed ? "a rule allows it" : "a rule refuses it";
	if (!v->allowed)
		return "there are ALLOW policies, and none of their rules fits";
	return authz_has_policies(q->authz, q->workload) ? "no ALLOW policy limits who may" :
							   "no policy is for this workload";
}

static void show_verdict(struct question *q, const struct authz_verdict *v)
{
	struct arena *a = &q->c->arena;
	struct doc *rows = doc_new_list(a), *d = doc_add(a, rows, doc_new_map(a));
	const struct snap_policy *p = v->policy;

	doc_set_str(a, d, "verdict", v->allowed ? STR("ALLOWED") : STR("DENIED"));
	doc_set_str(a, d, "why", str_c(reason(q, v)));
	if (p) {
		doc_set_str(a, d, "policy",
			    arena_printf(a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns)));
		doc_set_int(a, d, "rule", (int64_t)v->rule);
		doc_set_str(a, d, "file", arena_printf(a, "%.*s:%lld", STR_ARG(p->file),
						       (long long)p->rules.v[v->rule].line));
	}
	print_list(q->c, rows, can_columns, NULL);
}

int cmd_authz_can(struct ctl *c)
{
	struct authz_facts f = { 0 };
	struct authz_verdict v;
	struct question q;
	struct head h;
	int code = open_question(c, c->words[1], &q);

	head_init(&h, &c->arena);
	if (code == 0)
		code = put_caller(&q, c->words[0], &f);
	if (code == 0)
		code = put_request(&q, &h, &f);
	if (code == 0) {
		f.port = port_of(&q);
		authz_decide(q.authz, q.workload, &f, &c->arena, &v);
		show_verdict(&q, &v);
		code = v.allowed ? CTL_EXIT_OK : CTL_EXIT_NO;
	}
	close_question(&q);
	return code;
}
