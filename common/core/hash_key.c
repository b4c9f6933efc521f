/* SPDX-License-Identifier: Apache-2.0 */
/* hash_key: see hash_key.h. Layer core. */
#include "core/hash_key.h"

#include "http/cookie.h"
#include "http/url.h"

bool hash_key_text(const struct snap_hash *h, const struct head *req, struct str *ret)
{
	struct str path, query;

	switch ((enum snap_hash_source)h->source) {
	case SNAP_HASH_HEADER:
		*ret = head_joined(req, h->name);
		return ret->n > 0;
	case SNAP_HASH_COOKIE:
		return cookie_get(req, h->name, ret);
	case SNAP_HASH_QUERY:
		url_split_query(req->path, &path, &query);
		return url_query_get(query, h->name, ret);
	case SNAP_HASH_SOURCE_IP:
	case SNAP_HASH__N:
		break;
	}
	return false;
}
