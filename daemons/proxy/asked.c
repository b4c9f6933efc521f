/* SPDX-License-Identifier: Apache-2.0 */
/* asked: see asked.h. Layer proxy. */
#include "config.h"

#include "proxy/asked.h"
#include "proxy/conn.h"
#include "proxy/grpc.h"
#include "proxy/listener.h"

#define BACKOFF_US 25000                /* where the route has no policy (Istio 2.5.8) */
#define ATTEMPTS 1                      /* Envoy's, when only the conditions are named */
#define ATTEMPTS_MAX 100
#define CODES_MAX 32

struct asked {
	int64_t timeout_us, per_try_us, attempts;       /* -1: not asked for */
	int64_t on;
	int64_t codes[CODES_MAX];
	size_t n_codes;
};

/* ---- reading ----------------------------------------------------------------------------------- */

static void put_ms(int64_t *to, struct str value)
{
	uint64_t v;

	if (str_to_u64(value, &v) && v <= UINT32_MAX)
		*to = (int64_t)v * 1000;
}

static void take_timeout(struct asked *a, struct str value)
{
	put_ms(&a->timeout_us, value);
}

static void take_per_try(struct asked *a, struct str value)
{
	put_ms(&a->per_try_us, value);
}

static void take_attempts(struct asked *a, struct str value)
{
	uint64_t v;

	if (str_to_u64(value, &v))
		a->attempts = v < ATTEMPTS_MAX ? (int64_t)v : ATTEMPTS_MAX;
}

static void take_code(struct asked *a, struct str word)
{
	uint64_t v;

	if (str_to_u64(word, &v) && v >= 100 && v <= 599 && a->n_codes < CODES_MAX)
		a->codes[a->n_codes++] = (int64_t)v;
}

static void take_conditions(struct asked *a, struct str list)
{
	for (struct str word; str_split(&list, ',', &word);)
		a->on |= snap_retry_condition(str_trim(word));
}

static void take_codes(struct asked *a, struct str list)
{
	for (struct str word; str_split(&list, ',', &word);)
		take_code(a, str_trim(word));
}

/* Envoy reads the gRPC conditions in a header of their own; in either they mean the same. */
static const struct {
	struct str name;
	void (*read)(struct asked *a, struct str value);
} headers[] = {
	{ { "x-envoy-upstream-rq-timeout-ms", 30 }, take_timeout },
	{ { "x-envoy-upstream-rq-per-try-timeout-ms", 38 }, take_per_try },
	{ { "x-envoy-max-retries", 19 }, take_attempts },
	{ { "x-envoy-retry-on", 16 }, take_conditions },
	{ { "x-envoy-retry-grpc-on", 21 }, take_conditions },
	{ { "x-envoy-retriable-status-codes", 30 }, take_codes },
};

static bool is_local_caller(const struct stream *s)
{
	const struct entry *e = s->down.conn->owner_data;

	return !s->entry.inbound && e->listener->kind != SNAP_LISTENER_GATEWAY;
}

void asked_note(struct stream *s, const struct head_field *f)
{
	size_t i = 0, n = sizeof(headers) / sizeof(headers[0]);

	while (i < n && !str_eq(headers[i].name, f->name))
		i++;
	if (i == n || !is_local_caller(s))
		return;
	if (!s->asked) {
		s->asked = arena_new(&s->arena, struct asked);
		s->asked->timeout_us = s->asked->per_try_us = s->asked->attempts = -1;
	}
	headers[i].read(s->asked, f->value);
}

/* ---- applying ---------------------------------------------------------------------------------- */

static void add_codes(struct snap_retry *r, const struct asked *a, struct arena *arena)
{
	int64_t *v = arena_alloc(arena, sizeof(*v) * (r->codes.n + a->n_codes));

	if (r->codes.n > 0)
		memcpy(v, r->codes.v, sizeof(*v) * r->codes.n);
	memcpy(v + r->codes.n, a->codes, sizeof(*v) * a->n_codes);
	r->codes.v = v;
	r->codes.n += a->n_codes;
}

/* The route's policy and what the caller adds to it; without conditions there is none. */
static const struct snap_retry *retry_of(struct stream *s, const struct snap_retry *of_route)
{
	const struct asked *a = s->asked;

	if (a->attempts < 0 && a->on == 0 && a->n_codes == 0)
		return of_route;
	if (!of_route && a->on == 0)
		return NULL;
	struct snap_retry *r = arena_new(&s->arena, struct snap_retry);

	if (of_route)
		*r = *of_route;
	else
		*r = (struct snap_retry){ .attempts = ATTEMPTS, .backoff_us = BACKOFF_US,
					  .ignore_previous_hosts = true };
	r->on |= a->on;
	if (a->attempts >= 0)
		r->attempts = a->attempts;
	if (a->n_codes > 0)
		add_codes(r, a, &s->arena);
	return r;
}

/*
 * A call's deadline runs from its beginning and covers all of it, whatever streams. A route's timeout
 * caps it, as it does any other.
 */
static void take_deadline(struct stream *s)
{
	struct str v = head_value(&s->req, HEAD_ID_GRPC_TIMEOUT);
	uint64_t us;

	if (s->rec.protocol != RECORD_GRPC || (s->entry.inbound && s->rec.mutual) || !grpc_timeout_us(v, &us))
		return;                 /* inbound: the caller's proxy keeps the time */
	s->route_at_us = s->rec.start_us + (us > 0 ? us : 1);
	stream_arm(s);
}

void asked_apply(struct stream *s)
{
	const struct snap_route *r = s->hit.route;
	const struct asked *a = s->asked;

	s->retry = r ? r->retry : NULL;
	s->timeout_us = r ? r->timeout_us : 0;
	s->per_try_us = s->retry ? s->retry->per_try_us : 0;
	if (a) {
		s->retry = retry_of(s, s->retry);
		if (a->timeout_us >= 0)
			s->timeout_us = a->timeout_us;
		if (a->per_try_us >= 0)
			s->per_try_us = a->per_try_us;
	}
	take_deadline(s);
}
