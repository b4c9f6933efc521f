/* SPDX-License-Identifier: Apache-2.0 */
/* health_live: do daemons answer, are certificates valid, do proxies serve? Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "ctl/health.h"
#include "ctl/print.h"
#include "io/tls.h"
#include "ipc/ipc.h"

#define DAY_US ((int64_t)86400 * 1000000)
#define CHECK_ROOT_DAYS 60
#define CHECK_ISSUER_DAYS 7

/* ---- control plane --------------------------------------------------------------------------- */

static void check_answers(struct health *l, const char *name, const struct doc *status,
			  const struct err *err, enum health_result grade)
{
	health_add(l, grade, arena_printf(&l->c->arena, "%s answers", name).p,
		  status ? NULL : err->text,
		  arena_printf(&l->c->arena, "systemctl status %s", name).p);
}

static void check_last_reload(struct health *l, const struct doc *router)
{
	const struct doc *last = doc_get(router, STR("lastReload"));
	const char *why = NULL;

	if (last && !doc_get_bool(last, "ok", true))
		why = arena_printf(&l->c->arena, "refused at %.*s; generation %lld keeps serving",
				   STR_ARG(doc_get_str(last, "at", STR("-"))),
				   (long long)doc_get_int(router, "generation", 0)).p;
	health_add(l, HEALTH_ERROR, "the last change of the configuration was accepted", why,
		  "kvmeshctl config test");
}

void health_control_plane(struct health *l, const struct live *live)
{
	l->category = "kvmesh-control-plane";
	check_answers(l, "kvmesh-router", live->router, &live->router_err, HEALTH_ERROR);
	if (live->router)
		check_last_reload(l, live->router);
	check_answers(l, "kvmesh-ca", live->ca, &live->ca_err, HEALTH_ERROR);
	/* traffic does not need it */
	check_answers(l, "kvmesh-metrics", live->metrics, &live->metrics_err, HEALTH_WARNING);
}

/* ---- identity -------------------------------------------------------------------------------- */

static void check_valid_for(struct health *l, const struct doc *cert, const char *what,
			    int days)
{
	struct arena *a = &l->c->arena;
	int64_t end, begin, now = clock_real_us();
	struct str not_after = doc_get_str(cert, "notAfter", STR(""));
	const char *why = NULL;

	if (!ctl_time_parse(not_after, &end)) {
		why = "the CA does not tell how long";
	} else if (end < now) {
		why = arena_printf(a, "expired at %.*s", STR_ARG(not_after)).p;
	} else if (end - now < days * DAY_US) {
		why = arena_printf(a, "ends at %.*s", STR_ARG(not_after)).p;
	} else if (ctl_time_parse(doc_get_str(cert, "notBefore", STR("")), &begin) && begin > now) {
		why = "not valid yet: is the clock right?";
	}
	health_add(l, HEALTH_ERROR,
		  arena_printf(a, "%s certificate valid for at least %d days", what, days).p, why,
		  "kvmeshctl ca status");
}

static void check_bundle(struct health *l)
{
	struct ipc_conn *conn;
	struct doc *reply = NULL;
	struct tls_trust *trust = NULL;
	struct err err;
	bool more, ok;

	ok = ipc_dial(ctl_sock(l->c, "ca", "ca"), l->c->timeout_ms, &conn, &err) == 0;
	if (ok) {
		ok = ipc_next_sync(conn, "Roots", NULL, &l->c->arena, &reply, &more,
				   l->c->timeout_ms, &err) == 0 &&
		     tls_trust_new(doc_get_str(reply, "bundle", STR("")),
				   doc_get_str(reply, "trustDomain", STR("")), 1, &trust,
				   &err) == 0;
		ipc_hangup(conn);
	}
	if (trust)
		tls_trust_unref(trust);
	health_add(l, HEALTH_ERROR, "trust bundle is well formed", ok ? NULL : err.text,
		  "kvmeshctl ca bundle");
}

static void check_ca(struct health *l, const struct doc *ca)
{
	const struct doc *root = doc_get(ca, STR("root")), *registry = doc_get(ca, STR("registry"));

	check_bundle(l);
	check_valid_for(l, root, "root", CHECK_ROOT_DAYS);
	check_valid_for(l, doc_get(ca, STR("issuer")), "issuer", CHECK_ISSUER_DAYS);
	health_add(l, HEALTH_WARNING, "root key is kept off this node",
		  doc_get_bool(root, "keyOnNode", false)
			  ? "only the issuer's key is needed here; move the root's key offline"
			  : NULL,
		  "kvmesh-ca(8), ROOT KEY");
	health_add(l, HEALTH_WARNING, "CA knows the current identities",
		  registry && !doc_get_bool(registry, "fresh", true) ?
			  "it works from the list it kept on disk" : NULL,
		  "systemctl status kvmesh-router");
}

static void check_leaves(struct health *l, const struct live *live)
{
	struct arena *a = &l->c->arena;
	struct str why = STR_NULL;
	int64_t now = clock_real_us();
	size_t n = 0;

	for (size_t i = 0; i < live->n_proxies; i++) {
		const struct doc *certs = doc_get(live->proxies[i].status, STR("certificates"));

		for (size_t k = 0; certs && certs->kind == DOC_LIST && k < certs->n; k++) {
			struct str end = doc_get_str(certs->v[k], "notAfter", STR(""));
			int64_t at;

			n++;
			if (ctl_time_parse(end, &at) && at > now)
				continue;
			why = arena_printf(a, "%.*s%.*s in proxy %s: expired at %.*s\n",
					   STR_ARG(why),
					   STR_ARG(doc_get_str(certs->v[k], "spiffe", STR("-"))),
					   live->proxies[i].name, STR_ARG(end));
		}
	}
	if (n > 0)
		health_add(l, HEALTH_ERROR,
			  arena_printf(a, "all %zu workload certificates are valid", n).p, why.p,
			  "kvmeshctl identity");
}

void health_identity(struct health *l, const struct live *live)
{
	l->category = "kvmesh-identity";
	if (live->ca)
		check_ca(l, live->ca);
	check_leaves(l, live);
}

/* ---- data plane ------------------------------------------------------------------------------ */

typedef struct str (*why_not_fn)(struct arena *a, const struct live *live,
				 const struct live_proxy *p);

/* "6/7 proxies TEXT", and one line per proxy for which why_not says why not. */
static void check_proxies(struct health *l, const struct live *live, enum health_result result,
			  const char *text, why_not_fn why_not)
{
	struct arena *a = &l->c->arena;
	struct str lines = STR_NULL;
	size_t n_good = 0;

	for (size_t i = 0; i < live->n_proxies; i++) {
		struct str w = why_not(a, live, &live->proxies[i]);

		n_good += w.n == 0;
		if (w.n > 0)
			lines = arena_printf(a, "%.*s%s: %.*s\n", STR_ARG(lines),
					     live->proxies[i].name, STR_ARG(w));
	}
	health_add(l, result,
		   arena_printf(a, "%zu/%zu proxies %s", n_good, live->n_proxies, text).p, lines.p,
		   "kvmeshctl proxy-status -o wide");
}

static struct str why_not_ready(struct arena *a, const struct live *live,
				const struct live_proxy *p)
{
	(void)live;
	if (!p->status)
		return arena_printf(a, "%s", p->err.text);
	if (doc_get_bool(p->status, "stale", false))
		return STR("serves an old configuration from disk");
	return doc_get_bool(p->status, "ready", false) ? STR("") : STR("not ready yet");
}

static struct str why_not_synced(struct arena *a, const struct live *live,
				 const struct live_proxy *p)
{
	struct str state = live_state(p), error = doc_get_str(p->router, "error", STR(""));

	if (!live->router || str_eq(state, STR("SYNCED")))
		return STR("");
	return arena_printf(a, "%.*s%s%.*s", STR_ARG(state), error.n > 0 ? ", " : "",
			    STR_ARG(error));
}

static struct str why_other_version(struct arena *a, const struct live *live,
				    const struct live_proxy *p)
{
	struct str v = doc_get_str(p->router, "software", STR(PACKAGE_VERSION));

	(void)live;
	/* "kvmesh-proxy 0.1.0" or "0.1.0" */
	return v.n == 0 || str_has_suffix(v, STR(PACKAGE_VERSION)) ? STR("") :
	       arena_printf(a, "runs %.*s, kvmeshctl is %s", STR_ARG(v), PACKAGE_VERSION);
}

/* Of those with a unit or a probe: are they given work, and does somebody look? */
static void check_workloads(struct health *l, const struct doc *router)
{
	const struct doc *all = doc_get(router, STR("workloads"));
	struct arena *a = &l->c->arena;
	struct str lines = STR_NULL;
	size_t n_in = 0;

	for (size_t i = 0; all && all->kind == DOC_LIST && i < all->n; i++) {
		const struct doc *w = all->v[i];

		if (!doc_get_bool(w, "out", false)) {
			n_in++;
			continue;
		}
		lines = arena_printf(a, "%.*s%.*s/%.*s: %.*s, %.*s\n", STR_ARG(lines),
				     STR_ARG(doc_get_str(w, "namespace", STR(""))),
				     STR_ARG(doc_get_str(w, "workload", STR(""))),
				     STR_ARG(doc_get_str(w, "state", STR(""))),
				     STR_ARG(doc_get_str(w, "why",
							 doc_get_str(w, "unitState", STR("")))));
	}
	if (all && all->kind == DOC_LIST && all->n > 0)
		health_add(l, HEALTH_WARNING,
			   arena_printf(a, "%zu/%zu watched workloads are given work", n_in,
					all->n).p,
			   lines.p, "kvmeshctl proxy-config endpoints");
	if (doc_get_bool(router, "probes", false))
		health_add(l, HEALTH_WARNING, "workloads are probed",
			   doc_get_bool(router, "prober", false) ? NULL :
				   "kvmesh-probe does not ask for its list: health is as last known",
			   "systemctl status kvmesh-probe");
}

/* Where the witness runs: what did it see, and does it still look? */
static void check_witness(struct health *l, const struct doc *metrics)
{
	const struct doc *w = doc_get(metrics, STR("witness"));
	int64_t plain = doc_get_int(w, "plainBytes", 0);
	const char *why = NULL;

	if (!w)
		return;
	if (plain > 0)
		why = arena_printf(&l->c->arena, "%lld bytes in %lld packets since kvmesh-metrics began",
				   (long long)plain, (long long)doc_get_int(w, "plainPackets", 0)).p;
	health_add(l, HEALTH_ERROR, "no plain bytes were seen on the wire", why,
		   "kvmeshctl compliance report; journalctl -u kvmesh-witness");
	health_add(l, HEALTH_WARNING, "the witness looks at the wire",
		   doc_get_bool(w, "looking", false) ? NULL :
			   arena_printf(&l->c->arena, "it was last heard at %.*s",
					STR_ARG(doc_get_str(w, "lastHeard", STR("-")))).p,
		   "systemctl status kvmesh-witness");
}

void health_data_plane(struct health *l, const struct live *live)
{
	l->category = "kvmesh-data-plane";
	if (live->n_proxies == 0) {
		health_add(l, HEALTH_ERROR, "a proxy runs", "none has a control socket here",
			  "systemctl status kvmesh-proxy");
		return;
	}
	check_proxies(l, live, HEALTH_ERROR, "are ready", why_not_ready);
	if (live->router)
		check_proxies(l, live, HEALTH_ERROR, "run the configuration in force",
			      why_not_synced);
	check_proxies(l, live, HEALTH_WARNING, "have the version of kvmeshctl", why_other_version);
	if (live->router)
		check_workloads(l, live->router);
	check_witness(l, live->metrics);
}
