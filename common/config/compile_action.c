/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_action: what a route does beside forwarding: faults (2.4.8), mirrors (2.4.7), CORS
 * (2.6.8, 2.6.9). Layer config.
 */
#include "config/compile_parts.h"

#define PPM 1000000
#define PPM_OF_PERCENT 10000

static int64_t ppm_of(double percent)
{
	return (int64_t)(percent * PPM_OF_PERCENT + 0.5);
}

/* ---- faults --------------------------------------------------------------------------------- */
static int64_t grpc_code(struct str name)
{
	static const char *const names[] = {
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
		"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
		"ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
		"UNAUTHENTICATED",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (str_eq(name, str_c(names[i])))
			return (int64_t)i;
	}
	return -1;
}

/* A block without a percentage never happens. */
struct snap_fault *compile_fault(struct compile *c, const struct model_http_fault *f)
{
	struct snap_fault v = { .abort_grpc = -1 };
	if (f && f->delay) {
		const struct model_fault_delay *d = f->delay;
		v.delay_us = d->fixedDelay;
		v.delay_ppm = d->percentage ? ppm_of(d->percentage->value)
					    : d->percent * PPM_OF_PERCENT;
	}
	if (f && f->abort) {
		const struct model_fault_abort *a = f->abort;
		v.abort_status = a->has_httpStatus ? a->httpStatus : 0;
		v.abort_grpc = a->grpcStatus.p ? grpc_code(a->grpcStatus) : -1;
		v.abort_ppm = a->percentage ? ppm_of(a->percentage->value) : 0;
	}
	if (v.delay_ppm == 0 && v.abort_ppm == 0)
		return NULL;
	struct snap_fault *to = arena_new(c->a, struct snap_fault);
	*to = v;
	return to;
}

/* ---- mirrors -------------------------------------------------------------------------------- */
static void add_mirror(struct compile *c, struct compile_client *client,
		       const struct model_destination *d, int64_t ppm, int64_t port,
		       struct snap_route *to, size_t *cap)
{
	struct snap_weighted w = { 0 };
	if (ppm == 0)
		return;
	compile_destination(c, client, d, port, &w);
	*compile_push(c, to->mirrors, *cap) =
		(struct snap_mirror){ .cluster = w.cluster, .ppm = ppm };
}

static int64_t mirror_ppm(const struct model_http_route *r)
{
	if (r->mirrorPercentage)
		return ppm_of(r->mirrorPercentage->value);
	return r->has_mirrorPercent ? r->mirrorPercent * PPM_OF_PERCENT : PPM;
}

void compile_mirrors(struct compile *c, struct compile_client *client,
		     const struct model_http_route *r, int64_t port, struct snap_route *to)
{
	size_t cap = 0;
	if (r->mirror)
		add_mirror(c, client, r->mirror, mirror_ppm(r), port, to, &cap);
	for (size_t i = 0; i < r->mirrors.n; i++) {
		const struct model_http_mirror *m = &r->mirrors.v[i];
		add_mirror(c, client, m->destination,
			   m->percentage ? ppm_of(m->percentage->value) : PPM, port, to, &cap);
	}
}

/* ---- CORS ----------------------------------------------------------------------------------- */
static void add_origin(struct compile *c, struct snap_cors *to, size_t *cap,
		       const struct model_cors_origin *o)
{
	struct snap_string *s = compile_push(c, to->origins, *cap);
	if (o->regex.p)
		*s = (struct snap_string){ .kind = SNAP_MATCH_REGEX, .value = o->regex };
	else if (o->prefix.p)
		*s = (struct snap_string){ .kind = SNAP_MATCH_PREFIX, .value = o->prefix };
	else
		*s = (struct snap_string){ .kind = SNAP_MATCH_EXACT, .value = o->exact };
}

static struct str comma_list(struct compile *c, const struct str_list *l)
{
	struct str s = STR("");
	for (size_t i = 0; i < l->n; i++)
		s = arena_printf(c->a, "%.*s%s%.*s", STR_ARG(s), i > 0 ? "," : "",
				 STR_ARG(l->v[i]));
	return s;
}

struct snap_cors *compile_cors(struct compile *c, const struct model_cors_policy *p)
{
	if (!p)
		return NULL;
	struct snap_cors *to = arena_new(c->a, struct snap_cors);
	size_t cap = 0;
	for (size_t i = 0; i < p->allowOrigins.n; i++)
		add_origin(c, to, &cap, &p->allowOrigins.v[i]);
	for (size_t i = 0; i < p->allowOrigin.n && p->allowOrigins.n == 0; i++)
		add_origin(c, to, &cap,
			   &(struct model_cors_origin){ .exact = p->allowOrigin.v[i] });
	to->methods = comma_list(c, &p->allowMethods);
	to->headers = comma_list(c, &p->allowHeaders);
	to->expose = comma_list(c, &p->exposeHeaders);
	if (p->has_maxAge)
		to->max_age = arena_printf(c->a, "%lld", (long long)(p->maxAge / 1000000));
	to->credentials = p->allowCredentials;
	to->answer_unmatched = p->unmatchedPreflights == MODEL_PREFLIGHT_IGNORE;
	return to;
}
