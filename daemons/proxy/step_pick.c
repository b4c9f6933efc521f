/* SPDX-License-Identifier: Apache-2.0 */
/* step_pick: the endpoint of one try (Istio 2.8), within the cluster's breakers. Layer proxy. */
#include "config.h"

#include "core/limit.h"
#include "core/priority.h"
#include "proxy/conn.h"
#include "proxy/egress.h"
#include "proxy/ejection.h"
#include "proxy/hash_key.h"
#include "proxy/stream.h"

static enum next fail(struct stream *s, enum fail why)
{
	s->fail = why;
	return NEXT_FAIL;
}

/* What lb_pick looks at: the endpoints of one cluster as they are now. */
struct endpoints {
	const struct snap_cluster *cluster;
	const struct attached_cluster *run;
	uint64_t now_us;
	bool panics;                    /* ejections are overlooked (Istio 2.8.9) */
	int64_t level;                  /* of priority, the others are not looked at; -1: all */
};

static bool has_address(const struct snap_cluster *c, const struct attached_endpoint *e)
{
	return !e->refused && (e->plain.len > 0 || (e->mesh.len > 0 && c->tls.mode != SNAP_TLS_DISABLE));
}

static bool is_healthy(const struct endpoints *e, size_t i)
{
	const struct attached_endpoint *run = &e->run->endpoints[i];

	return !e->cluster->endpoints.v[i].inactive && has_address(e->cluster, run) &&
	       (e->panics || !outlier_is_ejected(&run->state->outlier, e->now_us));
}

/* How long ago it came, or came back from an ejection (Istio 2.8.13). */
static uint64_t age_of(const struct endpoints *e, struct endpoint_state *st)
{
	uint64_t since = atomic_load_explicit(&st->since_us, memory_order_relaxed);
	uint64_t back = atomic_load_explicit(&st->outlier.ejected_until_us, memory_order_relaxed);

	since = back > since ? back : since;
	return since == 0 ? UINT64_MAX : e->now_us > since ? e->now_us - since : 0;
}

static bool warms_up(const struct endpoints *e)
{
	const struct snap_warmup *w = e->cluster->warmup;

	for (size_t i = 0; w && i < e->run->n; i++)
		if (age_of(e, e->run->endpoints[i].state) < (uint64_t)w->duration_us)
			return true;
	return false;
}

static struct lb_host look(void *arg, size_t i)
{
	const struct endpoints *e = arg;
	const struct snap_endpoint *row = &e->cluster->endpoints.v[i];
	struct endpoint_state *st = e->run->endpoints[i].state;
	const struct snap_warmup *warmup = e->cluster->warmup;
	bool by_latency = e->cluster->lb == SNAP_LB_EWMA;

	return (struct lb_host){
		.weight = warmup ? lb_warm_weight(warmup, row->weight, age_of(e, st)) : row->weight,
		.active = atomic_load_explicit(&st->active, memory_order_relaxed),
		.latency_us = by_latency ? ewma_latency(&st->ewma, e->now_us) : 0,
		.usable = (e->level < 0 || row->priority == e->level) && is_healthy(e, i),
	};
}

/*
 * A key sticks, also when it is tried again (Istio 2.8.3). What has none goes anywhere, and so does
 * what no algorithm is asked for.
 */
static size_t choose(struct stream *s, const struct lb_set *set, struct lease_cluster *lc)
{
	const struct chash *hash = s->lease->at->clusters[s->cluster_index].hash;
	enum snap_lb kind = (enum snap_lb)s->cluster->lb;
	uint64_t key;

	if (hash && hash_key(s, &key))
		return chash_pick(hash, set, key);
	return lb_pick(lb_can_pick(kind) ? kind : SNAP_LB_RANDOM, set,
		       s->tried.n > 0 ? &s->tried : NULL, &lc->rr, &s->w->rng);
}

static bool panics(const struct snap_cluster *c, struct attached_cluster *run, uint64_t now_us)
{
	struct outlier_set set = ejection_set(run);

	return c->outlier && outlier_panics(c->outlier, &set, now_us);
}

/*
 * What was tried in vain is left after every second try (Envoy's previous_priorities, as Istio sets it);
 * when there is nothing else it begins anew.
 */
static void leave_tried(struct stream *s, struct priority_level *v, size_t n)
{
	bool any = false;

	if (!s->retry || !s->retry->remote_localities || s->retries == 0)
		return;
	if (s->retries % 2 == 0)
		s->levels_out = s->levels_tried;
	for (size_t i = 0; i < n; i++)
		any = any || (v[i].healthy > 0 && !(s->levels_out & 1u << i));
	if (!any)
		s->levels_out = s->levels_tried = 0;
	for (size_t i = 0; i < n; i++)
		if (s->levels_out & 1u << i)
			v[i].healthy = 0;
}

/* Near endpoints first; as they fail, more and more goes to the next ones (Istio 2.8.10). */
static int64_t pick_level(struct stream *s, const struct endpoints *e)
{
	struct priority_level v[SNAP_PRIORITIES_MAX] = { 0 };
	size_t level;

	if (e->run->n_levels == 1)
		return -1;
	for (size_t i = 0; i < e->run->n; i++) {
		struct priority_level *l = &v[e->cluster->endpoints.v[i].priority];

		l->all++;
		l->healthy += is_healthy(e, i);
	}
	leave_tried(s, v, e->run->n_levels);
	level = priority_pick(v, e->run->n_levels, &s->w->rng);
	s->levels_tried |= 1u << level;
	return (int64_t)level;
}

/* Where egressPolicy has left nothing to choose from, that is why. */
static enum next fail_to_pick(struct stream *s)
{
	const struct attached_cluster *run = &s->lease->at->clusters[s->cluster_index];
	const struct residency_answer *why = NULL;
	char text[RESIDENCY_TEXT_MAX];

	for (size_t i = 0; i < run->n && !why; i++)
		why = run->endpoints[i].refused;
	if (!why)
		return fail(s, FAIL_NO_HEALTHY);
	egress_note_refused(s->w->stats, why);
	s->up_text = arena_str(&s->arena, str_c(residency_text(why, text)));
	return fail(s, FAIL_RESIDENCY);
}

static enum next pick_endpoint(struct stream *s)
{
	const struct snap_cluster *c = s->cluster;
	struct lease_cluster *lc = lease_cluster(s->lease, s->cluster_index);
	struct endpoints e = {
		.cluster = c,
		.run = &s->lease->at->clusters[s->cluster_index],
		.now_us = stream_now(s),
	};
	e.panics = panics(c, &s->lease->at->clusters[s->cluster_index], e.now_us);
	e.level = pick_level(s, &e);
	struct lb_set set = {
		.n = c->endpoints.n, .weighted = lc->weighted || warms_up(&e), .get = look, .arg = &e,
	};
	size_t i = choose(s, &set, lc);

	if (i == LB_NONE)
		return fail_to_pick(s);
	s->endpoint_index = i;
	s->endpoint = &c->endpoints.v[i];
	return NEXT_STEP;
}

/* Whose limits hold: those of a local application are its Sidecar's. False: nobody's. */
static bool find_limits(struct stream *s)
{
	const struct snap_inbound *in = s->entry.target;

	if (!s->entry.inbound)
		return s->cluster->kind != SNAP_CLUSTER_ORIGINAL_DST;
	if (!in->application || in->application->cluster < 0)
		return false;
	s->cluster_index = (size_t)in->application->cluster;
	return true;
}

/* One place for the whole exchange, however often it is tried. */
static bool take_request(struct stream *s)
{
	if (s->holds_request || !find_limits(s))
		return true;
	struct cluster_state *st = s->lease->at->clusters[s->cluster_index].state;

	if (!limit_take(&st->requests, stream_snap(s)->clusters.v[s->cluster_index].limits.max_requests)) {
		atomic_fetch_add_explicit(&st->overflow, 1, memory_order_relaxed);
		return false;
	}
	s->holds_request = true;
	return true;
}

enum next step_pick(struct stream *s)
{
	if (s->retry_at_us > 0)
		return NEXT_WAIT;       /* backing off */
	if (!take_request(s))
		return fail(s, FAIL_OVERFLOW);
	if (s->entry.inbound || s->cluster->kind == SNAP_CLUSTER_ORIGINAL_DST ||
	    s->cluster->kind == SNAP_CLUSTER_BY_NAME)
		return NEXT_STEP;
	return pick_endpoint(s);
}
