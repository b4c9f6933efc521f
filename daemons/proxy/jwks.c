/* SPDX-License-Identifier: Apache-2.0 */
/* jwks: see jwks.h. Layer proxy. */
#include "config.h"

#include "proxy/jwks.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "io/dns.h"
#include "proxy/fetch.h"

#define REFRESH_US (UINT64_C(20) * 60 * 1000 * 1000)    /* Istio's */
#define AGAIN_US (UINT64_C(2) * 1000 * 1000)            /* after a failure, doubled by each */
#define AGAIN_MAX_US (UINT64_C(5) * 60 * 1000 * 1000)
#define STALE_US (UINT64_C(24) * 3600 * 1000 * 1000)
#define SETS_MAX 1000

struct set {
	struct jwks *u;
	char *uri;
	struct fetch *fetch;            /* under way, or NULL */
	struct loop_timer again;
	uint64_t timeout_us;
	char *text;                     /* NULL: not known */
	size_t n;
	uint64_t good_us;               /* when it was fetched last; on the clock that counts sleep */
	uint64_t pause_us;              /* after the next failure */
	bool wanted;
	char *told;                     /* the last failure: not told again while it is the same; or NULL */
};

struct jwks {
	struct loop *loop;
	struct dns *dns;
	struct map sets;                /* by URL → struct set */
	void (*on_change)(void *arg);
	void *arg;
};

/* ---- one set --------------------------------------------------------------------------------- */

static void forget(struct set *s)
{
	free(s->text);
	s->text = NULL;
	s->n = 0;
}

static void failed(struct set *s, const char *why)
{
	bool stale = s->n > 0 && clock_boot_us() - s->good_us > STALE_US;

	if (!s->told || strcmp(s->told, why) != 0)
		log_err("jwks_fetch_failed: %s: %s%s", s->uri, why,
			s->n > 0 ? "; the keys known before stay for a day" : "; its tokens are refused");
	free(s->told);
	s->told = kv_strdup(why);
	loop_timer_set(&s->again, s->pause_us);
	s->pause_us = s->pause_us < AGAIN_MAX_US / 2 ? s->pause_us * 2 : AGAIN_MAX_US;
	if (!stale)
		return;
	log_err("jwks_stale: %s: no keys for a day: its tokens are refused from now on", s->uri);
	forget(s);
	s->u->on_change(s->u->arg);
}

static bool is_set(struct str text, struct err *err)
{
	struct snap_jwt_rule to = { 0 };
	struct arena a;

	arena_init(&a, 0);
	int r = snap_jwk_set(text, &a, &to, err);

	if (r == 0 && to.keys.n == 0)
		r = err_set(err, KV_ERR_CHECK, "there is no key in it");
	arena_done(&a);
	return r == 0;
}

static void on_fetched(void *arg, struct str body, const char *why)
{
	struct set *s = arg;
	struct err err = { 0 };

	s->fetch = NULL;
	if (!why && !is_set(body, &err))
		why = err.text;
	if (why) {
		failed(s, why);
		return;
	}
	if (s->told)
		log_info("jwks_fetched: %s", s->uri);
	free(s->told);
	s->told = NULL;
	s->good_us = clock_boot_us();
	s->pause_us = AGAIN_US;
	loop_timer_set(&s->again, REFRESH_US);
	if (str_eq(str_from(s->text, s->n), body))
		return;
	forget(s);
	s->text = kv_malloc(body.n + 1);
	s->n = body.n;
	memcpy(s->text, body.p, body.n);
	s->u->on_change(s->u->arg);
}

static void fetch(void *arg)
{
	struct set *s = arg;

	if (!s->fetch)
		s->fetch = fetch_start(s->u->loop, s->u->dns, str_c(s->uri), s->timeout_us, on_fetched, s);
}

static void set_free(struct set *s)
{
	fetch_cancel(s->fetch);
	loop_timer_done(&s->again);
	forget(s);
	free(s->told);
	free(s->uri);
	free(s);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void want(struct jwks *u, const struct snap_jwt_rule *r)
{
	struct set *s = map_get(&u->sets, r->uri);

	if (!s && u->sets.n >= SETS_MAX) {
		log_err("more than %d sets of keys to fetch: %.*s is left out", SETS_MAX, STR_ARG(r->uri));
		return;
	}
	if (!s) {
		s = kv_zalloc(sizeof(*s));
		s->u = u;
		s->uri = kv_asprintf("%.*s", STR_ARG(r->uri));
		s->pause_us = AGAIN_US;
		s->timeout_us = (uint64_t)r->timeout_us;
		loop_timer_init(&s->again, u->loop, fetch, s);
		map_put(&u->sets, str_c(s->uri), s);
		fetch(s);
	}
	s->timeout_us = (uint64_t)r->timeout_us;
	s->wanted = true;
}

void jwks_want(struct jwks *u, const struct snap *s)
{
	struct map kept;

	for (struct map_entry *e = map_first(&u->sets); e; e = map_next(&u->sets, e))
		((struct set *)e->val)->wanted = false;
	for (size_t i = 0; i < s->jwt_rules.n; i++)
		if (s->jwt_rules.v[i].uri.n > 0)
			want(u, &s->jwt_rules.v[i]);
	map_init(&kept);
	for (struct map_entry *e = map_first(&u->sets); e; e = map_next(&u->sets, e)) {
		struct set *one = e->val;

		if (one->wanted)
			map_put(&kept, str_c(one->uri), one);
		else
			set_free(one);
	}
	map_done(&u->sets);
	u->sets = kept;
}

int jwks_fill(const struct jwks *u, struct snap *s, struct snap **ret, struct err *err)
{
	struct snap with = *s;
	struct arena a;
	bool any = false;
	int r = 0;

	arena_init(&a, 0);
	with.jwt_rules.v = arena_new_n(&a, struct snap_jwt_rule, s->jwt_rules.n);
	for (size_t i = 0; i < s->jwt_rules.n; i++) {
		struct snap_jwt_rule *to = &with.jwt_rules.v[i];
		const struct set *known;

		*to = s->jwt_rules.v[i];
		known = to->uri.n > 0 ? map_get(&u->sets, to->uri) : NULL;
		if (!known || known->n == 0)
			continue;
		to->keys.n = 0;
		any = snap_jwk_set(str_from(known->text, known->n), &a, to, NULL) == 0 || any;
	}
	if (any)
		r = snap_copy(&with, ret, err);
	else
		*ret = snap_ref(s);
	arena_done(&a);
	return r;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct jwks *jwks_new(struct loop *l, void (*on_change)(void *arg), void *arg)
{
	struct jwks *u = kv_zalloc(sizeof(*u));

	u->loop = l;
	u->dns = dns_new(l);
	u->on_change = on_change;
	u->arg = arg;
	map_init(&u->sets);
	return u;
}

void jwks_free(struct jwks *u)
{
	if (!u)
		return;
	for (struct map_entry *e = map_first(&u->sets); e; e = map_next(&u->sets, e))
		set_free(e->val);
	map_done(&u->sets);
	dns_free(u->dns);
	free(u);
}
