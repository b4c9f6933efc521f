/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doors: the addresses that this process listens on, and their sockets. Layer proxy, control thread. An address that
 * the next snapshot wants too stays open; the workers accept on descriptors of their own for the same sockets, so that
 * whole sockets, with who waits in them, can be passed on to the next process (handover.h) or be kept by the service
 * manager. Owns the descriptors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "doc/doc.h"
#include "io/sock.h"
#include "proxy/gate.h"
#include "snap/snap.h"

/* One socket of a door. TCP: one per worker, and the kernel spreads connections (SO_REUSEPORT). */
struct door_socket {
	int fd;                         /* ours */
	int given;                      /* the worker's until it is sent there: then -1 */
	size_t worker;
};

struct door {
	uint64_t id;
	struct snap_listener desc;      /* as configured; strings are owned */
	struct sock_addr addr;          /* as bound */
	struct gate_door *count;        /* connections of all workers through it */
	struct door_socket *v;
	size_t n;
	/* Sockets of an earlier process: who waits in them does so until this one can serve, at most this long. */
	uint64_t patience_us;
	bool keep;
};

enum door_origin {
	DOOR_ORIGIN_MANAGER,            /* the service manager made it and keeps it: for all workers, whatever snapshots want */
	DOOR_ORIGIN_OURS                /* an earlier process of ours made it: for one worker, as long as a snapshot wants it */
};

struct doors;
struct doors *doors_new(void);
void doors_free(struct doors *d);       /* NULL is fine */
/* A listening socket that is there already; takes fd. Before the first doors_follow. */
void doors_inherit(struct doors *d, int fd, enum door_origin origin);
void doors_be_patient(struct doors *d, uint64_t us);    /* door.patience_us of what is inherited */
/*
 * The list becomes the snapshot's: what is missing is opened for n workers, what it does not want is closed; all or
 * nothing. Negative: an address cannot be opened.
 */
int doors_follow(struct doors *d, const struct snap *s, size_t n, struct err *err);
/* The open one for this description. */
struct door *doors_find(const struct doors *d, const struct snap_listener *desc);
void doors_close(struct doors *d);      /* all that is ours; workers close theirs */
/* Bound listeners as {kind, address, port} for Status. */
struct doc *doors_list(const struct doors *d, struct arena *a);
/* All descriptors with where they come from, until fn says no. */
void doors_each(const struct doors *d, bool (*fn)(void *arg, int fd, enum door_origin origin), void *arg);
