/* SPDX-License-Identifier: Apache-2.0 */
/* canary: see canary.h. Layer daemons/ctl. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/vec.h"
#include "ctl/canary.h"
#include "ctl/findings.h"

/* ---- finding it ------------------------------------------------------------------------------ */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const struct doc *at(const struct doc *list, size_t i)
{
	return list && list->kind == DOC_LIST && i < list->n ? list->v[i] : NULL;
}

/* The destinations of one route, with the places of their weights. False: it splits nothing. */
static bool read_route(const struct model_virtual_service *vs, size_t i, struct canary *k)
{
	const struct model_http_route *h = &vs->http.v[i];
	const struct doc *route = doc_get(at(doc_get(vs->r.doc, STR("http")), i), STR("route"));

	if (h->route.n < 2 || h->route.n > CANARY_SUBSETS_MAX)
		return false;
	k->vs = vs;
	k->route = i;
	k->n = h->route.n;
	for (size_t d = 0; d < k->n; d++) {
		const struct model_http_route_destination *r = &h->route.v[d];

		k->v[d] = (struct canary_subset){ .name = r->destination->subset,
						  .weight = r->weight,
						  .at = doc_get(at(route, d), STR("weight")) };
		k->fqdn = r->destination->fqdn;
	}
	return true;
}

/* The last one: those before it have conditions, or it would never be reached. */
static bool read_service(const struct model *m, const struct model_virtual_service *vs,
			 struct canary *k)
{
	*k = (struct canary){ .m = m };
	for (size_t i = vs->http.n; i > 0; i--)
		if (read_route(vs, i - 1, k))
			return true;
	return false;
}

static bool is_named(const struct ctl *c, struct str fqdn, struct str service)
{
	if (str_eq(fqdn, service))
		return true;
	if (!str_has_prefix(fqdn, service) || fqdn.p[service.n] != '.')
		return false;
	struct str rest = str_skip(fqdn, service.n + 1);

	/* "my-app" alone is of the namespace that -n names, when it names one */
	return !c->ns || str_find(service, '.') >= 0 ||
	       (str_has_prefix(rest, str_c(c->ns)) && rest.p[strlen(c->ns)] == '.');
}

static bool is_for(const struct ctl *c, const struct canary *k, struct str service)
{
	if (is_named(c, k->fqdn, service))
		return true;
	for (size_t i = 0; i < k->vs->fqdns.n; i++)
		if (is_named(c, k->vs->fqdns.v[i], service))
			return true;
	return false;
}

size_t canary_all(struct ctl *c, const struct model *m, struct canary **ret)
{
	struct canary one, *v = NULL;
	size_t n = 0, cap = 0;

	model_for_each(m, MODEL_KIND_VIRTUAL_SERVICE, r)
		if (read_service(m, model_as_vs(r), &one))
			*vec_push_arena(&c->arena, v, n, cap) = one;
	*ret = v;
	return n;
}

int canary_find(struct ctl *c, const struct model *m, const char *service, struct canary *ret)
{
	struct canary *v;
	size_t n = canary_all(c, m, &v), found = 0;

	for (size_t i = 0; i < n; i++)
		if (is_for(c, &v[i], str_c(service)) && found++ == 0)
			*ret = v[i];
	if (found == 1)
		return 0;
	if (found > 1)
		return ctl_fail(CTL_EXIT_USAGE, "%s: %zu VirtualServices split it; name it whole "
						"(NAME.NAMESPACE)", service, found);
	return ctl_fail(CTL_EXIT_NOT_FOUND,
			"%s: no VirtualService has an HTTP route with two destinations for it",
			service);
}

/* ---- changing the text ----------------------------------------------------------------------- */

/* A place in a text; readers count columns from behind a byte order mark. */
static size_t offset_of(struct str text, const struct origin *o)
{
	size_t line = 1, i = str_has_prefix(text, STR("\xef\xbb\xbf")) ? 3 : 0;

	while (line < o->line && i < text.n)
		line += text.p[i++] == '\n';
	return i + (o->col > 0 ? o->col - 1 : 0);
}

/* What may stand behind a plain number: "0x5f", "95L" and "9e1" are none, and "95" of "955" is not. */
static bool is_end(struct str rest)
{
	return rest.n == 0 || str_find(STR(" \t\r\n,;}])#/"), rest.p[0]) >= 0;
}

/*
 * The number as plain digits at its place: their length, 0: something else stands there (another
 * form of number, or the file has changed meanwhile).
 */
static size_t digits_at(struct str text, size_t from, int64_t value)
{
	struct str rest = str_skip(text, from);
	size_t n = 0;
	uint64_t v;

	while (n < rest.n && is_digit(rest.p[n]))
		n++;
	return str_to_u64(str_take(rest, n), &v) && v == (uint64_t)value && is_end(str_skip(rest, n)) ?
		       n : 0;
}

struct edit {
	size_t from, to;
	int64_t value;
};

static int by_place(const void *x, const void *y)
{
	const struct edit *a = x, *b = y;

	return (a->from > b->from) - (a->from < b->from);
}

static struct str edited(struct ctl *c, struct str text, struct edit *v, size_t n)
{
	struct str out = STR("");
	size_t from = 0;

	qsort(v, n, sizeof(*v), by_place);
	for (size_t i = 0; i < n; i++) {
		out = arena_printf(&c->arena, "%.*s%.*s%lld", STR_ARG(out), (int)(v[i].from - from),
				   text.p + from, (long long)v[i].value);
		from = v[i].to;
	}
	return arena_printf(&c->arena, "%.*s%.*s", STR_ARG(out), STR_ARG(str_skip(text, from)));
}

/* The file of the numbers: the VirtualService's, or one that it includes. */
static const char *file_of(const struct canary *k, const int64_t *want)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].at && k->v[i].weight != want[i])
			return k->v[i].at->at.file;
	return k->vs->r.at.file;
}

static int not_plain(const struct canary *k, size_t i)
{
	const struct origin *o = k->v[i].at ? &k->v[i].at->at : &k->vs->http.v[k->route].at;

	return ctl_fail(CTL_EXIT_NO,
			"%s:%u: the weight of %.*s is not written there as plain digits; write it "
			"once by hand", o->file, o->line, STR_ARG(k->v[i].name));
}

static int find_edits(const struct canary *k, const int64_t *want, const char *path,
		      struct str text, struct edit *v, size_t *ret_n)
{
	*ret_n = 0;
	for (size_t i = 0; i < k->n; i++) {
		const struct doc *d = k->v[i].at;

		if (k->v[i].weight == want[i])
			continue;
		if (!d)
			return not_plain(k, i);
		if (strcmp(d->at.file, path) != 0)
			return ctl_fail(CTL_EXIT_NO, "the weights stand in several files, %s and %s; "
						     "change them by hand", path, d->at.file);
		size_t from = offset_of(text, &d->at), n = digits_at(text, from, k->v[i].weight);

		if (n == 0)
			return not_plain(k, i);
		v[(*ret_n)++] = (struct edit){ .from = from, .to = from + n, .value = want[i] };
	}
	return 0;
}

/* ---- putting it in force --------------------------------------------------------------------- */

static int reload(struct ctl *c, bool *ret_refused)
{
	struct doc *reply;
	struct err_list errs;
	struct err err;

	*ret_refused = false;
	if (ctl_reload(c, true, &reply, &err) < 0) {
		if (!ctl_is_unanswered(&err))
			return ctl_fail_err(&err);
		ctl_note(c, "the router does not run: it will read the file when it starts");
		return CTL_EXIT_OK;
	}
	if (doc_get_bool(reply, "ok", false))
		return CTL_EXIT_OK;
	*ret_refused = true;
	err_list_init(&errs);
	findings_from_doc(doc_get(reply, STR("findings")), &errs);
	findings_print(&errs, NULL, ERR_LEVEL_ERROR);
	err_list_done(&errs);
	return CTL_EXIT_CONFIG;
}

static int put(struct ctl *c, const char *path, struct str old, struct str new)
{
	struct err err;
	bool refused;

	if (fs_replace(path, new.p, new.n, &err) < 0)
		return ctl_fail_err(&err);
	int code = reload(c, &refused);

	if (!refused)
		return code;
	if (fs_replace(path, old.p, old.n, &err) < 0)
		return ctl_fail_err(&err);
	(void)reload(c, &refused);
	return ctl_fail(code, "refused; %s is as it was", path);
}

/* The changed lines, old and new. */
static void show(struct ctl *c, const char *path, struct str old, struct str new)
{
	struct str a, b;

	fprintf(c->out, "--- %s\n+++ %s\n", path, path);
	for (unsigned line = 1; str_split(&old, '\n', &a) && str_split(&new, '\n', &b); line++)
		if (!str_eq(a, b))
			fprintf(c->out, "@@ -%u +%u @@\n-%.*s\n+%.*s\n", line, line, STR_ARG(a),
				STR_ARG(b));
}

int canary_write(struct ctl *c, const struct canary *k, const int64_t *want)
{
	const char *path = file_of(k, want);
	struct edit v[CANARY_SUBSETS_MAX];
	struct err err;
	size_t len, n;
	char *text;

	if (fs_read(path, DOC_FILE_MAX, &text, &len, &err) < 0)
		return ctl_fail_err(&err);
	struct str old = arena_str(&c->arena, str_from(text, len));

	free(text);
	int code = find_edits(k, want, path, old, v, &n);

	if (code != 0)
		return code;
	struct str new = edited(c, old, v, n);

	show(c, path, old, new);
	if (n == 0 || ctl_has(c, "dry-run"))
		return CTL_EXIT_OK;
	return put(c, path, old, new);
}
