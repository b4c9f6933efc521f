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

bool revoke_forbids(const struct conn *c)
{
	const struct tls_trust *t = trust_of(c->w);

	return t && conn_is_revoked(c, t);
}

struct found {
	const struct tls_trust *trust;
	struct conn **v;
	size_t n, cap;
};

static void collect(void *arg, struct conn *c)
{
	struct found *f = arg;

	if (conn_is_revoked(c, f->trust))
		*vec_push(f->v, f->n, f->cap) = c;
}

void revoke_follow(struct worker *w, const struct lease *old)
{
	const struct tls_trust *t = trust_of(w);

	if (!t || (old && old->at->trust == t))
		return;
	struct found f = { .trust = t };

	list_for_each(it, &w->conns)
		collect(&f, list_entry(it, struct conn, node));
	upstream_each(w, collect, &f);
	/* One that ends may take others along; their memory stays until the turn is over. */
	for (size_t i = 0; i < f.n; i++)
		conn_kill(f.v[i]);
	free(f.v);
	stats_add(w->stats, STATS_REVOKED, (int64_t)f.n);
	if (f.n > 0)
		log_info("worker %u cut %zu connections: a certificate is revoked", w->index, f.n);
}
