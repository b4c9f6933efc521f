/* SPDX-License-Identifier: Apache-2.0 */
/* status: what is captured, and whether the kernel's rules are those that are wanted. Layer daemons/nft. */
#pragma once

#include <stdbool.h>

#include "doc/doc.h"
#include "nft/want.h"

enum status_state {
	STATUS_OFF,                     /* there is no table */
	STATUS_ON,
	STATUS_STALE,                   /* the configuration, or a unit's cgroup, is another one by now */
	STATUS_DAMAGED,                 /* somebody else has changed the table */
	STATUS__N
};

/* Everything that can be said, in the arena. 0, or a code when the kernel cannot be asked. */
int status_make(const struct want *w, const char *run_dir, struct arena *a, struct doc **ret, enum status_state *ret_state,
		struct err *err);
/* For people, on stdout. */
void status_print(const struct doc *status);
