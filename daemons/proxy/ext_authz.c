/* SPDX-License-Identifier: Apache-2.0 */
/* ext_authz: see ext_authz.h. Layer proxy. */
#include "config.h"

#include "proxy/conn.h"
#include "proxy/ext_authz.h"
#include "proxy/ext_authz_grpc.h"
#include "proxy/forward.h"
#include "proxy/reply.h"

enum state { STATE_COLLECTING, STATE_ASKING, STATE_ALLOWED, STATE_REFUSED, STATE_BROKEN };

struct ext_authz {
	const struct snap_authorizer *to;
	struct stream *asker;
	struct stream *question;        /* NULL: not under way */
	struct loop_later tell;         /* never from inside of the question */
	enum state state;
	bool applied;
	struct head answer;             /* copied into the asker's arena */
	struct authz_proto_answer message;      /* over gRPC instead */
	struct buf body;                /* of a refusal; over gRPC of any answer */
	bool too_long;
};

static void count(struct stream *s, const char *word)
{
	stats_add_reason(s->w->stats, "kvmesh_ext_authz_total", NULL, word);
}

/* ---- headers ------------------------------------------------------------------------------- */

static bool pattern_fits(struct str p, struct str name)
{
	if (p.n > 0 && p.p[p.n - 1] == '*')
		return str_has_prefix(name, str_take(p, p.n - 1));
	if (p.n > 0 && p.p[0] == '*')
		return str_has_suffix(name, str_skip(p, 1));
	return str_eq(p, name);
}

static bool is_named(const struct str_list *l, struct str name)
{
	for (size_t i = 0; i < l->n; i++)
		if (pattern_fits(l->v[i], name))
			return true;
	return false;
}

bool ext_authz_is_free(const struct head_field *f)
{
	return !head_is_of_connection(f->id) && f->id != HEAD_ID_TRAILER &&
	       f->id != HEAD_ID_X_FORWARDED_CLIENT_CERT &&
	       !str_has_prefix(f->name, STR("x-kvmesh-"));
}

static void copy_field(struct head *to, const struct head_field *f, struct arena *a)
{
	struct str value = arena_str(a, f->value);

	if (f->id == HEAD_ID_OTHER)
		head_add(to, arena_str(a, f->name), value);
	else
		head_add_id(to, f->id, value);
}

/* All of a name replace what was there. */
static void set_fields(struct head *to, const struct head *from, const struct str_list *names)
{
	for (size_t i = 0; i < from->n; i++)
		if (ext_authz_is_free(&from->fields[i]) && is_named(names, from->fields[i].name))
			head_remove(to, from->fields[i].name);
	for (size_t i = 0; i < from->n; i++)
		if (ext_authz_is_free(&from->fields[i]) && is_named(names, from->fields[i].name))
			head_add(to, from->fields[i].name, from->fields[i].value);
}

/* ---- the question -------------------------------------------------------------------------- */

static void make_head(const struct ext_authz *c, struct stream *q)
{
	const struct stream *s = c->asker;
	const struct snap_authorizer *to = c->to;
	struct arena *a = &q->arena;
	struct head *h = &q->req;

	h->version = HEAD_VERSION_11;
	h->method = arena_str(a, s->req.method);
	h->scheme = STR("http");
	h->authority = arena_str(a, s->req.authority);
	h->path = arena_printf(a, "%.*s%.*s", STR_ARG(to->path_prefix), STR_ARG(s->req.path));
	for (size_t i = 0; i < s->req.n; i++)
		if (ext_authz_is_free(&s->req.fields[i]) && is_named(&to->send, s->req.fields[i].name))
			copy_field(h, &s->req.fields[i], a);
	for (size_t i = 0; i < to->add.n; i++)
		head_set(h, to->add.v[i].name, to->add.v[i].value);
}

static struct str run_of(const struct buf *b, size_t max, struct arena *a)
{
	struct iovec iov[64];
	int n = buf_iov(b, iov, 64);
	size_t want = b->n < max ? b->n : max, have = 0;
	char *p = arena_alloc(a, want + 1);

	for (int i = 0; i < n && have < want; i++) {
		size_t take = iov[i].iov_len < want - have ? iov[i].iov_len : want - have;

		memcpy(p + have, iov[i].iov_base, take);
		have += take;
	}
	return str_from(p, have);
}

struct str ext_authz_held(const struct stream *s, size_t max, struct arena *a)
{
	return run_of(&s->held, max, a);
}

static void add_body(const struct ext_authz *c, struct stream *q)
{
	buf_append_str(&q->held, ext_authz_held(c->asker, (size_t)c->to->body_bytes, &q->arena));
	q->req.body = HEAD_BODY_LENGTH;
	q->req.content_length = q->held.n;
}

static void ask_http(const struct ext_authz *c, struct stream *q)
{
	make_head(c, q);
	add_body(c, q);
	q->host = arena_str(&q->arena, c->asker->host);
	q->port = c->asker->port;
}

static void ask(struct ext_authz *c)
{
	struct stream *s = c->asker, *q = stream_question(s);

	c->state = STATE_ASKING;
	c->question = q;
	q->answers = c;
	if (c->to->grpc)
		ext_authz_grpc_ask(s, c->to, q);
	else
		ask_http(c, q);
	q->cluster_index = (size_t)c->to->cluster;
	q->cluster = &stream_snap(q)->clusters.v[q->cluster_index];
	q->replay = q->idempotent = true;
	q->route_at_us = stream_now(q) + (uint64_t)c->to->timeout_us;
	stream_arm(q);
	stream_run(q);
}

void ext_authz_data(struct stream *q, const struct buf *b)
{
	struct ext_authz *c = q->answers;

	if (c->body.n + b->n <= EXT_AUTHZ_BODY_MAX) {
		forward_copy(&c->body, b);
		return;
	}
	c->too_long = true;
	q->up_fail = FAIL_UP_PROTOCOL;
}

/* 5xx is no opinion (Envoy). The body of a 200 is nobody's business, however it ends. */
static enum state state_of(const struct ext_authz *c, const struct stream *q)
{
	unsigned status = q->up.head_in ? q->res.status : 0;

	if (status == 200)
		return STATE_ALLOWED;
	return q->fail != FAIL_NONE || c->too_long || status < 200 || status >= 500 ? STATE_BROKEN :
										     STATE_REFUSED;
}

static void read_http(struct ext_authz *c, const struct stream *q)
{
	c->state = state_of(c, q);
	c->answer.status = q->res.status;
	for (size_t i = 0; i < q->res.n && c->state != STATE_BROKEN; i++)
		copy_field(&c->answer, &q->res.fields[i], &c->asker->arena);
}

static void read_message(struct ext_authz *c, const struct stream *q)
{
	struct arena *a = &c->asker->arena;
	bool whole = q->fail == FAIL_NONE && !c->too_long &&
		     ext_authz_grpc_read(q, run_of(&c->body, EXT_AUTHZ_BODY_MAX, a), a, &c->message);

	buf_done(&c->body);
	if (!whole)
		c->message = (struct authz_proto_answer){ .allowed = false };
	c->state = !whole ? STATE_BROKEN : c->message.allowed ? STATE_ALLOWED : STATE_REFUSED;
}

void ext_authz_answered(struct stream *q)
{
	struct ext_authz *c = q->answers;

	q->answers = NULL;
	c->question = NULL;
	if (c->to->grpc)
		read_message(c, q);
	else
		read_http(c, q);
	if (c->state != STATE_REFUSED)
		buf_done(&c->body);
	loop_later(q->w->loop, &c->tell);
}

static void on_tell(void *arg)
{
	stream_run(arg);
}

/* ---- what becomes of it -------------------------------------------------------------------- */

static enum next allow(struct ext_authz *c)
{
	if (!c->applied) {
		count(c->asker, c->state == STATE_ALLOWED ? "allowed" : "fail_open");
		if (c->to->grpc)
			ext_authz_grpc_to_service(c->asker, &c->message);
		else
			set_fields(&c->asker->req, &c->answer, &c->to->to_service);
	}
	c->applied = true;
	return NEXT_STEP;
}

void ext_authz_to_client(struct stream *s, struct head *h)
{
	const struct ext_authz *c = s->check;

	if (c->state != STATE_ALLOWED)
		return;
	if (c->to->grpc)
		ext_authz_grpc_fields(h, &c->message.to_client);
	else
		set_fields(h, &c->answer, &c->to->to_client);
}

/* All that it says, or what is named; where to go and how to prove oneself in any case (Envoy). */
static void put_refusal(const struct ext_authz *c, struct head *to)
{
	const struct head *from = &c->answer;

	for (size_t i = 0; i < from->n; i++) {
		const struct head_field *f = &from->fields[i];
		bool always = f->id == HEAD_ID_LOCATION || str_eq(f->name, STR("www-authenticate"));

		if (ext_authz_is_free(f) && (always || c->to->to_client_denied.n == 0 ||
				   is_named(&c->to->to_client_denied, f->name)))
			head_add(to, f->name, f->value);
	}
}

/* A connection has no answer but its end. */
static enum next refuse_connection(struct stream *s, const char *why)
{
	s->down.reason = why;
	return NEXT_FAIL;
}

static enum next refuse(struct ext_authz *c)
{
	struct stream *s = c->asker;
	struct str body = c->to->grpc ? c->message.body : run_of(&c->body, EXT_AUTHZ_BODY_MAX, &s->arena);
	struct head fields;

	count(s, "denied");
	buf_done(&c->body);
	s->fail = FAIL_EXT_AUTHZ;
	if (!s->http)
		return refuse_connection(s, "ext_authz_denied");
	head_init(&fields, &s->arena);
	if (c->to->grpc)
		ext_authz_grpc_fields(&fields, &c->message.refusal);
	else
		put_refusal(c, &fields);
	reply_given(s, c->to->grpc ? c->message.status : c->answer.status, &fields, body, "ext_authz_denied");
	return NEXT_END;
}

static enum next broken(struct ext_authz *c)
{
	struct stream *s = c->asker;

	if (c->to->fail_open)
		return allow(c);
	count(s, "error");
	s->fail = FAIL_EXT_AUTHZ;
	if (!s->http)
		return refuse_connection(s, "ext_authz_error");
	reply_status(s, (unsigned)c->to->status_on_error, STR_NULL, "ext_authz_error");
	return NEXT_END;
}

/* ---- the step ------------------------------------------------------------------------------ */

static void invite_body(struct stream *s)
{
	struct head h;

	if (!s->req.expect_continue)
		return;
	s->req.expect_continue = false;
	head_init(&h, &s->arena);
	h.version = HEAD_VERSION_11;
	h.status = 100;
	leg_head(&s->down, &h, false);
}

/* As much of the body as it wants to see is here; or more than it may. */
static enum next collect(struct ext_authz *c)
{
	struct stream *s = c->asker;
	size_t want = s->http ? (size_t)c->to->body_bytes : 0, have = s->held.n;

	if (want > 0 && !c->to->partial_body &&
	    (have > want || (s->req.body == HEAD_BODY_LENGTH && s->req.content_length > want))) {
		count(s, "too_large");
		reply_status(s, 413, STR_NULL, "ext_authz_body_too_large");
		return NEXT_END;
	}
	if (want > 0 && !s->down.end_in && !(c->to->partial_body && have >= want)) {
		invite_body(s);
		return NEXT_WAIT;
	}
	ask(c);
	return NEXT_WAIT;
}

enum next ext_authz_run(struct stream *s, const struct snap_authorizer *a)
{
	struct ext_authz *c = s->check;

	if (!c) {
		s->check = c = arena_new(&s->arena, struct ext_authz);
		*c = (struct ext_authz){ .to = a, .asker = s };
		buf_init(&c->body);
		head_init(&c->answer, &s->arena);
		loop_later_init(&c->tell, on_tell, s);
	}
	switch (c->state) {
	case STATE_COLLECTING:
		return collect(c);
	case STATE_ASKING:
		break;
	case STATE_ALLOWED:
		return allow(c);
	case STATE_REFUSED:
		return refuse(c);
	case STATE_BROKEN:
		return broken(c);
	}
	return NEXT_WAIT;
}

void ext_authz_drop(struct stream *s)
{
	struct ext_authz *c = s->check;

	s->check = NULL;
	loop_later_done(&c->tell);
	buf_done(&c->body);
	if (!c->question)
		return;
	/* Ends in a turn of its own: who ends all streams walks their list just now. */
	c->question->answers = NULL;
	c->question->route_at_us = stream_now(s);
	stream_arm(c->question);
}
