/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: what is looked at: the mesh port and application ports, as the router says it from the
 * configuration. Layer daemons/witness. In the arena it was read into.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "doc/doc.h"

#define PLAN_PORTS_MAX 512
#define PLAN_OWN_MAX 4

struct plan_port {
	struct str address;             /* an IP address in text, checked */
	bool is_v6;
	uint16_t port;
	bool captured;                  /* connections from outside arrive at the proxy */
	struct str workload;            /* NAME.NAMESPACE */
};
struct plan {
	uint16_t mesh_port;             /* 0: none */
	uint16_t inbound_port;          /* of the proxy, for captured connections; 0: none */
	struct plan_port *ports;        /* no (address, port) twice */
	size_t n_ports, n_left_off;     /* more than PLAN_PORTS_MAX are not looked at */
	uid_t own[PLAN_OWN_MAX];        /* who may speak plainly with applications here */
	size_t n_own;
};

/* The router's reply "Wire". What is no address or no port is an error: nothing hostile may reach nft. */
int plan_read(const struct doc *wire, struct arena *a, struct plan *ret, struct err *err);
bool plan_eq(const struct plan *x, const struct plan *y);
/* Into another arena. */
struct plan plan_copy(const struct plan *p, struct arena *a);
