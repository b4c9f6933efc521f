/* SPDX-License-Identifier: Apache-2.0 */
/* prober: see prober.h. Layer daemons/router. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "ipc/rights.h"
#include "router/prober.h"

struct prober {
	struct health *health;
	char *flag_path;                /* NULL: none */
	bool flagged;
	struct list watchers;           /* struct watcher */
	int64_t list;                   /* counts its changes */
};

struct watcher {
	struct list node;
	struct ipc_call *call;
	struct prober *prober;
	int64_t sent;                   /* which list; 0 none yet */
};

/* ---- the file ------------------------------------------------------------------------------ */

static void set_flag(struct prober *p)
{
	bool want = health_has_probes(p->health);

	if (!p->flag_path || want == p->flagged)
		return;
	if (want) {
		int fd = open(p->flag_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		if (fd < 0) {
			log_err("kvmesh-probe is not started: cannot make %s: %s", p->flag_path,
				err_code_name(-errno));
			return;
		}
		close(fd);
	} else {
		unlink(p->flag_path);
	}
	p->flagged = want;
}

/* ---- the list ------------------------------------------------------------------------------ */

static void send_list(struct watcher *w)
{
	struct prober *p = w->prober;

	if (w->sent != p->list && ipc_stream_json(w->call, health_list(p->health)))
		w->sent = p->list;
}

static void on_writable(void *arg, struct ipc_call *call)
{
	(void)call;
	send_list(arg);
}

static void on_gone(void *arg, struct ipc_call *call)
{
	struct watcher *w = arg;

	(void)call;
	list_del(&w->node);
	free(w);
}

void prober_sync(struct prober *p)
{
	p->list++;
	set_flag(p);
	list_for_each(it, &p->watchers)
		send_list(list_entry(it, struct watcher, node));
}

/* ---- the calls ----------------------------------------------------------------------------- */

static bool refuse_stranger(struct ipc_call *call)
{
	const struct sock_peer *peer = ipc_call_peer(call);

	if (peer->uid == 0 || peer->uid == geteuid() ||
	    rights_is_user(peer->uid, RIGHTS_USER_PROBE))
		return false;
	log_warn("ipc_refused: uid %u pid %d is not kvmesh-probe", (unsigned)peer->uid,
		 (int)peer->pid);
	ipc_reply_error(call, IPC_E_NOT_PERMITTED, "the caller (user %u) is not kvmesh-probe",
			(unsigned)peer->uid);
	return true;
}

void prober_watch(struct prober *p, struct ipc_call *call)
{
	if (refuse_stranger(call))
		return;
	struct watcher *w = kv_zalloc(sizeof(*w));

	*w = (struct watcher){ .call = call, .prober = p };
	list_push_back(&p->watchers, &w->node);
	ipc_call_on_close(call, on_gone, w);
	ipc_call_on_writable(call, on_writable, w);
	send_list(w);
}

void prober_take(struct prober *p, struct ipc_call *call, const struct doc *result)
{
	const struct health_result r = {
		.id = doc_get_str(result, "id", STR("")),
		.round = doc_get_int(result, "round", 0),
		.ok = doc_get_bool(result, "ok", false),
		.why = doc_get_str(result, "why", STR("")),
	};

	if (refuse_stranger(call))
		return;
	health_take(p->health, &r);
	ipc_reply(call, NULL);
}

bool prober_is_connected(const struct prober *p)
{
	return !list_is_empty(&p->watchers);
}

struct prober *prober_new(struct health *h, const char *flag_path)
{
	struct prober *p = kv_zalloc(sizeof(*p));

	*p = (struct prober){ .health = h, .list = 1 };
	p->flag_path = flag_path ? kv_strdup(flag_path) : NULL;
	list_init(&p->watchers);
	set_flag(p);
	return p;
}

/* Calls are ended by their server, which is freed first. */
void prober_free(struct prober *p)
{
	free(p->flag_path);
	free(p);
}
