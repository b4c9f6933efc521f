/* SPDX-License-Identifier: Apache-2.0 */
/* people: certificates by hand, and what is revoked. Layer daemons/ca. */
#include "config.h"

#include <errno.h>

#include "base/log.h"
#include "ca/people.h"
#include "io/tls.h"

#define SECOND_US 1000000ll

/* ---- a certificate by hand ----------------------------------------------------------------- */

static bool is_registered(const struct registry *r, struct str id)
{
	for (size_t i = 0; i < r->identities.n; i++)
		if (str_eq(r->identities.v[i].spiffe, id))
			return true;
	return false;
}

static int check_name(const struct authority *a, struct str id, struct err *err)
{
	struct str shown = str_take(id, 256);
	struct tls_spiffe s;

	if (!tls_spiffe_parse(id, &s) || s.ns.n == 0 || s.sa.n == 0)
		return err_set(err, KV_ERR_SCHEMA,
			       "\"%.*s\" is no name for a certificate: spiffe://%.*s/ns/NAMESPACE/sa/"
			       "NAME is needed",
			       STR_ARG(shown), STR_ARG(a->registry->trust_domain));
	if (!str_eq(s.trust_domain, a->registry->trust_domain))
		return err_set(err, KV_ERR_SCHEMA, "%.*s is outside of the trust domain %.*s",
			       STR_ARG(shown), STR_ARG(a->registry->trust_domain));
	if (str_eq(s.ns, STR("kvmesh-system")) || str_eq(s.ns, STR("istio-system")))
		return err_set(err, KV_ERR_REFUSED,
			       "%.*s: names in the mesh's own namespace are not given by hand",
			       STR_ARG(shown));
	if (is_registered(a->registry, id))
		return err_set(err, KV_ERR_REFUSED,
			       "%.*s is the identity of a workload here: nobody else gets it",
			       STR_ARG(shown));
	return 0;
}

int people_issue(struct authority *a, const struct authority_ask *ask, int64_t life_us,
		 struct authority_cert *ret, struct err *err)
{
	if (life_us == 0)
		life_us = PEOPLE_LIFE_DEFAULT_US;
	if (life_us < 60 * SECOND_US || life_us > PEOPLE_LIFE_MAX_US)
		return err_set(err, KV_ERR_SCHEMA, "a certificate by hand lives 1m to 2160h");
	int r = authority_can_sign(a, err);

	if (r == 0)
		r = check_name(a, ask->spiffe, err);
	if (r < 0)
		return r;
	const struct authority_grant grant = {
		.spiffe = ask->spiffe, .proxy = STR(""), .life_us = life_us,
	};

	return authority_sign(a, ask, &grant, ret, err);
}

/* ---- revoking ------------------------------------------------------------------------------ */

static int find_end(struct authority *a, const struct people_revoke *p, struct revoked_entry *e,
		    struct err *err)
{
	struct tls_spiffe s;

	if (p->serial.n > 0)
		return ledger_end_of_serial_s(a->ledger, p->serial, &e->until_s, err);
	if (!tls_spiffe_parse(p->spiffe, &s) || s.path.n == 0)
		return err_set(err, KV_ERR_SCHEMA, "\"%.*s\" is no SPIFFE ID of a workload",
			       STR_ARG(str_take(p->spiffe, 256)));
	int r = ledger_end_of_id_s(a->ledger, p->spiffe, &e->until_s, err);

	if (r == KV_ERR_NOT_FOUND && a->registry && is_registered(a->registry, p->spiffe)) {
		e->until_s = p->now_us / SECOND_US;     /* it has none yet, and gets none */
		return 0;
	}
	return r;
}

int people_revoke(struct authority *a, const struct people_revoke *p, struct err *err)
{
	struct revoked_entry e = {
		.what = p->serial.n > 0 ? p->serial : p->spiffe,
		.is_id = p->serial.n == 0,
		.at_s = p->now_us / SECOND_US,
		.uid = p->uid,
		.reason = str_take(p->reason, REVOKED_REASON_MAX),
	};

	if ((p->serial.n > 0) == (p->spiffe.n > 0))
		return err_set(err, KV_ERR_SCHEMA, "either a serial or a SPIFFE ID is needed");
	if (p->lift)
		return revoked_lift(a->revoked, e.what, err);
	int r = find_end(a, p, &e, err);

	return r < 0 ? r : revoked_add(a->revoked, &e, err);
}

static bool is_somebodys(void *arg, struct str id)
{
	const struct authority *a = arg;

	return !a->registry || is_registered(a->registry, id);
}

int people_prune(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	return revoked_prune(a->revoked, now_us / SECOND_US, is_somebodys, a, ret_changed, err);
}
