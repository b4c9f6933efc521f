/* SPDX-License-Identifier: Apache-2.0 */
/* policy: unit and user of the caller against the registry. Layer daemons/ca. */
#include "config.h"

#include <string.h>

#include "ca/policy.h"
#include "ipc/rights.h"

/* Which proxy instance the caller is; STR_NULL: none. */
static struct str instance_of(const struct policy_rules *rules, const struct policy_caller *c)
{
	if (rules->standalone)
		return c->uid == rules->own_uid && c->proxy.n > 0 ? c->proxy : STR_NULL;
	/*
	 * Unit and user both: a unit of that name that runs as somebody else is no proxy of ours.
	 */
	struct str instance = rights_instance_of_unit(c->unit);

	return instance.p && rules->is_user(c->uid, RIGHTS_USER_PROXY) ? instance : STR_NULL;
}

static bool is_user_of(const struct policy_rules *rules, const struct policy_caller *c,
		       struct str user)
{
	char name[64];

	if (user.n == 0 || user.n >= sizeof(name))
		return false;
	memcpy(name, user.p, user.n);
	name[user.n] = '\0';
	return rules->is_user(c->uid, name);
}

/* The last question: the answer may cost reading a file. */
static bool runs_its_program(const struct policy_caller *c, const struct registry_identity *id)
{
	if (id->executable.n == 0 && id->sha256.n == 0)
		return true;
	return c->runs && c->runs(c->process, id);
}

/* The caller is a process of that workload: by unit, by user, by both when both are registered. */
static bool is_workload(const struct policy_rules *rules, const struct policy_caller *c,
			const struct registry_identity *id)
{
	bool by_user = is_user_of(rules, c, id->user);

	if (id->user.n > 0 && !by_user)
		return false;
	/* root gets nothing that is not registered for it in so many words. */
	if (c->uid == 0 && !by_user)
		return false;
	bool is_its = id->unit.n == 0 || rules->standalone ? by_user : str_eq(str_c(c->unit), id->unit);

	return is_its && runs_its_program(c, id);
}

/* "web" of the namespace default is kvmesh-certs@web.service, of shop kvmesh-certs@web.shop.service. */
static bool is_unit_of_files(const char *unit, const struct registry_identity *id)
{
	const struct str prefix = STR("kvmesh-certs@"), suffix = STR(".service");
	struct str u = str_c(unit);

	if (!str_has_prefix(u, prefix) || !str_has_suffix(u, suffix) || u.n <= prefix.n + suffix.n)
		return false;
	u = str_skip(str_take(u, u.n - suffix.n), prefix.n);
	/* With a dot of its own a name could be read as another one's with its namespace. */
	if (!str_has_prefix(u, id->workload) || str_find(id->workload, '.') >= 0)
		return false;
	u = str_skip(u, id->workload.n);
	if (str_eq(id->ns, STR("default")))
		return u.n == 0;
	return u.n > 1 && u.p[0] == '.' && str_eq(str_skip(u, 1), id->ns);
}

/* The helper that writes its files: a unit of that name, which root alone can make, as root. */
static bool writes_files(const struct policy_rules *rules, const struct policy_caller *c,
			 const struct registry_identity *id)
{
	if (!id->files)
		return false;
	if (rules->standalone)
		return c->uid == rules->own_uid;
	return c->uid == 0 && is_unit_of_files(c->unit, id);
}

static bool grant_if(bool yes, const struct registry_identity *id, struct str proxy,
		     struct policy_grant *ret)
{
	if (yes)
		*ret = (struct policy_grant){ .identity = id, .proxy = proxy };
	return yes;
}

static int check_what_it_says(struct str instance, const struct policy_caller *c, struct err *err)
{
	if (instance.p && c->proxy.n > 0 && !str_eq(instance, c->proxy))
		return err_set(err, KV_ERR_REFUSED, "the caller is proxy %.*s and says it is %.*s",
			       STR_ARG(instance), STR_ARG(str_take(c->proxy, 64)));
	return 0;
}

int policy_is_proxy(const struct policy_rules *rules, const struct policy_caller *c, struct str *ret,
		    struct err *err)
{
	*ret = instance_of(rules, c);
	if (!ret->p)
		return err_set(err, KV_ERR_REFUSED, "user %u in unit %s is no proxy",
			       (unsigned)c->uid, c->unit[0] ? c->unit : "-");
	return check_what_it_says(*ret, c, err);
}

int policy_decide(const struct policy_rules *rules, const struct registry *r,
		  const struct policy_caller *c, struct str spiffe, struct policy_grant *ret,
		  struct err *err)
{
	struct str instance = instance_of(rules, c);
	bool known = false;

	if (check_what_it_says(instance, c, err) < 0)
		return err->code;
	for (size_t i = 0; i < r->identities.n; i++) {
		const struct registry_identity *id = &r->identities.v[i];

		if (!str_eq(id->spiffe, spiffe))
			continue;
		known = true;
		if (grant_if(instance.p && str_eq(id->proxy, instance), id, instance, ret) ||
		    grant_if(!instance.p && (is_workload(rules, c, id) || writes_files(rules, c, id)), id,
			     STR(""), ret))
			return 0;
	}
	if (!known)
		return err_set(err, KV_ERR_NOT_FOUND,
			       "no workload of this node has the identity %.*s",
			       STR_ARG(str_take(spiffe, 256)));
	if (instance.p)
		return err_set(err, KV_ERR_REFUSED, "proxy %.*s does not serve %.*s",
			       STR_ARG(instance), STR_ARG(str_take(spiffe, 256)));
	return err_set(err, KV_ERR_REFUSED,
		       "user %u in unit %s is no workload with the identity %.*s", (unsigned)c->uid,
		       c->unit[0] ? c->unit : "-", STR_ARG(str_take(spiffe, 256)));
}

static bool was_before(const struct registry *r, size_t i, const struct policy_rules *rules,
		       const struct policy_caller *c)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(r->identities.v[k].spiffe, r->identities.v[i].spiffe) &&
		    is_workload(rules, c, &r->identities.v[k]))
			return true;
	return false;
}

void policy_each_own(const struct policy_rules *rules, const struct registry *r,
		     const struct policy_caller *c,
		     void (*fn)(void *arg, const struct registry_identity *id), void *arg)
{
	/* A proxy has no identity of its own: what it serves it asks for by Sign. */
	if (instance_of(rules, c).p)
		return;
	for (size_t i = 0; i < r->identities.n; i++)
		if (is_workload(rules, c, &r->identities.v[i]) && !was_before(r, i, rules, c))
			fn(arg, &r->identities.v[i]);
}
