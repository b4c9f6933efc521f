/* SPDX-License-Identifier: Apache-2.0 */
/* label: sets of key=value pairs. Layer base. Sets are small, so a scan beats any index. */
#include "base/label.h"

#include <stdlib.h>

struct str labels_get(const struct labels *l, struct str key)
{
	for (size_t i = 0; i < l->n; i++) {
		if (str_eq(l->v[i].key, key))
			return l->v[i].val;
	}
	return STR_NULL;
}

static bool has_pair(const struct labels *l, const struct label *want)
{
	for (size_t i = 0; i < l->n; i++) {
		if (str_eq(l->v[i].key, want->key))
			return str_eq(l->v[i].val, want->val);
	}
	return false;
}

bool labels_is_subset(const struct labels *want, const struct labels *have)
{
	for (size_t i = 0; i < want->n; i++) {
		if (!has_pair(have, &want->v[i]))
			return false;
	}
	return true;
}

bool labels_eq(const struct labels *a, const struct labels *b)
{
	return a->n == b->n && labels_is_subset(a, b);
}

static int by_key(const void *x, const void *y)
{
	const struct label *a = x, *b = y;

	return str_cmp(a->key, b->key);
}

void labels_sort(struct labels *l)
{
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), by_key);
}
