/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_capture: Istio's annotations of captured traffic become the members of Workload.capture that are not written.
 * Layer config; private.
 */
#include "base/vec.h"
#include "config/load_parts.h"

#define PREFIX "traffic.sidecar.istio.io/"

struct annotation {
	struct load *l;
	struct model_workload *w;
	const char *key;
	struct str value;
};

static struct model_capture *capture_of(const struct annotation *n)
{
	if (!n->w->capture) {
		n->w->capture = arena_new(&n->l->m->arena, struct model_capture);
		n->w->capture->at = n->w->r.at;
	}
	return n->w->capture;
}

static bool look(struct annotation *n, const char *key)
{
	n->key = key;
	n->value = labels_get(&n->w->r.annotations, str_c(key));
	return n->value.p != NULL;
}

static int bad(const struct annotation *n, const char *what)
{
	return err_list_add(n->l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0361", n->w->r.at, "%s must be %s, is '%.*s'",
			    n->key, what, STR_ARG(n->value));
}

/* "*" is everything, as when nothing is said. What is written natively is stronger. */
static int read_ports(const struct annotation *n, struct int_list *to)
{
	struct str rest = n->value, piece;
	size_t cap = 0;

	if (to->n > 0 || str_eq(str_trim(rest), STR("*")))
		return 0;
	while (str_split(&rest, ',', &piece)) {
		uint64_t port;

		piece = str_trim(piece);
		if (piece.n == 0)
			continue;
		if (!str_to_u64(piece, &port) || port < 1 || port > 65535)
			return bad(n, "a list of ports");
		*vec_push_arena(&n->l->m->arena, to->v, to->n, cap) = (int64_t)port;
	}
	return 0;
}

static void read_ranges(const struct annotation *n, struct str_list *to)
{
	struct str rest = n->value, piece;
	size_t cap = 0;

	if (to->n > 0 || str_eq(str_trim(rest), STR("*")))
		return;
	while (str_split(&rest, ',', &piece)) {
		piece = str_trim(piece);
		if (piece.n > 0)
			*vec_push_arena(&n->l->m->arena, to->v, to->n, cap) = piece;
	}
}

static int fill_mode(struct annotation *n)
{
	static const struct { const char *word; enum model_capture_mode mode; } words[] = {
		{ "REDIRECT", MODEL_CAPTURE_REDIRECT }, { "TPROXY", MODEL_CAPTURE_TPROXY }, { "NONE", MODEL_CAPTURE_NONE },
	};

	if (!look(n, "sidecar.istio.io/interceptionMode") || capture_of(n)->has_mode)
		return 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!str_eq(n->value, str_c(words[i].word)))
			continue;
		capture_of(n)->mode = words[i].mode;
		capture_of(n)->has_mode = true;
		return 0;
	}
	return bad(n, "REDIRECT, TPROXY or NONE");
}

static int fill_inbound(struct annotation *n)
{
	int r = 0;

	if (look(n, PREFIX "includeInboundPorts")) {
		r = read_ports(n, &capture_of(n)->includeInboundPorts);
		capture_of(n)->noInbound = str_trim(n->value).n == 0;
	}
	if (r == 0 && look(n, PREFIX "excludeInboundPorts"))
		r = read_ports(n, &capture_of(n)->excludeInboundPorts);
	return r;
}

static int fill_outbound(struct annotation *n)
{
	int r = 0;

	if (look(n, PREFIX "includeOutboundPorts"))
		r = read_ports(n, &capture_of(n)->includeOutboundPorts);
	if (r == 0 && look(n, PREFIX "excludeOutboundPorts"))
		r = read_ports(n, &capture_of(n)->excludeOutboundPorts);
	if (look(n, PREFIX "includeOutboundIPRanges")) {
		read_ranges(n, &capture_of(n)->includeOutboundIPRanges);
		capture_of(n)->noOutbound = str_trim(n->value).n == 0;
	}
	if (look(n, PREFIX "excludeOutboundIPRanges"))
		read_ranges(n, &capture_of(n)->excludeOutboundIPRanges);
	return r;
}

int load_capture(struct load *l, struct model_workload *w)
{
	struct annotation n = { .l = l, .w = w };
	int mode = fill_mode(&n), in = fill_inbound(&n), out = fill_outbound(&n);

	return mode != 0 ? mode : in != 0 ? in : out;
}
