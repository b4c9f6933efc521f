/* SPDX-License-Identifier: Apache-2.0 */
/* wire: see wire.h. Layer daemons/router. */
#include "config.h"

#include "config/capture.h"
#include "config/names.h"
#include "router/wire.h"

static void add_port(const struct model *m, struct arena *a, struct doc *list,
		     const struct model_workload *w, int64_t port)
{
	struct doc *d = doc_add(a, list, doc_new_map(a));

	doc_set_str(a, d, "address", w->address);
	doc_set_int(a, d, "port", port);
	doc_set_str(a, d, "workload", w->r.name);
	doc_set_str(a, d, "namespace", w->r.ns);
	doc_set_bool(a, d, "captured", capture_takes_in(m, w, port));
}

/* A Unix socket has no wire, and what runs on another node has it there. */
static bool is_here(const struct model_workload *w)
{
	return w->inject && !w->gateway && !w->node.p && w->address.n > 0 && w->address.p[0] != 'u' &&
	       w->address.p[0] != '/' && w->address.p[0] != '@';
}

void wire_add(const struct model *m, struct arena *a, struct doc *to)
{
	struct doc *list = doc_set(a, to, "ports", doc_new_list(a));

	doc_set_int(a, to, "meshPort", m->mesh.node.meshPort);
	doc_set_int(a, to, "inboundPort", m->mesh.node.inboundPort);
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		for (size_t i = 0; is_here(w) && i < w->ports.n; i++)
			if (names_mtls(m, w->r.ns, &w->r.labels, w->ports.v[i].number).mode ==
			    MODEL_MTLS_STRICT)
				add_port(m, a, list, w, w->ports.v[i].number);
	}
}
