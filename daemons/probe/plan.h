/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: what is to be probed, and when. Layer daemons/probe. Owns one entry a probe and the
 * attempts under way; at most PLAN_RUNNING_MAX at a time, the others wait their turn. A probe has
 * one attempt at a time: the next one begins a period after the last began, or when it ended.
 */
#pragma once

#include "doc/doc.h"
#include "io/loop.h"

#define PLAN_MAX 4096
#define PLAN_RUNNING_MAX 64

struct plan_result {
	struct str id;
	int64_t round;
	bool ok;
	const char *why;
};
typedef void (*plan_result_fn)(void *arg, const struct plan_result *r);

struct plan;
struct plan *plan_new(struct loop *l, plan_result_fn fn, void *arg);
void plan_free(struct plan *p);
/* The router's list ("probes" of the reply to Probes). What is as it was goes on as it did. */
void plan_follow(struct plan *p, const struct doc *list);
