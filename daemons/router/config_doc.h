/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_doc: the configuration in force with the origin of every value (Config, -T). Layer
 * daemons/router.
 */
#pragma once

#include <stdio.h>

#include "config/model.h"
#include "doc/doc.h"

/* kvmesh, origins, resources of the reply to Config. */
void config_doc_add(const struct model *m, struct arena *a, struct doc *reply);
/*
 * One setting a line: "mesh.trustDomain = "cluster.local"  # /etc/kvmesh/kvmesh.conf:3", then the
 * resources.
 */
void config_doc_print(FILE *out, const struct model *m);
