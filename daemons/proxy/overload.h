/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload: how near this process is to the end of its memory, connections and descriptors, and
 * what is given up for it, step by step (docs/overload.md, security-model L17). Layer proxy. The
 * control thread measures; each worker is told the level by a post and keeps it as a plain number.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "snap/snap.h"

enum overload_level {
	OVERLOAD_NONE,
	OVERLOAD_TRIM,                  /* give back what is only kept for speed */
	OVERLOAD_TIGHT,                 /* short idle timeouts, nothing kept for retries */
	OVERLOAD_SHED,                  /* no keep-alive: Connection: close, GOAWAY */
	OVERLOAD_FULL,                  /* new requests 503 UO, accepting rests */
	OVERLOAD_LEVEL__N
};
extern const char *const overload_level_names[OVERLOAD_LEVEL__N];

enum overload_resource { OVERLOAD_MEMORY, OVERLOAD_CONNECTIONS, OVERLOAD_DESCRIPTORS,
			 OVERLOAD_RESOURCE__N };
extern const char *const overload_resource_names[OVERLOAD_RESOURCE__N];

/* The level for that many thousandths of a limit; a level is left only well below where it began. */
enum overload_level overload_next(enum overload_level now, uint64_t permille);

/* Idle time of a client's connection at that level. */
uint64_t overload_idle_us(enum overload_level level, int64_t configured_us);

/* ---- control thread ---- */
struct worker;
/* The level from now on; again at the same level: give back what has gathered since. */
void overload_tell(struct worker *w, enum overload_level level);
struct overload;
struct loop;
struct worker_set;
struct families;
struct overload *overload_new(struct loop *control, struct worker_set *ws);
void overload_free(struct overload *o);
/* Limits of a new snapshot; what it does not say is derived from the machine. */
void overload_configure(struct overload *o, const struct snap_settings *set);
void overload_write_families(const struct overload *o, struct str proxy, struct families *f);

/* ---- overload_measure.c ---- */
/*
 * The smallest of memory.max and memory.high from the cgroup own ("/a/b", of /proc/self/cgroup) up
 * to the root of the hierarchy mounted at root; 0: none is set.
 */
uint64_t overload_memory_limit(const char *root, struct str own);
/*
 * Bytes of memory in use. Of the whole cgroup, with what the kernel holds in socket buffers, when
 * nobody else is in it; else resident pages of this process.
 */
uint64_t overload_memory_used(const char *root, struct str own);
/* Our path in the unified hierarchy, malloc'ed; NULL none. */
char *overload_own_cgroup(void);
/* Open descriptors, and how many there may be (the soft limit is raised to the hard one first). */
uint64_t overload_descriptors(void);
uint64_t overload_descriptor_limit(void);
