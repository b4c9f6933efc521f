/* SPDX-License-Identifier: Apache-2.0 */
/* edges: what the proxies saw on established connections. Layer daemons/ctl. */
#pragma once

#include "ctl/ctl.h"

/* Edges of every proxy that answers; *ret_answered: how many did, *err: of those that did not. */
struct doc *edges_gather(struct ctl *c, size_t *ret_answered, struct err *err);
