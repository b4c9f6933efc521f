/* SPDX-License-Identifier: Apache-2.0 */
/* state: load → check → compile → commit → in force. Layer daemons/router. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"
#include "config/check.h"
#include "config/load.h"
#include "ipc/kept.h"
#include "router/findings.h"
#include "router/state.h"

#define KEPT_MAX (64u << 20)
#define CHANGED_TOLD 100
#define NAME_MAX_BYTES 64

/* ---- reading ------------------------------------------------------------------------------- */

static int64_t first_seen(void *arg, const char *kind, struct str ns, struct str name)
{
	return store_first_seen(arg, kind, ns, name);
}

static void own_name(char *buf, size_t n)
{
	if (gethostname(buf, n) != 0 || buf[0] == '\0')
		snprintf(buf, n, "localhost");
	buf[n - 1] = '\0';
}

/* Rules across resources mean nothing while some could not be read. */
static int read_and_check(const char *etc_dir, const struct model_load_opts *opts,
			  struct model **ret, struct err_list *errs)
{
	int r = model_load_dir(etc_dir, opts, ret, errs);

	if (r == 0 && errs->n_errors == 0)
		r = model_check(*ret, errs);
	err_list_sort(errs);
	return r;
}

int state_try(const char *etc_dir, const char *state_dir, struct model **ret, struct err_list *errs)
{
	_cleanup_free_ char *keys_dir = kv_asprintf("%s/jwks", state_dir);
	char node_name[256];
	const struct model_load_opts opts = { .node_name = node_name, .keys_dir = keys_dir };

	own_name(node_name, sizeof(node_name));
	int r = read_and_check(etc_dir, &opts, ret, errs);

	if (r < 0)
		return r;
	const struct compile_env env = { .etc_dir = etc_dir };
	struct compiled c;

	r = compiled_make(*ret, &env, &c, errs);
	if (r == 0)
		compiled_done(&c);
	return r;
}

/* ---- what changed -------------------------------------------------------------------------- */

static bool same_doc(const struct doc *x, const struct doc *y)
{
	return x && y ? doc_eq(x, y) : x == y;
}

static void tell_change(struct arena *a, struct doc *list, const char *what,
			const struct model_resource *r)
{
	doc_add(a, list,
		doc_new_str(a, arena_printf(a, "%s %.*s", what, STR_ARG(model_label(r, a)))));
}

static void compare_resource(const struct model *old, const struct model_resource *r,
			     struct arena *a, struct doc *list)
{
	const struct model_resource *was = map_get(&old->by_id, r->id);

	if (!was)
		tell_change(a, list, "added", r);
	else if (!same_doc(was->doc, r->doc) || !same_doc(was->metadata, r->metadata))
		tell_change(a, list, "changed", r);
}

static struct doc *list_changes(const struct model *old, const struct model *new, struct arena *a)
{
	struct doc *list = doc_new_list(a);

	if (!old)
		return list;
	if (!same_doc(old->mesh.doc, new->mesh.doc))
		doc_add(a, list, doc_new_str(a, STR("changed kvmesh.conf")));
	for (int k = 0; k < MODEL_KIND__N; k++) {
		model_for_each(new, k, r)
			compare_resource(old, r, a, list);
		model_for_each(old, k, gone)
			if (!map_has(&new->by_id, gone->id))
				tell_change(a, list, "removed", gone);
	}
	if (list->n > CHANGED_TOLD) {
		size_t more = list->n - (CHANGED_TOLD - 1);

		list->n = CHANGED_TOLD - 1;
		doc_add(a, list, doc_new_str(a, arena_printf(a, "and %zu more", more)));
	}
	return list;
}

/* ---- committing ---------------------------------------------------------------------------- */

static void list_keys(const struct model *m, struct store_key **ret, size_t *ret_n)
{
	struct store_key *v = NULL;
	size_t n = 0, cap = 0;

	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, r)
			*vec_push(v, n, cap) = (struct store_key){
				.kind = model_kind_name(r->kind), .ns = r->ns, .name = r->name,
			};
	*ret = v;
	*ret_n = n;
}

/* A load that has passed every test, on its way into force. */
struct candidate {
	struct model *model;
	struct compiled compiled;
	const struct doc *identities;
	char digest[COMPILED_DIGEST_BYTES];
	int64_t generation;
	struct arena arena;
};

static int commit(struct state *s, const struct candidate *c, const char *by, int64_t now_us,
		  struct err *err)
{
	struct arena a;
	_cleanup_free_ struct store_key *keys = NULL;
	size_t n;

	arena_init(&a, 0);
	list_keys(c->model, &keys, &n);
	const struct store_load l = {
		.generation = c->generation,
		.at_us = now_us,
		.by = str_c(by),
		.ok = true,
		.digest = str_c(c->digest),
		.changed = doc_to_json(list_changes(s->model, c->model, &a), &a, false),
		.error = STR(""),
	};
	int r = store_commit(s->store, &l, keys, n, err);

	arena_done(&a);
	return r;
}

static void proxies_free(struct state_proxy *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].name);
		free(v[i].snapshot);
	}
	free(v);
}

static char *dup_str(struct str s)
{
	char *p = kv_malloc(s.n + 1);

	memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

/* A proxy whose content is as it was keeps its version: it needs no push. */
static struct state_proxy make_proxy(const struct state *s, const struct compiled_proxy *p,
				     int64_t generation)
{
	const struct state_proxy *was = state_proxy_find(s, p->name);
	bool same = was && was->hash == p->hash;
	struct arena a;

	arena_init(&a, 0);
	p->snap->version = same ? was->version : generation;
	struct str json = snap_dump(p->snap, &a, false);
	const struct state_proxy new = {
		.name = dup_str(p->name), .version = p->snap->version, .hash = p->hash,
		.snapshot = dup_str(json), .snapshot_bytes = json.n,
	};

	arena_done(&a);
	return new;
}

static char *identities_text(const struct candidate *c)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *d = doc_copy(&a, c->identities);

	doc_set_int(&a, d, "generation", c->generation);
	char *text = dup_str(doc_to_json(d, &a, false));

	arena_done(&a);
	return text;
}

/*
 * New resources were only "younger than all known ones" while they were read; now they have an age.
 */
static void set_ages(const struct state *s, struct model *m, int64_t now_us)
{
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, r) {
			int64_t at_us = store_first_seen(s->store, model_kind_name(r->kind), r->ns,
							 r->name);

			if (r->first_seen_us > now_us && at_us > 0)
				r->first_seen_us = at_us;
		}
}

static void adopt_snapshots(struct state *s, const struct candidate *c)
{
	struct state_proxy *v = kv_zalloc(c->compiled.n * sizeof(*v));

	for (size_t i = 0; i < c->compiled.n; i++)
		v[i] = make_proxy(s, &c->compiled.v[i], c->generation);
	proxies_free(s->proxies, s->n_proxies);
	s->proxies = v;
	s->n_proxies = c->compiled.n;
	s->generation = c->generation;
	memcpy(s->digest, c->digest, sizeof(s->digest));
	s->given = c->generation;
	memcpy(s->given_digest, c->digest, sizeof(s->given_digest));
}

static void adopt(struct state *s, struct candidate *c, int64_t now_us)
{
	adopt_snapshots(s, c);
	free(s->identities);
	s->identities = identities_text(c);
	s->identities_generation = c->generation;
	model_free(s->model);
	s->model = take(&c->model);
	set_ages(s, s->model, now_us);
	s->loaded_at_us = now_us;
	health_follow(s->health, s->model);
}

static void note_failure(struct state *s, const char *by, int64_t now_us)
{
	struct arena a;
	struct err err = { 0 };

	arena_init(&a, 0);
	const struct store_load l = {
		.generation = s->generation,
		.at_us = now_us,
		.by = str_c(by),
		.ok = false,
		.digest = str_c(s->digest),
		.changed = STR("[]"),
		.error = findings_first(&s->last.findings, &a),
	};

	log_err("config_rejected: %.*s (%zu errors, by %s); generation %lld stays in force",
		STR_ARG(l.error), s->last.findings.n_errors, by, (long long)s->generation);
	if (store_note(s->store, &l, &err) < 0)
		log_warn("the history misses this load: %s", err.text);
	arena_done(&a);
}

static int candidate_init(struct candidate *c, const struct state *s, const struct model *m,
			  struct err_list *errs)
{
	const struct compile_env env = {
		.etc_dir = s->etc_dir, .is_inactive = health_is_inactive, .arg = s->health,
	};
	int r = compiled_make(m, &env, &c->compiled, errs);

	if (r < 0)
		return r;
	arena_init(&c->arena, 0);
	c->identities = compiled_identities(&c->compiled, m, &c->arena);
	compiled_digest(&c->compiled, m, c->identities, c->digest);
	c->generation = strcmp(c->digest, s->given_digest) == 0 ? s->given : s->given + 1;
	return 0;
}

static void candidate_done(struct candidate *c)
{
	compiled_done(&c->compiled);
	arena_done(&c->arena);
}

static int put_in_force(struct state *s, struct candidate *c, const char *by, int64_t now_us)
{
	struct err err = { 0 };

	/* On disk before any proxy hears of it: a generation is never given out twice. */
	int r = commit(s, c, by, now_us, &err);

	if (r < 0) {
		err_list_push(&s->last.findings, &err);
	} else {
		s->last.changed = c->generation != s->generation;
		adopt(s, c, now_us);
	}
	candidate_done(c);
	return r;
}

enum state_outcome state_load(struct state *s, const char *by, int64_t now_us)
{
	const struct model_load_opts opts = {
		.node_name = s->node_name, .first_seen = first_seen, .first_seen_arg = s->store,
		.keys_dir = s->keys_dir,
	};
	struct candidate c = { 0 };

	err_list_done(&s->last.findings);
	err_list_init(&s->last.findings);
	s->last.at_us = now_us;
	s->last.changed = false;
	int r = read_and_check(s->etc_dir, &opts, &c.model, &s->last.findings);

	if (r == 0)
		r = candidate_init(&c, s, c.model, &s->last.findings);
	if (r == 0)
		r = put_in_force(s, &c, by, now_us);
	model_free(c.model);
	s->last.ok = r == 0;
	if (r < 0) {
		note_failure(s, by, now_us);
		return STATE_REFUSED;
	}
	log_info("config_applied: generation %lld digest %s by %s%s", (long long)s->generation,
		 s->digest, by, s->last.changed ? "" : ", nothing changed");
	return s->last.changed ? STATE_CHANGED : STATE_UNCHANGED;
}

bool state_refresh(struct state *s)
{
	struct candidate c = { 0 };
	struct err_list errs;
	struct err err = { 0 };
	bool changed = false;

	if (!s->model)
		return false;
	err_list_init(&errs);
	if (candidate_init(&c, s, s->model, &errs) == 0) {
		changed = strcmp(c.digest, s->digest) != 0;
		if (changed && store_mark(s->store, c.generation, str_c(c.digest), &err) < 0)
			log_warn("generation %lld is not on disk: %s", (long long)c.generation,
				 err.text);
		if (changed)
			adopt_snapshots(s, &c);
		candidate_done(&c);
	}
	err_list_done(&errs);
	return changed;
}

const struct state_proxy *state_proxy_find(const struct state *s, struct str name)
{
	for (size_t i = 0; i < s->n_proxies; i++)
		if (str_eq(str_c(s->proxies[i].name), name))
			return &s->proxies[i];
	return NULL;
}

/* ---- over restarts ------------------------------------------------------------------------- */

void state_keep(const struct state *s)
{
	struct arena a;
	struct err err = { 0 };

	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a), *list = doc_set(&a, d, "proxies", doc_new_list(&a));

	doc_set_int(&a, d, "generation", s->generation);
	doc_set_int(&a, d, "loadedAtUs", s->loaded_at_us);
	doc_set_str(&a, d, "digest", str_c(s->digest));
	doc_set_str(&a, d, "identities", str_c(s->identities));
	for (size_t i = 0; i < s->n_proxies; i++) {
		const struct state_proxy *p = &s->proxies[i];
		struct doc *e = doc_add(&a, list, doc_new_map(&a));

		doc_set_str(&a, e, "name", str_c(p->name));
		doc_set_int(&a, e, "version", p->version);
		doc_set_str(&a, e, "hash",
			    arena_printf(&a, "%016llx", (unsigned long long)p->hash));
		doc_set_str(&a, e, "snapshot", str_from(p->snapshot, p->snapshot_bytes));
	}
	if (kept_save(s->kept_path, doc_to_json(d, &a, false), &err) < 0)
		log_err("generation %lld is in force but could not be kept for the next start: %s",
			(long long)s->generation, err.text);
	arena_done(&a);
}

static bool take_kept_proxy(const struct doc *d, struct state_proxy *ret)
{
	struct str name = doc_get_str(d, "name", STR("")),
		   json = doc_get_str(d, "snapshot", STR(""));
	uint64_t hash;

	if (name.n == 0 || name.n > NAME_MAX_BYTES || json.n == 0 ||
	    !str_hex_to_u64(doc_get_str(d, "hash", STR("")), &hash))
		return false;
	*ret = (struct state_proxy){
		.name = dup_str(name), .version = doc_get_int(d, "version", 0), .hash = hash,
		.snapshot = dup_str(json), .snapshot_bytes = json.n,
	};
	return true;
}

static void take_kept(struct state *s, const struct doc *d)
{
	const struct doc *list = doc_get(d, STR("proxies"));
	struct str digest = doc_get_str(d, "digest", STR("")),
		   ids = doc_get_str(d, "identities", STR(""));
	int64_t generation = doc_get_int(d, "generation", 0);

	if (!list || list->kind != DOC_LIST || digest.n != sizeof(s->digest) - 1 || ids.n == 0 ||
	    generation < 1) {
		log_warn("%s was written by another version and is not used", s->kept_path);
		return;
	}
	s->proxies = kv_zalloc((list->n + 1) * sizeof(s->proxies[0]));
	for (size_t i = 0; i < list->n; i++)
		s->n_proxies += take_kept_proxy(list->v[i], &s->proxies[s->n_proxies]);
	memcpy(s->digest, digest.p, digest.n);
	s->digest[digest.n] = '\0';
	s->identities = dup_str(ids);
	s->generation = s->identities_generation = generation;
	s->loaded_at_us = doc_get_int(d, "loadedAtUs", 0);
}

static void load_kept(struct state *s)
{
	_cleanup_free_ char *text = NULL;
	struct arena a;
	struct doc *d;
	struct err err = { 0 };
	size_t n;
	int r = kept_load(s->kept_path, KEPT_MAX, &text, &n, &err);

	if (r == -ENOENT)
		return;
	arena_init(&a, 0);
	if (r == 0)
		r = doc_read_json(str_from(text, n), &a, &d, &err);
	if (r < 0)
		log_warn("what the last run kept is not usable: %s", err.text);
	else
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): r is 0 only when doc_read_json has set d */
		take_kept(s, d);
	arena_done(&a);
}

int state_open(const char *etc_dir, const char *state_dir, struct state *ret, struct err *err)
{
	_cleanup_free_ char *db = kv_asprintf("%s/router/router.db", state_dir);
	_cleanup_free_ char *health = kv_asprintf("%s/router/health.json", state_dir);
	struct state *s = ret;

	*s = (struct state){
		.etc_dir = kv_strdup(etc_dir),
		.keys_dir = kv_asprintf("%s/jwks", state_dir),
		.kept_path = kv_asprintf("%s/router/last.json", state_dir),
	};
	err_list_init(&s->last.findings);
	own_name(s->node_name, sizeof(s->node_name));
	int r = store_open(db, &s->store, err);

	if (r < 0) {
		state_close(s);
		return r;
	}
	load_kept(s);
	s->health = health_new(health);
	/*
	 * Killed between commit and keep, the store knows of a later generation than what was kept.
	 */
	s->given = s->generation;
	memcpy(s->given_digest, s->digest, sizeof(s->given_digest));
	if (store_generation(s->store) >= s->generation) {
		s->given = store_generation(s->store);
		snprintf(s->given_digest, sizeof(s->given_digest), "%s", store_digest(s->store));
	}
	return 0;
}

void state_close(struct state *s)
{
	store_close(s->store);
	health_free(s->health);
	model_free(s->model);
	proxies_free(s->proxies, s->n_proxies);
	free(s->identities);
	err_list_done(&s->last.findings);
	free(s->etc_dir);
	free(s->keys_dir);
	free(s->kept_path);
	*s = (struct state){ 0 };
}
