/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: numbered rules over a model: inside a resource (Istio rule 2.18) and across resources.
 * Layer config. Every finding names its rule; rules are listed in check_rules[] and in
 * docs/analysis.md. A model whose check adds no error can be compiled.
 */
#pragma once

#include "config/model.h"

struct check_rule {
	const char *code;               /* "KVM0101" */
	enum err_level level;
	const char *title;              /* "ReferencedResourceNotFound" or a like name */
	const char *istio;              /* "IST0101", "" ours */
	const char *help;               /* what triggers it and what to do */
};
extern const struct check_rule check_rules[];   /* ended by code == NULL, ascending */
const struct check_rule *check_rule_find(struct str code);

/*
 * Run every rule. Findings are appended in order of file and line. Annotation
 * "galley.istio.io/analyze-suppress" (or "kvmesh.io/analyze-suppress") of a resource silences the
 * warnings and infos it names, never errors. Returns 0 or KV_ERR_CHECK when an error was found.
 */
int model_check(const struct model *m, struct err_list *errs);

