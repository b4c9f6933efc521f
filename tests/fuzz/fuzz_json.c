/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_json: any bytes as JSON; what is read must survive being written as JSON, and the YAML and
 * native texts made of it must be readable: this drives all three writers with every shape.
 */
#include "fuzz_doc.h"

static void through_json(const struct doc *d, bool pretty, struct arena *a)
{
	struct doc *back;
	struct err err;

	fuzz_assert(doc_read_json(doc_to_json(d, a, pretty), a, &back, &err) == 0);
	fuzz_assert(doc_eq(d, back));
}

static void through_yaml(const struct doc *d, struct arena *a)
{
	struct fuzz_doc back;
	struct str yaml = doc_to_yaml(d, a);

	fuzz_doc_parse(&back, yaml, DOC_SYNTAX_YAML);
	/* A document that is null is none. */
	if (!fuzz_doc_is_capped(&back) && d->kind != DOC_NULL) {
		fuzz_assert(back.file.n == 1);
		fuzz_assert(str_eq(yaml, doc_to_yaml(back.file.docs[0], a)));
	}
	fuzz_doc_done(&back);
}

static void through_native(const struct doc *d, struct arena *a)
{
	struct doc *root = doc_new_map(a);
	struct fuzz_doc back;

	doc_set(a, root, "root", doc_copy(a, d));
	fuzz_doc_parse(&back, doc_to_native(root, a, false), DOC_SYNTAX_NATIVE);
	if (!fuzz_doc_is_capped(&back))
		fuzz_assert(back.file.n == 1);
	fuzz_doc_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_doc f;

	fuzz_doc_parse(&f, str_from((const char *)data, size), DOC_SYNTAX_JSON);
	for (size_t i = 0; i < f.file.n; i++) {
		through_json(f.file.docs[i], false, &f.a);
		through_json(f.file.docs[i], true, &f.a);
		through_yaml(f.file.docs[i], &f.a);
		through_native(f.file.docs[i], &f.a);
	}
	fuzz_doc_done(&f);
	return 0;
}
