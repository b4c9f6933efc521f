/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules: see rules.h. Layer daemons/witness.
 * @ih is where a packet's payload begins; a packet without payload ends the rule. A connection is remembered
 * from its SYN until it has shown a TLS record in that direction, so that every connection is asked once and
 * what is encrypted costs nothing afterwards.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "witness/rules.h"

#define TLS_RECORD "@ih,0,8 0x14-0x17"          /* change_cipher_spec, alert, handshake, application_data */
#define PAYLOAD "@ih,0,8 & 0x0 == 0x0"
#define WAY4 "ip saddr . tcp sport . ip daddr . tcp dport"
#define WAY6 "ip6 saddr . tcp sport . ip6 daddr . tcp dport"

static const char sets[] =
	"add set inet " RULES_TABLE " said4 { type ipv4_addr . inet_service . ipv4_addr . inet_service;"
	" flags dynamic,timeout; timeout 5m; size 65536; }\n"
	"add set inet " RULES_TABLE " said6 { type ipv6_addr . inet_service . ipv6_addr . inet_service;"
	" flags dynamic,timeout; timeout 5m; size 65536; }\n"
	"add set inet " RULES_TABLE " open4 { type ipv4_addr . inet_service . inet_service;"
	" flags dynamic,timeout; timeout 1h; size 65536; }\n"
	"add set inet " RULES_TABLE " open6 { type ipv6_addr . inet_service . inet_service;"
	" flags dynamic,timeout; timeout 1h; size 65536; }\n"
	"add chain inet " RULES_TABLE " wire\n"
	"add chain inet " RULES_TABLE " taken\n"
	"add chain inet " RULES_TABLE " answer\n"
	"add chain inet " RULES_TABLE " out { type filter hook output priority 300; policy accept; }\n"
	"add chain inet " RULES_TABLE " in { type filter hook input priority 300; policy accept; }\n"
	"flush chain inet " RULES_TABLE " wire\n"
	"flush chain inet " RULES_TABLE " taken\n"
	"flush chain inet " RULES_TABLE " answer\n"
	"flush chain inet " RULES_TABLE " out\n"
	"flush chain inet " RULES_TABLE " in\n";

static void rule(FILE *f, const char *chain)
{
	fprintf(f, "add rule inet " RULES_TABLE " %s ", chain);
}

static void add_counter(FILE *f, const char *kind, unsigned port)
{
	fprintf(f, "add counter inet " RULES_TABLE " %s_%u\n", kind, port);
}

/* A port of several addresses is one. */
static bool is_told(const struct plan *p, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (p->ports[k].port == p->ports[i].port)
			return true;
	return false;
}

static void own(FILE *f, const struct plan *p, const char *not)
{
	if (p->n_own == 0)
		return;
	fprintf(f, "meta skuid %s{ ", not);
	for (size_t i = 0; i < p->n_own; i++)
		fprintf(f, "%s%u", i > 0 ? ", " : "", (unsigned)p->own[i]);
	fputs(" } ", f);
}

/* ---- where TLS is spoken ------------------------------------------------------------------- */

/* Each direction of a connection is asked for its first payload; count: what is done with what is plain. */
static void ask(FILE *f, const char *chain, const char *count)
{
	rule(f, chain);
	fputs("meta nfproto ipv4 tcp flags & syn == syn add @said4 { " WAY4 " }\n", f);
	rule(f, chain);
	fputs("meta nfproto ipv6 tcp flags & syn == syn add @said6 { " WAY6 " }\n", f);
	rule(f, chain);
	fputs(WAY4 " @said4 " TLS_RECORD " delete @said4 { " WAY4 " } return\n", f);
	rule(f, chain);
	fputs(WAY6 " @said6 " TLS_RECORD " delete @said6 { " WAY6 " } return\n", f);
	rule(f, chain);
	fprintf(f, WAY4 " @said4 " PAYLOAD " %s\n", count);
	rule(f, chain);
	fprintf(f, WAY6 " @said6 " PAYLOAD " %s\n", count);
}

static void between_proxies(FILE *f, unsigned mesh_port)
{
	char count[64];

	snprintf(count, sizeof(count), "counter name mesh_%u", mesh_port);
	add_counter(f, "mesh", mesh_port);
	ask(f, "wire", count);
	rule(f, "out");
	fprintf(f, "tcp sport %u jump wire\n", mesh_port);
	rule(f, "out");
	fprintf(f, "tcp dport %u jump wire\n", mesh_port);
}

/* The port that was dialled is known to the connection's tracking alone: the packet carries the proxy's. */
static void captured(FILE *f, const struct plan *p, struct arena *a)
{
	struct str list = STR(""), map = STR("");

	for (size_t i = 0; i < p->n_ports; i++) {
		const char *comma = list.n > 0 ? ", " : "";

		if (!p->ports[i].captured || is_told(p, i))
			continue;
		add_counter(f, "captured", p->ports[i].port);
		list = arena_printf(a, "%.*s%s%u", STR_ARG(list), comma, p->ports[i].port);
		map = arena_printf(a, "%.*s%s%u : \"captured_%u\"", STR_ARG(map), comma,
				   p->ports[i].port, p->ports[i].port);
	}
	if (list.n == 0 || p->inbound_port == 0)
		return;
	ask(f, "taken", arena_printf(a, "counter name ct original proto-dst map { %.*s }",
				     STR_ARG(map)).p);
	rule(f, "out");
	fprintf(f, "oifname != \"lo\" tcp sport %u ct original proto-dst { %.*s } jump taken\n",
		p->inbound_port, STR_ARG(list));
	/* Where the address stays (TPROXY), the packet carries the port itself. */
	if (p->n_own == 0)
		return;
	rule(f, "out");
	fprintf(f, "oifname != \"lo\" tcp sport { %.*s } ", STR_ARG(list));
	own(f, p, "");
	fputs("jump taken\n", f);
}

/* ---- past the proxy ------------------------------------------------------------------------ */

/* "8001, 8002" with between " : \"app_8001\"" as well, which is a map to counters. */
static void ports(FILE *f, const struct plan *p, bool counters)
{
	const char *comma = "";

	fputs("{ ", f);
	for (size_t i = 0; i < p->n_ports; i++) {
		if (is_told(p, i))
			continue;
		fprintf(f, "%s%u", comma, p->ports[i].port);
		if (counters)
			fprintf(f, " : \"app_%u\"", p->ports[i].port);
		comma = ", ";
	}
	fputs(" }", f);
}

static void count(FILE *f, const struct plan *p, const char *field)
{
	fprintf(f, PAYLOAD " counter name tcp %s map ", field);
	ports(f, p, true);
	fputc('\n', f);
}

static void here(FILE *f, const struct plan *p, bool v6)
{
	const char *comma = "";
	size_t n = 0;

	for (size_t i = 0; i < p->n_ports; i++)
		n += p->ports[i].is_v6 == v6;
	if (n == 0)
		return;
	rule(f, "out");
	fprintf(f, "oifname \"lo\" %s daddr . tcp dport { ", v6 ? "ip6" : "ip");
	for (size_t i = 0; i < p->n_ports; i++) {
		const struct plan_port *x = &p->ports[i];

		if (x->is_v6 != v6)
			continue;
		fprintf(f, "%s%.*s . %u", comma, STR_ARG(x->address), x->port);
		comma = ", ";
	}
	fputs(" } ", f);
	own(f, p, "!= ");
	count(f, p, "dport");
}

/* On the machine, but to another address of it than the proxy uses. */
static void elsewhere(FILE *f, const struct plan *p, bool v6)
{
	const char *comma = "";

	rule(f, "out");
	fprintf(f, "oifname \"lo\" %s tcp sport ", v6 ? "ip6 saddr != ::1" : "ip saddr != 127.0.0.0/8");
	ports(f, p, false);
	for (size_t i = 0; i < p->n_ports; i++) {
		if (p->ports[i].is_v6 != v6)
			continue;
		fprintf(f, "%s%.*s . %u", comma[0] ? comma : v6 ? " ip6 saddr . tcp sport != { " :
				 " ip saddr . tcp sport != { ", STR_ARG(p->ports[i].address),
			p->ports[i].port);
		comma = ", ";
	}
	fputs(comma[0] ? " } " : " ", f);
	own(f, p, "!= ");
	fputs("jump answer\n", f);
}

static void applications(FILE *f, const struct plan *p)
{
	for (size_t i = 0; i < p->n_ports; i++)
		if (!is_told(p, i))
			add_counter(f, "app", p->ports[i].port);
	here(f, p, false);
	here(f, p, true);
	/* From outside: who owns the socket is known where packets leave. */
	rule(f, "out");
	fputs("oifname != \"lo\" tcp sport ", f);
	ports(f, p, false);
	fputc(' ', f);
	own(f, p, "!= ");
	fputs("jump answer\n", f);
	elsewhere(f, p, false);
	elsewhere(f, p, true);
	rule(f, "answer");
	fputs("meta nfproto ipv4 update @open4 { ip daddr . tcp dport . tcp sport }\n", f);
	rule(f, "answer");
	fputs("meta nfproto ipv6 update @open6 { ip6 daddr . tcp dport . tcp sport }\n", f);
	rule(f, "answer");
	count(f, p, "sport");
	rule(f, "in");
	fputs("iifname != \"lo\" ip saddr . tcp sport . tcp dport @open4 ", f);
	count(f, p, "dport");
	rule(f, "in");
	fputs("iifname != \"lo\" ip6 saddr . tcp sport . tcp dport @open6 ", f);
	count(f, p, "dport");
}

struct str rules_text(const struct plan *p, bool fresh, struct arena *a)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	kv_assert(f);
	fputs("add table inet " RULES_TABLE "\n", f);
	if (fresh)
		fputs("delete table inet " RULES_TABLE "\nadd table inet " RULES_TABLE "\n", f);
	fputs(sets, f);
	if (p->mesh_port > 0)
		between_proxies(f, p->mesh_port);
	if (p->n_ports > 0)
		applications(f, p);
	captured(f, p, a);
	fclose(f);
	struct str s = arena_str(a, str_from(text, n));

	free(text);
	return s;
}
