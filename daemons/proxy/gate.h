/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate: what all workers together have let in: connections, and TLS handshakes that are not
 * finished, in total and by source address (security-model L4, L5). Layer proxy. Touched when a
 * connection comes and goes, never by a request. Sources are counted in two rows of slots chosen by
 * a keyed hash: fixed memory whatever comes, and two sources that share both slots share a limit.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "proxy/conn.h"

#define GATE_SLOTS 1024
#define GATE_HANDSHAKES 1000
#define GATE_HANDSHAKES_PER_SOURCE 100

struct gate {
	atomic_uint conns, handshakes;
	atomic_uint max_conns, max_handshakes, max_per_source;  /* the control thread's to set */
	uint64_t key[2];
	atomic_uint sources[2][GATE_SLOTS];
};

void gate_init(struct gate *g);
/* NULL: come in. Else why not, a word of a fixed set; nothing was counted. */
const char *gate_take_conn(struct gate *g);
void gate_give_conn(struct gate *g);
/*
 * The more handshakes wait, the more of the new ones are refused at random, so that a flood does
 * not shut out everybody else. A source on this very host has half of all and no such lottery: it
 * is the proxy itself, or a process that can do worse.
 */
const char *gate_take_handshake(struct gate *g, struct rng *rng, const struct conn *c);
void gate_give_handshake(struct gate *g, const struct conn *c);

/* Connections through one address, over all workers. */
struct gate_door {
	atomic_uint refs, conns;
};
struct gate_door *gate_door_new(void);
struct gate_door *gate_door_ref(struct gate_door *d);   /* any thread */
void gate_door_unref(struct gate_door *d);              /* any thread */
