/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_record: let everything go, then say what happened, once. Last step of a stream. Layer proxy.
 */
#include "config.h"

#include "core/limit.h"
#include "proxy/conn.h"
#include "proxy/ejection.h"
#include "proxy/ext_authz.h"
#include "proxy/stream.h"

static void note_trailers(struct stream *s)
{
	struct str v = head_value(&s->res_trailers, HEAD_ID_GRPC_STATUS);
	uint64_t code;

	if (s->rec.protocol == RECORD_GRPC && str_to_u64(v, &code) && code < 1000)
		s->rec.grpc_status = (int)code;
}

/* A readiness probe is nobody's traffic. */
static bool is_traffic(const struct stream *s)
{
	return s->entry.inbound || s->entry.view >= 0 || s->fail != FAIL_NONE;
}

enum next step_record(struct stream *s)
{
	struct record *r = &s->rec;

	stream_end_try(s, s->fail);
	if (s->holds_request)
		limit_give(&s->lease->at->clusters[s->cluster_index].state->requests);
	s->holds_request = false;
	leg_reset(&s->down, s->fail);
	note_trailers(s);
	ejection_grpc_ended(s);
	r->request_messages = s->req_messages.n;
	r->response_messages = s->res_messages.n;
	r->fail = s->fail;
	r->end_us = stream_now(s);
	if (s->answers)
		ext_authz_answered(s);
	if (s->question)
		return NEXT_STEP;
	if (s->shadow)
		stats_add(s->w->stats, STATS_MIRROR_FAILED, s->fail != FAIL_NONE);
	else if (s->http ? is_traffic(s) : true)
		stream_emit_end(s);
	return NEXT_STEP;
}
