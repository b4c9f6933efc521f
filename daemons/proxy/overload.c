/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload: the level of this process, see overload.h; overload_worker.c is what follows from it.
 * Layer proxy. Each resource has its level; the highest counts. Connections and descriptors never
 * ask for more than OVERLOAD_SHED: what is refused then is new connections, not the requests of
 * those that are in.
 */
#include "config.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop.h"
#include "io/cgroup.h"
#include "proxy/families.h"
#include "proxy/gate.h"
#include "proxy/overload.h"
#include "proxy/worker.h"

#define TICK_US (250u * 1000)
#define TRIM_TICKS 4u                   /* memory goes back to the kernel at most once a second */
#define RESERVE_BYTES (1u << 20)
#define CONNECTIONS_WANTED 10000u       /* security-model L4 */
#define TIGHT_IDLE_US (10ll * 1000 * 1000)
#define SHED_IDLE_US (1ll * 1000 * 1000)

const char *const overload_level_names[OVERLOAD_LEVEL__N] = {
	[OVERLOAD_NONE] = "normal", [OVERLOAD_TRIM] = "trim", [OVERLOAD_TIGHT] = "tight",
	[OVERLOAD_SHED] = "shed", [OVERLOAD_FULL] = "full",
};

const char *const overload_resource_names[OVERLOAD_RESOURCE__N] = {
	[OVERLOAD_MEMORY] = "memory", [OVERLOAD_CONNECTIONS] = "connections",
	[OVERLOAD_DESCRIPTORS] = "descriptors",
};

struct meter {
	uint64_t used, limit;           /* limit 0: none */
	enum overload_level level, highest;
};

struct overload {
	struct worker_set *ws;
	struct loop_timer tick;
	const char *cgroups;            /* mount point, NULL none */
	char *own;                      /* our cgroup, NULL none */
	uint64_t machine_limit;         /* of memory, when the configuration says nothing */
	struct meter meters[OVERLOAD_RESOURCE__N];
	enum overload_level level;
	uint64_t changes;
	unsigned ticks;
};

/* ---- levels ---------------------------------------------------------------------------------- */

enum overload_level overload_next(enum overload_level now, uint64_t permille)
{
	static const uint64_t up[OVERLOAD_LEVEL__N] = { 0, 700, 850, 920, 950 };
	static const uint64_t down[OVERLOAD_LEVEL__N] = { 0, 650, 800, 870, 850 };
	enum overload_level level = OVERLOAD_FULL;

	while (permille < up[level])
		level--;
	return level < now && permille >= down[now] ? now : level;
}

uint64_t overload_idle_us(enum overload_level level, int64_t configured_us)
{
	int64_t most = level >= OVERLOAD_SHED ? SHED_IDLE_US :
		       level >= OVERLOAD_TIGHT ? TIGHT_IDLE_US : configured_us;

	return (uint64_t)(most < configured_us ? most : configured_us);
}

static void tell_workers(struct overload *o)
{
	for (size_t i = 0; i < worker_count(o->ws); i++)
		overload_tell(worker_at(o->ws, i), o->level);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static struct str own_of(const struct overload *o)
{
	return o->own ? str_c(o->own) : STR_NULL;
}

static void measure(struct overload *o)
{
	struct meter *m = o->meters;
	struct gate *g = worker_gate(o->ws);

	m[OVERLOAD_MEMORY].used = overload_memory_used(o->cgroups, own_of(o));
	m[OVERLOAD_CONNECTIONS].used = atomic_load_explicit(&g->conns, memory_order_relaxed);
	m[OVERLOAD_DESCRIPTORS].used = overload_descriptors();
}

static enum overload_level level_of(struct meter *m)
{
	uint64_t permille = m->limit > 0 ? m->used * 1000 / m->limit : 0;
	enum overload_level level = overload_next(m->level, permille);

	m->level = level < m->highest ? level : m->highest;
	return m->level;
}

/* An allocation failed and lived on the reserve: nothing more may come in until there is another. */
static void look_after_reserve(struct overload *o)
{
	if (!kv_reserve(RESERVE_BYTES))
		o->meters[OVERLOAD_MEMORY].level = OVERLOAD_FULL;
}

static void report(const struct overload *o, enum overload_level before)
{
	const struct meter *worst = &o->meters[0];

	for (size_t i = 1; i < OVERLOAD_RESOURCE__N; i++)
		if (o->meters[i].level > worst->level)
			worst = &o->meters[i];
	log_warn("overload: level %s after %s: %s, %llu of %llu", overload_level_names[o->level],
		 overload_level_names[before], overload_resource_names[worst - o->meters],
		 (unsigned long long)worst->used, (unsigned long long)worst->limit);
}

static void on_tick(void *arg)
{
	struct overload *o = arg;
	enum overload_level before = o->level, now = OVERLOAD_NONE;

	measure(o);
	for (size_t i = 0; i < OVERLOAD_RESOURCE__N; i++)
		now = level_of(&o->meters[i]) > now ? o->meters[i].level : now;
	if (kv_reserve_was_used()) {
		log_err("overload: an allocation failed and was served from the reserve");
		now = OVERLOAD_FULL;
	}
	look_after_reserve(o);
	o->level = now;
	if (now != before) {
		o->changes++;
		report(o, before);
	}
	if (now != before || (now > OVERLOAD_NONE && o->ticks % TRIM_TICKS == 0))
		tell_workers(o);
	/* What the order before this one let go of. */
	if (o->meters[OVERLOAD_MEMORY].level > OVERLOAD_NONE && o->ticks % TRIM_TICKS == 1)
		(void)malloc_trim(0);
	o->ticks++;
	loop_timer_set(&o->tick, TICK_US);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* Nobody says: half of the machine, so that the workloads have the other half. */
static uint64_t half_of_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 2 : 0;
}

static unsigned or_default(int64_t v, uint64_t dflt)
{
	uint64_t n = v > 0 ? (uint64_t)v : dflt;

	return n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

void overload_configure(struct overload *o, const struct snap_settings *set)
{
	struct gate *g = worker_gate(o->ws);
	uint64_t max_fds = o->meters[OVERLOAD_DESCRIPTORS].limit;
	unsigned conns = or_default(set->max_total_connections, max_fds / 2);

	if (conns > max_fds)
		log_warn("overload: %u connections are allowed, but only %llu descriptors", conns,
			 (unsigned long long)max_fds);
	o->meters[OVERLOAD_CONNECTIONS].limit = conns;
	o->meters[OVERLOAD_MEMORY].limit =
		set->max_memory_bytes > 0 ? (uint64_t)set->max_memory_bytes : o->machine_limit;
	atomic_store_explicit(&g->max_conns, conns, memory_order_relaxed);
	atomic_store_explicit(&g->max_handshakes, or_default(set->max_handshakes, GATE_HANDSHAKES),
			      memory_order_relaxed);
	atomic_store_explicit(&g->max_per_source,
			      or_default(set->max_handshakes_per_source, GATE_HANDSHAKES_PER_SOURCE),
			      memory_order_relaxed);
}

static void learn_machine(struct overload *o)
{
	uint64_t max_fds = overload_descriptor_limit();

	o->cgroups = cgroup_root();
	o->own = overload_own_cgroup();
	o->machine_limit = o->cgroups ? overload_memory_limit(o->cgroups, own_of(o)) : 0;
	if (o->machine_limit == 0)
		o->machine_limit = half_of_memory();
	o->meters[OVERLOAD_DESCRIPTORS].limit = max_fds;
	if (max_fds / 2 < CONNECTIONS_WANTED)
		log_warn("overload: %llu descriptors allow %llu connections, fewer than the %u that are wanted; "
			 "raise LimitNOFILE", (unsigned long long)max_fds, (unsigned long long)max_fds / 2,
			 CONNECTIONS_WANTED);
	log_info("overload: up to %llu MiB of memory, %llu descriptors",
		 (unsigned long long)o->machine_limit >> 20, (unsigned long long)max_fds);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct overload *overload_new(struct loop *control, struct worker_set *ws)
{
	struct overload *o = kv_zalloc(sizeof(*o));

	o->ws = ws;
	o->meters[OVERLOAD_MEMORY].highest = OVERLOAD_FULL;
	o->meters[OVERLOAD_CONNECTIONS].highest = OVERLOAD_SHED;
	o->meters[OVERLOAD_DESCRIPTORS].highest = OVERLOAD_SHED;
	learn_machine(o);
	overload_configure(o, &(struct snap_settings){ 0 });
	(void)kv_reserve(RESERVE_BYTES);
	loop_timer_init(&o->tick, control, on_tick, o);
	loop_timer_set(&o->tick, TICK_US);
	return o;
}

void overload_free(struct overload *o)
{
	if (!o)
		return;
	loop_timer_done(&o->tick);
	free(o->own);
	free(o);
}

/* ---- what is told ---------------------------------------------------------------------------- */

static void write_meters(const struct overload *o, struct str proxy, struct families *f)
{
	struct families_labels labels = FAMILIES_LABELS("proxy", "resource");

	families_begin(f, "kvmesh_overload_used", FAMILIES_GAUGE,
		       "Bytes of memory, connections and descriptors in use.", labels);
	for (size_t i = 0; i < OVERLOAD_RESOURCE__N; i++)
		families_row_int(f, (struct str[]){ proxy, str_c(overload_resource_names[i]) },
				 (int64_t)o->meters[i].used);
	families_end(f);
	families_begin(f, "kvmesh_overload_limit", FAMILIES_GAUGE,
		       "Limit that kvmesh_overload_used is measured against.", labels);
	for (size_t i = 0; i < OVERLOAD_RESOURCE__N; i++)
		families_row_int(f, (struct str[]){ proxy, str_c(overload_resource_names[i]) },
				 (int64_t)o->meters[i].limit);
	families_end(f);
}

void overload_write_families(const struct overload *o, struct str proxy, struct families *f)
{
	const struct gate *g = worker_gate(o->ws);

	families_begin(f, "kvmesh_overload_level", FAMILIES_GAUGE,
		       "0 normal, 1 trim, 2 tight, 3 shed, 4 full.", FAMILIES_LABELS("proxy"));
	families_row_int(f, &proxy, o->level);
	families_end(f);
	families_begin(f, "kvmesh_overload_level_changes_total", FAMILIES_COUNTER,
		       "How often the level changed.", FAMILIES_LABELS("proxy"));
	families_row_int(f, &proxy, (int64_t)o->changes);
	families_end(f);
	families_begin(f, "kvmesh_tls_handshakes_pending", FAMILIES_GAUGE,
		       "TLS handshakes of clients and peers that are not finished.",
		       FAMILIES_LABELS("proxy"));
	families_row_int(f, &proxy, atomic_load_explicit(&g->handshakes, memory_order_relaxed));
	families_end(f);
	write_meters(o, proxy, f);
}
