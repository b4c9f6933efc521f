/* SPDX-License-Identifier: Apache-2.0 */
/* explain_route: what the route that was found does besides leading somewhere. Layer daemons/ctl.
 */
#include "config.h"

#include "core/asked.h"
#include "ctl/explain.h"
#include "ctl/print.h"

static double percent(int64_t ppm)
{
	return (double)ppm / 10000.0;
}

static void set_ms(struct arena *a, struct doc *d, const char *key, int64_t us)
{
	if (us > 0)
		doc_set_real(a, d, key, (double)us / 1000.0);
}

/* ---- time and retries ------------------------------------------------------------------------ */

static struct doc *conditions(struct arena *a, const struct snap_retry *r)
{
	struct doc *list = doc_new_list(a);
	const char *word;
	int64_t bit;

	for (size_t i = 0; (word = snap_retry_word(i, &bit)); i++)
		if (r->on & bit)
			doc_add(a, list, doc_new_str(a, str_c(word)));
	for (size_t i = 0; i < r->codes.n; i++)
		doc_add(a, list, doc_new_int(a, r->codes.v[i]));
	return list;
}

static void put_retries(struct arena *a, struct doc *d, const struct snap_retry *r, int64_t per_try)
{
	struct doc *to = doc_set(a, d, "retries", doc_new_map(a));

	doc_set_int(a, to, "attempts", r ? r->attempts : 0);
	if (!r || r->attempts == 0)
		return;
	set_ms(a, to, "per_try_ms", per_try);
	doc_set(a, to, "on", conditions(a, r));
}

/* What the caller's own headers ask for counts inside the mesh alone. */
static void read_asked(const struct explain *x, struct asked *asked)
{
	const struct head *h = &x->request.head;

	asked_init(asked);
	for (size_t i = 0; i < h->n && !x->edge; i++)
		asked_read(asked, h->fields[i].name, h->fields[i].value);
}

static void put_times(const struct explain *x, struct doc *d, const struct snap_route *r)
{
	int64_t per_try = r->retry ? r->retry->per_try_us : 0;
	struct asked asked;

	read_asked(x, &asked);
	set_ms(x->a, d, "timeout_ms", asked.timeout_us >= 0 ? asked.timeout_us : r->timeout_us);
	put_retries(x->a, d, asked_retry(&asked, r->retry, x->a),
		    asked.per_try_us >= 0 ? asked.per_try_us : per_try);
}

/* ---- faults, mirrors, changes ---------------------------------------------------------------- */

static void put_fault(struct arena *a, struct doc *d, const struct snap_fault *f)
{
	struct doc *to = doc_set(a, d, "fault", doc_new_map(a));

	if (f->delay_ppm > 0) {
		set_ms(a, to, "delay_ms", f->delay_us);
		doc_set_real(a, to, "delay_percent", percent(f->delay_ppm));
	}
	if (f->abort_ppm == 0)
		return;
	if (f->abort_grpc >= 0)
		doc_set_int(a, to, "abort_grpc_status", f->abort_grpc);
	else
		doc_set_int(a, to, "abort_status", f->abort_status);
	doc_set_real(a, to, "abort_percent", percent(f->abort_ppm));
}

static void put_mirrors(const struct explain *x, struct doc *d, const struct snap_route *r)
{
	struct doc *list = doc_set(x->a, d, "mirrors", doc_new_list(x->a));

	for (size_t i = 0; i < r->mirrors.n; i++) {
		const struct snap_mirror *m = &r->mirrors.v[i];
		struct doc *to = doc_add(x->a, list, doc_new_map(x->a));

		doc_set_str(x->a, to, "cluster",
			    m->cluster >= 0 ? x->own.snap->clusters.v[m->cluster].name
					    : STR("unknown"));
		doc_set_real(x->a, to, "percent", percent(m->ppm));
	}
}

static void put_rewrite(struct arena *a, struct doc *d, const struct snap_rewrite *rw)
{
	struct doc *to = doc_set(a, d, "rewrite", doc_new_map(a));

	if (rw->uri.p)
		doc_set_str(a, to, "uri", rw->uri);
	if (rw->regex.n > 0)
		doc_set_str(a, to, "regex",
			    arena_printf(a, "%.*s -> %.*s", STR_ARG(rw->regex),
					 STR_ARG(rw->substitution)));
	if (rw->authority.p)
		doc_set_str(a, to, "authority", rw->authority);
}

/* "VirtualService my-app.default" */
static struct str virtual_service(const struct snap_route *r)
{
	return str_has_prefix(r->source, STR("VirtualService ")) ? str_skip(r->source, 15)
								 : r->source;
}

void explain_put_route(const struct explain *x, struct doc *d, const struct match_hit *hit)
{
	static const char *const actions[SNAP_ACTION__N] = { "route", "redirect",
							     "direct response" };
	const struct snap_route *r = hit->route;

	doc_set_str(x->a, d, "name", r->name);
	doc_set_str(x->a, d, "virtual_service", virtual_service(r));
	if (r->file.n > 0) {
		doc_set_str(x->a, d, "file", r->file);
		doc_set_int(x->a, d, "line", r->line);
	}
	doc_set_str(x->a, d, "match",
		    hit->match ? snapshot_match_text(x->a, hit->match) : STR("/*"));
	doc_set_str(x->a, d, "action", str_c(actions[r->action]));
	if (r->action != SNAP_ACTION_ROUTE)
		return;
	put_times(x, d, r);
	if (r->rewrite)
		put_rewrite(x->a, d, r->rewrite);
	if (r->fault)
		put_fault(x->a, d, r->fault);
	if (r->mirrors.n > 0)
		put_mirrors(x, d, r);
}
