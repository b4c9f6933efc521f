/* SPDX-License-Identifier: Apache-2.0 */
/* acks: a table by proxy name. Layer daemons/ca. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "ca/acks.h"

void acks_init(struct acks *a)
{
	map_init(&a->by_proxy);
}

static void ack_free(struct ack *k)
{
	if (!k)
		return;
	free(k->proxy);
	free(k);
}

void acks_done(struct acks *a)
{
	for (struct map_entry *m = map_first(&a->by_proxy); m; m = map_next(&a->by_proxy, m))
		ack_free(m->val);
	map_done(&a->by_proxy);
}

void acks_take(struct acks *a, struct str proxy, const struct ack *word)
{
	struct ack *k = map_get(&a->by_proxy, proxy);
	char *name;

	if (!k) {
		if (a->by_proxy.n >= ACKS_MAX)
			return;
		k = kv_zalloc(sizeof(*k));
		k->proxy = kv_asprintf("%.*s", STR_ARG(proxy));
		map_put(&a->by_proxy, str_c(k->proxy), k);
	}
	name = k->proxy;
	*k = *word;
	k->proxy = name;
}

static bool is_there(const struct ack *k, const struct acks_goal *goal)
{
	if (!k)
		return false;
	if (goal->generation != 0 && k->generation != goal->generation)
		return false;
	if (goal->revision != 0 && k->revision != goal->revision)
		return false;
	return !goal->issuer || strcmp(k->issuer, goal->issuer) == 0;
}

/* Identities are many and proxies few: fn for each proxy once. */
static void each_proxy(const struct registry *r, void (*fn)(void *arg, struct str proxy), void *arg)
{
	struct map seen;

	map_init(&seen);
	for (size_t i = 0; i < r->identities.n; i++) {
		struct str proxy = r->identities.v[i].proxy;

		if (proxy.n == 0 || map_has(&seen, proxy))
			continue;
		map_put(&seen, proxy, &seen);
		fn(arg, proxy);
	}
	map_done(&seen);
}

struct count {
	const struct acks *a;
	const struct acks_goal *goal;
	void (*fn)(void *arg, struct str proxy);
	void *arg;
	size_t n;
};

static void count_missing(void *arg, struct str proxy)
{
	struct count *c = arg;

	if (is_there(map_get(&c->a->by_proxy, proxy), c->goal))
		return;
	c->n++;
	if (c->fn)
		c->fn(c->arg, proxy);
}

size_t acks_missing(const struct acks *a, const struct registry *r, const struct acks_goal *goal,
		    void (*fn)(void *arg, struct str proxy), void *arg)
{
	struct count c = { .a = a, .goal = goal, .fn = fn, .arg = arg };

	each_proxy(r, count_missing, &c);
	return c.n;
}
