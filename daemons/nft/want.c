/* SPDX-License-Identifier: Apache-2.0 */
/* want: the rules that the configuration asks for now, see want.h. Layer daemons/nft. */
#include "config.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "config/check.h"
#include "config/compile.h"
#include "config/load.h"
#include "nft/processes.h"
#include "nft/want.h"

static int read_model(const char *etc, struct want *w, struct err_list *errs)
{
	char host[65] = "";
	const struct model_load_opts opts = { .node_name = gethostname(host, sizeof(host) - 1) == 0 ? host : NULL };
	int r = model_load_dir(etc, &opts, &w->model, errs);

	return r < 0 ? r : model_check(w->model, errs);
}

/* Of a line of /proc/net/tcp, "  0: 0100007F:3A99 00000000:0000 0A …": the local port of a listener, else 0. */
static int64_t listener_of(const char *line)
{
	unsigned port, state;

	if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%4x %*[0-9A-Fa-f]:%*4x %2x", &port, &state) != 2)
		return 0;
	return state == TCP_LISTEN ? (int64_t)port : 0;
}

static bool listens(int64_t port)
{
	FILE *f = fopen("/proc/self/net/tcp", "re");
	char line[512];
	bool found = false;

	while (f && port > 0 && !found && fgets(line, sizeof(line), f))
		found = listener_of(line) == port;
	if (f)
		fclose(f);
	return found;
}

/* Asked only where it matters. */
static bool proxy_is_up(const struct capture_plan *p)
{
	for (size_t i = 0; i < p->workloads.n; i++)
		if (p->workloads.v[i].open)
			return listens(p->outbound_port) || listens(p->inbound_port);
	return true;
}

static int make_rules(const struct want_options *o, struct want *w, struct err_list *errs)
{
	struct rules_input in = { .plan = &w->plan };
	uid_t *ours;

	capture_plan(w->model, w->node, &w->arena, &w->plan);
	processes_ours(o->proxy_user, &w->arena, &ours, &in.n_ours);
	if (in.n_ours == 0)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_NOT_FOUND, NULL, (struct origin){ 0 },
				    "there is no user kvmesh-proxy: what the proxy sends could not be told from what "
				    "is to be captured");
	w->matches = processes_find(&w->plan, ours, in.n_ours, &w->arena, errs);
	in.matches = w->matches;
	in.ours = ours;
	in.proxy_is_up = proxy_is_up(&w->plan);
	w->rules = rules_make(&in, &w->arena);
	return 0;
}

int want_make(const struct want_options *o, struct want *ret, struct err_list *errs)
{
	*ret = (struct want){ 0 };
	arena_init(&ret->arena, 16 << 10);
	int r = read_model(o->etc_dir, ret, errs);

	if (r == 0)
		r = snap_compile(ret->model, STR("node"), NULL, &ret->node, errs);
	if (r == 0)
		r = make_rules(o, ret, errs);
	return r;
}

void want_done(struct want *w)
{
	snap_unref(w->node);
	model_free(w->model);
	arena_done(&w->arena);
}
