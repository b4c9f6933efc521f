/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ca: who may have which identity (policy), what the kernel says about a caller (attest), how often
 * (rate).
 */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ca/attest.h"
#include "ca/policy.h"
#include "ca/program.h"
#include "ca/rate.h"
#include "io/tls_digest.h"
#include "unit.h"

#define UID_PROXY 901
#define UID_APP 902
#define UID_OTHER 903
#define NODE_ID "spiffe://td/ns/kvmesh-system/sa/n1"

static bool is_user(uid_t uid, const char *name)
{
	return (uid == UID_PROXY && strcmp(name, "kvmesh-proxy") == 0) ||
	       (uid == UID_APP && strcmp(name, "app") == 0) ||
	       (uid == 0 && strcmp(name, "root") == 0);
}

#define ID(id, px, un, us) { \
	.spiffe = STR("spiffe://td/ns/default/sa/" id), .workload = STR(id), .ns = STR("default"), \
	.proxy = STR(px), .unit = STR(un), .user = STR(us), \
}
static struct registry_identity identities[] = {
	{ .spiffe = STR(NODE_ID),
	  .workload = STR("n1"),
	  .ns = STR("kvmesh-system"),
	  .proxy = STR("node") },
	ID("by-unit", "node", "app.service", ""),
	ID("by-user", "node", "", "app"),
	ID("by-both", "node", "app.service", "app"),
	ID("as-root", "node", "", "root"),
	ID("edge", "ingressgateway", "", ""),
	/* Two workloads, one service account. */
	ID("twice", "node", "v1.service", ""),
	ID("twice", "dedicated", "v2.service", ""),
	/* Files of theirs are wanted. */
	{ .spiffe = STR("spiffe://td/ns/default/sa/pem"), .workload = STR("pem"), .ns = STR("default"),
	  .proxy = STR("node"), .unit = STR("pem.service"), .files = true },
	{ .spiffe = STR("spiffe://td/ns/default/sa/pem-shop"), .workload = STR("pem"), .ns = STR("shop"),
	  .proxy = STR("node"), .unit = STR("shop.service"), .files = true },
	{ .spiffe = STR("spiffe://td/ns/default/sa/dotted"), .workload = STR("pem.shop"), .ns = STR("default"),
	  .proxy = STR("node"), .files = true },
};
static const struct registry reg = {
	.trust_domain = STR("td"),
	.identities = { .v = identities, .n = sizeof(identities) / sizeof(identities[0]) },
};
static const struct policy_rules systemd = { .own_uid = 900, .is_user = is_user };
static const struct policy_rules standalone = { .standalone = true,
						.own_uid = 900,
						.is_user = is_user };

static const struct case_row {
	const struct policy_rules *rules;
	uid_t uid;
	const char *unit, *says, *wants;
	int code;
	const char *as;                 /* proxy it was granted as; "" as the workload */
} cases[] = {
	/* The node proxy, by its unit and its user together. */
	{ &systemd, UID_PROXY, "kvmesh-proxy.service", "node", "by-unit", 0, "node" },
	{ &systemd, UID_PROXY, "kvmesh-proxy.service", "", "by-unit", 0, "node" },
	{ &systemd, UID_PROXY, "kvmesh-proxy.service", "node", "twice", 0, "node" },
	{ &systemd, UID_PROXY, "kvmesh-proxy.service", "node", "edge", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_PROXY, "kvmesh-proxy.service", "node", "unheard-of", KV_ERR_NOT_FOUND,
	  NULL },
	{ &systemd, UID_OTHER, "kvmesh-proxy.service", "node", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-proxy.service", "node", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_PROXY, "", "node", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_PROXY, "other.service", "node", "by-unit", KV_ERR_REFUSED, NULL },
	/* What it says about itself must be true. */
	{ &systemd, UID_PROXY, "kvmesh-proxy.service", "ingressgateway", "edge", KV_ERR_REFUSED,
	  NULL },
	{ &systemd, UID_PROXY, "kvmesh-proxy@ingressgateway.service", "ingressgateway", "edge", 0,
	  "ingressgateway" },
	{ &systemd, UID_PROXY, "kvmesh-proxy@ingressgateway.service", "node", "by-unit",
	  KV_ERR_REFUSED, NULL },
	{ &systemd, UID_PROXY, "kvmesh-proxy@ingressgateway.service", "", "by-unit", KV_ERR_REFUSED,
	  NULL },
	{ &systemd, UID_PROXY, "kvmesh-proxy@dedicated.service", "", "twice", 0, "dedicated" },
	/* An instance called node is not the node's proxy. */
	{ &systemd, UID_PROXY, "kvmesh-proxy@node.service", "node", "by-unit", KV_ERR_REFUSED,
	  NULL },
	{ &systemd, UID_PROXY, "kvmesh-proxy@.service", "", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_PROXY, "kvmesh-proxy@ingressgateway.socket", "ingressgateway", "edge",
	  KV_ERR_REFUSED, NULL },
	/* Workloads: their own identity, no other. */
	{ &systemd, UID_OTHER, "app.service", "", "by-unit", 0, "" },
	{ &systemd, UID_OTHER, "app.service", "node", "by-unit", 0, "" },
	{ &systemd, UID_OTHER, "app.service", "", "by-both", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_APP, "app.service", "", "by-both", 0, "" },
	{ &systemd, UID_APP, "shell.scope", "", "by-both", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_APP, "", "", "by-user", 0, "" },
	{ &systemd, UID_OTHER, "", "", "by-user", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_OTHER, "v2.service", "", "twice", 0, "" },
	{ &systemd, UID_OTHER, "user@1000.service", "", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_OTHER, "", "", "edge", KV_ERR_REFUSED, NULL },
	/* root gets nothing by its unit alone. */
	{ &systemd, 0, "app.service", "", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "", "", "as-root", 0, "" },
	/* The unit that writes files: as root, under the workload's name, where files are wanted. */
	{ &systemd, 0, "kvmesh-certs@pem.service", "", "pem", 0, "" },
	{ &systemd, 0, "kvmesh-certs@pem.shop.service", "", "pem-shop", 0, "" },
	{ &systemd, 0, "kvmesh-certs@pem.shop.service", "", "pem", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-certs@pem.service", "", "pem-shop", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-certs@pem.shop.service", "", "dotted", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-certs@by-unit.service", "", "by-unit", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-certs@pemx.service", "", "pem", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-certs@pem.", "", "pem", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "kvmesh-certs@.service", "", "pem", KV_ERR_REFUSED, NULL },
	{ &systemd, 0, "pem.service", "", "pem", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_OTHER, "kvmesh-certs@pem.service", "", "pem", KV_ERR_REFUSED, NULL },
	{ &systemd, UID_OTHER, "pem.service", "", "pem", 0, "" },
	{ &standalone, 900, "", "", "pem", 0, "" },
	{ &standalone, UID_OTHER, "", "", "pem", KV_ERR_REFUSED, NULL },
	/* kvmeshctl run: the own user is whichever instance it names. */
	{ &standalone, 900, "", "node", "by-unit", 0, "node" },
	{ &standalone, 900, "", "ingressgateway", "edge", 0, "ingressgateway" },
	{ &standalone, 900, "", "ingressgateway", "by-unit", KV_ERR_REFUSED, NULL },
	{ &standalone, 900, "", "", "by-unit", KV_ERR_REFUSED, NULL },
	{ &standalone, UID_OTHER, "", "node", "by-unit", KV_ERR_REFUSED, NULL },
	{ &standalone, UID_PROXY, "kvmesh-proxy.service", "node", "by-unit", KV_ERR_REFUSED, NULL },
	{ &standalone, UID_OTHER, "app.service", "", "by-unit", KV_ERR_REFUSED, NULL },
	{ &standalone, UID_APP, "", "", "by-user", 0, "" },
};

START_TEST(table_of_callers)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct case_row *c = &cases[i];
		const struct policy_caller caller = {
			.uid = c->uid, .unit = c->unit, .proxy = str_c(c->says), .executable = "",
		};
		struct policy_grant grant = { 0 };
		struct err err = { 0 };
		char id[128];

		snprintf(id, sizeof(id), "spiffe://td/ns/default/sa/%s", c->wants);
		int code = policy_decide(c->rules, &reg, &caller, str_c(id), &grant, &err);

		ck_assert_msg(code == c->code, "case %zu (%s in %s wants %s): %d, %s", i, c->says,
			      c->unit, c->wants, code, err.text);
		if (code == 0) {
			unit_str_eq(grant.proxy, c->as);
			unit_str_eq(grant.identity->spiffe, id);
		} else {
			ck_assert_str_ne(err.text, "");
		}
	}
}
END_TEST

START_TEST(node_identity_is_for_the_node_proxy_alone)
{
	const struct policy_caller proxy = { .uid = UID_PROXY, .unit = "kvmesh-proxy.service" };
	const struct policy_caller app = { .uid = UID_APP, .unit = "app.service" };
	struct policy_grant grant;
	struct err err;

	ck_assert_int_eq(policy_decide(&systemd, &reg, &proxy, STR(NODE_ID), &grant, &err), 0);
	ck_assert_int_eq(policy_decide(&systemd, &reg, &app, STR(NODE_ID), &grant, &err),
			 KV_ERR_REFUSED);
}
END_TEST

static pid_t start_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(attest_follows_the_process)
{
	struct attest a;
	struct err err = { 0 };
	pid_t pid = start_child();
	const struct sock_peer peer = { .uid = getuid(), .pid = pid };

	ck_assert_msg(attest_begin(&peer, clock_boot_us(), &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.uid, getuid());
	ck_assert_uint_gt(a.start_ticks, 0);
	ck_assert_int_eq(attest_confirm(&a, &err), 0);
	end_child(pid);
	ck_assert_int_eq(attest_confirm(&a, &err), KV_ERR_REFUSED);
	attest_end(&a);
	ck_assert_int_eq(attest_begin(&peer, clock_boot_us(), &a, &err), KV_ERR_REFUSED);
	ck_assert_int_eq(a.pidfd, -1);
}
END_TEST

START_TEST(attest_refuses_what_cannot_be)
{
	struct attest a;
	struct err err = { 0 };
	pid_t pid = start_child();
	const struct sock_peer other_user = { .uid = getuid() + 1, .pid = pid };
	const struct sock_peer invisible = { .uid = getuid(), .pid = 0 };
	const struct sock_peer late = { .uid = getuid(), .pid = pid };

	ck_assert_int_eq(attest_begin(&other_user, clock_boot_us(), &a, &err), KV_ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "another user"));
	ck_assert_int_eq(attest_begin(&invisible, clock_boot_us(), &a, &err), KV_ERR_REFUSED);
	/* The connection is older than the process: its pid was used again. */
	ck_assert_int_eq(attest_begin(&late, 1000000, &a, &err), KV_ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "after the connection"));
	end_child(pid);
}
END_TEST

/* A copy of /bin/sleep that runs; what is appended makes it another file. */
static pid_t run_copy(const char *path, const char *more)
{
	char *cmd = kv_asprintf("cp /bin/sleep %s && printf '%%s' '%s' >> %s", path, more, path);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", cmd, NULL);
		_exit(1);
	}
	free(cmd);
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execl(path, "sleep", "600", NULL);
		_exit(1);
	}
	return pid;
}

static void sha256_of(const char *path, char ret[static TLS_DIGEST_HEX_MAX])
{
	struct tls_digest *d = tls_digest_new();
	char *text;
	size_t n;

	ck_assert_int_eq(fs_read(path, 64u << 20, &text, &n, NULL), 0);
	tls_digest_add(d, str_from(text, n));
	tls_digest_end(d, ret);
	free(text);
}

/* Once it has become that program. */
static void begin_with(const char *path, pid_t pid, struct attest *a)
{
	const struct sock_peer peer = { .uid = getuid(), .pid = pid };
	struct err err = { 0 };

	for (;;) {
		ck_assert_msg(attest_begin(&peer, clock_boot_us(), a, &err) == 0, "%s", err.text);
		if (strcmp(a->executable, path) == 0)
			return;
		attest_end(a);
		usleep(1000);
	}
}

START_TEST(program_is_its_file_and_its_bytes)
{
	char dir[] = "/tmp/kv-program-XXXXXX", hex[TLS_DIGEST_HEX_MAX], other[TLS_DIGEST_HEX_MAX];
	struct err err = { 0 };
	struct attest a;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	char *path = kv_asprintf("%s/one", dir), *second = kv_asprintf("%s/two", dir);
	char *alias = kv_asprintf("%s/alias", dir);
	pid_t pid = run_copy(path, "1"), pid2 = run_copy(second, "2");

	ck_assert_int_eq(symlink(path, alias), 0);
	begin_with(path, pid, &a);
	sha256_of(path, hex);
	sha256_of(second, other);
	for (int i = 0; i < 2; i++) {           /* read, and from what is kept */
		ck_assert_msg(program_check(&a, str_c(path), str_c(hex), &err) == 0, "%s", err.text);
		ck_assert_int_eq(program_check(&a, STR(""), str_c(other), &err), KV_ERR_REFUSED);
		ck_assert_ptr_nonnull(strstr(err.text, "another SHA-256"));
	}
	ck_assert_int_eq(program_check(&a, str_c(alias), STR(""), &err), 0);
	ck_assert_int_eq(program_check(&a, str_c(second), STR(""), &err), KV_ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "another program"));
	ck_assert_int_eq(program_check(&a, STR("/nowhere"), STR(""), &err), KV_ERR_REFUSED);
	ck_assert_int_eq(attest_confirm(&a, &err), 0);
	/* Another file of that name: what runs is no longer it. */
	ck_assert_int_eq(rename(second, path), 0);
	ck_assert_int_eq(program_check(&a, str_c(path), STR(""), &err), KV_ERR_REFUSED);
	ck_assert_int_eq(program_check(&a, STR(""), str_c(hex), &err), 0);
	end_child(pid);
	ck_assert_int_eq(program_check(&a, STR(""), str_c(hex), &err), KV_ERR_REFUSED);
	attest_end(&a);
	end_child(pid2);
	unlink(alias);
	unlink(path);
	rmdir(dir);
	free(path);
	free(second);
	free(alias);
}
END_TEST

START_TEST(program_that_becomes_another_is_found_out)
{
	struct err err = { 0 };
	struct attest a;
	int go[2];

	ck_assert_int_eq(pipe(go), 0);
	pid_t pid = fork();

	if (pid == 0) {
		char c;

		close(go[1]);
		(void)!read(go[0], &c, 1);
		execl("/bin/sleep", "sleep", "600", NULL);
		_exit(1);
	}
	const struct sock_peer peer = { .uid = getuid(), .pid = pid };

	ck_assert_int_eq(attest_begin(&peer, clock_boot_us(), &a, &err), 0);
	ck_assert_msg(program_check(&a, str_c(a.executable), STR(""), &err) == 0, "%s", err.text);
	ck_assert_int_eq(attest_confirm(&a, &err), 0);
	close(go[1]);
	while (attest_confirm(&a, &err) == 0)
		usleep(1000);
	ck_assert_ptr_nonnull(strstr(err.text, "another program"));
	attest_end(&a);
	end_child(pid);
	close(go[0]);
}
END_TEST

static bool runs_it(void *process, const struct registry_identity *id)
{
	(void)id;
	return *(bool *)process;
}

START_TEST(a_program_is_asked_for_after_unit_and_user)
{
	struct registry_identity own = { .spiffe = STR("spiffe://td/ns/default/sa/x"), .proxy = STR("node"),
					 .unit = STR("app.service"), .executable = STR("/usr/bin/app") };
	const struct registry one = { .identities = { .v = &own, .n = 1 } };
	bool does = true;
	struct policy_caller caller = { .uid = UID_APP, .unit = "app.service", .runs = runs_it, .process = &does };
	struct policy_grant grant;
	struct err err;

	ck_assert_int_eq(policy_decide(&systemd, &one, &caller, own.spiffe, &grant, &err), 0);
	does = false;
	ck_assert_int_eq(policy_decide(&systemd, &one, &caller, own.spiffe, &grant, &err), KV_ERR_REFUSED);
	does = true;
	caller.unit = "other.service";
	ck_assert_int_eq(policy_decide(&systemd, &one, &caller, own.spiffe, &grant, &err), KV_ERR_REFUSED);
	caller.unit = "app.service";
	caller.runs = NULL;
	ck_assert_int_eq(policy_decide(&systemd, &one, &caller, own.spiffe, &grant, &err), KV_ERR_REFUSED);
	/* Its proxy is no program of it. */
	const struct policy_caller proxy = { .uid = UID_PROXY, .unit = "kvmesh-proxy.service" };

	ck_assert_int_eq(policy_decide(&systemd, &one, &proxy, own.spiffe, &grant, &err), 0);
}
END_TEST

START_TEST(rate_refills)
{
	struct rate r;
	uint64_t now = 1000000000;

	rate_init(&r, 10, 50);
	for (int i = 0; i < 50; i++)
		ck_assert(rate_take(&r, 1, now));
	ck_assert(!rate_take(&r, 1, now));
	ck_assert(rate_take(&r, 2, now));
	ck_assert(rate_take(&r, 1, now + 100000));
	ck_assert(!rate_take(&r, 1, now + 100000));
	int n = 0;

	while (rate_take(&r, 1, now + 3600ull * 1000000 * 24 * 365))
		n++;
	ck_assert_int_eq(n, 50);
}
END_TEST

START_TEST(rate_has_a_limit_for_all_together)
{
	struct rate r;
	int n = 0;

	rate_init(&r, 10, 50);
	for (uid_t uid = 1; uid <= 1000; uid++)
		n += rate_take(&r, uid, 1000000000);
	ck_assert_int_eq(n, RATE_NODE_PER_SECOND);
}
END_TEST

UNIT_MAIN("ca_policy", table_of_callers, node_identity_is_for_the_node_proxy_alone,
	  attest_follows_the_process, attest_refuses_what_cannot_be,
	  program_is_its_file_and_its_bytes, program_that_becomes_another_is_found_out,
	  a_program_is_asked_for_after_unit_and_user, rate_refills,
	  rate_has_a_limit_for_all_together)
