/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz: the policies for a workload, and one decision by the proxies' own code over the files as
 * they are. Layer daemons/ctl.
 */
#include "config.h"

#include <string.h>

#include "core/authz.h"
#include "ctl/print.h"
#include "ctl/request.h"
#include "ctl/snapshot.h"
#include "ctl/verdict.h"
#include "http/url.h"

struct question {
	struct ctl *c;
	struct snapshot of;
	const struct snap *snap;
	struct authz *authz;
	size_t workload;                /* index into snap->workloads */
};

/* ---- which workload -------------------------------------------------------------------------- */

static int open_question(struct ctl *c, const char *workload, struct question *ret)
{
	struct err err;
	int code;

	*ret = (struct question){ .c = c };
	if ((code = snapshot_compile(c, "node", &ret->of)) != 0)
		return code;
	ret->snap = ret->of.snap;
	if (authz_new(ret->snap, &ret->authz, &err) < 0)
		return ctl_fail_err(&err);
	return snapshot_workload(c, ret->snap, workload, &ret->workload);
}

static void close_question(struct question *q)
{
	authz_free(q->authz);
	snapshot_done(&q->of);
}

/* ---- check: the rules ------------------------------------------------------------------------ */

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
	struct question q;
	int code = open_question(c, c->words[0], &q);

	if (code == 0) {
		struct doc *rows = doc_new_list(&c->arena);

		verdict_rules(&c->arena, q.snap, q.workload, rows);
		print_list(c, rows, check_columns, "rules");
	}
	close_question(&q);
	return code;
}

/* ---- can: one decision ----------------------------------------------------------------------- */

/* A workload's identity; "-" is a caller without one, "TD/ns/NS/sa/SA" itself. */
static int put_caller(struct question *q, const char *word, struct authz_facts *f)
{
	struct str text = str_c(word);
	size_t caller;

	if (str_eq(text, STR("-")))
		return 0;
	if (str_has_prefix(text, STR("spiffe://")))
		text = str_skip(text, 9);
	f->principal = text;
	if (str_find_str(text, STR("/ns/")) > 0)
		return 0;
	int code = snapshot_workload(q->c, q->snap, word, &caller);

	if (code == 0)
		f->principal = str_skip(
			q->snap->identities.v[q->snap->workloads.v[caller].identity], 9);
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
	int code = request_headers(c, h);

	if (h->authority.n > 0)
		f->host = h->authority;
	return code;
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
	{ .head = "ASKS", .key = "asks", .wide = true },
	{ .head = "POLICY", .key = "policy" },
	{ .head = "RULE", .key = "rule", .right = true },
	{ .head = "FILE", .key = "file" },
	{ NULL },
};

static void show_verdict(struct question *q, const struct authz_verdict *v)
{
	struct arena *a = &q->c->arena;
	struct doc *rows = doc_new_list(a);

	verdict_put(a, doc_add(a, rows, doc_new_map(a)), q->authz, q->workload, v);
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
