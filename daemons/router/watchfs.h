/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchfs: tells when files below a directory changed, debounced: an editor or a package writes
 * several in a row. Layer daemons/router. Owns the inotify descriptor. A directory that vanishes is
 * looked for until it is back.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#define WATCHFS_DEBOUNCE_US (50u * 1000)        /* quiet time before fn runs */
#define WATCHFS_DEBOUNCE_MAX_US (500u * 1000)   /* and the longest it is put off */
#define WATCHFS_DIRS_MAX 4096

struct watchfs;
/*
 * is_ignored: names (without directory) that never matter, editors' leftovers. fn runs from the
 * loop. -errno when there is no inotify; the directory itself may be missing.
 */
int watchfs_new(struct loop *l, const char *dir, bool (*is_ignored)(const char *name),
		void (*fn)(void *arg), void *arg, struct watchfs **ret, struct err *err);
void watchfs_free(struct watchfs *w);           /* NULL is fine */
