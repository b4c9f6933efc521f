/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log: Istio's access log. A worker puts the facts of an exchange into a bounded ring of its
 * own; one writer in the control thread formats and writes them in batches: the request path never
 * blocks and never formats, a full ring drops and counts. Layer proxy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "proxy/record.h"

#define ACCESS_LOG_RING_BYTES (1u << 20)        /* of one worker */

struct access_log;              /* one worker's ring */
struct access_log_writer;       /* the control thread's */

struct access_log_writer *access_log_writer_new(struct loop *control, size_t n_workers);
/* Writes what waits as far as that does not block. After the workers have stopped. */
void access_log_writer_free(struct access_log_writer *w);
/*
 * "" off, "/dev/stdout" (the journal under systemd), "/dev/stderr", or a path that is opened for
 * appending. format
 * "" is Istio's. With json a format is an object of names and formats. On an error nothing changes.
 */
int access_log_configure(struct access_log_writer *w, struct str path, bool json, struct str format,
			 struct err *err);
/* Whether a format can be used, without changing anything: KV_ERR_SYNTAX or KV_ERR_SCHEMA. */
int access_log_check(bool json, struct str format, struct err *err);
void access_log_reopen(struct access_log_writer *w);
/*
 * Lines that could not be written: disk full, reader gone. What workers drop they count themselves.
 */
uint64_t access_log_lost(const struct access_log_writer *w);
struct access_log *access_log_ring(struct access_log_writer *w, size_t worker);
bool access_log_is_on(const struct access_log *ring);
/* False: dropped. Worker's thread. */
bool access_log_add(struct access_log *ring, const struct record *r);
