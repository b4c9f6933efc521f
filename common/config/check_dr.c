/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_dr: rules inside one DestinationRule (semantics 2.18). Layer config.
 */
#include "config/check_parts.h"

#define MAGLEV_MAX 5000011

/* ---- load balancer ------------------------------------------------------------------------- */

static bool is_prime(int64_t n)
{
	if (n < 2 || n % 2 == 0)
		return n == 2;
	for (int64_t i = 3; i * i <= n; i += 2)
		if (n % i == 0)
			return false;
	return true;
}

static bool may_stand_in_cookie(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f || s.p[i] == ';' || s.p[i] == ',')
			return false;
	return true;
}

static void check_cookie(struct check *c, struct origin at, const struct model_http_cookie *cookie)
{
	if (cookie == NULL)
		return;
	if (!may_stand_in_cookie(cookie->name) || !may_stand_in_cookie(cookie->path))
		check_add(c, "KVM0342", at, "httpCookie: name and path are without ';', ',' and controls");
	for (size_t i = 0; i < cookie->attributes.n; i++)
		if (!may_stand_in_cookie(cookie->attributes.v[i].name) ||
		    !may_stand_in_cookie(cookie->attributes.v[i].value))
			check_add(c, "KVM0342", at,
				  "httpCookie: attributes are without ';', ',' and controls");
	for (size_t i = 0; i < cookie->attributes.n; i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq(cookie->attributes.v[i].name, cookie->attributes.v[k].name))
				check_add(c, "KVM0342", at,
					  "httpCookie: attribute '%.*s' is given twice",
					  STR_ARG(cookie->attributes.v[i].name));
}

static void check_hash(struct check *c, const struct model_consistent_hash *h)
{
	if (h == NULL)
		return;
	if (h->httpHeaderName.p == NULL && h->httpCookie == NULL && !h->useSourceIp &&
	    h->httpQueryParameterName.p == NULL)
		check_add(c, "KVM0342", h->at,
			  "consistentHash needs a key: httpHeaderName, httpCookie, useSourceIp or "
			  "httpQueryParameterName");
	if (h->has_minimumRingSize && (h->ringHash != NULL || h->maglev != NULL))
		check_add(c, "KVM0342", h->at, "minimumRingSize excludes ringHash and maglev");
	if (h->maglev != NULL && h->maglev->tableSize != 0 &&
	    (!is_prime(h->maglev->tableSize) || h->maglev->tableSize >= MAGLEV_MAX))
		check_add(c, "KVM0342", h->at, "maglev.tableSize must be a prime below %d, is %lld",
			  MAGLEV_MAX, (long long)h->maglev->tableSize);
	check_cookie(c, h->at, h->httpCookie);
}

/* Locality patterns, maybe with an asterisk at the end: does one cover the other? */
static bool localities_overlap(struct str a, struct str b)
{
	if (str_has_suffix(a, STR("*")))
		a = str_take(a, a.n - 1);
	else if (!str_has_suffix(b, STR("*")))
		return str_eq(a, b);
	if (str_has_suffix(b, STR("*")))
		b = str_take(b, b.n - 1);
	return str_has_prefix(a, b) || str_has_prefix(b, a);
}

static void check_distribute(struct check *c, const struct model_locality_lb *l)
{
	for (size_t i = 0; i < l->distribute.n; i++) {
		const struct model_locality_distribute *d = &l->distribute.v[i];
		int64_t sum = 0;

		for (size_t k = 0; k < d->toWeights.n; k++) {
			sum += d->toWeights.v[k].value;
			for (size_t j = 0; j < k; j++)
				if (localities_overlap(d->toWeights.v[j].key,
						       d->toWeights.v[k].key))
					check_add(c, "KVM0342", d->at,
						  "distribute.to: '%.*s' and '%.*s' overlap",
						  STR_ARG(d->toWeights.v[j].key),
						  STR_ARG(d->toWeights.v[k].key));
		}
		if (sum != 100)
			check_add(c, "KVM0342", d->at,
				  "distribute.to: the weights make %lld, not 100", (long long)sum);
		for (size_t k = 0; k < i; k++)
			if (localities_overlap(d->from, l->distribute.v[k].from))
				check_add(c, "KVM0342", d->at,
					  "distribute.from: '%.*s' and '%.*s' overlap",
					  STR_ARG(l->distribute.v[k].from), STR_ARG(d->from));
	}
}

static bool has_any(struct str s, const char *chars)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '\0' && strchr(chars, s.p[i]) != NULL)
			return true;
	return false;
}

static void check_failover(struct check *c, const struct model_locality_lb *l)
{
	for (size_t i = 0; i < l->failover.n; i++) {
		const struct model_locality_failover *f = &l->failover.v[i];

		if (str_eq(f->from, f->to))
			check_add(c, "KVM0342", f->at, "failover: from and to are both '%.*s'",
				  STR_ARG(f->from));
		if (has_any(f->from, "/*") || has_any(f->to, "/*"))
			check_add(c, "KVM0342", f->at,
				  "failover takes regions only, without '/' and '*'");
	}
}

static void check_locality(struct check *c, const struct model_locality_lb *l, bool outlier)
{
	if (l == NULL)
		return;
	if (l->distribute.n > 0 && (l->failover.n > 0 || l->failoverPriority.n > 0))
		check_add(c, "KVM0342", l->at, "distribute excludes failover and failoverPriority");
	if ((l->failover.n > 0 || l->failoverPriority.n > 0) && !outlier)
		check_add(c, "KVM0133", l->at, "failover without outlierDetection never happens");
	check_distribute(c, l);
	check_failover(c, l);
}

static bool has_shares(const struct model_load_balancer *lb)
{
	return lb->consistentHash == NULL && lb->simple != MODEL_LB_RANDOM &&
	       lb->simple != MODEL_LB_PASSTHROUGH && lb->simple != MODEL_LB_EWMA;
}

void check_balancer(struct check *c, const struct model_load_balancer *lb, bool outlier)
{
	if (lb == NULL)
		return;
	check_hash(c, lb->consistentHash);
	if (lb->simple == MODEL_LB_EWMA)
		check_add(c, "KVM0902", lb->at, "simple: EWMA is kvmesh's own");
	check_locality(c, lb->localityLbSetting, outlier);
	if (lb->warmup != NULL && lb->warmup->has_aggression && lb->warmup->aggression <= 0)
		check_add(c, "KVM0342", lb->warmup->at, "warmup.aggression must be greater than 0");
	if ((lb->warmup != NULL || lb->warmupDurationSecs > 0) && !has_shares(lb))
		check_add(c, "KVM0133", lb->at,
			  "warmup is for ROUND_ROBIN and LEAST_REQUEST; here new endpoints get "
			  "their full share at once");
	if (lb->localityLbSetting != NULL && lb->zoneAwareLbSetting != NULL)
		check_add(c, "KVM0342", lb->at, "localityLbSetting excludes zoneAwareLbSetting");
}

/* ---- pool, outliers, TLS ------------------------------------------------------------------- */

void check_pool(struct check *c, struct origin at, const struct model_connection_pool *p)
{
	if (p == NULL)
		return;
	if (p->at.line > 0)
		at = p->at;
	if (p->tcp == NULL && p->http == NULL)
		check_add(c, "KVM0343", at, "connectionPool needs tcp or http");
	if (p->http != NULL && p->http->http2KeepAlive != NULL &&
	    (p->http->http2KeepAlive->interval == 0 || p->http->http2KeepAlive->timeout == 0))
		check_add(c, "KVM0343", p->http->at, "http2KeepAlive needs an interval and a timeout");
	if (p->http != NULL && p->http->h2UpgradePolicy == MODEL_H2_UPGRADE_UPGRADE &&
	    p->http->useClientProtocol)
		check_add(c, "KVM0343", p->http->at,
			  "h2UpgradePolicy UPGRADE excludes useClientProtocol");
}

void check_outlier(struct check *c, const struct model_outlier_detection *o)
{
	if (o != NULL && o->has_consecutiveLocalOriginFailures &&
	    !o->splitExternalLocalOriginErrors)
		check_add(c, "KVM0344", o->at,
			  "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors = "
			  "true");
}

static void check_mutual(struct check *c, const struct model_client_tls *t)
{
	bool files = t->clientCertificate.n > 0 || t->privateKey.n > 0;

	if (t->mode == MODEL_CLIENT_TLS_MUTUAL && t->credentialName.n == 0 &&
	    (t->clientCertificate.n == 0 || t->privateKey.n == 0))
		check_add(c, "KVM0345", t->at, "MUTUAL needs clientCertificate and privateKey");
	if (t->credentialName.n > 0 && (files || t->caCertificates.n > 0))
		check_add(c, "KVM0345", t->at, "credentialName excludes paths of files");
	if (t->mode == MODEL_CLIENT_TLS_ISTIO_MUTUAL &&
	    (files || t->caCertificates.n > 0 || t->credentialName.n > 0))
		check_add(c, "KVM0345", t->at,
			  "ISTIO_MUTUAL uses the mesh's own certificates: no files here");
}

void check_client_tls(struct check *c, const struct model_client_tls *t, bool at_port)
{
	if (t == NULL)
		return;
	check_mutual(c, t);
	if (t->caCrl.n > 0 && (t->credentialName.n > 0 || t->insecureSkipVerify))
		check_add(c, "KVM0345", t->at, "caCrl excludes credentialName and insecureSkipVerify");
	if (t->credentialName.n > 0 && model_as_dr(c->r)->workloadSelector == NULL)
		check_add(c, "KVM0133", t->at,
			  "credentialName without workloadSelector is for gateways: workloads send no "
			  "certificate, and check the server with the system's authorities");
	if (t->insecureSkipVerify && (t->caCertificates.n > 0 || t->subjectAltNames.n > 0))
		check_add(c, "KVM0345", t->at,
			  "insecureSkipVerify excludes caCertificates and subjectAltNames");
	if (t->insecureSkipVerify && t->mode != MODEL_CLIENT_TLS_DISABLE)
		check_add(c, at_port ? "KVM0129" : "KVM0128", t->at,
			  "the server is not verified: whoever is in between can read and change "
			  "everything");
}

/* ---- policies and subsets ------------------------------------------------------------------ */

static void check_port_policy(struct check *c, const struct model_port_traffic_policy *p)
{
	check_balancer(c, p->loadBalancer, p->outlierDetection != NULL);
	check_pool(c, p->at, p->connectionPool);
	check_outlier(c, p->outlierDetection);
	check_client_tls(c, p->tls, true);
}

static void check_tunnel(struct check *c, const struct model_tunnel *t)
{
	if (t == NULL)
		return;
	if (t->protocol.p != NULL && !str_eq(t->protocol, STR("CONNECT")) &&
	    !str_eq(t->protocol, STR("POST")))
		check_add(c, "KVM0340", t->at, "tunnel.protocol must be CONNECT or POST");
	if (str_eq(t->protocol, STR("POST")))
		check_add(c, "KVM0900", t->at, "tunnel.protocol POST is not enforced yet: CONNECT is used");
	if (has_any(t->targetHost, " /?#@\r\n"))
		check_add(c, "KVM0340", t->at, "tunnel.targetHost is no host name or address");
}

static void check_policy(struct check *c, const struct model_traffic_policy *p)
{
	if (p == NULL)
		return;
	if (p->loadBalancer == NULL && p->connectionPool == NULL && p->outlierDetection == NULL &&
	    p->tls == NULL && p->portLevelSettings.n == 0 && p->tunnel == NULL &&
	    p->proxyProtocol == NULL && p->retryBudget == NULL)
		check_add(c, "KVM0340", p->at, "trafficPolicy is empty");
	if (p->tunnel != NULL && p->proxyProtocol != NULL)
		check_add(c, "KVM0340", p->at, "tunnel excludes proxyProtocol");
	check_tunnel(c, p->tunnel);
	check_balancer(c, p->loadBalancer, p->outlierDetection != NULL);
	check_pool(c, p->at, p->connectionPool);
	check_outlier(c, p->outlierDetection);
	check_client_tls(c, p->tls, false);
	for (size_t i = 0; i < p->portLevelSettings.n; i++) {
		check_port_policy(c, &p->portLevelSettings.v[i]);
		for (size_t k = 0; k < i; k++)
			if (p->portLevelSettings.v[k].port != NULL &&
			    p->portLevelSettings.v[i].port != NULL &&
			    p->portLevelSettings.v[k].port->number ==
				    p->portLevelSettings.v[i].port->number)
				check_add(c, "KVM0340", p->portLevelSettings.v[i].at,
					  "portLevelSettings has port %lld twice",
					  (long long)p->portLevelSettings.v[i].port->number);
	}
}

void check_destination_rule(struct check *c, const struct model_destination_rule *dr)
{
	check_host(c, dr->r.at, "host", dr->host, false);
	if (str_eq(dr->host, STR("*")))
		check_add(c, "KVM0133", dr->r.at,
			  "host '*' is for every service, also those outside");
	check_export_to(c, &dr->exportTo, false);
	if (dr->workloadSelector != NULL && dr->exportTo.n > 0 &&
	    !(dr->exportTo.n == 1 && (str_eq(dr->exportTo.v[0], STR(".")) ||
				      str_eq(model_ns(c->m, dr->exportTo.v[0]), dr->r.ns))))
		check_add(c, "KVM0310", dr->r.at,
			  "with workloadSelector, exportTo can only be '.'");
	check_policy(c, dr->trafficPolicy);
	for (size_t i = 0; i < dr->subsets.n; i++) {
		const struct model_subset *s = &dr->subsets.v[i];

		if (!check_is_label(s->name))
			check_add(c, "KVM0341", s->at, "subset '%.*s' is no DNS label",
				  STR_ARG(s->name));
		for (size_t k = 0; k < i; k++)
			if (str_eq(dr->subsets.v[k].name, s->name))
				check_add(c, "KVM0341", s->at, "subset '%.*s' is defined twice",
					  STR_ARG(s->name));
		check_policy(c, s->trafficPolicy);
	}
}
