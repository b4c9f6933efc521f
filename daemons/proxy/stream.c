/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: the life of an exchange, its runner and the events that drive it, see stream.h. Layer
 * proxy.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "proxy/conn.h"
#include "proxy/ext_authz.h"
#include "proxy/forward.h"
#include "proxy/mirror.h"
#include "proxy/stream.h"

/*
 * Finished streams kept with their first arena block, besides as many as are under way: a request
 * of the usual size allocates nothing however many there are at once, and a burst is not kept.
 */
#define CACHE_MIN 128
#define ARENA_BLOCK 4096

/* ---- memory ---------------------------------------------------------------------------------- */

struct stream_cache {
	struct list free;
	unsigned n, used;
};

struct stream_cache *stream_cache_new(void)
{
	struct stream_cache *c = kv_zalloc(sizeof(*c));

	list_init(&c->free);
	return c;
}

static void stream_free(struct stream *s)
{
	arena_done(&s->arena);
	free(s);
}

void stream_cache_trim(struct stream_cache *c)
{
	list_for_each_safe(it, &c->free)
		stream_free(list_entry(it, struct stream, node));
	list_init(&c->free);
	c->n = 0;
}

void stream_cache_free(struct stream_cache *c)
{
	stream_cache_trim(c);
	free(c);
}

static struct stream *stream_alloc(struct stream_cache *c)
{
	c->used++;
	if (list_is_empty(&c->free)) {
		struct stream *s = kv_zalloc(sizeof(*s));

		arena_init(&s->arena, ARENA_BLOCK);
		return s;
	}
	struct stream *s = list_entry(c->free.next, struct stream, node);
	struct arena a = s->arena;

	list_del(&s->node);
	c->n--;
	memset(s, 0, sizeof(*s));
	s->arena = a;
	return s;
}

static void drop_one(struct stream_cache *c)
{
	struct stream *s = list_entry(c->free.prev, struct stream, node);

	list_del(&s->node);
	c->n--;
	stream_free(s);
}

/* End of the turn: nothing on the stack looks at it any more. */
static void stream_recycle(void *p)
{
	struct stream *s = p;
	struct stream_cache *c = s->w->cache;

	lease_unref(s->lease);
	arena_clear(&s->arena);
	list_push_front(&c->free, &s->node);
	c->n++;
	c->used--;
	/* Two go for each that ends: what was kept on the way down from a burst goes too. */
	for (int i = 0; i < 2 && c->n > CACHE_MIN + c->used; i++)
		drop_one(c);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

void stream_arm(struct stream *s)
{
	uint64_t at = earlier(earlier(s->route_at_us, s->try_at_us),
			      earlier(s->retry_at_us, s->report_at_us));
	uint64_t now = stream_now(s);

	if (at > 0)
		loop_timer_set(&s->timer, at > now ? at - now : 0);
	else
		loop_timer_stop(&s->timer);
}

static bool passed(uint64_t *at, uint64_t now)
{
	if (*at == 0 || *at > now)
		return false;
	*at = 0;
	return true;
}

static void on_timer(void *arg)
{
	struct stream *s = arg;
	uint64_t now = stream_now(s);

	if (passed(&s->route_at_us, now))
		s->expired = s->http ? FAIL_TIMEOUT : FAIL_MAX_DURATION;
	else if (passed(&s->try_at_us, now))
		s->expired = FAIL_PER_TRY_TIMEOUT;
	(void)passed(&s->retry_at_us, now);
	if (passed(&s->report_at_us, now))
		forward_report(s);
	stream_arm(s);
	stream_run(s);
}

static void on_idle(void *arg)
{
	struct stream *s = arg;

	s->expired = FAIL_IDLE;
	stream_run(s);
}

void stream_touch(struct stream *s)
{
	if (s->idle_us > 0)
		loop_deadline_set(&s->idle, stream_now(s) + s->idle_us);
}

void stream_request_complete(struct stream *s)
{
	if (s->timeout_us <= 0 || s->route_timed || !s->down.end_in || s->opaque)
		return;
	s->route_timed = true;
	s->route_at_us = earlier(s->route_at_us, stream_now(s) + (uint64_t)s->timeout_us);
	stream_arm(s);
}

/* ---- the runner ------------------------------------------------------------------------------ */

static enum next (*const steps[])(struct stream *s) = {
	[STEP_HEAD] = step_head,
	[STEP_TOKEN] = step_token,
	[STEP_AUTHZ] = step_authz,
	[STEP_MATCH] = step_match,
	[STEP_FAULT] = step_fault,
	[STEP_PICK] = step_pick,
	[STEP_CONNECT] = step_connect,
	[STEP_FORWARD] = step_forward,
	[STEP_RECORD] = step_record,
};

/* What ends an exchange whatever step it is at. */
static enum fail interruption(struct stream *s)
{
	if (s->step == STEP_RECORD)
		return FAIL_NONE;
	if (s->down_fail != FAIL_NONE)
		return s->down_fail;
	return s->expired != FAIL_NONE ? s->expired : s->up_fail;
}

static enum next run_step(struct stream *s)
{
	enum fail why = interruption(s);

	if (why == FAIL_NONE)
		return steps[s->step](s);
	s->fail = why;
	return NEXT_FAIL;
}

void stream_emit_end(struct stream *s)
{
	if (!s->http && !s->tcp_open)
		record_emit(s->w, &s->rec, RECORD_TCP_OPEN);
	record_emit(s->w, &s->rec, RECORD_END);
}

static void stream_end(struct stream *s)
{
	list_del(&s->node);
	if (s->mirror)
		mirror_drop(s);
	if (s->check)
		ext_authz_drop(s);
	s->w->n_shadows -= s->shadow && !s->question;
	s->w->n_ended += s->w->draining && !s->shadow;
	loop_timer_done(&s->timer);
	loop_deadline_done(&s->idle);
	buf_done(&s->held);
	stats_add(s->w->stats, STATS_STREAMS, -1);
	loop_defer_free(s->w->loop, stream_recycle, s);
}

void stream_run(struct stream *s)
{
	if (s->running || s->step == STEP_DONE) {
		s->again = true;
		return;
	}
	s->running = true;
	do {
		s->again = false;
		switch (run_step(s)) {
		case NEXT_STEP:
			s->step++;
			s->again = true;
			break;
		case NEXT_FAIL:
			stream_failed(s);
			s->again = true;
			break;
		case NEXT_END:
			s->step = STEP_RECORD;
			s->again = true;
			break;
		case NEXT_WAIT:
			break;
		}
	} while (s->again && s->step != STEP_DONE);
	s->running = false;
	if (s->step == STEP_DONE)
		stream_end(s);
}

void stream_abort(struct stream *s, enum fail why)
{
	s->expired = why;
	stream_run(s);
}

/* ---- events from the codecs ------------------------------------------------------------------ */

static void leg_init(struct leg *l, struct stream *s, bool up)
{
	l->s = s;
	l->up = up;
	l->head = up ? &s->res : &s->req;
	l->trailers = up ? &s->res_trailers : &s->req_trailers;
	l->head->arena = l->trailers->arena = &s->arena;        /* of a stream that is all zero */
}

static struct stream *stream_begin(struct worker *w, struct lease *lease)
{
	struct stream *s = stream_alloc(w->cache);

	s->w = w;
	s->lease = lease_ref(lease);
	leg_init(&s->down, s, false);
	leg_init(&s->up, s, true);
	list_init(&s->wait.node);
	loop_timer_init(&s->timer, w->loop, on_timer, s);
	loop_deadline_init(&s->idle, w->loop, on_idle, s);
	s->rec.start_us = stream_now(s);
	s->rec.start_real_us = clock_real_us();
	s->rec.serial = s->lease->serial;
	s->rec.grpc_status = -1;
	list_push_back(&w->streams, &s->node);
	stats_add(w->stats, STATS_STREAMS, 1);
	return s;
}

struct leg *leg_open(struct conn *c)
{
	struct worker *w = c->w;
	struct entry *e = c->owner_data;
	struct entry_view view;
	struct stream *s = stream_begin(w, entry_resolve_now(e, c, &view));

	s->entry = view;
	s->http = s->replay = c->ops->http;
	s->rec.down_remote = conn_addr_full(&c->remote);
	s->rec.down_local = e->original_dst ? *e->original_dst : conn_addr_full(&c->local);
	return &s->down;
}

/* Its request is complete, its answer goes nowhere. */
static struct stream *begin_aside(const struct stream *of)
{
	struct stream *s = stream_begin(of->w, of->lease);

	s->http = s->shadow = true;
	s->entry = of->entry;
	s->down.head_in = s->down.end_in = s->down.head_out = true;
	s->step = STEP_PICK;
	return s;
}

struct stream *stream_shadow(const struct stream *of)
{
	struct stream *s = begin_aside(of);

	s->w->n_shadows++;
	return s;
}

struct stream *stream_question(const struct stream *of)
{
	struct stream *s = begin_aside(of);

	s->question = true;
	s->entry = (struct entry_view){
		.workload = of->entry.inbound ? of->entry.target->workload : of->entry.workload,
		.view = -1,
	};
	return s;
}

void leg_on_head(struct leg *l, bool end)
{
	struct stream *s = l->s;

	stream_touch(s);
	if (l->up && !l->head_in) {
		forward_info(s);
		return;
	}
	if (l->up)
		s->rec.up_head_us = stream_now(s);
	else if (end)
		s->rec.request_end_us = stream_now(s);
	stream_run(s);
}

void leg_on_data(struct leg *l, struct buf *b)
{
	struct stream *s = l->s;

	stream_touch(s);
	forward_data(s, l, b);
	stream_run(s);
}

void leg_on_moved(struct leg *l, size_t n)
{
	if (n > 0)
		stream_touch(l->s);
	forward_moved(l->s, l, n);
}

void leg_on_end(struct leg *l)
{
	struct stream *s = l->s;

	stream_touch(s);
	if (!l->up)
		s->rec.request_end_us = stream_now(s);
	forward_end(s, l);
	stream_run(s);
}

void leg_on_reset(struct leg *l, enum fail why)
{
	struct stream *s = l->s;

	if (s->step == STEP_RECORD || s->step == STEP_DONE)
		return;
	if (!l->up) {
		s->down_fail = why;
	} else {
		s->up_fail = why;
		if (l->reason)
			s->up_text = arena_str(&s->arena, str_c(l->reason));
	}
	stream_run(s);
}

void leg_on_writable(struct leg *l)
{
	stream_touch(l->s);
	forward_writable(l->s, l);
}

/* ---- calls to the codecs --------------------------------------------------------------------- */

void leg_head(struct leg *l, struct head *h, bool end)
{
	if (l->up || h->status >= 200 || h->status == 101)
		l->head_out = true;
	l->end_out = l->end_out || end;
	l->conn->ops->head(l, h, end);
}

void leg_data(struct leg *l, struct buf *b, bool end)
{
	l->end_out = l->end_out || end;
	l->conn->ops->data(l, b, end);
}

void leg_window(struct leg *l, size_t room)
{
	l->paused = room == 0;
	l->conn->ops->window(l, room);
}

void leg_reset(struct leg *l, enum fail why)
{
	if (l->conn)
		l->conn->ops->reset(l, why);
}
