/* SPDX-License-Identifier: Apache-2.0 */
/* reply: answers that are made here, see reply.h. Layer proxy. */
#include "config.h"

#include "core/cors.h"
#include "proxy/cross_origin.h"
#include "proxy/headers.h"
#include "proxy/reply.h"

/* Who waited longer than he wanted has that told, whoever's clock it was. */
static unsigned grpc_code(const struct stream *s, unsigned status)
{
	bool late = s->fail == FAIL_TIMEOUT || s->fail == FAIL_PER_TRY_TIMEOUT;

	if (s->fail == FAIL_FAULT && s->hit.route->fault->abort_grpc >= 0)
		return (unsigned)s->hit.route->fault->abort_grpc;
	return late ? GRPC_DEADLINE_EXCEEDED : grpc_status_of(status);
}

static void become_grpc(struct stream *s, struct head *h, unsigned status, struct str body)
{
	unsigned code = grpc_code(s, status);

	h->status = 200;
	h->content_length = 0;
	head_set_id(h, HEAD_ID_CONTENT_TYPE, STR("application/grpc"));
	head_add_id(h, HEAD_ID_GRPC_STATUS, arena_printf(&s->arena, "%u", code));
	if (body.n > 0)
		head_add(h, STR("grpc-message"), grpc_message(body, &s->arena));
	s->rec.grpc_status = (int)code;
}

static struct head *begin(struct stream *s, unsigned status, struct str body)
{
	struct head *h = &s->res;

	head_init(h, &s->arena);
	h->version = HEAD_VERSION_11;
	h->status = status;
	h->body = HEAD_BODY_LENGTH;
	h->content_length = body.n;
	if (body.n > 0)
		head_add_id(h, HEAD_ID_CONTENT_TYPE, STR("text/plain"));
	return h;
}

static void send_reply(struct stream *s, struct head *h, struct str body, const char *details)
{
	struct buf b;

	if (s->rec.protocol == RECORD_GRPC) {
		become_grpc(s, h, h->status, body);
		body = STR_NULL;
	}
	headers_of_reply(s, h);
	if (s->cross_origin.n > 0)
		cross_origin_put(s, h);
	s->rec.status = h->status;
	s->rec.details = details;
	s->down.last = !s->down.end_in; /* what comes of the request is not read */
	leg_head(&s->down, h, body.n == 0);
	if (body.n == 0)
		return;
	s->rec.bytes_sent += str_eq(s->req.method, STR("HEAD")) ? 0 : body.n;
	buf_init(&b);
	buf_append_str(&b, body);
	leg_data(&s->down, &b, true);
}

void reply_status(struct stream *s, unsigned status, struct str body, const char *details)
{
	struct head *h = begin(s, status, body);

	headers_route_ops(s, h, false);
	send_reply(s, h, body, details);
}

void reply_failure(struct stream *s, unsigned status)
{
	const struct fail_row *row = &fail_rows[s->fail];
	struct str body = str_c(row->body);
	struct head *h = begin(s, status, body);

	if (s->fail == FAIL_OVERFLOW)
		head_add_id(h, HEAD_ID_X_ENVOY_OVERLOADED, STR("true"));
	send_reply(s, h, body, stream_details(s));
}

void reply_given(struct stream *s, unsigned status, const struct head *fields, struct str body,
		 const char *details)
{
	bool bodiless = status == 204 || status == 304;
	struct head *h = begin(s, status, bodiless ? STR_NULL : body);

	if (head_find(fields, HEAD_ID_CONTENT_TYPE))
		head_remove_id(h, HEAD_ID_CONTENT_TYPE);
	for (size_t i = 0; i < fields->n; i++)
		head_add(h, fields->fields[i].name, fields->fields[i].value);
	send_reply(s, h, bodiless ? STR_NULL : body, details);
}

void reply_preflight(struct stream *s, bool allowed)
{
	struct head *h = begin(s, 200, STR_NULL);

	if (allowed)
		cors_put_preflight(s->hit.cors, head_joined(&s->req, STR("origin")), h);
	send_reply(s, h, STR_NULL, "cors_response");
}

void reply_redirect(struct stream *s, unsigned status, struct str location)
{
	struct head *h = begin(s, status, STR_NULL);

	head_add_id(h, HEAD_ID_LOCATION, location);
	headers_route_ops(s, h, false);
	send_reply(s, h, STR_NULL, "direct_response");
}
