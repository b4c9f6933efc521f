/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_wire: the fields that belong to one connection and never reach a head: framing, Host, Expect,
 * and what Connection names. Layer http; owns nothing. Requests and responses read them alike and
 * judge them each by their own rules.
 */
#include "http/h1_priv.h"

/* The list is long and mostly empty: not cleared for each head. */
void h1_wire_init(struct h1_wire *w)
{
	memset(w, 0, offsetof(struct h1_wire, named));
}

static void lower_in_place(struct str s)
{
	char *p = (char *)(uintptr_t)s.p;       /* our own copy */

	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)head_token_lower[(uint8_t)p[i]];
}

static bool read_connection(struct h1_wire *w, struct str value)
{
	struct str option;

	while (str_split(&value, ',', &option)) {
		option = str_trim(option);
		if (option.n == 0)
			continue;
		if (!head_is_token(option))
			return false;
		lower_in_place(option);
		if (str_eq(option, STR("close")))
			w->close = true;
		else if (str_eq(option, STR("keep-alive")))
			w->keep_alive = true;
		else if (str_eq(option, STR("upgrade")))
			w->wants_upgrade = true;
		else if (w->n_named == H1_NAMED_MAX)
			return false;
		else
			w->named[w->n_named++] = option;
	}
	return true;
}

/*
 * The first protocol of the list that is not HTTP/2 in clear text, which is never taken this way.
 */
static void read_upgrade(struct h1_wire *w, struct str value)
{
	struct str one, name, version;

	while (w->upgrade.n == 0 && str_split(&value, ',', &one)) {
		one = str_trim(one);
		version = one;
		str_split(&version, '/', &name);
		if (!head_is_token(name) || (version.p && !head_is_token(version)))
			continue;
		if (!str_ieq(name, STR("h2c")) && !str_ieq(name, STR("h2")))
			w->upgrade = one;
	}
}

static void read_te(struct h1_wire *w, struct str value)
{
	struct str one;

	while (str_split(&value, ',', &one))
		if (str_ieq(str_trim(one), STR("trailers")))
			w->te_trailers = true;
}

static void read_length(struct h1_wire *w, struct str value)
{
	if (w->n_cl++ == 0)
		w->length = value;
	else if (!str_eq(w->length, value))
		w->length_differs = true;
}

/* True when the field is the codec's. False in *ret_ok: malformed. */
static bool read_wire_field(struct h1_wire *w, const struct head_field *f, bool *ret_ok)
{
	switch ((unsigned)f->id) {
	case HEAD_ID_HOST:
		w->n_host++;
		w->host = f->value;
		return true;
	case HEAD_ID_CONTENT_LENGTH:
		read_length(w, f->value);
		return true;
	case HEAD_ID_TRANSFER_ENCODING:
		w->n_te++;
		w->coding = f->value;
		return true;
	case HEAD_ID_CONNECTION:
		*ret_ok = read_connection(w, f->value);
		return true;
	case HEAD_ID_UPGRADE:
		read_upgrade(w, f->value);
		return true;
	case HEAD_ID_TE:
		read_te(w, f->value);
		return true;
	case HEAD_ID_EXPECT:
		if (str_ieq(f->value, STR("100-continue")))
			w->expect_100 = true;
		else
			w->expect_other = true;
		return true;
	case HEAD_ID_KEEP_ALIVE:
	case HEAD_ID_PROXY_CONNECTION:
	case HEAD_ID_HTTP2_SETTINGS:
		return true;
	default:
		return false;
	}
}

/* Naming a field in Connection removes it; identity and routing cannot be removed that way. */
static bool is_protected(const struct head_field *f)
{
	switch ((unsigned)f->id) {
	case HEAD_ID_AUTHORIZATION:
	case HEAD_ID_PROXY_AUTHORIZATION:
	case HEAD_ID_PROXY_AUTHENTICATE:
	case HEAD_ID_COOKIE:
	case HEAD_ID_CONTENT_TYPE:
	case HEAD_ID_X_REQUEST_ID:
	case HEAD_ID_TRACEPARENT:
	case HEAD_ID_TRACESTATE:
	case HEAD_ID_B3:
	case HEAD_ID_ORIGIN:
		return true;
	default:
		return str_has_prefix(f->name, STR("x-forwarded-")) ||
		       str_has_prefix(f->name, STR("x-envoy-")) ||
		       str_has_prefix(f->name, STR("x-kvmesh-")) ||
		       str_has_prefix(f->name, STR("x-b3-")) ||
		       str_eq(f->name, STR("forwarded")) || str_eq(f->name, STR("x-real-ip"));
	}
}

static bool is_named(const struct h1_wire *w, const struct head_field *f)
{
	for (size_t i = 0; i < w->n_named; i++)
		if (str_eq(w->named[i], f->name))
			return !is_protected(f);
	return false;
}

bool h1_split_fields(struct head *h, struct h1_wire *w)
{
	size_t kept = 0;
	bool ok = true;

	for (size_t i = 0; i < h->n && ok; i++)
		if (!read_wire_field(w, &h->fields[i], &ok))
			h->fields[kept++] = h->fields[i];
	h->n = kept;
	if (w->n_named == 0)
		return ok;
	kept = 0;
	for (size_t i = 0; i < h->n; i++)
		if (!is_named(w, &h->fields[i]))
			h->fields[kept++] = h->fields[i];
	h->n = kept;
	return ok;
}

bool h1_read_number(struct str s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		unsigned digit = (unsigned)(s.p[i] - '0');

		if (v > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*ret = v;
	return true;
}

bool h1_keeps_alive(const struct head *h, const struct h1_wire *w)
{
	return !w->close && (h->version != HEAD_VERSION_10 || w->keep_alive);
}
