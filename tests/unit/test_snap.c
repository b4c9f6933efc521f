/* SPDX-License-Identifier: Apache-2.0 */
/* snap: load, dump, copy, hash; every kind of bad reference is refused with the name of the member. */
#include "snap/snap.h"

#include "unit.h"

/* Something of every kind; tests break it in one place. */
static const char whole[] =
	"{'version':7,'proxy':'node','settings':{'trust_domain':'cluster.local','path_normalization':'BASE',"
	"'max_connections':10000,'detection_timeout_us':50000},"
	"'listeners':[{'kind':'HTTP_PROXY','address':'127.0.0.1','port':15080,'view':-1},"
	"{'kind':'TCP','address':'127.0.0.1','port':16379,'service':'redis.default.svc.cluster.local','service_port':6379,'view':-1}],"
	"'identities':['spiffe://cluster.local/ns/kvmesh-system/sa/n1','spiffe://cluster.local/ns/default/sa/app'],"
	"'peers':[{'name':'n1','ns':'kvmesh-system'},{'name':'app-v1','ns':'default','labels':{'app':'app','a.b/c':'1'}}],"
	"'workloads':[{},{'peer':1,'identity':1,'unit':'app.service'}],"
	"'views':[{'name':'default','vhosts':[{'name':'app:80','port':80,'domains':['app','*.app','*'],'service':'app',"
	"'routes':[{'name':'r','source':'VirtualService app.default','file':'/etc/x.yaml','line':3,"
	"'matches':[{'uri':{'kind':'PREFIX','value':'/a'},'headers':[{'name':'x','kind':'REGEX','value':'a+','invert':true}]}],"
	"'destinations':[{'weight':95,'cluster_name':'c1'},{'cluster':-1,'cluster_name':'gone','weight':5,"
	"'headers':{'request':{'remove':['x-a'],'set':[{'name':'x-b','value':'%REQ(y)%'}]}}}],'total_weight':100,"
	"'retry':{'attempts':2,'on':28824,'codes':[503],'backoff_us':25000,'ignore_previous_hosts':true},"
	"'mirrors':[{'ppm':1000}],'timeout_us':1500000},"
	"{'action':'REDIRECT','redirect':{'uri':'/b','code':302,'derive_port':'FROM_REQUEST_PORT'}},"
	"{'action':'DIRECT','direct':{'status':204}}]}],"
	"'l4':[{'name':'redis','service':'redis.default.svc.cluster.local','port':6379,'addresses':['10.0.0.0/8'],"
	"'destinations':[{'weight':1}],'total_weight':1}]}],"
	"'clusters':[{'name':'c1','service':'app','port':80,'lb':'ROUND_ROBIN','limits':{'max_connections':5},"
	"'tls':{'sans':['spiffe://x']},'endpoints':[{'address':'127.0.0.1','port':8001,'weight':1,'peer':1,"
	"'mesh_address':'10.0.0.1','mesh_port':15443,'mesh_sni':'inbound_.8001_.app-v1_.app'}]}],"
	"'inbounds':[{'workload':1,'address':'127.0.0.1','port':8001,'mtls':'STRICT','policy':'p.default',"
	"'services':[{'service':'app','name':'app','ns':'default','port':80}]}],"
	"'snis':[{'name':'inbound_.8001_.app-v1_.app','targets':[0]}]}";

static struct str json(struct arena *a, const char *text)
{
	char *p = arena_strdup(a, text);
	for (char *c = p; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return str_c(p);
}

static struct snap *loaded(const char *text)
{
	struct arena a;
	struct snap *s = NULL;
	struct err err = { 0 };
	arena_init(&a, 0);
	ck_assert_msg(snap_load(json(&a, text), &s, &err) == 0, "%s", err.text);
	arena_done(&a);
	return s;
}

START_TEST(loads_what_it_says)
{
	struct snap *s = loaded(whole);
	ck_assert_int_eq(s->version, 7);
	ck_assert_int_eq(s->listeners.v[1].kind, SNAP_LISTENER_TCP);
	ck_assert_int_eq(s->settings.path_normalization, 1);
	unit_str_eq(labels_get(&s->peers.v[1].labels, STR("a.b/c")), "1");
	const struct snap_route *r = &s->views.v[0].vhosts.v[0].routes.v[0];
	ck_assert_int_eq(r->destinations.v[0].cluster, 0);
	ck_assert_int_eq(r->destinations.v[1].cluster, -1);
	ck_assert_int_eq(r->matches.v[0].uri->kind, SNAP_MATCH_PREFIX);
	ck_assert(r->matches.v[0].headers.v[0].invert);
	ck_assert(r->retry->on == (SNAP_RETRY_CONNECT_FAILURE | SNAP_RETRY_STATUS_CODES | SNAP_RETRY_GRPC_INTERNAL |
				   SNAP_RETRY_RESET_BEFORE_REQUEST | SNAP_RETRY_GRPC_RESOURCE_EXHAUSTED | SNAP_RETRY_GRPC_UNAVAILABLE));
	ck_assert_ptr_null(r->redirect);
	ck_assert_int_eq(s->views.v[0].vhosts.v[0].routes.v[1].redirect->derive_port, SNAP_DERIVE_PORT_REQUEST);
	ck_assert_int_eq(s->inbounds.v[0].mtls, SNAP_MTLS_STRICT);
	snap_unref(s);
}
END_TEST

START_TEST(dump_load_dump_is_the_same)
{
	struct arena a;
	arena_init(&a, 0);
	for (int pretty = 0; pretty < 2; pretty++) {
		struct snap *s = loaded(whole), *t = NULL, *u = NULL;
		struct str first = snap_dump(s, &a, pretty == 1);
		ck_assert_int_eq(snap_load(first, &t, NULL), 0);
		ck_assert(str_eq(first, snap_dump(t, &a, pretty == 1)));
		ck_assert_int_eq(snap_copy(s, &u, NULL), 0);
		ck_assert(str_eq(first, snap_dump(u, &a, pretty == 1)));
		ck_assert_uint_eq(s->hash, t->hash);
		ck_assert_uint_eq(s->hash, u->hash);
		snap_unref(s);
		snap_unref(t);
		snap_unref(u);
	}
	arena_done(&a);
}
END_TEST

static struct str replaced(struct arena *a, const char *what, const char *by)
{
	const char *at = strstr(whole, what);
	ck_assert_msg(at != NULL, "'%s' is not in the sample", what);
	struct str text = arena_printf(a, "%.*s%s%s", (int)(at - whole), whole, by, at + strlen(what));
	return json(a, text.p);
}

START_TEST(hash_is_of_the_content)
{
	struct arena a;
	arena_init(&a, 0);
	struct snap *s = loaded(whole), *t = NULL;
	ck_assert_int_eq(snap_load(replaced(&a, "'version':7", "'version':8"), &t, NULL), 0);
	ck_assert_uint_eq(s->hash, t->hash);
	snap_unref(t);
	ck_assert_int_eq(snap_load(replaced(&a, "'version':7,", ""), &t, NULL), 0);
	ck_assert_uint_eq(s->hash, t->hash);
	snap_unref(t);
	ck_assert_int_eq(snap_load(replaced(&a, "'weight':95", "'weight':94,'headers':{}"), &t, NULL), KV_ERR_SCHEMA);
	ck_assert_int_eq(snap_load(replaced(&a, "'timeout_us':1500000", "'timeout_us':1500001"), &t, NULL), 0);
	ck_assert_uint_ne(s->hash, t->hash);
	snap_unref(t);
	snap_unref(s);
	arena_done(&a);
}
END_TEST

START_TEST(refuses_what_does_not_fit)
{
	static const struct { const char *what, *by, *member; } t[] = {
		{ "'cluster_name':'c1'", "'cluster':1", "views[0].vhosts[0].routes[0].destinations[0].cluster" },
		{ "'cluster':-1", "'cluster':-2", "destinations[1].cluster" },
		{ "'total_weight':100", "'total_weight':99", "views[0].vhosts[0].routes[0].total_weight" },
		{ "'total_weight':1}", "'total_weight':2}", "views[0].l4[0].total_weight" },
		{ "'destinations':[{'weight':1}]", "'destinations':[{'cluster':9,'weight':1}]", "views[0].l4[0].destinations[0].cluster" },
		{ "'destinations':[{'weight':1}]", "'destinations':[]", "destinations" },
		{ "'weight':95", "'weight':0", "weight" },
		{ "{'ppm':1000}", "{'cluster':4,'ppm':1}", "mirrors[0].cluster" },
		{ "'action':'REDIRECT','redirect':{'uri':'/b','code':302,'derive_port':'FROM_REQUEST_PORT'}", "'action':'REDIRECT'", "routes[1].redirect" },
		{ "'action':'DIRECT','direct':{'status':204}", "'action':'DIRECT'", "routes[2].direct" },
		{ "'action':'DIRECT','direct':{'status':204}", "'name':'x'", "routes[2].destinations" },
		{ "'action':'DIRECT'", "'action':'FLY'", "action" },
		{ "'domains':['app','*.app','*']", "'domains':[]", "domains" },
		{ "'peer':1,'identity':1", "'peer':2,'identity':1", "workloads[1].peer" },
		{ "'peer':1,'identity':1", "'peer':1,'identity':2", "workloads[1].identity" },
		{ "'peer':1,'identity':1", "'peer':1,'view':1", "workloads[1].view" },
		{ "'port':15080,'view':-1", "'port':15080,'view':1", "listeners[0].view" },
		{ "'kind':'HTTP_PROXY'", "'kind':'GATEWAY'", "listeners[0].view" },
		{ "'service':'redis.default.svc.cluster.local','service_port':6379,'view':-1", "'view':-1", "listeners[1].service" },
		{ "'port':15080", "'port':65536", "port" },
		{ "'weight':1,'peer':1", "'weight':1,'peer':2", "clusters[0].endpoints[0].peer" },
		{ "'mesh_address':'10.0.0.1',", "", "clusters[0].endpoints[0].mesh_address" },
		{ ",'mesh_sni':'inbound_.8001_.app-v1_.app'", "", "clusters[0].endpoints[0].mesh_sni" },
		{ "'inbounds':[{'workload':1", "'inbounds':[{'workload':2", "inbounds[0].workload" },
		{ "'targets':[0]", "'targets':[1]", "snis[0].targets" },
		{ "'targets':[0]", "'targets':[]", "targets" },
		{ "'targets':[0]", "'targets':[0],'service':1", "snis[0]" },
		{ "'snis':[", "'snis':[{'name':'inbound_.8001_.app-v1_.app','targets':[0]},", "snis[1].name" },
		{ "'clusters':[", "'clusters':[{'name':'c1'},", "clusters[1].name" },
		{ "'identities':['spiffe://cluster.local/ns/kvmesh-system/sa/n1','spiffe://cluster.local/ns/default/sa/app']", "'identities':[]", "identities" },
		{ "'workloads':[{},{'peer':1,'identity':1,'unit':'app.service'}]", "'workloads':[]", "workloads" },
		{ "'version':7", "'versoin':7", "versoin" },
		{ "'proxy':'node',", "", "proxy" },
		{ "'status':204", "'status':99", "status" },
		{ "'detection_timeout_us':50000", "'detection_timeout_us':50001", "detection" },
	};
	struct arena a;
	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct snap *s = NULL;
		struct err err = { 0 };
		ck_assert_msg(snap_load(replaced(&a, t[i].what, t[i].by), &s, &err) < 0, "row %zu passed", i);
		ck_assert_msg(strstr(err.text, t[i].member) != NULL, "row %zu: %s", i, err.text);
		ck_assert_ptr_null(s);
	}
	arena_done(&a);
}
END_TEST

START_TEST(bad_text_is_refused)
{
	static const char *const texts[] = { "", "[]", "null", "{", "7", "{'proxy':'node'}", "{'views':[[]]}" };
	struct arena a;
	arena_init(&a, 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct snap *s = NULL;
		struct err err = { 0 };
		ck_assert_int_lt(snap_load(json(&a, texts[i]), &s, &err), 0);
		ck_assert_int_ne(err.text[0], '\0');
	}
	arena_done(&a);
}
END_TEST

START_TEST(references_count)
{
	struct snap *s = loaded(whole);
	ck_assert_ptr_eq(snap_ref(s), s);
	snap_unref(s);
	unit_str_eq(s->proxy, "node");
	snap_unref(s);
	snap_unref(NULL);
}
END_TEST

UNIT_MAIN("snap", loads_what_it_says, dump_load_dump_is_the_same, hash_is_of_the_content, refuses_what_does_not_fit,
	  bad_text_is_refused, references_count)
