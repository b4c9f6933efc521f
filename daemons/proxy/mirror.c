/* SPDX-License-Identifier: Apache-2.0 */
/* mirror: copies of requests, see mirror.h. Layer proxy. */
#include "config.h"

#include "proxy/conn.h"
#include "proxy/forward.h"
#include "proxy/mirror.h"

#define PPM 1000000
#define TIMEOUT_US (15u * 1000 * 1000)  /* where the route has none: nothing is kept for ever */

struct mirror {
	size_t *clusters;               /* where copies go */
	size_t n;
	struct buf body;
};

static void count_dropped(struct stream *s, size_t n)
{
	stats_add(s->w->stats, STATS_MIRROR_DROPPED, (int64_t)n);
}

/* ---- one copy -------------------------------------------------------------------------------- */

/* "reviews-shadow:9080", as Envoy names it. */
static struct str shadow_authority(struct str authority, struct arena *a)
{
	ptrdiff_t colon = str_rfind(authority, ':'), bracket = str_rfind(authority, ']');
	struct str host = colon > bracket ? str_take(authority, (size_t)colon) : authority;

	return arena_printf(a, "%.*s-shadow%.*s", STR_ARG(host),
			    STR_ARG(str_skip(authority, host.n)));
}

/* All strings anew: the original may be gone first. */
static void copy_fields(struct head *to, const struct head *from, struct arena *a)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct head_field *f = &from->fields[i];
		struct str value = arena_str(a, f->value);

		if (str_has_prefix(f->name, STR("x-kvmesh-")))
			continue;       /* of the original's own way */
		if (f->id == HEAD_ID_OTHER)
			head_add(to, arena_str(a, f->name), value);
		else
			head_add_id(to, f->id, value);
	}
}

static void copy_head(struct head *to, const struct head *from, struct arena *a)
{
	to->version = from->version;
	to->method = arena_str(a, from->method);
	to->scheme = arena_str(a, from->scheme);
	to->authority = shadow_authority(from->authority, a);
	to->path = arena_str(a, from->path);
	to->te_trailers = from->te_trailers;
	copy_fields(to, from, a);
}

/* All of it is there: its length is known, but what has trailers goes in chunks where versions differ in that. */
static void set_body(struct stream *s, const struct head *from, size_t n)
{
	struct head *h = &s->req;

	if (s->req_trailers.n > 0 && from->body != HEAD_BODY_LENGTH)
		h->body = HEAD_BODY_CHUNKED;
	else
		h->body = n > 0 || from->body == HEAD_BODY_LENGTH ? HEAD_BODY_LENGTH : HEAD_BODY_NONE;
	h->content_length = n;
}

/* body: NULL when another copy has it last. */
static void send_copy(struct stream *of, size_t cluster, struct buf *body, bool last)
{
	struct stream *s = stream_shadow(of);

	copy_head(&s->req, &of->req, &s->arena);
	copy_fields(&s->req_trailers, &of->req_trailers, &s->arena);
	set_body(s, &of->req, body->n);
	s->rec.protocol = of->rec.protocol;
	s->host = arena_str(&s->arena, of->host);
	s->port = of->port;
	s->cluster_index = cluster;
	s->cluster = &stream_snap(s)->clusters.v[cluster];
	if (last)
		buf_move(&s->held, body);
	else
		forward_copy(&s->held, body);
	s->route_at_us = stream_now(s) + (of->timeout_us > 0 ? (uint64_t)of->timeout_us : TIMEOUT_US);
	stream_arm(s);
	stats_add(s->w->stats, STATS_MIRRORED, 1);
	stream_run(s);
}

/* ---- the request ----------------------------------------------------------------------------- */

/* Where the caller itself names the address there is nothing to name here. */
static bool can_mirror_to(const struct stream *s, int64_t cluster)
{
	if (cluster < 0)
		return false;
	int kind = stream_snap(s)->clusters.v[cluster].kind;

	return kind == SNAP_CLUSTER_STATIC || kind == SNAP_CLUSTER_DNS;
}

static bool is_chosen(struct stream *s, const struct snap_mirror *m)
{
	return m->ppm >= PPM || (int64_t)rng_below(&s->w->rng, PPM) < m->ppm;
}

static void choose(struct stream *s)
{
	const struct snap_route *r = s->hit.route;
	struct mirror *m = arena_new(&s->arena, struct mirror);

	m->clusters = arena_new_n(&s->arena, size_t, r->mirrors.n);
	buf_init(&m->body);
	for (size_t i = 0; i < r->mirrors.n; i++) {
		if (!is_chosen(s, &r->mirrors.v[i]))
			continue;
		if (can_mirror_to(s, r->mirrors.v[i].cluster))
			m->clusters[m->n++] = (size_t)r->mirrors.v[i].cluster;
		else
			count_dropped(s, 1);
	}
	s->mirror = m->n > 0 ? m : NULL;
}

void mirror_begin(struct stream *s)
{
	if (s->req.upgrade.n > 0)
		return;
	choose(s);
	if (!s->mirror)
		return;
	mirror_data(s, &s->held);
	if (s->mirror && s->down.end_in)
		mirror_end(s);
}

void mirror_data(struct stream *s, const struct buf *b)
{
	struct mirror *m = s->mirror;

	if (m->body.n + b->n <= forward_kept_bytes(s)) {
		forward_copy(&m->body, b);
		return;
	}
	count_dropped(s, m->n);
	mirror_drop(s);
}

void mirror_end(struct stream *s)
{
	struct mirror *m = s->mirror;

	for (size_t i = 0; i < m->n; i++) {
		if (s->w->n_shadows < MIRRORS_MAX && !s->w->draining)
			send_copy(s, m->clusters[i], &m->body, i + 1 == m->n);
		else
			count_dropped(s, 1);
	}
	mirror_drop(s);
}

void mirror_drop(struct stream *s)
{
	buf_done(&s->mirror->body);
	s->mirror = NULL;
}
