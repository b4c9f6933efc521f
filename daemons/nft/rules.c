/* SPDX-License-Identifier: Apache-2.0 */
/* rules: a capture plan as one batch for the kernel, see rules.h. Layer daemons/nft. */
#include "config.h"

#include <inttypes.h>

#include "base/hash.h"
#include "base/vec.h"
#include "nft/nft.h"
#include "nft/rules.h"

#define TABLE NFT_FAMILY " " NFT_TABLE
/* Before those of container engines and port forwarders: what is captured is ours whatever they would do with it. */
#define PRIORITY_NAT "-105"
#define MARK "comment \"plan "
#define MARK_N 16
#define NAME_MAX_BYTES 200

struct text {
	struct arena *a;
	char *v;
	size_t n, cap;
};

static void put(struct text *t, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		*vec_push_arena(t->a, t->v, t->n, t->cap) = s.p[i];
}

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put(t, arena_vprintf(t->a, fmt, ap));
	va_end(ap);
}

/* ---- parts ----------------------------------------------------------------------------------- */

struct str rules_counter(const struct capture_workload *w, const char *direction, struct arena *a)
{
	struct str name = arena_printf(a, "%s/%.*s.%.*s", direction, STR_ARG(str_take(w->name, NAME_MAX_BYTES)),
				       STR_ARG(str_take(w->ns, 253 - NAME_MAX_BYTES)));
	char *copy = arena_strdup(a, name.p);

	for (char *p = copy; *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');

		if (!plain && *p != '/' && *p != '.' && *p != '-')
			*p = '_';
	}
	return str_c(copy);
}

static struct str ports(struct arena *a, const int64_t *v, size_t n)
{
	struct text t = { .a = a };

	for (size_t i = 0; i < n; i++)
		say(&t, "%s%" PRId64, i > 0 ? ", " : "{ ", v[i]);
	say(&t, " }");
	return str_from(t.v, t.n);
}

static struct str processes(struct arena *a, const struct rules_match *m)
{
	if (m->kind == RULES_MATCH_CGROUP)
		return arena_printf(a, "socket cgroupv2 level %u \"%.*s\"", m->level, STR_ARG(m->path));
	return arena_printf(a, "meta skuid %u", (unsigned)m->uid);
}

/* ---- one workload ---------------------------------------------------------------------------- */

struct one {
	struct text *t;
	const struct capture_workload *w;
	struct str who;                 /* how its processes are told */
	int64_t to;                     /* the proxy's port */
};

/* verdict for outgoing connections to these ranges; one rule each, as they may overlap. */
static void put_ranges(const struct one *o, const struct str_list *l, struct str verdict)
{
	for (size_t i = 0; i < l->n; i++)
		say(o->t, "add rule " TABLE " out %.*s meta l4proto tcp %s daddr %.*s %.*s\n", STR_ARG(o->who),
		    str_find(l->v[i], ':') >= 0 ? "ip6" : "ip", STR_ARG(l->v[i]), STR_ARG(verdict));
}

/* In the order of Istio's: ports that are left out, ranges that are, ports that are taken, ranges that are. */
static void put_outbound(const struct one *o)
{
	const struct capture_workload *w = o->w;
	struct arena *a = o->t->a;
	struct str go = arena_printf(a, "counter name %.*s redirect to :%" PRId64,
				     STR_ARG(rules_counter(w, "out", a)), o->to);

	if (w->exclude_ports.n > 0)
		say(o->t, "add rule " TABLE " out %.*s tcp dport %.*s accept\n", STR_ARG(o->who),
		    STR_ARG(ports(a, w->exclude_ports.v, w->exclude_ports.n)));
	put_ranges(o, &w->exclude, STR("accept"));
	if (w->include_ports.n > 0)
		say(o->t, "add rule " TABLE " out %.*s tcp dport %.*s %.*s\n", STR_ARG(o->who),
		    STR_ARG(ports(a, w->include_ports.v, w->include_ports.n)), STR_ARG(go));
	if (w->all_ranges)
		say(o->t, "add rule " TABLE " out %.*s meta l4proto tcp %.*s\n", STR_ARG(o->who), STR_ARG(go));
	else
		put_ranges(o, &w->include, go);
}

static bool is_left_out(const struct rules_input *in, size_t i)
{
	return in->plan->workloads.v[i].open && !in->proxy_is_up;
}

static bool sends(const struct rules_input *in, size_t i)
{
	return in->plan->workloads.v[i].outbound && in->matches[i].kind != RULES_MATCH_NONE && !is_left_out(in, i);
}

static bool is_called(const struct rules_input *in, size_t i)
{
	return in->plan->workloads.v[i].inbound.n > 0 && !is_left_out(in, i);
}

/* ---- chains ---------------------------------------------------------------------------------- */

/* What is never captured, at the head of both chains. */
static void put_head(struct text *t, const char *chain, const char *comment)
{
	say(t, "add rule " TABLE " %s meta l4proto != tcp accept%s\n", chain, comment);
	say(t, "add rule " TABLE " %s tcp flags & (fin | syn | rst | ack) != syn accept\n", chain);
	say(t, "add rule " TABLE " %s tcp dport %.*s accept\n", chain,
	    STR_ARG(ports(t->a, capture_never, capture_n_never)));
}

static void put_ours(struct text *t, const struct rules_input *in)
{
	say(t, "add rule " TABLE " out meta skuid {");
	for (size_t i = 0; i < in->n_ours; i++)
		say(t, "%s %u", i > 0 ? "," : "", (unsigned)in->ours[i]);
	say(t, " } accept\n");
}

/*
 * From this host to itself: only to ports of the mesh, whoever calls; a workload may call itself. Everything else on
 * loopback, and at the host's other addresses, is left alone.
 */
static void put_local(struct text *t, const struct rules_input *in)
{
	for (size_t i = 0; i < in->plan->workloads.n; i++) {
		const struct capture_workload *w = &in->plan->workloads.v[i];

		if (is_called(in, i) && in->matches[i].kind != RULES_MATCH_NONE)
			say(t, "add rule " TABLE " local %.*s tcp dport %.*s accept\n",
			    STR_ARG(processes(t->a, &in->matches[i])),
			    STR_ARG(ports(t->a, w->inbound.v, w->inbound.n)));
	}
}

static void put_inbound(struct text *t, const struct rules_input *in, const char *chain)
{
	for (size_t i = 0; i < in->plan->workloads.n; i++) {
		const struct capture_workload *w = &in->plan->workloads.v[i];

		if (is_called(in, i))
			say(t, "add rule " TABLE " %s tcp dport %.*s counter name %.*s redirect to :%" PRId64 "\n",
			    chain, STR_ARG(ports(t->a, w->inbound.v, w->inbound.n)),
			    STR_ARG(rules_counter(w, "in", t->a)), in->plan->inbound_port);
	}
}

/* Two workloads that cannot be told apart: the first has the rules. */
static bool is_same_match(const struct rules_match *a, const struct rules_match *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == RULES_MATCH_USER ? a->uid == b->uid : str_eq(a->path, b->path);
}

static bool is_first(const struct rules_input *in, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (sends(in, k) && is_same_match(&in->matches[k], &in->matches[i]))
			return false;
	return true;
}

static void put_out(struct text *t, const struct rules_input *in)
{
	put_ours(t, in);
	say(t, "add rule " TABLE " out fib daddr type local goto local\n");
	for (size_t i = 0; i < in->plan->workloads.n; i++) {
		if (!sends(in, i) || !is_first(in, i))
			continue;
		struct one o = { .t = t, .w = &in->plan->workloads.v[i], .who = processes(t->a, &in->matches[i]),
				 .to = in->plan->outbound_port };

		put_outbound(&o);
	}
}

static void put_in(struct text *t, const struct rules_input *in)
{
	say(t, "add rule " TABLE " in iifname \"lo\" accept\n");
	say(t, "add rule " TABLE " in fib daddr type != local accept\n");
	put_inbound(t, in, "in");
}

/* The proxy's own port is no port to call: it is bound to every address because redirected calls come to it so. */
static void put_guard(struct text *t, const struct rules_input *in)
{
	int64_t port = in->plan->inbound_port;

	if (port > 0)
		say(t, "add rule " TABLE " guard tcp dport %" PRId64 " ct original proto-dst %" PRId64
		       " counter name refused reject with tcp reset\n", port, port);
}

static void put_table(struct text *t, const struct rules_input *in)
{
	say(t, "add table " TABLE "\n"
	       "add chain " TABLE " out { type nat hook output priority " PRIORITY_NAT "; policy accept; }\n"
	       "add chain " TABLE " in { type nat hook prerouting priority " PRIORITY_NAT "; policy accept; }\n"
	       "add chain " TABLE " guard { type filter hook input priority 0; policy accept; }\n"
	       "add chain " TABLE " local\n"
	       "add counter " TABLE " refused\n");
	for (size_t i = 0; i < in->plan->workloads.n; i++) {
		const struct capture_workload *w = &in->plan->workloads.v[i];

		if (w->outbound)
			say(t, "add counter " TABLE " %.*s\n", STR_ARG(rules_counter(w, "out", t->a)));
		if (w->inbound.n > 0)
			say(t, "add counter " TABLE " %.*s\n", STR_ARG(rules_counter(w, "in", t->a)));
	}
	say(t, "flush table " TABLE "\n");
}

/* ---- the whole ------------------------------------------------------------------------------- */

static struct str make(const struct rules_input *in, struct arena *a, struct str mark)
{
	struct text t = { .a = a };

	put_table(&t, in);
	put_head(&t, "out", arena_printf(a, " " MARK "%.*s\"", STR_ARG(mark)).p);
	put_out(&t, in);
	put_local(&t, in);
	put_inbound(&t, in, "local");
	put_head(&t, "in", "");
	put_in(&t, in);
	put_guard(&t, in);
	return str_from(t.v, t.n);
}

struct str rules_make(const struct rules_input *in, struct arena *a)
{
	struct str unmarked = make(in, a, STR(""));

	return make(in, a, arena_printf(a, "%0*" PRIx64, MARK_N, hash_str(unmarked)));
}

struct str rules_mark(struct str rules)
{
	ptrdiff_t at = str_find_str(rules, STR(MARK));

	return at < 0 ? STR_NULL : str_take(str_skip(rules, (size_t)at + strlen(MARK)), MARK_N);
}

size_t rules_count(struct str rules)
{
	struct str line;
	size_t n = 0;

	while (str_split(&rules, '\n', &line))
		n += str_has_prefix(line, STR("add rule "));
	return n;
}

struct str rules_none(void)
{
	return STR("add table " TABLE "\ndelete table " TABLE "\n");
}
