/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sds: see sds.h. Layer daemons/ca. Messages: envoy/service/discovery/v3/discovery.proto and
 * envoy/extensions/transport_sockets/tls/v3/{secret,common}.proto.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "ca/sds.h"
#include "ca/workload_api.h"
#include "io/protobuf.h"

#define NAME_BYTES_MAX 2048
#define SECOND_US 1000000ll
#define SECRET "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

/* ---- requests ------------------------------------------------------------------------------ */

struct ask {
	struct str names[SDS_NAMES_MAX];
	size_t n;
	struct str type, nonce, error;
	bool has_error;
	const char *problem;            /* NULL: none */
};

/* google.rpc.Status: of it the message. */
static struct str message_of(struct str status)
{
	struct protobuf_field f;

	while (protobuf_next(&status, &f) == PROTOBUF_FIELD)
		if (f.number == 2 && f.wire == PROTOBUF_BYTES)
			return f.bytes;
	return STR("no reason given");
}

static void take_name(struct ask *a, struct str name)
{
	if (a->n == SDS_NAMES_MAX || name.n > NAME_BYTES_MAX || memchr(name.p, 0, name.n))
		a->problem = "too many names, or too long ones";
	else
		a->names[a->n++] = name;
}

static void take_field(struct ask *a, const struct protobuf_field *f)
{
	if (f->wire != PROTOBUF_BYTES)
		return;
	switch (f->number) {
	case 3:
		take_name(a, f->bytes);
		break;
	case 4:
		a->type = f->bytes;
		break;
	case 5:
		a->nonce = f->bytes;
		break;
	case 6:
		a->has_error = true;
		a->error = message_of(f->bytes);
		break;
	default:
		break;
	}
}

/* DiscoveryRequest. */
static void read_ask(struct str request, struct ask *ret)
{
	struct protobuf_field f;
	enum protobuf_result r;

	*ret = (struct ask){ .type = STR(SECRET) };
	while ((r = protobuf_next(&request, &f)) == PROTOBUF_FIELD && !ret->problem)
		take_field(ret, &f);
	if (r == PROTOBUF_BROKEN)
		ret->problem = "the request is no protocol buffer";
	else if (!ret->problem && ret->type.n > 0 && !str_eq(ret->type, STR(SECRET)))
		ret->problem = "secrets alone are served here";
}

/* ---- answers ------------------------------------------------------------------------------- */

struct answer {
	struct grpc_call *c;
	struct authority *authority;
	struct sds *s;
	struct svid_ask ask;
	struct workload_api_own own;
	struct buf resources;
	size_t n_certs;
	int64_t first_end_s;
	int code;
	struct err err;
};

/* Secret in an Any; what is in body is its member. */
static void put_secret(struct answer *w, struct str name, uint32_t member, struct buf *body)
{
	struct buf secret, any;

	buf_init(&secret);
	buf_init(&any);
	protobuf_put_bytes(&secret, 1, name);
	protobuf_put_message(&secret, member, body);
	protobuf_put_bytes(&any, 1, STR(SECRET));
	protobuf_put_message(&any, 2, &secret);
	protobuf_put_message(&w->resources, 2, &any);
}

static void put_bundle(struct answer *w, struct str name)
{
	struct buf context;

	buf_init(&context);
	svid_append_source(keystore_bundle(w->authority->keystore), 1, &context);
	put_secret(w, name, 4, &context);
	w->s->has_bundle = true;
}

static void put_pair(struct answer *w, struct str name, struct str spiffe)
{
	struct buf pair;
	int64_t end_s = 0;

	if (w->code < 0)
		return;
	buf_init(&pair);
	w->code = svid_append_pair(w->authority, &w->ask, spiffe, &pair, &end_s, &w->err);
	if (w->code == 0) {
		put_secret(w, name, 2, &pair);
		w->n_certs++;
		if (w->first_end_s == 0 || end_s < w->first_end_s)
			w->first_end_s = end_s;
	}
	buf_done(&pair);
}

static void put_own(void *arg, const struct registry_identity *id)
{
	struct answer *w = arg;

	if (!revoked_has(w->authority->revoked, id->spiffe))
		put_pair(w, id->spiffe, id->spiffe);
}

static bool is_trust_domain(const struct authority *a, struct str name)
{
	const struct str scheme = STR("spiffe://");

	return str_has_prefix(name, scheme) &&
	       str_eq(str_skip(name, scheme.n), a->registry->trust_domain);
}

static void put_named(struct answer *w, struct str name)
{
	if (str_eq(name, STR("ROOTCA")) || str_eq(name, STR("ALL")) ||
	    is_trust_domain(w->authority, name))
		put_bundle(w, name);
	else if (str_eq(name, STR("default")))
		put_pair(w, name, w->own.first->spiffe);
	else
		put_pair(w, name, name);        /* whose it is authority_issue decides */
}

static void put_all(struct answer *w)
{
	_cleanup_free_ char *domain =
		kv_asprintf("spiffe://%.*s", STR_ARG(w->authority->registry->trust_domain));

	policy_each_own(&w->authority->rules, w->authority->registry, &w->ask.caller, put_own, w);
	put_bundle(w, str_c(domain));
}

static void remember(struct answer *w)
{
	struct sds_told *t = &w->s->told;
	int64_t now_s = w->ask.now_us / SECOND_US;

	t->bundle = keystore_generation(w->authority->keystore);
	snprintf(t->issuer, sizeof(t->issuer), "%s", keystore_issuer_id(w->authority->keystore));
	t->n_own = w->own.n;
	t->renew_s = w->n_certs > 0 ? now_s + (w->first_end_s - now_s) / 2 : 0;
}

/* DiscoveryResponse. */
static void send_answer(struct answer *w)
{
	struct buf body;
	char number[24];

	snprintf(number, sizeof(number), "%" PRIu64, ++w->s->version);
	buf_init(&body);
	protobuf_put_bytes(&body, 1, str_c(number));
	buf_move(&body, &w->resources);
	protobuf_put_bytes(&body, 4, STR(SECRET));
	protobuf_put_bytes(&body, 5, str_c(number));
	remember(w);
	if (w->n_certs > 0)
		workload_api_log(w->c, "SDS", w->n_certs);
	grpc_send(w->c, &body);
}

static void tell(struct grpc_call *c, struct sds *s)
{
	struct answer w = { .c = c, .authority = grpc_arg(c), .s = s };

	if (!workload_api_admit(c, &w.ask, &w.own))
		return;
	buf_init(&w.resources);
	s->has_bundle = false;
	for (size_t i = 0; i < s->n; i++)
		put_named(&w, str_c(s->names[i]));
	if (s->n == 0)
		put_all(&w);
	if (w.code < 0)
		grpc_end(c, grpc_status_of(w.code), w.err.text);
	else
		send_answer(&w);
	buf_done(&w.resources);
}

/* ---- streams ------------------------------------------------------------------------------- */

static bool same_names(const struct sds *s, const struct ask *a)
{
	bool same = s->n == a->n;

	for (size_t i = 0; same && i < s->n; i++)
		same = str_eq(str_c(s->names[i]), a->names[i]);
	return same;
}

static void free_names(struct sds *s)
{
	while (s->n > 0)
		free(s->names[--s->n]);
}

static void subscribe(struct sds *s, const struct ask *a)
{
	free_names(s);
	for (; s->n < a->n; s->n++)
		s->names[s->n] = kv_asprintf("%.*s", STR_ARG(a->names[s->n]));
	s->subscribed = true;
}

/* About an answer that another one has followed already: its word comes as well. */
static bool is_stale(const struct sds *s, struct str nonce)
{
	uint64_t n;

	return nonce.n > 0 && (!str_to_u64(nonce, &n) || n != s->version);
}

void sds_on_stream(struct grpc_call *c, struct str request)
{
	struct sds *s = grpc_state(c);
	char who[400];
	struct ask a;

	read_ask(request, &a);
	if (a.problem) {
		grpc_end(c, GRPC_INVALID_ARGUMENT, a.problem);
		return;
	}
	if (is_stale(s, a.nonce))
		return;
	if (a.has_error)
		log_warn("sds_refused: %s does not take version %" PRIu64 ": %.*s",
			 grpc_who(c, who, sizeof(who)), s->version, STR_ARG(str_take(a.error, 500)));
	if (s->subscribed && same_names(s, &a))
		return;
	subscribe(s, &a);
	tell(c, s);
}

void sds_on_fetch(struct grpc_call *c, struct str request)
{
	struct sds *s = grpc_state(c);
	struct ask a;

	read_ask(request, &a);
	if (a.problem) {
		grpc_end(c, GRPC_INVALID_ARGUMENT, a.problem);
		return;
	}
	subscribe(s, &a);
	tell(c, s);
	grpc_end(c, GRPC_OK, "");
}

static bool has_other_certs(struct grpc_call *c, const struct sds *s, int64_t now_s)
{
	const struct authority *a = grpc_arg(c);
	struct policy_caller caller;
	struct err err = { 0 };

	return now_s >= s->told.renew_s || strcmp(s->told.issuer, keystore_issuer_id(a->keystore)) != 0 ||
	       grpc_identify(c, &caller, &err) < 0 ||
	       workload_api_own_of(a, &caller).n != s->told.n_own;
}

void sds_on_news(struct grpc_call *c, int64_t now_s)
{
	const struct authority *a = grpc_arg(c);
	struct sds *s = grpc_state(c);

	if (!s->subscribed || !workload_api_is_ready(a))
		return;
	if ((s->has_bundle && s->told.bundle != keystore_generation(a->keystore)) ||
	    (s->told.renew_s > 0 && has_other_certs(c, s, now_s)))
		tell(c, s);
}

void sds_on_close(struct grpc_call *c)
{
	free_names(grpc_state(c));
}
