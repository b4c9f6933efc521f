/* SPDX-License-Identifier: Apache-2.0 */
/*
 * named: see named.h. Layer proxy. A host under way belongs to the control thread: it is posted there
 * and posted back with its answer, and is never forgotten in between.
 */
#include "config.h"

#include "proxy/named.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/map.h"
#include "io/dns.h"

#define FAILED_US (5u * 1000 * 1000)            /* then it is asked again */
#define TTL_UNKNOWN_US (60u * 1000 * 1000)
#define TTL_MAX_S 300
#define KEPT_US (600ull * 1000 * 1000)          /* an old answer, when no new one comes */
#define WHY_MAX 384

struct resolver {
	struct loop *loop;
	struct dns *dns;
};

struct named {
	struct loop *loop;
	struct resolver *resolver;      /* NULL: names cannot be asked for */
	struct map hosts;               /* → struct host */
	unsigned n_asked;
};

struct host {
	struct named *names;
	char *text;
	bool asked;                     /* the control thread has it */
	/* the control thread's answer */
	bool answered;
	uint8_t addr[16];
	uint32_t ttl_s;
	char why[WHY_MAX];
	/* the worker's */
	struct sock_addr known;         /* len 0: none */
	uint64_t told_us, until_us;     /* 0: never */
	struct list waiting;
};

/* ---- the control thread -------------------------------------------------------------------- */

struct resolver *resolver_new(struct loop *l)
{
	struct resolver *r = kv_zalloc(sizeof(*r));

	r->loop = l;
	r->dns = dns_new(l);
	return r;
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	dns_free(r->dns);
	free(r);
}

static void take_answer(void *arg);

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* The first IPv4 one, else the first. */
static const uint8_t *choose(const struct dns_answer *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (memcmp(a->v[i], mapped, sizeof(mapped)) == 0)
			return a->v[i];
	return a->v[0];
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct host *h = arg;

	h->answered = a->n > 0;
	h->ttl_s = a->ttl_s;
	if (a->n > 0)
		memcpy(h->addr, choose(a), sizeof(h->addr));
	else
		snprintf(h->why, sizeof(h->why), "%.253s cannot be looked up: %.100s", h->text,
			 a->error ? a->error : "it has no address");
	loop_post(h->names->loop, take_answer, h);
}

static void ask(void *arg)
{
	struct host *h = arg;

	(void)dns_ask(h->names->resolver->dns, h->text, on_answer, h);
}

/* ---- the worker ---------------------------------------------------------------------------- */

static uint64_t ttl_us(const struct host *h)
{
	uint32_t s = h->ttl_s > TTL_MAX_S ? TTL_MAX_S : h->ttl_s;

	return s > 0 ? (uint64_t)s * 1000000 : TTL_UNKNOWN_US;
}

/* What is called may ask for other names, and this one may be forgotten for them. */
static void wake(struct host *h)
{
	struct list all;

	list_init(&all);
	list_for_each_safe(it, &h->waiting) {
		list_del(it);
		list_push_back(&all, it);
	}
	while (!list_is_empty(&all)) {
		struct named_wait *w = list_entry(all.next, struct named_wait, node);

		named_cancel(w);
		w->fn(w);
	}
}

static void set_address(struct host *h)
{
	memset(&h->known, 0, sizeof(h->known));
	if (memcmp(h->addr, mapped, sizeof(mapped)) == 0) {
		h->known.len = sizeof(h->known.in);
		h->known.in.sin_family = AF_INET;
		memcpy(&h->known.in.sin_addr, h->addr + 12, 4);
	} else {
		h->known.len = sizeof(h->known.in6);
		h->known.in6.sin6_family = AF_INET6;
		memcpy(&h->known.in6.sin6_addr, h->addr, 16);
	}
}

static void take_answer(void *arg)
{
	struct host *h = arg;
	uint64_t now = loop_now_us(h->names->loop);

	h->asked = false;
	h->names->n_asked--;
	h->until_us = now + (h->answered ? ttl_us(h) : FAILED_US);
	if (h->answered) {
		set_address(h);
		h->told_us = now;
	} else if (now - h->told_us > KEPT_US) {
		h->known.len = 0;
	}
	wake(h);
}

static void host_free(struct host *h)
{
	free(h->text);
	free(h);
}

/* Who waits for nothing and ends soonest makes room. */
static void forget_one(struct named *n)
{
	struct host *oldest = NULL;

	for (struct map_entry *e = map_first(&n->hosts); e; e = map_next(&n->hosts, e)) {
		struct host *h = e->val;

		if (!h->asked && (!oldest || h->until_us < oldest->until_us))
			oldest = h;
	}
	if (!oldest)
		return;
	map_del(&n->hosts, str_c(oldest->text));
	host_free(oldest);
}

static struct host *host_of(struct named *n, struct str text)
{
	struct host *h = map_get(&n->hosts, text);

	if (h)
		return h;
	if (n->hosts.n >= NAMED_MAX)
		forget_one(n);
	h = kv_zalloc(sizeof(*h));
	h->names = n;
	h->text = kv_asprintf("%.*s", STR_ARG(text));
	list_init(&h->waiting);
	map_put(&n->hosts, str_c(h->text), h);
	return h;
}

static bool lower(struct str host, char *buf)
{
	if (host.n == 0 || host.n > DNS_NAME_MAX)
		return false;
	for (size_t i = 0; i < host.n; i++)
		buf[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (char)(host.p[i] | 0x20) : host.p[i];
	return true;
}

static enum named_result wait_for(struct host *h, struct named_wait *wait)
{
	struct named *n = h->names;

	if (!h->asked) {
		h->asked = true;
		n->n_asked++;
		loop_post(n->resolver->loop, ask, h);
	}
	list_push_back(&h->waiting, &wait->node);
	wait->waiting = true;
	return NAMED_WAIT;
}

enum named_result named_find(struct named *n, struct str host, struct named_wait *wait,
			     struct sock_addr *ret, const char **ret_why)
{
	char buf[DNS_NAME_MAX];

	*ret_why = "the destination is no name that can be looked up";
	if (!n->resolver || !lower(host, buf))
		return NAMED_UNKNOWN;
	struct str text = str_from(buf, host.n);
	bool known = map_has(&n->hosts, text);

	if (!known && n->n_asked >= NAMED_ASKED_MAX)
		return NAMED_FULL;
	struct host *h = host_of(n, text);

	if (h->until_us <= loop_now_us(n->loop))
		return wait_for(h, wait);
	*ret_why = h->why;
	*ret = h->known;
	return h->known.len > 0 ? NAMED_READY : NAMED_UNKNOWN;
}

void named_cancel(struct named_wait *wait)
{
	if (!wait->waiting)
		return;
	list_del(&wait->node);
	wait->waiting = false;
}

/* ---- life ---------------------------------------------------------------------------------- */

struct named *named_new(struct loop *l)
{
	struct named *n = kv_zalloc(sizeof(*n));

	n->loop = l;
	map_init(&n->hosts);
	return n;
}

void named_use(struct named *n, struct resolver *r)
{
	n->resolver = r;
}

void named_free(struct named *n)
{
	for (struct map_entry *e = map_first(&n->hosts); e; e = map_next(&n->hosts, e))
		host_free(e->val);
	map_done(&n->hosts);
	free(n);
}
