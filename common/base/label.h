/* SPDX-License-Identifier: Apache-2.0 */
/*
 * label: sets of key=value pairs and the test whether one is part of another. Layer base.
 * Used by the model, by snapshots and by records, so that "selector" means one thing everywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct label {
	struct str key, val;
};

struct labels {
	struct label *v;
	size_t n;
};

/* Value of key, or STR_NULL. */
struct str labels_get(const struct labels *l, struct str key);
/* Every pair of want is in have (the empty want is part of everything). Istio rule 2.7.4. */
bool labels_is_subset(const struct labels *want, const struct labels *have);
bool labels_eq(const struct labels *a, const struct labels *b);
void labels_sort(struct labels *l); /* by key */
