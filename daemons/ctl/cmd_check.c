/* SPDX-License-Identifier: Apache-2.0 */
/* check: is this node fit, and does the mesh on it work? Layer daemons/ctl. */
#include "config.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/vec.h"
#include "ctl/health.h"
#include "ctl/print.h"

void health_add(struct health *l, enum health_result result, const char *text, const char *why,
	       const char *hint)
{
	struct arena *a = &l->c->arena;

	*vec_push_arena(a, l->v, l->n, l->cap) = (struct health_item){
		.category = l->category,
		.result = why ? result : HEALTH_OK,
		.text = arena_strdup(a, text),
		.why = arena_strdup(a, why),
		.hint = why ? arena_strdup(a, hint) : NULL,
	};
}

size_t health_count(const struct health *l, enum health_result result)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->v[i].result == result;
	return n;
}

/* ---- text ------------------------------------------------------------------------------------ */

static const enum print_style styles[] = { PRINT_GOOD, PRINT_WARN, PRINT_BAD };

static void print_mark(struct ctl *c, enum health_result r)
{
	fprintf(c->out, "%s%s%s", print_esc(c, styles[r]), print_glyph(c, styles[r]),
		print_esc(c, PRINT_PLAIN));
}

static void print_indented(struct ctl *c, const char *text)
{
	struct str rest = str_c(text), line;

	while (rest.p && str_split(&rest, '\n', &line))
		if (line.n > 0)
			fprintf(c->out, "    %.*s\n", STR_ARG(line));
}

static void print_item(struct ctl *c, const struct health_item *i)
{
	print_mark(c, i->result);
	fprintf(c->out, " %s\n", i->text);
	if (i->why)
		print_indented(c, i->why);
	if (i->hint)
		fprintf(c->out, "    see %s\n", i->hint);
}

static void print_text(const struct health *l)
{
	struct ctl *c = l->c;
	const char *category = NULL;

	for (size_t i = 0; i < l->n; i++) {
		const struct health_item *it = &l->v[i];

		if (c->output == CTL_OUTPUT_SHORT && it->result == HEALTH_OK)
			continue;
		if (category != it->category) {
			fprintf(c->out, "%s%s%s%s\n", category ? "\n" : "",
				print_esc(c, PRINT_BOLD), it->category, print_esc(c, PRINT_PLAIN));
			for (size_t k = 0; k < strlen(it->category); k++)
				fputc('-', c->out);
			fputc('\n', c->out);
			category = it->category;
		}
		print_item(c, it);
	}
	fprintf(c->out, "%sStatus check results are ", category ? "\n" : "");
	print_mark(c, health_count(l, HEALTH_ERROR) > 0 ? HEALTH_ERROR : HEALTH_OK);
	fputc('\n', c->out);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static struct doc *as_doc(const struct health *l)
{
	static const char *const results[] = { "success", "warning", "error" };
	struct arena *a = &l->c->arena;
	struct doc *d = doc_new_map(a), *cats, *checks = NULL;
	const char *category = NULL;

	doc_set_bool(a, d, "success", health_count(l, HEALTH_ERROR) == 0);
	cats = doc_set(a, d, "categories", doc_new_list(a));
	for (size_t i = 0; i < l->n; i++) {
		const struct health_item *it = &l->v[i];

		if (category != it->category) {
			struct doc *cat = doc_add(a, cats, doc_new_map(a));

			category = it->category;
			doc_set_str(a, cat, "categoryName", str_c(category));
			checks = doc_set(a, cat, "checks", doc_new_list(a));
		}
		struct doc *check = doc_add(a, checks, doc_new_map(a));

		doc_set_str(a, check, "description", str_c(it->text));
		doc_set_str(a, check, "result", str_c(results[it->result]));
		if (it->why)
			doc_set_str(a, check, "error", str_c(it->why));
		if (it->hint)
			doc_set_str(a, check, "hint", str_c(it->hint));
	}
	return d;
}

void health_print(const struct health *l)
{
	if (print_wants_doc(l->c))
		print_doc(l->c, as_doc(l));
	else
		print_text(l);
}

/* ---- the command ----------------------------------------------------------------------------- */

static void run_checks(struct health *l)
{
	bool pre = ctl_has(l->c, "pre"), proxy = ctl_has(l->c, "proxy");
	struct live live;

	if (!proxy && !l->c->root)
		health_host(l);
	if (!proxy)
		health_config(l);
	if (pre || l->c->root)
		return;
	live_gather(l->c, &live);
	if (!proxy)
		health_control_plane(l, &live);
	health_identity(l, &live);
	health_data_plane(l, &live);
}

static void pause_between(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 300 * 1000 * 1000 }, NULL);
}

int cmd_check(struct ctl *c)
{
	struct health l = { .c = c };
	const char *wait = ctl_value(c, "wait", "0s");
	int64_t wait_us;

	if (!str_to_duration_us(str_c(wait), &wait_us) || wait_us < 0)
		return ctl_fail(CTL_EXIT_USAGE, "--wait %s: a time such as 30s is needed", wait);
	uint64_t end = clock_mono_us() + (uint64_t)wait_us;

	run_checks(&l);
	while (health_count(&l, HEALTH_ERROR) > 0 && clock_mono_us() < end) {
		pause_between();
		l = (struct health){ .c = c };
		run_checks(&l);
	}
	health_print(&l);
	if (health_count(&l, HEALTH_ERROR) == 0)
		return CTL_EXIT_OK;
	return wait_us > 0 ? CTL_EXIT_TIMEOUT : l.bad_config ? CTL_EXIT_CONFIG : CTL_EXIT_NO;
}
