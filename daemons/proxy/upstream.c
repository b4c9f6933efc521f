/* SPDX-License-Identifier: Apache-2.0 */
/* upstream: pools of connections to services and peers, see upstream.h. Layer proxy. */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "core/limit.h"
#include "proxy/conn.h"
#include "proxy/egress.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

#define CONNECT_TIMEOUT_US (10u * 1000 * 1000)  /* Istio 2.8.7 */
#define RACE_US (250u * 1000)                   /* RFC 8305 5: connection attempt delay */
#define ALTERNATE_US (60u * 1000 * 1000)        /* an address that lost goes last for so long */
#define IDLE_TIMEOUT_US (60u * 1000 * 1000)     /* security-model L7 */
#define PREFACE_IDLE_US (5u * 1000 * 1000)

/* Offered in this order (Istio 2.9.3). */
static const char *const alpn_mesh_http[] = { "istio-http/1.1", "istio", "http/1.1", NULL };
static const char *const alpn_mesh_tcp[] = { "istio-peer-exchange", "istio", NULL };
static const char *const alpn_mesh_h2[] = { "istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1", NULL };
static const char *const alpn_h2[] = { "h2", "http/1.1", NULL };
static const char *const alpn_http[] = { "http/1.1", NULL };

struct pool {
	struct worker *w;
	struct str key;                 /* owned bytes */
	struct upstream_target t;       /* strings owned, counted things referenced */
	struct snap_limits limits;
	struct list ready;              /* can take an exchange; used last is first */
	struct list busy;               /* connecting, or full */
	struct list waiting;            /* struct upstream_wait, oldest first */
	unsigned n_conns, n_connecting, n_waiting;
	unsigned peer_slots;            /* as the last connection learned it, for the next: conn.h */
	bool sweeping;
	bool left;                      /* no snapshot in force leads here: ends when idle */
	bool shares;                    /* one connection carries many exchanges, as far as is known */
};

/* ---- pools by key -------------------------------------------------------------------------- */

static size_t key_bytes(const struct upstream_target *t)
{
	size_t n = sizeof(void *) * 5 + sizeof(t->way) + t->addr.len + (t->alternate ? t->alternate->len : 0) + t->sni.n + 1 +
		   t->tunnel.n + 1 + t->preface.n;

	for (size_t i = 0; i < t->n_want; i++)
		n += t->want[i].n + 1;
	return n;
}

static char *key_put(char *to, const void *p, size_t n)
{
	if (n > 0)
		memcpy(to, p, n);
	return to + n;
}

static void key_write(const struct upstream_target *t, char *to)
{
	const void *const parts[] = { t->codec, t->identity, t->ctx, t->endpoint, t->cluster };

	to = key_put(to, parts, sizeof(parts));
	to = key_put(to, &t->way, sizeof(t->way));
	to = key_put(to, &t->addr.ss, t->addr.len);
	if (t->alternate)
		to = key_put(to, &t->alternate->ss, t->alternate->len);
	to = key_put(to, t->sni.p, t->sni.n);
	*to++ = '\0';
	to = key_put(to, t->tunnel.p, t->tunnel.n);
	*to++ = '\0';
	to = key_put(to, t->preface.p, t->preface.n);
	for (size_t i = 0; i < t->n_want; i++) {
		to = key_put(to, t->want[i].p, t->want[i].n);
		*to++ = '\0';
	}
}

static struct str str_copy(struct str s)
{
	char *p = kv_malloc(s.n + 1);

	memcpy(p, s.n > 0 ? s.p : "", s.n);
	p[s.n] = '\0';
	return str_from(p, s.n);
}

static void str_drop(struct str s)
{
	free((void *)(uintptr_t)s.p);
}

static void target_copy(struct upstream_target *to, const struct upstream_target *t)
{
	struct str *want = kv_zalloc(sizeof(*want) * (t->n_want + 1));

	*to = *t;
	to->sni = str_copy(t->sni);
	to->tunnel = str_copy(t->tunnel);
	to->preface = str_copy(t->preface);
	for (size_t i = 0; i < t->n_want; i++)
		want[i] = str_copy(t->want[i]);
	to->want = want;
	to->identity = t->identity ? tls_identity_ref(t->identity) : NULL;
	to->endpoint = t->endpoint ? endpoint_state_ref(t->endpoint) : NULL;
	to->cluster = t->cluster ? cluster_state_ref(t->cluster) : NULL;
	to->limits = NULL;
	if (t->alternate) {
		struct sock_addr *own = kv_malloc(sizeof(*own));

		*own = *t->alternate;
		to->alternate = own;
	}
}

static void target_drop(struct upstream_target *t)
{
	str_drop(t->sni);
	str_drop(t->tunnel);
	str_drop(t->preface);
	for (size_t i = 0; i < t->n_want; i++)
		str_drop(t->want[i]);
	free((void *)(uintptr_t)t->want);
	free((void *)(uintptr_t)t->alternate);
	if (t->identity)
		tls_identity_unref(t->identity);
	if (t->endpoint)
		endpoint_state_unref(t->endpoint);
	if (t->cluster)
		cluster_state_unref(t->cluster);
}

static struct pool *pool_new(struct worker *w, const struct upstream_target *t, struct str key)
{
	struct pool *p = kv_zalloc(sizeof(*p));

	p->w = w;
	p->key = str_copy(key);
	target_copy(&p->t, t);
	p->shares = t->codec == &codec_h2;
	list_init(&p->ready);
	list_init(&p->busy);
	list_init(&p->waiting);
	map_put(&w->pools, p->key, p);
	return p;
}

static struct pool_hint *hint_slot(struct worker *w, const struct upstream_target *t)
{
	const struct upstream_hint *h = &t->hint;
	uint32_t i = h->endpoint * 31 + h->cluster * 7 + h->workload * 3 + t->codec->http;

	return &w->pool_hints[i % WORKER_POOL_HINTS];
}

static bool is_hint_of(const struct pool_hint *slot, const struct upstream_target *t)
{
	const struct upstream_hint *h = &t->hint;

	return slot->pool && h->serial > 0 && slot->hint.serial == h->serial &&
	       slot->hint.workload == h->workload && slot->hint.cluster == h->cluster &&
	       slot->hint.endpoint == h->endpoint && slot->pool->t.codec == t->codec;
}

static void forget_hints(struct pool *p)
{
	for (size_t i = 0; i < WORKER_POOL_HINTS; i++)
		if (p->w->pool_hints[i].pool == p)
			p->w->pool_hints[i].pool = NULL;
}

static struct pool *pool_by_key(struct worker *w, const struct upstream_target *t)
{
	_scratch_ char small[512];
	size_t n = key_bytes(t);
	char *bytes = n <= sizeof(small) ? small : kv_malloc(n);

	key_write(t, bytes);
	struct pool *p = map_get(&w->pools, str_from(bytes, n));

	if (!p)
		p = pool_new(w, t, str_from(bytes, n));
	if (bytes != small)
		free(bytes);
	return p;
}

static struct pool *pool_get(struct worker *w, const struct upstream_target *t)
{
	struct pool_hint *slot = hint_slot(w, t);

	if (!is_hint_of(slot, t))
		*slot = (struct pool_hint){ .hint = t->hint, .pool = pool_by_key(w, t) };
	slot->pool->limits = t->limits ? *t->limits : (struct snap_limits){ 0 };
	return slot->pool;
}

/* End of the turn: nobody on the stack uses the pool any more. */
static void pool_sweep(void *arg)
{
	struct pool *p = arg;

	p->sweeping = false;
	if (p->n_conns > 0 || p->n_waiting > 0)
		return;
	map_del(&p->w->pools, p->key);
	forget_hints(p);
	target_drop(&p->t);
	str_drop(p->key);
	free(p);
}

static void pool_check_empty(struct pool *p)
{
	if (p->n_conns > 0 || p->n_waiting > 0 || p->sweeping)
		return;
	p->sweeping = true;
	loop_defer_free(p->w->loop, pool_sweep, p);
}

/* ---- waiting exchanges --------------------------------------------------------------------- */

/* False: as many wait as the breaker allows. */
static bool wait_begin(struct pool *p, struct upstream_wait *wait)
{
	struct cluster_state *st = p->t.cluster;

	if (st && !limit_take(&st->pending, p->limits.max_pending)) {
		atomic_fetch_add_explicit(&st->overflow, 1, memory_order_relaxed);
		return false;
	}
	list_push_back(&p->waiting, &wait->node);
	wait->waiting = true;
	p->n_waiting++;
	return true;
}

static void wait_end(struct upstream_wait *wait)
{
	struct pool *p = wait->pool;

	list_del(&wait->node);
	wait->waiting = false;
	p->n_waiting--;
	if (p->t.cluster)
		limit_give(&p->t.cluster->pending);
}

static struct upstream_wait *first_waiting(struct pool *p)
{
	if (list_is_empty(&p->waiting))
		return NULL;
	struct upstream_wait *wait = list_entry(p->waiting.next, struct upstream_wait, node);

	wait_end(wait);
	return wait;
}

/* The oldest that may be served by c. */
static struct upstream_wait *next_waiting(struct pool *p, const struct conn *c)
{
	bool used = c->exchanges > 0 && !p->shares;

	list_for_each(it, &p->waiting) {
		struct upstream_wait *wait = list_entry(it, struct upstream_wait, node);

		/* No fresh one is on its way: a breaker allows none, and waiting for it could be for ever. */
		if (used && wait->fresh && p->n_connecting > 0)
			continue;
		wait_end(wait);
		return wait;
	}
	return NULL;
}

void upstream_cancel(struct upstream_wait *wait)
{
	if (!wait->waiting)
		return;
	wait_end(wait);
	pool_check_empty(wait->pool);
}

/* ---- connections --------------------------------------------------------------------------- */

static uint64_t or_default(int64_t us, uint64_t dflt)
{
	return us > 0 ? (uint64_t)us : dflt;
}

static void expired(struct conn *c)
{
	conn_kill(c);
}

static void pool_check(struct pool *p);         /* it dials, and what it dials comes back here */

/* Until it is too old. */
static uint64_t rest_us(const struct conn *c)
{
	const struct pool *p = c->owner_data;
	uint64_t max = (uint64_t)p->limits.max_age_us, age = loop_now_us(p->w->loop) - c->since_us;

	return max == 0 ? UINT64_MAX : age < max ? max - age : 0;
}

/* The connection takes one exchange; it stays first in line when it can take more. */
static void hand_over(struct conn *c, struct leg *l)
{
	struct pool *p = c->owner_data;
	int64_t max = p->limits.max_requests_per_connection;

	conn_timer(c, 0, NULL);
	c->ops->start(c, l);
	if ((max > 0 && c->exchanges >= (uint64_t)max) || rest_us(c) == 0)
		c->ops->drain(c);
	list_del(&c->node);
	list_push_front(c->slots > 0 ? &p->ready : &p->busy, &c->node);
}

/* The oldest that wait get what the connection can take. True: it took some. */
static bool serve_waiting(struct conn *c)
{
	struct pool *p = c->owner_data;
	struct upstream_wait *wait;
	bool served = false;

	while (c->state == CONN_OPEN && c->slots > 0 && (wait = next_waiting(p, c)) != NULL) {
		hand_over(c, wait->leg);
		wait->fn(wait, FAIL_NONE, NULL);
		served = true;
	}
	return served;
}

/* 0: for ever, when its rule says so. One that has named its client serves nobody else. */
static uint64_t idle_us(const struct conn *c)
{
	const struct pool *p = c->owner_data;
	uint64_t us = (uint64_t)p->limits.idle_timeout_us, rest = rest_us(c);

	if (us == 0)
		us = p->t.cluster ? UINT64_MAX : IDLE_TIMEOUT_US;
	us = us < rest ? us : rest;
	if (p->t.preface.n > 0 && us > PREFACE_IDLE_US)
		us = PREFACE_IDLE_US;
	return us == UINT64_MAX ? 0 : us;
}

static void become_ready(struct conn *c)
{
	struct pool *p = c->owner_data;

	if (p->peer_slots != c->peer_slots) {
		p->peer_slots = c->peer_slots;
		pool_check(p);          /* who waited for that may need more connections */
	}
	if (serve_waiting(c) || c->state != CONN_OPEN || c->slots == 0)
		return;
	list_del(&c->node);
	list_push_front(&p->ready, &c->node);
	if (c->active > 0)
		return;
	if (p->w->draining || p->left || rest_us(c) == 0)
		conn_close(c);
	else
		conn_timer(c, idle_us(c), expired);
}

static const char *const *alpn_of(const struct upstream_target *t)
{
	if (t->codec == &codec_h2)
		return t->ctx ? alpn_h2 : alpn_mesh_h2;
	if (t->ctx)
		return t->codec->http ? alpn_http : NULL;
	return t->codec->http ? alpn_mesh_http : alpn_mesh_tcp;
}

/* HTTP/2 over TLS is what both sides agreed on; without TLS it is prior knowledge. */
static const struct codec_ops *codec_of(const struct conn *c)
{
	const struct pool *p = c->owner_data;
	const struct tls_facts *f = conn_tls(c);

	if (p->t.codec != &codec_h2 || !f)
		return p->t.codec;
	return str_eq(f->alpn, STR("istio-h2")) || str_eq(f->alpn, STR("h2")) ? &codec_h2 : &codec_h1;
}

/* Sessions are resumed towards the same address and name only. */
static struct tls_session *make_session(const struct upstream_target *t)
{
	const char *sni = t->sni.n > 0 ? t->sni.p : NULL;       /* the pool's copy ends with NUL */
	char addr[SOCK_ADDR_TEXT_MAX];

	if (t->ctx)
		return tls_client_new_ctx(t->ctx, sni, alpn_of(t), t->want, t->n_want);
	_cleanup_free_ char *key = kv_asprintf("%s %s %.*s", sock_addr_text(&t->addr, addr),
					       sni ? sni : "", STR_ARG(t->want[0]));

	return tls_client_new(t->identity, sni, alpn_of(t), t->want, t->n_want, str_c(key));
}

static uint32_t whole_ms(int64_t us)
{
	return us / 1000 < UINT32_MAX ? (uint32_t)((us + 999) / 1000) : UINT32_MAX;
}

static void on_connected(struct conn *c)
{
	struct pool *p = c->owner_data;

	p->n_connecting--;
	c->established = true;
	stats_add(p->w->stats, STATS_UP_CONNECTED, 1);
	conn_timer(c, 0, NULL);
	c->peer_slots = p->peer_slots;
	c->max_slots = p->limits.max_streams < UINT32_MAX ? (unsigned)p->limits.max_streams : 0;
	c->since_us = loop_now_us(p->w->loop);
	c->ping_ms = whole_ms(p->limits.ping_interval_us);
	c->ping_timeout_ms = whole_ms(p->limits.ping_timeout_us);
	conn_set_codec(c, codec_of(c), false);
	p->shares = c->ops == &codec_h2;
	become_ready(c);
	pool_check(p);
}

/* ---- two addresses of one endpoint (RFC 8305) ------------------------------------------------- */

static bool is_alternate_first(const struct pool *p)
{
	struct endpoint_state *e = p->t.endpoint;

	return p->t.alternate && e &&
	       atomic_load_explicit(&e->alternate_until_us, memory_order_relaxed) > loop_now_us(p->w->loop);
}

static const struct sock_addr *address_of(const struct pool *p, bool alternate)
{
	return alternate ? p->t.alternate : &p->t.addr;
}

static bool is_at_alternate(const struct conn *c)
{
	const struct pool *p = c->owner_data;
	const struct sock_addr at = conn_addr_full(&c->remote);

	return p->t.alternate && sock_addr_eq(&at, p->t.alternate);
}

/* The first that connects is taken, and its address goes first for a while. */
static void end_race(struct conn *c)
{
	struct pool *p = c->owner_data;
	bool alternate = is_at_alternate(c);

	if (c->rival)
		conn_kill(c->rival);
	if (p->t.endpoint && alternate != is_alternate_first(p))
		atomic_store_explicit(&p->t.endpoint->alternate_until_us,
				      alternate ? loop_now_us(p->w->loop) + ALTERNATE_US : 0, memory_order_relaxed);
}

static void on_ready(struct conn *c)
{
	struct pool *p = c->owner_data;

	if (c->ops == &codec_tunnel) {
		on_connected(c);
		return;
	}
	if (!c->tls && p->t.alternate)
		end_race(c);
	if (!c->tls && p->t.preface.n > 0) {
		buf_append(&c->out, p->t.preface.p, p->t.preface.n);
		conn_flush_later(c);
	}
	if (!c->tls && (p->t.identity || p->t.ctx))
		conn_start_tls(c, make_session(&p->t));
	else if (p->t.tunnel.n > 0)
		tunnel_ask(c, p->t.tunnel);
	else
		on_connected(c);
}

static void report_failure(struct pool *p, enum fail why, const char *text)
{
	struct upstream_wait *wait = first_waiting(p);
	unsigned others = p->shares ? p->n_waiting : 0;         /* they wait for the same connection */

	stats_add(p->w->stats, STATS_UP_CONNECT_FAILED, 1);
	if (wait)
		wait->fn(wait, why, text);
	while (others-- > 0 && (wait = first_waiting(p)) != NULL)
		wait->fn(wait, why, text);
}

static void race(struct conn *c);                /* what it dials fails here in turn */

static void on_failed(struct conn *c)
{
	struct pool *p = c->owner_data;

	bool late = c->error == KV_ERR_TIMEOUT;
	const char *text = tunnel_failure(c);

	if (c->state == CONN_CONNECTING && p->t.alternate && !c->raced)
		race(c);
	if (!c->rival)
		report_failure(p, late ? FAIL_CONNECT_TIMEOUT : FAIL_CONNECT, text ? text : conn_error_text(c));
	conn_kill(c);
}

static void on_connect_timeout(struct conn *c)
{
	c->error = KV_ERR_TIMEOUT;
	on_failed(c);
}

/*
 * A pool whose exchanges wait may always have one connection, else they could wait for ever for
 * others' to go (as Envoy does).
 */
static bool take_conn(struct pool *p)
{
	struct cluster_state *st = p->t.cluster;
	bool first = p->n_conns == 0 && p->t.codec->http;

	if (st && !limit_take(&st->connections, first ? 0 : p->limits.max_connections))
		return false;
	if (p->t.endpoint)
		atomic_fetch_add_explicit(&p->t.endpoint->connections, 1, memory_order_relaxed);
	p->n_conns++;
	stats_add(p->w->stats, STATS_UP_CONNECTIONS, 1);
	return true;
}

static void give_conn(struct pool *p)
{
	if (p->t.cluster)
		limit_give(&p->t.cluster->connections);
	if (p->t.endpoint)
		limit_give(&p->t.endpoint->connections);
	p->n_conns--;
	stats_add(p->w->stats, STATS_UP_CONNECTIONS, -1);
}

/* A place became free: for whoever waits. Two attempts of one race are one connection in all counts. */
static void on_gone(struct conn *c)
{
	struct pool *p = c->owner_data;

	if (c->rival) {
		c->rival->rival = NULL;
		c->rival = NULL;
		return;
	}
	if (!c->established)
		p->n_connecting--;
	give_conn(p);
	pool_check(p);
}

static const struct conn_owner owner = {
	.ready = on_ready,
	.failed = on_failed,
	.idle = become_ready,
	.gone = on_gone,
};

/* Every connection that is made, and what is asked for at its other end. */
static bool may_leave(const struct pool *p, const struct sock_addr *to, struct err *err)
{
	const struct attached *at = p->w->lease->at;

	if (!at->residency)
		return true;
	return (p->t.tunnel.n == 0 || egress_allows_host(at, p->w->stats, p->t.tunnel, err)) &&
	       egress_allows(at, p->w->stats, &p->t.way, to, err);
}

/* NULL: it failed at once. */
static struct conn *attempt(struct pool *p, bool alternate, struct err *err)
{
	const struct snap_limits *l = &p->limits;
	const struct sock_addr *to = address_of(p, alternate);
	struct conn *c = may_leave(p, to, err) ? conn_dial(p->w, to, &owner, p, err) : NULL;

	if (!c)
		return NULL;
	list_push_back(&p->busy, &c->node);
	if (l->keepalive_time_us > 0 || l->keepalive_interval_us > 0 || l->keepalive_probes > 0)
		conn_keepalive(c, l->keepalive_time_us, l->keepalive_interval_us,
			       l->keepalive_probes);
	conn_timer(c, or_default(l->connect_timeout_us, CONNECT_TIMEOUT_US), on_connect_timeout);
	return c;
}

/* The other address as well; c may have failed already. */
static void race(struct conn *c)
{
	struct err err = { 0 };

	c->raced = true;
	c->rival = attempt(c->owner_data, !is_at_alternate(c), &err);
	if (c->rival) {
		c->rival->raced = true;
		c->rival->rival = c;
	}
}

static void on_slow(struct conn *c)
{
	const struct pool *p = c->owner_data;
	uint64_t timeout = or_default(p->limits.connect_timeout_us, CONNECT_TIMEOUT_US);

	conn_timer(c, timeout - RACE_US, on_connect_timeout);
	if (c->state == CONN_CONNECTING)
		race(c);
}

static int dial(struct pool *p, struct err *err)
{
	bool alternate = is_alternate_first(p), both = !p->t.alternate;
	struct conn *c = attempt(p, alternate, err);

	if (!c && !both) {
		both = true;
		c = attempt(p, !alternate, err);
	}
	if (!c) {
		give_conn(p);
		return err->code;
	}
	c->raced = both;
	p->n_connecting++;
	if (!both && or_default(p->limits.connect_timeout_us, CONNECT_TIMEOUT_US) > RACE_US)
		conn_timer(c, RACE_US, on_slow);
	return 0;
}

/* As many attempts as there are exchanges that wait, or one for all of them, or none until the peer says what it takes. */
static unsigned wanted(const struct pool *p)
{
	if (p->shares && p->peer_slots == 0 && p->n_conns > p->n_connecting)
		return 0;
	return p->shares && p->n_waiting > 0 ? 1 : p->n_waiting;
}

static void pool_check(struct pool *p)
{
	struct err err = { 0 };

	while (p->n_connecting < wanted(p) && !p->w->stopping && take_conn(p))
		if (dial(p, &err) < 0)
			report_failure(p, err.code == KV_ERR_REFUSED ? FAIL_RESIDENCY : FAIL_CONNECT, err.text);
	pool_check_empty(p);
}

/* ---- the request path ---------------------------------------------------------------------- */

/* Bytes that wait on an idle connection are wrong, but for HTTP/2: there a peer may always say something. */
static bool is_dead(struct conn *c)
{
	if (c->active > 0)
		return false;
	return c->ops == &codec_h2 ? conn_has_hung_up(c) : conn_is_stale(c);
}

/* Nothing new begins on it. */
static void let_end(struct pool *p, struct conn *c)
{
	list_del(&c->node);
	list_push_back(&p->busy, &c->node);
	if (c->active > 0)
		c->ops->drain(c);
	else
		conn_close(c);
}

static struct conn *first_ready(struct pool *p, bool only_alive)
{
	while (!list_is_empty(&p->ready)) {
		struct conn *c = list_entry(p->ready.next, struct conn, node);

		if (c->slots == 0) {            /* its peer has taken back what it allowed */
			list_del(&c->node);
			list_push_back(&p->busy, &c->node);
			continue;
		}
		if (rest_us(c) == 0)
			let_end(p, c);
		else if (!only_alive || !is_dead(c))
			return c;
		else
			conn_kill(c);
	}
	return NULL;
}

/* Opaque bytes do not wait for other connections to end (Istio 2.8.5). */
static void refuse(struct upstream_wait *wait)
{
	struct pool *p = wait->pool;

	wait_end(wait);
	if (p->t.cluster)
		atomic_fetch_add_explicit(&p->t.cluster->overflow, 1, memory_order_relaxed);
	pool_check_empty(p);
}

enum upstream_result upstream_take(struct worker *w, const struct upstream_target *t,
				   struct upstream_wait *wait, bool only_alive)
{
	struct pool *p = pool_get(w, t);
	struct conn *c = wait->fresh && !p->shares ? NULL : first_ready(p, only_alive);

	wait->pool = p;
	if (c) {
		hand_over(c, wait->leg);
		stats_add(w->stats, STATS_UP_REUSED, 1);
		return UPSTREAM_READY;
	}
	if (!wait_begin(p, wait)) {
		pool_check_empty(p);
		return UPSTREAM_FULL;
	}
	pool_check(p);
	if (!t->codec->http && wait->waiting && p->n_connecting < p->n_waiting) {
		refuse(wait);
		return UPSTREAM_FULL;
	}
	return UPSTREAM_WAIT;
}

void upstream_distrust(struct upstream_wait *wait)
{
	struct pool *p = wait->pool;

	list_for_each_safe(it, &p->ready) {
		struct conn *c = list_entry(it, struct conn, node);

		if (c->active == 0)
			conn_kill(c);
	}
}

/* ---- little memory ------------------------------------------------------------------------- */

static void pool_trim(struct pool *p)
{
	bool kept = false;

	list_for_each_safe(it, &p->ready) {
		struct conn *c = list_entry(it, struct conn, node);

		if (c->active == 0 && kept)
			let_end(p, c);
		kept = true;
	}
}

void upstream_trim(struct worker *w)
{
	for (struct map_entry *e = map_first(&w->pools); e; e = map_next(&w->pools, e))
		pool_trim(e->val);
}

/* ---- the end ------------------------------------------------------------------------------- */

static void pool_drain(struct pool *p)
{
	while (!list_is_empty(&p->ready))
		let_end(p, list_entry(p->ready.next, struct conn, node));
}

/* Pointers as keys: their bytes, where they stand. */
static struct str key_of(const void *slot)
{
	return str_from(slot, sizeof(void *));
}

static void name_targets(struct map *names, const struct attached *at)
{
	for (size_t i = 0; i < at->snap->clusters.n; i++) {
		const struct attached_cluster *c = &at->clusters[i];

		map_put(names, key_of(&c->state), at->snap);
		for (size_t k = 0; k < c->n; k++)
			map_put(names, key_of(&c->endpoints[k].state), at->snap);
	}
	for (size_t i = 0; i < at->snap->identities.n; i++)
		map_put(names, key_of(&at->identities[i]), at->snap);
}

/* Of a local workload, as step_connect marks it. */
static bool is_application(const struct upstream_target *t)
{
	return !t->endpoint && !t->cluster && t->hint.workload == UINT32_MAX;
}

static bool is_named(const struct map *names, const struct attached *at,
		     const struct upstream_target *t)
{
	if (is_application(t))
		return attach_is_application(at, &t->addr);
	return (!t->endpoint || map_has(names, key_of(&t->endpoint))) &&
	       (!t->cluster || map_has(names, key_of(&t->cluster))) &&
	       (!t->identity || map_has(names, key_of(&t->identity)));
}

static bool is_forbidden(const struct attached *at, const struct upstream_target *t,
			 const struct sock_addr *a)
{
	return !egress_would_allow(at, &t->way, a) ||
	       (t->tunnel.n > 0 && !egress_would_allow_host(at, t->tunnel));
}

/* Policies or countries are others than they were: what leads where it may not any more is cut. */
static void pool_forbid(struct pool *p, const struct attached *at)
{
	const bool bad[] = { is_forbidden(at, &p->t, &p->t.addr),
			     p->t.alternate && is_forbidden(at, &p->t, p->t.alternate) };
	struct list *const lists[] = { &p->ready, &p->busy };

	if (!bad[0] && !bad[1])
		return;
	p->left = true;
	for (size_t i = 0; i < 2; i++)
		list_for_each_safe(it, lists[i]) {
			struct conn *c = list_entry(it, struct conn, node);

			if (bad[is_at_alternate(c)])
				conn_kill(c);
		}
}

/* What is cut may be tried again at once, in pools that are new: the map is not walked meanwhile. */
static void forbid(struct worker *w)
{
	struct pool **all = kv_malloc((w->pools.n + 1) * sizeof(struct pool *));
	size_t n = 0;

	for (struct map_entry *e = map_first(&w->pools); e; e = map_next(&w->pools, e))
		all[n++] = e->val;
	for (size_t i = 0; i < n; i++)
		pool_forbid(all[i], w->lease->at);
	free(all);
}

void upstream_follow(struct worker *w)
{
	struct map names;

	if (!map_first(&w->pools))
		return;
	map_init(&names);
	name_targets(&names, w->lease->at);
	for (struct map_entry *e = map_first(&w->pools); e; e = map_next(&w->pools, e)) {
		struct pool *p = e->val;

		p->left = !is_named(&names, w->lease->at, &p->t);
		if (p->left)
			pool_drain(p);
	}
	map_done(&names);
	if (w->lease->at->residency)
		forbid(w);
}

static void each_of(struct list *l, void (*fn)(void *arg, struct conn *c), void *arg)
{
	list_for_each(it, l)
		fn(arg, list_entry(it, struct conn, node));
}

void upstream_each(struct worker *w, void (*fn)(void *arg, struct conn *c), void *arg)
{
	for (struct map_entry *e = map_first(&w->pools); e; e = map_next(&w->pools, e)) {
		struct pool *p = e->val;

		each_of(&p->ready, fn, arg);
		each_of(&p->busy, fn, arg);
	}
}

void upstream_drain(struct worker *w)
{
	for (struct map_entry *e = map_first(&w->pools); e; e = map_next(&w->pools, e))
		pool_drain(e->val);
}

void upstream_stop(struct worker *w)
{
	for (struct map_entry *e = map_first(&w->pools); e; e = map_next(&w->pools, e)) {
		struct pool *p = e->val;

		while (!list_is_empty(&p->ready))
			conn_kill(list_entry(p->ready.next, struct conn, node));
		while (!list_is_empty(&p->busy))
			conn_kill(list_entry(p->busy.next, struct conn, node));
		pool_check_empty(p);
	}
}
