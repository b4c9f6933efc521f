/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: where no plain byte may be seen on this node: the mesh port, and the application ports that
 * PeerAuthentication makes STRICT. Layer daemons/router. For kvmesh-witness, which looks at packets.
 */
#pragma once

#include "config/model.h"

/* The members of docs/IPC.md "Wire". */
void wire_add(const struct model *m, struct arena *a, struct doc *to);
