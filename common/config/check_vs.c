/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_vs: rules inside one VirtualService (semantics 2.18). Layer config.
 */
#include "config/check_parts.h"

#define BODY_MAX (1u << 20)
#define BODY_LARGE (100u << 10)

/* Place of element i of a list at the top of the spec. */
static struct origin at_element(const struct check *c, const char *list, size_t i)
{
	const struct doc *d = doc_get(c->r->doc, str_c(list));

	return d != NULL && d->kind == DOC_LIST && i < d->n ? d->v[i]->at : c->r->at;
}

static bool is_word(struct str s, const char *const *words)
{
	for (size_t i = 0; words[i] != NULL; i++)
		if (str_eq(s, str_c(words[i])))
			return true;
	return false;
}

/* ---- header operations --------------------------------------------------------------------- */

static bool has_control(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return s.p[i] != '\t';
	return false;
}

/* "%%" or "%OPERATOR%" all along. */
static bool percents_pair(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		ptrdiff_t end;

		if (s.p[i] != '%')
			continue;
		end = str_find(str_skip(s, i + 1), '%');
		if (end < 0)
			return false;
		i += (size_t)end + 1;
	}
	return true;
}

static bool is_authority(struct str name)
{
	return str_ieq(name, STR("host")) || str_eq(name, STR(":authority"));
}

static void check_header_name(struct check *c, struct origin at, struct str name, bool settable)
{
	if (settable && is_authority(name))
		return;
	if (name.n > 0 && (name.p[0] == ':' || is_authority(name)))
		check_add(c, "KVM0307", at, "header '%.*s' may not be changed here", STR_ARG(name));
	else if (!check_is_token(name))
		check_add(c, "KVM0307", at, "'%.*s' is no header name", STR_ARG(name));
}

static void check_header_values(struct check *c, struct origin at, const struct labels *l,
				bool settable)
{
	size_t n_authority = 0;

	for (size_t i = 0; i < l->n; i++) {
		check_header_name(c, at, l->v[i].key, settable);
		n_authority += is_authority(l->v[i].key);
		if (has_control(l->v[i].val))
			check_add(c, "KVM0307", at,
				  "the value of header '%.*s' has control characters",
				  STR_ARG(l->v[i].key));
		if (!percents_pair(l->v[i].val))
			check_add(c, "KVM0307", at,
				  "the value of header '%.*s' has a single '%%': write '%%%%' or "
				  "an operator",
				  STR_ARG(l->v[i].key));
	}
	if (settable && n_authority > 1)
		check_add(c, "KVM0307", at, "Host is set twice");
}

static void check_operations(struct check *c, const struct model_header_operations *ops,
			     bool request)
{
	if (ops == NULL)
		return;
	check_header_values(c, ops->at, &ops->set, request);
	check_header_values(c, ops->at, &ops->add, false);
	for (size_t i = 0; i < ops->remove.n; i++)
		check_header_name(c, ops->at, ops->remove.v[i], false);
}

static void check_headers(struct check *c, const struct model_headers *h)
{
	if (h == NULL)
		return;
	check_operations(c, h->request, true);
	check_operations(c, h->response, false);
}

/* ---- destinations -------------------------------------------------------------------------- */

static void check_destination(struct check *c, const struct model_destination *d)
{
	if (d == NULL)
		return;
	if (names_is_wildcard(d->host))
		check_add(c, "KVM0302", d->at, "a destination may not be a wildcard: '%.*s'",
			  STR_ARG(d->host));
	else
		check_host(c, d->at, "destination", d->host, false);
	if (d->subset.n > 0 && !check_is_label(d->subset))
		check_add(c, "KVM0341", d->at, "subset '%.*s' is no DNS label", STR_ARG(d->subset));
}

static void check_weights(struct check *c, struct origin at, size_t n, int64_t sum)
{
	if (n > 1 && sum == 0)
		check_add(c, "KVM0330", at, "%zu destinations, and all their weights are 0", n);
	else if (n > 1 && sum != 100)
		check_add(c, "KVM0210", at,
			  "weights make %lld, not 100: they count as shares of the sum",
			  (long long)sum);
	else if (n == 1 && sum > 0 && sum != 100)
		check_add(c, "KVM0210", at,
			  "the only destination gets everything, whatever its weight (%lld)",
			  (long long)sum);
}

static void check_http_destinations(struct check *c, const struct model_http_route *h)
{
	int64_t sum = 0;

	for (size_t i = 0; i < h->route.n; i++) {
		check_destination(c, h->route.v[i].destination);
		check_headers(c, h->route.v[i].headers);
		sum += h->route.v[i].weight;
	}
	check_weights(c, h->at, h->route.n, sum);
}

/* ---- what an HTTP route does --------------------------------------------------------------- */

static void check_action(struct check *c, const struct model_http_route *h)
{
	int n = (h->route.n > 0) + (h->redirect != NULL) + (h->directResponse != NULL) +
		(h->delegate != NULL);

	if (n != 1)
		check_add(c, "KVM0321", h->at,
			  "a route needs %s of route, redirect, directResponse and delegate",
			  n == 0 ? "one" : "only one");
	if (h->redirect != NULL && (h->rewrite != NULL || h->fault != NULL))
		check_add(c, "KVM0322", h->at, "redirect excludes %s",
			  h->rewrite != NULL ? "rewrite" : "fault");
	if (h->directResponse != NULL && (h->rewrite != NULL || h->fault != NULL))
		check_add(c, "KVM0322", h->at, "directResponse excludes %s",
			  h->rewrite != NULL ? "rewrite" : "fault");
	if (h->mirror != NULL && h->mirrors.n > 0)
		check_add(c, "KVM0322", h->at, "mirror excludes mirrors");
}

static bool matches_are_prefixes(const struct model_http_route *h)
{
	for (size_t i = 0; i < h->match.n; i++)
		if (h->match.v[i].uri == NULL || h->match.v[i].uri->prefix.p == NULL)
			return false;
	return h->match.n > 0;
}

static void check_redirect(struct check *c, const struct model_http_route *h)
{
	const struct model_http_redirect *r = h->redirect;

	if (r == NULL)
		return;
	if (r->uri.p == NULL && r->prefixRewrite.p == NULL && r->authority.p == NULL &&
	    r->scheme.p == NULL && !r->has_port && !r->has_derivePort)
		check_add(c, "KVM0323", r->at,
			  "a redirect needs uri, authority, port, derivePort, scheme or "
			  "prefixRewrite");
	if (r->uri.p != NULL && r->prefixRewrite.p != NULL)
		check_add(c, "KVM0323", r->at, "uri excludes prefixRewrite");
	if (r->prefixRewrite.p != NULL && !matches_are_prefixes(h))
		check_add(c, "KVM0323", r->at, "prefixRewrite needs a uri.prefix in every match");
	if (r->scheme.p != NULL && !str_eq(r->scheme, STR("http")) &&
	    !str_eq(r->scheme, STR("https")))
		check_add(c, "KVM0323", r->at, "scheme must be http or https, is '%.*s'",
			  STR_ARG(r->scheme));
}

static void check_rewrite(struct check *c, const struct model_http_rewrite *w)
{
	if (w == NULL)
		return;
	if (w->uri.p == NULL && w->authority.p == NULL && w->uriRegexRewrite == NULL)
		check_add(c, "KVM0324", w->at, "a rewrite needs uri, uriRegexRewrite or authority");
	if (w->uri.p != NULL && w->uriRegexRewrite != NULL)
		check_add(c, "KVM0324", w->at, "uri excludes uriRegexRewrite");
}

/* Envoy has a condition for HTTP/3, which is not spoken here: it never comes true. */
static bool is_condition(struct str word)
{
	return snap_retry_condition(word) != 0 || str_eq(word, STR("http3-post-connect-failure"));
}

static void check_retry_on(struct check *c, const struct model_http_retry *r)
{
	struct str rest = r->retryOn, piece;
	uint64_t code;

	while (rest.n > 0 && str_split(&rest, ',', &piece)) {
		piece = str_trim(piece);
		if (is_condition(piece) ||
		    (str_to_u64(piece, &code) && code >= 100 && code <= 599))
			continue;
		check_add(c, "KVM0325", r->at,
			  "retryOn: '%.*s' is neither a condition nor a status code",
			  STR_ARG(piece));
	}
}

static void check_retries(struct check *c, const struct model_http_retry *r)
{
	if (r == NULL)
		return;
	if (r->attempts == 0 && (r->has_perTryTimeout || r->retryOn.n > 0 || r->has_backoff ||
				 r->has_retryRemoteLocalities || r->has_retryIgnorePreviousHosts))
		check_add(c, "KVM0325", r->at,
			  "attempts is 0, which turns retries off: the other fields contradict it");
	check_retry_on(c, r);
}

static void check_fault(struct check *c, const struct model_http_fault *f)
{
	static const char *const grpc[] = { "OK",
					    "CANCELLED",
					    "UNKNOWN",
					    "INVALID_ARGUMENT",
					    "DEADLINE_EXCEEDED",
					    "NOT_FOUND",
					    "ALREADY_EXISTS",
					    "PERMISSION_DENIED",
					    "RESOURCE_EXHAUSTED",
					    "FAILED_PRECONDITION",
					    "ABORTED",
					    "OUT_OF_RANGE",
					    "UNIMPLEMENTED",
					    "INTERNAL",
					    "UNAVAILABLE",
					    "DATA_LOSS",
					    "UNAUTHENTICATED",
					    NULL };

	if (f == NULL)
		return;
	if (f->delay == NULL && f->abort == NULL)
		check_add(c, "KVM0326", f->at, "a fault needs delay or abort");
	if (f->delay != NULL && f->delay->fixedDelay == 0)
		check_add(c, "KVM0326", f->delay->at, "a delay needs fixedDelay");
	if (f->abort == NULL)
		return;
	if (!f->abort->has_httpStatus && f->abort->grpcStatus.p == NULL)
		check_add(c, "KVM0326", f->abort->at, "an abort needs httpStatus or grpcStatus");
	if (f->abort->grpcStatus.p != NULL && !is_word(f->abort->grpcStatus, grpc))
		check_add(c, "KVM0326", f->abort->at,
			  "grpcStatus '%.*s' is no gRPC status in upper case",
			  STR_ARG(f->abort->grpcStatus));
}

static void check_cors(struct check *c, const struct model_cors_policy *p)
{
	static const char *const methods[] = { "GET",   "HEAD",   "POST",    "PUT",
					       "PATCH", "DELETE", "CONNECT", "OPTIONS",
					       "TRACE", "*",      NULL };

	if (p == NULL)
		return;
	for (size_t i = 0; i < p->allowOrigins.n; i++) {
		const struct model_cors_origin *o = &p->allowOrigins.v[i];

		if (o->exact.n == 0 && o->prefix.n == 0 && o->regex.n == 0)
			check_add(c, "KVM0327", o->at,
				  "allowOrigins: a matcher needs exact, prefix or regex");
	}
	for (size_t i = 0; i < p->allowMethods.n; i++)
		if (!is_word(p->allowMethods.v[i], methods))
			check_add(c, "KVM0327", p->at, "allowMethods: '%.*s' is no HTTP method",
				  STR_ARG(p->allowMethods.v[i]));
	for (size_t i = 0; i < p->allowHeaders.n; i++)
		if (!check_is_token(p->allowHeaders.v[i]))
			check_add(c, "KVM0327", p->at, "allowHeaders: '%.*s' is no header name",
				  STR_ARG(p->allowHeaders.v[i]));
	if (p->maxAge % 1000000 != 0)
		check_add(c, "KVM0327", p->at, "maxAge must be whole seconds");
}

static void check_direct(struct check *c, const struct model_http_direct_response *d)
{
	if (d == NULL || d->body == NULL)
		return;
	if (d->body->text.n > BODY_MAX)
		check_add(c, "KVM0331", d->at, "the body has %zu bytes; at most %u are allowed",
			  d->body->text.n, BODY_MAX);
	else if (d->body->text.n > BODY_LARGE)
		check_add(c, "KVM0133", d->at,
			  "the body has %zu bytes: every proxy keeps it in memory",
			  d->body->text.n);
}

static void check_http(struct check *c, const struct model_virtual_service *vs,
		       const struct model_http_route *h)
{
	check_action(c, h);
	for (size_t i = 0; i < h->match.n; i++)
		check_http_match(c, vs, &h->match.v[i]);
	check_http_destinations(c, h);
	check_redirect(c, h);
	check_rewrite(c, h->rewrite);
	check_retries(c, h->retries);
	check_fault(c, h->fault);
	check_cors(c, h->corsPolicy);
	check_direct(c, h->directResponse);
	check_headers(c, h->headers);
	check_destination(c, h->mirror);
	for (size_t i = 0; i < h->mirrors.n; i++)
		check_destination(c, h->mirrors.v[i].destination);
}

/* ---- tcp, tls ------------------------------------------------------------------------------ */

static void check_l4_destinations(struct check *c, struct origin at,
				  const struct model_route_destination *v, size_t n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		check_destination(c, v[i].destination);
		sum += v[i].weight;
	}
	check_weights(c, at, n, sum);
}

static void check_sni(struct check *c, const struct model_virtual_service *vs,
		      const struct model_tls_match *m)
{
	for (size_t i = 0; i < m->sniHosts.n; i++) {
		struct str sni = m->sniHosts.v[i];
		bool inside = false;

		if (names_is_ip(sni)) {
			check_add(
				c, "KVM0133", m->at,
				"sniHosts: clients send no server name for an IP address ('%.*s')",
				STR_ARG(sni));
			continue;
		}
		check_host(c, m->at, "sniHosts", sni, false);
		for (size_t k = 0; k < vs->hosts.n && !inside; k++)
			inside = names_subset_of(sni, vs->hosts.v[k]) ||
				 names_subset_of(sni, vs->fqdns.v[k]);
		if (!inside)
			check_add(c, "KVM0329", m->at, "sniHosts: '%.*s' is not covered by hosts",
				  STR_ARG(sni));
	}
}

static void check_l4(struct check *c, const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->tcp.n; i++) {
		const struct model_tcp_route *t = &vs->tcp.v[i];

		for (size_t k = 0; k < t->match.n; k++)
			check_cidrs(c, t->match.v[k].at, "destinationSubnets",
				    &t->match.v[k].destinationSubnets);
		check_l4_destinations(c, t->at, t->route.v, t->route.n);
	}
	for (size_t i = 0; i < vs->tls.n; i++) {
		const struct model_tls_route *t = &vs->tls.v[i];

		for (size_t k = 0; k < t->match.n; k++) {
			check_cidrs(c, t->match.v[k].at, "destinationSubnets",
				    &t->match.v[k].destinationSubnets);
			check_sni(c, vs, &t->match.v[k]);
		}
		check_l4_destinations(c, t->at, t->route.v, t->route.n);
	}
}

/* ---- the whole ----------------------------------------------------------------------------- */

static bool names_mesh(const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->gateways.n; i++)
		if (str_eq(vs->gateways.v[i], STR("mesh")))
			return true;
	return vs->gateways.n == 0;
}

static void check_hosts(struct check *c, const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->hosts.n; i++) {
		struct origin at = at_element(c, "hosts", i);

		check_host(c, at, "hosts", vs->hosts.v[i], true);
		if (str_eq(vs->hosts.v[i], STR("*")) && names_mesh(vs))
			check_add(c, "KVM0320", at,
				  "host '*' is for gateways only: name the hosts, or list gateways "
				  "without 'mesh'");
		for (size_t k = 0; k < i; k++)
			if (names_match(vs->fqdns.v[i], vs->fqdns.v[k]))
				check_add(c, "KVM0320", at, "hosts '%.*s' and '%.*s' overlap",
					  STR_ARG(vs->hosts.v[k]), STR_ARG(vs->hosts.v[i]));
	}
}

void check_virtual_service(struct check *c, const struct model_virtual_service *vs)
{
	if (vs->hosts.n == 0 && (vs->gateways.n > 0 || vs->tls.n > 0 || vs->tcp.n > 0))
		check_add(
			c, "KVM0320", vs->r.at,
			"without hosts it is a delegate, which has neither gateways, tls nor tcp");
	if (vs->http.n == 0 && vs->tls.n == 0 && vs->tcp.n == 0)
		check_add(c, "KVM0320", vs->r.at,
			  "it needs at least one route in http, tls or tcp");
	check_hosts(c, vs);
	check_export_to(c, &vs->exportTo, false);
	for (size_t i = 0; i < vs->http.n; i++)
		check_http(c, vs, &vs->http.v[i]);
	check_l4(c, vs);
	check_unreachable(c, vs);
}
