/* SPDX-License-Identifier: Apache-2.0 */
/* advance: from step to step of a rotation. Layer daemons/ca. */
#include "config.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "ca/advance.h"
#include "ca/files.h"
#include "ca/mint.h"

#define SECOND_US 1000000ll

static struct acks_goal goal_of(const struct authority *a)
{
	if (a->rotation.step == ROTATION_RENEW)
		return (struct acks_goal){ .issuer = keystore_issuer_id(a->keystore) };
	return (struct acks_goal){ .generation = (int64_t)keystore_generation(a->keystore) };
}

static bool all_have_it(const struct authority *a)
{
	const struct acks_goal goal = goal_of(a);

	return acks_missing(&a->acks, a->registry, &goal, NULL, NULL) == 0;
}

/* The issuer must not end while its successor waits. */
static bool must_go_on(const struct authority *a, int64_t now_us)
{
	struct keystore_cert issuer;

	if (!a->rotation.automatic)
		return false;
	keystore_describe_issuer(a->keystore, &issuer);
	return issuer.not_after_s - now_us / SECOND_US <
	       a->registry->issuer_lifetime_us / SECOND_US / 8;
}

/* Certificates of the issuer before: those that proxies hold are acknowledged away, others end. */
static int64_t last_end_s(const struct authority *a, bool others)
{
	struct err err;
	int64_t end_s;

	if (ledger_last_end_s(a->ledger, (a->rotation.switched_s + 1) * SECOND_US, others, &end_s,
			      &err) < 0) {
		log_err("%s", err.text);
		return INT64_MAX;
	}
	return end_s;
}

/* When nothing of the issuer before is left in any case; a ledger that was lost knows of nothing. */
static int64_t all_end_s(const struct authority *a)
{
	int64_t known_s = last_end_s(a, false);
	int64_t least_s = a->rotation.switched_s + a->registry->leaf_lifetime_us / SECOND_US;

	return known_s > least_s ? known_s : least_s;
}

static bool is_renewed(const struct authority *a, int64_t now_us)
{
	int64_t now_s = now_us / SECOND_US;

	return (all_have_it(a) && last_end_s(a, true) <= now_s) || all_end_s(a) <= now_s;
}

static bool is_over(const struct authority *a, int64_t now_us)
{
	switch (a->rotation.step) {
	case ROTATION_DISTRIBUTE:
		return all_have_it(a) || must_go_on(a, now_us);
	case ROTATION_RENEW:
		return is_renewed(a, now_us);
	case ROTATION_RETIRE:
		return all_have_it(a);
	case ROTATION_IDLE:
	case ROTATION_PREPARE:
	case ROTATION_SWITCH:
	case ROTATION_STEP__N:
		break;
	}
	return false;
}

static int next_step(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	int64_t now_s = now_us / SECOND_US;
	struct rotation *r = &a->rotation;
	struct files f;
	int code = 0;

	files_init(&f, a->state_dir);
	if (r->step == ROTATION_DISTRIBUTE)
		code = rotation_switch(&f, now_s, r, err);
	else if (r->step == ROTATION_RENEW)
		code = rotation_retire(&f, now_s, r, err);
	else if (r->step == ROTATION_RETIRE)
		code = rotation_finish(&f, r, err);
	files_done(&f);
	return code < 0 ? code : authority_reload(a, now_us, ret_changed, err);
}

static int begin(struct authority *a, const struct rotation_plan *plan, bool *ret_changed,
		 struct err *err)
{
	const struct mint mint = authority_mint(a, plan->now_s * SECOND_US);
	struct files f;

	files_init(&f, a->state_dir);
	int r = rotation_begin(&f, &mint, plan, &a->rotation, err);

	files_done(&f);
	return r < 0 ? r : authority_reload(a, plan->now_s * SECOND_US, ret_changed, err);
}

/* What somebody put into ETC/ca is replaced by somebody. */
static int begin_if_it_ends(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	const struct rotation_plan plan = {
		.kind = ROTATION_ISSUER, .automatic = true, .now_s = now_us / SECOND_US,
	};
	const struct mint mint = authority_mint(a, now_us);
	enum mint_verdict verdict;
	struct files f;

	if (a->rotation.step != ROTATION_IDLE || keystore_is_plugged_in(a->keystore))
		return 0;
	files_init(&f, a->state_dir);
	int r = mint_judge(&f, &mint, &verdict, err);

	files_done(&f);
	if (r < 0 || verdict != MINT_ENDS)
		return r;
	log_info("the issuing CA ends soon: the next one is made");
	return begin(a, &plan, ret_changed, err);
}

int advance_run(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	*ret_changed = false;
	if (!a->keystore || !a->registry)
		return 0;
	int r = begin_if_it_ends(a, now_us, ret_changed, err);

	while (r == 0 && is_over(a, now_us)) {
		bool changed;

		r = next_step(a, now_us, &changed, err);
		*ret_changed |= r == 0 && changed;
	}
	return r;
}

/* ---- orders -------------------------------------------------------------------------------- */

static int under_way(const struct authority *a, struct err *err)
{
	return err_set(err, -EBUSY,
		       "a rotation (%s) is under way, in step %s: kvmeshctl ca status tells whom it "
		       "waits for; --force goes on without them",
		       rotation_kind_names[a->rotation.kind],
		       rotation_step_names[a->rotation.step]);
}

int advance_may_begin(const struct authority *a, struct err *err)
{
	if (!a->keystore || !a->registry)
		return err_set(err, -EAGAIN,
			       "this CA waits for the router's first list of identities");
	if (a->rotation.step != ROTATION_IDLE)
		return under_way(a, err);
	if (keystore_is_plugged_in(a->keystore))
		return err_set(err, KV_ERR_CHECK,
			       "this CA was given its certificates in %s/ca: put others there and "
			       "reload kvmesh-ca, the change is made the same way",
			       a->etc_dir);
	return 0;
}

static int order_begin(struct authority *a, enum rotation_kind kind, int64_t now_us,
		       bool *ret_changed, struct err *err)
{
	const struct rotation_plan plan = { .kind = kind, .now_s = now_us / SECOND_US };
	int r = advance_may_begin(a, err);

	return r < 0 ? r : begin(a, &plan, ret_changed, err);
}

static int order_abort(struct authority *a, int64_t now_us, bool *ret_changed, struct err *err)
{
	struct rotation *r = &a->rotation;
	struct files f;

	if (r->step != ROTATION_DISTRIBUTE || r->kind == ROTATION_FILES)
		return err_set(err, KV_ERR_CHECK,
			       r->step == ROTATION_DISTRIBUTE ?
				       "put the files before back into ETC/ca and reload" :
				       "the next issuer signs already: there is no way back but "
				       "another rotation");
	files_init(&f, a->state_dir);
	int code = rotation_abort(&f, r, err);

	files_done(&f);
	return code < 0 ? code : authority_reload(a, now_us, ret_changed, err);
}

int advance_order(struct authority *a, enum advance_order order, int64_t now_us, bool *ret_changed,
		  struct err *err)
{
	*ret_changed = false;
	if (!a->keystore || !a->registry)
		return err_set(err, -EAGAIN,
			       "this CA waits for the router's first list of identities");
	if (order >= ADVANCE_FORCE && a->rotation.step == ROTATION_IDLE)
		return err_set(err, -ENOENT, "no rotation is under way");
	switch (order) {
	case ADVANCE_ISSUER:
		return order_begin(a, ROTATION_ISSUER, now_us, ret_changed, err);
	case ADVANCE_ROOT:
		return order_begin(a, ROTATION_ROOT, now_us, ret_changed, err);
	case ADVANCE_FORCE:
		return next_step(a, now_us, ret_changed, err);
	case ADVANCE_ABORT:
		return order_abort(a, now_us, ret_changed, err);
	}
	return 0;
}

/* ---- telling ------------------------------------------------------------------------------- */

struct names {
	struct arena *arena;
	struct doc *list;
};

static void add_name(void *arg, struct str proxy)
{
	struct names *n = arg;

	doc_add(n->arena, n->list, doc_new_str(n->arena, proxy));
}

static void set_time(struct arena *a, struct doc *d, const char *key, int64_t s)
{
	char text[CLOCK_RFC3339_MAX];

	doc_set_str(a, d, key, str_c(clock_rfc3339(s * SECOND_US, text)));
}

struct doc *advance_status(const struct authority *a, struct arena *arena)
{
	const struct rotation *r = &a->rotation;

	if (r->step == ROTATION_IDLE || !a->keystore || !a->registry)
		return NULL;
	const struct acks_goal goal = goal_of(a);
	struct doc *d = doc_new_map(arena);
	struct names names = { arena, doc_new_list(arena) };

	doc_set_str(arena, d, "kind", str_c(rotation_kind_names[r->kind]));
	doc_set_str(arena, d, "step", str_c(rotation_step_names[r->step]));
	doc_set_bool(arena, d, "automatic", r->automatic);
	set_time(arena, d, "startedAt", r->started_s);
	set_time(arena, d, "stepAt", r->step_s);
	acks_missing(&a->acks, a->registry, &goal, add_name, &names);
	doc_set(arena, d, "waitsFor", names.list);
	if (r->step != ROTATION_RENEW)
		return d;
	int64_t others_s = last_end_s(a, true), all_s = all_end_s(a);

	/* Of programs and people that no proxy renews for; and the end in any case. */
	if (others_s > clock_real_us() / SECOND_US)
		set_time(arena, d, "othersUntil", others_s);
	if (all_s < INT64_MAX)
		set_time(arena, d, "until", all_s);
	return d;
}

struct doc *advance_revoked_status(const struct authority *a, struct arena *arena)
{
	const struct acks_goal goal = { .revision = revoked_revision(a->revoked) };
	struct doc *d = doc_new_map(arena);
	struct names names = { arena, doc_new_list(arena) };

	doc_set_int(arena, d, "count", (int64_t)revoked_count(a->revoked));
	doc_set_int(arena, d, "revision", goal.revision);
	if (a->registry)
		acks_missing(&a->acks, a->registry, &goal, add_name, &names);
	doc_set(arena, d, "waitsFor", names.list);
	return d;
}
