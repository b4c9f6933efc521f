/* SPDX-License-Identifier: Apache-2.0 */
/* attach_state: the registries of endpoint and cluster state, see attach_state.h. Layer proxy. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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
	free(c->tls_key);
	free(c->key);
	free(c);
}

/* ---- the registries: control thread -------------------------------------------------------- */

struct attach_state *attach_state_new(void)
{
	struct attach_state *s = kv_zalloc(sizeof(*s));

	map_init(&s->endpoints);
	map_init(&s->clusters);
	return s;
}

void attach_state_free(struct attach_state *s)
{
	if (!s)
		return;
	for (struct map_entry *e = map_first(&s->endpoints); e; e = map_next(&s->endpoints, e))
		endpoint_state_unref(e->val);
	for (struct map_entry *e = map_first(&s->clusters); e; e = map_next(&s->clusters, e))
		cluster_state_unref(e->val);
	map_done(&s->endpoints);
	map_done(&s->clusters);
	free(s);
}

struct endpoint_state *attach_state_endpoint(struct attach_state *s, struct str key)
{
	struct endpoint_state *e = map_get(&s->endpoints, key);

	if (!e) {
		e = kv_zalloc(sizeof(*e));
		e->key = kv_asprintf("%.*s", STR_ARG(key));
		atomic_init(&e->refs, 1);
		map_put(&s->endpoints, str_c(e->key), e);
	}
	return endpoint_state_ref(e);
}

static bool uses_files(const struct snap_cluster *c)
{
	return c->tls.mode == SNAP_TLS_SIMPLE || c->tls.mode == SNAP_TLS_MUTUAL;
}

static struct str describe_file(struct arena *a, struct str path)
{
	struct str name = arena_str(a, path);
	struct stat st;

	if (path.n == 0 || stat(name.p, &st) != 0)
		return name;
	return arena_printf(a, "%s@%llu.%llu.%llu.%lld.%09ld", name.p,
			    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
			    (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec,
			    st.st_mtim.tv_nsec);
}

/* Changes when another context would have to be made: other settings, or replaced files. */
static char *tls_key_of(const struct snap_cluster *c)
{
	struct arena a;
	char *key;

	if (!uses_files(c))
		return kv_strdup("");
	arena_init(&a, 0);
	struct str cert = describe_file(&a, c->tls.cert), ca = describe_file(&a, c->tls.ca);
	struct str priv = describe_file(&a, c->tls.key);

	key = kv_asprintf("%d|%d|%.*s|%.*s|%.*s", c->tls.mode, c->tls.skip_verify, STR_ARG(cert),
			  STR_ARG(priv), STR_ARG(ca));
	arena_done(&a);
	return key;
}

static const char *path_or_null(struct arena *a, struct str s)
{
	return s.n > 0 ? arena_str(a, s).p : NULL;
}

/* A failure is no reason to refuse the snapshot: this one cluster refuses its requests, and says
 * why. */
static void make_tls(struct cluster_state *st, const struct snap_cluster *c)
{
	struct arena a;
	struct err err = { 0 };

	if (!uses_files(c))
		return;
	arena_init(&a, 0);
	struct tls_files files = {
		.cert = path_or_null(&a, c->tls.cert),
		.key = path_or_null(&a, c->tls.key),
		.ca = c->tls.ca.n > 0 ? arena_str(&a, c->tls.ca).p : "system",
		.skip_verify = c->tls.skip_verify,
	};

	if (tls_ctx_new_client(&files, &st->tls, &err) < 0) {
		st->tls = NULL;
		st->tls_error = kv_strdup(err.text);
		log_err("cluster %s: %s", st->key, err.text);
	}
	arena_done(&a);
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
	make_tls(st, c);
	/* The entry's key must go with the state that owns its bytes. */
	(void)map_del(&s->clusters, c->name);
	map_put(&s->clusters, str_c(st->key), st);
	cluster_state_unref(old);
	return cluster_state_ref(st);
}

void attach_state_sweep(struct attach_state *s)
{
	struct map endpoints, clusters;

	map_init(&endpoints);
	map_init(&clusters);
	for (struct map_entry *e = map_first(&s->endpoints); e; e = map_next(&s->endpoints, e)) {
		struct endpoint_state *st = e->val;

		if (atomic_load_explicit(&st->refs, memory_order_acquire) > 1)
			map_put(&endpoints, str_c(st->key), st);
		else
			endpoint_state_unref(st);
	}
	for (struct map_entry *e = map_first(&s->clusters); e; e = map_next(&s->clusters, e)) {
		struct cluster_state *st = e->val;

		if (atomic_load_explicit(&st->refs, memory_order_acquire) > 1)
			map_put(&clusters, str_c(st->key), st);
		else
			cluster_state_unref(st);
	}
	map_done(&s->endpoints);
	map_done(&s->clusters);
	s->endpoints = endpoints;
	s->clusters = clusters;
}
