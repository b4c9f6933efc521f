/* SPDX-License-Identifier: Apache-2.0 */
/* capture: whose traffic is led through the proxy, see capture.h. Layer config. */
#include "config/capture.h"

#include "base/vec.h"
#include "config/inject.h"
#include "config/names.h"

const int64_t capture_never[] = { 22, 53, 123, 853, 4460 };
const size_t capture_n_never = sizeof(capture_never) / sizeof(capture_never[0]);

/* ---- who is asked for ----------------------------------------------------------------------- */
static bool is_asked(const struct model_workload *w)
{
	return w->injected || w->capture;
}

enum model_capture_mode capture_mode(const struct model *m, const struct model_workload *w)
{
	static const enum model_capture_mode of_mesh[] = { /* ProxyConfig.interceptionMode's order */
		MODEL_CAPTURE_REDIRECT, MODEL_CAPTURE_TPROXY, MODEL_CAPTURE_NONE
	};
	if (!w->inject || w->gateway || !is_asked(w) || inject_is_left_alone(w) || inject_is_dedicated(w))
		return MODEL_CAPTURE_NONE;
	if (w->capture && w->capture->has_mode)
		return (enum model_capture_mode)w->capture->mode;
	return of_mesh[m->mesh.mesh.defaultConfig.interceptionMode];
}

static bool has_port(const struct int_list *l, int64_t port)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i] == port)
			return true;
	}
	return false;
}

static bool is_never(int64_t port)
{
	for (size_t i = 0; i < capture_n_never; i++) {
		if (capture_never[i] == port)
			return true;
	}
	return false;
}

bool capture_takes_in(const struct model *m, const struct model_workload *w, int64_t port)
{
	const struct model_capture *c = w->capture;
	if (capture_mode(m, w) == MODEL_CAPTURE_NONE || is_never(port) || m->mesh.node.inboundPort == 0 ||
	    !names_is_ip(w->address))
		return false;
	if (!c)
		return true;
	if (c->noInbound || has_port(&c->excludeInboundPorts, port))
		return false;
	return c->includeInboundPorts.n == 0 || has_port(&c->includeInboundPorts, port);
}

static bool takes_out(const struct model *m, const struct model_workload *w)
{
	return capture_mode(m, w) != MODEL_CAPTURE_NONE && m->mesh.node.outboundPort > 0 &&
	       (w->unit.n > 0 || w->user.n > 0) &&
	       !(w->capture && w->capture->noOutbound && w->capture->includeOutboundPorts.n == 0);
}

bool capture_any_in(const struct model *m)
{
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);
		if (capture_mode(m, w) != MODEL_CAPTURE_NONE && !(w->capture && w->capture->noInbound))
			return m->mesh.node.inboundPort > 0;
	}
	return false;
}

bool capture_any_out(const struct model *m)
{
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		if (takes_out(m, model_as_workload(r)))
			return true;
	}
	return false;
}

/* ---- the plan ------------------------------------------------------------------------------- */
static struct int_list inbound_ports(const struct snap *node, size_t workload, struct arena *a)
{
	struct int_list l = { 0 };
	size_t cap = 0;
	for (size_t i = 0; i < node->inbounds.n; i++) {
		const struct snap_inbound *in = &node->inbounds.v[i];
		if (in->workload == (int64_t)workload && in->captured)
			*vec_push_arena(a, l.v, l.n, cap) = in->port;
	}
	return l;
}

static void put_outbound(const struct model_workload *w, struct capture_workload *to)
{
	const struct model_capture *c = w->capture;
	to->all_ranges = !c || (c->includeOutboundIPRanges.n == 0 && !c->noOutbound);
	if (!c)
		return;
	to->include_ports = c->includeOutboundPorts;
	to->exclude_ports = c->excludeOutboundPorts;
	to->include = c->includeOutboundIPRanges;
	to->exclude = c->excludeOutboundIPRanges;
}

void capture_plan(const struct model *m, const struct snap *node, struct arena *a, struct capture_plan *ret)
{
	*ret = (struct capture_plan){ .outbound_port = m->mesh.node.outboundPort,
				      .inbound_port = m->mesh.node.inboundPort };
	size_t cap = 0;
	for (size_t i = 1; i < node->workloads.n; i++) {
		const struct snap_peer *p = &node->peers.v[node->workloads.v[i].peer];
		const struct model_resource *r = model_find(m, MODEL_KIND_WORKLOAD, p->ns, p->name);
		const struct model_workload *w = r ? model_as_workload(r) : NULL;
		if (!w || capture_mode(m, w) == MODEL_CAPTURE_NONE)
			continue;
		struct capture_workload to = { .name = w->r.name, .ns = w->r.ns, .unit = w->unit, .user = w->user };
		to.tproxy = capture_mode(m, w) == MODEL_CAPTURE_TPROXY;
		to.open = w->capture && w->capture->failureMode == MODEL_FAILURE_OPEN;
		to.inbound = inbound_ports(node, i, a);
		to.outbound = takes_out(m, w);
		if (to.outbound)
			put_outbound(w, &to);
		if (to.outbound || to.inbound.n > 0)
			*vec_push_arena(a, ret->workloads.v, ret->workloads.n, cap) = to;
	}
}

/* ---- kept ----------------------------------------------------------------------------------- */
#define T struct capture_workload
static const struct field workload_fields[] = {
	{ F_STR(T, name) }, { F_STR(T, ns) }, { F_STR(T, unit) }, { F_STR(T, user) },
	{ F_BOOL(T, tproxy) }, { F_BOOL(T, open) }, { F_BOOL(T, outbound) }, { F_BOOL(T, all_ranges) },
	{ F_INT_LIST(T, inbound, 1, 65535) }, { F_INT_LIST(T, include_ports, 1, 65535) },
	{ F_INT_LIST(T, exclude_ports, 1, 65535) }, { F_STR_LIST(T, include) }, { F_STR_LIST(T, exclude) },
	F_END
};
#undef T
static const struct bind_table workload_table = {
	.name = "Workload", .size = sizeof(struct capture_workload), .origin_offset = -1, .fields = workload_fields
};
static const struct field plan_fields[] = {
	{ F_INT(struct capture_plan, outbound_port, 0, 65535) },
	{ F_INT(struct capture_plan, inbound_port, 0, 65535) },
	{ F_LIST(struct capture_plan, workloads, workload_table) },
	F_END
};
const struct bind_table capture_plan_table = {
	.name = "Plan", .size = sizeof(struct capture_plan), .origin_offset = -1, .fields = plan_fields
};
