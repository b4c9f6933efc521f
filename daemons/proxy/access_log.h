/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log: Istio's access log, formatted in the worker into a bounded ring of its own and written by one
 * writer in the control thread: the request path never blocks, a full ring drops and counts. Layer proxy.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "io/loop.h"
#include "proxy/record.h"

struct access_log;              /* one worker's ring */
struct access_log_writer;       /* the control thread's */

struct access_log_writer *access_log_writer_new(struct loop *control, size_t n_workers);
void access_log_writer_free(struct access_log_writer *w);
/* "" off, "/dev/stdout" (the journal under systemd), or a path (reopened on reopen). */
int access_log_configure(struct access_log_writer *w, struct str path, bool json, struct str format, struct err *err);
void access_log_reopen(struct access_log_writer *w);
struct access_log *access_log_ring(struct access_log_writer *w, size_t worker);
bool access_log_is_on(const struct access_log *ring);
/* False: dropped. Worker's thread. */
bool access_log_add(struct access_log *ring, const struct record *r);
