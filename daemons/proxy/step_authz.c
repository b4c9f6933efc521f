/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_authz: may this caller. What PeerAuthentication asks of a connection was enforced when it
 * came in; a connection that outlives a snapshot is held against the new one here, request by
 * request (promise P7). Layer proxy.
 */
#include "config.h"

#include "proxy/conn.h"
#include "proxy/listener.h"
#include "proxy/stream.h"

static enum next fail(struct stream *s, enum fail why)
{
	s->fail = why;
	return NEXT_FAIL;
}

static enum next inbound(struct stream *s)
{
	const struct snap_inbound *to = s->entry.target;

	if (!to)                        /* no longer here */
		return fail(s, FAIL_NO_ROUTE);
	if (to->mtls == SNAP_MTLS_STRICT && !s->rec.mutual)
		return fail(s, FAIL_PLAINTEXT);
	return NEXT_STEP;
}

/* node.unregisteredCallers = "refuse". A gateway's callers are outside anyway. */
static enum next outbound(struct stream *s)
{
	return s->entry.view >= 0 ? NEXT_STEP : fail(s, FAIL_DENIED);
}

enum next step_authz(struct stream *s)
{
	return s->entry.inbound ? inbound(s) : outbound(s);
}
