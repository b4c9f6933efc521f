/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compiled: what a model means for each proxy instance of this node, and which identities they
 * serve. Layer daemons/router. Owns the snapshots until they are turned into text.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "config/compile.h"
#include "config/model.h"
#include "snap/snap.h"

struct compiled_proxy {
	struct str name;
	struct snap *snap;
	uint64_t hash;                  /* of its content, version left out */
};
struct compiled {
	struct compiled_proxy *v;       /* node first */
	size_t n;
	struct arena arena;
};
/*
 * m passed its check; what the compiler finds all the same goes to errs. Nothing to be done then.
 */
int compiled_make(const struct model *m, const struct compile_env *env, struct compiled *ret,
		  struct err_list *errs);
void compiled_done(struct compiled *c);
/* Reply to Identities without its generation; the same bytes for the same content. */
struct doc *compiled_identities(const struct compiled *c, const struct model *m, struct arena *a);
/* Hex digest of everything that a reload could change. */
#define COMPILED_DIGEST_BYTES 17
void compiled_digest(const struct compiled *c, const struct model *m, const struct doc *identities,
		     char ret[static COMPILED_DIGEST_BYTES]);
