/* SPDX-License-Identifier: Apache-2.0 */
/* cross_origin: see cross_origin.h. Layer proxy. */
#include "config.h"

#include "core/cors.h"
#include "proxy/cross_origin.h"
#include "proxy/reply.h"

bool cross_origin_answers(struct stream *s)
{
	unsigned limits = 0;
	enum cors_verdict v = cors_judge(s->hit.cors, &s->req, s->w->regex, &limits);

	for (; limits > 0; limits--)
		stats_add_reason(s->w->stats, "kvmesh_bad_input_total", "regex", "match_limit");
	if (v == CORS_ALLOWED)
		s->cross_origin = head_joined(&s->req, STR("origin"));
	if (v != CORS_PREFLIGHT && v != CORS_PREFLIGHT_OTHER)
		return false;
	reply_preflight(s, v == CORS_PREFLIGHT);
	return true;
}

void cross_origin_put(struct stream *s, struct head *h)
{
	cors_put(s->hit.cors, s->cross_origin, h);
}
