/* SPDX-License-Identifier: Apache-2.0 */
/*
 * advance: when a step of a rotation is over. Layer daemons/ca, above authority. A proxy that has not
 * acknowledged keeps its identity: the step waits for it and says so, until an administrator says
 * otherwise, or until nothing is left that could be lost.
 */
#pragma once

#include "ca/authority.h"
#include "doc/doc.h"

/* Every step that is over; an issuer that ends begins to be replaced. *ret_changed as in authority.h. */
int advance_run(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err);

enum advance_order {
	ADVANCE_ISSUER,         /* begin: another issuer of the same root */
	ADVANCE_ROOT,           /* begin: another root and issuer */
	ADVANCE_FORCE,          /* the present step waits for nobody any more */
	ADVANCE_ABORT,          /* not yet signing: back to what was */
};
/* -EBUSY: one is under way; -ENOENT: none is. */
int advance_order(struct authority *a, enum advance_order order, int64_t now_us, bool *ret_changed,
		  struct err *err);
/* 0; -EBUSY: one is under way; KV_ERR_CHECK: the files are somebody else's; -EAGAIN: no CA yet. */
int advance_may_begin(const struct authority *a, struct err *err);
/* What is under way and whom it waits for; NULL: nothing is. */
struct doc *advance_status(const struct authority *a, struct arena *arena);
/* How many are revoked, and which proxies do not know all of them yet. */
struct doc *advance_revoked_status(const struct authority *a, struct arena *arena);
