/* SPDX-License-Identifier: Apache-2.0 */
/* unit_facts: see unit_facts.h. Layer daemons/ctl. */
#include "config.h"

#include "base/vec.h"
#include "config/inject.h"
#include "ctl/systemctl.h"
#include "ctl/unit_facts.h"

static bool has_word(struct str list, const char *word)
{
	struct str piece;

	while (str_split(&list, ' ', &piece))
		if (str_eq(piece, str_c(word)))
			return true;
	return false;
}

/* Its proxy comes after the network: a unit that comes before it could never start. */
static bool is_early(struct str before)
{
	static const char *const targets[] = { "network.target", "network-pre.target",
					       "sysinit.target", "basic.target",
					       "local-fs.target", "sockets.target" };

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		if (has_word(before, targets[i]))
			return true;
	return false;
}

int unit_facts_read(struct ctl *c, struct str unit, struct unit_facts *ret)
{
	const char *words[] = {
		/* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one value over two lines */
		"show", "--property", "Id,LoadState,ActiveState,ControlGroup,User,Before,"
		"PrivateNetwork,DropInPaths", "--", arena_str(&c->arena, unit).p, NULL,
	};
	struct str text, state;

	*ret = (struct unit_facts){ 0 };
	if (systemctl_read(c, words, &text) != 0)
		return ctl_fail(CTL_EXIT_UNAVAILABLE, "systemd does not tell of %.*s",
				STR_ARG(unit));
	state = systemctl_value(text, "ActiveState");
	*ret = (struct unit_facts){
		.id = systemctl_value(text, "Id"),
		.load = systemctl_value(text, "LoadState"),
		.cgroup = systemctl_value(text, "ControlGroup"),
		.user = systemctl_value(text, "User"),
		.active = str_eq(state, STR("active")) || str_eq(state, STR("reloading")),
		.early = is_early(systemctl_value(text, "Before")),
		.own_network = str_eq(systemctl_value(text, "PrivateNetwork"), STR("yes")),
		.ordered = str_find_str(systemctl_value(text, "DropInPaths"),
					STR("/" INJECT_DROPIN_NAME)) >= 0,
	};
	return 0;
}

int unit_facts_list(struct ctl *c, struct str pattern, struct str **ret, size_t *ret_n)
{
	const char *words[] = { "list-units", "--all", "--plain", "--no-legend", "--full",
				"--type=service", "--", arena_str(&c->arena, pattern).p, NULL };
	struct str text, line;
	size_t cap = 0;

	*ret = NULL;
	*ret_n = 0;
	if (systemctl_read(c, words, &text) != 0)
		return ctl_fail(CTL_EXIT_UNAVAILABLE, "systemd does not list units");
	while (str_split(&text, '\n', &line)) {
		struct str name;

		line = str_trim(line);
		if (str_split(&line, ' ', &name) && name.n > 0)
			*vec_push_arena(&c->arena, *ret, *ret_n, cap) = name;
	}
	return 0;
}

struct str unit_facts_text(struct ctl *c, struct str unit)
{
	const char *words[] = { "cat", "--", arena_str(&c->arena, unit).p, NULL };
	struct str text;

	(void)systemctl_read(c, words, &text);
	return text;
}
