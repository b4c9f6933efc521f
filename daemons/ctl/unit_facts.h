/* SPDX-License-Identifier: Apache-2.0 */
/* unit_facts: what systemd knows of a unit that somebody wants to inject. Layer daemons/ctl. */
#pragma once

#include "ctl/ctl.h"

struct unit_facts {
	struct str id;                  /* its own name, when it was asked for by an alias */
	struct str load;                /* "loaded", "not-found", "masked", … */
	struct str cgroup, user;
	bool active;                    /* its processes run */
	bool early;                     /* has to be up before the network is */
	bool own_network;               /* PrivateNetwork=: nobody reaches its ports */
	bool ordered;                   /* the drop-in of kvmesh-generator is in force */
};
/* Returns 0 or an exit code with the message printed. A unit that is not there is no failure. */
int unit_facts_read(struct ctl *c, struct str unit, struct unit_facts *ret);
/* Units that systemd has loaded and whose names fit the pattern. The same. */
int unit_facts_list(struct ctl *c, struct str pattern, struct str **ret, size_t *ret_n);
/* Its files as they are in force, one behind the other. */
struct str unit_facts_text(struct ctl *c, struct str unit);
