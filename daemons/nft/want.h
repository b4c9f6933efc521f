/* SPDX-License-Identifier: Apache-2.0 */
/*
 * want: the rules that the configuration asks for now. Layer daemons/nft. It reads /etc itself, so that rules stand
 * before any other daemon runs.
 */
#pragma once

#include "base/err.h"
#include "config/model.h"
#include "nft/rules.h"

struct want {
	struct arena arena;
	struct model *model;
	struct snap *node;
	struct capture_plan plan;
	struct rules_match *matches;    /* parallel to the plan's workloads */
	struct str rules;
	bool kept;                      /* the files are unusable: this is the plan that was loaded last */
};

struct want_options {
	const char *etc_dir, *run_dir, *state_dir;
	const char *proxy_user;         /* one more that the proxy runs as; NULL none */
};

/*
 * 0, or the code of the first error: all of them and every warning are in errs, which may hold errors with 0 when what
 * was kept is taken instead. want_done either way; errs may point
 * into it until then.
 */
int want_make(const struct want_options *o, struct want *ret, struct err_list *errs);
void want_done(struct want *w);
/* What was loaded, for when the files are unusable. */
int want_keep(const struct want_options *o, const struct want *w, struct err *err);
