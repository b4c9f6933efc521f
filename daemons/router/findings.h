/* SPDX-License-Identifier: Apache-2.0 */
/*
 * findings: what is wrong with a configuration, as text for people and as a message. Layer
 * daemons/router.
 */
#pragma once

#include <stdio.h>

#include "base/err.h"
#include "config/model.h"
#include "doc/doc.h"

/* [{level, code, rule, file, line, col, text}] of docs/IPC.md; at most FINDINGS_TOLD of them. */
#define FINDINGS_TOLD 200
struct doc *findings_doc(const struct err_list *errs, struct arena *a);
/* Compilers' form, each with its line of source while m has it (m may be NULL). */
void findings_print(FILE *out, const struct err_list *errs, const struct model *m);
/* The first error in one line: "FILE:LINE: TEXT". "" when there is none. */
struct str findings_first(const struct err_list *errs, struct arena *a);
