/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_inbound: ports of the local workloads, what PeerAuthentication asks of them, and the
 * server names under which the mesh port leads to them. Layer config.
 */
#include "config/capture.h"
#include "config/compile_parts.h"

/* A port of one service as callers name it. */
struct item {
	const struct compile_service *s;
	const struct names_port *p;
	size_t slot; /* where every inbound that has it keeps it (snap_sni.service) */
};
struct port {
	int64_t workload, number;       /* index into snap.workloads */
	enum snap_protocol protocol;
	bool declared;                  /* by the workload itself, protocol and all */
	size_t *items;
	size_t n_items, cap_items;
};
struct inbound {
	struct compile *c;
	struct port *ports;
	size_t n_ports, cap_ports;
	struct item *items;
	size_t n_items, cap_items;
};

/* ---- ports ---------------------------------------------------------------------------------- */
static struct port *port_of(struct inbound *b, int64_t workload, int64_t number)
{
	for (size_t i = 0; i < b->n_ports; i++) {
		if (b->ports[i].workload == workload && b->ports[i].number == number)
			return &b->ports[i];
	}
	struct port *p = vec_push_arena(b->c->a, b->ports, b->n_ports, b->cap_ports);
	*p = (struct port){ .workload = workload,
			    .number = number,
			    .protocol = SNAP_PROTOCOL_AUTO };
	return p;
}

static void add_declared(struct inbound *b)
{
	for (size_t i = 1; i < b->c->s->workloads.n; i++) {
		const struct model_workload *w = b->c->locals[i];
		for (size_t k = 0; k < w->ports.n; k++) {
			const struct model_workload_port *p = &w->ports.v[k];
			struct port *to = port_of(b, (int64_t)i, p->number);
			to->protocol = names_protocol(p->name, STR_NULL, p->protocol);
			to->declared = to->protocol != SNAP_PROTOCOL_AUTO;
		}
	}
}

/* Ports that a Sidecar's ingress lists, and what it says of them. */
static void add_ingress(struct inbound *b)
{
	for (size_t i = 1; i < b->c->s->workloads.n; i++) {
		const struct model_sidecar *s = compile_sidecar_of(b->c, b->c->locals[i]);
		for (size_t k = 0; s && k < s->ingress.n; k++) {
			const struct model_gateway_port *p = s->ingress.v[k].port;
			if (!p || p->number == 0)
				continue;
			struct port *to = port_of(b, (int64_t)i, p->number);
			to->protocol = names_protocol(STR(""), p->protocol, STR(""));
			to->declared = to->protocol != SNAP_PROTOCOL_AUTO;
		}
	}
}

/* Ports that nobody declares and that are captured all the same (2.10.10). */
static void add_asked(struct inbound *b)
{
	for (size_t i = 1; i < b->c->s->workloads.n; i++) {
		const struct model_workload *w = b->c->locals[i];
		for (size_t k = 0; w->capture && k < w->capture->includeInboundPorts.n; k++) {
			int64_t number = w->capture->includeInboundPorts.v[k];
			if (capture_takes_in(b->c->m, w, number))
				port_of(b, (int64_t)i, number);
		}
	}
}

static void add_service_port(struct inbound *b, const struct compile_service *s,
			     const struct names_port *p)
{
	size_t item = b->n_items;
	*vec_push_arena(b->c->a, b->items, b->n_items, b->cap_items) =
		(struct item){ .s = s, .p = p };
	for (size_t i = 0; i < s->n_parts; i++) {
		const struct names_port *own = names_port_find(s->parts[i], p->number);
		for (size_t k = 0; own && k < s->endpoints[i].n; k++) {
			const struct names_endpoint *e = &s->endpoints[i].v[k].e;
			uintptr_t local = e->workload ? (uintptr_t)map_get(&b->c->local_by_id,
									   e->workload->r.id)
						      : 0;
			int64_t number = local > 0 ? names_endpoint_port(e, own) : 0;
			if (number == 0)
				continue;
			struct port *to = port_of(b, (int64_t)local - 1, number);
			if (!to->declared && to->n_items == 0)
				to->protocol = p->protocol;
			*vec_push_arena(b->c->a, to->items, to->n_items, to->cap_items) = item;
		}
	}
}

static int by_workload(const void *x, const void *y)
{
	const struct port *a = x, *b = y;
	if (a->workload != b->workload)
		return a->workload < b->workload ? -1 : 1;
	return (a->number > b->number) - (a->number < b->number);
}

static bool has_item(const struct port *p, size_t item)
{
	for (size_t i = 0; i < p->n_items; i++) {
		if (p->items[i] == item)
			return true;
	}
	return false;
}

/*
 * The lowest slot that no service sharing a port with this one has: then one index tells the
 * service in every inbound that an SNI may lead to.
 */
static void choose_slot(struct inbound *b, size_t item)
{
	bool *taken = arena_new_n(b->c->a, bool, item + 1);
	for (size_t i = 0; i < b->n_ports; i++) {
		if (!has_item(&b->ports[i], item))
			continue;
		for (size_t k = 0; k < b->ports[i].n_items; k++) {
			if (b->ports[i].items[k] < item)
				taken[b->items[b->ports[i].items[k]].slot] = true;
		}
	}
	while (taken[b->items[item].slot])
		b->items[item].slot++;
}

/* ---- inbounds ------------------------------------------------------------------------------- */
static enum snap_mtls mode_of(enum model_mtls_mode mode)
{
	return mode == MODEL_MTLS_STRICT ? SNAP_MTLS_STRICT :
	       mode == MODEL_MTLS_DISABLE ? SNAP_MTLS_DISABLE : SNAP_MTLS_PERMISSIVE;
}

static struct snap_service_ref ref_of(const struct item *it)
{
	return (struct snap_service_ref){
		.service = it->s->host, .name = it->s->name, .ns = it->s->ns, .port = it->p->number
	};
}

static void put_services(struct inbound *b, const struct port *p, struct snap_inbound *to)
{
	size_t n = 0, first = SIZE_MAX;
	for (size_t i = 0; i < p->n_items; i++) {
		size_t slot = b->items[p->items[i]].slot;
		n = slot + 1 > n ? slot + 1 : n;
		if (first == SIZE_MAX || slot < b->items[first].slot)
			first = p->items[i];
	}
	to->services.v = arena_new_n(b->c->a, struct snap_service_ref, n);
	to->services.n = n;
	/* Slots that other ports' services need are filled with one that is true here too. */
	for (size_t i = 0; i < n; i++)
		to->services.v[i] = ref_of(&b->items[first]);
	for (size_t i = 0; i < p->n_items; i++)
		to->services.v[b->items[p->items[i]].slot] = ref_of(&b->items[p->items[i]]);
}

static void add_inbound(struct inbound *b, const struct port *p)
{
	struct compile *c = b->c;
	const struct model_workload *w = c->locals[p->workload];
	struct names_mtls mtls = names_mtls(c->m, w->r.ns, &w->r.labels, p->number);
	struct snap_inbound *to = compile_push(c, c->s->inbounds, c->cap_inbounds);
	*to = (struct snap_inbound){ .workload = p->workload,
				     .address = w->address,
				     .port = p->number,
				     .protocol = p->protocol,
				     .captured = capture_takes_in(c->m, w, p->number),
				     .mtls = mode_of(mtls.mode) };
	if (mtls.by)
		to->policy = arena_printf(c->a, "%.*s.%.*s", STR_ARG(mtls.by->r.name),
					  STR_ARG(mtls.by->r.ns));
	put_services(b, p, to);
	compile_application(c, w, to);
}

/* ---- server names --------------------------------------------------------------------------- */
struct snis {
	struct compile *c;
	struct map by_name;             /* → index + 1 */
	size_t cap;
	bool inactive;                  /* those that get work only where all others are out too … */
	size_t n_active;                /* … of the names before */
};

/*
 * One name may lead to several ports; the first service that it was made for is the one that is
 * meant.
 */
static void add_sni(struct snis *s, struct str name, int64_t target, size_t slot)
{
	struct compile *c = s->c;
	uintptr_t known = (uintptr_t)map_get(&s->by_name, name);
	struct snap_sni *sni =
		known > 0 ? &c->s->snis.v[known - 1] : compile_push(c, c->s->snis, s->cap);
	if (known == 0) {
		*sni = (struct snap_sni){ .name = name, .service = (int64_t)slot };
		map_put(&s->by_name, name, (void *)(uintptr_t)c->s->snis.n);
	} else if (sni->service != (int64_t)slot) {
		return;
	}
	int64_t *v = arena_new_n(c->a, int64_t, sni->targets.n + 1);
	for (size_t i = 0; i < sni->targets.n; i++) {
		if (sni->targets.v[i] == target)
			return;
		v[i] = sni->targets.v[i];
	}
	v[sni->targets.n++] = target;
	sni->targets.v = v;
}

static void add_outbound(struct snis *s, const struct item *it, struct str subset, int64_t target)
{
	struct str name = compile_sni_outbound(s->c, it->p->number, subset, it->s->host);
	uintptr_t known = (uintptr_t)map_get(&s->by_name, name);
	if (s->inactive && known > 0 && known <= s->n_active)
		return;
	add_sni(s, name, target, it->slot);
}

/* Istio's form, with and without a subset that has this workload. */
static void add_istio_names(struct snis *s, const struct item *it, int64_t target)
{
	struct compile *c = s->c;
	const struct compile_env *env = c->env;
	const struct names_rules *rules = &it->s->neutral;
	const struct model_workload *w = c->locals[c->s->inbounds.v[target].workload];
	if (s->inactive != (env->is_inactive && env->is_inactive(env->arg, &w->r)))
		return;
	add_outbound(s, it, STR(""), target);
	for (size_t i = 0; i < rules->n; i++) {
		for (size_t k = 0; k < rules->v[i]->subsets.n; k++) {
			const struct model_subset *sub = &rules->v[i]->subsets.v[k];
			if (labels_is_subset(&sub->labels, &w->r.labels))
				add_outbound(s, it, sub->name, target);
		}
	}
}

static void add_names(struct inbound *b)
{
	struct snis s = { .c = b->c };
	map_init(&s.by_name);
	for (size_t i = 0; i < b->n_ports; i++) {
		const struct model_workload *w = b->c->locals[b->ports[i].workload];
		for (size_t k = 0; k < b->ports[i].n_items; k++) {
			const struct item *it = &b->items[b->ports[i].items[k]];
			struct str name = compile_sni_inbound(b->c, b->ports[i].number, w->r.name,
							      it->s->host);
			if (name.n > 255)
				compile_error(b->c, w->r.at,
					      "the names of workload %.*s and service %.*s are too "
					      "long together",
					      STR_ARG(w->r.name), STR_ARG(it->s->host));
			add_sni(&s, name, (int64_t)i, it->slot);
			add_istio_names(&s, it, (int64_t)i);
		}
	}
	s.inactive = true;
	s.n_active = b->c->s->snis.n;
	for (size_t i = 0; i < b->n_ports; i++) {
		for (size_t k = 0; k < b->ports[i].n_items; k++)
			add_istio_names(&s, &b->items[b->ports[i].items[k]], (int64_t)i);
	}
	map_done(&s.by_name);
}

void compile_inbounds(struct compile *c)
{
	struct inbound b = { .c = c };
	add_declared(&b);
	add_ingress(&b);
	add_asked(&b);
	for (size_t i = 0; i < c->n_services; i++) {
		for (size_t k = 0; k < c->services[i].ports.n; k++)
			add_service_port(&b, &c->services[i], &c->services[i].ports.v[k]);
	}
	if (b.n_ports > 1)
		qsort(b.ports, b.n_ports, sizeof(*b.ports), by_workload);
	for (size_t i = 0; i < b.n_items; i++)
		choose_slot(&b, i);
	for (size_t i = 0; i < b.n_ports; i++)
		add_inbound(&b, &b.ports[i]);
	compile_sidecar_circles(c);
	add_names(&b);
}
