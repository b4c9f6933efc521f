/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of ctl/draft, ctl/guess and ctl/listening: what is found of a unit and written of it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "config/load.h"
#include "ctl/draft.h"
#include "ctl/guess.h"
#include "unit.h"

static struct arena *new_arena(void)
{
	struct arena *a = kv_zalloc(sizeof(*a));

	arena_init(a, 0);
	return a;
}

static void free_arena(struct arena *a)
{
	arena_done(a);
	free(a);
}

static struct draft draft_of(const char *unit, const char *lines, struct arena *a)
{
	struct draft d;
	struct err err = { 0 };

	draft_init(&d, str_c(unit), a);
	ck_assert_msg(draft_read_unit(&d, str_c(lines), &err) == 0, "%s", err.text);
	return d;
}

START_TEST(names)
{
	static const struct {
		const char *unit, *name, *account, *app, *version;
	} rows[] = {
		{ "shop.service", "shop", NULL, "shop", NULL },
		{ "my-app-v1.service", "my-app-v1", "my-app", "my-app", "v1" },
		{ "redis-server@x.service", "redis-server-x", NULL, "redis-server", NULL },
		{ "My_App.service", "my-app", NULL, "my-app", NULL },
		{ "a\\x2db@c\\x2dd.service", "a-x2db-c-x2dd", "a-x2db", "a-x2db", NULL },
		{ "x-v.service", "x-v", NULL, "x-v", NULL },
		{ "x-vendor.service", "x-vendor", NULL, "x-vendor", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arena *a = new_arena();
		struct draft d = draft_of(rows[i].unit, "", a);

		draft_complete(&d);
		unit_str_eq(d.name, rows[i].name);
		unit_str_eq(d.account, rows[i].account);
		unit_str_eq(labels_get(&d.labels, STR("app")), rows[i].app);
		unit_str_eq(labels_get(&d.labels, STR("version")), rows[i].version);
		free_arena(a);
	}
	struct arena *a = new_arena();

	unit_str_eq(draft_unit_name(STR("shop"), a), "shop.service");
	unit_str_eq(draft_unit_name(STR("shop.socket"), a), "shop.socket");
	unit_str_eq(draft_unit_name(STR("redis@1.2"), a), "redis@1.2.service");
	free_arena(a);
}
END_TEST

START_TEST(lines_of_the_unit)
{
	struct arena *a = new_arena();
	struct draft d = draft_of("web@a\\x2db.service",
				  "# /etc/systemd/system/web@.service\n"
				  "[Unit]\n"
				  "X-KVMesh-Label=version=%I tier=front\n"
				  "[Service]\n"
				  "ExecStart=/bin/true X-KVMesh-Label=no=no\n"
				  "  x-kvmesh-label = \"tier=back\"\n"
				  "X-KVMesh-Namespace=shop\n"
				  "X-KVMesh-Port=8001:api/GRPC\n"
				  "X-KVMesh-Port=8002\n"
				  "X-KVMesh-Annotation=sidecar.istio.io/proxyCPU=100m\n"
				  "#X-KVMesh-Name=commented\n"
				  "X-KVMesh-Name=%p-100%%\n",
				  a);

	unit_str_eq(labels_get(&d.labels, STR("version")), "a-b");
	unit_str_eq(labels_get(&d.labels, STR("tier")), "back");
	ck_assert_uint_eq(d.labels.n, 2);
	unit_str_eq(d.ns, "shop");
	unit_str_eq(d.name, "web-100%");
	unit_str_eq(labels_get(&d.annotations, STR("sidecar.istio.io/proxyCPU")), "100m");
	ck_assert_uint_eq(d.n_ports, 2);
	unit_str_eq(d.ports[0].name, "api");
	unit_str_eq(d.ports[0].protocol, "GRPC");
	ck_assert_uint_eq(d.ports[1].number, 8002);
	free_arena(a);
}
END_TEST

START_TEST(wrong_lines_are_told)
{
	static const char *const wrong[] = {
		"X-KVMesh-Lable=a=b\n",   "X-KVMesh-Label=ab\n",     "X-KVMesh-Port=0\n",
		"X-KVMesh-Port=65536\n",  "X-KVMesh-Port=80:\n",     "X-KVMesh-Port=80/\n",
		"X-KVMesh-Port=http\n",   "X-KVMesh-Name=\n",        "X-KVMesh-Name=%x\n",
		"X-KVMesh-Name=%\n",      "X-KVMesh-=x\n",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct arena *a = new_arena();
		struct draft d;
		struct err err = { 0 };

		draft_init(&d, STR("x.service"), a);
		ck_assert_msg(draft_read_unit(&d, str_c(wrong[i]), &err) < 0, "%s", wrong[i]);
		ck_assert_msg(err.text[0] != '\0', "%s", wrong[i]);
		free_arena(a);
	}
}
END_TEST

START_TEST(guesses)
{
	static const struct {
		uint16_t port;
		const char *program, *name, *protocol;
	} rows[] = {
		{ 6379, "redis-server", "redis", "REDIS" }, { 7001, "redis-server", "redis", "REDIS" },
		{ 8001, "nginx", "http", "HTTP" },          { 443, "nginx", "https", "HTTPS" },
		{ 5432, "anything", "tcp-postgres", "TCP" }, { 50051, "shop", "grpc", "GRPC" },
		{ 3306, "mariadbd", "mysql", "MYSQL" },     { 8001, "shop", NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guess g = guess_port(rows[i].port, str_c(rows[i].program));

		ck_assert_pstr_eq(g.name, rows[i].name);
		ck_assert_pstr_eq(g.protocol, rows[i].protocol);
	}
}
END_TEST

static struct listening at(const char *ip, uint16_t port, const char *program)
{
	struct listening l = { .port = port };

	ck_assert(sock_addr_parse(str_c(ip), port, &l.at));
	snprintf(l.program, sizeof(l.program), "%s", program);
	return l;
}

START_TEST(the_file)
{
	struct arena *a = new_arena();
	struct draft d = draft_of("shop-v2.service", "X-KVMesh-Port=8001/HTTP2\nX-KVMesh-Label=q=\"\\\n", a);
	const struct listening v[] = {
		at("127.0.0.1", 22, "sshd"), at("0.0.0.0", 80, "nginx"), at("::", 81, "nginx"),
		at("127.0.0.1", 8001, "shop"), at("127.0.0.1", 9999, "shop"),
		at("10.0.0.1", 12345, "shop"),
	};

	draft_add_listening(&d, v, sizeof(v) / sizeof(v[0]));
	draft_complete(&d);
	unit_str_eq(draft_text(&d),
		    "# port 22 is SSH's and stays out of the mesh\n"
		    "# port 12345 is left out: it is at 10.0.0.1, a Workload has one address\n"
		    "Workload = {\n"
		    "  name = \"shop-v2\";\n"
		    "  unit = \"shop-v2.service\";\n"
		    "  serviceAccount = \"shop\";\n"
		    "  inject = true;\n"
		    "  # by the unit's name\n"
		    "  labels = [ \"q=\\\"\\\\\", \"app=shop\", \"version=v2\" ];\n"
		    "  ports = (\n"
		    "    { number = 8001; protocol = \"HTTP2\"; },\n"
		    "    # nginx listens; HTTP by the port's number\n"
		    "    { name = \"http\"; number = 80; protocol = \"HTTP\"; },\n"
		    "    # nginx listens; HTTP by the program's name\n"
		    "    { name = \"http-81\"; number = 81; protocol = \"HTTP\"; },\n"
		    "    # shop listens; the protocol is found out by looking\n"
		    "    { number = 9999; }\n"
		    "  );\n"
		    "};\n");
	free_arena(a);
}
END_TEST

START_TEST(the_file_loads)
{
	struct arena *a = new_arena();
	struct draft d = draft_of("redis@6380.service", "X-KVMesh-Annotation=a.b/c=d=e\n", a);
	const struct listening v[] = { at("::1", 6380, "redis-server") };
	struct err_list errs;
	struct model *m;

	draft_add_listening(&d, v, 1);
	draft_complete(&d);
	err_list_init(&errs);
	ck_assert_int_eq(model_load_text(draft_text(&d), "x", DOC_SYNTAX_NATIVE, NULL, &m, &errs), 0);
	const struct model_workload *w = model_as_workload(
		model_find(m, MODEL_KIND_WORKLOAD, STR("default"), STR("redis-6380")));

	ck_assert(w->inject && w->injected);
	unit_str_eq(w->address, "::1");
	unit_str_eq(w->serviceAccount, "redis");
	unit_str_eq(labels_get(&w->r.annotations, STR("a.b/c")), "d=e");
	ck_assert_int_eq(w->ports.v[0].number, 6380);
	model_free(m);
	err_list_done(&errs);
	free_arena(a);
}
END_TEST

static int listen_at(const char *ip, uint16_t *ret_port)
{
	struct sock_addr any, got;
	struct err err = { 0 };

	ck_assert(sock_addr_parse(str_c(ip), 0, &any));
	int fd = sock_listen_tcp(&any, 0, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	ck_assert_int_eq(sock_local_addr(fd, &got), 0);
	*ret_port = sock_addr_port(&got);
	return fd;
}

/* This process's own sockets, by a directory that looks like its control group. */
START_TEST(sockets_of_a_group)
{
	char dir[] = "/tmp/kvmesh-draft-XXXXXX";
	struct arena *a = new_arena();
	struct listening *v;
	struct err err = { 0 };
	uint16_t p4;
	size_t n;
	int fd = listen_at("127.0.0.1", &p4);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	_cleanup_free_ char *sub = kv_asprintf("%s/sub", dir);
	_cleanup_free_ char *upper = kv_asprintf("%s/cgroup.procs", dir);
	_cleanup_free_ char *lower = kv_asprintf("%s/cgroup.procs", sub);
	_cleanup_free_ char *pid = kv_asprintf("%d\n", (int)getpid());

	ck_assert_int_eq(fs_mkdir(sub, 0755, &err), 0);
	ck_assert_int_eq(fs_write(upper, "", 0, 0644, &err), 0);
	ck_assert_int_eq(listening_find_in(dir, a, &v, &n, &err), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(fs_write(lower, pid, strlen(pid), 0644, &err), 0);
	ck_assert_int_eq(listening_find_in(dir, a, &v, &n, &err), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(v[0].port, p4);
	ck_assert(sock_addr_is_loopback(&v[0].at));
	ck_assert_uint_gt(strlen(v[0].program), 0);
	close(fd);
	ck_assert_int_eq(listening_find_in(dir, a, &v, &n, &err), 0);
	ck_assert_uint_eq(n, 0);
	unlink(upper);
	unlink(lower);
	rmdir(sub);
	ck_assert_int_lt(listening_find_in(dir, a, &v, &n, &err), 0);
	rmdir(dir);
	free_arena(a);
}
END_TEST

UNIT_MAIN("draft", names, lines_of_the_unit, wrong_lines_are_told, guesses, the_file, the_file_loads,
	  sockets_of_a_group)
