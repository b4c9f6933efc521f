/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_net: rules inside one ServiceEntry, WorkloadEntry, Service or Workload (semantics 2.18).
 * Layer config.
 */
#include "config/check_parts.h"
#include "config/inject.h"
#include "config/quantity.h"

/* ---- ports --------------------------------------------------------------------------------- */

static bool is_protocol(struct str p)
{
	static const char *const words[] = { "HTTP",       "HTTP2", "GRPC",  "GRPC-WEB",
					     "HTTP_PROXY", "HTTPS", "TLS",   "TCP",
					     "MONGO",      "REDIS", "MYSQL", "UDP" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_ieq(p, str_c(words[i])))
			return true;
	return false;
}

/* name and number of port i against those before it; seen(k) gives the k-th. */
struct port_view {
	struct origin at;
	struct str name;
	int64_t number;
};

static void check_port_unique(struct check *c, const struct port_view *v, size_t i, bool numbers)
{
	if (v[i].name.n > 0 && !check_is_label(v[i].name))
		check_add(c, "KVM0311", v[i].at, "port name '%.*s' is no DNS label",
			  STR_ARG(v[i].name));
	for (size_t k = 0; k < i; k++) {
		if (v[i].name.n > 0 && str_eq(v[k].name, v[i].name))
			check_add(c, "KVM0311", v[i].at, "port name '%.*s' is used twice",
				  STR_ARG(v[i].name));
		if (numbers && v[k].number == v[i].number)
			check_add(c, "KVM0311", v[i].at, "port %lld is used twice",
				  (long long)v[i].number);
	}
}

static void check_protocol(struct check *c, struct origin at, struct str protocol)
{
	if (protocol.n > 0 && !is_protocol(protocol))
		check_add(c, "KVM0312", at,
			  "protocol '%.*s' is unknown: HTTP, HTTP2, GRPC, TCP, TLS, HTTPS, MONGO, "
			  "REDIS or MYSQL",
			  STR_ARG(protocol));
	if (str_ieq(protocol, STR("UDP")))
		check_add(c, "KVM0133", at, "UDP does not pass through the mesh");
}

/* ---- ServiceEntry, WorkloadEntry ----------------------------------------------------------- */

static bool is_unix(struct str address)
{
	return str_has_prefix(address, STR("unix:"));
}

static void check_endpoint(struct check *c, const struct model_endpoint *e)
{
	struct origin at = e->at.line > 0 ? e->at : c->r->at;

	if (e->address.n == 0 && e->network.n == 0)
		check_add(c, "KVM0352", at, "an endpoint needs an address");
	if (!is_unix(e->address)) {
		if (e->address.n > 0 && !names_is_ip(e->address) && !check_is_fqdn(e->address))
			check_add(c, "KVM0309", at,
				  "address '%.*s' is neither an IP address nor a name",
				  STR_ARG(e->address));
		return;
	}
	if (!str_has_prefix(e->address, STR("unix:///")) &&
	    !str_has_prefix(e->address, STR("unix://@")) &&
	    !str_has_prefix(e->address, STR("unix:/")))
		check_add(c, "KVM0352", at,
			  "a unix: address is absolute or abstract: unix:///path, unix://@name");
	if (e->portNumbers.n > 0)
		check_add(c, "KVM0352", at, "a unix: address takes no ports");
}

static bool has_port_name(const struct model_service_entry *se, struct str name)
{
	for (size_t i = 0; i < se->ports.n; i++)
		if (str_eq(se->ports.v[i].name, name))
			return true;
	return false;
}

static void check_se_ports(struct check *c, const struct model_service_entry *se)
{
	struct port_view *v = arena_new_n(&c->arena, struct port_view, se->ports.n + 1);

	if (se->ports.n == 0 && se->resolution != MODEL_SE_NONE)
		check_add(c, "KVM0350", se->r.at, "ports are missing");
	for (size_t i = 0; i < se->ports.n; i++) {
		const struct model_se_port *p = &se->ports.v[i];
		enum snap_protocol protocol = names_protocol(STR(""), p->protocol, STR(""));

		v[i] = (struct port_view){ p->at, p->name, p->number };
		if (p->name.n == 0)
			check_add(c, "KVM0311", p->at, "port %lld needs a name",
				  (long long)p->number);
		check_port_unique(c, v, i, true);
		check_protocol(c, p->at, p->protocol);
		if ((protocol == SNAP_PROTOCOL_TCP || protocol == SNAP_PROTOCOL_AUTO) &&
		    se->addresses.n == 0)
			check_add(c, "KVM0134", p->at,
				  "port %lld is %s without addresses: it takes every connection to "
				  "that port number",
				  (long long)p->number,
				  protocol == SNAP_PROTOCOL_TCP ? "TCP" : "of no protocol");
	}
}

static bool all_ports_are_named_by_host(const struct model_service_entry *se)
{
	for (size_t i = 0; i < se->ports.n; i++) {
		enum snap_protocol p = names_protocol(STR(""), se->ports.v[i].protocol, STR(""));

		if (p == SNAP_PROTOCOL_TCP || p == SNAP_PROTOCOL_AUTO)
			return false;
	}
	return true;
}

static void check_se_hosts(struct check *c, const struct model_service_entry *se)
{
	bool fixed = se->resolution == MODEL_SE_NONE || se->resolution == MODEL_SE_STATIC;

	for (size_t i = 0; i < se->hosts.n; i++) {
		if (str_eq(se->hosts.v[i], STR("*")))
			check_add(c, "KVM0350", se->r.at,
				  "host '*' is not allowed: name a domain, as in *.example.org");
		check_host(c, se->r.at, "hosts", se->hosts.v[i], false);
	}
	for (size_t i = 0; i < se->addresses.n; i++) {
		if (!check_is_cidr(se->addresses.v[i]))
			check_add(c, "KVM0309", se->r.at,
				  "addresses: '%.*s' is neither an IP address nor a CIDR",
				  STR_ARG(se->addresses.v[i]));
		else if (!fixed && str_find(se->addresses.v[i], '/') >= 0)
			check_add(c, "KVM0350", se->r.at,
				  "a CIDR in addresses needs resolution NONE or STATIC");
	}
	if (se->hosts.n > 1 && se->resolution != MODEL_SE_NONE && !all_ports_are_named_by_host(se))
		check_add(c, "KVM0350", se->r.at,
			  "several hosts cannot be told apart on TCP ports: one ServiceEntry each, "
			  "or HTTP and TLS ports");
}

static void check_se_endpoint(struct check *c, const struct model_service_entry *se,
			      const struct model_endpoint *e)
{
	bool ip = names_is_ip(e->address) || is_unix(e->address);

	check_endpoint(c, e);
	if (se->resolution == MODEL_SE_STATIC && e->address.n > 0 && !ip)
		check_add(c, "KVM0351", e->at, "resolution STATIC needs IP addresses, is '%.*s'",
			  STR_ARG(e->address));
	for (size_t i = 0; i < e->portNumbers.n; i++)
		if (!has_port_name(se, e->portNumbers.v[i].key))
			check_add(c, "KVM0351", e->at,
				  "the endpoint's port '%.*s' is none of ports",
				  STR_ARG(e->portNumbers.v[i].key));
}

static void check_dns(struct check *c, const struct model_service_entry *se)
{
	bool wildcard = false;

	for (size_t i = 0; i < se->hosts.n; i++)
		wildcard = wildcard || names_is_wildcard(se->hosts.v[i]);
	if ((se->resolution == MODEL_SE_DNS || se->resolution == MODEL_SE_DNS_ROUND_ROBIN) &&
	    wildcard && se->endpoints.n == 0 && se->workloadSelector == NULL)
		check_add(c, "KVM0351", se->r.at,
			  "a wildcard host cannot be looked up: list endpoints, or use resolution "
			  "NONE");
	if (se->resolution == MODEL_SE_DNS_ROUND_ROBIN && se->endpoints.n > 1)
		check_add(c, "KVM0351", se->r.at, "resolution DNS_ROUND_ROBIN takes one endpoint");
	if (se->resolution == MODEL_SE_DYNAMIC_DNS &&
	    (!wildcard || se->addresses.n > 0 || se->endpoints.n > 0 ||
	     !all_ports_are_named_by_host(se)))
		check_add(c, "KVM0351", se->r.at,
			  "resolution DYNAMIC_DNS is for wildcard hosts with HTTP and TLS ports, "
			  "without addresses and endpoints");
}

void check_service_entry(struct check *c, const struct model_service_entry *se)
{
	check_se_hosts(c, se);
	check_se_ports(c, se);
	check_export_to(c, &se->exportTo, true);
	if (se->endpoints.n > 0 && se->workloadSelector != NULL)
		check_add(c, "KVM0351", se->r.at, "endpoints excludes workloadSelector");
	if (se->resolution == MODEL_SE_NONE &&
	    (se->endpoints.n > 0 || se->workloadSelector != NULL))
		check_add(c, "KVM0351", se->r.at,
			  "resolution NONE forwards to the address that was called: it takes no "
			  "endpoints");
	for (size_t i = 0; i < se->endpoints.n; i++)
		check_se_endpoint(c, se, &se->endpoints.v[i]);
	check_dns(c, se);
}

void check_workload_entry(struct check *c, const struct model_workload_entry *we)
{
	check_endpoint(c, &we->e);
}

/* ---- Service, Workload --------------------------------------------------------------------- */

static void check_listen(struct check *c, const struct model_service_port *p)
{
	struct str host;
	int64_t port;

	if (p->listen.n == 0)
		return;
	if (!check_host_port(p->listen, &host, &port))
		check_add(c, "KVM0309", p->at,
			  "listen must be ADDRESS:PORT, for example 127.0.0.1:16379, is '%.*s'",
			  STR_ARG(p->listen));
	else if (port == 0)
		check_add(c, "KVM0309", p->at, "listen needs a port");
}

void check_service(struct check *c, const struct model_service *s)
{
	struct port_view *v = arena_new_n(&c->arena, struct port_view, s->ports.n + 1);

	if (s->ports.n == 0)
		check_add(c, "KVM0360", s->r.at, "ports are missing");
	if (!check_is_label(s->r.name))
		check_add(c, "KVM0301", s->r.at,
			  "the name of a Service must be a DNS label without dots");
	for (size_t i = 0; i < s->ports.n; i++) {
		const struct model_service_port *p = &s->ports.v[i];

		v[i] = (struct port_view){ p->at, p->name, p->port };
		if (s->ports.n > 1 && p->name.n == 0)
			check_add(c, "KVM0360", p->at,
				  "port %lld needs a name, because there are several",
				  (long long)p->port);
		check_port_unique(c, v, i, true);
		check_protocol(c, p->at, p->protocol);
		check_listen(c, p);
		if (names_protocol(p->name, p->appProtocol, p->protocol) == SNAP_PROTOCOL_AUTO &&
		    p->listen.n == 0)
			check_add(c, "KVM0118", p->at,
				  "port %lld says no protocol: name it http-… or tcp-…, or set "
				  "protocol",
				  (long long)p->port);
	}
	if (s->selector.n == 0)
		check_add(c, "KVM0208", s->r.at,
			  "an empty selector selects nothing: the service has no endpoints");
}

static void check_amounts(struct check *c, const char *what, const struct model_resource_amounts *a)
{
	int64_t v;

	if (a == NULL)
		return;
	if (a->cpu.n > 0 && !quantity_cpu(a->cpu, &v))
		check_add(c, "KVM0361", c->r->at, "%s.cpu must be like 100m or 0.5, is '%.*s'",
			  what, STR_ARG(a->cpu));
	if (a->memory.n > 0 && !quantity_memory(a->memory, &v))
		check_add(c, "KVM0361", c->r->at, "%s.memory must be like 128Mi, is '%.*s'", what,
			  STR_ARG(a->memory));
}

/* An instance of the proxy is called by the name alone. */
static bool is_taken(struct check *c, const struct model_workload *w)
{
	if (str_eq(w->r.name, STR("node")))
		return true;
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *o = model_as_workload(r);

		if (o != w && str_eq(o->r.name, w->r.name) &&
		    (o->gateway || inject_is_dedicated(o)))
			return true;
	}
	return false;
}

static void check_dedicated(struct check *c, const struct model_workload *w)
{
	if (!inject_is_dedicated(w)) {
		if (w->resources && !w->gateway)
			check_add(c, "KVM0901", w->r.at,
				  "resources has no meaning here: the node's proxy serves it; "
				  "sidecar = \"dedicated\" gives it one that can be limited");
		return;
	}
	if (!w->sidecarPorts)
		check_add(c, "KVM0361", w->r.at,
			  "sidecar 'dedicated' needs ports of its own: sidecarPorts = { mesh = "
			  "15601; http = 15602; }");
	if (w->injected || w->capture)
		check_add(c, "KVM0900", w->r.at,
			  "what it sends and gets is not captured yet where its proxy is dedicated: "
			  "it calls by sidecarPorts.http");
	if (is_taken(c, w))
		check_add(c, "KVM0361", w->r.at,
			  "there is an instance kvmesh-proxy@%.*s already: a workload with a "
			  "dedicated proxy needs another name",
			  STR_ARG(w->r.name));
}

void check_namespace(struct check *c, const struct model_namespace *n)
{
	struct str word = labels_get(&n->r.labels, STR("istio-injection"));

	if (word.p != NULL && !str_eq(word, STR("enabled")) && !str_eq(word, STR("disabled")))
		check_add(c, "KVM0303", n->r.at,
			  "the label istio-injection must be enabled or disabled, is '%.*s'",
			  STR_ARG(word));
}

static bool is_sha256(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char ch = s.p[i];

		if ((ch < '0' || ch > '9') && ((ch | 0x20) < 'a' || (ch | 0x20) > 'f'))
			return false;
	}
	return s.n == 64;
}

static void check_program(struct check *c, const struct model_workload *w)
{
	if (w->executable.n > 0 && w->executable.p[0] != '/')
		check_add(c, "KVM0361", w->r.at, "executable must be the whole path of a program, is '%.*s'",
			  STR_ARG(w->executable));
	if (w->executableSha256.n > 0 && !is_sha256(w->executableSha256))
		check_add(c, "KVM0361", w->r.at, "executableSha256 must be 64 hex digits, is '%.*s'",
			  STR_ARG(w->executableSha256));
	if (w->executable.n + w->executableSha256.n == 0)
		return;
	if (w->gateway || w->unit.n + w->user.n == 0)
		check_add(c, "KVM0361", w->r.at, "executable says more about a unit or a user: name that");
	else
		check_add(c, "KVM0223", w->r.at,
			  "executable: the kernel does not tell which program of a unit has opened a TCP "
			  "connection: its calls through the proxy are an unregistered caller's");
}

static void check_proof(struct check *c, const struct model_workload *w)
{
	static const char *const suffixes[] = { ".service", ".scope", ".slice", ".socket" };
	bool known = false;

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		known = known || str_has_suffix(w->unit, str_c(suffixes[i]));
	if (w->unit.n > 0 && (!known || str_find(w->unit, '/') >= 0))
		check_add(c, "KVM0361", w->r.at,
			  "unit must be the full name of a unit, like my-app.service, is '%.*s'",
			  STR_ARG(w->unit));
	if (w->unit.n > 0 && w->user.n > 0)
		check_add(c, "KVM0361", w->r.at,
			  "unit and user: one proof is enough, two could contradict");
	check_program(c, w);
	if (w->unit.n == 0 && w->user.n == 0 && !w->gateway && w->inject)
		check_add(c, "KVM0204", w->r.at,
			  "neither unit nor user is named: its own calls are an unregistered "
			  "caller's");
	for (size_t i = 0; i < w->serviceAccount.n; i++) {
		char ch = w->serviceAccount.p[i];

		if ((ch | 0x20) < 'a' || (ch | 0x20) > 'z')
			if ((ch < '0' || ch > '9') && str_find(STR("-_."), ch) < 0) {
				check_add(c, "KVM0361", w->r.at,
					  "serviceAccount '%.*s' must be letters, digits, '-', '_' "
					  "and '.'; name one if the unit's name is something else",
					  STR_ARG(w->serviceAccount));
				return;
			}
	}
}

static bool is_one_of(struct str s, const char *const *words)
{
	for (; *words; words++)
		if (str_eq(s, str_c(*words)))
			return true;
	return s.n == 0;
}

/* What is written there as root, and whom root tells. */
static void check_certificate(struct check *c, const struct model_certificate *f)
{
	static const char *const modes[] = { "0400", "0440", "0600", "0640", NULL };
	static const char *const signals[] = { "SIGHUP", "SIGUSR1", "SIGUSR2", NULL };

	if (f == NULL)
		return;
	if (f->directory.n > 0 && (f->directory.p[0] != '/' || f->directory.n == 1 ||
				   str_find_str(f->directory, STR("/../")) >= 0 ||
				   str_has_suffix(f->directory, STR("/.."))))
		check_add(c, "KVM0361", f->at, "certificate.directory must be an absolute path without '..'");
	if (!is_one_of(f->mode, modes))
		check_add(c, "KVM0361", f->at,
			  "certificate.mode must be 0400, 0440, 0600 or 0640: others never read a key");
	if (f->reload.n > 0 && !inject_is_unit_name(f->reload))
		check_add(c, "KVM0361", f->at,
			  "certificate.reload must be the full name of a service, like nginx.service, is '%.*s'",
			  STR_ARG(f->reload));
	if (!is_one_of(f->signal, signals))
		check_add(c, "KVM0361", f->at,
			  "certificate.signal must be SIGHUP, SIGUSR1 or SIGUSR2");
	if (f->signal.n > 0 && f->reload.n == 0)
		check_add(c, "KVM0361", f->at, "certificate.signal needs the unit that gets it: reload");
}

void check_workload(struct check *c, const struct model_workload *w)
{
	struct port_view *v = arena_new_n(&c->arena, struct port_view, w->ports.n + 1);

	check_proof(c, w);
	check_dedicated(c, w);
	if (!names_is_ip(w->address) && !str_has_prefix(w->address, STR("unix:/")))
		check_add(c, "KVM0309", w->r.at,
			  "address must be an IP address or unix:/path, is '%.*s'",
			  STR_ARG(w->address));
	for (size_t i = 0; i < w->ports.n; i++) {
		v[i] = (struct port_view){ w->ports.v[i].at, w->ports.v[i].name,
					   w->ports.v[i].number };
		check_port_unique(c, v, i, true);
		check_protocol(c, w->ports.v[i].at, w->ports.v[i].protocol);
	}
	if (w->resources != NULL) {
		check_amounts(c, "resources.requests", w->resources->requests);
		check_amounts(c, "resources.limits", w->resources->limits);
	}
	if (w->capture != NULL) {
		check_cidrs(c, w->capture->at, "includeOutboundIPRanges",
			    &w->capture->includeOutboundIPRanges);
		check_cidrs(c, w->capture->at, "excludeOutboundIPRanges",
			    &w->capture->excludeOutboundIPRanges);
	}
	check_certificate(c, w->certificate);
	check_probe(c, w->probe);
}
