/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_policy: load balancing, limits and TLS of a cluster from its DestinationRules (2.8, 2.9).
 * Layer config.
 */
#include "config/compile_parts.h"

#define SECOND_US INT64_C(1000000)
#define IDLE_US (3600 * SECOND_US)

static void put_attributes(struct compile *c, const struct model_http_cookie *from, struct snap_hash *to)
{
	size_t cap = 0;

	for (size_t i = 0; i < from->attributes.n; i++)
		*compile_push(c, to->attributes, cap) = (struct snap_pair){ from->attributes.v[i].name,
									    from->attributes.v[i].value };
}

static void put_hash(struct compile *c, const struct model_consistent_hash *h,
		     struct snap_cluster *ret)
{
	struct snap_hash *to = ret->hash = arena_new(c->a, struct snap_hash);

	ret->lb = h->maglev ? SNAP_LB_MAGLEV : SNAP_LB_RING_HASH;
	to->table_size = h->maglev ? h->maglev->tableSize :
			 h->ringHash ? h->ringHash->minimumRingSize : h->minimumRingSize;
	to->cookie_ttl_us = -1;
	if (h->httpHeaderName.n > 0) {
		to->source = SNAP_HASH_HEADER;
		to->name = compile_lower(c, h->httpHeaderName);
	} else if (h->httpCookie) {
		to->source = SNAP_HASH_COOKIE;
		to->name = h->httpCookie->name;
		to->cookie_path = h->httpCookie->path;
		put_attributes(c, h->httpCookie, to);
		to->cookie_ttl_us = h->httpCookie->has_ttl ? h->httpCookie->ttl : -1;
	} else if (h->httpQueryParameterName.n > 0) {
		to->source = SNAP_HASH_QUERY;
		to->name = h->httpQueryParameterName;
	} else {
		to->source = SNAP_HASH_SOURCE_IP;
	}
}

static void put_balancer(struct compile *c, const struct model_load_balancer *lb, struct snap_cluster *ret)
{
	ret->lb = SNAP_LB_LEAST_REQUEST;
	if (lb && lb->consistentHash)
		put_hash(c, lb->consistentHash, ret);
	if (!lb || !lb->has_simple)
		return;
	switch ((enum model_lb)lb->simple) {
	case MODEL_LB_ROUND_ROBIN:
		ret->lb = SNAP_LB_ROUND_ROBIN;
		break;
	case MODEL_LB_RANDOM:
		ret->lb = SNAP_LB_RANDOM;
		break;
	case MODEL_LB_PASSTHROUGH:
		ret->lb = SNAP_LB_PASSTHROUGH;
		ret->kind = SNAP_CLUSTER_ORIGINAL_DST;
		break;
	case MODEL_LB_EWMA:
		ret->lb = SNAP_LB_EWMA;
		break;
	case MODEL_LB_UNSPECIFIED:
	case MODEL_LB_LEAST_CONN:
	case MODEL_LB_LEAST_REQUEST:
	default:
		break;
	}
}

static struct snap_warmup *warmup(struct compile *c, const struct model_load_balancer *lb, int kind)
{
	int64_t us = !lb ? 0 : lb->warmup ? lb->warmup->duration : lb->warmupDurationSecs;
	const struct model_warmup *m = us > 0 ? lb->warmup : NULL;

	if (us == 0 || (kind != SNAP_LB_ROUND_ROBIN && kind != SNAP_LB_LEAST_REQUEST))
		return NULL;
	struct snap_warmup *to = arena_new(c->a, struct snap_warmup);

	*to = (struct snap_warmup){ us, 100000, 1000 };
	if (m && m->has_minimumPercent)
		to->minimum_ppm = (int64_t)(m->minimumPercent * 10000 + 0.5);
	if (m && m->has_aggression)
		to->aggression_milli = (int64_t)(m->aggression * 1000 + 0.5);
	if (to->aggression_milli == 0)
		to->aggression_milli = 1;
	return to;
}

static void put_keepalive(const struct model_tcp_keepalive *k, struct snap_limits *l)
{
	if (!k)
		return;
	l->keepalive_time_us = k->time;
	l->keepalive_interval_us = k->interval;
	l->keepalive_probes = k->probes;
}

static void put_tcp(const struct model_tcp_settings *t, struct snap_limits *l)
{
	if (!t)
		return;
	l->max_connections = t->maxConnections;
	if (t->has_connectTimeout)
		l->connect_timeout_us = t->connectTimeout;
	if (t->has_idleTimeout)
		l->idle_timeout_us = t->idleTimeout;
	if (t->has_maxConnectionDuration)
		l->max_age_us = t->maxConnectionDuration;
	put_keepalive(t->tcpKeepalive, l);
}

static void put_http(const struct model_http_settings *h, bool is_http, struct snap_limits *l)
{
	if (!h)
		return;
	l->max_pending = h->http1MaxPendingRequests;
	l->max_requests = h->http2MaxRequests;
	l->max_retries = h->maxRetries;
	l->max_requests_per_connection = h->maxRequestsPerConnection;
	l->max_streams = h->maxConcurrentStreams;
	if (h->http2KeepAlive) {
		l->ping_interval_us = h->http2KeepAlive->interval;
		l->ping_timeout_us = h->http2KeepAlive->timeout;
	}
	if (is_http && h->has_idleTimeout)
		l->idle_timeout_us = h->idleTimeout;
}

/* Envoy's defaults where a member is not given (semantics 1.2). */
static void put_budget(const struct model_retry_budget *b, struct snap_limits *l)
{
	if (!b)
		return;
	l->retry_budget_ppm = (int64_t)((b->has_percent ? b->percent : 20) * 10000 + 0.5);
	l->retry_budget_min = b->minRetryConcurrency > 0 ? b->minRetryConcurrency : 3;
}

void compile_limits(const struct compile *c, const struct names_port *p,
		    const struct model_connection_pool *pool, struct snap_limits *l)
{
	l->connect_timeout_us = c->m->mesh.mesh.connectTimeout;
	l->idle_timeout_us = IDLE_US;
	put_keepalive(c->m->mesh.mesh.tcpKeepalive, l);
	if (!pool)
		return;
	put_tcp(pool->tcp, l);
	put_http(pool->http, compile_port_is_http(p), l);
}

static int64_t or_default(bool given, int64_t v, int64_t dflt)
{
	return given ? v : dflt;
}

/* Envoy's defaults, as Istio leaves them (2.8.8). */
static struct snap_outlier *outlier(struct compile *c, const struct model_outlier_detection *o)
{
	struct snap_outlier *to;

	if (!o)
		return NULL;
	to = arena_new(c->a, struct snap_outlier);
	*to = (struct snap_outlier){
		.consecutive_5xx = or_default(o->has_consecutive5xxErrors, o->consecutive5xxErrors, 5),
		.consecutive_gateway = o->has_consecutiveGatewayErrors ?
					       o->consecutiveGatewayErrors : o->consecutiveErrors,
		.consecutive_local = or_default(o->has_consecutiveLocalOriginFailures,
						o->consecutiveLocalOriginFailures, 5),
		.split_local = o->splitExternalLocalOriginErrors,
		.interval_us = or_default(o->has_interval, o->interval, 10 * SECOND_US),
		.base_ejection_us =
			or_default(o->has_baseEjectionTime, o->baseEjectionTime, 30 * SECOND_US),
		.max_ejection_percent =
			or_default(o->has_maxEjectionPercent, o->maxEjectionPercent, 10),
		.min_health_percent = o->minHealthPercent,
		.codes = o->outlierDetectionHttpErrorCodes,
	};
	return to;
}

/* Workloads take the files of a credential only from a rule that selects them (2.9.6). */
static bool may_use_credential(const struct compile *c, const struct names_policy *policy)
{
	return c->clients[0].gateway || (policy->tls_by && policy->tls_by->workloadSelector);
}

static void put_credential(struct compile *c, const struct model_client_tls *tls, struct snap_tls *ret)
{
	const char *etc = c->env->etc_dir;

	if (tls->mode == MODEL_CLIENT_TLS_MUTUAL) {
		ret->cert = names_credential(etc, tls->credentialName, "tls.crt", c->a);
		ret->key = names_credential(etc, tls->credentialName, "tls.key", c->a);
	}
	ret->ca = names_credential(etc, tls->credentialName, "ca.crt", c->a);
	ret->crl = names_credential(etc, tls->credentialName, "ca.crl", c->a);
	ret->crl_optional = true;
}

static void put_tls(struct compile *c, const struct names_policy *policy, struct snap_tls *ret)
{
	static const enum snap_tls_mode modes[] = {
		[MODEL_CLIENT_TLS_DISABLE] = SNAP_TLS_DISABLE,
		[MODEL_CLIENT_TLS_SIMPLE] = SNAP_TLS_SIMPLE,
		[MODEL_CLIENT_TLS_MUTUAL] = SNAP_TLS_MUTUAL,
		[MODEL_CLIENT_TLS_ISTIO_MUTUAL] = SNAP_TLS_ISTIO_MUTUAL,
	};
	const struct model_client_tls *tls = policy->tls;

	if (!tls) {
		ret->mode = c->m->mesh.mesh.enableAutoMtls ? SNAP_TLS_AUTO : SNAP_TLS_DISABLE;
		return;
	}
	ret->mode = modes[tls->mode];
	ret->sni = tls->sni;
	ret->sans = tls->subjectAltNames;
	ret->cert = tls->clientCertificate;
	ret->key = tls->privateKey;
	ret->ca = tls->caCertificates;
	ret->crl = tls->caCrl;
	ret->skip_verify = tls->insecureSkipVerify;
	if (tls->credentialName.n > 0 && may_use_credential(c, policy))
		put_credential(c, tls, ret);
}

static struct str tunnel(struct compile *c, const struct model_tunnel *t)
{
	bool v6 = str_find(t->targetHost, ':') >= 0 && t->targetHost.p[0] != '[';

	return arena_printf(c->a, v6 ? "[%.*s]:%d" : "%.*s:%d", STR_ARG(t->targetHost), (int)t->targetPort);
}

static enum snap_http2 http2(const struct compile *c, const struct names_port *p,
			     const struct model_connection_pool *pool)
{
	const struct model_http_settings *h = pool ? pool->http : NULL;

	if (h && h->useClientProtocol)
		return SNAP_HTTP2_AS_CLIENT;
	if (h && h->h2UpgradePolicy == MODEL_H2_UPGRADE_DO_NOT_UPGRADE)
		return SNAP_HTTP2_NEVER;
	if (p->protocol != SNAP_PROTOCOL_HTTP)
		return SNAP_HTTP2_TO_PROXIES;
	if (h && h->h2UpgradePolicy == MODEL_H2_UPGRADE_UPGRADE)
		return SNAP_HTTP2_ALWAYS;
	return c->m->mesh.mesh.h2UpgradePolicy > 0 ? SNAP_HTTP2_ALWAYS : SNAP_HTTP2_TO_PROXIES;
}

void compile_policy(struct compile *c, const struct names_port *p,
		    const struct names_policy *policy, struct snap_cluster *ret)
{
	put_balancer(c, policy->loadBalancer, ret);
	ret->warmup = warmup(c, policy->loadBalancer, ret->lb);
	compile_limits(c, p, policy->connectionPool, &ret->limits);
	ret->http2 = http2(c, p, policy->connectionPool);
	put_budget(policy->retryBudget, &ret->limits);
	ret->outlier = outlier(c, policy->outlierDetection);
	put_tls(c, policy, &ret->tls);
	if (policy->tunnel)
		ret->tunnel = tunnel(c, policy->tunnel);
	if (policy->proxyProtocol)
		ret->proxy_protocol = policy->proxyProtocol->version == MODEL_PROXY_PROTOCOL_V2 ? 2 : 1;
}
