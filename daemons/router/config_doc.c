/* SPDX-License-Identifier: Apache-2.0 */
/* config_doc: see config_doc.h. Layer daemons/router. */
#include "config.h"

#include "base/clock.h"
#include "router/config_doc.h"

typedef void (*setting_fn)(void *arg, struct str path, const struct doc *value);

/* Every value that is no map, with its dotted path. */
static void walk(const struct doc *d, struct str path, struct arena *a, setting_fn fn, void *arg)
{
	if (d->kind != DOC_MAP) {
		fn(arg, path, d);
		return;
	}
	for (size_t i = 0; i < d->n; i++) {
		struct str key = d->v[i]->key;

		walk(d->v[i],
		     path.n > 0 ? arena_printf(a, "%.*s.%.*s", STR_ARG(path), STR_ARG(key)) : key,
		     a, fn, arg);
	}
}

struct origins {
	struct arena *a;
	struct doc *map;
};

static void add_origin(void *arg, struct str path, const struct doc *value)
{
	struct origins *o = arg;

	if (!value->at.file)
		return;
	struct str at = arena_printf(o->a, "%s:%u", value->at.file, (unsigned)value->at.line);

	doc_set_str(o->a, o->map, arena_str(o->a, path).p, at);
}

static struct doc *resource_doc(const struct model_resource *r, struct arena *a)
{
	char seen[CLOCK_RFC3339_MAX];
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "kind", str_c(model_kind_name(r->kind)));
	doc_set_str(a, d, "namespace", r->ns);
	doc_set_str(a, d, "name", r->name);
	doc_set_str(a, d, "file", str_c(r->at.file));
	doc_set_int(a, d, "line", r->at.line);
	if (r->first_seen_us > 0)
		doc_set_str(a, d, "firstSeen", str_c(clock_rfc3339(r->first_seen_us, seen)));
	if (r->metadata)
		doc_set(a, d, "metadata", doc_copy(a, r->metadata));
	doc_set(a, d, "spec", r->doc ? doc_copy(a, r->doc) : doc_new_map(a));
	return d;
}

void config_doc_add(const struct model *m, struct arena *a, struct doc *reply)
{
	struct doc *kvmesh = doc_set(a, reply, "kvmesh", model_mesh_doc(m, a));
	struct origins o = { .a = a, .map = doc_set(a, reply, "origins", doc_new_map(a)) };
	struct doc *resources = doc_set(a, reply, "resources", doc_new_list(a));

	walk(kvmesh, STR(""), a, add_origin, &o);
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, r)
			doc_add(a, resources, resource_doc(r, a));
}

struct printer {
	FILE *out;
	struct arena *a;
};

static void print_setting(void *arg, struct str path, const struct doc *value)
{
	const struct printer *p = arg;

	fprintf(p->out, "%.*s = %.*s  # ", STR_ARG(path), STR_ARG(doc_to_json(value, p->a, false)));
	if (value->at.file)
		fprintf(p->out, "%s:%u\n", value->at.file, (unsigned)value->at.line);
	else
		fputs("default\n", p->out);
}

void config_doc_print(FILE *out, const struct model *m)
{
	struct arena a;
	struct printer p = { .out = out, .a = &a };

	arena_init(&a, 0);
	walk(model_mesh_doc(m, &a), STR(""), &a, print_setting, &p);
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, r)
			fprintf(out, "%s %.*s/%.*s  # %s:%u\n", model_kind_name(r->kind),
				STR_ARG(r->ns), STR_ARG(r->name), r->at.file ? r->at.file : "?",
				(unsigned)r->at.line);
	arena_done(&a);
}
