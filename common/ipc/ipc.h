/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc: call, reply, stream of replies: NUL-ended JSON objects over a Unix socket (Varlink's shape).
 *     → {"method":"Watch","parameters":{…},"more":true}
 *     ← {"parameters":{…},"continues":true}      or
 * {"error":"NotPermitted","parameters":{"message":"…"}} Layer ipc. Frames are capped before
 * anything is allocated (security-model L16): IPC_FRAME_MAX for calls, IPC_REPLY_MAX for replies
 * (snapshots). Peer facts are read once per connection; what a caller may do is a column of the
 * method table. Messages: docs/IPC.md.
 *
 * A call that is malformed, too long, unknown or not permitted gets its error reply, then the
 * connection is closed and "ipc_refused" is logged with the caller's uid and pid.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "doc/doc.h"
#include "io/loop.h"
#include "io/sock.h"

#define IPC_FRAME_MAX (64u << 10)
#define IPC_REPLY_MAX (16u << 20)
#define IPC_CONN_PER_UID_MAX 64
#define IPC_CONN_MAX 1024
#define IPC_MESSAGE_TIMEOUT_US (10u * 1000 * 1000) /* from the first byte of a call to its last */
#define IPC_STALL_TIMEOUT_US (60u * 1000 * 1000)   /* replies wait and no byte is taken */
#define IPC_STREAM_WAIT_MAX (256u << 10)           /* unsent bytes that make a stream slow */

/* Error names on the wire. */
#define IPC_E_UNKNOWN_METHOD "UnknownMethod"
#define IPC_E_INVALID "InvalidParameter"
#define IPC_E_NOT_PERMITTED "NotPermitted"
#define IPC_E_NOT_FOUND "NotFound"
#define IPC_E_FAILED "Failed"
#define IPC_E_BUSY "Busy"
#define IPC_E_DISCONNECTED "Disconnected"       /* never on the wire: the client's own word */

/* ---- server -------------------------------------------------------------------------------- */
struct ipc_server;
struct ipc_call;                /* one call being served; lives until its last reply */

#define IPC_ALLOW_ROOT 0x01u            /* uid 0, and the daemon's own uid */
#define IPC_ALLOW_ADMIN 0x02u           /* group kvmesh-admin */
#define IPC_ALLOW_VIEW 0x04u            /* group kvmesh-view */
#define IPC_ALLOW_DAEMON 0x08u          /* users kvmesh-proxy, -ca, -router, -metrics */
#define IPC_ALLOW_ANY 0x80u             /* anybody; the handler decides */
#define IPC_ALLOW_READ (IPC_ALLOW_ROOT | IPC_ALLOW_ADMIN | IPC_ALLOW_VIEW | IPC_ALLOW_DAEMON)
#define IPC_ALLOW_WRITE (IPC_ALLOW_ROOT | IPC_ALLOW_ADMIN)

typedef void (*ipc_method_fn)(void *arg, struct ipc_call *call, const struct doc *parameters);
struct ipc_method {
	const char *name;
	unsigned allow;                 /* IPC_ALLOW_* */
	ipc_method_fn fn;               /* must reply, now or later, exactly once, or stream */
	const char *help;
};
/* Takes fd (a listening socket). methods ends with .name == NULL and outlives the server. */
struct ipc_server *ipc_server_new(struct loop *l, int fd, const struct ipc_method *methods,
				  void *arg);
/* No more is accepted, the listening socket is closed; whoever is connected is served on. */
void ipc_server_leave(struct ipc_server *s);
/* Open calls see their on_close. Not from inside a method. NULL is fine. */
void ipc_server_free(struct ipc_server *s);

const struct sock_peer *ipc_call_peer(const struct ipc_call *c);
uint64_t ipc_call_connected_boot_us(const struct ipc_call *c);  /* CLOCK_BOOTTIME of the accept */
struct arena *ipc_call_arena(struct ipc_call *c);       /* freed after the last reply */
bool ipc_call_wants_more(const struct ipc_call *c);
/*
 * Final reply; parameters may be NULL for {}. The call is gone afterwards (its memory at the end of
 * the loop's turn, so a method may still read its parameters). Never calls back.
 */
void ipc_reply(struct ipc_call *c, const struct doc *parameters);
void ipc_reply_json(struct ipc_call *c, struct str json_object);        /* already serialised */
void ipc_reply_error(struct ipc_call *c, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * One reply of a stream. False: nothing was queued because more than IPC_STREAM_WAIT_MAX of earlier
 * replies still waits for this caller; on_writable tells once they are gone, and then the newest
 * should be sent.
 */
bool ipc_stream(struct ipc_call *c, const struct doc *parameters);
bool ipc_stream_json(struct ipc_call *c, struct str json_object);
/*
 * Called when the peer went away before the last reply; the call is gone afterwards (no reply
 * then).
 */
void ipc_call_on_close(struct ipc_call *c, void (*fn)(void *arg, struct ipc_call *c), void *arg);
void ipc_call_on_writable(struct ipc_call *c, void (*fn)(void *arg, struct ipc_call *c), void *arg);
void ipc_call_set_data(struct ipc_call *c, void *data);
void *ipc_call_data(const struct ipc_call *c);

/* ---- asynchronous client (daemons): reconnects with back-off 0.1 s … 5 s ------------------- */
struct ipc_client;
/* One handler per call: reply or error (error_name set), continues tells whether more will come. */
typedef void (*ipc_reply_fn)(void *arg, const char *error_name, const struct doc *parameters,
			     bool continues);
struct ipc_client *ipc_client_new(struct loop *l, const char *path);
void ipc_client_free(struct ipc_client *c);
void ipc_client_on_connect(struct ipc_client *c, void (*fn)(void *arg, bool connected), void *arg);
bool ipc_client_is_connected(const struct ipc_client *c);
/*
 * Connecting starts with the next turn of the loop, so on_connect can be set after ipc_client_new.
 * The server must be root, the own user or one of the mesh's users. The back-off starts anew once a
 * call was answered without error. The client may be freed inside its own callbacks.
 *
 * Send a call; replies come in order of the calls. On a lost connection, or when there is none, an
 * open call gets error_name IPC_E_DISCONNECTED (never from inside ipc_client_call). An error's
 * sentence is the member "message" of parameters; parameters live until the handler returns. A
 * stream call blocks later calls of the same client: use one client for each stream. parameters may
 * be NULL.
 */
void ipc_client_call(struct ipc_client *c, const char *method, const struct doc *parameters,
		     bool more, ipc_reply_fn fn, void *arg);

/* ---- synchronous client (kvmeshctl, tests) ------------------------------------------------- */
struct ipc_conn;
int ipc_dial(const char *path, int timeout_ms, struct ipc_conn **ret, struct err *err);
void ipc_hangup(struct ipc_conn *c);
/*
 * One call, one reply in the arena. For an error reply err->text is its message and the code
 * KV_ERR_REFUSED (NotPermitted), KV_ERR_NOT_FOUND, KV_ERR_SCHEMA (InvalidParameter), KV_ERR_LIMIT
 * (Busy), KV_ERR_PROTOCOL (UnknownMethod) or -EIO (Failed and others). Otherwise: KV_ERR_TIMEOUT,
 * KV_ERR_CLOSED or an errno value. After any error hang up.
 */
int ipc_call_sync(struct ipc_conn *c, const char *method, const struct doc *parameters,
		  struct arena *a, struct doc **ret, struct err *err);
/* The next reply of a stream begun with more (first call: method != NULL). */
int ipc_next_sync(struct ipc_conn *c, const char *method, const struct doc *parameters,
		  struct arena *a, struct doc **ret, bool *ret_continues, int timeout_ms,
		  struct err *err);
