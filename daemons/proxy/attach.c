/* SPDX-License-Identifier: Apache-2.0 */
/* attach: from a snapshot to what workers walk, see attach.h. Layer proxy. */
#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "proxy/attach_state.h"
#include "io/cgroup.h"
#include "proxy/egress.h"
#include "proxy/tokens.h"

/* Match tables over one snap, and the snap's life with them. */
struct attached_share {
	atomic_uint refs;
	struct snap *snap;
	struct match *match;
	struct authz *authz;
	struct tokens *tokens;
	struct chash **hashes;          /* parallel to snap->clusters; NULL where none */
};

/* Cgroups looked for and found to be no workload's: asked once, not for each connection. */
struct attached_strangers {
	_Atomic uint64_t v[8];
	atomic_uint next;
};

static bool is_hashed(const struct snap_cluster *c)
{
	return c->lb == SNAP_LB_RING_HASH || c->lb == SNAP_LB_MAGLEV;
}

static struct chash **make_hashes(const struct snap *s)
{
	struct chash **v = kv_zalloc((s->clusters.n + 1) * sizeof(*v));

	for (size_t i = 0; i < s->clusters.n; i++)
		v[i] = is_hashed(&s->clusters.v[i]) ? chash_new(&s->clusters.v[i]) : NULL;
	return v;
}

static int share_new(struct snap *snap, struct attached_share **ret, struct err *err)
{
	struct match *m = NULL;
	struct authz *z = NULL;
	int r = authz_new(snap, &z, err);

	if (r == 0)
		r = match_new(snap, &m, err);
	if (r < 0) {
		authz_free(z);
		return r;
	}
	struct attached_share *s = kv_zalloc(sizeof(*s));

	atomic_init(&s->refs, 1);
	s->snap = snap_ref(snap);
	s->match = m;
	s->authz = z;
	s->tokens = tokens_new(snap);
	s->hashes = make_hashes(snap);
	*ret = s;
	return 0;
}

static void share_unref(struct attached_share *s)
{
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	match_free(s->match);
	authz_free(s->authz);
	tokens_free(s->tokens);
	for (size_t i = 0; i < s->snap->clusters.n; i++)
		chash_free(s->hashes[i]);
	free(s->hashes);
	snap_unref(s->snap);
	free(s);
}

/* ---- what a snapshot names ----------------------------------------------------------------- */

static void *index_value(size_t i)
{
	return (void *)(uintptr_t)(i + 1);
}

/* What the router took out and put back begins anew, as what it adds. */
static void note_activity(struct endpoint_state *e, bool inactive)
{
	if (e->was_inactive && !inactive)
		atomic_store_explicit(&e->since_us, clock_mono_us(), memory_order_relaxed);
	e->was_inactive = inactive;
}

static const struct sock_addr *alternate(struct attached *at, struct str address, int64_t port)
{
	struct sock_addr a;

	if (address.n == 0 || !sock_addr_parse(address, (uint16_t)port, &a))
		return NULL;
	struct sock_addr *kept = arena_new(&at->arena, struct sock_addr);

	*kept = a;
	return kept;
}

static void attach_endpoint(struct attach_state *st, struct attached *at,
			    const struct snap_cluster *c, size_t i, struct attached_endpoint *to, bool late)
{
	const struct snap_endpoint *e = &c->endpoints.v[i];
	struct str key = arena_printf(&at->arena, "%.*s|%.*s:%lld", STR_ARG(c->name),
				      STR_ARG(e->address), (long long)e->port);

	to->state = attach_state_endpoint(st, key, late);
	note_activity(to->state, e->inactive);
	/* A name stays unresolved here: len 0. */
	if (!sock_addr_parse(e->address, (uint16_t)e->port, &to->plain))
		to->plain.len = 0;
	if (e->mesh_port <= 0 ||
	    !sock_addr_parse(e->mesh_address, (uint16_t)e->mesh_port, &to->mesh))
		to->mesh.len = 0;
	to->alternate = alternate(at, e->alternate, e->port);
	if (to->mesh.len > 0 && str_eq(e->mesh_address, e->address))
		to->mesh_alternate = alternate(at, e->alternate, e->mesh_port);
}

static size_t count_levels(const struct snap_cluster *c)
{
	int64_t highest = 0;

	for (size_t i = 0; i < c->endpoints.n; i++)
		highest = c->endpoints.v[i].priority > highest ? c->endpoints.v[i].priority : highest;
	return (size_t)highest + 1;
}

static void attach_clusters(struct attach_state *st, struct attached *at)
{
	const struct snap *s = at->snap;

	at->clusters = arena_new_n(&at->arena, struct attached_cluster, s->clusters.n);
	for (size_t i = 0; i < s->clusters.n; i++) {
		const struct snap_cluster *c = &s->clusters.v[i];
		struct attached_cluster *to = &at->clusters[i];
		bool late = attach_state_has_cluster(st, c->name);

		to->state = attach_state_cluster(st, c);
		to->hash = at->share->hashes[i];
		to->n = c->endpoints.n;
		to->n_levels = count_levels(c);
		to->endpoints = arena_new_n(&at->arena, struct attached_endpoint, to->n);
		for (size_t k = 0; k < to->n; k++)
			attach_endpoint(st, at, c, k, &to->endpoints[k], late);
	}
}

static void attach_identities(struct attached *at, const struct map *identities)
{
	const struct str_list *ids = &at->snap->identities;

	at->identities = arena_new_n(&at->arena, struct tls_identity *, ids->n);
	for (size_t i = 0; i < ids->n; i++) {
		struct tls_identity *id = identities ? map_get(identities, ids->v[i]) : NULL;

		at->identities[i] = id ? tls_identity_ref(id) : NULL;
		at->n_missing += id == NULL;
	}
}

static bool is_same_workload(const struct snap_peer *a, const struct snap_peer *b)
{
	return str_eq(a->name, b->name) && str_eq(a->ns, b->ns);
}

/* A service account that several workloads share names none of them. */
static void attach_peers(struct attached *at)
{
	const struct snap *s = at->snap;
	struct map shared;

	map_init(&shared);
	for (size_t i = 0; i < s->peers.n; i++) {
		struct snap_peer *p = &s->peers.v[i];
		struct str name =
			arena_printf(&at->arena, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns));

		if (!map_has(&at->peers_by_name, name))
			map_put(&at->peers_by_name, name, p);
		if (p->principal.n == 0)
			continue;
		struct snap_peer *first = map_get(&at->peers_by_principal, p->principal);

		if (!first)
			map_put(&at->peers_by_principal, p->principal, p);
		else if (!is_same_workload(first, p))
			map_put(&shared, p->principal, p);
	}
	for (struct map_entry *e = map_first(&shared); e; e = map_next(&shared, e))
		map_del(&at->peers_by_principal, e->key);
	map_done(&shared);
}

/* By the address, however the snapshot spells it; of several the first counts. */
static void put_addr(struct attached *at, struct map *m, const struct sock_addr *addr, size_t i)
{
	char text[SOCK_ADDR_TEXT_MAX];

	if (!map_has(m, str_c(sock_addr_text(addr, text))))
		map_put(m, arena_str(&at->arena, str_c(text)), index_value(i));
}

static uintptr_t find_addr(const struct map *m, const struct sock_addr *addr)
{
	char text[SOCK_ADDR_TEXT_MAX];

	return (uintptr_t)map_get(m, str_c(sock_addr_text(addr, text)));
}

static struct str port_text(char text[static STR_U64_MAX], int64_t port)
{
	return str_from(text, str_put_u64(text, (uint64_t)port));
}

static void put_captured(struct attached *at, const struct snap_inbound *in, size_t i)
{
	char text[STR_U64_MAX];
	struct str key = port_text(text, in->port);

	if (map_has(&at->inbound_by_port, key))
		map_put(&at->inbound_by_port, key, NULL);
	else
		map_put(&at->inbound_by_port, arena_str(&at->arena, key), index_value(i));
}

static void attach_names(struct attached *at)
{
	const struct snap *s = at->snap;
	struct sock_addr addr;

	for (size_t i = 0; i < s->snis.n; i++)
		map_put(&at->snis, s->snis.v[i].name, index_value(i));
	for (size_t i = 0; i < s->inbounds.n; i++) {
		const struct snap_inbound *in = &s->inbounds.v[i];

		if (sock_addr_parse(in->address, (uint16_t)in->port, &addr))
			put_addr(at, &at->inbound_by_addr, &addr, i);
		if (attach_application_addr(in, &addr))
			put_addr(at, &at->inbound_by_application, &addr, i);
		if (in->captured)
			put_captured(at, in, i);
	}
}

const struct snap_inbound *attach_inbound_at(const struct attached *at, const struct sock_addr *dst)
{
	uintptr_t i = find_addr(&at->inbound_by_addr, dst);

	return i > 0 ? &at->snap->inbounds.v[i - 1] : NULL;
}

const struct snap_inbound *attach_captured_at(const struct attached *at, const struct sock_addr *dst)
{
	const struct snap_inbound *in = attach_inbound_at(at, dst);
	char text[STR_U64_MAX];

	if (in)
		return in->captured ? in : NULL;
	uintptr_t i = (uintptr_t)map_get(&at->inbound_by_port, port_text(text, sock_addr_port(dst)));

	return i > 0 ? &at->snap->inbounds.v[i - 1] : NULL;
}

bool attach_is_application(const struct attached *at, const struct sock_addr *addr)
{
	return find_addr(&at->inbound_by_application, addr) > 0 || attach_captured_at(at, addr);
}

bool attach_application_addr(const struct snap_inbound *in, struct sock_addr *ret)
{
	const struct snap_application *a = in->application;

	return a && a->address.n > 0 ? sock_addr_parse(a->address, (uint16_t)a->port, ret)
				     : sock_addr_parse(in->address, (uint16_t)in->port, ret);
}

static void attach_gateway(struct attach_state *st, struct attached *at,
			   const struct snap_listener *l)
{
	struct attached_gateway *g = &at->gateways[at->n_gateways++];
	char text[SOCK_ADDR_TEXT_MAX];
	struct sock_addr addr;

	g->desc = l;
	g->servers = arena_new_n(&at->arena, struct server_state *, l->servers.n);
	for (size_t i = 0; i < l->servers.n; i++)
		g->servers[i] = attach_state_server(st, &l->servers.v[i]);
	if (sock_addr_parse(l->address, (uint16_t)l->port, &addr))
		map_put(&at->gateway_by_addr,
			arena_str(&at->arena, str_c(sock_addr_text(&addr, text))), g);
}

static void attach_gateways(struct attach_state *st, struct attached *at)
{
	const struct snap *s = at->snap;

	at->gateways = arena_new_n(&at->arena, struct attached_gateway, s->listeners.n);
	for (size_t i = 0; i < s->listeners.n; i++)
		if (s->listeners.v[i].kind == SNAP_LISTENER_GATEWAY)
			attach_gateway(st, at, &s->listeners.v[i]);
}

static void note_listed(struct attached *at, struct tls_ctx *c, size_t *cap)
{
	if (!c || !tls_ctx_is_listed(c))
		return;
	if (at->n_listed == *cap) {
		struct tls_ctx **more = arena_new_n(&at->arena, struct tls_ctx *, *cap = *cap * 2 + 8);

		for (size_t i = 0; i < at->n_listed; i++)
			more[i] = at->listed[i];
		at->listed = more;
	}
	at->listed[at->n_listed++] = c;
}

/* Kept by their states. */
static void attach_listed(struct attached *at)
{
	size_t cap = 0;

	for (size_t i = 0; i < at->snap->clusters.n; i++)
		note_listed(at, at->clusters[i].state->tls, &cap);
	for (size_t i = 0; i < at->n_gateways; i++)
		for (size_t k = 0; k < at->gateways[i].desc->servers.n; k++)
			note_listed(at, at->gateways[i].servers[k]->tls, &cap);
}

bool attach_is_outdated(const struct attached *a)
{
	for (size_t i = 0; i < a->snap->clusters.n; i++)
		if (!attach_state_cluster_is_current(a->clusters[i].state, &a->snap->clusters.v[i]))
			return true;
	for (size_t i = 0; i < a->n_gateways; i++) {
		const struct attached_gateway *g = &a->gateways[i];

		for (size_t k = 0; k < g->desc->servers.n; k++)
			if (!attach_state_is_current(g->servers[k], &g->desc->servers.v[k]))
				return true;
	}
	return false;
}

/* ---- local callers ------------------------------------------------------------------------- */

static uid_t resolve_user(struct arena *a, struct str user)
{
	struct passwd pw, *found = NULL;
	char buf[4096];
	uint64_t n;

	if (user.n == 0)
		return (uid_t)-1;
	if (str_to_u64(user, &n))
		return n < UINT32_MAX ? (uid_t)n : (uid_t)-1;
	const char *name = arena_str(a, user).p;
	int r = getpwnam_r(name, &pw, buf, sizeof(buf), &found);

	if (!found)
		log_warn("user %s of a workload: %s", name,
			 r != 0 ? strerror(r) : "there is no such user");
	return found ? found->pw_uid : (uid_t)-1;
}

/* A connection's owner is told by user and cgroup; which program it runs is not. */
static bool is_proved_by_owner(const struct snap_workload *w)
{
	return w->executable.n == 0 && w->executable_sha256.n == 0;
}

static void attach_workloads(struct attached *at)
{
	const struct snap *s = at->snap;
	const char *root = cgroup_root();

	at->uids = arena_new_n(&at->arena, uid_t, s->workloads.n);
	at->cgroups = arena_new_n(&at->arena, _Atomic uint64_t, s->workloads.n);
	at->strangers = arena_new(&at->arena, struct attached_strangers);
	for (size_t i = 0; i < s->workloads.n; i++) {
		const struct snap_workload *w = &s->workloads.v[i];

		at->uids[i] = (uid_t)-1;
		if (!is_proved_by_owner(w))
			continue;
		at->uids[i] = resolve_user(&at->arena, w->user);
		at->tells_callers = at->tells_callers || at->uids[i] != (uid_t)-1 || w->unit.n > 0;
		if (w->unit.n > 0)
			atomic_init(&at->cgroups[i],
				    cgroup_of_unit(root, arena_str(&at->arena, w->unit).p));
	}
}

static bool is_stranger(const struct attached *at, uint64_t id)
{
	for (size_t i = 0; i < 8; i++)
		if (atomic_load_explicit(&at->strangers->v[i], memory_order_relaxed) == id)
			return true;
	return false;
}

/* The unit may have been restarted since, or the process may be in a cgroup below it. */
static int64_t search_unit(const struct attached *at, uint64_t id)
{
	const struct snap *s = at->snap;
	const char *root = cgroup_root();
	char unit[256];

	for (size_t i = 0; i < s->workloads.n; i++) {
		struct str u = s->workloads.v[i].unit;

		if (u.n == 0 || u.n >= sizeof(unit) || !is_proved_by_owner(&s->workloads.v[i]))
			continue;
		memcpy(unit, u.p, u.n);
		unit[u.n] = '\0';
		if (!cgroup_unit_has(root, unit, id))
			continue;
		if (cgroup_of_unit(root, unit) == id)
			atomic_store_explicit(&at->cgroups[i], id, memory_order_relaxed);
		return (int64_t)i;
	}
	unsigned slot = atomic_fetch_add_explicit(&at->strangers->next, 1, memory_order_relaxed);

	atomic_store_explicit(&at->strangers->v[slot % 8], id, memory_order_relaxed);
	return -1;
}

static int64_t caller_by_cgroup(const struct attached *at, uint64_t id)
{
	for (size_t i = 0; i < at->snap->workloads.n; i++)
		if (atomic_load_explicit(&at->cgroups[i], memory_order_relaxed) == id)
			return (int64_t)i;
	return is_stranger(at, id) ? -1 : search_unit(at, id);
}

int64_t attach_caller(const struct attached *at, const struct sock_owner *owner)
{
	const struct snap *s = at->snap;
	bool has_cgroup = owner && owner->cgroup_id != 0;
	int64_t found = has_cgroup ? caller_by_cgroup(at, owner->cgroup_id) : -1;

	if (found >= 0)
		return found;
	/* A workload that is a unit is never proved by its user alone while the kernel tells
	 * cgroups. */
	for (size_t i = 0; owner && i < s->workloads.n; i++)
		if (at->uids[i] != (uid_t)-1 && at->uids[i] == owner->uid &&
		    (s->workloads.v[i].unit.n == 0 || !has_cgroup))
			return (int64_t)i;
	return s->settings.refuse_unregistered ? -1 : 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

int attach_new(struct attach_state *st, struct snap *snap, const struct map *identities,
	       struct attached *prev, struct attached **ret, struct err *err)
{
	struct attached_share *share;

	if (prev && prev->snap == snap) {
		share = prev->share;
		atomic_fetch_add_explicit(&share->refs, 1, memory_order_relaxed);
	} else {
		int r = share_new(snap, &share, err);

		if (r < 0)
			return r;
	}
	struct attached *at = kv_zalloc(sizeof(*at));

	arena_init(&at->arena, 16u << 10);
	atomic_init(&at->refs, 1);
	at->share = share;
	at->snap = snap;                /* kept by the share */
	at->match = share->match;
	at->authz = share->authz;
	at->tokens = share->tokens;
	map_init(&at->snis);
	map_init(&at->peers_by_name);
	map_init(&at->peers_by_principal);
	map_init(&at->inbound_by_addr);
	map_init(&at->inbound_by_application);
	map_init(&at->inbound_by_port);
	map_init(&at->gateway_by_addr);
	attach_clusters(st, at);
	attach_gateways(st, at);
	attach_listed(at);
	attach_identities(at, identities);
	attach_peers(at);
	attach_names(at);
	attach_workloads(at);
	*ret = at;
	return 0;
}

struct attached *attach_ref(struct attached *a)
{
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

void attach_unref(struct attached *a)
{
	if (!a || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < a->snap->clusters.n; i++) {
		for (size_t k = 0; k < a->clusters[i].n; k++)
			endpoint_state_unref(a->clusters[i].endpoints[k].state);
		cluster_state_unref(a->clusters[i].state);
	}
	for (size_t i = 0; i < a->snap->identities.n; i++)
		if (a->identities[i])
			tls_identity_unref(a->identities[i]);
	tls_trust_unref(a->trust);
	map_done(&a->snis);
	map_done(&a->peers_by_name);
	map_done(&a->peers_by_principal);
	map_done(&a->inbound_by_addr);
	map_done(&a->inbound_by_application);
	map_done(&a->inbound_by_port);
	map_done(&a->gateway_by_addr);
	for (size_t i = 0; i < a->n_gateways; i++)
		for (size_t k = 0; k < a->gateways[i].desc->servers.n; k++)
			server_state_unref(a->gateways[i].servers[k]);
	residency_free(a->residency);
	egress_base_unref(a->base);
	share_unref(a->share);
	arena_done(&a->arena);
	free(a);
}
