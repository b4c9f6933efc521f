/* SPDX-License-Identifier: Apache-2.0 */
/* rate: token buckets in a table of fixed size. Layer daemons/ca. */
#include "config.h"

#include <stddef.h>

#include "ca/rate.h"

#define TOKEN 1000000ll

void rate_init(struct rate *r, int64_t per_second, int64_t burst)
{
	*r = (struct rate){ .per_second = per_second, .burst = burst };
}

void rate_set(struct rate *r, int64_t per_second, int64_t burst)
{
	r->per_second = per_second;
	r->burst = burst;
}

static bool take_token(struct rate_bucket *b, int64_t per_second, int64_t burst, uint64_t now_us)
{
	int64_t full = burst * TOKEN;
	uint64_t passed = now_us - b->at_us;
	/* After this long any bucket is full again; also keeps the product small. */
	int64_t gained = passed > 3600ull * 1000000 ? full : (int64_t)passed * per_second;

	if (!b->used)
		gained = full;
	b->used = true;
	b->at_us = now_us;
	b->tokens = b->tokens + gained < full ? b->tokens + gained : full;
	if (b->tokens < TOKEN)
		return false;
	b->tokens -= TOKEN;
	return true;
}

static struct rate_bucket *find_user(struct rate *r, uid_t uid)
{
	struct rate_bucket *oldest = &r->users[0];

	for (size_t i = 0; i < RATE_USERS; i++) {
		struct rate_bucket *b = &r->users[i];

		if (b->used && b->uid == uid)
			return b;
		if (!b->used || (oldest->used && b->at_us < oldest->at_us))
			oldest = b;
		if (!b->used)
			break;
	}
	*oldest = (struct rate_bucket){ .uid = uid };
	return oldest;
}

bool rate_take(struct rate *r, uid_t uid, uint64_t now_us)
{
	/* The user's own bucket first: whoever floods must not use up the node's. */
	return take_token(find_user(r, uid), r->per_second, r->burst, now_us) &&
	       take_token(&r->node, RATE_NODE_PER_SECOND, RATE_NODE_PER_SECOND, now_us);
}
