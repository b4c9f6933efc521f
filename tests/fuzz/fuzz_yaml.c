/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_yaml: any bytes as YAML; each document written as YAML and JSON must read back the same. */
#include "doc/doc_plain.h"

#include "fuzz_doc.h"

/* y says what x says; a value that a tag gave a type comes back plain. */
static bool is_same(const struct doc *x, const struct doc *y, struct arena *a)
{
	if (x->kind != y->kind)
		return y->plain && doc_eq(x, doc_plain_guess(a, y));
	if (x->kind != DOC_MAP && x->kind != DOC_LIST)
		return doc_eq(x, y);
	bool same = x->n == y->n;
	for (size_t i = 0; same && i < x->n; i++)
		same = str_eq(x->v[i]->key, y->v[i]->key) && is_same(x->v[i], y->v[i], a);
	return same;
}

static void round_trip(const struct doc *d)
{
	struct fuzz_doc back;
	struct arena a;
	struct doc *json;
	struct err err;

	arena_init(&a, 0);
	struct str yaml = doc_to_yaml(d, &a);
	fuzz_doc_parse(&back, yaml, DOC_SYNTAX_YAML);
	if (!fuzz_doc_is_capped(&back)) {
		fuzz_assert(back.file.n == 1);
		fuzz_assert(is_same(d, back.file.docs[0], &a));
		/* Also what doc_eq does not see: which scalars are plain. */
		fuzz_assert(str_eq(yaml, doc_to_yaml(back.file.docs[0], &a)));
	}
	fuzz_doc_done(&back);
	fuzz_assert(doc_read_json(doc_to_json(d, &a, false), &a, &json, &err) == 0);
	fuzz_assert(doc_eq(d, json));
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_doc f;

	fuzz_doc_parse(&f, str_from((const char *)data, size), DOC_SYNTAX_YAML);
	for (size_t i = 0; i < f.file.n; i++)
		round_trip(f.file.docs[i]);
	fuzz_doc_done(&f);
	return 0;
}
