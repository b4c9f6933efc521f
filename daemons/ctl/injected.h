/* SPDX-License-Identifier: Apache-2.0 */
/* injected: what inject, uninject, check-inject and label share. Layer daemons/ctl. */
#pragma once

#include "config/model.h"
#include "ctl/ctl.h"

/* First line of the files that inject writes (changes.h). */
#define INJECTED_SIGN                                                                              \
	"# Written by \"kvmeshctl inject\", removed by \"kvmeshctl uninject\". "

/* The Workload of that unit, or NULL. */
const struct model_workload *injected_workload(const struct model *m, struct str unit);
/* Where systemd finds the drop-in: "/run/systemd/generator/shop.service.d/50-kvmesh.conf". */
struct str injected_dropin_path(struct arena *a, struct str unit);
/*
 * After a change of files: systemd makes its drop-ins anew, the router reads, the rules of the
 * packet filter follow. Returns 0 or an exit code with the message printed.
 */
int injected_settle(struct ctl *c);
