/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_fields: one walk over a resource's document for what a field's type or name tells by
 * itself: durations, percentages, expressions, labels, old forms, and fields that have no effect.
 * Layer config.
 */
#include "config/check_parts.h"
#include "snap/re2.h"

struct walk {
	struct check *c;
	bool uses;                      /* report fields that are not enforced */
	const char *covered; /* path of the last such field: what is below is told with it */
};

static bool ends_with(const char *path, const char *const *suffixes)
{
	for (size_t i = 0; suffixes[i] != NULL; i++)
		if (str_has_suffix(str_c(path), str_c(suffixes[i])))
			return true;
	return false;
}

static void walk_duration(struct check *c, const char *path, const struct doc *d)
{
	static const char *const positive[] = {
		".perTryTimeout",   ".fixedDelay",        ".connectTimeout",
		".backoff",         ".interval",          ".baseEjectionTime",
		".warmup.duration", ".reportingInterval", NULL
	};
	int64_t us;

	if (d->kind != DOC_STR || !str_to_duration_us(d->s, &us))
		return;
	if (us % 1000 != 0)
		check_add(c, "KVM0305", d->at, "%s must be whole milliseconds, is %.*s", path,
			  STR_ARG(d->s));
	else if (us == 0 && ends_with(path, positive))
		check_add(c, "KVM0305", d->at, "%s must be at least 1ms", path);
}

static void walk_real(struct check *c, const char *path, const struct field *f, const struct doc *d)
{
	double v = d->kind == DOC_REAL ? d->r : d->kind == DOC_INT ? (double)d->i : 0;

	if (f->max == 100 && v > 0 && v < 0.0001)
		check_add(c, "KVM0306", d->at, "%s must be 0 or between 0.0001 and 100", path);
}

/* In a map of headers or parameters "*" asks for presence. */
static bool is_presence(const char *path, struct str value)
{
	return str_eq(value, STR("*")) &&
	       (strstr(path, "eaders") != NULL || strstr(path, "queryParams") != NULL);
}

static void walk_string(struct check *c, const char *path, const struct field *f,
			const struct doc *d)
{
	struct err e = { 0 };

	if (d->kind != DOC_STR || d->s.n == 0 || is_presence(path, d->s))
		return;
	if (strcmp(f->name, "regex") != 0 &&
	    !str_has_suffix(str_c(path), STR("uriRegexRewrite.match")))
		return;
	if (re2_check(d->s, &e) < 0)
		check_add(c, "KVM0308", d->at, "%s: %s", path, e.text);
}

static void walk_labels(struct check *c, const char *path, const struct field *f,
			const struct doc *d)
{
	static const char *const names[] = { "labels", "matchLabels", "sourceLabels", "selector" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(f->name, names[i]) != 0 || d->kind != DOC_MAP)
			continue;
		for (size_t k = 0; k < d->n; k++) {
			struct label l = { d->v[k]->key,
					   d->v[k]->kind == DOC_STR ? d->v[k]->s : STR("") };

			check_labels(c, d->v[k]->at, path, &(struct labels){ &l, 1 });
		}
	}
}

static void walk_old(struct check *c, const char *path, const struct field *f, const struct doc *d)
{
	static const char *const old[] = { ".delay.percent",
					   ".mirrorPercent",
					   ".corsPolicy.allowOrigin",
					   ".consecutiveErrors",
					   ".warmupDurationSecs",
					   ".consistentHash.minimumRingSize",
					   ".egressProxy",
					   NULL };

	if (ends_with(path, old))
		check_add(c, "KVM0150", d->at, "%s is deprecated. %s", path, f->help);
	if (strcmp(f->name, "simple") == 0 && d->kind == DOC_STR && str_eq(d->s, STR("LEAST_CONN")))
		check_add(c, "KVM0150", d->at,
			  "%s: LEAST_CONN is deprecated. Old name of LEAST_REQUEST", path);
}

/* Written, but with the value that means "nothing": not worth a word. */
static bool is_idle(const struct field *f, const struct doc *d)
{
	switch (d->kind) {
	case DOC_NULL:
		return true;
	case DOC_BOOL:
		return !d->b;
	case DOC_INT:
		return d->i == 0;
	case DOC_REAL:
		return false;
	case DOC_STR:
		return d->s.n == 0 || (f->type == FIELD_ENUM && str_eq(d->s, str_c(f->names[0])));
	case DOC_LIST:
	case DOC_MAP:
		return d->kind == DOC_LIST && d->n == 0;
	}
	return false;
}

/* Values of fields that work for other values; each word occurs in one field only. */
static const char *value_not_yet(const struct field *f, const struct doc *d)
{
	static const struct {
		const char *field, *value, *note;
	} values[] = {
		{ "mode", "TPROXY", "it works as REDIRECT: the application sees the proxy's address" },
		{ "interceptionMode", "TPROXY", "it works as REDIRECT: the application sees the proxy's address" },
		{ "mode", "ALLOW_ANY_DYNAMIC_DNS", "it works as ALLOW_ANY" },
		{ "minProtocolVersion", "TLSV1_0", "TLS 1.2 is the lowest" },
		{ "minProtocolVersion", "TLSV1_1", "TLS 1.2 is the lowest" },
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (d->kind == DOC_STR && str_eq(d->s, str_c(values[i].value)) &&
		    strcmp(f->name, values[i].field) == 0)
			return values[i].note;
	return NULL;
}

static bool is_below(const char *path, const char *above)
{
	size_t n = above != NULL ? strlen(above) : 0;

	return n > 0 && strncmp(path, above, n) == 0 && (path[n] == '.' || path[n] == '[');
}

static void walk_use(struct walk *w, const char *path, const struct field *f, const struct doc *d)
{
	const char *note = value_not_yet(f, d);

	if (!w->uses || is_below(path, w->covered))
		return;
	if (note != NULL)
		check_add(w->c, "KVM0900", d->at, "%s '%.*s' is not enforced yet: %s", path,
			  STR_ARG(d->s), note);
	if (f->status == FIELD_WORKS || f->status == FIELD_REFUSED || is_idle(f, d))
		return;
	w->covered = arena_strdup(&w->c->arena, path);
	if (f->status == FIELD_NOT_YET)
		check_add(w->c, "KVM0900", d->at, "%s is not enforced yet: %s", path, f->note);
	else
		check_add(w->c, "KVM0901", d->at, "%s has no meaning here: %s", path, f->note);
}

static void visit(void *arg, const char *path, const struct field *f, const struct doc *d)
{
	struct walk *w = arg;

	walk_use(w, path, f, d);
	walk_old(w->c, path, f, d);
	if (f->type == FIELD_DURATION)
		walk_duration(w->c, path, d);
	else if (f->type == FIELD_REAL)
		walk_real(w->c, path, f, d);
	else if (f->type == FIELD_STR)
		walk_string(w->c, path, f, d);
	else if (f->type == FIELD_LABELS)
		walk_labels(w->c, path, f, d);
}

void check_fields(struct check *c)
{
	const struct model_kind_info *k = c->r != NULL ? model_kind_info(c->r->kind) : NULL;
	struct walk w = { .c = c, .uses = k == NULL || k->status == FIELD_WORKS };

	if (k == NULL) {
		bind_visit(&model_mesh_table, c->m->mesh.doc, "", visit, &w);
		return;
	}
	if (k->status == FIELD_NOT_YET)
		check_add(c, "KVM0900", c->r->at, "%s is not enforced yet: %s", k->name, k->note);
	check_labels(c, c->r->at, "metadata.labels", &c->r->labels);
	bind_visit(k->table, c->r->doc, "", visit, &w);
}
