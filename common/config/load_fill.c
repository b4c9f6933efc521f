/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_fill: members that depend on more than their own field: numbers from maps, defaults from
 * other fields, Istio's annotations, decoded bodies. Layer config.
 */
#include "config/load_parts.h"

#include <time.h>

#include "base/base64.h"

static int schema_err(struct load *l, struct origin at, const char *what, struct str value)
{
	return err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", at, "%s '%.*s'",
			    what, STR_ARG(value));
}

/* ---- maps to numbers ----------------------------------------------------------------------- */

static int fill_ints(struct load *l, const struct doc *d, const char *what, int64_t min,
		     int64_t max, struct model_int_map *ret)
{
	int r = 0;

	if (d == NULL || d->kind != DOC_MAP)
		return 0;
	ret->v = arena_new_n(&l->m->arena, struct model_int_entry, d->n + 1);
	for (size_t i = 0; i < d->n; i++) {
		const struct doc *e = d->v[i];

		if (e->kind != DOC_INT || e->i < min || e->i > max) {
			r = err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", e->at,
					 "%s of '%.*s' must be between %lld and %lld", what,
					 STR_ARG(e->key), (long long)min, (long long)max);
			continue;
		}
		ret->v[ret->n++] = (struct model_int_entry){ .key = e->key, .value = e->i };
	}
	return r;
}

static int fill_endpoint(struct load *l, struct model_endpoint *e)
{
	return fill_ints(l, e->ports, "port", 1, 65535, &e->portNumbers);
}

static int fill_service_entry(struct load *l, struct model_service_entry *se)
{
	int r = 0;

	for (size_t i = 0; i < se->endpoints.n; i++) {
		int ri = fill_endpoint(l, &se->endpoints.v[i]);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int fill_balancer(struct load *l, struct model_load_balancer *lb)
{
	struct model_locality_lb *loc = lb != NULL ? lb->localityLbSetting : NULL;
	int r = 0;

	for (size_t i = 0; loc != NULL && i < loc->distribute.n; i++) {
		int ri = fill_ints(l, loc->distribute.v[i].to, "weight", 1, 100,
				   &loc->distribute.v[i].toWeights);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int fill_policy(struct load *l, struct model_traffic_policy *p)
{
	int r = p != NULL ? fill_balancer(l, p->loadBalancer) : 0;

	for (size_t i = 0; p != NULL && i < p->portLevelSettings.n; i++) {
		int ri = fill_balancer(l, p->portLevelSettings.v[i].loadBalancer);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int fill_destination_rule(struct load *l, struct model_destination_rule *dr)
{
	int r = fill_policy(l, dr->trafficPolicy);

	for (size_t i = 0; i < dr->subsets.n; i++) {
		int ri = fill_policy(l, dr->subsets.v[i].trafficPolicy);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int fill_peer_authentication(struct load *l, struct model_peer_authentication *pa)
{
	int r = 0;

	for (size_t i = 0; i < pa->portLevelMtls.n; i++) {
		struct model_port_mtls *p = &pa->portLevelMtls.v[i];
		uint64_t port;

		if (str_to_u64(p->key, &port) && port >= 1 && port <= 65535)
			p->port = (int64_t)port;
		else
			r = schema_err(l, p->at.line > 0 ? p->at : pa->r.at,
				       "PeerAuthentication.portLevelMtls: not a port:", p->key);
	}
	return r;
}

/* ---- Service, Workload --------------------------------------------------------------------- */

static int fill_service(struct load *l, struct model_service *s)
{
	int r = 0;

	for (size_t i = 0; i < s->ports.n; i++) {
		struct model_service_port *p = &s->ports.v[i];

		if (p->port != 0 && p->number != 0 && p->port != p->number)
			r = err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", p->at,
					 "Service.ports[%zu]: 'port' and 'number' are the same "
					 "field and differ",
					 i);
		if (p->port == 0)
			p->port = p->number;
		if (p->port == 0)
			r = err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", p->at,
					 "Service.ports[%zu]: 'port' is missing", i);
		p->targetNumber = p->port;
		if (p->targetPort == NULL)
			continue;
		p->targetNumber = p->targetPort->kind == DOC_INT ? p->targetPort->i : 0;
		if (p->targetPort->kind == DOC_STR)
			p->targetName = p->targetPort->s;
		else if (p->targetNumber < 1 || p->targetNumber > 65535)
			r = err_list_add(
				l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106",
				p->targetPort->at,
				"Service.ports[%zu].targetPort must be between 1 and 65535", i);
	}
	return r;
}

/* "reviews@2.service" → "reviews". */
static struct str account_of_unit(struct str unit)
{
	ptrdiff_t dot = str_rfind(unit, '.'), at;

	if (dot > 0)
		unit = str_take(unit, (size_t)dot);
	at = str_find(unit, '@');
	return at > 0 ? str_take(unit, (size_t)at) : unit;
}

static void fill_amount(struct load *l, struct model_workload *w, const char *annotation,
			bool limit, bool cpu)
{
	struct str value = labels_get(&w->r.annotations, str_c(annotation));
	struct model_resource_amounts **amounts;

	if (value.n == 0)
		return;
	if (w->resources == NULL)
		w->resources = arena_new(&l->m->arena, struct model_resources);
	amounts = limit ? &w->resources->limits : &w->resources->requests;
	if (*amounts == NULL)
		*amounts = arena_new(&l->m->arena, struct model_resource_amounts);
	if (cpu && (*amounts)->cpu.p == NULL)
		(*amounts)->cpu = value;
	if (!cpu && (*amounts)->memory.p == NULL)
		(*amounts)->memory = value;
}

static int fill_inject(struct load *l, struct model_workload *w)
{
	struct str word = labels_get(&w->r.annotations, STR("sidecar.istio.io/inject"));

	if (word.p == NULL)
		word = labels_get(&w->r.labels, STR("sidecar.istio.io/inject"));
	if (w->has_inject)
		return 0;
	w->has_inject = word.p != NULL;
	w->inject = !str_eq(word, STR("false"));
	if (word.p == NULL || str_eq(word, STR("true")) || str_eq(word, STR("false")))
		return 0;
	return schema_err(l, w->r.at, "sidecar.istio.io/inject must be true or false, is", word);
}

static int fill_workload(struct load *l, struct model_workload *w)
{
	if (w->serviceAccount.p == NULL)
		w->serviceAccount = w->unit.n > 0 ? account_of_unit(w->unit) : w->r.name;
	if (w->address.p == NULL)
		w->address = STR("127.0.0.1");
	fill_amount(l, w, "sidecar.istio.io/proxyCPU", false, true);
	fill_amount(l, w, "sidecar.istio.io/proxyMemory", false, false);
	fill_amount(l, w, "sidecar.istio.io/proxyCPULimit", true, true);
	fill_amount(l, w, "sidecar.istio.io/proxyMemoryLimit", true, false);
	int inject = fill_inject(l, w), capture = load_capture(l, w);

	return inject != 0 ? inject : capture;
}

/* ---- VirtualService ------------------------------------------------------------------------ */

static int fill_virtual_service(struct load *l, struct model_virtual_service *vs)
{
	int r = 0;

	for (size_t i = 0; i < vs->http.n; i++) {
		struct model_http_direct_response *d = vs->http.v[i].directResponse;

		if (d == NULL || d->body == NULL)
			continue;
		d->body->text = d->body->string;
		if (d->body->bytes.p != NULL &&
		    !base64_decode(d->body->bytes, &l->m->arena, &d->body->text))
			r = err_list_add(
				l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", d->at,
				"VirtualService.http[%zu].directResponse.body.bytes is not base64",
				i);
	}
	return r;
}

/* ---- time ---------------------------------------------------------------------------------- */

static bool digits(struct str s, size_t at, size_t n, int *ret)
{
	uint64_t v;

	if (at + n > s.n || !str_to_u64(str_from(s.p + at, n), &v))
		return false;
	*ret = (int)v;
	return true;
}

bool load_parse_time(struct str s, int64_t *ret_us)
{
	struct tm tm = { 0 };
	time_t t;

	if (s.n < 20 || s.p[4] != '-' || s.p[7] != '-' || (s.p[10] != 'T' && s.p[10] != 't') ||
	    s.p[13] != ':' || s.p[16] != ':' || (s.p[s.n - 1] != 'Z' && s.p[s.n - 1] != 'z'))
		return false;
	if (!digits(s, 0, 4, &tm.tm_year) || !digits(s, 5, 2, &tm.tm_mon) ||
	    !digits(s, 8, 2, &tm.tm_mday) || !digits(s, 11, 2, &tm.tm_hour) ||
	    !digits(s, 14, 2, &tm.tm_min) || !digits(s, 17, 2, &tm.tm_sec))
		return false;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	t = timegm(&tm);
	*ret_us = (int64_t)t * 1000000;
	for (size_t i = 20, unit = 100000; i + 1 < s.n; i++, unit /= 10) {
		if (s.p[19] != '.' || s.p[i] < '0' || s.p[i] > '9')
			return false;
		*ret_us += (s.p[i] - '0') * (int64_t)unit;
	}
	return true;
}

/* ---- all ----------------------------------------------------------------------------------- */

#define SELF(type) ((struct type *)(void *)r)

int load_fill(struct load *l, struct model_resource *r)
{
	switch (r->kind) {
	case MODEL_KIND_VIRTUAL_SERVICE:
		return fill_virtual_service(l, SELF(model_virtual_service));
	case MODEL_KIND_DESTINATION_RULE:
		return fill_destination_rule(l, SELF(model_destination_rule));
	case MODEL_KIND_SERVICE_ENTRY:
		return fill_service_entry(l, SELF(model_service_entry));
	case MODEL_KIND_WORKLOAD_ENTRY:
		return fill_endpoint(l, &SELF(model_workload_entry)->e);
	case MODEL_KIND_PEER_AUTHENTICATION:
		return fill_peer_authentication(l, SELF(model_peer_authentication));
	case MODEL_KIND_SERVICE:
		return fill_service(l, SELF(model_service));
	case MODEL_KIND_WORKLOAD:
		return fill_workload(l, SELF(model_workload));
	case MODEL_KIND_REQUEST_AUTHENTICATION:
		load_jwks(l, SELF(model_request_authentication));
		break;
	case MODEL_KIND_GATEWAY:
	case MODEL_KIND_SIDECAR:
	case MODEL_KIND_AUTHORIZATION_POLICY:
	case MODEL_KIND_TELEMETRY:
	case MODEL_KIND_NAMESPACE:
	case MODEL_KIND__N:
		break;
	}
	return 0;
}
