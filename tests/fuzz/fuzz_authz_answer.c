/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_authz_answer: what an external authorizer over gRPC answers is refused, or has nothing that could
 * become another header, another parameter or another line; the same bytes twice mean the same. Input:
 * a CheckResponse.
 */
#include "fuzz.h"
#include "proxy/authz_proto.h"

static void check_text(struct str s, const char *forbidden)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];

		fuzz_assert((c >= ' ' && c != 0x7f) || c == '\t');
		for (const char *f = forbidden; *f; f++)
			fuzz_assert(c != (uint8_t)*f);
	}
}

static void check_headers(const struct authz_proto_headers *l)
{
	fuzz_assert(l->n <= AUTHZ_PROTO_FIELDS_MAX);
	for (size_t i = 0; i < l->n; i++) {
		struct str name = l->v[i].name;

		fuzz_assert(name.n > 0 && (head_is_token(name) || name.p[0] == ':'));
		for (size_t k = 0; k < name.n; k++)
			fuzz_assert(name.p[k] < 'A' || name.p[k] > 'Z');
		check_text(name, " \t\"(),/<=>?@[]{}\\");
		check_text(l->v[i].value, "");
		fuzz_assert(l->v[i].how <= AUTHZ_PROTO_IF_THERE);
	}
}

static void check_answer(const struct authz_proto_answer *r, struct str message)
{
	fuzz_assert(r->status >= 200 && r->status <= 599 && r->body.n <= message.n);
	check_headers(&r->refusal);
	check_headers(&r->to_service);
	check_headers(&r->to_client);
	fuzz_assert(r->remove.n <= AUTHZ_PROTO_FIELDS_MAX && r->remove_params.n <= AUTHZ_PROTO_FIELDS_MAX);
	for (size_t i = 0; i < r->remove.n; i++)
		fuzz_assert(r->remove.v[i].n > 0);
	for (size_t i = 0; i < r->set_params.n; i++) {
		fuzz_assert(r->set_params.v[i].name.n > 0);
		check_text(r->set_params.v[i].name, " \t#&=");
		check_text(r->set_params.v[i].value, " \t#&");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_from((const char *)data, size);
	struct authz_proto_answer first, second;
	struct arena a;

	arena_init(&a, 0);
	if (authz_proto_read(in, &a, &first)) {
		check_answer(&first, in);
		fuzz_assert(authz_proto_read(in, &a, &second));
		fuzz_assert(first.allowed == second.allowed && first.to_service.n == second.to_service.n);
	}
	arena_done(&a);
	return 0;
}
