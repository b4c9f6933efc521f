/* SPDX-License-Identifier: Apache-2.0 */
/* injected: see injected.h. Layer daemons/ctl. */
#include "config.h"

#include "config/inject.h"
#include "ctl/changes.h"
#include "ctl/injected.h"
#include "ctl/systemctl.h"

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

int injected_settle(struct ctl *c)
{
	static const char *const words[] = { "daemon-reload", NULL };

	if (systemctl_is_here(c) && !systemctl_run(words))
		return ctl_fail(CTL_EXIT_NO, "'systemctl daemon-reload' failed: the files are "
					     "written, systemd has not read them");
	return changes_reload(c);
}
