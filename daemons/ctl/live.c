/* SPDX-License-Identifier: Apache-2.0 */
/* live: see live.h. Layer daemons/ctl. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "ctl/live.h"

static const struct doc *ask(struct ctl *c, const char *path, struct err *err)
{
	struct doc *reply;

	return ctl_call(c, path, "Status", NULL, &reply, err) == 0 ? reply : NULL;
}

static struct live_proxy *find(struct live *l, struct str name)
{
	for (size_t i = 0; i < l->n_proxies; i++)
		if (str_eq(str_c(l->proxies[i].name), name))
			return &l->proxies[i];
	return NULL;
}

static struct live_proxy *add(struct ctl *c, struct live *l, struct str name, size_t *cap)
{
	struct live_proxy *p = find(l, name);

	if (p)
		return p;
	p = vec_push_arena(&c->arena, l->proxies, l->n_proxies, *cap);
	*p = (struct live_proxy){ .name = arena_str(&c->arena, name).p };
	return p;
}

static int by_name(const void *a, const void *b)
{
	const struct live_proxy *x = a, *y = b;

	return strcmp(x->name, y->name);
}

void live_gather(struct ctl *c, struct live *ret)
{
	const char **socks;
	size_t n, cap = 0;
	struct doc *router = NULL;

	*ret = (struct live){ 0 };
	if (ctl_call_router(c, "Status", NULL, &router, &ret->router_err) == 0)
		ret->router = router;
	ret->ca = ask(c, ctl_sock(c, "ca", "ca"), &ret->ca_err);
	ret->metrics = ask(c, ctl_sock(c, "metrics", "metrics"), &ret->metrics_err);

	const struct doc *known = doc_get(ret->router, STR("proxies"));

	for (size_t i = 0; known && known->kind == DOC_LIST && i < known->n; i++)
		add(c, ret, doc_get_str(known->v[i], "name", STR("-")), &cap)->router = known->v[i];
	ctl_proxies(c, &socks, &n);
	for (size_t i = 0; i < n; i++)
		add(c, ret, str_c(socks[i]), &cap);
	if (ret->n_proxies > 0)
		qsort(ret->proxies, ret->n_proxies, sizeof(*ret->proxies), by_name);
	for (size_t i = 0; i < ret->n_proxies; i++) {
		struct live_proxy *p = &ret->proxies[i];

		p->status = ask(c, ctl_sock(c, "proxy", p->name), &p->err);
	}
}

struct str live_unit(struct ctl *c, const char *proxy)
{
	if (strcmp(proxy, "node") == 0)
		return STR("kvmesh-proxy.service");
	return arena_printf(&c->arena, "kvmesh-proxy@%s.service", proxy);
}

bool live_cert_left(const struct doc *status, int64_t now_us, int64_t *ret_us)
{
	const struct doc *certs = doc_get(status, STR("certificates"));
	bool found = false;

	for (size_t i = 0; certs && certs->kind == DOC_LIST && i < certs->n; i++) {
		int64_t end;

		if (!ctl_time_parse(doc_get_str(certs->v[i], "notAfter", STR("")), &end))
			continue;
		if (!found || end - now_us < *ret_us)
			*ret_us = end - now_us;
		found = true;
	}
	return found;
}

struct str live_state(const struct live_proxy *p)
{
	return doc_get_str(p->router, "state", STR("-"));
}

/* ---- workloads ------------------------------------------------------------------------------- */

const struct doc *live_workloads(struct ctl *c)
{
	struct doc *status;
	struct err err;

	return ctl_call_router(c, "Status", NULL, &status, &err) == 0 ?
		       doc_get(status, STR("workloads")) :
		       NULL;
}

const struct doc *live_workload(const struct doc *rows, struct str name, struct str ns)
{
	for (size_t i = 0; rows && rows->kind == DOC_LIST && i < rows->n; i++)
		if (str_eq(doc_get_str(rows->v[i], "workload", STR("")), name) &&
		    str_eq(doc_get_str(rows->v[i], "namespace", STR("")), ns))
			return rows->v[i];
	return NULL;
}

struct str live_workload_text(struct arena *a, const struct doc *row)
{
	struct str state = doc_get_str(row, "state", STR("unknown"));
	struct str why = doc_get_str(row, "why", STR(""));
	struct str unit = doc_get_str(row, "unit", STR(""));
	struct str of_unit = doc_get_str(row, "unitState", STR(""));

	if (str_eq(state, STR("inactive")) && unit.n > 0 && of_unit.n > 0)
		return arena_printf(a, "unit %.*s is %.*s", STR_ARG(unit), STR_ARG(of_unit));
	return why.n > 0 ? arena_printf(a, "%.*s: %.*s", STR_ARG(state), STR_ARG(why)) : state;
}
