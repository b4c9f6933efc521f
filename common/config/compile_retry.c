/* SPDX-License-Identifier: Apache-2.0 */
/* compile_retry: retry policies and their default (2.5.4–2.5.6). Layer config. */
#include "config/compile_parts.h"

#define ATTEMPTS 2
#define BACKOFF_US 25000
#define DEFAULT_ON                                                                                 \
	(SNAP_RETRY_CONNECT_FAILURE | SNAP_RETRY_REFUSED_STREAM | SNAP_RETRY_GRPC_UNAVAILABLE |    \
	 SNAP_RETRY_GRPC_CANCELLED | SNAP_RETRY_STATUS_CODES)

static void put_conditions(struct compile *c, struct str list, struct snap_retry *ret)
{
	size_t cap = 0;
	for (struct str word; str_split(&list, ',', &word);) {
		uint64_t code;
		word = str_trim(word);
		if (str_to_u64(word, &code) && code >= 100 && code <= 599) {
			*compile_push(c, ret->codes, cap) = (int64_t)code;
			ret->on |= SNAP_RETRY_STATUS_CODES;
		} else {
			ret->on |= snap_retry_condition(word);
		}
	}
}

struct snap_retry *compile_retry(struct compile *c, const struct model_http_retry *r)
{
	static const struct model_http_retry none;
	const struct model_http_retry *dflt = c->m->mesh.mesh.defaultHttpRetryPolicy;
	if (!r)
		r = dflt ? dflt : &none;
	if (r->has_attempts && r->attempts == 0)
		return NULL;
	struct snap_retry *ret = arena_new(c->a, struct snap_retry);
	ret->attempts = r->has_attempts ? r->attempts : ATTEMPTS;
	ret->per_try_us = r->has_perTryTimeout ? r->perTryTimeout : 0;
	ret->backoff_us = r->has_backoff && r->backoff > 0 ? r->backoff : BACKOFF_US;
	ret->ignore_previous_hosts =
		!r->has_retryIgnorePreviousHosts || r->retryIgnorePreviousHosts;
	ret->remote_localities = r->retryRemoteLocalities;
	if (r->retryOn.n > 0)
		put_conditions(c, r->retryOn, ret);
	else
		ret->on = DEFAULT_ON;
	return ret;
}
