/* SPDX-License-Identifier: Apache-2.0 */
/* websocket: see websocket.h. Layer proxy. */
#include "config.h"

#include "io/tls_websocket.h"
#include "proxy/conn.h"
#include "proxy/websocket.h"

#define KEY STR("sec-websocket-key")
#define ACCEPT STR("sec-websocket-accept")

static struct str value_of(const struct head *h, struct str name)
{
	const struct head_field *f = head_find_name(h, name);

	return f ? f->value : STR_NULL;
}

static bool is_h1(const struct leg *l)
{
	return l->conn && l->conn->ops == &codec_h1;
}

void websocket_ask(struct stream *s)
{
	uint64_t nonce[2] = { rng_next(&s->w->rng), rng_next(&s->w->rng) };
	char key[TLS_WEBSOCKET_KEY_MAX];

	if (!is_h1(&s->up) || is_h1(&s->down) || value_of(&s->req, KEY).n > 0)
		return;
	tls_websocket_key((const uint8_t *)nonce, key);
	head_add(&s->req, KEY, arena_str(&s->arena, str_from(key, sizeof(key))));
	s->own_key = true;
}

/* A client of HTTP/1.1 checks for itself; what HTTP/2 leaves out is made for it. */
bool websocket_answer(struct stream *s)
{
	struct str key = value_of(&s->req, KEY), got = value_of(&s->res, ACCEPT);
	char accept[TLS_WEBSOCKET_ACCEPT_MAX];

	if (key.n == 0)
		return true;
	tls_websocket_accept(key, accept);
	if (s->own_key) {
		head_remove(&s->res, ACCEPT);
		return str_eq(got, str_from(accept, sizeof(accept)));
	}
	if (got.n == 0 && !is_h1(&s->up))
		head_add(&s->res, ACCEPT, arena_str(&s->arena, str_from(accept, sizeof(accept))));
	return true;
}
