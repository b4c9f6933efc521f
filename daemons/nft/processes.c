/* SPDX-License-Identifier: Apache-2.0 */
/* processes: how the kernel tells a workload's processes, see processes.h. Layer daemons/nft. */
#include "config.h"

#include <pwd.h>
#include <string.h>

#include "base/vec.h"
#include "io/cgroup.h"
#include "nft/processes.h"

#define MOUNT "/sys/fs/cgroup"
#define PATH_MAX_BYTES 2048

bool processes_user(struct str name, uid_t *ret)
{
	_cleanup_free_ char *copy = kv_asprintf("%.*s", STR_ARG(name));
	const struct passwd *p = getpwnam(copy);
	uint64_t n;

	if (!p && (!str_to_u64(name, &n) || n >= (uid_t)-1))
		return false;
	*ret = p ? p->pw_uid : (uid_t)n;
	return true;
}

static bool has_user(const uid_t *v, size_t n, uid_t uid)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == uid)
			return true;
	return false;
}

void processes_ours(const char *more, struct arena *a, uid_t **ret, size_t *ret_n)
{
	const char *const names[] = { "kvmesh-proxy", "kvmesh-probe", "kvmesh-router", "kvmesh-metrics", "kvmesh-ca", more };
	size_t cap = 0;
	uid_t uid;

	*ret = NULL;
	*ret_n = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && processes_user(str_c(names[i]), &uid) && !has_user(*ret, *ret_n, uid))
			*vec_push_arena(a, *ret, *ret_n, cap) = uid;
}

/* ---- one workload ---------------------------------------------------------------------------- */

struct search {
	const char *root;               /* of the unified hierarchy, NULL none */
	const uid_t *ours;
	size_t n_ours;
	struct arena *a;
	struct err_list *errs;
};

__attribute__((format(printf, 3, 4))) static struct rules_match
nobody(const struct search *s, const struct capture_workload *w, const char *fmt, ...)
{
	char why[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	err_list_add(s->errs, ERR_LEVEL_WARNING, KV_ERR_NOT_FOUND, NULL, (struct origin){ 0 },
		     "workload %.*s.%.*s: what it sends is not captured: %s", STR_ARG(w->name), STR_ARG(w->ns), why);
	return (struct rules_match){ .kind = RULES_MATCH_NONE };
}

static struct rules_match by_user(const struct search *s, const struct capture_workload *w, struct str name)
{
	uid_t uid;

	if (!processes_user(name, &uid))
		return nobody(s, w, "there is no user %.*s", STR_ARG(name));
	if (uid == 0)
		return nobody(s, w, "it runs as root, as much else does; give it a user of its own, or boot with the "
				    "unified cgroup hierarchy");
	if (has_user(s->ours, s->n_ours, uid))
		return nobody(s, w, "%.*s is a user of the mesh itself", STR_ARG(name));
	return (struct rules_match){ .kind = RULES_MATCH_USER, .uid = uid };
}

/* nft takes paths below the mount point of cgroups, which is not that of the unified ones in hybrid mode. */
static struct rules_match by_cgroup(const struct search *s, const struct capture_workload *w, const char *unit)
{
	char path[PATH_MAX_BYTES];
	unsigned level = cgroup_path_of_unit(s->root, unit, path, sizeof(path));
	const char *below = s->root + strlen(MOUNT);

	if (level == 0)
		return nobody(s, w, "%s does not run", unit);
	return (struct rules_match){
		.kind = RULES_MATCH_CGROUP,
		.level = level,
		.path = arena_printf(s->a, "%s%s%s", *below == '/' ? below + 1 : "", *below ? "/" : "", path),
	};
}

static struct rules_match by_unit(const struct search *s, const struct capture_workload *w)
{
	_cleanup_free_ char *unit = kv_asprintf("%.*s", STR_ARG(w->unit));
	struct str user = STR_NULL;
	struct err err = { 0 };

	if (s->root)
		return by_cgroup(s, w, unit);
	if (unit_user(unit, s->a, &user, &err) < 0)
		return nobody(s, w, "%s", err.text);
	return by_user(s, w, user.n > 0 ? user : STR("root"));
}

struct rules_match *processes_find(const struct capture_plan *plan, const uid_t *ours, size_t n_ours,
				   struct arena *a, struct err_list *errs)
{
	const struct search s = { .root = cgroup_root(), .ours = ours, .n_ours = n_ours, .a = a, .errs = errs };
	struct rules_match *v = arena_new_n(a, struct rules_match, plan->workloads.n + 1);

	for (size_t i = 0; i < plan->workloads.n; i++) {
		const struct capture_workload *w = &plan->workloads.v[i];

		if (w->outbound || w->unit.n > 0 || w->user.n > 0)
			v[i] = w->unit.n > 0 ? by_unit(&s, w) : by_user(&s, w, w->user);
	}
	return v;
}
