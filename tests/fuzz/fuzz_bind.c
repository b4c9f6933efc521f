/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_bind: any bytes as YAML or native syntax (the first byte decides), bound to a table that
 * holds every type and itself. What binds must write and bind again to the same; the canonical form
 * must be its own canonical form and bind as the original does.
 */
#include "doc/bind.h"

#include "fuzz_doc.h"

/* F_OPT overrides the has_offset that the other macros set: meant. */
#pragma GCC diagnostic ignored "-Woverride-init"

struct node {
	struct str key;
	bool b, has_b;
	int64_t i, d;
	double r;
	struct str s, t;
	int e;
	struct str_list sl;
	struct int_list il;
	struct labels l;
	struct node *p;
	struct {
		struct node *v;
		size_t n;
	} list, map;
	const struct doc *any;
};
#define T struct node
static const char *const words[] = { "NONE", "ONE", "TWO", NULL };
extern const struct bind_table node_table;
static const struct field node_fields[] = { { F_BOOL(T, b), F_OPT(T, has_b) },
					    { F_INT(T, i, 0, 1000) },
					    { F_DURATION(T, d) },
					    { F_REAL(T, r, -10, 10) },
					    { F_STR(T, s), .flags = FIELD_NONEMPTY, .oneof = 1 },
					    { F_STR(T, t), .flags = FIELD_SECRET, .oneof = 1 },
					    { F_ENUM(T, e, words) },
					    { F_STR_LIST(T, sl) },
					    { F_INT_LIST(T, il, -5, 5) },
					    { F_LABELS(T, l) },
					    { F_PTR(T, p, node_table) },
					    { F_LIST(T, list, node_table) },
					    { F_MAP(T, map, node_table), .key_name = "port" },
					    { F_ANY(T, any) },
					    F_END };
const struct bind_table node_table = { "Node", sizeof(struct node), -1, node_fields };

static void count(void *arg, const char *path, const struct field *f, const struct doc *d)
{
	size_t *n = arg;

	fuzz_assert(path[0] != '\0' && f->name && d->kind != DOC_NULL);
	++*n;
}

/* *ret_out: what d bound to, written again. False when it has findings. */
static bool bind_and_write(const struct doc *d, struct arena *a, struct doc **ret_out)
{
	struct node n = { 0 };
	struct err_list errs;

	err_list_init(&errs);
	int rc = bind_read(&node_table, d, "", a, &n, &errs);
	fuzz_assert((rc < 0) == (errs.n_errors > 0));
	err_list_done(&errs);
	*ret_out = bind_write(&node_table, &n, a);
	return rc == 0;
}

static void check(const struct doc *d, struct arena *a)
{
	struct doc *canon = bind_canon(&node_table, d, a), *x, *y;
	size_t n = 0;

	fuzz_assert(doc_eq(canon, bind_canon(&node_table, canon, a)));
	bind_visit(&node_table, d, "", count, &n);
	bool ok = bind_and_write(d, a, &x);
	/* FIELD_ANY hands on plain scalars as they are, and the canonical form types them. */
	if (ok && bind_and_write(canon, a, &y))
		fuzz_assert(doc_eq(bind_canon(&node_table, x, a), y));
	if (ok && bind_and_write(x, a, &y))
		fuzz_assert(doc_eq(x, y));
	fuzz_assert(!ok || bind_and_write(canon, a, &y));
	bind_redact(&node_table, d, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_doc f;

	if (size == 0)
		return 0;
	enum doc_syntax syntax = data[0] == 'y' ? DOC_SYNTAX_YAML : DOC_SYNTAX_NATIVE;
	fuzz_doc_parse(&f, str_from((const char *)data + 1, size - 1), syntax);
	for (size_t i = 0; i < f.file.n; i++)
		check(f.file.docs[i], &f.a);
	fuzz_doc_done(&f);
	return 0;
}
