/* SPDX-License-Identifier: Apache-2.0 */
/* check_probe: probes that could not be carried out. Layer config. */
#include "config/check_parts.h"

#define SERVICE_MAX 1024

static bool is_text(struct str s, char least)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < (unsigned char)least || s.p[i] == 0x7f)
			return false;
	return true;
}

/* Names are not looked up for a probe: it is this node's own workload that is asked. */
static void check_probe_host(struct check *c, const struct model_probe *p, const char *what,
		       struct str host)
{
	if (host.n > 0 && !names_is_ip(host) && !str_ieq(host, STR("localhost")))
		check_add(c, "KVM0361", p->at,
			  "probe.%s.host must be an IP address or localhost, is '%.*s'", what,
			  STR_ARG(host));
}

static void check_header(struct check *c, const struct model_probe *p, struct str name,
			 struct str value)
{
	static const char *const framing[] = {
		"connection", "content-length", "transfer-encoding", "upgrade", "te",
		"trailer", "expect", "keep-alive", "proxy-connection",
	};
	bool bad = !is_text(value, ' ');

	for (size_t i = 0; i < name.n; i++)
		bad = bad || (name.p[i] | 0x20) < '!' || (unsigned char)name.p[i] > 'z' ||
		      str_find(STR(" \"(),/:;<=>?@[\\]{}"), name.p[i]) >= 0;
	for (size_t i = 0; i < sizeof(framing) / sizeof(framing[0]); i++)
		bad = bad || str_ieq(name, str_c(framing[i]));
	if (bad)
		check_add(c, "KVM0361", p->at, "probe.httpGet: the header '%.*s' cannot be sent",
			  STR_ARG(name));
}

static void check_http(struct check *c, const struct model_probe *p)
{
	const struct model_probe_http *h = p->httpGet;

	check_probe_host(c, p, "httpGet", h->host);
	if (h->path.n > 0 && (h->path.p[0] != '/' || !is_text(h->path, '!')))
		check_add(c, "KVM0361", p->at,
			  "probe.httpGet.path must begin with / and hold no blank, is '%.*s'",
			  STR_ARG(h->path));
	if (h->scheme.n > 0 && !str_ieq(h->scheme, STR("HTTP")) &&
	    !str_ieq(h->scheme, STR("HTTPS")))
		check_add(c, "KVM0361", p->at,
			  "probe.httpGet.scheme must be HTTP or HTTPS, is '%.*s'",
			  STR_ARG(h->scheme));
	for (size_t i = 0; i < h->httpHeaders.n; i++)
		check_header(c, p, h->httpHeaders.v[i].name, h->httpHeaders.v[i].value);
}

void check_probe(struct check *c, const struct model_probe *p)
{
	if (!p)
		return;
	if (!p->httpGet && !p->tcpSocket && !p->exec && !p->grpc)
		check_add(c, "KVM0361", p->at, "a probe needs httpGet, tcpSocket, exec or grpc");
	if (p->httpGet)
		check_http(c, p);
	if (p->tcpSocket)
		check_probe_host(c, p, "tcpSocket", p->tcpSocket->host);
	if (p->grpc && (p->grpc->service.n > SERVICE_MAX || !is_text(p->grpc->service, '!')))
		check_add(c, "KVM0361", p->at, "probe.grpc.service is no name of a service");
}
