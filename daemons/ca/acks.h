/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acks: what each proxy instance has told to be in force in all of its threads: which trust bundle,
 * which issuer's certificates, which list of what is revoked. Layer daemons/ca. Kept in memory: a
 * proxy tells it again whenever it connects.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "base/str.h"
#include "ca/registry.h"

#define ACKS_MAX 1024
#define ACKS_ISSUER_MAX 65

struct ack {
	char *proxy;
	int64_t generation;             /* of the bundle */
	int64_t revision;               /* of what is revoked */
	char issuer[ACKS_ISSUER_MAX];   /* all of its certificates are of that one; "" not yet */
};

struct acks {
	struct map by_proxy;            /* name → struct ack */
};

void acks_init(struct acks *a);
void acks_done(struct acks *a);
/* Another word of the same proxy replaces the one before. Names are the registry's, so few. */
void acks_take(struct acks *a, struct str proxy, const struct ack *word);

/* What is waited for. */
struct acks_goal {
	int64_t generation;             /* 0: does not matter */
	int64_t revision;               /* the same */
	const char *issuer;             /* NULL: does not matter */
};
/* Calls fn (may be NULL) for each instance of the registry that is not there yet; how many. */
size_t acks_missing(const struct acks *a, const struct registry *r, const struct acks_goal *goal,
		    void (*fn)(void *arg, struct str proxy), void *arg);
