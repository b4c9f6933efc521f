/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authn tls-check: for every service port, what the server demands, what the client does, who
 * decided it, and what the proxies have seen on the wire. Layer daemons/ctl.
 */
#include "config.h"

#include <string.h>

#include "base/vec.h"
#include "ctl/edges.h"
#include "ctl/findings.h"
#include "ctl/print.h"
#include "ctl/tls_check.h"

struct caller {
	struct names_client client;
	struct str name;                /* of the workload, "" for a namespace as a whole */
	struct labels labels;
};

struct table {
	struct ctl *c;
	const struct model *m;
	struct names_registry reg;
	struct caller *callers;
	size_t n_callers, cap_callers;
	struct str host;                /* only this one; "" all */
	const struct doc *edges;        /* NULL: nobody was asked */
	struct doc *rows;
};

/* ---- who calls ------------------------------------------------------------------------------- */

/* "name", "name.namespace", "namespace/name" */
static bool is_workload(struct ctl *c, const struct model_resource *r, struct str word)
{
	struct arena *a = &c->arena;

	if (c->ns && !str_eq(r->ns, str_c(c->ns)))
		return false;
	return str_eq(word, r->name) ||
	       str_eq(word, arena_printf(a, "%.*s.%.*s", STR_ARG(r->name), STR_ARG(r->ns))) ||
	       str_eq(word, arena_printf(a, "%.*s/%.*s", STR_ARG(r->ns), STR_ARG(r->name)));
}

static bool add_workload(struct table *t, struct str word)
{
	model_for_each(t->m, MODEL_KIND_WORKLOAD, r) {
		if (!is_workload(t->c, r, word))
			continue;
		struct caller *w =
			vec_push_arena(&t->c->arena, t->callers, t->n_callers, t->cap_callers);

		*w = (struct caller){ .name = r->name, .labels = names_labels(r, &t->c->arena) };
		w->client.ns = r->ns;
		return true;
	}
	return false;
}

static void add_namespace(struct table *t, struct str ns)
{
	for (size_t i = 0; i < t->n_callers; i++)
		if (str_eq(t->callers[i].client.ns, ns))
			return;
	*vec_push_arena(&t->c->arena, t->callers, t->n_callers, t->cap_callers) =
		(struct caller){ .client.ns = ns };
}

/* Without a workload: everybody, by namespace; the node's own callers are in the root's. */
static void add_namespaces(struct table *t)
{
	if (t->c->ns) {
		add_namespace(t, model_ns(t->m, str_c(t->c->ns)));
		return;
	}
	model_for_each(t->m, MODEL_KIND_WORKLOAD, r)
		add_namespace(t, r->ns);
	add_namespace(t, t->m->mesh.mesh.rootNamespace);
}

/* ---- what was seen --------------------------------------------------------------------------- */

static bool is_from(const struct doc *edge, const struct caller *w)
{
	return str_eq(doc_get_str(edge, "sourceNamespace", STR("")), w->client.ns) &&
	       (w->name.n == 0 || str_eq(doc_get_str(edge, "sourceWorkload", STR("")), w->name));
}

static bool is_to(struct arena *a, const struct doc *edge, struct str host, int64_t port)
{
	struct str p = print_value(a, doc_get(edge, STR("destinationPort")));
	uint64_t n;

	return str_ieq(doc_get_str(edge, "destinationService", STR("")), host) &&
	       str_to_u64(p, &n) && (int64_t)n == port;
}

static void note_edge(struct arena *a, struct doc *seen, const struct doc *edge)
{
	bool mutual = doc_get_bool(edge, "mutual", false);
	int64_t n = doc_get_int(edge, "connections", 0);

	if (mutual && doc_get_str(seen, "tls", STR("")).n == 0) {
		doc_set_str(a, seen, "tls", doc_get_str(edge, "tls", STR("")));
		doc_set_str(a, seen, "cipher", doc_get_str(edge, "cipher", STR("")));
	}
	doc_set_bool(a, seen, "mutual", mutual && doc_get_bool(seen, "mutual", true));
	doc_set_bool(a, seen, "plain", !mutual || doc_get_bool(seen, "plain", false));
	if (n > doc_get_int(seen, "connections", 0))
		doc_set_int(a, seen, "connections", n);
}

/* Always a map with tls, cipher and mutual: null where nothing was seen. */
static void observe(struct table *t, struct doc *seen, const struct caller *w, struct str host,
		    int64_t port)
{
	for (size_t i = 0; t->edges && i < t->edges->n; i++)
		if (is_from(t->edges->v[i], w) && is_to(&t->c->arena, t->edges->v[i], host, port))
			note_edge(&t->c->arena, seen, t->edges->v[i]);
}

static struct doc *new_observed(struct arena *a)
{
	struct doc *d = doc_new_map(a);

	doc_set(a, d, "mutual", doc_new_null(a));
	doc_set(a, d, "tls", doc_new_null(a));
	doc_set(a, d, "cipher", doc_new_null(a));
	return d;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* "my-app.default" of a Service; hosts of ServiceEntries as they are. */
static struct str short_host(struct arena *a, const struct names_service *s)
{
	if (s->res->kind != MODEL_KIND_SERVICE)
		return s->host;
	return arena_printf(a, "%.*s.%.*s", STR_ARG(s->name), STR_ARG(s->ns));
}

static struct doc *new_row(struct arena *a, const struct names_service *s,
			   const struct names_port *port, struct str subset,
			   const struct tls_check *k)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "host", short_host(a, s));
	doc_set_int(a, d, "port", port->number);
	doc_set_str(a, d, "fqdn", s->host);
	if (subset.n > 0)
		doc_set_str(a, d, "subset", subset);
	doc_set_str(a, d, "status", str_c(tls_check_status_names[k->status]));
	doc_set_str(a, d, "server", k->server);
	doc_set_str(a, d, "client", k->client);
	doc_set_str(a, d, "authn_policy", k->policy);
	doc_set_str(a, d, "destination_rule", k->rule);
	doc_set(a, d, "from", doc_new_list(a));
	doc_set(a, d, "observed", new_observed(a));
	return d;
}

/* Callers for whom everything is the same share a row. */
static struct doc *same_row(const struct doc *rows, const struct doc *row)
{
	static const char *const keys[] = { "host", "subset", "status", "server", "client",
					    "authn_policy", "destination_rule" };

	for (size_t i = 0; i < rows->n; i++) {
		bool same = doc_get_int(rows->v[i], "port", 0) == doc_get_int(row, "port", 0);

		for (size_t k = 0; same && k < sizeof(keys) / sizeof(keys[0]); k++)
			same = str_eq(doc_get_str(rows->v[i], keys[k], STR("")),
				      doc_get_str(row, keys[k], STR("")));
		if (same)
			return rows->v[i];
	}
	return NULL;
}

static struct doc *add_row(struct table *t, const struct caller *w, struct doc *row)
{
	struct arena *a = &t->c->arena;
	struct doc *known = same_row(t->rows, row);
	struct str from = w->name.n > 0 ? arena_printf(a, "%.*s.%.*s", STR_ARG(w->name),
						       STR_ARG(w->client.ns))
					: w->client.ns;

	if (!known)
		known = doc_add(a, t->rows, row);
	doc_add(a, doc_get(known, STR("from")), doc_new_str(a, from));
	return known;
}

static void add_subsets(struct table *t, const struct caller *w, const struct names_service *s,
			const struct names_port *port, const struct tls_check *whole)
{
	struct arena *a = &t->c->arena;
	struct names_rules rules;

	names_rules(t->m, &w->client, s->host, s->ns, a, &rules);
	for (size_t r = 0; r < rules.n; r++)
		for (size_t i = 0; i < rules.v[r]->subsets.n; i++) {
			struct str name = rules.v[r]->subsets.v[i].name;
			struct tls_check k;

			tls_check(t->m, &w->client, s, port, name, a, &k);
			/* worth a row only when the subset is told something else, or breaks */
			if (k.has_explicit == whole->has_explicit &&
			    k.explicit_mode == whole->explicit_mode &&
			    (k.status != TLS_CHECK_CONFLICT || whole->status == TLS_CHECK_CONFLICT))
				continue;
			add_row(t, w, new_row(a, s, port, name, &k));
		}
}

static bool is_host(struct table *t, const struct caller *w, const struct names_service *s)
{
	struct arena *a = &t->c->arena;

	return t->host.n == 0 || str_ieq(t->host, s->host) || str_ieq(t->host, short_host(a, s)) ||
	       str_ieq(names_fqdn(t->m, t->host, w->client.ns, a), s->host);
}

static void add_service(struct table *t, const struct caller *w, const struct names_service *s)
{
	struct arena *a = &t->c->arena;

	/* invisible to this caller, or another service answers to that name for it */
	if (names_service_find(&t->reg, s->host, w->client.ns) != s || !is_host(t, w, s))
		return;
	for (size_t p = 0; p < s->ports.n; p++) {
		struct tls_check k;
		struct doc *row;

		tls_check(t->m, &w->client, s, &s->ports.v[p], STR(""), a, &k);
		row = add_row(t, w, new_row(a, s, &s->ports.v[p], STR(""), &k));
		observe(t, doc_get(row, STR("observed")), w, s->host, s->ports.v[p].number);
		add_subsets(t, w, s, &s->ports.v[p], &k);
	}
}

/* ---- output ---------------------------------------------------------------------------------- */

static struct str host_cell(struct arena *a, const struct doc *row)
{
	struct str subset = doc_get_str(row, "subset", STR(""));

	return arena_printf(a, "%.*s:%lld%s%.*s%s", STR_ARG(doc_get_str(row, "host", STR(""))),
			    (long long)doc_get_int(row, "port", 0), subset.n > 0 ? " (" : "",
			    STR_ARG(subset), subset.n > 0 ? ")" : "");
}

static struct str observed_cell(struct arena *a, const struct doc *row)
{
	const struct doc *o = doc_get(row, STR("observed"));
	struct str tls = doc_get_str(o, "tls", STR(""));
	bool plain = doc_get_bool(o, "plain", false);

	if (tls.n == 0)
		return plain ? STR("plain") : STR("-");
	return plain ? arena_printf(a, "mTLS %.*s and plain", STR_ARG(tls)) :
		       arena_printf(a, "mTLS %.*s", STR_ARG(tls));
}

static struct str cipher_cell(struct arena *a, const struct doc *row)
{
	(void)a;
	return doc_get_str(doc_get(row, STR("observed")), "cipher", STR("-"));
}

static enum print_style status_style(const struct doc *row)
{
	struct str s = doc_get_str(row, "status", STR(""));

	return str_eq(s, STR("OK"))         ? PRINT_GOOD
	       : str_eq(s, STR("CONFLICT")) ? PRINT_BAD
					    : PRINT_PLAIN;
}

static const struct print_column columns[] = {
	{ .head = "HOST:PORT", .cell = host_cell },
	{ .head = "STATUS", .key = "status", .style = status_style },
	{ .head = "SERVER", .key = "server" },
	{ .head = "CLIENT", .key = "client" },
	{ .head = "AUTHN POLICY", .key = "authn_policy" },
	{ .head = "DESTINATION RULE", .key = "destination_rule" },
	{ .head = "OBSERVED", .cell = observed_cell, .wide = true },
	{ .head = "CIPHER", .cell = cipher_cell, .wide = true },
	{ .head = "FROM", .key = "from", .wide = true },
	{ NULL },
};

static int print_table(struct table *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->rows->n; i++)
		n += str_eq(doc_get_str(t->rows->v[i], "status", STR("")), STR("CONFLICT"));
	print_list(t->c, t->rows, columns, NULL);
	if (n > 0 && !print_wants_doc(t->c) && !t->c->no_legend && t->c->output != CTL_OUTPUT_SHORT)
		fprintf(t->c->out, "%zu conflict%s\n", n, n == 1 ? "" : "s");
	return n > 0 ? CTL_EXIT_NO : CTL_EXIT_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* [WORKLOAD] [HOST]: one word alone may be either. */
static int take_words(struct table *t)
{
	struct ctl *c = t->c;

	if (c->n_words > 0 && add_workload(t, str_c(c->words[0]))) {
		t->callers[0].client.labels = &t->callers[0].labels;
		t->host = c->n_words > 1 ? str_c(c->words[1]) : STR("");
		return CTL_EXIT_OK;
	}
	if (c->n_words > 1)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no workload '%s'", c->words[0]);
	t->host = c->n_words > 0 ? str_c(c->words[0]) : STR("");
	add_namespaces(t);
	return CTL_EXIT_OK;
}

static void ask_proxies(struct table *t)
{
	struct err err;
	size_t answered;

	if (t->c->root || (t->c->etc_given && !t->c->run_given))
		return;
	t->edges = edges_gather(t->c, &answered, &err);
	if (answered == 0)
		ctl_note(t->c, "kvmeshctl: nothing could be observed: %s", err.text);
}

int cmd_authn_tls_check(struct ctl *c)
{
	struct table t = { .c = c, .rows = doc_new_list(&c->arena) };
	struct model *m;
	int code = findings_load_or_fail(c, &m);

	if (code != CTL_EXIT_OK)
		return code;
	t.m = m;
	names_registry_init(&t.reg, m, &c->arena);
	code = take_words(&t);
	if (code == CTL_EXIT_OK) {
		ask_proxies(&t);
		for (size_t s = 0; s < t.reg.services.n; s++)
			for (size_t w = 0; w < t.n_callers; w++)
				add_service(&t, &t.callers[w], &t.reg.services.v[s]);
		if (t.rows->n == 0 && t.host.n > 0)
			code = ctl_fail(CTL_EXIT_NOT_FOUND,
					"there is no workload or service '%.*s'", STR_ARG(t.host));
		else
			code = print_table(&t);
	}
	names_registry_done(&t.reg);
	return code;
}
