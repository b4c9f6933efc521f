/* SPDX-License-Identifier: Apache-2.0 */
/* lookup: see lookup.h. Layer proxy. */
#include "config.h"

#include "proxy/lookup.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"
#include "io/dns.h"
#include "io/sock.h"

#define SETTLE_US (20u * 1000)          /* answers that come together are one snapshot */
#define FAILED_US (5u * 1000 * 1000)    /* then it is asked again */
#define TTL_MIN_S 1
#define TTL_MAX_S 86400
#define NAMES_MAX 10000

struct name {
	struct lookup *u;
	char *text;
	struct dns_query *query;        /* under way, or NULL */
	struct loop_timer again;
	struct str_list addresses;      /* in the arena; n 0: not known */
	struct arena arena;
	bool wanted, told;              /* told: of its failure, once in a row */
};

struct lookup {
	struct loop *loop;
	struct dns *dns;
	struct map names;               /* → struct name */
	struct loop_timer settle;
	uint64_t refresh_us;            /* where no time to live is known */
	void (*on_change)(void *arg);
	void *arg;
};

/* ---- one name ------------------------------------------------------------------------------- */

static struct str address_text(struct arena *a, const uint8_t addr[16])
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN];

	if (memcmp(addr, v4, sizeof(v4)) == 0)
		inet_ntop(AF_INET, addr + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, addr, text, sizeof(text));
	return arena_str(a, str_c(text));
}

static void take_addresses(struct name *n, const struct dns_answer *a)
{
	struct str_list now = { 0 };
	struct arena arena;
	size_t cap = 0;

	arena_init(&arena, 0);
	for (size_t i = 0; i < a->n; i++)
		*vec_push_arena(&arena, now.v, now.n, cap) = address_text(&arena, a->v[i]);
	if (str_list_eq(&now, &n->addresses)) {
		arena_done(&arena);
		return;
	}
	arena_done(&n->arena);
	n->arena = arena;
	n->addresses = now;
	if (!n->u->settle.armed)
		loop_timer_set(&n->u->settle, SETTLE_US);
}

static uint64_t again_us(const struct name *n, const struct dns_answer *a)
{
	uint32_t s = a->ttl_s;

	if (a->n == 0)
		return FAILED_US;
	if (s == 0)
		return n->u->refresh_us;
	return (uint64_t)(s < TTL_MIN_S ? TTL_MIN_S : s > TTL_MAX_S ? TTL_MAX_S : s) * 1000000;
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct name *n = arg;

	n->query = NULL;
	if (a->n > 0)
		take_addresses(n, a);
	else if (!n->told)
		log_warn("%s cannot be looked up: %s%s", n->text,
			 a->error ? a->error : "it has no address",
			 n->addresses.n > 0 ? "; the addresses known before stay" : "");
	n->told = a->n == 0;
	loop_timer_set(&n->again, again_us(n, a));
}

static void ask(void *arg)
{
	struct name *n = arg;

	if (!n->query)
		n->query = dns_ask(n->u->dns, n->text, on_answer, n);
}

static void name_free(struct name *n)
{
	dns_cancel(n->query);
	loop_timer_done(&n->again);
	arena_done(&n->arena);
	free(n->text);
	free(n);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool is_name(const struct snap_cluster *c, const struct snap_endpoint *e)
{
	struct sock_addr a;

	return c->kind == SNAP_CLUSTER_DNS && !sock_addr_parse(e->address, 1, &a);
}

static void want(struct lookup *u, struct str text)
{
	struct name *n = map_get(&u->names, text);

	if (!n && u->names.n >= NAMES_MAX) {
		log_err("more than %d names to look up: %.*s is left out", NAMES_MAX,
			STR_ARG(text));
		return;
	}
	if (!n) {
		n = kv_zalloc(sizeof(*n));
		n->u = u;
		arena_init(&n->arena, 0);
		n->text = kv_asprintf("%.*s", STR_ARG(text));
		loop_timer_init(&n->again, u->loop, ask, n);
		map_put(&u->names, str_c(n->text), n);
		ask(n);
	}
	n->wanted = true;
}

static void drop_unwanted(struct lookup *u)
{
	struct map kept;

	map_init(&kept);
	for (struct map_entry *e = map_first(&u->names); e; e = map_next(&u->names, e)) {
		struct name *n = e->val;

		if (n->wanted)
			map_put(&kept, str_c(n->text), n);
		else
			name_free(n);
	}
	map_done(&u->names);
	u->names = kept;
}

void lookup_want(struct lookup *u, const struct snap *s)
{
	for (struct map_entry *e = map_first(&u->names); e; e = map_next(&u->names, e))
		((struct name *)e->val)->wanted = false;
	if (s->settings.dns_refresh_us > 0)
		u->refresh_us = (uint64_t)s->settings.dns_refresh_us;
	for (size_t i = 0; i < s->clusters.n; i++) {
		const struct snap_cluster *c = &s->clusters.v[i];

		for (size_t k = 0; k < c->endpoints.n; k++)
			if (is_name(c, &c->endpoints.v[k]))
				want(u, c->endpoints.v[k].address);
	}
	drop_unwanted(u);
}

/* ---- the snapshot with addresses ------------------------------------------------------------ */

struct filling {
	const struct lookup *u;
	struct arena arena;
	bool any;
};

static struct str_list of_family(const struct name *n, bool v6, struct arena *a)
{
	struct str_list found = { 0 };
	size_t cap = 0;

	for (size_t i = 0; i < n->addresses.n; i++)
		if ((str_find(n->addresses.v[i], ':') >= 0) == v6)
			*vec_push_arena(a, found.v, found.n, cap) = n->addresses.v[i];
	return found;
}

/*
 * Each address is an endpoint or stands behind one: an IPv6 address has an IPv4 one to fall back on
 * (RFC 8305); what one family has more stands by itself, with one of the other behind it.
 */
static void add_resolved(struct filling *f, const struct snap_endpoint *e, const struct name *n,
			 struct snap_cluster *to, size_t *cap)
{
	struct str_list v6 = of_family(n, true, &f->arena), v4 = of_family(n, false, &f->arena);
	size_t most = v6.n > v4.n ? v6.n : v4.n;

	if (to->one_address && most > 1)
		most = 1;
	for (size_t i = 0; i < most; i++) {
		struct snap_endpoint *one =
			vec_push_arena(&f->arena, to->endpoints.v, to->endpoints.n, *cap);
		const struct str_list *behind = i < v6.n ? &v4 : &v6;

		*one = *e;
		one->address = i < v6.n ? v6.v[i] : v4.v[i];
		one->alternate = behind->n > 0 ? behind->v[i % behind->n] : STR_NULL;
		if (str_eq(e->mesh_address, e->address))
			one->mesh_address = one->address;
	}
	f->any = true;
}

static void fill_cluster(struct filling *f, const struct snap_cluster *c, struct snap_cluster *to)
{
	size_t cap = 0;

	*to = *c;
	if (c->kind != SNAP_CLUSTER_DNS)
		return;
	to->endpoints.v = NULL;
	to->endpoints.n = 0;
	for (size_t i = 0; i < c->endpoints.n; i++) {
		const struct snap_endpoint *e = &c->endpoints.v[i];
		const struct name *n = is_name(c, e) ? map_get(&f->u->names, e->address) : NULL;

		if (n && n->addresses.n > 0)
			add_resolved(f, e, n, to, &cap);
		else
			*vec_push_arena(&f->arena, to->endpoints.v, to->endpoints.n, cap) = *e;
	}
}

int lookup_resolve(const struct lookup *u, struct snap *s, struct snap **ret, struct err *err)
{
	struct filling f = { .u = u };
	struct snap with = *s;
	int r = 0;

	arena_init(&f.arena, 0);
	with.clusters.v = arena_new_n(&f.arena, struct snap_cluster, s->clusters.n);
	for (size_t i = 0; i < s->clusters.n; i++)
		fill_cluster(&f, &s->clusters.v[i], &with.clusters.v[i]);
	if (f.any)
		r = snap_copy(&with, ret, err);
	else
		*ret = snap_ref(s);
	arena_done(&f.arena);
	return r;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void on_settled(void *arg)
{
	struct lookup *u = arg;

	u->on_change(u->arg);
}

struct lookup *lookup_new(struct loop *l, void (*on_change)(void *arg), void *arg)
{
	struct lookup *u = kv_zalloc(sizeof(*u));

	u->loop = l;
	u->dns = dns_new(l);
	u->refresh_us = 60u * 1000 * 1000;
	u->on_change = on_change;
	u->arg = arg;
	map_init(&u->names);
	loop_timer_init(&u->settle, l, on_settled, u);
	return u;
}

void lookup_free(struct lookup *u)
{
	if (!u)
		return;
	for (struct map_entry *e = map_first(&u->names); e; e = map_next(&u->names, e))
		name_free(e->val);
	map_done(&u->names);
	loop_timer_done(&u->settle);
	dns_free(u->dns);
	free(u);
}
