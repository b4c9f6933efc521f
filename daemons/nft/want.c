/* SPDX-License-Identifier: Apache-2.0 */
/* want: the rules that the configuration asks for now, see want.h. Layer daemons/nft. */
#include "config.h"

#include <errno.h>
#include <unistd.h>

#include "base/fs.h"
#include "config/check.h"
#include "config/compile.h"
#include "config/load.h"
#include "io/sock.h"
#include "nft/processes.h"
#include "nft/want.h"

#define PLAN_MAX_BYTES (4u << 20)

static int read_model(const char *etc, struct want *w, struct err_list *errs)
{
	char host[65] = "";
	const struct model_load_opts opts = { .node_name = gethostname(host, sizeof(host) - 1) == 0 ? host : NULL };
	int r = model_load_dir(etc, &opts, &w->model, errs);

	return r < 0 ? r : model_check(w->model, errs);
}

/*
 * Its control socket answers: what listens for connections says nothing, the service manager keeps those sockets when
 * the proxy has gone. Asked only where it matters.
 */
static bool proxy_is_up(const struct want_options *o, const struct capture_plan *p)
{
	_cleanup_free_ char *path = kv_asprintf("unix:%s/proxy/node.sock", o->run_dir);
	struct sock_addr a;
	bool asked = false;

	for (size_t i = 0; i < p->workloads.n; i++)
		asked = asked || p->workloads.v[i].open;
	if (!asked || !sock_addr_parse(str_c(path), 0, &a))
		return true;
	int fd = sock_connect(&a, NULL);

	if (fd >= 0)
		close(fd);
	return fd != -ECONNREFUSED && fd != -ENOENT;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static char *kept_path(const struct want_options *o)
{
	return kv_asprintf("%s/nft/plan.json", o->state_dir);
}

static int plan_of_files(const struct want_options *o, struct want *w, struct err_list *errs)
{
	int r = read_model(o->etc_dir, w, errs);

	if (r == 0)
		r = snap_compile(w->model, STR("node"), NULL, &w->node, errs);
	if (r == 0)
		capture_plan(w->model, w->node, &w->arena, &w->plan);
	return r;
}

/* The last one that was loaded: who was protected by it stays so, whatever the files have become. */
static bool plan_of_before(const struct want_options *o, struct want *w)
{
	_cleanup_free_ char *path = kept_path(o), *text = NULL;
	struct doc *d;
	struct err_list errs;
	size_t n;

	if (fs_read(path, PLAN_MAX_BYTES, &text, &n, NULL) < 0 ||
	    doc_read_json(arena_str(&w->arena, str_from(text, n)), &w->arena, &d, NULL) < 0)
		return false;
	w->plan = (struct capture_plan){ 0 };
	err_list_init(&errs);
	w->kept = bind_read(&capture_plan_table, d, "plan", &w->arena, &w->plan, &errs) == 0;
	err_list_done(&errs);
	return w->kept;
}

static int write_plan(const char *path, const struct capture_plan *p, struct arena *a, struct err *err)
{
	struct str text = doc_to_json(bind_write(&capture_plan_table, p, a), a, false);

	return fs_write(path, text.p, text.n, 0644, err);
}

/* Not kept_save: root writes it and the unit's own user does, and neither could link the other's. It is no secret. */
int want_keep(const struct want_options *o, const struct want *w, struct err *err)
{
	_cleanup_free_ char *path = kept_path(o), *dir = kv_asprintf("%s/nft", o->state_dir);
	struct arena a;

	if (w->kept)
		return 0;
	arena_init(&a, 0);
	int r = fs_mkdir(dir, 0755, err);

	if (r == 0)
		r = write_plan(path, &w->plan, &a, err);
	arena_done(&a);
	return r;
}

static int make_rules(const struct want_options *o, struct want *w, struct err_list *errs)
{
	struct rules_input in = { .plan = &w->plan };
	uid_t *ours;

	processes_ours(o->proxy_user, &w->arena, &ours, &in.n_ours);
	if (in.n_ours == 0)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_NOT_FOUND, NULL, (struct origin){ 0 },
				    "there is no user kvmesh-proxy: what the proxy sends could not be told from what "
				    "is to be captured");
	w->matches = processes_find(&w->plan, ours, in.n_ours, &w->arena, errs);
	in.matches = w->matches;
	in.ours = ours;
	in.proxy_is_up = proxy_is_up(o, &w->plan);
	w->rules = rules_make(&in, &w->arena);
	return 0;
}

int want_make(const struct want_options *o, struct want *ret, struct err_list *errs)
{
	*ret = (struct want){ 0 };
	arena_init(&ret->arena, 16 << 10);
	int r = plan_of_files(o, ret, errs);

	if (r < 0 && plan_of_before(o, ret))
		r = 0;
	return r < 0 ? r : make_rules(o, ret, errs);
}

void want_done(struct want *w)
{
	snap_unref(w->node);
	model_free(w->model);
	arena_done(&w->arena);
}
