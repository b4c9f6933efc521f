/* SPDX-License-Identifier: Apache-2.0 */
/* status: what is captured, see status.h. Layer daemons/nft. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/map.h"
#include "nft/nft.h"
#include "nft/status.h"
#include "nft/trial.h"

static const char *const state_names[STATUS__N] = {
	[STATUS_OFF] = "off", [STATUS_ON] = "on", [STATUS_STALE] = "stale", [STATUS_DAMAGED] = "damaged",
};

/* ---- what the kernel has --------------------------------------------------------------------- */

struct kernel {
	bool there;
	size_t n_rules;
	struct str mark;
	struct map packets;             /* counter → struct doc * */
};

static void take_object(struct kernel *k, const struct doc *o)
{
	const struct doc *rule = doc_get(o, STR("rule")), *counter = doc_get(o, STR("counter"));
	struct str comment = rule ? doc_get_str(rule, "comment", STR("")) : STR("");

	k->n_rules += rule != NULL;
	if (str_has_prefix(comment, STR("plan ")))
		k->mark = str_skip(comment, 5);
	if (counter)
		map_put(&k->packets, doc_get_str(counter, "name", STR("")), (void *)(uintptr_t)counter);
}

static int ask_kernel(struct arena *a, struct kernel *k, struct err *err)
{
	struct str json = STR_NULL;
	struct doc *d = NULL;
	int r = nft_list_table(a, &json, err);

	if (r == KV_ERR_NOT_FOUND)
		return 0;
	if (r == 0)
		r = doc_read_json(json, a, &d, err);
	const struct doc *list = r == 0 ? doc_get(d, STR("nftables")) : NULL;

	if (!list || list->kind != DOC_LIST)
		return r < 0 ? r : err_set(err, KV_ERR_PROTOCOL, "nftables says nothing of its table");
	k->there = true;
	for (size_t i = 0; i < list->n; i++)
		take_object(k, list->v[i]);
	return 0;
}

static int64_t packets_of(const struct kernel *k, const struct capture_workload *w, const char *direction,
			  struct arena *a)
{
	const struct doc *counter = map_get(&k->packets, rules_counter(w, direction, a));

	return counter ? doc_get_int(counter, "packets", 0) : 0;
}

/* ---- the document ---------------------------------------------------------------------------- */

static struct str told_by(const struct rules_match *m, struct arena *a)
{
	switch (m->kind) {
	case RULES_MATCH_USER:
		return arena_printf(a, "user %u", (unsigned)m->uid);
	case RULES_MATCH_CGROUP:
		return arena_printf(a, "cgroup %.*s", STR_ARG(m->path));
	case RULES_MATCH_NONE:
		break;
	}
	return STR("-");
}

static void put_workload(struct arena *a, struct doc *list, const struct want *w, size_t i, const struct kernel *k)
{
	const struct capture_workload *c = &w->plan.workloads.v[i];
	struct doc *row = doc_add(a, list, doc_new_map(a)), *in = doc_new_list(a);
	bool out = c->outbound && w->matches[i].kind != RULES_MATCH_NONE;

	doc_set_str(a, row, "name", c->name);
	doc_set_str(a, row, "namespace", c->ns);
	doc_set_str(a, row, "by", told_by(&w->matches[i], a));
	doc_set_bool(a, row, "outbound", out);
	doc_set(a, row, "inbound", in);
	for (size_t p = 0; p < c->inbound.n; p++)
		doc_add(a, in, doc_new_int(a, c->inbound.v[p]));
	doc_set_str(a, row, "mode", c->tproxy ? STR("TPROXY") : STR("REDIRECT"));
	doc_set_str(a, row, "failureMode", c->open ? STR("open") : STR("closed"));
	doc_set_int(a, row, "capturedOut", packets_of(k, c, "out", a));
	doc_set_int(a, row, "capturedIn", packets_of(k, c, "in", a));
}

static enum status_state state_of(const struct want *w, const struct kernel *k)
{
	if (!k->there)
		return STATUS_OFF;
	if (!str_eq(k->mark, rules_mark(w->rules)))
		return k->mark.n == 0 ? STATUS_DAMAGED : STATUS_STALE;
	return k->n_rules == rules_count(w->rules) ? STATUS_ON : STATUS_DAMAGED;
}

int status_make(const struct want *w, const char *run_dir, struct arena *a, struct doc **ret, enum status_state *ret_state,
		struct err *err)
{
	struct kernel k = { 0 };
	int64_t left;

	map_init(&k.packets);
	int r = ask_kernel(a, &k, err);

	if (r == 0) {
		struct doc *d = *ret = doc_new_map(a), *list = doc_new_list(a);
		const struct doc *refused = map_get(&k.packets, STR("refused"));

		*ret_state = state_of(w, &k);
		doc_set_str(a, d, "state", str_c(state_names[*ret_state]));
		if (k.there && trial_is_pending(run_dir, &left))
			doc_set_int(a, d, "revertsInSeconds", left);
		doc_set_int(a, d, "rules", (int64_t)k.n_rules);
		doc_set_int(a, d, "refused", refused ? doc_get_int(refused, "packets", 0) : 0);
		doc_set(a, d, "workloads", list);
		for (size_t i = 0; i < w->plan.workloads.n; i++)
			put_workload(a, list, w, i, &k);
	}
	map_done(&k.packets);
	return r;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_head(const struct doc *d)
{
	struct str state = doc_get_str(d, "state", STR(""));

	if (str_eq(state, STR("off")))
		puts("capture is off: nothing of this host's traffic is redirected (kvmeshctl capture on)");
	else if (str_eq(state, STR("on")))
		printf("capture is on: %" PRId64 " rules, as the configuration says\n", doc_get_int(d, "rules", 0));
	else if (str_eq(state, STR("stale")))
		puts("capture is on with other rules than the configuration asks for by now (kvmeshctl capture repair)");
	else
		puts("capture is on and its rules were changed by something else (kvmeshctl capture repair)");
	if (doc_get(d, STR("revertsInSeconds")))
		printf("not confirmed: goes back in %" PRId64 " s (kvmeshctl capture confirm)\n",
		       doc_get_int(d, "revertsInSeconds", 0));
}

static void print_row(const struct doc *row)
{
	struct str name = doc_get_str(row, "name", STR("")), ns = doc_get_str(row, "namespace", STR("")),
		   by = doc_get_str(row, "by", STR(""));
	const struct doc *in = doc_get(row, STR("inbound"));
	char where[512], ports[256] = "-";
	size_t n = 0;

	snprintf(where, sizeof(where), "%.*s.%.*s", STR_ARG(name), STR_ARG(ns));
	for (size_t i = 0; in && i < in->n && n + 8 < sizeof(ports); i++)
		n += (size_t)snprintf(ports + n, sizeof(ports) - n, "%s%" PRId64, i > 0 ? "," : "", in->v[i]->i);
	printf("%-28s %-32.*s %-4s %-14s %-8.*s %10" PRId64 " %10" PRId64 "\n", where, STR_ARG(by),
	       doc_get_bool(row, "outbound", false) ? "yes" : "no", ports,
	       STR_ARG(doc_get_str(row, "failureMode", STR(""))), doc_get_int(row, "capturedOut", 0),
	       doc_get_int(row, "capturedIn", 0));
}

void status_print(const struct doc *status)
{
	const struct doc *list = doc_get(status, STR("workloads"));

	print_head(status);
	if (!list || list->n == 0) {
		puts("no workload asks for it (inject = true)");
		return;
	}
	printf("%-28s %-32s %-4s %-14s %-8s %10s %10s\n", "WORKLOAD", "TOLD BY", "OUT", "IN", "FAILURE", "CAPT. OUT",
	       "CAPT. IN");
	for (size_t i = 0; i < list->n; i++)
		print_row(list->v[i]);
}
