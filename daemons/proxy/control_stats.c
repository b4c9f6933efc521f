/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_stats: the families that only the control thread knows: build, configuration,
 * certificates, breakers, the process. Layer proxy.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"
#include "proxy/control_int.h"
#include "proxy/families.h"

#ifndef KVMESH_COMMIT
#define KVMESH_COMMIT "unknown"         /* a release: the version says it all */
#endif

struct gauge {
	const char *name;
	enum families_kind kind;
	const char *help;
	double value;
};

static void write_gauges(struct families *f, const struct gauge *v, size_t n,
			 struct families_labels labels, const struct str *values)
{
	for (size_t i = 0; i < n; i++) {
		families_begin(f, v[i].name, v[i].kind, v[i].help, labels);
		families_row_real(f, values, v[i].value);
		families_end(f);
	}
}

static void write_build(struct families *f, struct str proxy)
{
	const struct gauge build = { "kvmesh_build_info", FAMILIES_GAUGE,
				     "Which build runs; always 1.", 1 };
	const struct gauge istio = {
		"istio_build", FAMILIES_GAUGE,
		"What Istio's dashboards count versions by; always 1 for each proxy.", 1
	};

	write_gauges(f, &build, 1, FAMILIES_LABELS("proxy", "version", "commit"),
		     (struct str[]){ proxy, STR(PACKAGE_VERSION), STR(KVMESH_COMMIT) });
	write_gauges(f, &istio, 1, FAMILIES_LABELS("component", "tag"),
		     (struct str[]){ STR("proxy"), STR(PACKAGE_VERSION) });
}

static void write_config(struct families *f, const struct control *c, struct str proxy)
{
	const struct gauge v[] = {
		{ "kvmesh_config_generation", FAMILIES_GAUGE,
		  "Version of the snapshot that is served, 0 none.",
		  c->at ? (double)c->at->snap->version : 0 },
		{ "kvmesh_config_last_reload_successful", FAMILIES_GAUGE,
		  "Whether the last snapshot that came was accepted.", c->last_load_ok },
		{ "kvmesh_config_last_reload_success_timestamp_seconds", FAMILIES_GAUGE,
		  "When a snapshot was last accepted.", (double)c->last_ok_real_us / 1e6 },
		{ "kvmesh_config_stale", FAMILIES_GAUGE,
		  "1: served from disk, the router has not confirmed it.", c->stale },
		{ "kvmesh_proxy_ready", FAMILIES_GAUGE,
		  "1: a snapshot is served with live certificates for all its identities.",
		  control_is_ready(c) },
	};

	write_gauges(f, v, sizeof(v) / sizeof(v[0]), FAMILIES_LABELS("proxy"), &proxy);
}

static void write_certificates(struct families *f, const struct control *c, struct str proxy)
{
	struct arena a;

	families_begin(f, "kvmesh_cert_expiry_timestamp_seconds", FAMILIES_GAUGE,
		       "When the certificate of a workload's identity expires.",
		       FAMILIES_LABELS("proxy", "workload"));
	arena_init(&a, 0);
	for (size_t i = 0; c->at && i < c->at->snap->workloads.n; i++) {
		const struct snap_workload *w = &c->at->snap->workloads.v[i];
		const struct snap_peer *p = &c->at->snap->peers.v[w->peer];
		const struct tls_identity *id = map_get(secrets_identities(c->secrets),
							c->at->snap->identities.v[w->identity]);
		struct str name = arena_printf(&a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns));

		if (id)
			families_row_int(f, (struct str[]){ proxy, name },
					 tls_identity_not_after(id));
	}
	arena_done(&a);
	families_end(f);
}

static void write_breakers(struct families *f, const struct control *c, struct str proxy)
{
	families_begin(f, "kvmesh_upstream_overflow_total", FAMILIES_COUNTER,
		       "Requests and connections refused by a circuit breaker.",
		       FAMILIES_LABELS("proxy", "cluster"));
	for (size_t i = 0; c->at && i < c->at->snap->clusters.n; i++) {
		uint64_t n = atomic_load_explicit(&c->at->clusters[i].state->overflow,
						  memory_order_relaxed);

		if (n > 0)
			families_row_int(f,
					 (struct str[]){ proxy, c->at->snap->clusters.v[i].name },
					 (int64_t)n);
	}
	families_end(f);
}

/* Of those that are endpoints of something here; by name, for they are peers once. */
static void write_workloads(struct families *f, const struct control *c, struct str proxy)
{
	const struct snap *s = c->at ? c->at->snap : NULL;
	signed char *up = s ? kv_malloc(s->peers.n + 1) : NULL;
	struct arena a;

	families_begin(f, "kvmesh_workload_available", FAMILIES_GAUGE,
		       "1: it is given work; 0: its unit is not active, or its probe fails.",
		       FAMILIES_LABELS("proxy", "workload"));
	arena_init(&a, 0);
	for (size_t i = 0; s && i < s->peers.n; i++)
		up[i] = -1;
	for (size_t i = 0; s && i < s->clusters.n; i++)
		for (size_t k = 0; k < s->clusters.v[i].endpoints.n; k++) {
			const struct snap_endpoint *e = &s->clusters.v[i].endpoints.v[k];

			if (e->peer >= 0)
				up[e->peer] = !e->inactive;
		}
	for (size_t i = 0; s && i < s->peers.n; i++) {
		const struct snap_peer *p = &s->peers.v[i];
		struct str name = arena_printf(&a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns));

		if (up[i] >= 0)
			families_row_int(f, (struct str[]){ proxy, name }, up[i]);
	}
	arena_done(&a);
	families_end(f);
	free(up);
}

static void write_late(struct families *f, const struct control *c, struct str proxy)
{
	uint64_t count = 0, us = 0;

	for (size_t i = 0; i < worker_count(c->ws); i++) {
		uint64_t n, t;

		loop_late(worker_at(c->ws, i)->loop, &n, &t);
		count += n;
		us += t;
	}
	const struct gauge v[] = {
		{ "kvmesh_proxy_late_callbacks_total", FAMILIES_COUNTER,
		  "Callbacks of workers that ran longer than 5 ms: our own slowness, not the "
		  "host's.",
		  (double)count },
		{ "kvmesh_proxy_late_callbacks_seconds_total", FAMILIES_COUNTER,
		  "Time spent in callbacks that ran longer than 5 ms.", (double)us / 1e6 },
	};

	write_gauges(f, v, 2, FAMILIES_LABELS("proxy"), &proxy);
}

/* ---- the process --------------------------------------------------------------------------- */

/* Pages in total and resident, from /proc/self/statm. */
static bool read_statm(uint64_t ret[2])
{
	char *text;
	size_t n;
	struct str rest, word;

	if (fs_read("/proc/self/statm", 4096, &text, &n, NULL) < 0)
		return false;
	rest = str_from(text, n);
	bool ok = str_split(&rest, ' ', &word) && str_to_u64(word, &ret[0]) &&
		  str_split(&rest, ' ', &word) && str_to_u64(word, &ret[1]);

	free(text);
	return ok;
}

int64_t control_rss_bytes(void)
{
	uint64_t pages[2];

	return read_statm(pages) ? (int64_t)pages[1] * sysconf(_SC_PAGESIZE) : 0;
}

static double open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n >= 3 ? (double)n - 3 : 0;      /* "." and ".." and the one that reads */
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void write_process(struct families *f, const struct control *c, struct str proxy)
{
	struct rusage use = { 0 };
	struct rlimit lim = { 0 };
	uint64_t pages[2] = { 0, 0 };
	double page = (double)sysconf(_SC_PAGESIZE);

	(void)getrusage(RUSAGE_SELF, &use);
	(void)getrlimit(RLIMIT_NOFILE, &lim);
	(void)read_statm(pages);
	const struct gauge v[] = {
		{ "process_cpu_seconds_total", FAMILIES_COUNTER, "User and system CPU time spent.",
		  seconds(use.ru_utime) + seconds(use.ru_stime) },
		{ "process_resident_memory_bytes", FAMILIES_GAUGE, "Resident memory.",
		  (double)pages[1] * page },
		{ "process_virtual_memory_bytes", FAMILIES_GAUGE, "Virtual memory.",
		  (double)pages[0] * page },
		{ "process_open_fds", FAMILIES_GAUGE, "Open file descriptors.", open_fds() },
		{ "process_max_fds", FAMILIES_GAUGE, "Limit of open file descriptors.",
		  (double)lim.rlim_cur },
		{ "process_start_time_seconds", FAMILIES_GAUGE, "When the process started.",
		  (double)c->started_real_us / 1e6 },
	};

	write_gauges(f, v, sizeof(v) / sizeof(v[0]), FAMILIES_LABELS("app", "proxy"),
		     (struct str[]){ STR("kvmesh-proxy"), proxy });
}

void control_write_families(struct control *c, struct families *f)
{
	struct str proxy = str_c(c->instance);

	write_build(f, proxy);
	write_config(f, c, proxy);
	write_certificates(f, c, proxy);
	write_breakers(f, c, proxy);
	write_workloads(f, c, proxy);
	write_late(f, c, proxy);
	overload_write_families(c->overload, proxy, f);
	write_process(f, c, proxy);
}
