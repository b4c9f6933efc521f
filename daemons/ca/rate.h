/* SPDX-License-Identifier: Apache-2.0 */
/* rate: how often each user may ask, and all together (security-model L15). Layer daemons/ca. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RATE_USERS 256                  /* beyond it the least recent user is forgotten */
#define RATE_NODE_PER_SECOND 500

struct rate_bucket {
	uid_t uid;
	bool used;
	int64_t tokens;                 /* millionths of a request */
	uint64_t at_us;                 /* of the last refill */
};

struct rate {
	int64_t per_second, burst;      /* of each user */
	struct rate_bucket node;
	struct rate_bucket users[RATE_USERS];
};

void rate_init(struct rate *r, int64_t per_second, int64_t burst);
/* New figures for the users; what they used up stays used. */
void rate_set(struct rate *r, int64_t per_second, int64_t burst);
bool rate_take(struct rate *r, uid_t uid, uint64_t now_us);
