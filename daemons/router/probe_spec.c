/* SPDX-License-Identifier: Apache-2.0 */
/* probe_spec: see probe_spec.h. Layer daemons/router. */
#include "config.h"

#include "doc/doc.h"
#include "router/probe_spec.h"

#define SECOND_US INT64_C(1000000)

static int64_t or_default(int64_t v, int64_t dflt)
{
	return v > 0 ? v : dflt;
}

/* A host that the probe names, else where the application listens; "localhost" is this node. */
static void set_address(struct arena *a, struct doc *d, const struct model_workload *w,
			struct str host, int64_t port)
{
	struct str to = host.n > 0 ? host : w->address;

	if (str_ieq(to, STR("localhost")))
		to = STR("127.0.0.1");
	doc_set_str(a, d, "address", to);
	doc_set_int(a, d, "port", port);
}

static struct doc *http_doc(struct arena *a, const struct model_workload *w)
{
	const struct model_probe_http *p = w->probe->httpGet;
	struct doc *d = doc_new_map(a), *list = doc_new_list(a);

	set_address(a, d, w, p->host, p->port);
	doc_set_str(a, d, "path", p->path.n > 0 ? p->path : STR("/"));
	doc_set_bool(a, d, "tls", str_ieq(p->scheme, STR("HTTPS")));
	for (size_t i = 0; i < p->httpHeaders.n; i++) {
		struct doc *h = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, h, "name", p->httpHeaders.v[i].name);
		doc_set_str(a, h, "value", p->httpHeaders.v[i].value);
	}
	doc_set(a, d, "headers", list);
	return d;
}

static struct doc *exec_doc(struct arena *a, const struct model_workload *w)
{
	const struct str_list *command = &w->probe->exec->command;
	struct doc *d = doc_new_map(a), *list = doc_new_list(a);

	for (size_t i = 0; i < command->n; i++)
		doc_add(a, list, doc_new_str(a, command->v[i]));
	doc_set(a, d, "command", list);
	return d;
}

static struct doc *method_doc(struct arena *a, const struct model_workload *w, const char **ret)
{
	const struct model_probe *p = w->probe;
	struct doc *d = doc_new_map(a);

	if (p->httpGet) {
		*ret = "http";
		return http_doc(a, w);
	}
	if (p->exec) {
		*ret = "exec";
		return exec_doc(a, w);
	}
	if (p->tcpSocket) {
		*ret = "tcp";
		set_address(a, d, w, p->tcpSocket->host, p->tcpSocket->port);
		return d;
	}
	*ret = "grpc";
	set_address(a, d, w, STR(""), p->grpc->port);
	doc_set_str(a, d, "service", p->grpc->service);
	return d;
}

void probe_spec_make(const struct model_workload *w, struct probe_spec *ret)
{
	const struct model_probe *p = w->probe;
	struct arena a;

	*ret = (struct probe_spec){ 0 };
	if (!p || !(p->httpGet || p->tcpSocket || p->exec || p->grpc))
		return;
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a), *method = method_doc(&a, w, &ret->kind);

	doc_set(&a, d, ret->kind, method);
	ret->json = kv_asprintf("%.*s", STR_ARG(doc_to_json(d, &a, false)));
	arena_done(&a);
	ret->delay_us = p->initialDelaySeconds * SECOND_US;
	ret->period_us = or_default(p->periodSeconds, 10) * SECOND_US;
	ret->timeout_us = or_default(p->timeoutSeconds, 1) * SECOND_US;
	ret->success_threshold = or_default(p->successThreshold, 1);
	ret->failure_threshold = or_default(p->failureThreshold, 3);
}

void probe_spec_done(struct probe_spec *s)
{
	free(s->json);
	*s = (struct probe_spec){ 0 };
}

bool probe_spec_same_times(const struct probe_spec *x, const struct probe_spec *y)
{
	return x->delay_us == y->delay_us && x->period_us == y->period_us &&
	       x->timeout_us == y->timeout_us && x->success_threshold == y->success_threshold &&
	       x->failure_threshold == y->failure_threshold;
}
