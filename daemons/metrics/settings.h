/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings: what kvmesh.conf says to this daemon, told by the router: it never reads /etc itself.
 * Layer metrics.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "io/sock.h"

#define SETTINGS_LISTEN "127.0.0.1:15090"
#define SETTINGS_INTERVAL_US (5u * 1000 * 1000)

struct settings {
	struct sock_addr listen;        /* len 0: off */
	uint64_t interval_us;           /* of background scrapes */
};

/* "ADDRESS:PORT", "[V6]:PORT"; "" and port 0: len 0. */
int settings_parse_listen(struct str text, struct sock_addr *ret, struct err *err);

struct settings_watch;
/*
 * told: once soon, with the router's word or, when it is silent for a while, the defaults; then
 * whenever it is another.
 */
struct settings_watch *settings_watch_new(struct loop *l, const char *run_dir,
					  void (*told)(void *arg, const struct settings *s),
					  void *arg);
void settings_watch_free(struct settings_watch *w);
void settings_watch_ask(struct settings_watch *w);      /* the router has another generation */
