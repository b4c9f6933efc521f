/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_gw: rules inside one Gateway or Sidecar (semantics 2.18). Layer config.
 */
#include "config/check_parts.h"

bool check_is_gateway_protocol(struct str protocol, bool *ret_tls)
{
	static const char *const words[] = { "HTTP",  "HTTPS", "GRPC",  "GRPC-WEB", "HTTP2",
					     "MONGO", "REDIS", "MYSQL", "TCP",      "TLS" };

	*ret_tls = str_ieq(protocol, STR("HTTPS")) || str_ieq(protocol, STR("TLS"));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_ieq(protocol, str_c(words[i])))
			return true;
	return false;
}

/* ---- TLS of a server ----------------------------------------------------------------------- */

static bool has_certificate(const struct model_server_tls *t)
{
	return t->serverCertificate.n > 0 || t->privateKey.n > 0 || t->tlsCertificates.n > 0 ||
	       t->credentialName.n > 0 || t->credentialNames.n > 0;
}

static void check_sources(struct check *c, const struct model_server_tls *t)
{
	int n = (t->credentialName.n > 0) + (t->credentialNames.n > 0) +
		(t->serverCertificate.n > 0 || t->privateKey.n > 0) + (t->tlsCertificates.n > 0);

	if (n > 1)
		check_add(c, "KVM0371", t->at,
			  "certificates from more than one source: credentialName, "
			  "credentialNames, paths or tlsCertificates");
	if (t->credentialNames.n > 2 || t->tlsCertificates.n > 2)
		check_add(c, "KVM0133", t->at,
			  "more than two certificates: the first two are used");
	if (t->caCrl.n > 0 && (t->credentialName.n > 0 || t->mode == MODEL_SERVER_TLS_SIMPLE))
		check_add(c, "KVM0371", t->at,
			  "caCrl needs caCertificates and client certificates");
}

static void check_pins(struct check *c, const struct model_server_tls *t)
{
	for (size_t i = 0; i < t->verifyCertificateSpki.n; i++)
		if (names_digest_of_base64(t->verifyCertificateSpki.v[i], &c->arena).n == 0)
			check_add(c, "KVM0371", t->at,
				  "verifyCertificateSpki: '%.*s' is no base64 of a SHA-256",
				  STR_ARG(t->verifyCertificateSpki.v[i]));
	for (size_t i = 0; i < t->verifyCertificateHash.n; i++)
		if (names_digest_of_hex(t->verifyCertificateHash.v[i], &c->arena).n == 0)
			check_add(c, "KVM0371", t->at, "verifyCertificateHash: '%.*s' is no SHA-256 in hex",
				  STR_ARG(t->verifyCertificateHash.v[i]));
}

static void check_own_certificate(struct check *c, const struct model_server_tls *t)
{
	bool credential =
		t->credentialName.n > 0 || t->credentialNames.n > 0 || t->tlsCertificates.n > 0;
	bool clients =
		t->mode == MODEL_SERVER_TLS_MUTUAL || t->mode == MODEL_SERVER_TLS_OPTIONAL_MUTUAL;

	if (!credential && (t->serverCertificate.n == 0 || t->privateKey.n == 0))
		check_add(c, "KVM0371", t->at,
			  "the mode needs credentialName, or serverCertificate and privateKey");
	for (size_t i = 0; i < t->tlsCertificates.n; i++)
		if (t->tlsCertificates.v[i].serverCertificate.n == 0 ||
		    t->tlsCertificates.v[i].privateKey.n == 0)
			check_add(c, "KVM0371", t->at,
				  "tlsCertificates[%zu] needs serverCertificate and privateKey", i);
	if (clients && names_server_files(t, NULL, &c->arena).ca.n == 0)
		check_add(c, "KVM0371", t->at, "client certificates need caCertificates");
	if (clients)
		check_pins(c, t);
	else if (t->verifyCertificateSpki.n + t->verifyCertificateHash.n + t->subjectAltNames.n > 0)
		check_add(c, "KVM0133", t->at,
			  "SIMPLE asks clients for no certificate: what is said of it is not used");
}

static void check_mode(struct check *c, const struct model_server_tls *t)
{
	switch ((enum model_server_tls_mode)t->mode) {
	case MODEL_SERVER_TLS_SIMPLE:
	case MODEL_SERVER_TLS_MUTUAL:
	case MODEL_SERVER_TLS_OPTIONAL_MUTUAL:
		check_own_certificate(c, t);
		break;
	case MODEL_SERVER_TLS_ISTIO_MUTUAL:
		if (has_certificate(t) || t->caCertificates.n > 0)
			check_add(c, "KVM0371", t->at,
				  "ISTIO_MUTUAL uses the mesh's own certificates: no files here");
		break;
	case MODEL_SERVER_TLS_PASSTHROUGH:
	case MODEL_SERVER_TLS_AUTO_PASSTHROUGH:
		if (has_certificate(t))
			check_add(c, "KVM0133", t->at,
				  "TLS is passed through: the certificates are not used");
		break;
	}
}

static void check_versions(struct check *c, const struct model_server_tls *t)
{
	if (t->maxProtocolVersion != MODEL_TLS_AUTO &&
	    t->maxProtocolVersion < t->minProtocolVersion)
		check_add(c, "KVM0371", t->at, "maxProtocolVersion is below minProtocolVersion");
	if ((t->minProtocolVersion == MODEL_TLS_V1_0 || t->minProtocolVersion == MODEL_TLS_V1_1) &&
	    t->cipherSuites.n == 0)
		check_add(c, "KVM0133", t->at, "TLS below 1.2 needs cipherSuites that it can use");
	for (size_t i = 0; i < t->cipherSuites.n; i++) {
		if (!names_is_cipher(t->cipherSuites.v[i]))
			check_add(c, "KVM0133", t->at,
				  "cipherSuites: '%.*s' is unknown and left out",
				  STR_ARG(t->cipherSuites.v[i]));
		for (size_t k = 0; k < i; k++)
			if (str_eq(t->cipherSuites.v[i], t->cipherSuites.v[k]))
				check_add(c, "KVM0133", t->at, "cipherSuites names '%.*s' twice",
					  STR_ARG(t->cipherSuites.v[i]));
	}
}

void check_server_tls(struct check *c, const struct model_server *s)
{
	const struct model_server_tls *t = s->tls;
	bool tls = false, http;

	if (s->port == NULL || !check_is_gateway_protocol(s->port->protocol, &tls))
		return;
	http = str_ieq(s->port->protocol, STR("HTTP"));
	if (t == NULL && tls)
		check_add(c, "KVM0371", s->at, "a port of protocol %.*s needs tls",
			  STR_ARG(s->port->protocol));
	if (t == NULL)
		return;
	if (!tls) {
		if (!http || has_certificate(t) || t->has_mode)
			check_add(c, "KVM0371", t->at, "a plain port takes no tls%s",
				  http ? " but httpsRedirect" : "");
		return;
	}
	if (t->httpsRedirect)
		check_add(c, "KVM0133", t->at,
			  "httpsRedirect is for plain HTTP ports; here it does nothing");
	check_sources(c, t);
	check_mode(c, t);
	check_versions(c, t);
}

/* ---- Gateway ------------------------------------------------------------------------------- */

static void check_gateway_host(struct check *c, struct origin at, struct str host)
{
	ptrdiff_t slash = str_find(host, '/');
	struct str ns = slash < 0 ? STR("*") : str_take(host, (size_t)slash);

	if (!str_eq(ns, STR("*")) && !str_eq(ns, STR(".")) && !check_is_label(ns))
		check_add(c, "KVM0302", at, "hosts: '%.*s' is no namespace", STR_ARG(ns));
	check_host(c, at, "hosts", slash < 0 ? host : str_skip(host, (size_t)slash + 1), true);
}

static void check_server_port(struct check *c, const struct model_server *s)
{
	bool tls, is_socket = str_has_prefix(s->bind, STR("unix:"));

	if (s->port == NULL)
		return;
	if (s->port->name.n == 0)
		check_add(c, "KVM0370", s->port->at, "the port needs a name");
	else if (!check_is_label(s->port->name))
		check_add(c, "KVM0311", s->port->at, "port name '%.*s' is no DNS label",
			  STR_ARG(s->port->name));
	if (!check_is_gateway_protocol(s->port->protocol, &tls))
		check_add(c, "KVM0370", s->port->at, "protocol '%.*s' is unknown",
			  STR_ARG(s->port->protocol));
	if (is_socket ? s->port->number != 0 : s->port->number == 0)
		check_add(c, "KVM0370", s->port->at,
			  is_socket ? "a unix: bind needs port number 0"
				    : "the port needs a number");
	if (s->bind.n > 0 && !is_socket && !names_is_ip(s->bind))
		check_add(c, "KVM0309", s->at,
			  "bind must be an IP address or unix:/path, is '%.*s'", STR_ARG(s->bind));
}

/* A name of a directory: it must not lead anywhere else. */
static void check_credential(struct check *c, const struct model_server_tls *t, struct str name)
{
	if (name.n > 0 && (str_find(name, '/') >= 0 || name.p[0] == '.'))
		check_add(c, "KVM0371", t->at,
			  "credentialName must be the name of a directory, is '%.*s'",
			  STR_ARG(name));
}

static void check_credentials(struct check *c, const struct model_server_tls *t)
{
	if (t == NULL)
		return;
	check_credential(c, t, t->credentialName);
	check_credential(c, t, t->caCertCredentialName);
	for (size_t i = 0; i < t->credentialNames.n; i++)
		check_credential(c, t, t->credentialNames.v[i]);
}

static void check_servable(struct check *c, const struct model_server *s, size_t i)
{
	const char *why;

	if (s->port != NULL && !names_is_servable(s, &why))
		check_add(c, "KVM0900", s->at, "servers[%zu] is not enforced yet: %s", i, why);
}

void check_gateway(struct check *c, const struct model_gateway *g)
{
	if (g->servers.n == 0)
		check_add(c, "KVM0370", g->r.at, "servers are missing");
	if (!check_is_label(g->r.name))
		check_add(c, "KVM0301", g->r.at,
			  "the name of a Gateway must be a DNS label without dots");
	if (g->selector.n == 0)
		check_add(c, "KVM0208", g->r.at, "an empty selector is for every gateway workload");
	for (size_t i = 0; i < g->servers.n; i++) {
		const struct model_server *s = &g->servers.v[i];

		check_server_port(c, s);
		for (size_t k = 0; k < s->hosts.n; k++)
			check_gateway_host(c, s->at, s->hosts.v[k]);
		check_server_tls(c, s);
		check_credentials(c, s->tls);
		check_servable(c, s, i);
		for (size_t k = 0; k < i; k++)
			if (s->port != NULL && g->servers.v[k].port != NULL &&
			    s->port->name.n > 0 &&
			    str_eq(s->port->name, g->servers.v[k].port->name))
				check_add(c, "KVM0311", s->port->at,
					  "port name '%.*s' is used twice", STR_ARG(s->port->name));
	}
}

/* ---- Sidecar ------------------------------------------------------------------------------- */

static void check_ingress(struct check *c, const struct model_sidecar *s, size_t i)
{
	const struct model_sidecar_ingress *in = &s->ingress.v[i];
	bool tls;
	struct str address;
	int64_t port;

	if (in->port == NULL)
		return;
	if (in->port->number == 0)
		check_add(c, "KVM0380", in->at, "ingress needs a port number");
	if (!check_is_gateway_protocol(in->port->protocol, &tls))
		check_add(c, "KVM0380", in->port->at, "protocol '%.*s' is unknown",
			  STR_ARG(in->port->protocol));
	if (in->bind.n > 0 && !names_is_ip(in->bind))
		check_add(c, "KVM0309", in->at, "bind must be an IP address, is '%.*s'",
			  STR_ARG(in->bind));
	if (in->defaultEndpoint.n > 0 &&
	    !names_default_endpoint(in->defaultEndpoint, &address, &port))
		check_add(c, "KVM0380", in->at,
			  "defaultEndpoint must be 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, "
			  "[::]:PORT or unix:///path, is '%.*s'",
			  STR_ARG(in->defaultEndpoint));
	if (in->tls != NULL && !tls)
		check_add(c, "KVM0380", in->at, "tls needs protocol HTTPS or TLS");
	if (in->bind.n > 0 && in->captureMode != MODEL_LISTENER_NONE)
		check_add(c, "KVM0901", in->at,
			  "bind has no meaning without captureMode NONE: traffic is redirected, or "
			  "comes through the mesh port");
	check_pool(c, in->at, in->connectionPool);
	for (size_t k = 0; k < i; k++)
		if (s->ingress.v[k].port != NULL &&
		    s->ingress.v[k].port->number == in->port->number)
			check_add(c, "KVM0380", in->at, "ingress has port %lld twice",
				  (long long)in->port->number);
}

static void check_egress_hosts(struct check *c, const struct model_sidecar_egress *e)
{
	for (size_t i = 0; i < e->hosts.n; i++) {
		struct str host = e->hosts.v[i], ns;
		ptrdiff_t slash = str_find(host, '/');

		if (slash < 0) {
			check_add(c, "KVM0380", e->at,
				  "egress host '%.*s' must be NAMESPACE/NAME, for example ./%.*s",
				  STR_ARG(host), STR_ARG(host));
			continue;
		}
		ns = str_take(host, (size_t)slash);
		if (!str_eq(ns, STR("*")) && !str_eq(ns, STR(".")) && !str_eq(ns, STR("~")) &&
		    !check_is_label(ns))
			check_add(c, "KVM0380", e->at, "egress host: '%.*s' is no namespace",
				  STR_ARG(ns));
		check_host(c, e->at, "egress host", str_skip(host, (size_t)slash + 1), false);
		for (size_t k = 0; k < i; k++)
			if (str_eq(e->hosts.v[k], host))
				check_add(c, "KVM0133", e->at, "egress names '%.*s' twice",
					  STR_ARG(host));
		if (str_eq(host, STR("*/*")) && e->hosts.n > 1)
			check_add(c, "KVM0133", e->at, "egress '*/*' covers all the other hosts");
	}
}

static void check_egress_bind(struct check *c, const struct model_sidecar_egress *e)
{
	bool is_socket = str_has_prefix(e->bind, STR("unix:"));

	if (e->bind.n == 0 || e->port == NULL)
		return;
	if (is_socket ? e->port->number != 0 : e->port->number == 0)
		check_add(c, "KVM0380", e->at,
			  is_socket ? "a unix: bind needs port number 0"
				    : "the port needs a number");
	if (is_socket && e->captureMode == MODEL_LISTENER_IPTABLES)
		check_add(c, "KVM0380", e->at, "nothing is redirected to a unix: bind");
	if (is_socket)
		check_add(c, "KVM0900", e->at,
			  "a unix: bind is not enforced yet: callers use an address and a port");
	else if (!names_is_ip(e->bind))
		check_add(c, "KVM0309", e->at,
			  "bind must be an IP address or unix:/path, is '%.*s'", STR_ARG(e->bind));
}

/* A port that is opened for bytes carries those of one service. */
static void check_egress_service(struct check *c, const struct model_sidecar *s,
				 const struct model_sidecar_egress *e)
{
	enum snap_protocol protocol;

	if (e->port == NULL || e->captureMode != MODEL_LISTENER_NONE || e->port->number == 0)
		return;
	protocol = names_protocol(STR(""), e->port->protocol, STR(""));
	if (protocol != SNAP_PROTOCOL_TCP && protocol != SNAP_PROTOCOL_TLS)
		return;
	for (size_t i = 0; i < c->reg.services.n; i++) {
		const struct names_service *to = &c->reg.services.v[i];
		struct names_caller who = { s->r.ns, s, e->port->number };

		if (names_port_find(to, e->port->number) != NULL &&
		    names_sees(c->m, &who, to->ns, to->host))
			return;
	}
	check_add(c, "KVM0133", e->at,
		  "egress names no service with port %lld: the listener is not opened",
		  (long long)e->port->number);
}

static void check_egress(struct check *c, const struct model_sidecar *s, size_t i)
{
	const struct model_sidecar_egress *e = &s->egress.v[i];

	if (e->port == NULL && i + 1 < s->egress.n)
		check_add(c, "KVM0380", e->at,
			  "the egress listener without port must be the last, and the only one");
	if (e->port == NULL && e->bind.n > 0)
		check_add(c, "KVM0380", e->at, "bind needs a port");
	check_egress_bind(c, e);
	check_egress_hosts(c, e);
	check_egress_service(c, s, e);
	for (size_t k = 0; k < i; k++)
		if (s->egress.v[k].port != NULL && e->port != NULL &&
		    s->egress.v[k].port->number == e->port->number &&
		    str_eq(s->egress.v[k].bind, e->bind))
			check_add(c, "KVM0380", e->at, "egress has port %lld twice",
				  (long long)e->port->number);
}

void check_sidecar(struct check *c, const struct model_sidecar *s)
{
	const struct model_outbound_policy *p = s->outboundTrafficPolicy;

	if (s->ingress.n == 0 && s->egress.n == 0 && p == NULL && s->inboundConnectionPool == NULL)
		check_add(c, "KVM0380", s->r.at,
			  "it needs ingress, egress or outboundTrafficPolicy");
	for (size_t i = 0; i < s->ingress.n; i++)
		check_ingress(c, s, i);
	for (size_t i = 0; i < s->egress.n; i++)
		check_egress(c, s, i);
	if (p != NULL && p->egressProxy != NULL &&
	    (p->mode != MODEL_OUTBOUND_ALLOW_ANY || p->egressProxy->port == NULL))
		check_add(c, "KVM0380", p->at, "egressProxy needs a port and mode ALLOW_ANY");
	check_pool(c, s->r.at, s->inboundConnectionPool);
}
