/* SPDX-License-Identifier: Apache-2.0 */
/* authority: the order of decisions behind a certificate. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "ca/authority.h"
#include "ca/files.h"

#define SECOND_US 1000000ll
#define BACKDATE_S 60
#define CLOCK_SLACK_US (60 * SECOND_US)
/*
 * A clock far beyond the life of this release is wrong, and its certificates would outlive the CA
 * (F12).
 */
#define RELEASE_US (1793491200ll * SECOND_US)           /* 2026-11-01 */
#define CLOCK_LATEST_US (RELEASE_US + 20ll * 365 * 24 * 3600 * SECOND_US)

static struct mint mint_of(const struct registry *r, int64_t now_us)
{
	return (struct mint){
		.trust_domain = r->trust_domain,
		.root_lifetime_us = r->root_lifetime_us,
		.issuer_lifetime_us = r->issuer_lifetime_us,
		.now_us = now_us,
	};
}

static struct keystore_opts opts_of(const struct authority *a, const struct mint *mint)
{
	return (struct keystore_opts){
		.etc_dir = a->etc_dir,
		.state_dir = a->state_dir,
		.mint = mint,
		.prev = a->keystore,
	};
}

/* The files say that something changes, and nobody waits for it yet: now they do. */
static int follow_files(struct authority *a, const struct files *f, int64_t now_s, struct err *err)
{
	struct rotation *r = &a->rotation;
	const struct rotation_plan plan = { .kind = ROTATION_FILES, .now_s = now_s };
	bool own = r->kind != ROTATION_FILES;

	if (r->step == ROTATION_DISTRIBUTE && !own)
		return 0;
	if (r->step == ROTATION_PREPARE || r->step == ROTATION_DISTRIBUTE) {
		int code = rotation_abort(f, r, err);

		if (code < 0)
			return code;
	}
	return rotation_begin(f, NULL, &plan, r, err);
}

static int open_with_rotation(struct authority *a, const struct mint *mint, int64_t now_us,
			      struct keystore **ret, struct err *err)
{
	const struct keystore_opts o = opts_of(a, mint);
	int64_t now_s = now_us / SECOND_US;
	struct files f;

	files_init(&f, a->state_dir);
	int r = a->keystore ? 0 : rotation_load(&f, &a->rotation, err);

	if (r == 0)
		r = rotation_resume(&f, mint, now_s, &a->rotation, err);
	if (r == 0)
		r = keystore_open(&o, ret, err);
	if (r == 0 && keystore_is_outdated(*ret))
		r = follow_files(a, &f, now_s, err);
	files_done(&f);
	if (r < 0)
		keystore_free(take(ret));
	return r;
}

/* What is there, or with a registry what must be there. No CA and no registry yet: *ret NULL. */
static int open_keystore(struct authority *a, const struct registry *r, int64_t now_us,
			 struct keystore **ret, struct err *err)
{
	struct mint mint;

	*ret = NULL;
	if (r)
		mint = mint_of(r, now_us);
	int code = open_with_rotation(a, r ? &mint : NULL, now_us, ret, err);

	if (code == -ENOENT && !r)
		return 0;
	if (code < 0 || !r || keystore_allows(*ret, r->trust_domain))
		return code;
	keystore_free(take(ret));
	return err_set(err, KV_ERR_CHECK,
		       "the CA of this node is not for the trust domain %.*s: set mesh.trustDomain "
		       "back, or move %s/ca away to start a new CA",
		       STR_ARG(r->trust_domain), a->state_dir);
}

static int open_databases(struct authority *a, struct err *err)
{
	_cleanup_free_ char *ledger = kv_asprintf("%s/ca/ledger.db", a->state_dir);
	_cleanup_free_ char *revoked = kv_asprintf("%s/ca/revoked.db", a->state_dir);
	int r = ledger_open(ledger, &a->ledger, err);

	return r < 0 ? r : revoked_open(revoked, &a->revoked, err);
}

/*
 * A list that cannot be read is replaced by the router's next one: worth a warning, no reason to
 * stay down.
 */
static void load_registry(struct authority *a)
{
	struct err err = { 0 };
	int r = registry_load(a->registry_path, &a->registry, &err);

	if (r < 0 && r != -ENOENT)
		log_warn("the list of identities is not usable until the router sends it: %s",
			 err.text);
	if (a->registry)
		rate_set(&a->rate, a->registry->sign_per_second, a->registry->sign_burst);
}

int authority_open(const char *etc_dir, const char *state_dir, const struct policy_rules *rules,
		   int64_t now_us, struct authority *ret, struct err *err)
{
	struct authority *a = ret;

	*a = (struct authority){
		.etc_dir = kv_strdup(etc_dir),
		.state_dir = kv_strdup(state_dir),
		.registry_path = kv_asprintf("%s/ca/registry.json", state_dir),
		.rules = *rules,
	};
	rate_init(&a->rate, 10, 50);
	acks_init(&a->acks);
	load_registry(a);
	int r = open_databases(a, err);

	if (r == 0)
		r = open_keystore(a, a->registry, now_us, &a->keystore, err);
	if (r < 0)
		authority_close(a);
	return r;
}

void authority_close(struct authority *a)
{
	keystore_free(a->keystore);
	ledger_close(a->ledger);
	revoked_close(a->revoked);
	jwt_keys_free(a->jwt);
	registry_free(a->registry);
	acks_done(&a->acks);
	free(a->registry_path);
	free(a->etc_dir);
	free(a->state_dir);
	*a = (struct authority){ 0 };
}

void authority_sweep(const struct authority *a)
{
	files_sweep(a->state_dir);
}

int authority_check(const char *etc_dir, const char *state_dir, struct err *err)
{
	_cleanup_free_ char *ledger = kv_asprintf("%s/ca/ledger.db", state_dir);
	_cleanup_free_ char *registry_path = kv_asprintf("%s/ca/registry.json", state_dir);
	struct keystore *k = NULL;
	struct registry *r = NULL;
	const struct keystore_opts o = { .etc_dir = etc_dir, .state_dir = state_dir };
	int code = keystore_open(&o, &k, err);

	if (code == 0 || code == -ENOENT)
		code = ledger_check(ledger, err);
	if (code == 0) {
		code = registry_load(registry_path, &r, err);
		if (code == -ENOENT)
			code = 0;
	}
	if (code == 0 && k && r && !keystore_allows(k, r->trust_domain))
		code = err_set(err, KV_ERR_CHECK,
			       "the CA of this node is not for the trust domain %.*s",
			       STR_ARG(r->trust_domain));
	keystore_free(k);
	registry_free(r);
	return code;
}

static bool replace_keystore(struct authority *a, struct keystore *k)
{
	bool changed = !a->keystore || !k ||
		       keystore_generation(a->keystore) != keystore_generation(k) ||
		       strcmp(keystore_issuer_id(a->keystore), keystore_issuer_id(k)) != 0;

	keystore_free(a->keystore);
	a->keystore = k;
	return changed;
}

static int adopt_registry(struct authority *a, struct registry *r, int64_t now_us,
			  bool *ret_changed, struct err *err)
{
	bool same = a->registry && registry_eq(a->registry, r);

	if (!a->keystore || !a->registry || !str_eq(a->registry->trust_domain, r->trust_domain)) {
		struct keystore *k;
		int code = open_keystore(a, r, now_us, &k, err);

		if (code < 0)
			return code;
		*ret_changed = replace_keystore(a, k) || !a->registry;
	}
	registry_free(a->registry);
	a->registry = r;
	rate_set(&a->rate, r->sign_per_second, r->sign_burst);
	struct err save = { 0 };

	/*
	 * A full disk must not keep a new workload from its identity; a start without router would
	 * miss it.
	 */
	if (!same && registry_save(r, a->registry_path, &save) < 0)
		log_err("the list of identities is in force but could not be kept: %s", save.text);
	return 0;
}

int authority_set_registry(struct authority *a, const struct doc *parameters, int64_t now_us,
			   bool *ret_changed, struct err *err)
{
	struct registry *r = NULL;

	*ret_changed = false;
	int code = registry_parse(parameters, &r, err);

	if (code == 0)
		code = adopt_registry(a, r, now_us, ret_changed, err);
	if (code < 0 && r)
		registry_free(r);
	snprintf(a->refused_registry, sizeof(a->refused_registry), "%s", code < 0 ? err->text : "");
	return code;
}

int authority_reload(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	struct keystore *k;
	int r = open_keystore(a, a->registry, now_us, &k, err);

	*ret_changed = r == 0 && (k || a->keystore) && replace_keystore(a, k);
	return r;
}

int authority_advance_jwt(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	const struct registry *r = a->registry;

	*ret_changed = false;
	if (!r)
		return 0;
	const struct jwt_keys_life life = {
		.key_s = r->jwt_key_lifetime_us / SECOND_US,
		.token_s = r->jwt_lifetime_us / SECOND_US,
	};
	int code = a->jwt ? 0 : jwt_keys_open(a->state_dir, &a->jwt, err);

	return code < 0 ? code : jwt_keys_advance(a->jwt, &life, now_us / SECOND_US, ret_changed, err);
}

struct mint authority_mint(const struct authority *a, int64_t now_us)
{
	return mint_of(a->registry, now_us);
}

/* ---- issuing ------------------------------------------------------------------------------- */

int authority_check_clock(const struct authority *a, int64_t now_us, struct err *err)
{
	int64_t high = ledger_high_water_us(a->ledger);

	if (now_us < high - CLOCK_SLACK_US)
		return err_set(err, KV_ERR_CHECK,
			       "the clock is %lld s behind the last certificate that was issued; "
			       "nothing is signed until it is right",
			       (long long)((high - now_us) / SECOND_US));
	if (now_us > CLOCK_LATEST_US)
		return err_set(err, KV_ERR_CHECK,
			       "the clock is more than 20 years ahead of this release; nothing is "
			       "signed until it is right");
	return 0;
}

static int set_validity(const struct authority *a, int64_t now_us, int64_t life_us,
			struct sign_leaf *leaf, struct err *err)
{
	struct keystore_cert issuer;
	int64_t now_s = now_us / SECOND_US;

	keystore_describe_issuer(a->keystore, &issuer);
	if (now_s >= issuer.not_after_s || now_s < issuer.not_before_s)
		return err_set(err, KV_ERR_CHECK,
			       "the issuing CA's own certificate is not valid now");
	leaf->not_before_s = now_s - BACKDATE_S;
	leaf->not_after_s = now_s + life_us / SECOND_US;
	if (leaf->not_after_s > issuer.not_after_s)
		leaf->not_after_s = issuer.not_after_s;
	return 0;
}

static int record(struct authority *a, const struct authority_ask *ask,
		  const struct authority_grant *grant, const struct sign_leaf *leaf, struct err *err)
{
	const struct ledger_entry e = {
		.serial = str_c(leaf->serial->text), .spiffe = leaf->spiffe,
		.not_before_s = leaf->not_before_s, .not_after_s = leaf->not_after_s,
		.issued_at_us = ask->now_us, .uid = ask->caller.uid,
		.unit = str_c(ask->caller.unit), .proxy = grant->proxy,
	};

	return ledger_record(a->ledger, &e, err);
}

int authority_check_revoked(const struct authority *a, struct str id, struct err *err)
{
	if (revoked_has(a->revoked, id))
		return err_set(err, KV_ERR_REFUSED, "the identity %.*s is revoked", STR_ARG(id));
	return 0;
}

int authority_sign(struct authority *a, const struct authority_ask *ask,
		   const struct authority_grant *grant, struct authority_cert *ret, struct err *err)
{
	struct sign_leaf leaf = {
		.spiffe = grant->spiffe, .serial = &ret->serial, .use = grant->use,
	};
	struct sign_request *req = NULL;
	_cleanup_free_ char *pem = NULL;
	int r = authority_check_revoked(a, grant->spiffe, err);

	if (r == 0)
		r = sign_read_csr(ask->csr, a->keystore, &req, err);
	if (r == 0)
		r = authority_check_clock(a, ask->now_us, err);
	if (r == 0)
		r = set_validity(a, ask->now_us, grant->life_us, &leaf, err);
	if (r == 0)
		r = sign_new_serial(&ret->serial, err);
	if (r == 0)
		r = sign_leaf(a->keystore, req, &leaf, &pem, err);
	sign_request_free(req);
	if (r == 0)
		r = record(a, ask, grant, &leaf, err);
	if (r < 0)
		return r;
	ret->pem = take(&pem);
	ret->issuer = keystore_issuer_id(a->keystore);
	ret->not_before_s = leaf.not_before_s;
	ret->not_after_s = leaf.not_after_s;
	return 0;
}

int authority_can_sign(const struct authority *a, struct err *err)
{
	if (!a->keystore || !a->registry)
		return err_set(err, -EAGAIN,
			       "this CA waits for the router's first list of identities");
	if (!keystore_issuer_key(a->keystore))
		return err_set(err, -EAGAIN,
			       "this CA waits until every proxy trusts its new issuer (kvmeshctl ca "
			       "status)");
	return 0;
}

int authority_issue(struct authority *a, const struct authority_ask *ask,
		    struct authority_cert *ret, struct err *err)
{
	struct policy_grant to;

	if (!rate_take(&a->rate, ask->caller.uid, ask->mono_us))
		return err_set(err, -EAGAIN, "user %u asks for certificates too often",
			       (unsigned)ask->caller.uid);
	int r = authority_can_sign(a, err);

	if (r == 0)
		r = policy_decide(&a->rules, a->registry, &ask->caller, ask->spiffe, &to, err);
	if (r < 0)
		return r;
	/* The registry's text, not the caller's: they are equal, and one of them is trusted. */
	const struct authority_grant grant = {
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): policy_decide filled it, else r < 0 */
		.spiffe = to.identity->spiffe,
		.proxy = to.proxy,
		.life_us = a->registry->leaf_lifetime_us,
	};

	return authority_sign(a, ask, &grant, ret, err);
}
