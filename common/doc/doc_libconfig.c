/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_libconfig: native text → doc; the only file that knows libconfig. Layer doc.
 * The pre-scan has found the text well-formed and kept a mark for each value in libconfig's own
 * order, so walking libconfig's tree and the marks side by side gives every value and name its
 * place (libconfig's own line numbers have 16 bits, know no columns and no included file within a
 * group).
 */
#include <libconfig.h>
#include <stdlib.h>

#include "doc/doc_build.h"
#include "doc/doc_file.h"
#include "doc/doc_libconfig_scan.h"

struct walker {
	struct doc_builder b;
	const struct native_source *src;
	size_t next; /* mark of the next value */
};

static enum doc_kind kind_of(const config_setting_t *s)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_GROUP:
		return DOC_MAP;
	case CONFIG_TYPE_LIST:
	case CONFIG_TYPE_ARRAY:
		return DOC_LIST;
	case CONFIG_TYPE_STRING:
		return DOC_STR;
	case CONFIG_TYPE_BOOL:
		return DOC_BOOL;
	case CONFIG_TYPE_FLOAT:
		return DOC_REAL;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return DOC_INT;
	default:
		return DOC_NULL;
	}
}

/* \xHH can make text that is none; nothing above this layer must meet it. */
static void check_text(struct walker *w, struct doc *d)
{
	struct str rest = d->s;
	uint32_t code;

	while (rest.n > 0) {
		size_t n = str_utf8(rest, &code);
		if (n == 0) {
			doc_syntax_err(w->b.errs, d->at,
				       "with its \\x escapes this text is not UTF-8");
			d->s = STR("\xef\xbf\xbd");
			return;
		}
		rest = str_skip(rest, n);
	}
}

static int put_scalar(struct walker *w, const config_setting_t *s, enum doc_kind kind,
		      struct origin at)
{
	struct doc *d = doc_builder_node(&w->b, kind, at);

	if (!d)
		return KV_ERR_LIMIT;
	if (kind == DOC_STR) {
		d->s = arena_str(w->b.a, str_c(config_setting_get_string(s)));
		check_text(w, d);
	} else if (kind == DOC_BOOL) {
		d->b = config_setting_get_bool(s) != 0;
	} else if (kind == DOC_REAL) {
		d->r = config_setting_get_float(s);
	} else {
		d->i = config_setting_get_int64(s);
	}
	doc_builder_put(&w->b, d);
	return 0;
}

static int walk(struct walker *w, config_setting_t *s);

static int walk_members(struct walker *w, config_setting_t *s)
{
	int rc = 0;

	for (int i = 0; i < config_setting_length(s) && rc == 0; i++)
		rc = walk(w, config_setting_get_elem(s, (unsigned)i));
	return rc;
}

static int walk(struct walker *w, config_setting_t *s)
{
	enum doc_kind kind = kind_of(s);
	struct origin none = { 0 };

	if (w->next == w->src->n_marks || w->src->marks[w->next].kind != kind)
		return doc_syntax_err(w->b.errs, w->next > 0 ? w->src->marks[w->next - 1].at : none,
				      "libconfig reads what follows in another way than it looks");
	const struct native_mark *m = &w->src->marks[w->next++];
	if (doc_builder_wants_key(&w->b))
		doc_builder_key(&w->b, arena_str(w->b.a, str_c(config_setting_name(s))), m->key_at);
	if (kind != DOC_MAP && kind != DOC_LIST)
		return put_scalar(w, s, kind, m->at);
	int rc = doc_builder_open(&w->b, kind, m->at);
	if (rc == 0)
		rc = walk_members(w, s);
	if (rc == 0)
		doc_builder_close(&w->b);
	return rc;
}

static struct doc *walk_root(struct walker *w, config_setting_t *root, const char *file)
{
	struct origin at = { .file = file, .line = 1, .col = 1 };

	if (doc_builder_open(&w->b, DOC_MAP, at) < 0 || walk_members(w, root) < 0)
		return NULL;
	kv_assert(w->next == w->src->n_marks);
	return w->b.root;
}

static void read_source(struct doc_file *ret, const struct native_source *src, struct arena *a,
			struct err_list *errs)
{
	struct walker w = { .src = src };
	struct doc *root = NULL;
	config_t cfg;

	config_init(&cfg);
	doc_builder_init(&w.b, a, errs, DOC_NODES_MAX_FILE);
	if (config_read_string(&cfg, src->text) == CONFIG_TRUE) {
		root = walk_root(&w, config_root_setting(&cfg), ret->path);
	} else {
		struct origin at = { .file = ret->path, .line = (uint32_t)config_error_line(&cfg) };
		doc_syntax_err(errs, at, "libconfig cannot read this: %s", config_error_text(&cfg));
	}
	doc_builder_done(&w.b);
	config_destroy(&cfg);
	if (!root)
		return;
	ret->docs = arena_new(a, struct doc *);
	ret->docs[0] = root;
	ret->n = 1;
}

void doc_parse_native(struct doc_file *ret, const struct doc_include *inc, struct arena *a,
		      struct err_list *errs)
{
	struct native_source src;

	if (native_scan(&src, ret->path, ret->text, inc, a, errs))
		read_source(ret, &src, a, errs);
	free(src.text);
	free(src.marks);
}
