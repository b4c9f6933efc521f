/* SPDX-License-Identifier: Apache-2.0 */
/* Attachments: what outlives a snapshot, who a local caller is, TLS contexts from files. */
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "fake_ca.h"
#include "proxy/attach.h"
#include "io/cgroup.h"
#include "unit.h"

static struct arena arena;
static struct attach_state *state;

static void setup(void)
{
	arena_init(&arena, 0);
	state = attach_state_new();
}

static void teardown(void)
{
	attach_state_free(state);
	arena_done(&arena);
}

/* JSON with ' for ". */
static struct snap *load(const char *text)
{
	char *p = arena_strdup(&arena, text);
	struct err err = { 0 };
	struct snap *s = NULL;

	for (char *c = p; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	ck_assert_msg(snap_load(str_c(p), &s, &err) == 0, "%s", err.text);
	return s;
}

#define NODE "'version':1,'proxy':'node','settings':{'trust_domain':'cluster.local'}," \
	"'identities':['spiffe://cluster.local/ns/kvmesh-system/sa/n1']," \
	"'views':[{'name':'default'}]"
#define PEERS                                                                                      \
	"'peers':[{'name':'n1','ns':'kvmesh-system'},{'name':'a','ns':'x','principal':'spiffe://"  \
	"cluster.local/ns/x/sa/a'},"                                                               \
	"{'name':'b1','ns':'x','principal':'spiffe://cluster.local/ns/x/sa/b'},"                   \
	"{'name':'b2','ns':'x','principal':'spiffe://cluster.local/ns/x/sa/b'}]"

static struct attached *attach(struct snap *s, struct attached *prev)
{
	struct attached *at;
	struct err err = { 0 };

	ck_assert_msg(attach_new(state, s, NULL, prev, &at, &err) == 0, "%s", err.text);
	return at;
}

/* Loads, attaches, and leaves the attachment the only owner. */
static struct attached *attach_text(const char *text)
{
	struct snap *s = load(text);
	struct attached *at = attach(s, NULL);

	snap_unref(s);
	return at;
}

static const char *cluster(const char *tls, unsigned port)
{
	return arena_printf(&arena,
			    "{" NODE "," PEERS
			    ",'workloads':[{}],'clusters':[{'name':'c','service':'s','port':80,%s"
			    "'endpoints':[{'address':'127.0.0.1','port':%u,'weight':1,'mesh_"
			    "address':'10.0.0.9',"
			    "'mesh_port':15443,'mesh_sni':'inbound_.8001_.a'},{'address':'db."
			    "example','port':5432,'weight':1}]}]}",
			    tls, port)
		.p;
}

START_TEST(state_outlives_snapshots)
{
	setup();
	struct attached *one = attach_text(cluster("", 8001)),
			*two = attach_text(cluster("", 8001));
	struct endpoint_state *e = one->clusters[0].endpoints[0].state;

	ck_assert_str_eq(e->key, "c|127.0.0.1:8001");
	ck_assert_ptr_eq(e, two->clusters[0].endpoints[0].state);
	ck_assert_ptr_eq(one->clusters[0].state, two->clusters[0].state);
	atomic_store(&e->outlier.n_5xx, 4);
	attach_unref(one);
	attach_state_sweep(state);
	struct attached *three = attach_text(cluster("", 8001));

	ck_assert_uint_eq(atomic_load(&three->clusters[0].endpoints[0].state->outlier.n_5xx), 4);
	attach_unref(two);
	attach_unref(three);
	/* nobody names it any more: forgotten */
	attach_state_sweep(state);
	three = attach_text(cluster("", 8001));
	ck_assert_uint_eq(atomic_load(&three->clusters[0].endpoints[0].state->outlier.n_5xx), 0);
	attach_unref(three);
	teardown();
}
END_TEST

static const char *two_endpoints(const char *second)
{
	return arena_printf(&arena, "{" NODE "," PEERS ",'workloads':[{}],'clusters':[{'name':'c','service':'s','port':80,"
			    "'endpoints':[{'address':'127.0.0.1','port':1,'weight':1}%s]}]}", second).p;
}

static uint64_t since(const struct attached *at, size_t endpoint)
{
	return atomic_load(&at->clusters[0].endpoints[endpoint].state->since_us);
}

/* Istio 2.8.13: new is what comes when its cluster is there already, and what comes back. */
START_TEST(who_is_new)
{
#define SECOND ",{'address':'127.0.0.1','port':2,'weight':1%s}"
	setup();
	struct attached *at = attach_text(two_endpoints(""));

	ck_assert_uint_eq(since(at, 0), 0);
	attach_unref(at);
	at = attach_text(two_endpoints(arena_printf(&arena, SECOND, "").p));
	ck_assert_uint_eq(since(at, 0), 0);
	uint64_t came = since(at, 1);

	ck_assert_uint_gt(came, 0);
	attach_unref(at);
	at = attach_text(two_endpoints(arena_printf(&arena, SECOND, ",'inactive':true").p));
	ck_assert_uint_eq(since(at, 1), came);
	attach_unref(at);
	at = attach_text(two_endpoints(arena_printf(&arena, SECOND, "").p));
	ck_assert_uint_gt(since(at, 1), came);
	came = since(at, 1);
	attach_unref(at);
	at = attach_text(two_endpoints(arena_printf(&arena, SECOND, "").p));
	ck_assert_uint_eq(since(at, 1), came);
	attach_unref(at);
	teardown();
}
END_TEST

START_TEST(a_pool_keeps_state_alive)
{
	setup();
	struct attached *at = attach_text(cluster("", 8001));
	struct endpoint_state *e = endpoint_state_ref(at->clusters[0].endpoints[0].state);

	attach_unref(at);
	attach_state_sweep(state);
	atomic_store(&e->connections, 1);       /* still ours */
	endpoint_state_unref(e);
	attach_state_sweep(state);
	teardown();
}
END_TEST

START_TEST(addresses_are_parsed_once)
{
	char buf[SOCK_ADDR_TEXT_MAX];

	setup();
	struct attached *at = attach_text(cluster("", 8001));
	const struct attached_endpoint *e = at->clusters[0].endpoints;

	ck_assert_str_eq(sock_addr_text(&e[0].plain, buf), "127.0.0.1:8001");
	ck_assert_str_eq(sock_addr_text(&e[0].mesh, buf), "10.0.0.9:15443");
	ck_assert_uint_eq(e[1].plain.len, 0);   /* a name */
	ck_assert_uint_eq(e[1].mesh.len, 0);
	attach_unref(at);
	teardown();
}
END_TEST

START_TEST(match_tables_are_shared_over_one_snapshot)
{
	setup();
	struct snap *s = load(cluster("", 8001));
	struct attached *one = attach(s, NULL), *two = attach(s, one);

	ck_assert_ptr_eq(one->match, two->match);
	attach_unref(one);
	snap_unref(s);
	ck_assert_int_eq(two->snap->version, 1);        /* kept by the other */
	attach_unref(two);
	teardown();
}
END_TEST

START_TEST(names_and_principals)
{
	setup();
	struct attached *at = attach_text("{" NODE "," PEERS ",'workloads':[{},{'peer':1}],"
		"'inbounds':[{'workload':1,'address':'127.0.0.1','port':8001}],"
		"'snis':[{'name':'inbound_.8001_.a','targets':[0],'service':-1}]}");
	struct snap_peer *a =
		map_get(&at->peers_by_principal, STR("spiffe://cluster.local/ns/x/sa/a"));

	unit_str_eq(a->name, "a");
	/* two workloads share that account: the certificate names neither */
	ck_assert_ptr_null(
		map_get(&at->peers_by_principal, STR("spiffe://cluster.local/ns/x/sa/b")));
	unit_str_eq(((struct snap_peer *)map_get(&at->peers_by_name, STR("b2.x")))->name, "b2");
	ck_assert_uint_eq((uintptr_t)map_get(&at->snis, STR("inbound_.8001_.a")), 1);
	attach_unref(at);
	teardown();
}
END_TEST

static const struct snap_inbound *inbound_at(const struct attached *at, const char *host, uint16_t port)
{
	struct sock_addr a;

	ck_assert(sock_addr_parse(str_c(host), port, &a));
	return attach_inbound_at(at, &a);
}

START_TEST(inbounds_are_found_by_the_address_however_it_is_spelled)
{
	struct sock_addr a;

	setup();
	struct attached *at = attach_text("{" NODE "," PEERS ",'workloads':[{},{'peer':1}],'inbounds':["
		"{'workload':1,'address':'127.0.0.1','port':8001},{'workload':1,'address':'::1','port':8001},"
		"{'workload':1,'address':'2001:DB8:0:0::5','port':80,'application':{'address':'::1','port':9,'cluster':-1}},"
		"{'workload':0,'address':'::1','port':8001}]}");

	ck_assert_ptr_eq(inbound_at(at, "127.0.0.1", 8001), &at->snap->inbounds.v[0]);
	ck_assert_ptr_eq(inbound_at(at, "0:0:0:0:0:0:0:1", 8001), &at->snap->inbounds.v[1]);
	ck_assert_ptr_eq(inbound_at(at, "2001:db8::5", 80), &at->snap->inbounds.v[2]);
	ck_assert_ptr_null(inbound_at(at, "::1", 80));
	ck_assert_ptr_null(inbound_at(at, "::1", 9));
	ck_assert(sock_addr_parse(STR("::1"), 9, &a) && attach_is_application(at, &a));
	ck_assert(sock_addr_parse(STR("2001:db8::5"), 80, &a) && !attach_is_application(at, &a));
	attach_unref(at);
	teardown();
}
END_TEST

START_TEST(a_bad_pattern_refuses_the_whole)
{
	struct attached *at;
	struct err err = { 0 };

	setup();
	struct snap *s = load("{'version':1,'proxy':'node','settings':{'trust_domain':'t'},'"
			      "identities':['spiffe://t/ns/a/sa/b']," PEERS
			      ",'workloads':[{}],'views':[{'name':'v','vhosts':[{'name':'h','"
			      "domains':['*'],'routes':[{'name':'r',"
			      "'matches':[{'uri':{'kind':'REGEX','value':'(unclosed'}}],'action':'"
			      "DIRECT','direct':{'status':200}}]}]}]}");

	ck_assert_int_lt(attach_new(state, s, NULL, NULL, &at, &err), 0);
	ck_assert(err.text[0] != '\0');
	snap_unref(s);
	teardown();
}
END_TEST

/* ---- threads: what workers do while the control thread publishes and sweeps ---------------------- */

static struct {
	pthread_mutex_t lock;           /* stands for the post of worker_publish */
	struct attached *current;
	bool stop;
} shared = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct attached *take_current(void)
{
	pthread_mutex_lock(&shared.lock);
	struct attached *at = shared.stop ? NULL : attach_ref(shared.current);

	pthread_mutex_unlock(&shared.lock);
	return at;
}

static void *use_attachments(void *arg)
{
	struct endpoint_state *pooled = NULL;
	unsigned long *n = arg;

	for (struct attached *at; (at = take_current()); ++*n) {
		struct endpoint_state *e = at->clusters[0].endpoints[0].state;

		atomic_fetch_add(&e->requests, 1);
		(void)attach_caller(at, &(struct sock_owner){ .uid = 4711 });
		if (pooled)
			endpoint_state_unref(pooled);
		pooled = endpoint_state_ref(e);
		attach_unref(at);
	}
	if (pooled)
		endpoint_state_unref(pooled);
	return NULL;
}

static void swap_current(struct attached *at)
{
	pthread_mutex_lock(&shared.lock);
	struct attached *old = shared.current;

	shared.current = at;
	shared.stop = at == NULL;
	pthread_mutex_unlock(&shared.lock);
	attach_unref(old);
	attach_state_sweep(state);
}

START_TEST(attachments_are_used_while_others_are_published)
{
	pthread_t t[2];
	unsigned long n[2] = { 0, 0 };

	setup();
	swap_current(attach_text(cluster("", 8001)));
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, use_attachments, &n[i]), 0);
	for (unsigned i = 0; i < 300; i++)
		swap_current(attach_text(cluster("", 8001 + i % 3)));
	usleep(1000);
	swap_current(NULL);
	for (size_t i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		ck_assert_uint_gt(n[i], 0);
	}
	teardown();
}
END_TEST

/* ---- TLS outside the mesh ------------------------------------------------------------------ */

START_TEST(tls_contexts_follow_their_files)
{
	char dir[] = "/tmp/kvmesh-attach-XXXXXX";
	struct fake_ca ca = { .life_s = 60 };
	struct err err;

	setup();
	ck_assert_ptr_nonnull(mkdtemp(dir));
	const char *file = arena_printf(&arena, "%s/ca.crt", dir).p;
	const char *tls = arena_printf(&arena, "'tls':{'mode':'SIMPLE','ca':'%s'},", file).p;
	/* missing: this cluster says so, the snapshot is fine */
	struct attached *at = attach_text(cluster(tls, 8001));
	struct cluster_state *missing = cluster_state_ref(at->clusters[0].state);

	ck_assert_ptr_null(missing->tls);
	ck_assert_msg(strstr(missing->tls_error, file), "%s", missing->tls_error);
	attach_unref(at);
	fake_ca_new_root(&ca);
	char *pem = fake_ca_pem(ca.cert);

	ck_assert_int_eq(fs_write(file, pem, strlen(pem), 0600, &err), 0);
	at = attach_text(cluster(tls, 8001));
	struct cluster_state *first = at->clusters[0].state;

	ck_assert_ptr_ne(first, missing);
	ck_assert_ptr_nonnull(first->tls);
	struct attached *same = attach_text(cluster(tls, 8001));

	ck_assert_ptr_eq(same->clusters[0].state, first);
	attach_unref(same);
	/* replaced: another context; whoever uses the old one may finish */
	ck_assert_int_eq(fs_write(file, pem, strlen(pem), 0600, &err), 0);
	same = attach_text(cluster(tls, 8001));
	ck_assert_ptr_ne(same->clusters[0].state, first);
	ck_assert_ptr_nonnull(same->clusters[0].state->tls);
	attach_unref(same);
	attach_unref(at);
	cluster_state_unref(missing);
	free(pem);
	X509_free(ca.cert);
	EVP_PKEY_free(ca.key);
	unlink(file);
	rmdir(dir);
	teardown();
}
END_TEST

/* ---- callers ------------------------------------------------------------------------------- */

static int64_t caller(const struct attached *at, uid_t uid, uint64_t cgroup)
{
	const struct sock_owner o = { .uid = uid, .cgroup_id = cgroup };

	return attach_caller(at, &o);
}

#define USERS                                                                                      \
	",'workloads':[{},{'peer':1,'user':'root'},{'peer':2,'user':'4711'},{'peer':3,'user':'no-" \
	"such-user-here'}]"

START_TEST(callers_by_user)
{
	setup();
	struct attached *at = attach_text("{" NODE "," PEERS USERS "}");

	ck_assert_int_eq(caller(at, 0, 0), 1);
	ck_assert_int_eq(caller(at, 0, 123456789), 1);          /* no unit to be proved by */
	ck_assert_int_eq(caller(at, 4711, 0), 2);
	ck_assert_int_eq(caller(at, 4712, 0), 0);               /* travels as the node */
	ck_assert_int_eq(caller(at, (uid_t)-1, 0), 0);
	ck_assert_int_eq(attach_caller(at, NULL), 0);
	attach_unref(at);
	at = attach_text("{'version':1,'proxy':'node','settings':{'trust_domain':'t','refuse_"
			 "unregistered':true},"
			 "'identities':['spiffe://t/ns/a/sa/b'],'views':[{'name':'v'}]," PEERS USERS
			 "}");
	ck_assert_int_eq(caller(at, 4711, 0), 2);
	ck_assert_int_eq(caller(at, 4712, 0), -1);
	ck_assert_int_eq(attach_caller(at, NULL), -1);
	attach_unref(at);
	/* Which program has opened a connection nobody tells. */
	at = attach_text("{" NODE "," PEERS ",'workloads':[{},{'peer':1,'user':'4711','executable':'/bin/a'},"
			 "{'peer':2,'user':'4712','executable_sha256':'00'},{'peer':3,'user':'4711'}]}");
	ck_assert_int_eq(caller(at, 4711, 0), 3);
	ck_assert_int_eq(caller(at, 4712, 0), 0);
	attach_unref(at);
	teardown();
}
END_TEST

static uint64_t make_dir(const char *root, const char *path)
{
	char full[256];
	struct stat st;
	mode_t old = umask(022);

	snprintf(full, sizeof(full), "%s/%s", root, path);
	ck_assert_int_eq(fs_mkdir(full, 0755, NULL), 0);
	umask(old);
	ck_assert_int_eq(stat(full, &st), 0);
	return st.st_ino;
}

START_TEST(units_are_found_below_slices_only)
{
	char root[] = "/tmp/kvmesh-cgroup-XXXXXX";
	char cmd[64];

	ck_assert_ptr_nonnull(mkdtemp(root));
	uint64_t a = make_dir(root, "system.slice/a.service");
	uint64_t child = make_dir(root, "system.slice/a.service/sub/deeper");
	uint64_t b = make_dir(root, "kvmesh.slice/kvmesh-apps.slice/b@1.service");
	uint64_t user = make_dir(
		root, "user.slice/user-1000.slice/user@1000.service/app.slice/evil.service");

	ck_assert_uint_eq(cgroup_of_unit(root, "a.service"), a);
	ck_assert_uint_eq(cgroup_of_unit(root, "b@1.service"), b);
	ck_assert_uint_eq(cgroup_of_unit(root, "evil.service"), 0);
	ck_assert_uint_eq(cgroup_of_unit(root, "gone.service"), 0);
	ck_assert_uint_eq(cgroup_of_unit(root, "../system.slice/a.service"), 0);
	ck_assert_uint_eq(cgroup_of_unit(root, ".."), 0);
	ck_assert_uint_eq(cgroup_of_unit(NULL, "a.service"), 0);
	ck_assert(cgroup_unit_has(root, "a.service", a));
	ck_assert(cgroup_unit_has(root, "a.service", child));
	ck_assert(!cgroup_unit_has(root, "a.service", b));
	ck_assert(!cgroup_unit_has(root, "a.service", user));
	snprintf(cmd, sizeof(cmd), "rm -r %s", root);
	ck_assert_int_eq(system(cmd), 0);
}
END_TEST

/* With the kernel's own hierarchy, where this test may make a cgroup. */
START_TEST(a_restarted_unit_is_known_again)
{
	const char *root = cgroup_root();
	char unit[64], dir[128], sub[160];
	struct stat st;

	snprintf(unit, sizeof(unit), "kvmesh-unit-test-%d.service", (int)getpid());
	snprintf(dir, sizeof(dir), "%s/system.slice/%s", root ? root : "", unit);
	snprintf(sub, sizeof(sub), "%s/system.slice", root ? root : "");
	bool made_slice = root && mkdir(sub, 0755) == 0;

	if (!root || mkdir(dir, 0755) != 0)
		return;                 /* not root, or no unified hierarchy */
	setup();
	struct attached *at = attach_text(arena_printf(&arena, "{" NODE "," PEERS
		",'workloads':[{},{'peer':1,'unit':'%s','user':'4711'}]}", unit).p);

	ck_assert_int_eq(stat(dir, &st), 0);
	uint64_t before = st.st_ino;

	ck_assert_int_eq(caller(at, 0, before), 1);
	ck_assert_int_eq(caller(at, 4711, before + 1000000), 0); /* the user alone proves nothing */
	ck_assert_int_eq(caller(at, 4711, 0), 1); /* unless the kernel tells no more */
	/* the service restarts */
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	ck_assert_int_eq(stat(dir, &st), 0);
	ck_assert_uint_ne(st.st_ino, before);
	ck_assert_int_eq(caller(at, 0, st.st_ino), 1);
	/* and delegates */
	snprintf(sub, sizeof(sub), "%s/worker", dir);
	ck_assert_int_eq(mkdir(sub, 0755), 0);
	ck_assert_int_eq(stat(sub, &st), 0);
	ck_assert_int_eq(caller(at, 0, st.st_ino), 1);
	rmdir(sub);
	rmdir(dir);
	snprintf(sub, sizeof(sub), "%s/system.slice", root);
	if (made_slice)
		rmdir(sub);
	attach_unref(at);
	teardown();
}
END_TEST

UNIT_MAIN("attach", state_outlives_snapshots, who_is_new, a_pool_keeps_state_alive, addresses_are_parsed_once,
	  match_tables_are_shared_over_one_snapshot, names_and_principals,
	  inbounds_are_found_by_the_address_however_it_is_spelled,
	  a_bad_pattern_refuses_the_whole, tls_contexts_follow_their_files, callers_by_user,
	  units_are_found_below_slices_only, a_restarted_unit_is_known_again,
	  attachments_are_used_while_others_are_published)
