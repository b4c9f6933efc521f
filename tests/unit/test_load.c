/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of config/load: files and their trust, settings, defaults from other fields, limits, field
 * tables.
 */
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "config_unit.h"

/* ---- a directory of files ------------------------------------------------------------------ */

#define DIR_FORM "/tmp/kvmesh-test-load-XXXXXX"
static char dir[sizeof(DIR_FORM)];

static void make_dir(void)
{
	memcpy(dir, DIR_FORM, sizeof(DIR_FORM));
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void put(const char *name, const char *text)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", dir, name);
	char *slash = strrchr(path, '/');
	struct err e;

	*slash = '\0';
	ck_assert_int_eq(fs_mkdir(path, 0755, &e), 0);
	*slash = '/';
	ck_assert_int_eq(fs_write(path, text, strlen(text), 0644, &e), 0);
}

static int load_opts(struct model **m, struct err_list *errs, bool any_owner)
{
	struct model_load_opts opts = { .node_name = "host-1", .any_owner = any_owner };

	err_list_init(errs);
	return model_load_dir(dir, &opts, m, errs);
}

static void remove_dir(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", dir, NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

#define VS_FOR(name)                                                                               \
	"VirtualService = { name = \"" name "\"; hosts = [ \"" name                                \
	".example.org\" ]; http = ( { directResponse = { status = 200; }; } ); };\n"

START_TEST(directories_and_leftovers)
{
	struct err_list errs;
	struct model *m;

	make_dir();
	put("mesh.d/b.conf", VS_FOR("b"));
	put("mesh.d/a/deep.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec: { "
				  "ports: [ { port: 1, name: http } ] }\n");
	put("mesh.d/a/deep.yml", "---\n");
	put("mesh.d/.hidden.conf", "broken = {");
	put("mesh.d/b.conf~", "broken = {");
	put("mesh.d/.b.conf.swp", "broken = {");
	put("mesh.d/b.conf.dpkg-new", "broken = {");
	put("mesh.d/b.conf.dpkg-old.conf", "broken = {");
	put("mesh.d/#b.conf", "broken = {");
	put("mesh.d/README", "broken = {");
	put("workloads.d/w.conf", "Workload = { name = \"w\"; unit = \"w.service\"; };\n");
	put("workloads.d/sub/not-read.conf", "broken = {");
	put("services.d/s.conf",
	    "Service = { name = \"t\"; ports = ( { port = 1; name = \"http\"; } ); };\n");
	ck_assert_int_eq(load_opts(&m, &errs, false), 0);
	ck_assert_uint_eq(errs.n, 0);
	ck_assert_uint_eq(m->n_resources, 4);
	ck_assert_ptr_nonnull(model_find(m, MODEL_KIND_SERVICE, STR("default"), STR("s")));
	unit_str_eq(m->mesh.node.name, "host-1");
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

START_TEST(an_empty_directory_is_a_configuration)
{
	struct err_list errs;
	struct model *m;

	make_dir();
	ck_assert_int_eq(load_opts(&m, &errs, false), 0);
	ck_assert_uint_eq(m->n_resources, 0);
	ck_assert_int_eq(m->mesh.mesh.proxyHttpPort, 15080);
	model_free(m);
	remove_dir();
	ck_assert_int_eq(load_opts(&m, &errs, false), -ENOENT);
	ck_assert_ptr_nonnull(m);
	model_free(m);
	err_list_done(&errs);
}
END_TEST

START_TEST(writable_files_are_refused)
{
	_cleanup_free_ char *path = NULL;
	struct err_list errs;
	struct model *m;

	make_dir();
	put("mesh.d/a.conf", VS_FOR("a"));
	put("mesh.d/b.conf", VS_FOR("b"));
	path = kv_asprintf("%s/mesh.d/a.conf", dir);
	ck_assert_int_eq(chmod(path, 0664), 0);
	ck_assert_int_lt(load_opts(&m, &errs, false), 0);
	ck_assert_uint_eq(config_count(&errs, "KVM0002"), 1);
	ck_assert_ptr_nonnull(strstr(errs.v[0].file, "mesh.d/a.conf"));
	/* The rest is read all the same, so that everything wrong is told at once. */
	ck_assert_uint_eq(m->n_resources, 1);
	model_free(m);
	err_list_done(&errs);
	ck_assert_int_eq(load_opts(&m, &errs, true), 0);
	ck_assert_uint_eq(m->n_resources, 2);
	model_free(m);
	err_list_done(&errs);
	ck_assert_int_eq(chmod(path, 0644), 0);
	free(take(&path));
	path = kv_asprintf("%s/mesh.d", dir);
	ck_assert_int_eq(chmod(path, 0777), 0);
	ck_assert_int_lt(load_opts(&m, &errs, false), 0);
	ck_assert_uint_eq(config_count(&errs, "KVM0002"), 1);
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

START_TEST(foreign_owners_are_refused)
{
	_cleanup_free_ char *path = NULL;
	struct err_list errs;
	struct model *m;

	if (geteuid() != 0)
		return;         /* only root can make such a file */
	make_dir();
	put("mesh.d/a.conf", VS_FOR("a"));
	path = kv_asprintf("%s/mesh.d/a.conf", dir);
	ck_assert_int_eq(chown(path, 12345, 12345), 0);
	ck_assert_int_eq(load_opts(&m, &errs, false), KV_ERR_REFUSED);
	model_free(m);
	err_list_done(&errs);
	ck_assert_int_eq(load_opts(&m, &errs, true), 0);
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

START_TEST(links_out_of_the_directory_are_refused)
{
	_cleanup_free_ char *inside = NULL, *outside = NULL, *loop = NULL;
	struct err_list errs;
	struct model *m;

	make_dir();
	put("mesh.d/a.conf", VS_FOR("a"));
	put("elsewhere/b.conf", VS_FOR("b"));
	inside = kv_asprintf("%s/mesh.d/inside.conf", dir);
	ck_assert_int_eq(symlink("../elsewhere/b.conf", inside), 0);
	ck_assert_int_eq(load_opts(&m, &errs, false), 0);
	ck_assert_uint_eq(m->n_resources, 2);
	model_free(m);
	err_list_done(&errs);
	outside = kv_asprintf("%s/mesh.d/outside.conf", dir);
	ck_assert_int_eq(symlink("/etc/hostname", outside), 0);
	ck_assert_int_eq(load_opts(&m, &errs, true), KV_ERR_REFUSED);
	ck_assert_uint_eq(config_count(&errs, "KVM0002"), 1);
	model_free(m);
	err_list_done(&errs);
	ck_assert_int_eq(unlink(outside), 0);
	/* A directory that contains itself ends at the depth limit. */
	loop = kv_asprintf("%s/mesh.d/loop", dir);
	ck_assert_int_eq(symlink(".", loop), 0);
	ck_assert_int_lt(load_opts(&m, &errs, false), 0);
	ck_assert_uint_ge(config_count(&errs, "KVM0006"), 1);
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

START_TEST(included_files_are_trusted_alike)
{
	_cleanup_free_ char *path = NULL;
	struct err_list errs;
	struct model *m;

	make_dir();
	put("mesh.d/a.conf", "@include \"../shared/a.inc\"\n" VS_FOR("b"));
	put("shared/a.inc",
	    "Service = { name = \"s\"; ports = ( { port = 1; name = \"http\"; } ); };\n");
	ck_assert_int_eq(load_opts(&m, &errs, false), 0);
	ck_assert_uint_eq(m->n_resources, 2);
	ck_assert_ptr_nonnull(strstr(m->of[MODEL_KIND_SERVICE].v[0]->at.file, "a.inc"));
	model_free(m);
	err_list_done(&errs);
	path = kv_asprintf("%s/shared/a.inc", dir);
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(load_opts(&m, &errs, false), KV_ERR_REFUSED);
	model_free(m);
	err_list_done(&errs);
	put("mesh.d/a.conf", "@include \"/etc/hostname\"\n");
	ck_assert_int_lt(load_opts(&m, &errs, true), 0);
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

START_TEST(dropins_are_merged_key_by_key)
{
	struct err_list errs;
	struct arena a;
	struct model *m;
	struct doc *all;

	make_dir();
	arena_init(&a, 0);
	put("kvmesh.conf", "node = { meshPort = 1; readyPort = 2; };\nmesh = { "
			   "rootNamespaceAliases = [ \"x\", \"y\" ]; };\n");
	put("conf.d/20-b.conf", "node = { meshPort = 4; };\n");
	put("conf.d/10-a.conf", "node = { meshPort = 3; inboundPort = 0; };\nmesh = { "
				"rootNamespaceAliases = [ \"z\" ]; };\n");
	ck_assert_int_eq(load_opts(&m, &errs, false), 0);
	ck_assert_int_eq(m->mesh.node.meshPort, 4);
	ck_assert_int_eq(m->mesh.node.readyPort, 2);
	ck_assert_int_eq(m->mesh.node.inboundPort, 0);
	ck_assert_int_eq(m->mesh.node.outboundPort, 15001);
	ck_assert_uint_eq(m->mesh.mesh.rootNamespaceAliases.n, 1);
	/* -T: what is in force, each value with its place, defaults without. */
	all = model_mesh_doc(m, &a);
	struct doc *node = doc_get(all, STR("node"));
	ck_assert_int_eq(doc_get_int(node, "meshPort", 0), 4);
	ck_assert_ptr_nonnull(strstr(doc_get(node, STR("meshPort"))->at.file, "20-b.conf"));
	ck_assert_ptr_nonnull(strstr(doc_get(node, STR("readyPort"))->at.file, "kvmesh.conf"));
	ck_assert_int_eq(doc_get_int(node, "outboundPort", 0), 15001);
	ck_assert_ptr_null(doc_get(node, STR("outboundPort"))->at.file);
	ck_assert_int_eq(doc_get_int(node, "inboundPort", 99), 0);
	model_free(m);
	arena_done(&a);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

START_TEST(every_wrong_file_is_told)
{
	struct err_list errs;
	struct model *m;

	make_dir();
	put("kvmesh.conf", "node = { meshPort = 99999; };\nnodes = { };\n");
	put("mesh.d/a.conf", "VirtualService = {\n  name = \"a\"; hosts = [ \"a\", ];\n};\n");
	put("mesh.d/b.yaml", "kind: [\n");
	put("mesh.d/c.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: "
			     "{ name: c }\nspec: { hostz: [ c ] }\n");
	ck_assert_int_lt(load_opts(&m, &errs, false), 0);
	err_list_sort(&errs);
	ck_assert_uint_eq(errs.n_errors, 5);
	for (size_t i = 0; i < errs.n; i++)
		ck_assert_msg(model_source_text(m, errs.v[i].file).n > 0, "no source of %s",
			      errs.v[i].file);
	ck_assert_uint_eq(errs.v[0].line, 1);
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

/* ---- single texts -------------------------------------------------------------------------- */

START_TEST(guess_syntax)
{
	ck_assert_int_eq(load_guess_syntax(STR("# c\n\napiVersion: v1\n")), DOC_SYNTAX_YAML);
	ck_assert_int_eq(load_guess_syntax(STR("---\nkind: a\n")), DOC_SYNTAX_YAML);
	ck_assert_int_eq(load_guess_syntax(STR("spec: a = b\n")), DOC_SYNTAX_YAML);
	ck_assert_int_eq(load_guess_syntax(STR("// c\nService = {\n")), DOC_SYNTAX_NATIVE);
	ck_assert_int_eq(load_guess_syntax(STR("/* c */ Service = {\n")), DOC_SYNTAX_NATIVE);
	ck_assert_int_eq(load_guess_syntax(STR("@include \"x\"\n")), DOC_SYNTAX_NATIVE);
	ck_assert_int_eq(load_guess_syntax(STR("  {\"kind\": 1}")), DOC_SYNTAX_JSON);
	ck_assert_int_eq(load_guess_syntax(STR("")), DOC_SYNTAX_YAML);
}
END_TEST

static const struct model_workload *workload(const struct model *m, const char *name)
{
	const struct model_resource *r =
		model_find(m, MODEL_KIND_WORKLOAD, STR("default"), str_c(name));

	ck_assert_ptr_nonnull(r);
	return model_as_workload(r);
}

START_TEST(workload_defaults)
{
	struct model *m = config_model(
		"Workload = ("
		" { name = \"a\"; unit = \"reviews@2.service\"; },"
		" { name = \"b\"; user = \"b\"; inject = false; },"
		" { name = \"c\"; unit = \"c.service\"; serviceAccount = \"acc\"; address = "
		"\"10.0.0.1\";"
		"   annotations = [ \"sidecar.istio.io/inject=false\", "
		"\"sidecar.istio.io/proxyCPU=100m\", \"sidecar.istio.io/proxyMemoryLimit=1Gi\" ];"
		"   resources = { requests = { cpu = \"200m\"; }; }; } );\n");

	unit_str_eq(workload(m, "a")->serviceAccount, "reviews");
	unit_str_eq(workload(m, "a")->address, "127.0.0.1");
	ck_assert(workload(m, "a")->inject);
	unit_str_eq(workload(m, "b")->serviceAccount, "b");
	ck_assert(!workload(m, "b")->inject);
	unit_str_eq(workload(m, "c")->serviceAccount, "acc");
	ck_assert(!workload(m, "c")->inject);
	unit_str_eq(workload(m, "c")->resources->requests->cpu, "200m");
	unit_str_eq(workload(m, "c")->resources->limits->memory, "1Gi");
	model_free(m);
}
END_TEST

START_TEST(ports_bodies_and_hosts_are_filled_in)
{
	struct model *m = config_model(CONFIG_BASE);
	const struct model_service *s =
		model_as_service(model_find(m, MODEL_KIND_SERVICE, STR("data"), STR("db")));

	ck_assert_int_eq(s->ports.v[0].targetNumber, 0);
	unit_str_eq(s->ports.v[0].targetName, "pg");
	ck_assert_int_eq(s->ports.v[1].targetNumber, 81);
	ck_assert_ptr_null(s->ports.v[1].targetName.p);
	model_free(m);
	m = config_model("VirtualService = { name = \"v\"; namespace = \"x\"; hosts = [ \"web\", "
			 "\"a.b\" ]; http = ("
			 " { match = ( { port = 1; } ); directResponse = { status = 200; body = { "
			 "bytes = \"aGk_Pw==\"; }; }; },"
			 " { route = ( { destination = { host = \"web\"; }; } ); } ); };\n");
	const struct model_virtual_service *vs =
		model_as_vs(model_find(m, MODEL_KIND_VIRTUAL_SERVICE, STR("x"), STR("v")));

	unit_str_eq(vs->http.v[0].directResponse->body->text, "hi??");
	unit_str_eq(vs->fqdns.v[0], "web.x.svc.cluster.local");
	unit_str_eq(vs->fqdns.v[1], "a.b");
	unit_str_eq(vs->http.v[1].route.v[0].destination->fqdn, "web.x.svc.cluster.local");
	model_free(m);
}
END_TEST

static int64_t seen(void *arg, const char *kind, struct str ns, struct str name)
{
	ck_assert_str_eq(kind, "PeerAuthentication");
	ck_assert(str_eq(ns, STR("default")));
	ck_assert_ptr_eq(arg, &dir);
	return str_eq(name, STR("b")) ? 100 : str_eq(name, STR("c")) ? 50 : 0;
}

START_TEST(age_decides_the_order)
{
	struct model_load_opts opts = { .first_seen = seen, .first_seen_arg = &dir };
	const char *want[] = { "d", "c", "b", "a", "e" };
	struct err_list errs;
	struct model *m;

	err_list_init(&errs);
	ck_assert_int_eq(
		model_load_text(STR("PeerAuthentication = ( { name = \"a\"; }, { name = \"b\"; }, "
				    "{ name = \"c\"; },"
				    " { name = \"d\"; creationTimestamp = "
				    "\"1970-01-01T00:00:00.000001Z\"; }, { name = \"e\"; } );"),
				"t", DOC_SYNTAX_NATIVE, &opts, &m, &errs),
		0);
	for (size_t i = 0; i < 5; i++)
		unit_str_eq(m->of[MODEL_KIND_PEER_AUTHENTICATION].v[i]->name, want[i]);
	model_free(m);
	err_list_done(&errs);
}
END_TEST

START_TEST(json_and_lists_in_lists)
{
	struct err_list errs;
	struct model *m;

	err_list_init(&errs);
	m = config_load("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":"
			"\"networking.istio.io/v1\",\"kind\":\"SidecarList\",\"items\":["
			"{\"apiVersion\":\"networking.istio.io/"
			"v1\",\"kind\":\"Sidecar\",\"metadata\":{\"name\":\"a\"},\"spec\":{}}]},"
			"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},"
			"\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":\"http\"}]}}]}",
			DOC_SYNTAX_JSON, &errs);
	ck_assert_uint_eq(errs.n, 0);
	ck_assert_uint_eq(m->n_resources, 2);
	model_free(m);
	err_list_done(&errs);
}
END_TEST

START_TEST(too_many_resources)
{
	struct err_list errs;
	struct model *m;
	size_t size = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	fputs("PeerAuthentication = (", out);
	for (int i = 0; i <= MODEL_RESOURCES_MAX; i++)
		fprintf(out, "%s{ name = \"n%d\"; }", i > 0 ? "," : "", i);
	fputs(");", out);
	fclose(out);
	err_list_init(&errs);
	m = config_load(text, DOC_SYNTAX_NATIVE, &errs);
	ck_assert_uint_eq(config_count(&errs, "KVM0006"), 1);
	ck_assert_uint_eq(m->n_resources, MODEL_RESOURCES_MAX);
	model_free(m);
	err_list_done(&errs);
	free(text);
}
END_TEST

START_TEST(files_stdin_and_the_nodes_settings)
{
	_cleanup_free_ char *file = NULL;
	const char *paths[2];
	struct err_list errs;
	struct model *m;

	make_dir();
	put("kvmesh.conf", "mesh = { rootNamespace = \"root\"; };\n");
	put("mesh.d/installed.conf", VS_FOR("installed"));
	put("draft/x.conf",
	    "PeerAuthentication = { name = \"x\"; namespace = \"istio-system\"; };\n");
	file = kv_asprintf("%s/draft", dir);
	paths[0] = file;
	paths[1] = "-";
	err_list_init(&errs);
	ck_assert_int_eq(model_load_files(paths, 2, STR("PeerAuthentication = { name = \"y\"; };"),
					  dir, NULL, &m, &errs),
			 0);
	ck_assert_uint_eq(m->n_resources, 2);
	ck_assert_ptr_nonnull(model_find(m, MODEL_KIND_PEER_AUTHENTICATION, STR("root"), STR("x")));
	model_free(m);
	paths[0] = "/nonexistent/file.yaml";
	ck_assert_int_lt(model_load_files(paths, 1, STR_NULL, NULL, NULL, &m, &errs), 0);
	model_free(m);
	err_list_done(&errs);
	remove_dir();
}
END_TEST

/* ---- tables -------------------------------------------------------------------------------- */

static void check_table(const struct bind_table *t, unsigned depth)
{
	ck_assert_uint_lt(depth, 12);
	for (const struct field *f = t->fields; f->name != NULL; f++) {
		ck_assert_msg(f->help != NULL && f->help[0] != '\0', "%s.%s has no help", t->name,
			      f->name);
		ck_assert_msg(f->since != NULL, "%s.%s has no version", t->name, f->name);
		ck_assert_msg((f->priority > 0) == (f->since[0] != '\0'), "%s.%s: ours or Istio's?",
			      t->name, f->name);
		ck_assert_msg((f->status == FIELD_WORKS) == (f->note == NULL), "%s.%s: note",
			      t->name, f->name);
		ck_assert_msg(f->offset < t->size, "%s.%s lies outside", t->name, f->name);
		for (const struct field *g = t->fields; g != f; g++)
			ck_assert_msg(strcmp(f->name, g->name) != 0, "%s.%s twice", t->name,
				      f->name);
		if (f->sub != NULL)
			check_table(f->sub, depth + 1);
	}
}

START_TEST(tables_are_complete)
{
	check_table(&model_mesh_table, 0);
	check_table(&model_metadata_table, 0);
	for (int k = 0; k < MODEL_KIND__N; k++) {
		const struct model_kind_info *i = model_kind_info((enum model_kind)k);

		check_table(i->table, 0);
		ck_assert_int_eq(i->kind, k);
		ck_assert_uint_le(i->spec_offset + i->table->size, i->size);
		ck_assert_ptr_eq(model_kind_find(str_c(i->plural)), i);
	}
	ck_assert_ptr_eq(model_kind_find(STR("VS")), model_kind_info(MODEL_KIND_VIRTUAL_SERVICE));
	ck_assert_ptr_null(model_kind_find(STR("pod")));
	ck_assert_ptr_nonnull(bind_find(model_kind_info(MODEL_KIND_VIRTUAL_SERVICE)->table,
					STR("http.route.weight")));
}
END_TEST

UNIT_MAIN("load", directories_and_leftovers, an_empty_directory_is_a_configuration,
	  writable_files_are_refused, foreign_owners_are_refused,
	  links_out_of_the_directory_are_refused, included_files_are_trusted_alike,
	  dropins_are_merged_key_by_key, every_wrong_file_is_told, guess_syntax, workload_defaults,
	  ports_bodies_and_hosts_are_filled_in, age_decides_the_order, json_and_lists_in_lists,
	  too_many_resources, files_stdin_and_the_nodes_settings, tables_are_complete)
