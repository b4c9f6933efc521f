/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_libconfig: any bytes as native syntax; what is read must survive being written natively. */
#include "fuzz_doc.h"

static void round_trip(const struct doc *d)
{
	struct fuzz_doc back;
	struct arena a;

	arena_init(&a, 0);
	fuzz_doc_parse(&back, doc_to_native(d, &a, true), DOC_SYNTAX_NATIVE);
	if (!fuzz_doc_is_capped(&back))
		fuzz_assert(back.file.n == 1 && doc_eq(d, back.file.docs[0]));
	fuzz_doc_done(&back);
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_doc f;

	fuzz_doc_parse(&f, str_from((const char *)data, size), DOC_SYNTAX_NATIVE);
	for (size_t i = 0; i < f.file.n; i++)
		round_trip(f.file.docs[i]);
	/* What the pre-scan lets pass, libconfig must be able to read. */
	for (size_t i = 0; i < f.errs.n; i++)
		fuzz_assert(!str_has_prefix(str_c(f.errs.v[i].text), STR("libconfig")));
	fuzz_doc_done(&f);
	return 0;
}
