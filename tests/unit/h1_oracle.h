/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_oracle: HTTP/1 heads read slowly and obviously, from the rules of security-model 5.1 and 5.2
 * alone: the whole message at once, one pass for each rule, nothing shared with common/http but
 * struct h1_limits. What it says is text, so that a difference can be read.
 */
#pragma once

#include "base/arena.h"
#include "http/h1.h"

struct oracle {
	enum h1_result result;
	unsigned status;                /* H1_BAD */
	const char *reason;
	size_t used;                    /* H1_DONE */
	struct str text;                /* H1_DONE: all that was read, in the arena */
};

void oracle_request(struct arena *a, const struct h1_limits *lim, struct str in, struct oracle *ret);
void oracle_response(struct arena *a, const struct h1_limits *lim, struct str in, struct str method,
		     struct oracle *ret);
/* The same text of what the parser read. */
struct str oracle_text(struct arena *a, const struct head *h, bool fragment);
