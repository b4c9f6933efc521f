/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_scan: the end of a head, and its field lines. Layer http; keeps nothing but struct h1_scan.
 * What a scan reports is a matter of byte positions alone: of two faults the one that stands first
 * counts, however much has arrived.
 */
#include "http/h1_priv.h"

#include "base/vec.h"

#define FIELDS_SPARE 12                 /* room for what the proxy adds */

/* Did the clean bytes before q, or q itself, cross a limit? The limit that stands first is told. */
static enum h1_scanned check_limits(const struct h1_scan *s, const struct h1_scan_rules *r,
				    size_t q, size_t n)
{
	size_t head_at = s->start + r->lim->head_max;
	size_t line_at = s->line + r->lim->line_max;
	bool line = s->lines < r->first_lines && q > line_at;
	bool head = q >= head_at && n > head_at;

	if (line && (!head || line_at <= head_at))
		return H1_SCANNED_LINE;
	return head ? H1_SCANNED_HEAD : H1_SCANNED_MORE;
}

/* A line ended with the CRLF at q. */
static enum h1_scanned end_line(struct h1_scan *s, const struct h1_scan_rules *r, size_t q)
{
	bool empty = q == s->line;

	s->pos = q + 2;
	if (empty && s->lines >= r->first_lines)
		return H1_SCANNED_END;
	if (empty && (!r->skip_empty || s->start != 0))
		return H1_SCANNED_CTL;
	s->line = s->pos;
	if (empty) {
		s->start = s->pos;
		return H1_SCANNED_MORE;
	}
	return ++s->lines > r->first_lines + r->lim->fields_max ? H1_SCANNED_FIELDS
								: H1_SCANNED_MORE;
}

enum h1_scanned h1_scan_head(struct h1_scan *s, const struct h1_scan_rules *rules, struct str in)
{
	enum h1_scanned got = H1_SCANNED_MORE;

	while (got == H1_SCANNED_MORE) {
		size_t q = (size_t)(head_find_ctl(in.p + s->pos, in.p + in.n) - in.p);

		got = check_limits(s, rules, q, in.n);
		if (got != H1_SCANNED_MORE)
			break;
		s->pos = q;
		if (q == in.n || (in.p[q] == '\r' && q + 1 == in.n))
			break;
		if (in.p[q] != '\r')
			return H1_SCANNED_CTL;
		if (q + 1 >= s->start + rules->lim->head_max)
			return H1_SCANNED_HEAD;
		if (in.p[q + 1] != '\n')
			return H1_SCANNED_CTL;
		got = end_line(s, rules, q);
	}
	return got;
}

/* ---- field lines --------------------------------------------------------- */

/* Lower-cases the name at p in place; its end, or NULL when it is no token with a colon behind. */
static char *read_name(char *p)
{
	char *start = p;
	uint8_t c;

	while ((c = head_token_lower[(uint8_t)*p]) != 0)
		*p++ = (char)c;
	return p > start && *p == ':' ? p : NULL;
}

bool h1_read_fields(struct head *h, char *p, char *end, size_t at_most)
{
	h->cap = at_most + FIELDS_SPARE;
	h->fields = arena_alloc(h->arena, h->cap * sizeof(*h->fields));
	h->n = 0;
	while (*p != '\r') {
		char *name_end = read_name(p);

		if (!name_end)
			return false;
		char *cr = memchr(name_end, '\r', (size_t)(end - name_end));
		struct str name = str_from(p, (size_t)(name_end - p));
		struct str value = str_trim(str_from(name_end + 1, (size_t)(cr - name_end - 1)));
		enum head_id id = head_id_of(name);

		h->fields[h->n++] = (struct head_field){
			.name = id == HEAD_ID_OTHER ? name : head_id_name(id),
			.value = value,
			.id = id,
		};
		p = cr + 2;
	}
	return true;
}

static bool has_prefix_of(struct str name, const struct str *prefixes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_has_prefix(name, prefixes[i]))
			return true;
	return false;
}

bool h1_is_forbidden_trailer(const struct head_field *f)
{
	static const struct str prefixes[] = {
		{ "x-forwarded-", 12 }, { "x-envoy-", 8 }, { "x-kvmesh-", 9 }, { "proxy-", 6 },
	};
	static const struct str others[] = {
		{ "set-cookie", 10 }, { "www-authenticate", 16 }, { "content-encoding", 16 },
		{ "content-range", 13 }, { "forwarded", 9 }, { "max-forwards", 12 },
		{ "cache-control", 13 }, { "x-real-ip", 9 },
	};

	if (head_is_of_connection(f->id) || f->id == HEAD_ID_TRAILER ||
	    f->id == HEAD_ID_CONTENT_TYPE || f->id == HEAD_ID_COOKIE ||
	    f->id == HEAD_ID_AUTHORIZATION)
		return true;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (str_eq(f->name, others[i]))
			return true;
	return has_prefix_of(f->name, prefixes, sizeof(prefixes) / sizeof(prefixes[0]));
}
