/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of config/inject and config/quantity: who is injected, and what systemd is told then. */
#include "config/inject.h"
#include "config/quantity.h"
#include "config_unit.h"

static struct arena a; /* of one test: each runs in a process of its own */

static const struct inject_dropin *dropin_of(const struct model *m, const char *unit)
{
	static bool ready;
	struct inject_dropin *v;
	size_t n;

	if (!ready)
		arena_init(&a, 0);
	ready = true;
	inject_dropins(m, &a, &v, &n);
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].unit, str_c(unit)))
			return &v[i];
	return NULL;
}

START_TEST(quantities)
{
	int64_t v;

	ck_assert(quantity_cpu(STR("100m"), &v) && v == 100);
	ck_assert(quantity_cpu(STR("0.5"), &v) && v == 500);
	ck_assert(quantity_cpu(STR("2"), &v) && v == 2000);
	ck_assert(quantity_cpu(STR("0.5m"), &v) && v == 1);
	ck_assert(!quantity_cpu(STR("-1"), &v) && !quantity_cpu(STR("m"), &v));
	ck_assert(!quantity_cpu(STR("1e30"), &v));
	ck_assert(quantity_memory(STR("128Mi"), &v) && v == 128 << 20);
	ck_assert(quantity_memory(STR("1G"), &v) && v == 1000000000);
	ck_assert(quantity_memory(STR("1.5Ki"), &v) && v == 1536);
	ck_assert(!quantity_memory(STR("1Zi"), &v) && !quantity_memory(STR("Mi"), &v));
	ck_assert(!quantity_memory(STR("9999999999999Ti"), &v));
}
END_TEST

START_TEST(units_that_are_left_alone)
{
	static const char *const refused[] = {
		"ssh.service",          "sshd.service",           "ssh@3.service",
		"systemd-resolved.service", "dbus.service",       "kvmesh-router.service",
		"NetworkManager.service", "NetworkManager-wait-online.service",
		"kvmesh-proxy@x.service", "getty@tty1.service",   "networking.service",
	};
	static const char *const fine[] = { "nginx.service", "redis-server@x.service",
					    "sshop.service", "dbus-viewer.service",
					    "mykvmesh-app.service" };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		ck_assert_msg(inject_refusal(str_c(refused[i])) != NULL, "%s", refused[i]);
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		ck_assert_msg(inject_refusal(str_c(fine[i])) == NULL, "%s", fine[i]);
}
END_TEST

START_TEST(names_of_units)
{
	char longest[300];

	ck_assert(inject_is_unit_name(STR("shop.service")));
	ck_assert(inject_is_unit_name(STR("redis-server@a\\x2db.service")));
	ck_assert(!inject_is_unit_name(STR("redis-server@.service")));
	ck_assert(!inject_is_unit_name(STR("@x.service")));
	ck_assert(!inject_is_unit_name(STR(".service")));
	ck_assert(!inject_is_unit_name(STR("..service")));
	ck_assert(!inject_is_unit_name(STR("../x.service")));
	ck_assert(!inject_is_unit_name(STR("a b.service")));
	ck_assert(!inject_is_unit_name(STR("shop.socket")));
	ck_assert(!inject_is_unit_name(STR("")));
	memset(longest, 'a', sizeof(longest));
	memcpy(longest + sizeof(longest) - 8, ".service", 8);
	ck_assert(!inject_is_unit_name(str_from(longest, sizeof(longest))));
}
END_TEST

#define WORKLOADS                                                                                  \
	"Workload = ( { name = \"said\"; unit = \"said.service\"; inject = true; },"               \
	"  { name = \"silent\"; unit = \"silent.service\"; },"                                     \
	"  { name = \"no\"; unit = \"no.service\"; inject = false; },"                             \
	"  { name = \"on\"; namespace = \"shop\"; unit = \"on.service\"; },"                       \
	"  { name = \"kept-out\"; namespace = \"shop\"; unit = \"kept-out.service\";"              \
	"    annotations = ( { key = \"sidecar.istio.io/inject\"; value = \"false\"; } ); },"      \
	"  { name = \"off\"; namespace = \"plain\"; unit = \"off.service\"; },"                    \
	"  { name = \"asked\"; namespace = \"plain\"; unit = \"asked.service\";"                   \
	"    labels = [ \"sidecar.istio.io/inject=true\" ]; },"                                    \
	"  { name = \"edge\"; namespace = \"shop\"; gateway = true; } );\n"                        \
	"Namespace = ( { name = \"shop\"; labels = { istio-injection = \"enabled\"; }; },"         \
	"  { name = \"plain\"; labels = { istio-injection = \"disabled\"; }; } );\n"

START_TEST(who_is_injected)
{
	static const struct {
		const char *ns, *name;
		bool in_mesh, injected;
	} rows[] = {
		{ "default", "said", true, true },    { "default", "silent", true, false },
		{ "default", "no", false, false },    { "shop", "on", true, true },
		{ "shop", "kept-out", false, false }, { "plain", "off", false, false },
		{ "plain", "asked", true, true },     { "shop", "edge", true, false },
	};
	struct model *m = config_model(WORKLOADS);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct model_workload *w = model_as_workload(model_find(
			m, MODEL_KIND_WORKLOAD, str_c(rows[i].ns), str_c(rows[i].name)));
		_cleanup_free_ char *unit = kv_asprintf("%s.service", rows[i].name);

		ck_assert_msg(w->inject == rows[i].in_mesh, "%s in the mesh", rows[i].name);
		ck_assert_msg(w->injected == rows[i].injected, "%s injected", rows[i].name);
		ck_assert_msg((dropin_of(m, unit) != NULL) == rows[i].injected, "%s", unit);
	}
	model_free(m);
	arena_done(&a);
}
END_TEST

START_TEST(a_unit_is_ordered_behind_its_proxy)
{
	struct model *m = config_model("Workload = { name = \"shop\"; unit = \"shop.service\"; "
				       "inject = true; };");
	const struct inject_dropin *d = dropin_of(m, "shop.service");

	ck_assert_ptr_nonnull(d);
	ck_assert(str_eq(d->text, STR("# Made by kvmesh-generator for Workload shop.default of "
				      "test.\n"
				      "# It starts once its proxy serves and stops before that "
				      "drains.\n"
				      "[Unit]\n"
				      "Wants=kvmesh-proxy.service\n"
				      "After=kvmesh-nft.service kvmesh-proxy.service\n"
				      "# Its cgroup is a new one each time: the rules of capture "
				      "follow, if there are any.\n"
				      "[Service]\n"
				      "ExecStartPre=+" SBINDIR "/kvmesh-nft refresh\n")));
	model_free(m);
	arena_done(&a);
}
END_TEST

START_TEST(dangerous_units_only_when_forced)
{
	struct model *m = config_model(
		"Workload = ( { name = \"ssh\"; unit = \"ssh.service\"; inject = true; },"
		"  { name = \"dbus\"; unit = \"dbus.service\"; inject = true;"
		"    annotations = ( { key = \"kvmesh.io/force-inject\"; value = \"true\"; } ); },"
		"  { name = \"up\"; unit = \"../up.service\"; inject = true; } );");

	ck_assert_ptr_null(dropin_of(m, "ssh.service"));
	ck_assert_ptr_nonnull(dropin_of(m, "dbus.service"));
	ck_assert_ptr_null(dropin_of(m, "../up.service"));
	model_free(m);
	arena_done(&a);
}
END_TEST

START_TEST(limits_of_an_instance)
{
	struct model *m = config_model(
		"Workload = ( { name = \"edge\"; gateway = true; annotations = ("
		"  { key = \"sidecar.istio.io/proxyCPU\"; value = \"100m\"; },"
		"  { key = \"sidecar.istio.io/proxyCPULimit\"; value = \"125m\"; },"
		"  { key = \"sidecar.istio.io/proxyMemory\"; value = \"128Mi\"; },"
		"  { key = \"sidecar.istio.io/proxyMemoryLimit\"; value = \"1Gi\"; } ); },"
		"  { name = \"big\"; gateway = true; resources = { requests = { cpu = \"64\"; }; "
		"    limits = { cpu = \"2\"; }; }; },"
		"  { name = \"bare\"; gateway = true; } );");
	const struct inject_dropin *d = dropin_of(m, "kvmesh-proxy@edge.service");

	ck_assert_ptr_nonnull(d);
	ck_assert(str_has_suffix(d->text, STR("[Service]\n"
					      "CPUWeight=100\n"
					      "CPUQuota=12.5%\n"
					      "CPUQuotaPeriodSec=10ms\n"
					      "MemoryLow=128M\n"
					      "MemoryHigh=943718K\n"
					      "MemoryMax=1G\n")));
	d = dropin_of(m, "kvmesh-proxy@big.service");
	ck_assert_ptr_nonnull(d);
	ck_assert(str_find_str(d->text, STR("CPUWeight=10000\nCPUQuota=200%\n")) > 0);
	ck_assert(str_find_str(d->text, STR("Memory")) < 0);
	ck_assert_ptr_null(dropin_of(m, "kvmesh-proxy@bare.service"));
	model_free(m);
	arena_done(&a);
}
END_TEST

START_TEST(a_proxy_of_its_own)
{
	struct model *m = config_model(
		"Workload = ( { name = \"shop\"; unit = \"shop.service\"; inject = true;"
		"    sidecar = \"dedicated\"; sidecarPorts = { mesh = 15601; }; },"
		"  { name = \"by-hand\"; unit = \"by-hand.service\"; sidecar = \"dedicated\";"
		"    sidecarPorts = { mesh = 15603; }; resources = { limits = { cpu = \"1\"; }; }; },"
		"  { name = \"out\"; unit = \"out.service\"; inject = false; sidecar = "
		"\"dedicated\"; } );");
	const struct inject_dropin *d = dropin_of(m, "shop.service");

	ck_assert_ptr_nonnull(d);
	ck_assert(str_find_str(d->text, STR("Wants=kvmesh-proxy@shop.service\n"
					    "After=kvmesh-nft.service "
					    "kvmesh-proxy@shop.service\n")) > 0);
	d = dropin_of(m, "kvmesh-proxy@shop.service");
	ck_assert_ptr_nonnull(d);
	ck_assert(str_has_suffix(d->text, STR(".\n[Unit]\nStopWhenUnneeded=yes\n")));
	/* Nobody wants it: it is started and stopped by hand, within its limits. */
	d = dropin_of(m, "kvmesh-proxy@by-hand.service");
	ck_assert_ptr_nonnull(d);
	ck_assert(str_has_suffix(d->text, STR(".\n[Service]\nCPUQuota=100%\nCPUQuotaPeriodSec="
					      "10ms\n")));
	ck_assert_ptr_null(dropin_of(m, "by-hand.service"));
	ck_assert_ptr_null(dropin_of(m, "kvmesh-proxy@out.service"));
	model_free(m);
	arena_done(&a);
}
END_TEST

START_TEST(text_cannot_break_out_of_a_comment)
{
	struct model *m;
	struct err_list errs;

	err_list_init(&errs);
	model_load_text(STR("kind: Workload\napiVersion: kvmesh/v1\nmetadata: { name: \"x\\n[Service]\" }\n"
			    "spec: { unit: x.service, inject: true }\n"),
			"a b", DOC_SYNTAX_YAML, NULL, &m, &errs);
	const struct inject_dropin *d = dropin_of(m, "x.service");

	ck_assert_ptr_nonnull(d);
	ck_assert(str_has_prefix(d->text, STR("# Made by kvmesh-generator for Workload "
					      "x?[Service].default of a?b.\n")));
	model_free(m);
	arena_done(&a);
	err_list_done(&errs);
}
END_TEST

UNIT_MAIN("inject", quantities, units_that_are_left_alone, names_of_units, who_is_injected, a_unit_is_ordered_behind_its_proxy,
		  dangerous_units_only_when_forced, limits_of_an_instance, a_proxy_of_its_own,
		  text_cannot_break_out_of_a_comment)
