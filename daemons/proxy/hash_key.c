/* SPDX-License-Identifier: Apache-2.0 */
/* hash_key: see hash_key.h. Layer proxy. */
#include "config.h"

#include "base/hash.h"
#include "core/hash_key.h"
#include "proxy/hash_key.h"
#include "proxy/stream.h"

static bool of_address(const struct stream *s, uint64_t *ret)
{
	uint8_t ip[16];

	if (!entry_addr_bytes(&s->rec.down_remote, ip))
		return false;
	*ret = hash_bytes(ip, sizeof(ip), 0);
	return true;
}

/* One value a connection, so that requests under way together agree. */
static struct str new_value(struct stream *s)
{
	uint64_t h = hash_bytes(&s->rec.down_remote, sizeof(s->rec.down_remote), 0);

	h = hash_bytes(&s->rec.down_local, sizeof(s->rec.down_local), h);
	return arena_printf(&s->arena, "%016llx", (unsigned long long)h);
}

static struct str set_cookie(struct stream *s, const struct snap_hash *h, struct str value)
{
	struct str path = h->cookie_path.n > 0 ?
				  arena_printf(&s->arena, "; Path=%.*s", STR_ARG(h->cookie_path)) :
				  STR("");
	struct str age = h->cookie_ttl_us > 0 ?
				 arena_printf(&s->arena, "; Max-Age=%lld",
					      (long long)(h->cookie_ttl_us / 1000000)) :
				 STR("");

	struct str cookie = arena_printf(&s->arena, "%.*s=%.*s%.*s%.*s; HttpOnly", STR_ARG(h->name),
					 STR_ARG(value), STR_ARG(age), STR_ARG(path));

	for (size_t i = 0; i < h->attributes.n; i++) {
		const struct snap_pair *a = &h->attributes.v[i];

		cookie = arena_printf(&s->arena, "%.*s; %.*s%s%.*s", STR_ARG(cookie), STR_ARG(a->name),
				      a->value.n > 0 ? "=" : "", STR_ARG(a->value));
	}
	return cookie;
}

bool hash_key(struct stream *s, uint64_t *ret)
{
	const struct snap_hash *h = s->cluster->hash;
	struct str v;

	if (!h)
		return false;
	if (h->source == SNAP_HASH_SOURCE_IP)
		return of_address(s, ret);
	if (!s->http)
		return false;
	if (!hash_key_text(h, &s->req, &v)) {
		if (h->source != SNAP_HASH_COOKIE || h->cookie_ttl_us < 0)
			return false;
		v = new_value(s);
		s->hash_cookie = set_cookie(s, h, v);
	}
	*ret = hash_str(v);
	return v.n > 0;
}
