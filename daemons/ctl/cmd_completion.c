/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion: the script a shell loads, and the words it asks for. Layer daemons/ctl.
 * The script knows nothing: candidates come from the tables of this very program.
 */
#include "config.h"

#include <string.h>

#include "config/model.h"
#include "ctl/profile.h"
#include "ctl/resources.h"
#include "ctl/systemctl.h"
#include "ctl/unit_facts.h"

static const char bash_script[] =
	"# bash completion of kvmeshctl: 'kvmeshctl completion bash' prints it.\n"
	"_kvmeshctl() {\n"
	"\tlocal word\n"
	"\tCOMPREPLY=()\n"
	"\twhile IFS= read -r word; do\n"
	"\t\tCOMPREPLY+=(\"$word\")\n"
	"\tdone < <(\"${COMP_WORDS[0]}\" completion words -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" "
	"2>/dev/null)\n"
	"\t[ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default 2>/dev/null\n"
	"}\n"
	"complete -F _kvmeshctl kvmeshctl\n";

static void offer(struct ctl *c, const char *word, struct str begun)
{
	if (str_has_iprefix(str_c(word), begun))
		fprintf(c->out, "%s\n", word);
}

static void offer_list(struct ctl *c, const char *words, struct str begun)
{
	struct str rest = str_c(words), w;

	while (rest.p && str_split(&rest, ' ', &w))
		if (w.n > 0)
			offer(c, arena_str(&c->arena, w).p, begun);
}

static void offer_commands(struct ctl *c, const struct ctl_command *rows, struct str begun)
{
	for (; rows->name; rows++)
		offer(c, rows->name, begun);
}

static void offer_options(struct ctl *c, const struct ctl_option *t, struct str begun)
{
	for (; t && t->name; t++)
		offer(c, arena_printf(&c->arena, "--%s", t->name).p, begun);
}

static void offer_kinds(struct ctl *c, struct str begun)
{
	for (int k = 0; k < MODEL_KIND__N; k++)
		offer(c, model_kind_info((enum model_kind)k)->plural, begun);
}

static void offer_proxies(struct ctl *c, struct str begun)
{
	const char **names;
	size_t n;

	ctl_proxies(c, &names, &n);
	for (size_t i = 0; i < n; i++)
		offer(c, names[i], begun);
}

/* Names of the resources of a kind, from the router or the files. */
static void offer_resources(struct ctl *c, const char *kind, struct str begun)
{
	struct doc *rows;

	if (resources_gather(c, &rows) != CTL_EXIT_OK)
		return;
	for (size_t i = 0; i < rows->n; i++)
		if (str_eq(doc_get_str(rows->v[i], "kind", STR("")), str_c(kind)))
			offer(c, arena_str(&c->arena, doc_get_str(rows->v[i], "name", STR(""))).p,
			      begun);
}

static void offer_profiles(struct ctl *c, struct str begun)
{
	struct profile *v;
	size_t n = 0;

	if (profile_all(c, &v, &n) == 0)
		for (size_t i = 0; i < n; i++)
			offer(c, v[i].name, begun);
}

static void offer_units(struct ctl *c, struct str begun)
{
	struct str *names;
	size_t n = 0;

	if (systemctl_is_here(c) && unit_facts_list(c, STR("*"), &names, &n) == 0)
		for (size_t i = 0; i < n; i++)
			offer(c, arena_str(&c->arena, names[i]).p, begun);
}

/* "explain" is about kinds, "explain request" about who asks. */
static void offer_explained(struct ctl *c, bool request, struct str begun)
{
	if (!request) {
		offer_kinds(c, begun);
		offer(c, "request", begun);
		return;
	}
	offer(c, "-", begun);
	offer_resources(c, "Workload", begun);
}

/* What a command's own words may be; files are the shell's business. */
static void offer_words(struct ctl *c, const struct ctl_command *cmd, struct str begun)
{
	struct str words = str_c(cmd->words);

	if (strcmp(cmd->name, "explain") == 0)
		offer_explained(c, c->n_words > 3 && strcmp(c->words[2], "request") == 0, begun);
	else if (str_find_str(words, STR("KIND")) >= 0)
		offer_kinds(c, begun);
	else if (str_find_str(words, STR("SERVICE")) >= 0)
		offer_resources(c, "Service", begun);
	else if (str_find_str(words, STR("WORKLOAD")) >= 0)
		offer_resources(c, "Workload", begun);
	else if (str_find_str(words, STR("PROFILE")) >= 0)
		offer_profiles(c, begun);
	else if (str_find_str(words, STR("PROXY")) >= 0)
		offer_proxies(c, begun);
	else if (str_find_str(words, STR("UNIT")) >= 0)
		offer_units(c, begun);
	else if (strcmp(cmd->name, "label") == 0)
		offer_list(c, "namespace istio-injection=enabled istio-injection=disabled", begun);
	else if (strcmp(cmd->name, "completion") == 0)
		offer(c, "bash", begun);
}

/* True when word is an option whose value comes next; offers the known values. */
static bool offer_value(struct ctl *c, const char *option, struct str begun)
{
	static const char *const values[][2] = {
		{ "-o", "table wide json yaml short" },
		{ "--output", "table wide json yaml short" },
		{ "--color", "auto always never" },
		{ "--to", "conf yaml json" },
		{ "--output-threshold", "Info Warning Error" },
		{ "--failure-threshold", "Info Warning Error" },
		{ "--direction", "inbound outbound" },
		{ "--profile", "default demo minimal strict empty" },
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (strcmp(option, values[i][0]) == 0) {
			offer_list(c, values[i][1], begun);
			return true;
		}
	return false;
}

/* The words behind "--" are the line so far; the last one is being typed. */
static int complete_words(struct ctl *c)
{
	const struct ctl_command *rows = ctl_commands, *cmd = NULL;
	struct str begun = STR("");

	if (c->n_words > 1)
		begun = str_c(c->words[c->n_words - 1]);
	if (c->n_words > 2 && offer_value(c, c->words[c->n_words - 2], begun))
		return CTL_EXIT_OK;
	for (unsigned i = 1; i + 1 < c->n_words && rows; i++)
		for (const struct ctl_command *r = rows; r->name; r++)
			if (ctl_command_is(r, c->words[i])) {
				cmd = r;
				rows = r->subs;
				break;
			}
	if (str_has_prefix(begun, STR("-"))) {
		offer_options(c, cmd ? cmd->options : NULL, begun);
		offer_options(c, ctl_global_options, begun);
	} else if (rows) {
		offer_commands(c, rows, begun);
	} else {
		offer_words(c, cmd, begun);
	}
	return CTL_EXIT_OK;
}

int cmd_completion(struct ctl *c)
{
	if (strcmp(c->words[0], "words") == 0)
		return complete_words(c);
	if (strcmp(c->words[0], "bash") != 0 || c->n_words > 1)
		return ctl_fail(CTL_EXIT_USAGE, "completion: bash is the shell that is known");
	fputs(bash_script, c->out);
	return CTL_EXIT_OK;
}
