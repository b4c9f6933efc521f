/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain_request: what happens to one request. Layer daemons/ctl.
 *     explain request web http://my-app/cart
 *     explain request web.shop POST http://my-app.default/cart -H x-user:ann
 *     explain request - tcp://redis:6379          a caller that is no registered workload
 *     explain request ingressgateway https://shop.example/
 */
#include "config.h"

#include <string.h>

#include "ctl/explain.h"
#include "ctl/print.h"

static void put_source(struct explain *x, struct doc *out)
{
	const struct snap *s = x->own.snap;
	struct doc *d = doc_set(x->a, out, "source", doc_new_map(x->a));

	if (x->workload >= 0)
		doc_set_str(x->a, d, "workload",
			    explain_peer_name(x->a, &s->peers.v[s->workloads.v[x->workload].peer]));
	doc_set_str(x->a, d, "principal", x->principal);
	doc_set_str(x->a, d, "proxy", s->proxy);
	doc_set_bool(x->a, d, "gateway", x->edge);
}

static void put_request(struct explain *x, struct doc *out)
{
	const struct request *r = &x->request;
	struct doc *d = doc_set(x->a, out, "request", doc_new_map(x->a));

	doc_set_str(x->a, d, "url", str_c(x->c->words[x->c->n_words - 1]));
	if (r->http)
		doc_set_str(x->a, d, "method", r->head.method);
	doc_set_str(x->a, d, "host", r->host);
	doc_set_int(x->a, d, "port", r->http ? x->port : r->port);
}

static struct str verdict(const struct doc *out, const struct outcome *o)
{
	if (doc_get_bool(out, "partly", false))
		return STR("PARTLY");
	if (!o->good)
		return STR("REFUSED");
	return o->status > 0 ? STR("ANSWERED") : STR("DELIVERED");
}

static struct doc *answer(struct explain *x, struct outcome *ret)
{
	struct doc *out = doc_new_map(x->a);

	put_source(x, out);
	put_request(x, out);
	doc_set_str(x->a, out, "of",
		    x->own.status
			    ? arena_printf(x->a, "generation %lld", (long long)x->own.snap->version)
			    : arena_printf(x->a, "files in %s", x->c->etc));
	explain_walk(x, out, ret);
	doc_set_str(x->a, out, "verdict", verdict(out, ret));
	explain_put_outcome(x->a, out, ret);
	return out;
}

int explain_request(struct ctl *c)
{
	struct outcome o = { 0 };
	struct explain x;
	int code;

	if (c->n_words < 3)
		return ctl_fail(CTL_EXIT_USAGE, "explain request needs SOURCE [METHOD] URL");
	code = explain_open(c, &x);
	if (code == 0) {
		struct doc *out = answer(&x, &o);

		if (print_wants_doc(c))
			print_doc(c, out);
		else
			explain_print(c, out);
		code = o.good && !doc_get_bool(out, "partly", false) ? CTL_EXIT_OK : CTL_EXIT_NO;
	}
	explain_done(&x);
	return code;
}
