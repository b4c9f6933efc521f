/* SPDX-License-Identifier: Apache-2.0 */
/* version, status, proxy-status: who runs, with what. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "ctl/live.h"
#include "ctl/print.h"

static void set_if(struct ctl *c, struct doc *row, const char *key, const struct doc *v)
{
	if (v)
		doc_set(&c->arena, row, key, doc_copy(&c->arena, v));
}

/* ---- version --------------------------------------------------------------------------------- */

static void add_version(struct ctl *c, struct doc *rows, struct str component, const struct doc *d)
{
	struct doc *row = doc_add(&c->arena, rows, doc_new_map(&c->arena));

	doc_set_str(&c->arena, row, "component", component);
	doc_set_str(&c->arena, row, "version", doc_get_str(d, "software", STR("-")));
}

static const struct print_column version_columns[] = {
	{ .head = "COMPONENT", .key = "component" },
	{ .head = "VERSION", .key = "version" },
	{ NULL },
};

int cmd_version(struct ctl *c)
{
	struct arena *a = &c->arena;
	struct doc *rows = doc_new_list(a), *own = doc_add(a, rows, doc_new_map(a));
	struct live l;

	doc_set_str(a, own, "component", STR("kvmeshctl"));
	doc_set_str(a, own, "version", STR(PACKAGE_VERSION));
	live_gather(c, &l);
	if (l.router)
		add_version(c, rows, STR("kvmesh-router"), l.router);
	if (l.ca)
		add_version(c, rows, STR("kvmesh-ca"), l.ca);
	if (l.metrics)
		add_version(c, rows, STR("kvmesh-metrics"), l.metrics);
	for (size_t i = 0; i < l.n_proxies; i++) {
		const struct live_proxy *p = &l.proxies[i];

		if (p->router || p->status)
			add_version(c, rows, arena_printf(a, "kvmesh-proxy@%s", p->name),
				    doc_get(p->status, STR("software")) ? p->status : p->router);
	}
	print_list(c, rows, version_columns, NULL);
	return CTL_EXIT_OK;
}

/* ---- status ---------------------------------------------------------------------------------- */

static enum print_style state_style(const struct doc *row)
{
	struct str s = doc_get_str(row, "state", STR(""));

	return str_eq(s, STR("running")) ? PRINT_GOOD
	       : str_eq(s, STR("stale")) ? PRINT_WARN
					 : PRINT_BAD;
}

static const struct print_column status_columns[] = {
	{ .head = "COMPONENT", .key = "component" },
	{ .head = "STATE", .key = "state", .style = state_style },
	{ .head = "SINCE", .key = "since" },
	{ .head = "CONFIG", .key = "config", .right = true },
	{ .head = "NOTE", .key = "note" },
	{ .head = "VERSION", .key = "version", .wide = true },
	{ .head = "PID", .key = "pid", .right = true, .wide = true },
	{ NULL },
};

static struct doc *add_status(struct ctl *c, struct doc *rows, struct str component,
			      const struct doc *status, const struct err *err)
{
	struct arena *a = &c->arena;
	struct doc *row = doc_add(a, rows, doc_new_map(a));
	int64_t up = doc_get_int(status, "uptimeSeconds", -1);
	char since[CLOCK_RFC3339_MAX];

	doc_set_str(a, row, "component", component);
	doc_set_str(a, row, "state", status ? STR("running") : ctl_is_unanswered(err) ?
		    STR("not running") : STR("no answer"));
	if (up >= 0)
		doc_set_str(a, row, "since",
			    str_c(clock_rfc3339(clock_real_us() / 1000000 * 1000000 - up * 1000000,
						since)));
	set_if(c, row, "version", doc_get(status, STR("software")));
	set_if(c, row, "pid", doc_get(status, STR("pid")));
	if (!status && !ctl_is_unanswered(err))
		doc_set_str(a, row, "note", str_c(err->text));
	return row;
}

/* ", 1 of 3 workloads is out" of those with a unit or a probe; nothing while all are in. */
static struct str note_out(struct arena *a, const struct doc *st)
{
	const struct doc *all = doc_get(st, STR("workloads"));
	size_t n = 0;

	for (size_t i = 0; all && all->kind == DOC_LIST && i < all->n; i++)
		n += doc_get_bool(all->v[i], "out", false);
	return n == 0 ? STR("") :
			arena_printf(a, ", %zu of %zu workloads %s out", n, all->n,
				     n == 1 ? "is" : "are");
}

static void note_router(struct ctl *c, struct doc *row, const struct doc *st)
{
	const struct doc *last = doc_get(st, STR("lastReload"));
	const struct doc *findings = doc_get(last, STR("findings"));
	const struct doc *files = doc_get(st, STR("files")), *res = doc_get(st, STR("resources"));

	if (!st)
		return;
	doc_set_int(&c->arena, row, "config", doc_get_int(st, "generation", 0));
	if (last && !doc_get_bool(last, "ok", true))
		doc_set_str(&c->arena, row, "note",
			    arena_printf(&c->arena,
					 "last reload refused: %zu findings, see config reload",
					 findings && findings->kind == DOC_LIST ? findings->n : 0));
	else if (files && files->kind == DOC_INT && res && res->kind == DOC_INT)
		doc_set_str(&c->arena, row, "note",
			    arena_printf(&c->arena, "%lld resources in %lld files%.*s",
					 (long long)res->i, (long long)files->i,
					 STR_ARG(note_out(&c->arena, st))));
}

static void note_ca(struct ctl *c, struct doc *row, const struct doc *st)
{
	if (st)
		doc_set_str(&c->arena, row, "note",
			    arena_printf(&c->arena, "trust domain %.*s, %lld certificates issued",
					 STR_ARG(doc_get_str(st, "trustDomain", STR("-"))),
					 (long long)doc_get_int(st, "issued", 0)));
}

static void note_metrics(struct ctl *c, struct doc *row, const struct doc *st)
{
	struct arena *a = &c->arena;
	struct str listen = doc_get_str(st, "listen", STR(""));
	struct str series = arena_printf(a, "%lld series", (long long)doc_get_int(st, "series", 0));

	if (st)
		doc_set_str(a, row, "note",
			    listen.n == 0 ? series :
					    arena_printf(a, "%.*s at http://%.*s/metrics",
							 STR_ARG(series), STR_ARG(listen)));
}

/* It has no socket: who hears it tells of it. */
static void add_witness(struct ctl *c, struct doc *rows, const struct doc *metrics)
{
	const struct doc *w = doc_get(metrics, STR("witness"));
	struct arena *a = &c->arena;

	if (!w)
		return;
	struct doc *row = doc_add(a, rows, doc_new_map(a));
	struct str last = doc_get_str(w, "lastHeard", STR("-"));
	bool looking = doc_get_bool(w, "looking", false);

	doc_set_str(a, row, "component", STR("kvmesh-witness"));
	doc_set_str(a, row, "state", looking ? STR("running") : STR("no answer"));
	doc_set_str(a, row, "note",
		    arena_printf(a, "plain bytes seen: %lld, %s%.*s",
				 (long long)doc_get_int(w, "plainBytes", 0),
				 looking ? arena_printf(a, "looks at %lld ports",
							(long long)doc_get_int(w, "looksAt", 0)).p
					 : "last heard at ",
				 STR_ARG(looking ? STR("") : last)));
}

static void note_proxy(struct ctl *c, struct doc *row, const struct live_proxy *p)
{
	struct arena *a = &c->arena;
	int64_t left;

	if (!p->status)
		return;
	doc_set_int(a, row, "config", doc_get_int(p->status, "version", 0));
	if (doc_get_bool(p->status, "stale", false)) {
		doc_set_str(a, row, "state", STR("stale"));
		doc_set_str(a, row, "note", STR("serves the last configuration it had, from disk"));
	} else if (!doc_get_bool(p->status, "ready", false)) {
		doc_set_str(a, row, "note", STR("not ready yet"));
	} else if (live_cert_left(p->status, clock_real_us(), &left)) {
		doc_set_str(a, row, "note",
			    left > 0 ? arena_printf(a, "certificates for %.*s",
						    STR_ARG(print_age(a, left / 1000000))) :
				       STR("a certificate has expired"));
	}
}

static struct doc *gather_status(struct ctl *c)
{
	struct doc *rows = doc_new_list(&c->arena);
	struct live l;

	live_gather(c, &l);
	note_router(c, add_status(c, rows, STR("kvmesh-router"), l.router, &l.router_err),
		    l.router);
	note_ca(c, add_status(c, rows, STR("kvmesh-ca"), l.ca, &l.ca_err), l.ca);
	note_metrics(c, add_status(c, rows, STR("kvmesh-metrics"), l.metrics, &l.metrics_err),
		     l.metrics);
	add_witness(c, rows, l.metrics);
	for (size_t i = 0; i < l.n_proxies; i++) {
		const struct live_proxy *p = &l.proxies[i];

		note_proxy(c,
			   add_status(c, rows, arena_printf(&c->arena, "kvmesh-proxy@%s", p->name),
				      p->status, &p->err),
			   p);
	}
	/* The node proxy is part of every node, even when nothing answers for it. */
	bool has_node = false;

	for (size_t i = 0; i < l.n_proxies; i++)
		has_node = has_node || strcmp(l.proxies[i].name, "node") == 0;
	if (!has_node)
		add_status(c, rows, STR("kvmesh-proxy@node"), NULL,
			   &(struct err){ .code = KV_ERR_CLOSED });
	return rows;
}

/* "router", "kvmesh-router", "node", "kvmesh-proxy@node" */
static bool is_named(const struct doc *row, const char *word)
{
	struct str name = doc_get_str(row, "component", STR(""));

	return str_eq(name, str_c(word)) || (str_has_prefix(name, STR("kvmesh-proxy@"))
						     ? str_eq(str_skip(name, 13), str_c(word))
						     : str_eq(str_skip(name, 7), str_c(word)));
}

int cmd_status(struct ctl *c)
{
	struct doc *all = gather_status(c), *rows = doc_new_list(&c->arena);
	int code = CTL_EXIT_OK;

	for (size_t i = 0; i < all->n; i++) {
		struct str state = doc_get_str(all->v[i], "state", STR(""));

		if (c->n_words > 0 && !is_named(all->v[i], c->words[0]))
			continue;
		doc_add(&c->arena, rows, all->v[i]);
		if (!str_eq(state, STR("running")) && !str_eq(state, STR("stale")))
			code = CTL_EXIT_NOT_RUNNING;
	}
	if (rows->n == 0)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no daemon or proxy '%s'",
				c->words[0]);
	print_list(c, rows, status_columns, NULL);
	return code;
}

/* ---- proxy-status ---------------------------------------------------------------------------- */

static struct str uptime_cell(struct arena *a, const struct doc *row)
{
	return print_age(a, doc_get_int(row, "uptime_seconds", -1));
}

static struct str rss_cell(struct arena *a, const struct doc *row)
{
	int64_t n = doc_get_int(row, "rss_bytes", -1);

	return n < 0 ? STR("-") : arena_printf(a, "%.1fMiB", (double)n / 1048576);
}

static enum print_style config_style(const struct doc *row)
{
	struct str s = doc_get_str(row, "config", STR(""));

	return str_eq(s, STR("SYNCED")) ? PRINT_GOOD
	       : str_eq(s, STR("-"))    ? PRINT_PLAIN
					: PRINT_BAD;
}

static const struct print_column proxy_columns[] = {
	{ .head = "NAME", .key = "name" },
	{ .head = "NODE", .key = "node" },
	{ .head = "UNIT", .key = "unit" },
	{ .head = "CONFIG", .key = "config", .style = config_style },
	{ .head = "GENERATION", .key = "generation", .right = true },
	{ .head = "VERSION", .key = "version" },
	{ .head = "UPTIME", .cell = uptime_cell, .right = true },
	{ .head = "CERT EXPIRES", .key = "cert_expires", .wide = true },
	{ .head = "RSS", .cell = rss_cell, .right = true, .wide = true },
	{ .head = "CONNECTIONS", .key = "connections", .right = true, .wide = true },
	{ .head = "PID", .key = "pid", .right = true, .wide = true },
	{ .head = "ERROR", .key = "error", .wide = true },
	{ NULL },
};

/* node.name as it is in force. */
static struct str node_name(struct ctl *c, const struct live *l)
{
	struct doc *reply;
	struct err err;

	if (!l->router || ctl_call_router(c, "Config", NULL, &reply, &err) < 0)
		return STR("");
	return doc_get_str(doc_get(doc_get(reply, STR("kvmesh")), STR("node")), "name", STR(""));
}

static struct doc *proxy_row(struct ctl *c, struct str node, const struct live_proxy *p)
{
	struct arena *a = &c->arena;
	struct doc *row = doc_new_map(a);
	const struct doc *st = p->status, *ro = p->router;
	char buf[CLOCK_RFC3339_MAX];
	int64_t left, now = clock_real_us();

	doc_set_str(a, row, "name", str_c(p->name));
	if (node.n > 0)
		doc_set_str(a, row, "node", node);
	doc_set_str(a, row, "unit", live_unit(c, p->name));
	doc_set_str(a, row, "config", live_state(p));
	set_if(c, row, "generation", doc_get(st ? st : ro, STR("version")));
	set_if(c, row, "version", doc_get(ro, STR("software")));
	set_if(c, row, "uptime_seconds", doc_get(st, STR("uptimeSeconds")));
	set_if(c, row, "pid", doc_get(st ? st : ro, STR("pid")));
	set_if(c, row, "rss_bytes", doc_get(st, STR("rssBytes")));
	set_if(c, row, "connections", doc_get(st, STR("connections")));
	set_if(c, row, "ready", doc_get(st, STR("ready")));
	set_if(c, row, "error", doc_get(ro, STR("error")));
	if (live_cert_left(st, now, &left))
		doc_set_str(a, row, "cert_expires", str_c(clock_rfc3339(now + left, buf)));
	return row;
}

int cmd_proxy_status(struct ctl *c)
{
	struct doc *rows = doc_new_list(&c->arena);
	int code = CTL_EXIT_OK;
	struct live l;

	live_gather(c, &l);
	if (!l.router && l.n_proxies == 0)
		return ctl_fail_err(&l.router_err);
	struct str node = node_name(c, &l);

	if (!l.router)
		ctl_note(c, "kvmeshctl: %s", l.router_err.text);
	for (size_t i = 0; i < l.n_proxies; i++) {
		const struct live_proxy *p = &l.proxies[i];

		if (c->n_words > 0 && strcmp(p->name, c->words[0]) != 0)
			continue;
		doc_add(&c->arena, rows, proxy_row(c, node, p));
		if (!str_eq(live_state(p), STR("SYNCED")))
			code = CTL_EXIT_NO;
	}
	if (c->n_words > 0 && rows->n == 0)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no proxy '%s'", c->words[0]);
	print_list(c, rows, proxy_columns, "proxies");
	return code;
}
