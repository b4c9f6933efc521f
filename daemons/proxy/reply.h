/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply: answers that are made here: failures, redirects, direct responses, readiness. A gRPC
 * caller gets its status in its own form (Istio 2.16). Layer proxy.
 */
#pragma once

#include "proxy/stream.h"

/* Whole answer on the down leg, which must be attached and without a head. details may be NULL. */
void reply_status(struct stream *s, unsigned status, struct str body, const char *details);
/* The answer of fail_rows[s->fail]. */
void reply_failure(struct stream *s, unsigned status);
/* Somebody else's answer: status, fields and body as they are. */
void reply_given(struct stream *s, unsigned status, const struct head *fields, struct str body,
		 const char *details);
/* 200 to a CORS preflight; allowed: with what the policy allows. */
void reply_preflight(struct stream *s, bool allowed);
void reply_redirect(struct stream *s, unsigned status, struct str location);
