/* SPDX-License-Identifier: Apache-2.0 */
/* asked: see asked.h. Layer proxy. */
#include "config.h"

#include "core/asked.h"
#include "proxy/asked.h"
#include "proxy/conn.h"
#include "proxy/grpc.h"
#include "proxy/listener.h"

static bool is_local_caller(const struct stream *s)
{
	const struct entry *e = s->down.conn->owner_data;

	return !s->entry.inbound && e->listener->kind != SNAP_LISTENER_GATEWAY;
}

void asked_note(struct stream *s, const struct head_field *f)
{
	if (!asked_is_one(f->name) || !is_local_caller(s))
		return;
	if (!s->asked) {
		s->asked = arena_new(&s->arena, struct asked);
		asked_init(s->asked);
	}
	asked_read(s->asked, f->name, f->value);
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
		s->retry = asked_retry(a, s->retry, &s->arena);
		if (a->timeout_us >= 0)
			s->timeout_us = a->timeout_us;
		if (a->per_try_us >= 0)
			s->per_try_us = a->per_try_us;
	}
	take_deadline(s);
}
