/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_open: where a snapshot comes from: a running proxy, or the files. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "config/compile.h"
#include "ctl/findings.h"
#include "ctl/snapshot.h"

/* ---- of a running proxy ---------------------------------------------------------------------- */

static const struct doc *dump(struct ctl *c, const char *path, const char *what, struct err *err)
{
	struct doc *params = doc_new_map(&c->arena), *reply;

	doc_set_str(&c->arena, params, "what", str_c(what));
	return ctl_call(c, path, "Dump", params, &reply, err) == 0 ? reply : NULL;
}

/* No such file: is it a proxy that should run, or a slip of the finger? */
static int tell_missing(struct ctl *c, const char *proxy, const struct err *err)
{
	const char **names;
	size_t n;

	if (err->code != -ENOENT)
		return ctl_fail_err(err);
	ctl_proxies(c, &names, &n);
	if (n == 0)
		return ctl_fail_err(err);
	struct str list = STR("");

	for (size_t i = 0; i < n; i++)
		list = arena_printf(&c->arena, "%.*s%s%s", STR_ARG(list), i > 0 ? ", " : "",
				    names[i]);
	return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no proxy '%s' here, only %.*s", proxy,
			STR_ARG(list));
}

static int fetch(struct ctl *c, const char *proxy, struct snapshot *ret, struct err *err)
{
	const char *path = ctl_sock(c, "proxy", proxy);
	const struct doc *d = dump(c, path, "snapshot", err);
	struct err ignored;
	struct doc *status;
	int r;

	if (!d)
		return err->code;
	if (doc_get(d, STR("snapshot")))
		d = doc_get(d, STR("snapshot"));
	if (d->kind != DOC_MAP || d->n == 0)
		return err_set(err, KV_ERR_NOT_FOUND, "proxy %s has no configuration yet", proxy);
	if ((r = snap_load(doc_to_json(d, &c->arena, false), &ret->snap, err)) < 0)
		return r;
	if (ctl_call(c, path, "Status", NULL, &status, &ignored) == 0)
		ret->status = status;
	ret->endpoints = dump(c, path, "endpoints", &ignored);
	return 0;
}

int snapshot_fetch(struct ctl *c, const char *proxy, struct snapshot *ret)
{
	struct err err;

	*ret = (struct snapshot){ .c = c };
	if (strchr(proxy, '/'))
		return ctl_fail(CTL_EXIT_USAGE, "'%s' is no name of a proxy", proxy);
	return fetch(c, proxy, ret, &err) < 0 ? tell_missing(c, proxy, &err) : CTL_EXIT_OK;
}

/* ---- from the files -------------------------------------------------------------------------- */

int snapshot_compile(struct ctl *c, const char *proxy, struct snapshot *ret)
{
	const struct compile_env env = { .etc_dir = c->etc };
	struct model *m = c->model;
	struct err_list errs;
	int code;

	*ret = (struct snapshot){ .c = c };
	if (!m && (code = findings_load_or_fail(c, &m)) != 0)
		return code;
	err_list_init(&errs);
	int r = snap_compile(m, str_c(proxy), &env, &ret->snap, &errs);

	if (r == KV_ERR_NOT_FOUND)
		code = ctl_fail(CTL_EXIT_NOT_FOUND, "the files ask for no proxy '%s'", proxy);
	else
		code = r < 0 ? CTL_EXIT_CONFIG : CTL_EXIT_OK;
	if (r < 0)
		findings_print(&errs, m, ERR_LEVEL_ERROR);
	err_list_done(&errs);
	return code;
}

/* ---- either ---------------------------------------------------------------------------------- */

bool snapshot_is_of_files(const struct ctl *c)
{
	return c->root || (c->etc_given && !c->run_given && !c->socket);
}

int snapshot_open(struct ctl *c, const char *proxy, struct snapshot *ret)
{
	struct err err;

	if (snapshot_is_of_files(c))
		return snapshot_compile(c, proxy, ret);
	*ret = (struct snapshot){ .c = c };
	if (fetch(c, proxy, ret, &err) == 0)
		return CTL_EXIT_OK;
	if (!ctl_is_unanswered(&err))
		return ctl_fail_err(&err);
	ctl_note(c, "proxy %s does not answer; this is what the files in %s say", proxy, c->etc);
	return snapshot_compile(c, proxy, ret);
}

void snapshot_done(struct snapshot *s)
{
	if (s->snap)
		snap_unref(s->snap);
	s->snap = NULL;
}

/* ---- workloads ------------------------------------------------------------------------------- */

/* "web", "web.shop" or "shop/web". */
static bool is_named(const struct ctl *c, const struct snap_peer *p, struct str word)
{
	ptrdiff_t slash = str_find(word, '/');

	if (slash > 0)
		return str_eq(str_take(word, (size_t)slash), p->ns) &&
		       str_eq(str_skip(word, (size_t)slash + 1), p->name);
	if (!str_has_prefix(word, p->name))
		return false;
	struct str rest = str_skip(word, p->name.n);

	if (rest.n == 0)
		return !c->ns || str_eq(p->ns, str_c(c->ns));
	return rest.p[0] == '.' && str_eq(str_skip(rest, 1), p->ns);
}

int snapshot_workload(struct ctl *c, const struct snap *s, const char *word, size_t *ret)
{
	size_t found = 0;

	for (size_t i = 0; i < s->workloads.n; i++)
		if (is_named(c, &s->peers.v[s->workloads.v[i].peer], str_c(word)) && found++ == 0)
			*ret = i;
	if (found == 1)
		return CTL_EXIT_OK;
	return ctl_fail(found == 0 ? CTL_EXIT_NOT_FOUND : CTL_EXIT_USAGE,
			found == 0 ? "%s: no workload of this node"
				   : "%s: several workloads are called so; add .NAMESPACE",
			word);
}
