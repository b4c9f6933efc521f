/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale: what a configuration costs: CPU time of reading, checking, compiling it, of writing the
 * snapshot and of loading it as the proxy does, and the memory that the loaded one takes. For
 * tests/bench; scale ETC [ROUNDS] prints one line of JSON, the least of the rounds.
 */
#include "config.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "config/check.h"
#include "config/compile.h"
#include "config/load.h"
#include "core/match.h"

enum part { PART_LOAD, PART_CHECK, PART_COMPILE, PART_DUMP, PART_PARSE, PART_PREPARE, PART__N };
static const char *const names[] = { "load", "check", "compile", "dump", "parse", "prepare" };

struct result {
	double ms[PART__N];
	size_t json_bytes, snap_bytes, clusters, endpoints, vhosts, resources;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static size_t heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void take_time(struct result *r, enum part part, double *start)
{
	double now = now_ms(), took = now - *start;

	r->ms[part] = r->ms[part] == 0 || took < r->ms[part] ? took : r->ms[part];
	*start = now_ms();
}

static void insist(int r, const struct err_list *errs, const char *text)
{
	if (r >= 0)
		return;
	for (size_t i = 0; errs && i < errs->n; i++)
		if (errs->v[i].level == ERR_LEVEL_ERROR)
			text = errs->v[i].text;
	fprintf(stderr, "scale: %s\n", text);
	exit(1);
}

static void count(struct result *r, const struct snap *s)
{
	r->clusters = s->clusters.n;
	r->endpoints = r->vhosts = 0;
	for (size_t i = 0; i < s->clusters.n; i++)
		r->endpoints += s->clusters.v[i].endpoints.n;
	for (size_t i = 0; i < s->views.n; i++)
		r->vhosts += s->views.v[i].vhosts.n;
}

/* The proxy's half. */
static void receive(struct result *r, struct str json)
{
	size_t before = heap_bytes();
	double start = now_ms();
	struct err err = { 0 };
	struct arena a;
	struct snap *s;
	struct match *m;
	struct doc *d;

	arena_init(&a, 1u << 20);
	insist(doc_read_json(json, &a, &d, &err), NULL, err.text);
	insist(snap_read(d, &s, &err), NULL, err.text);
	arena_done(&a);
	take_time(r, PART_PARSE, &start);
	insist(match_new(s, &m, &err), NULL, err.text);
	take_time(r, PART_PREPARE, &start);
	r->snap_bytes = heap_bytes() - before;
	count(r, s);
	match_free(m);
	snap_unref(s);
}

static void once(struct result *r, const char *etc)
{
	const struct model_load_opts opts = { .node_name = "scale", .any_owner = true };
	struct err_list errs;
	struct model *m;
	struct snap *s;
	struct arena a;
	double start = now_ms();

	err_list_init(&errs);
	arena_init(&a, 1u << 20);
	insist(model_load_dir(etc, &opts, &m, &errs), &errs, "cannot be read");
	take_time(r, PART_LOAD, &start);
	insist(model_check(m, &errs), &errs, "is wrong");
	take_time(r, PART_CHECK, &start);
	insist(snap_compile(m, STR("node"), NULL, &s, &errs), &errs, "cannot be compiled");
	take_time(r, PART_COMPILE, &start);
	struct str json = snap_dump(s, &a, false);

	take_time(r, PART_DUMP, &start);
	r->json_bytes = json.n;
	r->resources = 0;
	for (int k = 0; k < MODEL_KIND__N; k++)
		r->resources += m->of[k].n;
	receive(r, json);
	snap_unref(s);
	model_free(m);
	arena_done(&a);
	err_list_done(&errs);
}

int main(int argc, char **argv)
{
	struct result r = { 0 };
	uint64_t rounds = 3;

	if (argc < 2 || (argc > 2 && !str_to_u64(str_c(argv[2]), &rounds))) {
		fprintf(stderr, "usage: scale ETC [ROUNDS]\n");
		return 64;
	}
	for (uint64_t i = 0; i < rounds; i++)
		once(&r, argv[1]);
	printf("{");
	for (int i = 0; i < PART__N; i++)
		printf("\"%s_ms\": %.1f, ", names[i], r.ms[i]);
	printf("\"resources\": %zu, \"vhosts\": %zu, \"clusters\": %zu, \"endpoints\": %zu, "
	       "\"json_bytes\": %zu, \"snapshot_bytes\": %zu}\n",
	       r.resources, r.vhosts, r.clusters, r.endpoints, r.json_bytes, r.snap_bytes);
	return 0;
}
