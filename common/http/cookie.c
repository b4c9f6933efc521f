/* SPDX-License-Identifier: Apache-2.0 */
/* cookie: see cookie.h. Layer http. */
#include "http/cookie.h"

static bool find(struct str field, struct str name, struct str *ret)
{
	struct str piece;

	while (str_split(&field, ';', &piece)) {
		ptrdiff_t eq = str_find(piece, '=');

		if (eq < 0 || !str_eq(str_trim(str_take(piece, (size_t)eq)), name))
			continue;
		*ret = str_trim(str_skip(piece, (size_t)eq + 1));
		return true;
	}
	return false;
}

bool cookie_get(const struct head *h, struct str name, struct str *ret_value)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->fields[i].id == HEAD_ID_COOKIE && find(h->fields[i].value, name, ret_value))
			return true;
	return false;
}
