/* SPDX-License-Identifier: Apache-2.0 */
/* injected: see injected.h. Layer daemons/ctl. */
#include "config.h"

#include "config/inject.h"
#include "ctl/changes.h"
#include "ctl/injected.h"
#include "ctl/systemctl.h"
#include "ctl/unit_facts.h"

const struct model_workload *injected_workload(const struct model *m, struct str unit)
{
	model_for_each(m, MODEL_KIND_WORKLOAD, r)
		if (str_eq(model_as_workload(r)->unit, unit))
			return model_as_workload(r);
	return NULL;
}

struct str injected_dropin_path(struct arena *a, struct str unit)
{
	return arena_printf(a, "/run/systemd/generator/%.*s.d/" INJECT_DROPIN_NAME, STR_ARG(unit));
}

/* ---- instances of the proxy ------------------------------------------------------------------- */

#define PROXY_HEAD "kvmesh-proxy@"

/* Does the configuration ask for that instance? */
static const struct model_workload *workload_of(const struct model *m, struct str proxy)
{
	struct str name = str_skip(proxy, sizeof(PROXY_HEAD) - 1);

	name = str_take(name, name.n - (sizeof(".service") - 1));
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		if ((w->gateway || inject_is_dedicated(w)) && str_eq(w->r.name, name))
			return w;
	}
	return NULL;
}

/* The proxy of a unit that runs already: its next start would bring it along. */
static int start_proxy(struct ctl *c, const struct model_workload *w)
{
	const char *proxy = arena_str(&c->arena, inject_proxy_unit(w, &c->arena)).p;
	const char *words[] = { "start", proxy, NULL };
	struct unit_facts f;
	int code = unit_facts_read(c, w->unit, &f);

	if (code != 0 || !f.active || systemctl_run(words))
		return code;
	return ctl_fail(CTL_EXIT_NO, "%s does not start: 'systemctl status %s' tells why", proxy,
			proxy);
}

/* Dedicated proxies of injected units run, those that nobody asks for any more do not. */
static int settle_proxies(struct ctl *c)
{
	struct str *names;
	size_t n;
	int code = unit_facts_list(c, STR(PROXY_HEAD "*.service"), &names, &n);

	for (size_t i = 0; i < n && code == 0; i++) {
		const char *words[] = { "stop", arena_str(&c->arena, names[i]).p, NULL };

		if (!workload_of(c->model, names[i]))
			(void)systemctl_run(words);
	}
	model_for_each(c->model, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		if (code == 0 && w->injected && inject_is_dedicated(w) && w->unit.n > 0)
			code = start_proxy(c, w);
	}
	return code;
}

/* Rules of captured traffic, where they are in force. */
static int settle_capture(struct ctl *c)
{
	static const char *const words[] = { "reload", "kvmesh-nft.service", NULL };
	struct unit_facts f;
	int code = unit_facts_read(c, STR("kvmesh-nft.service"), &f);

	if (code != 0 || !f.active || systemctl_run(words))
		return code;
	return ctl_fail(CTL_EXIT_NO, "the rules of captured traffic could not be loaded anew: "
				     "'systemctl status kvmesh-nft' tells why");
}

int injected_settle(struct ctl *c)
{
	static const char *const words[] = { "daemon-reload", NULL };
	int code;

	if (!systemctl_is_here(c))
		return changes_reload(c);
	if (!systemctl_run(words))
		return ctl_fail(CTL_EXIT_NO, "'systemctl daemon-reload' failed: the files are "
					     "written, systemd has not read them");
	if ((code = changes_reload(c)) != 0 || (code = settle_proxies(c)) != 0)
		return code;
	return settle_capture(c);
}
