/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules: a plan as a batch for nft(8), in a table of its own. Layer daemons/witness. Pure.
 *   counter mesh_PORT   what this node sends from or to the mesh port on a connection whose first bytes are no
 *                       TLS record
 *   counter captured_PORT  what the proxy answers plainly to who dialled that port from outside
 *   counter app_PORT    what somebody but the proxy says to an application, or hears from it
 * Nothing is ever dropped or changed. Bytes are those of whole packets, headers included.
 */
#pragma once

#include "witness/plan.h"

#define RULES_TABLE "kvmesh_witness"

/* fresh: from nothing, counters at 0; else what was counted, and the connections known, stay. */
struct str rules_text(const struct plan *p, bool fresh, struct arena *a);
