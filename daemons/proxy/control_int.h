/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_int: the inside of control, shared by control.c (snapshots), control_api.c (the socket)
 * and control_stats.c (its own families). Layer proxy, control thread.
 */
#pragma once

#include "io/loop.h"
#include "ipc/ipc.h"
#include "proxy/access_log.h"
#include "proxy/attach.h"
#include "proxy/control.h"
#include "proxy/jwks.h"
#include "proxy/lookup.h"
#include "proxy/named.h"
#include "proxy/secrets.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

struct families;
struct overload;

/* The last word for the router about a snapshot. */
struct control_ack {
	int64_t version;                /* 0: none yet */
	char *error;                    /* NULL: served */
	bool waiting;                   /* for certificates */
	bool told;                      /* the router has taken it */
};

struct control {
	struct loop *loop;
	struct worker_set *ws;
	char *run_dir, *instance, *kept_path;
	int ready_fd, socket_fd;        /* socket_fd: a copy of the server's */
	struct upgrade *upgrade;        /* NULL: none is possible */
	void (*on_ready)(void *arg);
	void *arg;

	struct ipc_client *watch, *call;
	struct ipc_server *server;      /* NULL: for control_take_over to begin */
	struct loop_timer watch_retry, silent, ack_retry, ack_deadline, republish, unknown, probe, redial, trim;
	struct control_ack ack;

	struct attach_state *states;
	struct attached *at;            /* what workers serve; NULL: nothing yet */
	struct snap *given;             /* … as it came, with names where at has addresses */
	struct egress *egress;
	struct jwks *jwks;
	struct lookup *lookup;
	struct resolver *resolver;
	struct secrets *secrets;
	struct access_log_writer *log;
	struct overload *overload;
	struct stats *own; /* the control thread's counters, exported with the workers' */
	uint64_t lost_lines;            /* of access_log_lost, already counted in own */

	unsigned n_taking;              /* attachments that workers have not all taken yet */
	struct secrets_mark published;  /* what the last one is of */
	bool stale;                     /* at came from disk and the router has not confirmed it */
	bool ready;                     /* on_ready was called */
	bool stopping;
	bool last_load_ok;
	int64_t started_real_us, last_ok_real_us;
	uint64_t started_us;
};

/* All workers' counters and own; the caller frees the array. */
struct stats **control_all_stats(struct control *c, size_t *ret_n);
/* Serves certificates of all its identities right now. */
bool control_is_ready(const struct control *c);

/* control_api.c */
int control_listen(struct control *c, struct err *err);
void control_serve(struct control *c);
/* control_stats.c */
void control_write_families(struct control *c, struct families *f);
int64_t control_rss_bytes(void);
