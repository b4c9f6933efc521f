/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject, uninject: a unit into the mesh and out of it. Layer daemons/ctl.
 * What is changed is one file below /etc/kvmesh/workloads.d; systemd's drop-in is made from it by
 * kvmesh-generator and lives below /run. Nothing is hidden, nothing remains.
 */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "base/vec.h"
#include "config/inject.h"
#include "config/load.h"
#include "ctl/changes.h"
#include "ctl/draft.h"
#include "ctl/findings.h"
#include "ctl/injected.h"
#include "ctl/print.h"
#include "ctl/systemctl.h"
#include "ctl/unit_facts.h"

#define SIDECAR_PORT_FIRST 15601u       /* of dedicated proxies */
#define SIDECAR_PORT_END 15800u

struct target {
	struct str unit;
	struct unit_facts facts;        /* zero where systemd is not asked */
	struct draft draft;
	const char *path;
	struct str text;
	struct change *change;          /* NULL: none is needed */
	struct str why;                 /* in that case */
};
struct job {
	struct ctl *c;
	struct changes files;
	struct target *v;
	size_t n, cap;
	bool here;                      /* this node's systemd is asked and told */
};

static const char *path_of(struct ctl *c, struct str unit)
{
	return arena_printf(&c->arena, "%s/workloads.d/%.*s.conf", c->etc,
			    STR_ARG(draft_stem(unit)))
		.p;
}

/* ---- which units ------------------------------------------------------------------------------ */

static void add_target(struct job *j, struct str unit)
{
	for (size_t i = 0; i < j->n; i++)
		if (str_eq(j->v[i].unit, unit))
			return;
	*vec_push_arena(&j->c->arena, j->v, j->n, j->cap) = (struct target){ .unit = unit };
}

/* A template stands for its instances, a pattern for what fits. */
static int add_pattern(struct job *j, struct str word)
{
	ptrdiff_t at = str_find_str(word, STR("@."));
	struct str *names;
	size_t n;
	int code;

	if (!j->here)
		return ctl_fail(CTL_EXIT_USAGE, "%.*s: name the instances, systemd is not asked here",
				STR_ARG(word));
	struct str pattern = at >= 0 ? arena_printf(&j->c->arena, "%.*s@*%.*s", (int)at, word.p,
						    STR_ARG(str_skip(word, (size_t)at + 1)))
				     : word;

	if ((code = unit_facts_list(j->c, pattern, &names, &n)) != 0)
		return code;
	for (size_t i = 0; i < n; i++)
		add_target(j, names[i]);
	return n > 0 ? 0
		     : ctl_fail(CTL_EXIT_NOT_FOUND,
				"%.*s: no such unit is loaded; name the instances, as in "
				"'redis-server@NAME'",
				STR_ARG(word));
}

static int add_words(struct job *j)
{
	for (unsigned i = 0; i < j->c->n_words; i++) {
		struct str unit = draft_unit_name(str_c(j->c->words[i]), &j->c->arena);
		int code = 0;

		if (str_find(unit, '*') >= 0 || str_find_str(unit, STR("@.")) >= 0)
			code = add_pattern(j, unit);
		else if (inject_is_unit_name(unit))
			add_target(j, unit);
		else
			code = ctl_fail(CTL_EXIT_USAGE,
					"%.*s: only services are injected, as in shop.service",
					STR_ARG(unit));
		if (code != 0)
			return code;
	}
	return 0;
}

/* ---- may it be injected ----------------------------------------------------------------------- */

static int judge_facts(const struct target *t)
{
	const struct unit_facts *f = &t->facts;

	if (!str_eq(f->load, STR("loaded")))
		return ctl_fail(str_eq(f->load, STR("not-found")) ? CTL_EXIT_NOT_FOUND : CTL_EXIT_NO,
				"%.*s: systemd says %.*s", STR_ARG(t->unit), STR_ARG(f->load));
	if (str_eq(f->user, STR("kvmesh-proxy")))
		return ctl_fail(CTL_EXIT_NO,
				"%.*s runs as kvmesh-proxy: what that user sends is the proxy's own",
				STR_ARG(t->unit));
	return 0;
}

static int judge(const struct job *j, struct target *t)
{
	const char *why = inject_refusal(t->unit);
	int code = j->here ? judge_facts(t) : 0;

	if (code != 0)
		return code;
	if (!why && t->facts.early)
		why = "it has to be up before the network is, and its proxy comes after";
	if (!why && t->facts.own_network)
		why = "it has a network of its own (PrivateNetwork=), in which no proxy is";
	if (!why)
		return 0;
	if (!ctl_has(j->c, "force"))
		return ctl_fail(CTL_EXIT_NO, "%.*s is left alone: %s; --force does it all the same",
				STR_ARG(t->unit), why);
	struct err err;

	return draft_set(&t->draft, STR("Annotation"), STR(INJECT_FORCE_ANNOTATION "=true"),
			 &err) < 0
		       ? ctl_fail_err(&err)
		       : 0;
}

/* ---- the Workload of a unit ------------------------------------------------------------------- */

static const struct {
	const char *option, *key;
} option_keys[] = {
	{ "label", "Label" },     { "annotation", "Annotation" },
	{ "port", "Port" },       { "name", "Name" },
	{ "address", "Address" }, { "service-account", "ServiceAccount" },
	{ "sidecar", "Sidecar" },
};

static int set_options(struct job *j, struct draft *d, struct err *err)
{
	struct ctl *c = j->c;

	if (c->ns && draft_set(d, STR("Namespace"), str_c(c->ns), err) < 0)
		return err->code;
	for (size_t k = 0; k < sizeof(option_keys) / sizeof(option_keys[0]); k++) {
		const char *value;

		for (unsigned i = 0; (value = ctl_value_at(c, option_keys[k].option, i)); i++)
			if (draft_set(d, str_c(option_keys[k].key), str_c(value), err) < 0)
				return err->code;
	}
	return 0;
}

/* Options are stronger than the unit's own lines. */
static int make_draft(struct job *j, struct target *t)
{
	struct arena *a = &j->c->arena;
	struct err err = { 0 };
	struct str text = j->here ? unit_facts_text(j->c, t->unit) : STR("");

	draft_init(&t->draft, t->unit, a);
	if (draft_read_unit(&t->draft, text, &err) < 0)
		return ctl_fail(CTL_EXIT_DATA, "%.*s: %s", STR_ARG(t->unit), err.text);
	if (set_options(j, &t->draft, &err) < 0)
		return ctl_fail(CTL_EXIT_USAGE, "%s", err.text);
	return 0;
}

static int find_ports(struct job *j, struct target *t)
{
	struct listening *v;
	struct err err;
	size_t n;

	if (!j->here || t->facts.cgroup.n == 0)
		return 0;
	if (listening_find(arena_str(&j->c->arena, t->facts.cgroup).p, &j->c->arena, &v, &n,
			   &err) < 0)
		return ctl_fail_err(&err);
	draft_add_listening(&t->draft, v, n);
	return 0;
}

/* Another file describes the unit: its author decides. */
static int is_described(struct job *j, struct target *t, bool *ret)
{
	const struct model_workload *w = injected_workload(j->c->model, t->unit);

	*ret = w && (!w->r.at.file || strcmp(w->r.at.file, t->path) != 0);
	if (!*ret)
		return 0;
	t->why = arena_printf(&j->c->arena, "%s:%u describes it", w->r.at.file, w->r.at.line);
	return w->injected ? 0
			   : ctl_fail(CTL_EXIT_NO,
				      "%.*s describes %.*s: write 'inject = true;' there",
				      STR_ARG(arena_printf(&j->c->arena, "%s:%u", w->r.at.file,
							   w->r.at.line)),
				      STR_ARG(t->unit));
}

/* ---- ports of a dedicated proxy --------------------------------------------------------------- */

static bool is_used(const struct job *j, uint16_t port)
{
	model_for_each(j->c->model, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		if (w->sidecarPorts &&
		    (w->sidecarPorts->mesh == port || w->sidecarPorts->http == port))
			return true;
		for (size_t i = 0; i < w->ports.n; i++)
			if (w->ports.v[i].number == port)
				return true;
	}
	for (size_t i = 0; i < j->n; i++)
		if (j->v[i].draft.mesh_port == port || j->v[i].draft.http_port == port)
			return true;
	return false;
}

/* Nobody listens there now: only what is free at the time can be written down. */
static bool is_free(uint16_t port)
{
	struct sock_addr any;
	struct err err;
	int fd;

	if (!sock_addr_parse(STR("0.0.0.0"), port, &any) ||
	    (fd = sock_listen_tcp(&any, 0, &err)) < 0)
		return false;
	close(fd);
	return true;
}

static uint16_t next_port(const struct job *j)
{
	for (uint16_t p = SIDECAR_PORT_FIRST; p < SIDECAR_PORT_END; p++)
		if (!is_used(j, p) && is_free(p))
			return p;
	return 0;
}

/* Those of an earlier time stay: callers dial them. */
static int take_sidecar_ports(struct job *j, struct target *t)
{
	const struct model_workload *w = injected_workload(j->c->model, t->unit);
	struct draft *d = &t->draft;

	if (!str_eq(d->sidecar, STR("dedicated")))
		return 0;
	if (w && w->sidecarPorts) {
		d->mesh_port = (uint16_t)w->sidecarPorts->mesh;
		d->http_port = (uint16_t)w->sidecarPorts->http;
		return 0;
	}
	d->mesh_port = next_port(j);
	d->http_port = next_port(j);
	return d->http_port > 0 ? 0
				: ctl_fail(CTL_EXIT_NO,
					   "no port between %u and %u is free for the proxy of %.*s",
					   SIDECAR_PORT_FIRST, SIDECAR_PORT_END - 1,
					   STR_ARG(t->unit));
}

/* Ports cannot be found while it is stopped: those found before are as good as any. */
static bool is_found_before(const struct job *j, const struct target *t)
{
	const struct model_workload *w = injected_workload(j->c->model, t->unit);

	return w && w->injected && w->ports.n > 0 && !t->facts.active && t->draft.n_ports == 0;
}

static int plan_target(struct job *j, struct target *t)
{
	bool described;
	int code;

	if (j->here && (code = unit_facts_read(j->c, t->unit, &t->facts)) != 0)
		return code;
	if (t->facts.id.n > 0 && str_eq(t->facts.load, STR("loaded")))
		t->unit = t->facts.id;
	t->path = path_of(j->c, t->unit);
	if ((code = make_draft(j, t)) != 0 || (code = judge(j, t)) != 0 ||
	    (code = is_described(j, t, &described)) != 0 || described)
		return code;
	if (j->here && is_found_before(j, t)) {
		t->why = STR("it is stopped: its ports stay as they were found");
		return 0;
	}
	if ((code = find_ports(j, t)) != 0 || (code = take_sidecar_ports(j, t)) != 0)
		return code;
	draft_complete(&t->draft);
	t->text = changes_signed(&j->c->arena, INJECTED_SIGN, draft_text(&t->draft));
	code = changes_plan(&j->files, t->path, t->text, &t->change);
	return code;
}

/* ---- showing ---------------------------------------------------------------------------------- */

/* What the drop-in will say, from the text alone. */
static struct str dropin_text(struct job *j, const struct target *t, const struct model *m)
{
	struct inject_dropin *v;
	size_t n;

	inject_dropins(m, &j->c->arena, &v, &n);
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].unit, t->unit))
			return v[i].text;
	return STR("");
}

static struct doc *ports_doc(struct arena *a, const struct draft *d)
{
	struct doc *list = doc_new_list(a);

	for (size_t i = 0; i < d->n_ports; i++) {
		struct doc *p = doc_add(a, list, doc_new_map(a));

		doc_set_int(a, p, "number", d->ports[i].number);
		if (d->ports[i].name.p)
			doc_set_str(a, p, "name", d->ports[i].name);
		if (d->ports[i].protocol.p)
			doc_set_str(a, p, "protocol", d->ports[i].protocol);
		if (d->ports[i].why.n > 0)
			doc_set_str(a, p, "why", d->ports[i].why);
	}
	return list;
}

static const char *action_of(const struct target *t)
{
	return t->change ? change_names[t->change->kind] : change_names[CHANGE_SAME];
}

static struct doc *target_row(struct job *j, const struct target *t, struct doc *rows)
{
	struct arena *a = &j->c->arena;
	struct doc *row = doc_add(a, rows, doc_new_map(a));

	doc_set_str(a, row, "unit", t->unit);
	doc_set_str(a, row, "file", str_c(t->path));
	doc_set_str(a, row, "action", str_c(action_of(t)));
	if (t->why.n > 0)
		doc_set_str(a, row, "why", t->why);
	return row;
}

/* The Workload as a resource of the mesh, with what systemd will be told. */
static void describe_target(struct job *j, const struct target *t, struct doc *row)
{
	struct arena *a = &j->c->arena;
	struct err_list errs;
	struct model *m;

	if (!t->text.p)
		return;
	err_list_init(&errs);
	(void)model_load_text(t->text, t->path, DOC_SYNTAX_NATIVE, NULL, &m, &errs);
	model_for_each(m, MODEL_KIND_WORKLOAD, r)
		doc_set(a, row, "resource", doc_copy(a, model_resource_doc(r, a)));
	doc_set(a, row, "ports", ports_doc(a, &t->draft));
	doc_set_str(a, row, "dropIn", injected_dropin_path(a, t->unit));
	doc_set_str(a, row, "dropInText", dropin_text(j, t, m));
	model_free(m);
	err_list_done(&errs);
}

static void show_ports(struct job *j, const struct target *t)
{
	FILE *out = j->c->out;

	for (size_t i = 0; i < t->draft.n_ports; i++) {
		const struct draft_port *p = &t->draft.ports[i];

		fprintf(out, "%-10s%u%s%.*s%s%.*s%s\n", i == 0 ? "ports" : "", (unsigned)p->number,
			p->name.n > 0 ? " " : "", STR_ARG(p->name), p->why.n > 0 ? "  (" : "",
			STR_ARG(p->why), p->why.n > 0 ? ")" : "");
	}
	if (t->draft.n_ports == 0 && t->change)
		fprintf(out, "ports     none %s\n",
			t->facts.active ? "found: it calls and is not called"
					: "known: start it and inject again, or name them with --port");
}

static void show_target(struct job *j, const struct target *t)
{
	FILE *out = j->c->out;
	bool dry = ctl_has(j->c, "dry-run");

	if (dry && t->text.p && t->change && t->change->kind != CHANGE_SAME) {
		fprintf(out, "# %s (would be %s)\n%.*s", t->path, action_of(t), STR_ARG(t->text));
		return;
	}
	fprintf(out, "%-10s%s%s%.*s%s\n", action_of(t), t->path, t->why.n > 0 ? "  (" : "",
		STR_ARG(t->why), t->why.n > 0 ? ")" : "");
	fprintf(out, "drop-in   %.*s (made by kvmesh-generator at daemon-reload)\n",
		STR_ARG(injected_dropin_path(&j->c->arena, t->unit)));
	show_ports(j, t);
	if (t->facts.active && t->change && t->change->kind != CHANGE_SAME)
		fprintf(out, "next      systemctl restart %.*s (connections that it has open stay "
			     "outside of the mesh until then)\n",
			STR_ARG(t->unit));
}

static void show(struct job *j)
{
	struct doc *rows = doc_new_list(&j->c->arena);

	for (size_t i = 0; i < j->n; i++) {
		struct doc *row = target_row(j, &j->v[i], rows);

		if (print_wants_doc(j->c))
			describe_target(j, &j->v[i], row);
		else if (!j->c->quiet)
			show_target(j, &j->v[i]);
	}
	if (print_wants_doc(j->c))
		print_doc(j->c, rows);
}

/* ---- the commands ----------------------------------------------------------------------------- */

static int begin(struct job *j, struct ctl *c)
{
	struct model *m;
	int code;

	*j = (struct job){
		.c = c,
		.here = systemctl_is_here(c),
		.files = { .c = c, .sign = INJECTED_SIGN, .force = ctl_has(c, "force") },
	};
	code = findings_load_or_fail(c, &m);
	return code != 0 ? code : add_words(j);
}

static int carry_out(struct job *j)
{
	int code = changes_any(&j->files) ? changes_do(&j->files) : 0;

	return code != 0 ? code : injected_settle(j->c);
}

int cmd_inject(struct ctl *c)
{
	struct job j;
	int code = begin(&j, c);

	for (size_t i = 0; i < j.n && code == 0; i++)
		code = plan_target(&j, &j.v[i]);
	if (code == 0 && !ctl_has(c, "dry-run"))
		code = carry_out(&j);
	if (code != 0)
		return code;
	show(&j);
	if (!changes_kept(&j.files))
		return CTL_EXIT_OK;
	return ctl_fail(CTL_EXIT_NO,
			"files that were changed by hand stay as they are; --force replaces them");
}

/* ---- and out again ---------------------------------------------------------------------------- */

static int plan_removal(struct job *j, struct target *t)
{
	const struct model_workload *w;
	bool described;
	int code;

	if (j->here && (code = unit_facts_read(j->c, t->unit, &t->facts)) != 0)
		return code;
	if (t->facts.id.n > 0 && str_eq(t->facts.load, STR("loaded")))
		t->unit = t->facts.id;
	t->path = path_of(j->c, t->unit);
	w = injected_workload(j->c->model, t->unit);
	described = w && (!w->r.at.file || strcmp(w->r.at.file, t->path) != 0);
	if (described && w->injected)
		return ctl_fail(CTL_EXIT_NO,
				"%s:%u describes %.*s and is not from 'kvmeshctl inject': write "
				"'inject = false;' there, or remove it",
				w->r.at.file, (unsigned)w->r.at.line, STR_ARG(t->unit));
	if (!w || described)
		t->why = STR("it is not injected");
	if (described)
		return 0;
	return changes_plan(&j->files, t->path, STR_NULL, &t->change);
}

/* Units whose Workload is here, for a pattern: what systemd has forgotten is found as well. */
static void show_removals(struct job *j)
{
	struct doc *rows = doc_new_list(&j->c->arena);

	for (size_t i = 0; i < j->n; i++) {
		const struct target *t = &j->v[i];
		bool gone = t->change && t->change->kind == CHANGE_REMOVE;

		target_row(j, t, rows);
		if (print_wants_doc(j->c) || j->c->quiet)
			continue;
		fprintf(j->c->out, "%s%-10s%s%s%.*s%s\n",
			gone && ctl_has(j->c, "dry-run") ? "would be " : "", action_of(t), t->path,
			t->why.n > 0 ? "  (" : "", STR_ARG(t->why), t->why.n > 0 ? ")" : "");
		if (gone && t->facts.active && !ctl_has(j->c, "dry-run"))
			fprintf(j->c->out, "next      systemctl restart %.*s (connections that it "
					   "has open go on through the proxy until then)\n",
				STR_ARG(t->unit));
	}
	if (print_wants_doc(j->c))
		print_doc(j->c, rows);
}

int cmd_uninject(struct ctl *c)
{
	struct job j;
	int code = begin(&j, c);

	for (size_t i = 0; i < j.n && code == 0; i++)
		code = plan_removal(&j, &j.v[i]);
	if (code == 0 && !ctl_has(c, "dry-run"))
		code = carry_out(&j);
	if (code != 0)
		return code;
	show_removals(&j);
	if (!changes_kept(&j.files))
		return CTL_EXIT_OK;
	return ctl_fail(CTL_EXIT_NO,
			"files that were changed by hand stay as they are; --force removes them");
}
