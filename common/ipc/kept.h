/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept: what a daemon last knew, on disk for a start without its neighbours: checksummed, replaced
 * atomically, with the generation before it beside it as PATH.prev (security-model C1). Layer ipc
 * (it stands on base alone; every user of it keeps something that came over ipc).
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/* Replace path, mode 0600. */
int kept_save(const char *path, struct str data, struct err *err);
/*
 * Read path, or PATH.prev when path is missing or damaged (a log line says so). At most max bytes;
 * *ret is malloc'ed with a NUL behind it. -ENOENT when there is neither; KV_ERR_SYNTAX when what is
 * there is damaged.
 */
int kept_load(const char *path, size_t max, char **ret, size_t *ret_n, struct err *err);
