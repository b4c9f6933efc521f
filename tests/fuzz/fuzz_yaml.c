/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_yaml: any bytes as YAML; each document written as YAML and JSON must read back the same. */
#include "fuzz_doc.h"

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
		fuzz_assert(doc_eq(d, back.file.docs[0]));
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
