/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload_api: the methods of workloadapi.proto, and which of what was told is not so any more. Layer
 * daemons/ca.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/grpc.h"
#include "ca/jwt_svid.h"
#include "ca/sds.h"
#include "ca/svid.h"
#include "ca/workload_api.h"
#include "io/protobuf.h"

#define REQUEST_MAX (16u << 10)
#define VALIDATE_MAX (2 * JWT_BYTES_MAX)
#define SECOND_US 1000000ll

/* Of a stream: what it was told last. */
struct told {
	uint64_t bundle, jwt;
	char issuer[KEYSTORE_ISSUER_ID_MAX];
	int64_t renew_s;
	size_t n_svids;
};

/* ---- who gets something at all ------------------------------------------------------------- */

static void count_valid(void *arg, const struct registry_identity *id)
{
	struct workload_api_own *own = arg;

	if (revoked_has(own->authority->revoked, id->spiffe))
		return;
	if (own->n++ == 0)
		own->first = id;
}

struct workload_api_own workload_api_own_of(const struct authority *a,
					    const struct policy_caller *caller)
{
	struct workload_api_own own = { .authority = a };

	policy_each_own(&a->rules, a->registry, caller, count_valid, &own);
	return own;
}

bool workload_api_admit(struct grpc_call *c, struct svid_ask *ret, struct workload_api_own *ret_own)
{
	struct authority *a = grpc_arg(c);
	struct err err = { 0 };

	*ret = (struct svid_ask){ .now_us = clock_real_us(), .mono_us = loop_now_us(grpc_loop(c)) };
	if (authority_can_sign(a, &err) < 0) {
		grpc_end(c, GRPC_UNAVAILABLE, err.text);
		return false;
	}
	if (grpc_identify(c, &ret->caller, &err) < 0) {
		grpc_end(c, GRPC_PERMISSION_DENIED, err.text);
		return false;
	}
	*ret_own = workload_api_own_of(a, &ret->caller);
	if (ret_own->n > 0)
		return true;
	grpc_end(c, GRPC_PERMISSION_DENIED, "no identity issued");
	return false;
}

void workload_api_log(const struct grpc_call *c, const char *what, size_t n)
{
	char who[400];

	log_info("cert_issued: %zu identities by %s, %s", n, what, grpc_who(c, who, sizeof(who)));
}

bool workload_api_is_ready(const struct authority *a)
{
	return a->keystore && a->registry && keystore_issuer_key(a->keystore);
}

/* ---- X.509 --------------------------------------------------------------------------------- */

struct gathering {
	struct authority *authority;
	struct svid_ask ask;
	const struct str_list *audiences;       /* NULL: certificates */
	struct str wanted;                      /* an identity; empty: all */
	struct buf body;
	int64_t first_end_s;
	size_t n;
	int code;                               /* of the last one that failed */
	struct err err;
};

static void add_svid(void *arg, const struct registry_identity *id)
{
	struct gathering *g = arg;
	struct authority *a = g->authority;
	int64_t end_s;

	if (revoked_has(a->revoked, id->spiffe))
		return;
	int r = svid_append(a, &g->ask, id->spiffe, &g->body, &end_s, &g->err);

	if (r < 0) {
		g->code = r;
		return;
	}
	g->n++;
	if (g->first_end_s == 0 || end_s < g->first_end_s)
		g->first_end_s = end_s;
}

static void remember(struct told *t, const struct authority *a)
{
	t->bundle = keystore_generation(a->keystore);
	t->jwt = jwt_keys_revision(a->jwt);
	snprintf(t->issuer, sizeof(t->issuer), "%s", keystore_issuer_id(a->keystore));
}

static void tell_svids(struct grpc_call *c)
{
	struct told *told = grpc_state(c);
	struct gathering g = { .authority = grpc_arg(c) };
	struct workload_api_own own;

	if (!workload_api_admit(c, &g.ask, &own))
		return;
	remember(told, g.authority);
	buf_init(&g.body);
	policy_each_own(&g.authority->rules, g.authority->registry, &g.ask.caller, add_svid, &g);
	if (g.code < 0) {
		grpc_end(c, grpc_status_of(g.code), g.err.text);
	} else {
		int64_t now_s = g.ask.now_us / SECOND_US;

		told->renew_s = now_s + (g.first_end_s - now_s) / 2;
		told->n_svids = g.n;
		workload_api_log(c, "the Workload API", g.n);
		grpc_send(c, &g.body);
	}
	buf_done(&g.body);
}

static void on_svids(struct grpc_call *c, struct str request)
{
	(void)request;
	tell_svids(c);
}

static void on_svid_news(struct grpc_call *c, int64_t now_s)
{
	const struct authority *a = grpc_arg(c);
	const struct told *told = grpc_state(c);
	struct policy_caller caller;
	struct err err = { 0 };

	if (!workload_api_is_ready(a))
		return;
	/* Whoever is gone or another is told so by tell_svids. */
	if (grpc_identify(c, &caller, &err) < 0 || told->bundle != keystore_generation(a->keystore) ||
	    now_s >= told->renew_s || strcmp(told->issuer, keystore_issuer_id(a->keystore)) != 0 ||
	    workload_api_own_of(a, &caller).n != told->n_svids)
		tell_svids(c);
}

static void tell_bundles(struct grpc_call *c)
{
	struct authority *a = grpc_arg(c);
	struct workload_api_own own;
	struct svid_ask ask;
	struct buf body;
	struct err err = { 0 };

	if (!workload_api_admit(c, &ask, &own))
		return;
	remember(grpc_state(c), a);
	buf_init(&body);
	int r = svid_append_bundle(a, &body, &err);

	if (r < 0)
		grpc_end(c, GRPC_UNAVAILABLE, err.text);
	else
		grpc_send(c, &body);
	buf_done(&body);
}

static void on_bundles(struct grpc_call *c, struct str request)
{
	(void)request;
	tell_bundles(c);
}

static void on_bundle_news(struct grpc_call *c, int64_t now_s)
{
	const struct authority *a = grpc_arg(c);
	const struct told *told = grpc_state(c);

	(void)now_s;
	if (workload_api_is_ready(a) && told->bundle != keystore_generation(a->keystore))
		tell_bundles(c);
}

/* ---- JWT ----------------------------------------------------------------------------------- */

static bool tell_if_broken(struct grpc_call *c, struct str request)
{
	if (protobuf_is_whole(request))
		return false;
	grpc_end(c, GRPC_INVALID_ARGUMENT, "the request is no protocol buffer");
	return true;
}

/* All of one member, in the arena; n + 1 of them are enough to see that there are too many. */
static struct str_list strings_of(struct str request, uint32_t number, size_t n, struct arena *arena)
{
	struct str_list list = { .v = arena_new_n(arena, struct str, n + 1) };
	struct protobuf_field f;

	while (list.n <= n && protobuf_next(&request, &f) == PROTOBUF_FIELD)
		if (f.number == number && f.wire == PROTOBUF_BYTES)
			list.v[list.n++] = f.bytes;
	return list;
}

/* The last one counts, as in every protocol buffer. */
static struct str string_of(struct str request, uint32_t number)
{
	struct str value = STR("");
	struct protobuf_field f;

	while (protobuf_next(&request, &f) == PROTOBUF_FIELD)
		if (f.number == number && f.wire == PROTOBUF_BYTES)
			value = f.bytes;
	return value;
}

static void add_token(void *arg, const struct registry_identity *id)
{
	struct gathering *g = arg;
	struct arena arena;
	struct buf one;
	struct str token;

	if ((g->wanted.n > 0 && !str_eq(g->wanted, id->spiffe)) || g->code < 0 ||
	    revoked_has(g->authority->revoked, id->spiffe))
		return;
	arena_init(&arena, 0);
	g->code = jwt_svid_issue(g->authority, &g->ask, id->spiffe, g->audiences, &arena, &token, &g->err);
	if (g->code == 0) {
		buf_init(&one);
		protobuf_put_bytes(&one, 1, id->spiffe);
		protobuf_put_bytes(&one, 2, token);
		protobuf_put_message(&g->body, 1, &one);
		g->n++;
	}
	arena_done(&arena);
}

static void log_tokens(const struct grpc_call *c, const struct gathering *g)
{
	char who[400];

	log_info("jwt_issued: %zu tokens, first audience %.*s, %s", g->n,
		 STR_ARG(g->audiences->v[0]), grpc_who(c, who, sizeof(who)));
}

static void gather_tokens(struct grpc_call *c, struct gathering *g)
{
	struct workload_api_own own;

	if (jwt_svid_check_audiences(g->audiences, &g->err) < 0) {
		grpc_end(c, GRPC_INVALID_ARGUMENT, g->err.text);
		return;
	}
	if (!workload_api_admit(c, &g->ask, &own))
		return;
	policy_each_own(&g->authority->rules, g->authority->registry, &g->ask.caller, add_token, g);
	if (g->code < 0) {
		grpc_end(c, grpc_status_of(g->code), g->err.text);
	} else if (g->n == 0) {
		grpc_end(c, GRPC_PERMISSION_DENIED, "no such identity issued");
	} else {
		log_tokens(c, g);
		grpc_send(c, &g->body);
		grpc_end(c, GRPC_OK, "");
	}
}

static void on_token(struct grpc_call *c, struct str request)
{
	struct gathering g = { .authority = grpc_arg(c), .wanted = string_of(request, 2) };
	struct arena arena;

	if (tell_if_broken(c, request))
		return;
	arena_init(&arena, 0);
	const struct str_list audiences = strings_of(request, 1, JWT_SVID_AUDIENCES_MAX, &arena);

	g.audiences = &audiences;
	buf_init(&g.body);
	gather_tokens(c, &g);
	buf_done(&g.body);
	arena_done(&arena);
}

static void tell_jwt_bundles(struct grpc_call *c)
{
	struct authority *a = grpc_arg(c);
	struct workload_api_own own;
	struct svid_ask ask;
	struct buf body;

	if (!workload_api_admit(c, &ask, &own))
		return;
	if (!jwt_keys_can_sign(a->jwt)) {
		grpc_end(c, GRPC_UNAVAILABLE, "no key signs tokens yet");
		return;
	}
	remember(grpc_state(c), a);
	buf_init(&body);
	svid_append_of_domain(a, jwt_keys_jwks(a->jwt), 1, &body);
	grpc_send(c, &body);
}

static void on_jwt_bundles(struct grpc_call *c, struct str request)
{
	(void)request;
	tell_jwt_bundles(c);
}

static void on_jwt_bundle_news(struct grpc_call *c, int64_t now_s)
{
	const struct authority *a = grpc_arg(c);
	const struct told *told = grpc_state(c);

	(void)now_s;
	if (workload_api_is_ready(a) && told->jwt != jwt_keys_revision(a->jwt))
		tell_jwt_bundles(c);
}

static void put_struct(struct buf *to, const struct doc *map);

/* google.protobuf.Value; depth is bounded by jwt_parse. */
static void put_value(struct buf *to, uint32_t number, const struct doc *d)
{
	struct buf value, list;

	buf_init(&value);
	buf_init(&list);
	switch (d->kind) {
	case DOC_NULL:
		protobuf_put_varint(&value, 1, 0);
		break;
	case DOC_BOOL:
		protobuf_put_varint(&value, 4, d->b);
		break;
	case DOC_INT:
		protobuf_put_double(&value, 2, (double)d->i);
		break;
	case DOC_REAL:
		protobuf_put_double(&value, 2, d->r);
		break;
	case DOC_STR:
		protobuf_put_bytes(&value, 3, d->s);
		break;
	case DOC_LIST:
		for (size_t i = 0; i < d->n; i++)
			put_value(&list, 1, d->v[i]);
		protobuf_put_message(&value, 6, &list);
		break;
	case DOC_MAP:
		put_struct(&list, d);
		protobuf_put_message(&value, 5, &list);
		break;
	}
	protobuf_put_message(to, number, &value);
}

static void put_struct(struct buf *to, const struct doc *map)
{
	for (size_t i = 0; i < map->n; i++) {
		struct buf entry;

		buf_init(&entry);
		protobuf_put_bytes(&entry, 1, map->v[i]->key);
		put_value(&entry, 2, map->v[i]);
		protobuf_put_message(to, 1, &entry);
	}
}

static void answer_valid(struct grpc_call *c, const struct jwt *t)
{
	struct buf body, claims;

	buf_init(&body);
	buf_init(&claims);
	protobuf_put_bytes(&body, 1, t->subject);
	put_struct(&claims, t->claims);
	protobuf_put_message(&body, 2, &claims);
	grpc_send(c, &body);
	grpc_end(c, GRPC_OK, "");
}

static void on_validate(struct grpc_call *c, struct str request)
{
	const struct authority *a = grpc_arg(c);
	struct workload_api_own own;
	struct svid_ask ask;
	struct arena arena;
	struct err err = { 0 };
	struct jwt t;

	if (tell_if_broken(c, request) || !workload_api_admit(c, &ask, &own))
		return;
	arena_init(&arena, 0);
	int r = jwt_svid_validate(a, string_of(request, 2), string_of(request, 1),
				  ask.now_us / SECOND_US, &arena, &t, &err);

	if (r < 0)
		grpc_end(c, grpc_status_of(r), err.text);
	else
		answer_valid(c, &t);
	arena_done(&arena);
}

/* ---- the table ----------------------------------------------------------------------------- */

#define SPIFFE(name) .path = "/SpiffeWorkloadAPI/" name, .is_marked = true, .request_max = REQUEST_MAX, \
		.state_bytes = sizeof(struct told)
#define SDS(name) .path = "/envoy.service.secret.v3.SecretDiscoveryService/" name, \
		.request_max = SDS_REQUEST_MAX, .state_bytes = SDS_STATE_BYTES, .on_close = sds_on_close

static const struct grpc_method methods[] = {
	{ SPIFFE("FetchX509SVID"), .on_request = on_svids, .on_news = on_svid_news },
	{ SPIFFE("FetchX509Bundles"), .on_request = on_bundles, .on_news = on_bundle_news },
	{ SPIFFE("FetchJWTSVID"), .on_request = on_token },
	{ SPIFFE("FetchJWTBundles"), .on_request = on_jwt_bundles, .on_news = on_jwt_bundle_news },
	{ .path = "/SpiffeWorkloadAPI/ValidateJWTSVID", .is_marked = true, .request_max = VALIDATE_MAX,
	  .on_request = on_validate },
	{ SDS("StreamSecrets"), .is_duplex = true, .on_request = sds_on_stream, .on_news = sds_on_news },
	{ SDS("FetchSecrets"), .on_request = sds_on_fetch },
	{ 0 },
};

struct grpc *workload_api_new(struct loop *l, int fd, struct authority *a, bool standalone)
{
	return grpc_new(l, fd, methods, standalone, a);
}
