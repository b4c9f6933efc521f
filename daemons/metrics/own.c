/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own: families that no proxy tells: how the scrapes went, router and CA, the host, this process.
 * Layer metrics.
 */
#include "config.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "metrics/scrape_int.h"

/* ---- router and CA ------------------------------------------------------------------------- */

static bool parse_time(struct str s, double *ret)
{
	char text[64];
	struct tm tm = { 0 };

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (!strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return false;
	*ret = (double)timegm(&tm);
	return true;
}

static void add_router(struct prom *p, const struct doc *d)
{
	static const char *const states[] = { "SYNCED", "STALE", "NOT SENT" };
	const struct doc *proxies = doc_get(d, STR("proxies"));
	double n[3] = { 0 };

	prom_set(p, "kvmesh_router_generation", PROM_GAUGE,
		 "Generation of the configuration in force.", NULL,
		 (double)doc_get_int(d, "generation", 0));
	prom_set(p, "kvmesh_router_files", PROM_GAUGE, "Configuration files read.", NULL,
		 (double)doc_get_int(d, "files", 0));
	prom_set(p, "kvmesh_router_resources", PROM_GAUGE, "Resources in force.", NULL,
		 (double)doc_get_int(d, "resources", 0));
	prom_set(p, "kvmesh_router_last_reload_successful", PROM_GAUGE,
		 "Whether the files could be used when they were last read.", NULL,
		 doc_get_bool(doc_get(d, STR("lastReload")), "ok", false));
	for (size_t i = 0; proxies && proxies->kind == DOC_LIST && i < proxies->n; i++)
		for (size_t k = 0; k < 3; k++)
			n[k] += str_eq(doc_get_str(proxies->v[i], "state", STR("")),
				       str_c(states[k]));
	for (size_t k = 0; k < 3; k++)
		prom_set(p, "kvmesh_router_proxies", PROM_GAUGE,
			 "Proxies by how far their snapshot is.",
			 (const struct prom_label[]){ { "state", str_c(states[k]) }, { 0 } }, n[k]);
}

static void add_ca(struct prom *p, const struct doc *d)
{
	static const char *const names[] = { "root", "issuer" };
	double t;

	prom_set(p, "kvmesh_ca_certificates_issued_total", PROM_COUNTER, "Certificates signed.",
		 NULL, (double)doc_get_int(d, "issued", 0));
	prom_set(p, "kvmesh_ca_identities", PROM_GAUGE, "Identities that may have a certificate.",
		 NULL, (double)doc_get_int(d, "identities", 0));
	for (size_t i = 0; i < 2; i++)
		if (parse_time(doc_get_str(doc_get(d, str_c(names[i])), "notAfter", STR("")), &t))
			prom_set(p, "kvmesh_ca_expiry_timestamp_seconds", PROM_GAUGE,
				 "When the CA's own certificates expire.",
				 (const struct prom_label[]){ { "certificate", str_c(names[i]) },
							      { 0 } },
				 t);
}

void own_add_status(struct prom *p, const struct target *t, const struct doc *status)
{
	if (t->kind == TARGET_ROUTER)
		add_router(p, status);
	else
		add_ca(p, status);
}

/* ---- the host and this process ------------------------------------------------------------- */

/* The n-th word behind the first, of the first line of a file of /proc. */
static bool read_word(const char *path, size_t n, double *ret)
{
	char *text;
	size_t size;
	struct str rest, word, line;
	uint64_t v = 0;
	bool ok = true;

	if (fs_read(path, 1u << 20, &text, &size, NULL) < 0)
		return false;
	rest = str_from(text, size);
	(void)str_split(&rest, '\n', &line);
	for (size_t i = 0; ok && i <= n; ) {
		ok = str_split(&line, ' ', &word);
		i += word.n > 0;        /* columns may be padded */
	}
	ok = ok && str_to_u64(word, &v);
	free(text);
	*ret = (double)v;
	return ok;
}

/* Absent where the unit hides /proc/stat (ProcSubset=pid). */
static void add_host(struct prom *p)
{
	double ticks;

	if (read_word("/proc/stat", 8, &ticks))
		prom_set(p, "kvmesh_node_cpu_steal_seconds_total", PROM_COUNTER,
			 "CPU time that the host gave to others while this machine wanted it.",
			 NULL, ticks / (double)sysconf(_SC_CLK_TCK));
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void add_process(const struct scrape *s, struct prom *p)
{
	const struct prom_label labels[] = { { "app", STR("kvmesh-metrics") },
					     { "proxy", STR("") },
					     { 0 } };
	struct rusage use = { 0 };
	double pages;

	(void)getrusage(RUSAGE_SELF, &use);
	prom_set(p, "process_cpu_seconds_total", PROM_COUNTER, "User and system CPU time spent.",
		 labels, seconds(use.ru_utime) + seconds(use.ru_stime));
	if (read_word("/proc/self/statm", 1, &pages))
		prom_set(p, "process_resident_memory_bytes", PROM_GAUGE, "Resident memory.", labels,
			 pages * (double)sysconf(_SC_PAGESIZE));
	prom_set(p, "process_start_time_seconds", PROM_GAUGE, "When the process started.", labels,
		 (double)s->started_real_us / 1e6);
}

/* ---- the scrapes --------------------------------------------------------------------------- */

static void add_target(const struct target *t, struct prom *p)
{
	static const char *const kinds[] = { "kvmesh-proxy", "kvmesh-router", "kvmesh-ca" };
	const struct prom_label labels[] = { { "app", str_c(kinds[t->kind]) },
					     { "proxy",
					       t->kind == TARGET_PROXY ? str_c(t->name) : STR("") },
					     { 0 } };

	prom_set(p, "kvmesh_up", PROM_GAUGE, "1: the daemon answered this scrape.", labels, t->ok);
	if (t->ok)
		prom_set(p, "kvmesh_scrape_duration_seconds", PROM_GAUGE,
			 "How long the daemon took to answer.", labels, (double)t->took_us / 1e6);
}

void own_add(const struct scrape *s, struct prom *p)
{
	list_for_each(it, &s->targets)
		add_target(list_entry(it, struct target, node), p);
	prom_set(p, "kvmesh_scrape_failures_total", PROM_COUNTER,
		 "Answers that did not come in time.", NULL, (double)s->n_failures);
	add_host(p);
	add_process(s, p);
}
