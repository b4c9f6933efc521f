/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame: the bytes on a control socket. Layer ipc. The cap holds before anything is allocated: a
 * reader grows by doubling up to its cap and no further.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ipc/frame.h"

#define READ_MIN 4096u

void frame_reader_init(struct frame_reader *r, size_t max)
{
	*r = (struct frame_reader){ .max = max };
}

void frame_reader_done(struct frame_reader *r)
{
	free(r->p);
	*r = (struct frame_reader){ .max = r->max };
}

/* Room for at least one more byte; a message of max bytes and its NUL always fit. */
static bool make_room(struct frame_reader *r)
{
	if (r->n < r->cap)
		return true;
	if (r->cap > r->max)
		return false;
	size_t cap = r->cap > 0 ? r->cap * 2 : READ_MIN;

	if (cap > r->max + 1)
		cap = r->max + 1;
	r->p = kv_realloc(r->p, cap);
	r->cap = cap;
	return true;
}

ssize_t frame_reader_fill(struct frame_reader *r, int fd)
{
	if (!make_room(r))
		return -ENOBUFS;
	for (;;) {
		ssize_t got = recv(fd, r->p + r->n, r->cap - r->n, 0);

		if (got >= 0) {
			r->n += (size_t)got;
			return got;
		}
		if (errno != EINTR)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	}
}

bool frame_reader_peek(struct frame_reader *r, struct str *ret)
{
	const char *end = r->n > r->scanned ? memchr(r->p + r->scanned, '\0', r->n - r->scanned)
					    : NULL;

	if (!end) {
		r->scanned = r->n;
		return false;
	}
	r->scanned = (size_t)(end - r->p);
	*ret = str_from(r->p, r->scanned);
	return true;
}

void frame_reader_pop(struct frame_reader *r)
{
	struct str text;

	if (!frame_reader_peek(r, &text))
		return;
	size_t used = text.n + 1;

	memmove(r->p, r->p + used, r->n - used);
	r->n -= used;
	r->scanned = 0;
	/*
	 * Connections are idle most of their life and must not keep the memory of one big message.
	 */
	if (r->n == 0)
		frame_reader_done(r);
}

bool frame_reader_is_overlong(struct frame_reader *r)
{
	struct str text;

	return r->n > r->max && !frame_reader_peek(r, &text);
}

static struct doc *find_typed(const struct doc *d, const char *key, enum doc_kind kind, bool *ok)
{
	struct doc *v = doc_get(d, str_c(key));

	if (v && v->kind != kind)
		*ok = false;
	return v;
}

static int parse_object(struct str text, struct arena *a, struct doc **ret, struct err *err)
{
	int r = doc_read_json(text, a, ret, err);

	if (r < 0)
		return r;
	if ((*ret)->kind != DOC_MAP)
		return err_set(err, KV_ERR_PROTOCOL, "a message must be an object, is a %s",
			       doc_kind_name((*ret)->kind));
	return 0;
}

/* The "parameters" of a message, or an empty map. */
static struct doc *take_parameters(const struct doc *d, struct arena *a, bool *ok)
{
	struct doc *p = find_typed(d, "parameters", DOC_MAP, ok);

	return p ? p : doc_new_map(a);
}

int frame_parse_call(struct str text, struct arena *a, struct frame_call *ret, struct err *err)
{
	struct doc *d;
	bool ok = true;
	int r = parse_object(text, a, &d, err);

	if (r < 0)
		return r;
	const struct doc *method = find_typed(d, "method", DOC_STR, &ok);

	(void)find_typed(d, "more", DOC_BOOL, &ok);
	ret->parameters = take_parameters(d, a, &ok);
	if (!ok || !method || method->s.n == 0)
		return err_set(
			err, KV_ERR_PROTOCOL,
			"a call is {\"method\": text, \"parameters\": object, \"more\": boolean}");
	ret->method = method->s;
	ret->more = doc_get_bool(d, "more", false);
	return 0;
}

int frame_parse_reply(struct str text, struct arena *a, struct frame_reply *ret, struct err *err)
{
	struct doc *d;
	bool ok = true;
	int r = parse_object(text, a, &d, err);

	if (r < 0)
		return r;
	const struct doc *error = find_typed(d, "error", DOC_STR, &ok);

	(void)find_typed(d, "continues", DOC_BOOL, &ok);
	ret->parameters = take_parameters(d, a, &ok);
	if (!ok)
		return err_set(err, KV_ERR_PROTOCOL,
			       "a reply is {\"parameters\": object, \"continues\": boolean} or has "
			       "an \"error\"");
	ret->error = error ? error->s : STR_NULL;
	ret->continues = !error && doc_get_bool(d, "continues", false);
	return 0;
}

static struct str with_nul(struct str s)
{
	/* arena_printf leaves a NUL behind the text that it does not count. */
	return str_from(s.p, s.n + 1);
}

struct str frame_call(const char *method, const struct doc *parameters, bool more, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "method", str_c(method));
	if (parameters)
		doc_set(a, d, "parameters", doc_copy(a, parameters));
	if (more)
		doc_set_bool(a, d, "more", true);
	struct str json = doc_to_json(d, a, false);

	return with_nul(arena_str(a, json));
}

/* Spliced by hand: a snapshot is megabytes of finished JSON that nobody should parse again. */
struct str frame_reply(struct str parameters_json, bool continues, struct arena *a)
{
	static const char head[] = "{\"parameters\":";
	const char *tail = continues ? ",\"continues\":true}" : "}";
	size_t n_head = sizeof(head) - 1, n_tail = strlen(tail) + 1;
	size_t n = n_head + parameters_json.n + n_tail;
	char *p = arena_alloc(a, n);

	memcpy(p, head, n_head);
	memcpy(p + n_head, parameters_json.p, parameters_json.n);
	memcpy(p + n_head + parameters_json.n, tail, n_tail);
	return str_from(p, n);
}

struct str frame_error(const char *name, struct str message, struct arena *a)
{
	struct doc *d = doc_new_map(a), *p = doc_new_map(a);

	doc_set_str(a, d, "error", str_c(name));
	doc_set_str(a, p, "message", message);
	doc_set(a, d, "parameters", p);
	return with_nul(arena_str(a, doc_to_json(d, a, false)));
}
