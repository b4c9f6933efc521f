/* SPDX-License-Identifier: Apache-2.0 */
/* egress: see egress.h. Layer proxy. */
#include "config.h"

#include "proxy/egress.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/log.h"
#include "http/url.h"
#include "proxy/stats.h"
#include "snap/countries.h"

/* ---- the database ---------------------------------------------------------------------------- */

struct egress_base {
	atomic_uint refs;
	struct countries *db;
};
struct egress {
	char *path;                     /* wanted; NULL none */
	struct stat tried;              /* the file when it was last read, or was tried to be */
	struct egress_base *base;       /* the last good one; NULL: there was none */
};

void egress_base_unref(struct egress_base *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	countries_free(b->db);
	free(b);
}

struct egress *egress_new(void)
{
	return kv_zalloc(sizeof(struct egress));
}

void egress_free(struct egress *e)
{
	if (!e)
		return;
	egress_base_unref(e->base);
	free(e->path);
	free(e);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* True: there is another one than before. */
static bool read_base(struct egress *e)
{
	struct countries *db;
	struct err err = { 0 };

	if (countries_open(e->path, &db, &err) < 0) {
		log_err("residency: %s; %s", err.text,
			e->base ? "the one read before stays in use" : "its addresses are unknown until it is there");
		return false;
	}
	egress_base_unref(e->base);
	e->base = kv_zalloc(sizeof(*e->base));
	atomic_init(&e->base->refs, 1);
	e->base->db = db;
	log_info("residency: countries are those of %s", e->path);
	return true;
}

bool egress_is_outdated(struct egress *e)
{
	struct stat now;

	if (!e->path || stat(e->path, &now) < 0 || is_same(&now, &e->tried))
		return false;
	e->tried = now;
	return read_base(e);
}

static void want(struct egress *e, struct str path)
{
	if (e->path && str_eq(str_c(e->path), path))
		return;
	egress_base_unref(e->base);
	e->base = NULL;
	free(e->path);
	e->path = NULL;
	if (path.n == 0)
		return;
	e->path = kv_asprintf("%.*s", STR_ARG(path));
	e->tried = (struct stat){ 0 };
	(void)stat(e->path, &e->tried);
	(void)read_base(e);
}

/* ---- questions ------------------------------------------------------------------------------- */

static bool put_address(const struct sock_addr *a, uint8_t to[16])
{
	if (a->sa.sa_family == AF_INET6) {
		memcpy(to, &a->in6.sin6_addr, 16);
		return true;
	}
	memset(to, 0, 10);
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, &a->in.sin_addr, 4);
	return a->sa.sa_family == AF_INET;
}

/* False: egressPolicy has nothing to say about it. */
static bool judge(const struct attached *at, const struct attached_way *way, const struct sock_addr *a,
		  struct residency_answer *ret)
{
	struct residency_question q = { .named = way->named, .internal = way->internal };

	if (!at->residency || !way->outside || a->len == 0 || !put_address(a, q.addr))
		return false;
	memcpy(q.country, way->country, sizeof(q.country));
	residency_judge(at->residency, &q, ret);
	return ret->verdict != RESIDENCY_INSIDE;
}

static void count(struct stats *stats, const struct residency_answer *a, const char *verdict)
{
	stats_add_reason(stats, "kvmesh_egress_total", a->country[0] ? a->country : "unknown", verdict);
}

static bool answer(const struct attached *at, struct stats *stats, const struct residency_answer *a,
		   const char *whither, struct err *err)
{
	char text[RESIDENCY_TEXT_MAX];

	if (a->verdict != RESIDENCY_REFUSED) {
		count(stats, a, "allowed");
		return true;
	}
	bool audit = residency_audits(at->residency);

	count(stats, a, audit ? "audited" : "refused");
	log_warn("%s: %s: %s", audit ? "residency_audit" : "residency_denied", whither,
		 residency_words(a, text));
	if (!audit)
		(void)err_set(err, KV_ERR_REFUSED, "%s", residency_text(a, text));
	return audit;
}

bool egress_allows(const struct attached *at, struct stats *stats, const struct attached_way *way,
		   const struct sock_addr *a, struct err *err)
{
	struct residency_answer said;
	char text[SOCK_ADDR_TEXT_MAX];

	return !judge(at, way, a, &said) || answer(at, stats, &said, sock_addr_text(a, text), err);
}

bool egress_would_allow(const struct attached *at, const struct attached_way *way,
			const struct sock_addr *a)
{
	struct residency_answer said;

	return !judge(at, way, a, &said) || said.verdict != RESIDENCY_REFUSED ||
	       residency_audits(at->residency);
}

/* False: egressPolicy has nothing to say about it. */
static bool judge_host(const struct attached *at, struct str host, struct residency_answer *ret)
{
	struct str name;
	uint16_t port;

	if (!at->residency)
		return false;
	if (!url_split_authority(host, &name, &port))
		name = host;
	residency_judge_host(at->residency, name, ret);
	return ret->verdict != RESIDENCY_INSIDE;
}

bool egress_allows_host(const struct attached *at, struct stats *stats, struct str host, struct err *err)
{
	struct residency_answer said;
	char text[256];

	snprintf(text, sizeof(text), "%.*s", STR_ARG(host));
	return !judge_host(at, host, &said) || answer(at, stats, &said, text, err);
}

bool egress_would_allow_host(const struct attached *at, struct str host)
{
	struct residency_answer said;

	return !judge_host(at, host, &said) || said.verdict != RESIDENCY_REFUSED ||
	       residency_audits(at->residency);
}

void egress_note_refused(struct stats *stats, const struct residency_answer *a)
{
	count(stats, a, "refused");
}

/* ---- attachments ----------------------------------------------------------------------------- */

static void put_way(const struct residency_question *q, struct attached_way *to)
{
	to->internal = q->internal;
	memcpy(to->country, q->country, sizeof(to->country));
}

void egress_way_of_entry(const struct attached *at, struct str host, struct attached_way *way)
{
	struct residency_question q = { 0 };

	(void)residency_of_host(at->residency, host, &q);
	put_way(&q, way);
}

static const struct residency_answer *refusal(struct attached *at, const struct attached_way *way,
					      const struct sock_addr *a)
{
	struct residency_answer *kept, said;

	if (!judge(at, way, a, &said) || said.verdict != RESIDENCY_REFUSED)
		return NULL;
	kept = arena_new(&at->arena, struct residency_answer);
	*kept = said;
	return kept;
}

/* Of two addresses the one that may be used. */
static void sift(struct attached *at, const struct attached_way *way, struct attached_endpoint *e)
{
	const struct residency_answer *first = refusal(at, way, &e->plain);

	if (e->alternate && refusal(at, way, e->alternate))
		e->alternate = NULL;
	if (first && e->alternate) {
		e->plain = *e->alternate;
		e->alternate = NULL;
		first = NULL;
	}
	e->refused = first;
}

static void attach_cluster(struct attached *at, const struct snap_cluster *c, struct attached_cluster *to)
{
	struct residency_question q = { 0 };

	to->way = (struct attached_way){ .outside = true, .named = c->kind == SNAP_CLUSTER_DNS };
	if (!at->residency)
		return;
	residency_of_service(at->residency, c->service, &q);
	put_way(&q, &to->way);
	for (size_t i = 0; i < to->n && !residency_audits(at->residency); i++)
		if (!snap_is_mesh_leg(c, &c->endpoints.v[i]))
			sift(at, &to->way, &to->endpoints[i]);
}

void egress_attach(struct egress *e, struct attached *at)
{
	const struct snap_residency *p = at->snap->residency;

	want(e, p ? p->database : STR_NULL);
	if (p) {
		at->base = e->base;
		if (at->base)
			atomic_fetch_add_explicit(&at->base->refs, 1, memory_order_relaxed);
		at->residency = residency_new(p, at->base ? at->base->db : NULL);
	}
	for (size_t i = 0; i < at->snap->clusters.n; i++)
		attach_cluster(at, &at->snap->clusters.v[i], &at->clusters[i]);
}
