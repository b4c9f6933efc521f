/* SPDX-License-Identifier: Apache-2.0 */
/* check-inject: which units are injected, why, and is that so in systemd as well. Layer daemons/ctl. */
#include "config.h"

#include "config/inject.h"
#include "ctl/draft.h"
#include "ctl/findings.h"
#include "ctl/injected.h"
#include "ctl/print.h"
#include "ctl/systemctl.h"
#include "ctl/unit_facts.h"

struct verdict {
	bool injected;
	bool wrong;                     /* it should be, and something is missing */
	struct str why;
};

static struct str place(struct arena *a, const struct model_workload *w)
{
	return arena_printf(a, "%s:%u", w->r.at.file ? w->r.at.file : "-", (unsigned)w->r.at.line);
}

static struct str label_of(const struct model *m, const struct model_workload *w)
{
	const struct model_resource *ns = model_find(m, MODEL_KIND_NAMESPACE, w->r.ns, w->r.ns);

	return ns ? labels_get(&ns->labels, STR("istio-injection")) : STR_NULL;
}

/* Who said so. */
static struct str reason(struct ctl *c, const struct model_workload *w)
{
	struct arena *a = &c->arena;
	struct str word = label_of(c->model, w);

	if (w->gateway)
		return STR("it is a gateway, which is a proxy itself");
	if (w->has_inject)
		return arena_printf(a, "%.*s says so", STR_ARG(place(a, w)));
	if (word.p)
		return arena_printf(a, "namespace %.*s has istio-injection=%.*s", STR_ARG(w->r.ns),
				    STR_ARG(word));
	return arena_printf(a, "%.*s does not ask for it, nor does namespace %.*s",
			    STR_ARG(place(a, w)), STR_ARG(w->r.ns));
}

static void judge_proxy(struct ctl *c, const struct model_workload *w, struct verdict *v)
{
	struct str proxy = inject_proxy_unit(w, &c->arena);
	struct unit_facts f;

	if (unit_facts_read(c, proxy, &f) != 0 || f.active)
		return;
	v->wrong = true;
	v->why = arena_printf(&c->arena, "its proxy %.*s does not run", STR_ARG(proxy));
}

/* What systemd makes of it. */
static int judge_unit(struct ctl *c, const struct model_workload *w, struct verdict *v)
{
	const char *refusal = inject_refusal(w->unit);
	struct unit_facts f;
	int code;

	if ((code = unit_facts_read(c, w->unit, &f)) != 0)
		return code;
	if (!str_eq(f.load, STR("loaded"))) {
		v->wrong = true;
		v->why = arena_printf(&c->arena, "systemd says %.*s", STR_ARG(f.load));
	} else if (!f.ordered) {
		v->wrong = true;
		v->why = refusal ? arena_printf(&c->arena, "it is left alone: %s", refusal)
				 : STR("its drop-in is not in force: 'systemctl daemon-reload'");
	} else {
		judge_proxy(c, w, v);
	}
	return 0;
}

static int add_row(struct ctl *c, struct doc *rows, struct str unit, const struct model_workload *w)
{
	struct arena *a = &c->arena;
	struct verdict v = { .why = STR("no Workload names it") };
	struct doc *row = doc_add(a, rows, doc_new_map(a));
	int code = 0;

	if (w) {
		v.injected = w->injected;
		v.why = reason(c, w);
		doc_set_str(a, row, "workload", w->r.name);
		doc_set_str(a, row, "namespace", w->r.ns);
	}
	if (w && w->injected && systemctl_is_here(c))
		code = judge_unit(c, w, &v);
	doc_set_str(a, row, "unit", unit);
	doc_set_bool(a, row, "injected", v.injected);
	doc_set_bool(a, row, "ok", v.injected && !v.wrong);
	doc_set_str(a, row, "reason", v.why);
	return code;
}

static int add_unit(struct ctl *c, struct doc *rows, const char *word)
{
	struct str unit = draft_unit_name(str_c(word), &c->arena);
	const struct model_workload *w = injected_workload(c->model, unit);
	struct unit_facts f;
	int code;

	if (!w && systemctl_is_here(c)) {
		if ((code = unit_facts_read(c, unit, &f)) != 0)
			return code;
		if (str_eq(f.load, STR("not-found")))
			return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no unit %.*s", STR_ARG(unit));
		if (f.id.n > 0)
			unit = f.id;
		w = injected_workload(c->model, unit);
	}
	return add_row(c, rows, unit, w);
}

static int add_all(struct ctl *c, struct doc *rows)
{
	int code = 0;

	model_for_each(c->model, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		if (w->unit.n > 0 && (!c->ns || str_eq(r->ns, str_c(c->ns))) && code == 0)
			code = add_row(c, rows, w->unit, w);
	}
	return code;
}

static struct str yes_cell(struct arena *a, const struct doc *row)
{
	(void)a;
	if (!doc_get_bool(row, "injected", false))
		return STR("no");
	return doc_get_bool(row, "ok", false) ? STR("yes") : STR("not in force");
}

static enum print_style yes_style(const struct doc *row)
{
	if (!doc_get_bool(row, "injected", false))
		return PRINT_PLAIN;
	return doc_get_bool(row, "ok", false) ? PRINT_GOOD : PRINT_BAD;
}

static const struct print_column columns[] = {
	{ .head = "UNIT", .key = "unit" },
	{ .head = "WORKLOAD", .key = "workload" },
	{ .head = "NAMESPACE", .key = "namespace" },
	{ .head = "INJECTED", .cell = yes_cell, .style = yes_style },
	{ .head = "REASON", .key = "reason" },
	{ NULL },
};

int cmd_check_inject(struct ctl *c)
{
	struct doc *rows = doc_new_list(&c->arena);
	struct model *m;
	int code = findings_load_or_fail(c, &m);
	bool good = true;

	for (unsigned i = 0; i < c->n_words && code == 0; i++)
		code = add_unit(c, rows, c->words[i]);
	if (c->n_words == 0 && code == 0)
		code = add_all(c, rows);
	if (code != 0)
		return code;
	print_list(c, rows, columns, "units");
	for (size_t i = 0; i < rows->n; i++) {
		const struct doc *row = rows->v[i];
		bool asked = c->n_words > 0 || doc_get_bool(row, "injected", false);

		good = good && (!asked || doc_get_bool(row, "ok", false));
	}
	return good ? CTL_EXIT_OK : CTL_EXIT_NO;
}
