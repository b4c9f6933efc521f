/* SPDX-License-Identifier: Apache-2.0 */
/* attach_state: the registries of endpoint and cluster state, see attach_state.h. Layer proxy. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "proxy/attach_state.h"

/* ---- references: any thread ---------------------------------------------------------------- */

struct endpoint_state *endpoint_state_ref(struct endpoint_state *e)
{
	atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
	return e;
}

void endpoint_state_unref(struct endpoint_state *e)
{
	if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(e->key);
	free(e);
}

struct cluster_state *cluster_state_ref(struct cluster_state *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void cluster_state_unref(struct cluster_state *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (c->tls)
		tls_ctx_unref(c->tls);
	free(c->tls_error);
	free(c->tls_paths);
	free(c->tls_key);
	free(c->key);
	free(c);
}

void server_state_unref(struct server_state *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (s->tls)
		tls_ctx_unref(s->tls);
	free(s->tls_key);
	free(s->key);
	free(s);
}

/* ---- the registries: control thread -------------------------------------------------------- */

/* refs is the first member of every state: that is how a registry looks at any of them. */
_Static_assert(offsetof(struct endpoint_state, refs) == 0 && offsetof(struct cluster_state, refs) == 0 &&
	       offsetof(struct server_state, refs) == 0, "refs comes first");

static void unref_endpoint(void *e)
{
	endpoint_state_unref(e);
}

static void unref_cluster(void *c)
{
	cluster_state_unref(c);
}

static void unref_server(void *s)
{
	server_state_unref(s);
}

static void let_go(struct map *m, void (*unref)(void *state))
{
	for (struct map_entry *e = map_first(m); e; e = map_next(m, e))
		unref(e->val);
	map_done(m);
}

struct attach_state *attach_state_new(void)
{
	struct attach_state *s = kv_zalloc(sizeof(*s));

	map_init(&s->endpoints);
	map_init(&s->clusters);
	map_init(&s->servers);
	return s;
}

void attach_state_free(struct attach_state *s)
{
	if (!s)
		return;
	let_go(&s->endpoints, unref_endpoint);
	let_go(&s->clusters, unref_cluster);
	let_go(&s->servers, unref_server);
	free(s);
}

struct endpoint_state *attach_state_endpoint(struct attach_state *s, struct str key, bool late)
{
	struct endpoint_state *e = map_get(&s->endpoints, key);

	if (!e) {
		e = kv_zalloc(sizeof(*e));
		e->key = kv_asprintf("%.*s", STR_ARG(key));
		atomic_init(&e->refs, 1);
		atomic_init(&e->since_us, late ? clock_mono_us() : 0);
		map_put(&s->endpoints, str_c(e->key), e);
	}
	return endpoint_state_ref(e);
}

bool attach_state_has_cluster(const struct attach_state *s, struct str name)
{
	return map_has(&s->clusters, name);
}

static bool uses_files(const struct snap_cluster *c)
{
	return c->tls.mode == SNAP_TLS_SIMPLE || c->tls.mode == SNAP_TLS_MUTUAL;
}

/* The time of change as well: what was unreadable may have been given to us since. */
static struct str describe_file(struct arena *a, struct str path)
{
	struct str name = arena_str(a, path);
	struct stat st;

	if (path.n == 0 || stat(name.p, &st) != 0)
		return name;
	return arena_printf(a, "%s@%llu.%llu.%llu.%lld.%09ld.%lld.%09ld", name.p,
			    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
			    (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec,
			    st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static char *describe_files(const struct snap_tls *t)
{
	struct arena a;
	char *key;

	arena_init(&a, 0);
	struct str cert = describe_file(&a, t->cert), ca = describe_file(&a, t->ca);
	struct str priv = describe_file(&a, t->key), crl = describe_file(&a, t->crl);
	struct str more = STR_NULL;

	for (size_t i = 0; i < t->more.n; i++)
		more = arena_printf(&a, "%.*s|%.*s|%.*s", STR_ARG(more),
				    STR_ARG(describe_file(&a, t->more.v[i].cert)),
				    STR_ARG(describe_file(&a, t->more.v[i].key)));
	key = kv_asprintf("%d|%d|%.*s|%.*s|%.*s|%.*s%.*s", t->mode, t->skip_verify, STR_ARG(cert),
			  STR_ARG(priv), STR_ARG(ca), STR_ARG(crl), STR_ARG(more));
	arena_done(&a);
	return key;
}

/* Changes when another context would have to be made: other settings, or replaced files. */
static char *tls_key_of(const struct snap_cluster *c)
{
	return uses_files(c) ? describe_files(&c->tls) : kv_strdup("");
}

static const char *path_or_null(struct arena *a, struct str s)
{
	return s.n > 0 ? arena_str(a, s).p : NULL;
}

/* NULL: none is given, or one that need not be there is not. */
static const char *crl_of(struct arena *a, const struct snap_tls *t)
{
	const char *path = path_or_null(a, t->crl);

	return path && t->crl_optional && access(path, F_OK) != 0 && errno == ENOENT ? NULL : path;
}

static char *describe_paths(const struct snap_tls *t)
{
	return kv_asprintf("%d|%d|%.*s|%.*s|%.*s|%.*s", t->mode, t->skip_verify, STR_ARG(t->cert), STR_ARG(t->key),
			   STR_ARG(t->ca), STR_ARG(t->crl));
}

/*
 * A failure is no reason to refuse the snapshot: what the same files held before stays in use, else
 * this one cluster refuses its requests, and says why.
 */
static void make_tls(struct cluster_state *st, const struct snap_cluster *c, const struct cluster_state *old)
{
	struct arena a;
	struct err err = { 0 };

	st->tls_paths = describe_paths(&c->tls);
	if (!uses_files(c))
		return;
	arena_init(&a, 0);
	struct tls_files files = {
		.cert = path_or_null(&a, c->tls.cert),
		.key = path_or_null(&a, c->tls.key),
		.ca = c->tls.ca.n > 0 ? arena_str(&a, c->tls.ca).p : "system",
		.crl = crl_of(&a, &c->tls),
		.scope = st->key,
		.skip_verify = c->tls.skip_verify,
	};

	if (tls_ctx_new_client(&files, &st->tls, &err) < 0) {
		bool kept = old && old->tls && strcmp(old->tls_paths, st->tls_paths) == 0;

		st->tls = kept ? tls_ctx_ref(old->tls) : NULL;
		st->tls_error = kept ? NULL : kv_strdup(err.text);
		log_err("cluster %s: %s: %s", st->key, err.text,
			kept ? "the files before stay in use" : "its requests fail");
	}
	arena_done(&a);
}

bool attach_state_cluster_is_current(const struct cluster_state *st, const struct snap_cluster *c)
{
	if (!uses_files(c))
		return true;
	_cleanup_free_ char *now = tls_key_of(c);

	return strcmp(st->tls_key, now) == 0;
}

struct cluster_state *attach_state_cluster(struct attach_state *s, const struct snap_cluster *c)
{
	struct cluster_state *old = map_get(&s->clusters, c->name);
	char *tls_key = tls_key_of(c);

	if (old && strcmp(old->tls_key, tls_key) == 0) {
		free(tls_key);
		return cluster_state_ref(old);
	}
	struct cluster_state *st = kv_zalloc(sizeof(*st));

	st->key = kv_asprintf("%.*s", STR_ARG(c->name));
	st->tls_key = tls_key;
	atomic_init(&st->refs, 1);
	make_tls(st, c, old);
	/* The entry's key must go with the state that owns its bytes. */
	(void)map_del(&s->clusters, c->name);
	map_put(&s->clusters, str_c(st->key), st);
	cluster_state_unref(old);
	return cluster_state_ref(st);
}

/* ---- servers of gateways ------------------------------------------------------------------- */

bool attach_state_is_current(const struct server_state *st, const struct snap_server *sv)
{
	_cleanup_free_ char *now = describe_files(&sv->tls);

	return strcmp(st->tls_key, now) == 0;
}

static void tell_use(const struct server_state *st, const struct snap_server *sv)
{
	if (tls_ctx_not_after(st->tls) * 1000000 < clock_real_us())
		log_warn("%.*s: the certificate %.*s has expired", STR_ARG(sv->at),
			 STR_ARG(sv->tls.cert));
}

static int make_ctx(const struct snap_server *sv, const char *scope, struct tls_ctx **ret, struct err *err)
{
	bool mutual = sv->tls.mode == SNAP_TLS_MUTUAL;
	struct arena a;

	arena_init(&a, 0);
	struct tls_pair *more = arena_new_n(&a, struct tls_pair, sv->tls.more.n);

	for (size_t i = 0; i < sv->tls.more.n; i++)
		more[i] = (struct tls_pair){ path_or_null(&a, sv->tls.more.v[i].cert),
					     path_or_null(&a, sv->tls.more.v[i].key) };
	const struct tls_files files = {
		.cert = path_or_null(&a, sv->tls.cert),
		.key = path_or_null(&a, sv->tls.key),
		.more = more,
		.n_more = sv->tls.more.n,
		.ca = mutual ? path_or_null(&a, sv->tls.ca) : NULL,
		.crl = mutual ? path_or_null(&a, sv->tls.crl) : NULL,
		.scope = scope,
	};
	const struct tls_server_opts opts = {
		.clients = !mutual ? TLS_CLIENTS_ANY :
			   sv->optional_client ? TLS_CLIENTS_OPTIONAL : TLS_CLIENTS_PROVED,
		.names = sv->tls.sans.v,
		.n_names = sv->tls.sans.n,
		.spki = sv->spki.v,
		.n_spki = sv->spki.n,
		.hashes = sv->hashes.v,
		.n_hashes = sv->hashes.n,
		.tls13 = sv->tls13,
		.tls12 = sv->tls12,
		.ciphers = path_or_null(&a, sv->ciphers),
	};
	int r = tls_ctx_new_server(&files, &opts, ret, err);

	arena_done(&a);
	return r;
}

/*
 * A failure is no reason to refuse the snapshot: nobody gets in through this server, and why is
 * said.
 */
static void make_server_tls(struct server_state *st, const struct snap_server *sv,
			    const struct server_state *old)
{
	struct err err = { 0 };

	if (sv->tls.mode != SNAP_TLS_SIMPLE && sv->tls.mode != SNAP_TLS_MUTUAL)
		return;                 /* the mesh's own certificate, or none */
	if (make_ctx(sv, st->key, &st->tls, &err) == 0) {
		tell_use(st, sv);
		return;
	}
	st->tls = old && old->tls ? tls_ctx_ref(old->tls) : NULL;
	log_err("%.*s: %s: %s", STR_ARG(sv->at), err.text,
		st->tls ? "the certificate before stays in use" :
			  "connections to this server are refused");
}

/* "a;b;" and a bar: lists one after the other are told apart. */
static struct str join(struct arena *a, struct str before, const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		before = arena_printf(a, "%.*s%.*s;", STR_ARG(before), STR_ARG(l->v[i]));
	return arena_printf(a, "%.*s|", STR_ARG(before));
}

/* What a client has proved to one of them counts for all of the same key. */
static char *server_key(const struct snap_server *sv)
{
	struct arena a;

	arena_init(&a, 0);
	struct str list = join(&a, STR_NULL, &sv->tls.sans);

	list = join(&a, join(&a, list, &sv->spki), &sv->hashes);
	for (size_t i = 0; i < sv->tls.more.n; i++)
		list = arena_printf(&a, "%.*s|%.*s|%.*s", STR_ARG(list),
				    STR_ARG(sv->tls.more.v[i].cert), STR_ARG(sv->tls.more.v[i].key));
	char *key = kv_asprintf("%d|%d|%d|%d|%.*s|%.*s|%.*s|%.*s|%.*s|%.*s", sv->tls.mode,
				sv->optional_client, sv->tls13, sv->tls12, STR_ARG(sv->ciphers),
				STR_ARG(sv->tls.cert), STR_ARG(sv->tls.key), STR_ARG(sv->tls.ca),
				STR_ARG(sv->tls.crl), STR_ARG(list));

	arena_done(&a);
	return key;
}

struct server_state *server_state_ref(struct server_state *st)
{
	atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
	return st;
}

struct server_state *attach_state_server(struct attach_state *s, const struct snap_server *sv)
{
	char *key = server_key(sv);
	struct server_state *st = map_get(&s->servers, str_c(key)), *old = st;

	if (old && attach_state_is_current(old, sv)) {
		free(key);
		return server_state_ref(old);
	}
	st = kv_zalloc(sizeof(*st));
	st->key = key;
	st->tls_key = describe_files(&sv->tls);
	atomic_init(&st->refs, 1);
	make_server_tls(st, sv, old);
	(void)map_del(&s->servers, str_c(key));
	map_put(&s->servers, str_c(st->key), st);
	server_state_unref(old);
	return server_state_ref(st);
}

/* What only the registry holds goes. */
static void sweep(struct map *m, void (*unref)(void *state))
{
	struct map kept;

	map_init(&kept);
	for (struct map_entry *e = map_first(m); e; e = map_next(m, e)) {
		if (atomic_load_explicit((atomic_uint *)e->val, memory_order_acquire) > 1)
			map_put(&kept, e->key, e->val);
		else
			unref(e->val);
	}
	map_done(m);
	*m = kept;
}

void attach_state_sweep(struct attach_state *s)
{
	sweep(&s->endpoints, unref_endpoint);
	sweep(&s->clusters, unref_cluster);
	sweep(&s->servers, unref_server);
}
