/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources: what is in force, from the router; from the files when only they were named or there
 * is no router. Layer daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"

/*
 * Rows {kind, namespace, name, source "FILE:LINE", scope, spec, …}, or an exit code with the
 * message printed.
 */
int resources_gather(struct ctl *c, struct doc **ret);
/* The row of "NAME.NAMESPACE" (a namespace has no dots), or NULL. */
const struct doc *resources_find(const struct doc *rows, const char *kind, struct str name);
