/* SPDX-License-Identifier: Apache-2.0 */
/* ejection: see ejection.h. Layer proxy. */
#include "config.h"

#include "base/log.h"
#include "proxy/ejection.h"
#include "proxy/stream.h"

static struct outlier_host *host(void *arg, size_t i)
{
	struct attached_cluster *c = arg;

	return &c->endpoints[i].state->outlier;
}

struct outlier_set ejection_set(struct attached_cluster *c)
{
	return (struct outlier_set){ .n = c->n, .get = host, .arg = c };
}

static const struct snap_outlier *rules(const struct stream *s)
{
	return s->endpoint && s->cluster ? s->cluster->outlier : NULL;
}

static struct outlier_set set_of(const struct stream *s)
{
	return ejection_set(&s->lease->at->clusters[s->cluster_index]);
}

/* From the choice on, so that a connection that takes long counts. */
static void observe(struct stream *s, uint64_t least_us)
{
	uint64_t now = stream_now(s), us = now - s->try_began_us;

	if (s->target.endpoint && s->cluster && s->cluster->lb == SNAP_LB_EWMA)
		ewma_observe(&s->target.endpoint->ewma, us > least_us ? us : least_us, now);
}

static void tell(struct stream *s, uint64_t us, enum outlier_kind why)
{
	static const char *const words[] = { [OUTLIER_5XX] = "answers 5xx",
					     [OUTLIER_GATEWAY] = "answers 502, 503 or 504",
					     [OUTLIER_LOCAL] = "failed connections" };

	stats_add(s->w->stats, STATS_EJECTIONS, 1);
	log_warn("%.*s: endpoint %.*s:%lld is left out for %llu s: too many %s in a row",
		   STR_ARG(s->cluster->name), STR_ARG(s->endpoint->address),
		   (long long)s->endpoint->port, (unsigned long long)(us / 1000000), words[why]);
}

static void answered(struct stream *s, unsigned status)
{
	struct outlier_set set = set_of(s);
	enum outlier_kind why;
	uint64_t us;

	if (outlier_answered(rules(s), &set, s->endpoint_index, status, stream_now(s), &us, &why))
		tell(s, us, why);
}

void ejection_answered(struct stream *s)
{
	uint64_t code;

	observe(s, s->res.status >= 502 && s->res.status <= 504 ? EWMA_FAILED_US : 0);
	if (!rules(s))
		return;
	if (s->rec.protocol != RECORD_GRPC)
		answered(s, s->res.status);
	else if (s->res.status != 200)
		answered(s, s->res.status);
	else if (str_to_u64(head_value(&s->res, HEAD_ID_GRPC_STATUS), &code) && code < 1000)
		answered(s, outlier_status_of_grpc((int)code));
}

void ejection_grpc_ended(struct stream *s)
{
	/* A status in the head was counted when that came. */
	if (rules(s) && s->rec.grpc_status >= 0 && s->fail == FAIL_NONE &&
	    !head_find(&s->res, HEAD_ID_GRPC_STATUS))
		answered(s, outlier_status_of_grpc(s->rec.grpc_status));
}

void ejection_broke(struct stream *s)
{
	enum outlier_kind why;
	uint64_t us;

	observe(s, EWMA_FAILED_US);
	if (!rules(s))
		return;
	struct outlier_set set = set_of(s);

	if (outlier_broke(rules(s), &set, s->endpoint_index, stream_now(s), &us, &why))
		tell(s, us, why);
}

void ejection_connected(struct stream *s)
{
	if (!s->http)
		observe(s, 0);
	if (rules(s))
		outlier_connected(rules(s), &s->target.endpoint->outlier, !s->http);
}
