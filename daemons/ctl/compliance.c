/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compliance: see compliance.h. Layer daemons/ctl.
 * Both ends of an exchange in the mesh count it; the service's side is taken where it did, for only
 * it sees callers from outside. What only the caller's side counted left the mesh.
 */
#include "config.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/map.h"
#include "ctl/compliance.h"
#include "ctl/compliance_parts.h"
#include "ctl/ctl.h"

/* ---- edges --------------------------------------------------------------------------------- */

static struct str text(const struct doc *d, const char *key)
{
	return compliance_text(d, key);
}

static bool is_source(const struct doc *e)
{
	return str_eq(text(e, "reporter"), STR("source"));
}

/* Who to whom, regardless of who tells. */
static struct str pair_of(struct arena *a, const struct doc *e)
{
	return arena_printf(a, "%.*s\n%.*s\n%.*s", STR_ARG(text(e, "sourcePrincipal")),
			    STR_ARG(text(e, "sourceWorkload")),
			    STR_ARG(text(e, "destinationWorkload")));
}

static struct str security_of(const struct doc *e)
{
	if (doc_get_bool(e, "mutual", false))
		return STR("mutual_tls");
	return text(e, "tls").n > 0 ? STR("tls") : STR("clear");
}

static struct str name_of(struct arena *a, const struct doc *e, bool source)
{
	struct str name = text(e, source ? "sourceWorkload" : "destinationWorkload");

	if (source && text(e, "sourceNamespace").n > 0)
		return arena_printf(a, "%.*s.%.*s", STR_ARG(name), STR_ARG(text(e, "sourceNamespace")));
	return name.n > 0 ? name : source ? STR("unknown") : text(e, "destinationService");
}

static void add_edge(struct arena *a, struct doc *edges, const struct doc *e)
{
	static const char *const numbers[] = { "requests", "connections", "bytesReceived",
					       "bytesSent" };
	struct doc *d = doc_add(a, edges, doc_new_map(a));

	doc_set_str(a, d, "source", name_of(a, e, true));
	doc_set_str(a, d, "destination", name_of(a, e, false));
	doc_set_str(a, d, "service", text(e, "destinationService"));
	doc_set_int(a, d, "port", doc_get_int(e, "destinationPort", 0));
	doc_set_str(a, d, "sourcePrincipal", text(e, "sourcePrincipal"));
	doc_set_str(a, d, "destinationPrincipal", text(e, "destinationPrincipal"));
	doc_set_str(a, d, "security", security_of(e));
	doc_set_str(a, d, "tls", text(e, "tls"));
	doc_set_str(a, d, "cipher", text(e, "cipher"));
	doc_set_bool(a, d, "egress", is_source(e) && text(e, "destinationPrincipal").n == 0);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		doc_set_int(a, d, numbers[i], doc_get_int(e, numbers[i], 0));
}

static struct doc *edges_of(struct arena *a, const struct doc *evidence)
{
	const struct doc *all = doc_get(evidence, STR("edges"));
	struct doc *edges = doc_new_list(a);
	struct map told;

	map_init(&told);
	for (size_t i = 0; all && i < all->n; i++)
		if (!is_source(all->v[i]))
			map_put(&told, pair_of(a, all->v[i]), all->v[i]);
	for (size_t i = 0; all && i < all->n; i++) {
		const struct doc *e = all->v[i];

		if (!is_source(e) || text(e, "destinationWorkload").n == 0 ||
		    !map_has(&told, pair_of(a, e)))
			add_edge(a, edges, e);
	}
	map_done(&told);
	return edges;
}

/* ---- sums ---------------------------------------------------------------------------------- */

/* A connection that carries no requests counts as one itself. */
static int64_t exchanges(const struct doc *e)
{
	int64_t n = doc_get_int(e, "requests", 0);

	return n > 0 ? n : doc_get_int(e, "connections", 0);
}

static int64_t bytes(const struct doc *e)
{
	return doc_get_int(e, "bytesReceived", 0) + doc_get_int(e, "bytesSent", 0);
}

static struct doc *sums(struct arena *a, const struct doc *edges, int64_t (*of)(const struct doc *))
{
	static const char *const words[] = { "mutual_tls", "tls", "clear" };
	struct doc *d = doc_new_map(a);
	int64_t n[3] = { 0 }, total = 0;

	for (size_t i = 0; i < edges->n; i++)
		for (size_t k = 0; k < 3; k++)
			if (str_eq(text(edges->v[i], "security"), str_c(words[k])))
				n[k] += of(edges->v[i]);
	for (size_t k = 0; k < 3; k++) {
		doc_set_int(a, d, words[k], n[k]);
		total += n[k];
	}
	doc_set_int(a, d, "total", total);
	if (total > 0)
		doc_set_real(a, d, "encryptedPercent",
			     100 * (double)(total - n[2]) / (double)total);
	return d;
}

/* Share of each protocol version and cipher of what was encrypted. */
static struct doc *ciphers(struct arena *a, const struct doc *edges)
{
	struct doc *list = doc_new_list(a);

	for (size_t i = 0; i < edges->n; i++) {
		const struct doc *e = edges->v[i];
		struct doc *row = NULL;

		if (text(e, "tls").n == 0)
			continue;
		for (size_t k = 0; k < list->n && !row; k++)
			if (str_eq(text(list->v[k], "tls"), text(e, "tls")) &&
			    str_eq(text(list->v[k], "cipher"), text(e, "cipher")))
				row = list->v[k];
		if (!row) {
			row = doc_add(a, list, doc_new_map(a));
			doc_set_str(a, row, "tls", text(e, "tls"));
			doc_set_str(a, row, "cipher", text(e, "cipher"));
		}
		doc_set_int(a, row, "exchanges", doc_get_int(row, "exchanges", 0) + exchanges(e));
	}
	return list;
}

/* ---- evidence and verdict ------------------------------------------------------------------ */

struct verdict {
	struct arena *a;
	struct doc *reasons;
	bool broken, unproven;
};

static void reason(struct verdict *v, bool *which, struct str why)
{
	*which = true;
	doc_add(v->a, v->reasons, doc_new_str(v->a, why));
}

static struct doc *evidence_of(struct arena *a, const struct compliance_inputs *in,
			       struct verdict *v)
{
	const struct doc *e = in->evidence, *proxies = doc_get(e, STR("proxies"));
	struct doc *d = doc_new_map(a), *list = doc_set(a, d, "proxies", doc_new_list(a));
	double period = (double)(in->until_s - in->since_s);

	for (size_t i = 0; proxies && i < proxies->n; i++) {
		struct doc *p = doc_add(a, list, doc_new_map(a));
		double share = (double)doc_get_int(proxies->v[i], "watchedSeconds", 0) / period;

		doc_set_str(a, p, "proxy", text(proxies->v[i], "proxy"));
		doc_set_real(a, p, "watchedPercent", 100 * share);
		if (share < COMPLIANCE_WATCHED_MIN)
			reason(v, &v->unproven,
			       arena_printf(a, "proxy %.*s was watched for %.1f %% of the period",
					    STR_ARG(text(proxies->v[i], "proxy")), 100 * share));
	}
	if (list->n == 0)
		reason(v, &v->unproven, STR("no proxy was watched"));
	if (doc_get_int(e, "omitted", 0) > 0)
		reason(v, &v->unproven, STR("there were more edges than are kept"));
	if (doc_get(e, STR("brokenDay"))) {
		char when[CLOCK_RFC3339_MAX];

		clock_rfc3339(doc_get_int(e, "brokenDay", 0) * 86400000000, when);
		reason(v, &v->broken, arena_printf(a, "the evidence of %.10s was changed after it "
						   "was sealed", when));
	}
	doc_set_int(a, d, "omitted", doc_get_int(e, "omitted", 0));
	doc_set_int(a, d, "sealedDays", doc_get_int(e, "sealedDays", 0));
	doc_set_str(a, d, "seal", text(e, "seal"));
	return d;
}

/* Who looks at packets: whatever it saw speaks against all the rest. */
static struct doc *witness_of(struct arena *a, const struct compliance_inputs *in, struct verdict *v)
{
	const struct doc *w = doc_get(in->evidence, STR("witness")), *ports = doc_get(w, STR("ports"));
	struct doc *d = doc_new_map(a), *list;
	double share = (double)doc_get_int(w, "watchedSeconds", 0) / (double)(in->until_s - in->since_s);
	int64_t packets = 0, plain = 0;

	for (size_t i = 0; ports && i < ports->n; i++) {
		packets += doc_get_int(ports->v[i], "packets", 0);
		plain += doc_get_int(ports->v[i], "bytes", 0);
	}
	doc_set_real(a, d, "watchedPercent", 100 * share);
	doc_set_int(a, d, "plainPackets", packets);
	doc_set_int(a, d, "plainBytes", plain);
	list = doc_set(a, d, "ports", ports ? doc_copy(a, ports) : doc_new_list(a));
	if (list->n > 0)
		reason(v, &v->broken, arena_printf(a, "%" PRId64 " plain bytes were seen on the wire",
						   plain));
	else if (share > 0 && share < COMPLIANCE_WATCHED_MIN)
		reason(v, &v->unproven, arena_printf(a, "the witness looked for %.1f %% of the period",
						     100 * share));
	return d;
}

static void judge(struct verdict *v, const struct compliance_inputs *in, const struct doc *edges,
		  const struct doc *policy)
{
	const struct doc *exceptions = doc_get(policy, STR("exceptions"));
	size_t n_clear = 0;
	int64_t since_us;

	for (size_t i = 0; i < edges->n; i++)
		n_clear += str_eq(text(edges->v[i], "security"), STR("clear"));
	if (n_clear > 0)
		reason(v, &v->broken, arena_printf(v->a, "%zu clear edge%s", n_clear,
						   n_clear == 1 ? "" : "s"));
	if (!in->config)
		reason(v, &v->unproven, STR("the router does not say which policies are in force"));
	else if (!doc_get_bool(policy, "strict", false))
		reason(v, &v->broken, STR("no PeerAuthentication makes the mesh STRICT"));
	else if (ctl_time_parse(text(policy, "since"), &since_us) && since_us > in->since_s * 1000000)
		reason(v, &v->unproven, arena_printf(v->a, "STRICT only since %.*s",
						     STR_ARG(text(policy, "since"))));
	if (exceptions->n > 0)
		reason(v, &v->broken, arena_printf(v->a, "%zu exception%s from STRICT", exceptions->n,
						   exceptions->n == 1 ? "" : "s"));
	if (!in->ca)
		reason(v, &v->unproven, STR("the CA does not say where keys are"));
}

static struct doc *judge_egress(struct verdict *v, struct doc *egress)
{
	const struct doc *to = doc_get(egress, STR("destinations"));
	size_t n = 0;

	for (size_t i = 0; i < to->n; i++)
		n += !doc_get_bool(to->v[i], "allowed", true);
	if (n > 0)
		reason(v, &v->broken, arena_printf(v->a, "%zu destination%s in countries that egressPolicy "
						   "does not allow", n, n == 1 ? "" : "s"));
	return egress;
}

static void set_time(struct arena *a, struct doc *d, const char *name, int64_t s)
{
	char when[CLOCK_RFC3339_MAX];

	doc_set_str(a, d, name, arena_str(a, str_c(clock_rfc3339(s * 1000000, when))));
}

struct doc *compliance_report(const struct compliance_inputs *in, struct arena *a)
{
	struct verdict v = { .a = a, .reasons = doc_new_list(a) };
	struct doc *d = doc_new_map(a), *period = doc_set(a, d, "period", doc_new_map(a));
	struct doc *edges = edges_of(a, in->evidence);
	struct doc *policy = compliance_policy(a, in);

	set_time(a, period, "since", in->since_s);
	set_time(a, period, "until", in->until_s);
	doc_set_str(a, d, "trustDomain", text(in->ca, "trustDomain"));
	doc_set(a, d, "exchanges", sums(a, edges, exchanges));
	doc_set(a, d, "bytes", sums(a, edges, bytes));
	doc_set(a, d, "ciphers", ciphers(a, edges));
	doc_set(a, d, "edges", edges);
	doc_set(a, d, "policy", policy);
	doc_set(a, d, "keys", compliance_keys(a, in));
	doc_set(a, d, "egress", judge_egress(&v, compliance_egress(a, in, edges)));
	doc_set(a, d, "inventory", compliance_inventory(a, in));
	judge(&v, in, edges, policy);
	doc_set(a, d, "witness", witness_of(a, in, &v));
	doc_set(a, d, "evidence", evidence_of(a, in, &v));
	doc_set_str(a, d, "verdict", v.broken ? STR("NON-COMPLIANT") : v.unproven ?
		    STR("NOT ENOUGH EVIDENCE") : STR("COMPLIANT"));
	doc_set(a, d, "reasons", v.reasons);
	return d;
}
