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
#define HURRY_US (UINT64_C(10) * 1000 * 1000)           /* between two fetches out of turn */
#define SETS_MAX 1000
#define URL_BYTES_MAX 2048

struct set {
	struct jwks *u;
	char *key;                      /* of the map */
	char *uri;
	char *issuer;                   /* whose configuration is at uri; NULL: the keys are there */
	char *found;                    /* where that says they are */
	struct fetch *fetch;            /* under way, or NULL */
	struct loop_timer again;
	uint64_t due_us;                /* when that ends */
	bool hurry;                     /* it will be out of turn */
	uint64_t hurried_us;            /* when that was last */
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
	struct map sets;                /* by URL and issuer → struct set */
	void (*on_change)(void *arg);
	fetch_allows allows;
	void *arg;
};

/* ---- one set --------------------------------------------------------------------------------- */

static void forget(struct set *s)
{
	free(s->text);
	s->text = NULL;
	s->n = 0;
}

static void fetch_in(struct set *s, uint64_t us)
{
	s->due_us = clock_boot_us() + us;
	loop_timer_set(&s->again, us);
}

static void failed(struct set *s, const char *why)
{
	bool stale = s->n > 0 && clock_boot_us() - s->good_us > STALE_US;

	if (!s->told || strcmp(s->told, why) != 0)
		log_err("jwks_fetch_failed: %s: %s%s", s->uri, why,
			s->n > 0 ? "; the keys known before stay for a day" : "; its tokens are refused");
	free(s->told);
	s->told = kv_strdup(why);
	fetch_in(s, s->pause_us);
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

static void begin_fetch(struct set *s, const char *url, fetch_fn fn)
{
	s->fetch = fetch_start(s->u->loop, s->u->dns, str_c(url), s->timeout_us, fn, s);
	fetch_guard(s->fetch, s->u->allows, s->u->arg);
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
	fetch_in(s, REFRESH_US);
	if (str_eq(str_from(s->text, s->n), body))
		return;
	forget(s);
	s->text = kv_malloc(body.n + 1);
	s->n = body.n;
	memcpy(s->text, body.p, body.n);
	s->u->on_change(s->u->arg);
}

/* NULL, or why it does not tell where the keys are. */
static const char *discover(struct set *s, struct str body, struct arena *a, struct err *err)
{
	struct doc *d;

	if (doc_read_json(body, a, &d, err) < 0)
		return err->text;
	if (d->kind != DOC_MAP || !str_eq(doc_get_str(d, "issuer", STR("")), str_c(s->issuer)))
		return "it is not the issuer's configuration: its member 'issuer' is another";
	struct str uri = doc_get_str(d, "jwks_uri", STR(""));

	if (uri.n == 0 || uri.n > URL_BYTES_MAX)
		return "it does not say where the keys are (jwks_uri)";
	if (str_has_prefix(str_c(s->uri), STR("https://")) && !str_has_prefix(uri, STR("https://")))
		return "its jwks_uri is no https URL";
	free(s->found);
	s->found = kv_asprintf("%.*s", STR_ARG(uri));
	return NULL;
}

static void on_keys(void *arg, struct str body, const char *why)
{
	struct set *s = arg;
	char *at_which = why ? kv_asprintf("%s: %s", s->found, why) : NULL;

	on_fetched(s, body, at_which);
	free(at_which);
}

static void on_configuration(void *arg, struct str body, const char *why)
{
	struct set *s = arg;
	struct err err = { 0 };
	struct arena a;

	s->fetch = NULL;
	arena_init(&a, 0);
	if (!why)
		why = discover(s, body, &a, &err);
	if (why)
		failed(s, why);
	else
		begin_fetch(s, s->found, on_keys);
	arena_done(&a);
}

static void fetch(void *arg)
{
	struct set *s = arg;

	if (s->fetch)
		return;
	if (s->hurry)
		s->hurried_us = clock_boot_us();
	s->hurry = false;
	begin_fetch(s, s->uri, s->issuer ? on_configuration : on_fetched);
}

static void set_free(struct set *s)
{
	fetch_cancel(s->fetch);
	loop_timer_done(&s->again);
	forget(s);
	free(s->told);
	free(s->found);
	free(s->issuer);
	free(s->uri);
	free(s->key);
	free(s);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Two issuers may say the same URL, and one of them the keys' own. */
static struct str key_of(const struct snap_jwt_rule *r, struct arena *a)
{
	return r->discover ? arena_printf(a, "%.*s %.*s", STR_ARG(r->uri), STR_ARG(r->issuer)) : r->uri;
}

static struct set *find(const struct jwks *u, const struct snap_jwt_rule *r)
{
	struct arena a;

	if (r->uri.n == 0)
		return NULL;
	arena_init(&a, 0);
	struct set *s = map_get(&u->sets, key_of(r, &a));

	arena_done(&a);
	return s;
}

static struct set *add(struct jwks *u, const struct snap_jwt_rule *r)
{
	struct set *s = kv_zalloc(sizeof(*s));
	struct arena a;

	arena_init(&a, 0);
	s->u = u;
	s->key = kv_asprintf("%.*s", STR_ARG(key_of(r, &a)));
	s->uri = kv_asprintf("%.*s", STR_ARG(r->uri));
	s->issuer = r->discover ? kv_asprintf("%.*s", STR_ARG(r->issuer)) : NULL;
	s->pause_us = AGAIN_US;
	s->timeout_us = (uint64_t)r->timeout_us;
	loop_timer_init(&s->again, u->loop, fetch, s);
	map_put(&u->sets, str_c(s->key), s);
	fetch(s);
	arena_done(&a);
	return s;
}

static void want(struct jwks *u, const struct snap_jwt_rule *r)
{
	struct set *s = find(u, r);

	if (!s && u->sets.n >= SETS_MAX) {
		log_err("more than %d sets of keys to fetch: %.*s is left out", SETS_MAX, STR_ARG(r->uri));
		return;
	}
	if (!s)
		s = add(u, r);
	s->timeout_us = (uint64_t)r->timeout_us;
	s->wanted = true;
}

/* Who has no keys is asked again anyway; who makes tokens of no key may do so a thousand times a second. */
void jwks_hurry(struct jwks *u, const struct snap_jwt_rule *r)
{
	struct set *s = find(u, r);
	uint64_t now = clock_boot_us();

	if (!s || s->fetch || s->told)
		return;
	uint64_t at = s->hurried_us > 0 ? s->hurried_us + HURRY_US : 0;

	if (at < now)
		at = now;
	if (at >= s->due_us)
		return;
	s->hurry = true;
	fetch_in(s, at - now);
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
			map_put(&kept, str_c(one->key), one);
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
		known = find(u, to);
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

struct jwks *jwks_new(struct loop *l, void (*on_change)(void *arg), fetch_allows allows, void *arg)
{
	struct jwks *u = kv_zalloc(sizeof(*u));

	u->loop = l;
	u->dns = dns_new(l);
	u->on_change = on_change;
	u->allows = allows;
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
