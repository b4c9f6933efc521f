/* SPDX-License-Identifier: Apache-2.0 */
/* inject: see inject.h. Layer config. */
#include "config/inject.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/vec.h"
#include "config/quantity.h"

#define UNIT_NAME_MAX 255
#define WEIGHT_MAX 10000                /* of systemd's CPUWeight= */
#define MEMORY_HIGH_PERCENT 90          /* of the limit: reclaim before the end */

/* ---- units that are better left alone -------------------------------------------------------- */

struct refusal {
	const char *name;               /* whole, or the beginning when it ends with '*' */
	const char *why;
};

#define REACHED "it is how this node is reached"
#define NETWORK "it brings the network up, which its proxy waits for"
#define BUS "the proxy and systemd themselves need it"
#define RESOLVER "it answers the questions of the resolver, which are never captured"
#define CLOCK "it sets the clock, which certificates need"
#define RULES "it loads packet rules, which have to be there before any proxy"

static const struct refusal refusals[] = {
	{ "ssh.service", REACHED }, { "sshd.service", REACHED }, { "ssh@*", REACHED },
	{ "sshd@*", REACHED }, { "dropbear*", REACHED }, { "tailscaled.service", REACHED },
	{ "wg-quick@*", REACHED }, { "openvpn*", REACHED }, { "getty@*", REACHED },
	{ "serial-getty@*", REACHED }, { "console-getty.service", REACHED },
	{ "qemu-guest-agent.service", REACHED }, { "cloud-*", REACHED },
	{ "systemd-*", "it belongs to systemd" }, { "user@*", "it belongs to systemd" },
	{ "user-runtime-dir@*", "it belongs to systemd" }, { "emergency.service", REACHED },
	{ "rescue.service", REACHED }, { "initrd-*", "it belongs to systemd" },
	{ "dbus.service", BUS }, { "dbus-broker.service", BUS }, { "polkit.service", BUS },
	{ "kvmesh-*", "it is part of kvmesh" },
	{ "NetworkManager*", NETWORK }, { "networking.service", NETWORK },
	{ "network.service", NETWORK }, { "ifup@*", NETWORK }, { "ifupdown-*", NETWORK },
	{ "wpa_supplicant*", NETWORK }, { "dhcpcd*", NETWORK }, { "dhclient*", NETWORK },
	{ "isc-dhcp-*", NETWORK }, { "connman.service", NETWORK }, { "iwd.service", NETWORK },
	{ "netplan*", NETWORK }, { "wicked*", NETWORK },
	{ "unbound.service", RESOLVER }, { "named.service", RESOLVER },
	{ "bind9.service", RESOLVER }, { "dnsmasq*", RESOLVER }, { "resolvconf*", RESOLVER },
	{ "nscd.service", RESOLVER },
	{ "chrony*", CLOCK }, { "ntp.service", CLOCK }, { "ntpd.service", CLOCK },
	{ "ntpsec*", CLOCK }, { "openntpd.service", CLOCK },
	{ "nftables.service", RULES }, { "ufw.service", RULES }, { "firewalld.service", RULES },
	{ "netfilter-persistent.service", RULES }, { "iptables.service", RULES },
};

static bool fits(const struct refusal *r, struct str unit)
{
	struct str name = str_c(r->name);

	if (name.p[name.n - 1] == '*')
		return str_has_prefix(unit, str_take(name, name.n - 1));
	return str_eq(unit, name);
}

const char *inject_refusal(struct str unit)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (fits(&refusals[i], unit))
			return refusals[i].why;
	return NULL;
}

static bool is_unit_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       str_find(STR(":-_.\\@"), c) >= 0;
}

bool inject_is_unit_name(struct str unit)
{
	struct str suffix = STR(".service"), stem = str_take(unit, unit.n - suffix.n);
	ptrdiff_t at = str_find(unit, '@');

	if (unit.n > UNIT_NAME_MAX || unit.n <= suffix.n || !str_has_suffix(unit, suffix) ||
	    unit.p[0] == '.' || at == 0 || at == (ptrdiff_t)stem.n - 1)
		return false;
	for (size_t i = 0; i < unit.n; i++)
		if (!is_unit_char(unit.p[i]))
			return false;
	return true;
}

/* ---- a unit and its proxy -------------------------------------------------------------------- */

struct str inject_proxy_unit(const struct model_workload *w, struct arena *a)
{
	if (w->gateway || inject_is_dedicated(w))
		return arena_printf(a, "kvmesh-proxy@%.*s.service", STR_ARG(w->r.name));
	return STR("kvmesh-proxy.service");
}

static bool is_forced(const struct model_workload *w)
{
	return str_eq(labels_get(&w->r.annotations, STR(INJECT_FORCE_ANNOTATION)), STR("true"));
}

bool inject_is_left_alone(const struct model_workload *w)
{
	return inject_refusal(w->unit) && !is_forced(w);
}

/* What a comment may hold: the names are not checked yet when systemd asks. */
static struct str printable(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] > ' ' && s.p[i] < 0x7f ? s.p[i] : '?';
	p[s.n] = '\0';
	return str_from(p, s.n);
}

static struct str head(const struct model_workload *w, struct arena *a)
{
	struct str file = printable(str_c(w->r.at.file), a);

	return arena_printf(a, "# Made by kvmesh-generator for Workload %.*s.%.*s of %.*s.\n",
			    STR_ARG(printable(w->r.name, a)), STR_ARG(printable(w->r.ns, a)),
			    STR_ARG(file));
}

/*
 * Wants and not Requires: with the latter a restart of the proxy, an upgrade for instance, would
 * restart the unit with it. What the unit sends while the proxy is gone is refused all the same,
 * by the rules of kvmesh-nft.
 */
static struct str unit_text(const struct model_workload *w, struct arena *a)
{
	struct str proxy = inject_proxy_unit(w, a);
	bool open = w->capture && w->capture->failureMode == MODEL_FAILURE_OPEN;

	return arena_printf(a,
			    "%.*s"
			    "# It starts once its proxy serves and stops before that drains.\n"
			    "[Unit]\n"
			    "Wants=%.*s\n"
			    "After=kvmesh-nft.service %.*s\n"
			    "# Its cgroup is a new one each time: the rules of capture follow, if there are any.\n"
			    "[Service]\n"
			    "ExecStartPre=%s" SBINDIR "/kvmesh-nft refresh\n",
			    STR_ARG(head(w, a)), STR_ARG(proxy), STR_ARG(proxy), open ? "-+" : "+");
}

/* ---- limits of an instance ------------------------------------------------------------------- */

static struct str memory_text(struct arena *a, int64_t bytes)
{
	static const char units[] = "KMGT";
	int unit = -1;

	while (unit < 3 && bytes > 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	return unit < 0 ? arena_printf(a, "%" PRId64, bytes)
			: arena_printf(a, "%" PRId64 "%c", bytes, units[unit]);
}

static void put_line(struct str *text, struct arena *a, const char *key, struct str value)
{
	*text = arena_printf(a, "%.*s%s=%.*s\n", STR_ARG(*text), key, STR_ARG(value));
}

static void put_cpu(struct str *text, struct arena *a, const struct model_resource_amounts *am,
		    bool limit)
{
	int64_t milli;

	if (!am || !am->cpu.n || !quantity_cpu(am->cpu, &milli) || milli == 0)
		return;
	if (!limit) {
		put_line(text, a, "CPUWeight",
			 arena_printf(a, "%" PRId64, milli > WEIGHT_MAX ? WEIGHT_MAX : milli));
		return;
	}
	/* Tenths of a percent are cores' thousandths; systemd takes "12.5%". */
	put_line(text, a, "CPUQuota",
		 milli % 10 ? arena_printf(a, "%" PRId64 ".%" PRId64 "%%", milli / 10, milli % 10)
			    : arena_printf(a, "%" PRId64 "%%", milli / 10));
	/* Stalls of at most 10 ms instead of 100 when the quota is used up. */
	put_line(text, a, "CPUQuotaPeriodSec", STR("10ms"));
}

static void put_memory(struct str *text, struct arena *a, const struct model_resource_amounts *am,
		       bool limit)
{
	int64_t bytes;

	if (!am || !am->memory.n || !quantity_memory(am->memory, &bytes) || bytes == 0)
		return;
	if (!limit) {
		put_line(text, a, "MemoryLow", memory_text(a, bytes));
		return;
	}
	put_line(text, a, "MemoryHigh",
		 memory_text(a, (bytes / 100 * MEMORY_HIGH_PERCENT) & ~INT64_C(1023)));
	put_line(text, a, "MemoryMax", memory_text(a, bytes));
}

/* Empty: nothing is to be said of it. */
static struct str instance_text(const struct model_workload *w, struct arena *a)
{
	struct str text = STR("");

	if (w->resources) {
		put_cpu(&text, a, w->resources->requests, false);
		put_cpu(&text, a, w->resources->limits, true);
		put_memory(&text, a, w->resources->requests, false);
		put_memory(&text, a, w->resources->limits, true);
	}
	if (text.n > 0)
		text = arena_printf(a, "[Service]\n%.*s", STR_ARG(text));
	/* Nobody else's: started by its unit and gone with it. */
	if (w->injected && inject_is_dedicated(w))
		text = arena_printf(a, "[Unit]\nStopWhenUnneeded=yes\n%.*s", STR_ARG(text));
	return text.n > 0 ? arena_printf(a, "%.*s%.*s", STR_ARG(head(w, a)), STR_ARG(text)) : text;
}

/* ---- all ------------------------------------------------------------------------------------- */

static void add(struct arena *a, struct inject_dropin **v, size_t *n, size_t *cap,
		const struct inject_dropin *d)
{
	for (size_t i = 0; i < *n; i++)
		if (str_eq((*v)[i].unit, d->unit))
			return;
	*vec_push_arena(a, *v, *n, *cap) = *d;
}

static int by_unit(const void *x, const void *y)
{
	const struct inject_dropin *a = x, *b = y;

	return str_cmp(a->unit, b->unit);
}

void inject_dropins(const struct model *m, struct arena *a, struct inject_dropin **ret,
		    size_t *ret_n)
{
	size_t n = 0, cap = 0;

	*ret = NULL;
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);
		struct inject_dropin d = { .workload = w };

		if (w->injected && inject_is_unit_name(w->unit) && !inject_is_left_alone(w)) {
			d.unit = w->unit;
			d.text = unit_text(w, a);
			add(a, ret, &n, &cap, &d);
		}
		if (w->gateway || inject_is_dedicated(w)) {
			d.unit = inject_proxy_unit(w, a);
			d.text = instance_text(w, a);
			if (d.text.n > 0 && inject_is_unit_name(d.unit))
				add(a, ret, &n, &cap, &d);
		}
	}
	if (n > 1)
		qsort(*ret, n, sizeof(**ret), by_unit);
	*ret_n = n;
}
