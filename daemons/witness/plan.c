/* SPDX-License-Identifier: Apache-2.0 */
/* plan: see plan.h. Layer daemons/witness. */
#include "config.h"

#include <arpa/inet.h>
#include <string.h>

#include "witness/plan.h"

static bool read_address(struct str s, struct plan_port *p, struct arena *a)
{
	unsigned char raw[16];
	char text[INET6_ADDRSTRLEN];

	if (s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	p->is_v6 = inet_pton(AF_INET6, text, raw) == 1;
	if (!p->is_v6 && inet_pton(AF_INET, text, raw) != 1)
		return false;
	p->address = arena_str(a, s);
	return true;
}

static bool read_port(const struct doc *d, const char *key, int64_t least, uint16_t *ret)
{
	int64_t v = doc_get_int(d, key, 0);

	*ret = (uint16_t)v;
	return v >= least && v <= UINT16_MAX;
}

static bool has(const struct plan *p, const struct plan_port *port)
{
	for (size_t i = 0; i < p->n_ports; i++)
		if (p->ports[i].port == port->port && str_eq(p->ports[i].address, port->address))
			return true;
	return false;
}

static int add_port(const struct doc *d, struct arena *a, struct plan *p, struct err *err)
{
	struct str address = doc_get_str(d, "address", STR(""));
	struct plan_port port = { 0 };

	if (!read_address(address, &port, a) || !read_port(d, "port", 1, &port.port))
		return err_set(err, KV_ERR_SCHEMA, "the router names \"%.*s\" port %lld to look at",
			       STR_ARG(str_take(address, 64)), (long long)doc_get_int(d, "port", 0));
	if (has(p, &port))
		return 0;
	if (p->n_ports == PLAN_PORTS_MAX) {
		p->n_left_off++;
		return 0;
	}
	port.captured = doc_get_bool(d, "captured", false);
	port.workload = arena_printf(a, "%.*s.%.*s", STR_ARG(doc_get_str(d, "workload", STR(""))),
				     STR_ARG(doc_get_str(d, "namespace", STR(""))));
	p->ports[p->n_ports++] = port;
	return 0;
}

int plan_read(const struct doc *wire, struct arena *a, struct plan *ret, struct err *err)
{
	const struct doc *list = doc_get(wire, STR("ports"));
	int r = 0;

	*ret = (struct plan){ .ports = arena_new_n(a, struct plan_port, PLAN_PORTS_MAX) };
	if (!list || list->kind != DOC_LIST || !read_port(wire, "meshPort", 0, &ret->mesh_port) ||
	    !read_port(wire, "inboundPort", 0, &ret->inbound_port))
		return err_set(err, KV_ERR_SCHEMA, "the router's word on what to look at cannot be read");
	for (size_t i = 0; i < list->n && r == 0; i++)
		r = add_port(list->v[i], a, ret, err);
	return r;
}

bool plan_eq(const struct plan *x, const struct plan *y)
{
	if (x->mesh_port != y->mesh_port || x->inbound_port != y->inbound_port || x->n_ports != y->n_ports ||
	    x->n_left_off != y->n_left_off || x->n_own != y->n_own ||
	    memcmp(x->own, y->own, x->n_own * sizeof(x->own[0])) != 0)
		return false;
	for (size_t i = 0; i < x->n_ports; i++)
		if (x->ports[i].port != y->ports[i].port || x->ports[i].captured != y->ports[i].captured ||
		    !str_eq(x->ports[i].address, y->ports[i].address) ||
		    !str_eq(x->ports[i].workload, y->ports[i].workload))
			return false;
	return true;
}

struct plan plan_copy(const struct plan *p, struct arena *a)
{
	struct plan copy = *p;

	copy.ports = arena_new_n(a, struct plan_port, p->n_ports + 1);
	for (size_t i = 0; i < p->n_ports; i++) {
		copy.ports[i] = p->ports[i];
		copy.ports[i].address = arena_str(a, p->ports[i].address);
		copy.ports[i].workload = arena_str(a, p->ports[i].workload);
	}
	return copy;
}
