/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_mesh: kvmesh.conf and its drop-ins: defaults, merging key by key, binding, and the settings
 * in force as a document with the place of every value. Layer config.
 */
#include "config/load_parts.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DETECTION_MAX_US INT64_C(50000)         /* design: sniffing never waits longer */

static struct str_list one_word(const char *word, struct arena *a)
{
	struct str_list l = { .v = arena_new(a, struct str), .n = 1 };

	l.v[0] = str_c(word);
	return l;
}

static void default_mesh(struct model_mesh_config *c, struct arena *a)
{
	c->trustDomain = STR("cluster.local");
	c->domainSuffix = STR("cluster.local");
	c->rootNamespace = STR("kvmesh-system");
	c->rootNamespaceAliases = one_word("istio-system", a);
	c->clusterName = STR("kvmesh");
	c->proxyHttpPort = 15080;
	c->connectTimeout = 10 * SECOND;
	c->protocolDetectionTimeout = DETECTION_MAX_US;
	c->enableTracing = true;
	c->accessLogFile = STR("");
	c->accessLogFormat = STR("");
	c->defaultConfig.drainDuration = 45 * SECOND;
	c->defaultConfig.terminationDrainDuration = 5 * SECOND;
	c->outboundTrafficPolicy.mode = MODEL_MESH_ALLOW_ANY;
	c->enableAutoMtls = true;
	c->dnsRefreshRate = 60 * SECOND;
}

static void default_node(struct model_node *n, const char *name)
{
	n->name = str_c(name != NULL && name[0] != '\0' ? name : "localhost");
	n->address = STR("127.0.0.1");
	n->locality = STR("");
	n->network = STR("");
	n->meshPort = 15443;
	n->outboundPort = 15001;
	n->inboundPort = 15006;
	n->dnsPort = 15053;
	n->readyPort = 15021;
	n->meshBind = STR("0.0.0.0");
	n->localBind = STR("127.0.0.1");
}

void load_mesh_defaults(struct model *m, const char *node_name)
{
	struct model_mesh *mesh = &m->mesh;

	default_mesh(&mesh->mesh, &m->arena);
	default_node(&mesh->node, node_name != NULL ? arena_strdup(&m->arena, node_name) : NULL);
	mesh->ca.rootValidity = 87600 * HOUR;
	mesh->ca.intermediateValidity = 8760 * HOUR;
	mesh->ca.workloadValidity = 24 * HOUR;
	mesh->ca.tokenValidity = 300 * SECOND;
	mesh->ca.tokenKeyValidity = 168 * HOUR;
	mesh->ca.signPerSecond = 10;
	mesh->ca.signBurst = 50;
	mesh->metrics.listen = STR("127.0.0.1:15090");
	mesh->metrics.scrapeInterval = 5 * SECOND;
	mesh->dashboard.listen = STR("127.0.0.1:20001");
	mesh->limits = (struct model_limits){
		.maxConnections = 10000,
		.maxHeaderBytes = 61440,
		.headerTimeout = 10 * SECOND,
		.idleTimeout = HOUR,
		.gatewayIdleTimeout = 300 * SECOND,
		.streamIdleTimeout = 300 * SECOND,
		.drainTimeout = 30 * SECOND,
		.retryBodyBytes = 65536,
	};
	mesh->doc = doc_new_map(&m->arena);
}

struct doc *load_merge(struct doc *base, struct doc *over, struct arena *a)
{
	struct doc *out;

	if (base == NULL || over == NULL || base->kind != DOC_MAP || over->kind != DOC_MAP)
		return over != NULL ? over : base;
	out = arena_new(a, struct doc);
	*out = *over;
	out->v = arena_new_n(a, struct doc *, base->n + over->n + 1);
	out->n = base->n;
	for (size_t i = 0; i < base->n; i++)
		out->v[i] = load_merge(base->v[i], doc_get(over, base->v[i]->key), a);
	for (size_t i = 0; i < over->n; i++)
		if (doc_get(base, over->v[i]->key) == NULL)
			out->v[out->n++] = over->v[i];
	return out;
}

static const struct doc *written(const struct model_mesh *mesh, const char *group, const char *name)
{
	const struct doc *g = doc_get(mesh->doc, str_c(group));

	return g != NULL ? doc_get(g, str_c(name)) : NULL;
}

/* Istio's names for two settings of node, and a bound that is not the table's. */
static void settle(struct model_mesh *mesh)
{
	struct model_mesh_config *c = &mesh->mesh;

	if (c->proxyListenPort != 0 && written(mesh, "node", "outboundPort") == NULL)
		mesh->node.outboundPort = c->proxyListenPort;
	if (c->proxyInboundListenPort != 0 && written(mesh, "node", "inboundPort") == NULL)
		mesh->node.inboundPort = c->proxyInboundListenPort;
	if (c->protocolDetectionTimeout <= 0 || c->protocolDetectionTimeout > DETECTION_MAX_US)
		c->protocolDetectionTimeout = DETECTION_MAX_US;
}

int load_mesh_bind(struct load *l)
{
	struct model *m = l->m;
	struct doc *all = NULL;
	const struct doc *mesh;
	int r, rl = 0;

	for (size_t i = 0; i < l->found.n_settings; i++)
		all = load_merge(all,
				 bind_canon(&model_mesh_table, l->found.settings[i], &m->arena),
				 &m->arena);
	if (all == NULL)
		return 0;
	m->mesh.doc = all;
	mesh = doc_get(all, STR("mesh"));
	if (mesh != NULL && mesh->kind == DOC_MAP)
		rl = load_canon_locality(doc_get(mesh, STR("localityLbSetting")), &m->arena,
					 l->errs);
	r = bind_read(&model_mesh_table, all, "", &m->arena, &m->mesh, l->errs);
	settle(&m->mesh);
	return r < 0 ? r : rl;
}

struct doc *model_mesh_doc(const struct model *m, struct arena *a)
{
	struct doc *effective = bind_write(&model_mesh_table, &m->mesh, a);

	return load_merge(effective, doc_copy(a, m->mesh.doc), a);
}
