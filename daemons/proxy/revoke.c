/* SPDX-License-Identifier: Apache-2.0 */
/* revoke: connections against the list of the trust in force. Layer proxy. */
#include "config.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/vec.h"
#include "proxy/conn.h"
#include "proxy/revoke.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

static const struct tls_trust *trust_of(const struct worker *w)
{
	const struct tls_trust *t = w->lease ? w->lease->at->trust : NULL;

	return t && tls_trust_has_revoked(t) ? t : NULL;
}

struct found {
	const struct tls_trust *trust;  /* NULL: it is what it was */
	struct tls_ctx **listed;        /* with lists that are new */
	size_t n_listed;
	struct conn **v;
	size_t n, cap;
};

static bool is_forbidden(const struct found *f, const struct conn *c)
{
	bool yes = f->trust && conn_is_revoked(c, f->trust);

	for (size_t i = 0; !yes && i < f->n_listed; i++)
		yes = conn_is_listed(c, f->listed[i]);
	return yes;
}

bool revoke_forbids(const struct conn *c)
{
	const struct attached *at = c->w->lease ? c->w->lease->at : NULL;
	const struct found now = { .trust = trust_of(c->w), .listed = at ? at->listed : NULL,
				   .n_listed = at ? at->n_listed : 0 };

	return is_forbidden(&now, c);
}

static void collect(void *arg, struct conn *c)
{
	struct found *f = arg;

	if (is_forbidden(f, c))
		*vec_push(f->v, f->n, f->cap) = c;
}

static bool had(const struct attached *at, const struct tls_ctx *c)
{
	for (size_t i = 0; i < at->n_listed; i++)
		if (at->listed[i] == c)
			return true;
	return false;
}

static void note_new(struct worker *w, const struct lease *old, struct found *f)
{
	const struct attached *at = w->lease->at;
	const struct tls_trust *t = trust_of(w);

	f->trust = old && old->at->trust == t ? NULL : t;
	if (!old || at->n_listed == 0)
		return;
	f->listed = kv_malloc(at->n_listed * sizeof(struct tls_ctx *));
	for (size_t i = 0; i < at->n_listed; i++)
		if (!had(old->at, at->listed[i]))
			f->listed[f->n_listed++] = at->listed[i];
}

static void cut(struct worker *w, struct found *f)
{
	list_for_each(it, &w->conns)
		collect(f, list_entry(it, struct conn, node));
	upstream_each(w, collect, f);
	/* One that ends may take others along; their memory stays until the turn is over. */
	for (size_t i = 0; i < f->n; i++)
		conn_kill(f->v[i]);
	free(f->v);
	stats_add(w->stats, STATS_REVOKED, (int64_t)f->n);
	if (f->n > 0)
		log_info("worker %u cut %zu connections: a certificate is revoked", w->index, f->n);
}

void revoke_follow(struct worker *w, const struct lease *old)
{
	struct found f = { 0 };

	note_new(w, old, &f);
	if (f.trust || f.n_listed > 0)
		cut(w, &f);
	free(f.listed);
}
