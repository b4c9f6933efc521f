/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_plain: what a YAML scalar without quotes may mean, once the field it belongs to asks. Layer
 * doc. The forms are YAML 1.2's core schema less the ones that YAML 1.1 reads otherwise ("010",
 * "1_000").
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "doc/doc.h"

bool doc_plain_is_null(struct str s);              /* "", "~", "null" */
bool doc_plain_to_bool(struct str s, bool *ret);   /* true True TRUE false False FALSE */
bool doc_plain_to_int(struct str s, int64_t *ret); /* decimal without leading zeros */
bool doc_plain_to_real(struct str s, double *ret); /* also the integers */
/* Some YAML reader (1.1 or 1.2) takes the bare text for something else than a string. */
bool doc_plain_looks_typed(struct str s);
/* The typed scalar that a plain one reads as when no field says more (FIELD_ANY). */
struct doc *doc_plain_guess(struct arena *a, const struct doc *d);
