/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_doc: one parse for the targets of layer doc, and what must hold for its findings. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "doc/doc.h"

#include "fuzz.h"

struct fuzz_doc {
	struct arena a;
	struct err_list errs;
	struct doc_file file;
	int rc;
};

/* Every finding has a code and a sentence, and can be shown. */
static inline void fuzz_doc_check(struct fuzz_doc *f)
{
	FILE *sink = fopen("/dev/null", "w");

	fuzz_assert((f->rc < 0) == (f->errs.n_errors > 0));
	err_list_sort(&f->errs);
	for (size_t i = 0; i < f->errs.n; i++) {
		fuzz_assert(f->errs.v[i].code < 0 && f->errs.v[i].text[0] != '\0');
		if (sink)
			err_print(sink, &f->errs.v[i], f->file.text);
	}
	if (sink)
		fclose(sink);
}

static inline void fuzz_doc_parse(struct fuzz_doc *f, struct str text, enum doc_syntax syntax)
{
	arena_init(&f->a, 0);
	err_list_init(&f->errs);
	f->rc = doc_read_text(text, "input", syntax, &f->a, &f->file, &f->errs);
	fuzz_doc_check(f);
}

static inline void fuzz_doc_done(struct fuzz_doc *f)
{
	err_list_done(&f->errs);
	arena_done(&f->a);
}

/* Only caps may stop a text that our own writer made. */
static inline bool fuzz_doc_is_capped(const struct fuzz_doc *f)
{
	for (size_t i = 0; i < f->errs.n; i++)
		fuzz_assert(f->errs.v[i].code == KV_ERR_LIMIT);
	return f->rc < 0;
}
