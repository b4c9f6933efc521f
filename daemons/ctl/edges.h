/* SPDX-License-Identifier: Apache-2.0 */
/* edges: what the proxies saw on established connections (their method Edges). Layer daemons/ctl. */
#pragma once

#include "ctl/ctl.h"

/* Edges of every proxy that answers, as one list. *ret_answered: how many did; *err: of the last that did not. */
struct doc *edges_gather(struct ctl *c, size_t *ret_answered, struct err *err);
