/* SPDX-License-Identifier: Apache-2.0 */
/* residency: see residency.h. Layer snap. */
#include "snap/residency.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cidr.h"
#include "base/err.h"
#include "base/map.h"
#include "snap/countries.h"

/* ---- in the message -------------------------------------------------------------------------- */

#define TABLE(var, T, title, f)                                                                    \
	const struct bind_table var = {                                                            \
		.name = title, .size = sizeof(T), .origin_offset = -1, .fields = f                 \
	}

static const struct field range_fields[] = {
	{ F_STR(struct snap_range, cidr), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_range, country), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	F_END
};
static TABLE(range_table, struct snap_range, "Range", range_fields);

static const struct field declared_fields[] = {
	{ F_STR(struct snap_declared, host), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_declared, country) },
	{ F_BOOL(struct snap_declared, internal) },
	F_END
};
static TABLE(declared_table, struct snap_declared, "Declared", declared_fields);

static const struct field residency_fields[] = {
	{ F_STR_LIST(struct snap_residency, allow), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_BOOL(struct snap_residency, allow_unknown) },
	{ F_BOOL(struct snap_residency, audit) },
	{ F_STR(struct snap_residency, database) },
	{ F_LIST(struct snap_residency, ranges, range_table) },
	{ F_LIST(struct snap_residency, hosts, declared_table) },
	F_END
};
TABLE(snap_residency_table, struct snap_residency, "Residency", residency_fields);

bool residency_is_country(struct str s)
{
	return s.n == 2 && s.p[0] >= 'A' && s.p[0] <= 'Z' && s.p[1] >= 'A' && s.p[1] <= 'Z';
}

static int no_country(struct err *err, const char *what, struct str s)
{
	return err_set(err, KV_ERR_SCHEMA, "snapshot: residency.%s has '%.*s', which is no country",
		       what, STR_ARG(s));
}

int residency_check(const struct snap_residency *p, struct err *err)
{
	struct cidr c;

	for (size_t i = 0; i < p->allow.n; i++)
		if (!residency_is_country(p->allow.v[i]))
			return no_country(err, "allow", p->allow.v[i]);
	for (size_t i = 0; i < p->hosts.n; i++)
		if (p->hosts.v[i].country.n > 0 && !residency_is_country(p->hosts.v[i].country))
			return no_country(err, "hosts", p->hosts.v[i].country);
	if (p->ranges.n > RESIDENCY_RANGES_MAX)
		return err_set(err, KV_ERR_LIMIT, "snapshot: residency.ranges has more than %d",
			       RESIDENCY_RANGES_MAX);
	for (size_t i = 0; i < p->ranges.n; i++) {
		if (!residency_is_country(p->ranges.v[i].country))
			return no_country(err, "ranges", p->ranges.v[i].country);
		if (!cidr_parse(p->ranges.v[i].cidr, &c))
			return err_set(err, KV_ERR_SCHEMA,
				       "snapshot: residency.ranges has '%.*s', which is no block",
				       STR_ARG(p->ranges.v[i].cidr));
	}
	return 0;
}

/* ---- made ready ------------------------------------------------------------------------------ */

struct range {
	struct cidr cidr;
	char country[RESIDENCY_COUNTRY];
};
struct residency {
	const struct snap_residency *p;
	const struct countries *db;
	struct range *ranges;           /* the longest first */
	struct map hosts;               /* host → struct snap_declared */
};

static void put_country(char to[static RESIDENCY_COUNTRY], struct str s)
{
	memset(to, 0, RESIDENCY_COUNTRY);
	if (s.n == RESIDENCY_COUNTRY - 1)
		memcpy(to, s.p, s.n);
}

static int by_length(const void *x, const void *y)
{
	const struct range *a = x, *b = y;

	return (a->cidr.bits < b->cidr.bits) - (a->cidr.bits > b->cidr.bits);
}

struct residency *residency_new(const struct snap_residency *p, const struct countries *db)
{
	struct residency *r = kv_zalloc(sizeof(*r));

	r->p = p;
	r->db = db;
	r->ranges = kv_zalloc((p->ranges.n + 1) * sizeof(*r->ranges));
	for (size_t i = 0; i < p->ranges.n; i++) {
		kv_assert(cidr_parse(p->ranges.v[i].cidr, &r->ranges[i].cidr));
		put_country(r->ranges[i].country, p->ranges.v[i].country);
	}
	if (p->ranges.n > 1)
		qsort(r->ranges, p->ranges.n, sizeof(*r->ranges), by_length);
	map_init(&r->hosts);
	for (size_t i = 0; i < p->hosts.n; i++)
		map_put(&r->hosts, p->hosts.v[i].host, &p->hosts.v[i]);
	return r;
}

void residency_free(struct residency *r)
{
	if (!r)
		return;
	map_done(&r->hosts);
	free(r->ranges);
	free(r);
}

bool residency_audits(const struct residency *r)
{
	return r->p->audit;
}

static const struct snap_declared *find_host(const struct residency *r, struct str host)
{
	const struct snap_declared *d = map_get(&r->hosts, host);
	char name[256];

	for (size_t i = 1; !d && i + 1 < host.n && host.n < sizeof(name); i++) {
		if (host.p[i] != '.')
			continue;
		int n = snprintf(name, sizeof(name), "*%.*s", STR_ARG(str_skip(host, i)));

		d = map_get(&r->hosts, str_from(name, (size_t)n));
	}
	return d;
}

bool residency_of_host(const struct residency *r, struct str host, struct residency_question *q)
{
	const struct snap_declared *d = find_host(r, host);

	if (!d)
		return false;
	put_country(q->country, d->country);
	q->internal = d->internal;
	return true;
}

void residency_of_service(const struct residency *r, struct str host, struct residency_question *q)
{
	if (!residency_of_host(r, host, q))
		q->internal = host.n > 0;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool residency_read_address(struct str text, uint8_t ret[static 16])
{
	struct cidr c;

	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = str_from(text.p + 1, text.n - 2);
	if (str_find(text, '/') >= 0 || !cidr_parse(text, &c))
		return false;
	memcpy(ret, c.addr, 16);
	return true;
}

static bool is_private_v4(const uint8_t a[4])
{
	return a[0] == 0 || a[0] == 10 || a[0] == 127 || (a[0] == 100 && (a[1] & 0xc0) == 64) ||
	       (a[0] == 169 && a[1] == 254) || (a[0] == 172 && (a[1] & 0xf0) == 16) ||
	       (a[0] == 192 && a[1] == 168);
}

/*
 * A private IPv4 address behind a translator (NAT64, 6to4) is none of this host's: it is not looked
 * into for this.
 */
bool residency_is_private(const uint8_t addr[static 16])
{
	static const uint8_t zero[15];

	if (memcmp(addr, mapped, sizeof(mapped)) == 0)
		return is_private_v4(addr + 12);
	if (memcmp(addr, zero, sizeof(zero)) == 0)
		return addr[15] <= 1;
	return (addr[0] & 0xfe) == 0xfc || (addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80);
}

/* Where packets to this IPv6 address end up as IPv4: NAT64 (RFC 6052), 6to4, IPv4-compatible. */
static bool fold(const uint8_t a[16], uint8_t ret[16])
{
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t zero[12];
	const uint8_t *v4 = NULL;

	if (memcmp(a, nat64, sizeof(nat64)) == 0 || memcmp(a, zero, sizeof(zero)) == 0)
		v4 = a + 12;
	else if (a[0] == 0x20 && a[1] == 0x02)
		v4 = a + 2;
	if (!v4)
		return false;
	memcpy(ret, mapped, sizeof(mapped));
	memcpy(ret + 12, v4, 4);
	return true;
}

/* ---- the decision ---------------------------------------------------------------------------- */

struct words {
	const struct residency *r;
	size_t n;
	bool refused;
	struct residency_answer *to;
};

static bool is_allowed(const struct residency *r, const char *country)
{
	for (size_t i = 0; i < r->p->allow.n; i++)
		if (str_eq(r->p->allow.v[i], str_c(country)))
			return true;
	return false;
}

/* The first word stands unless a later one is not allowed. */
static void hear(struct words *w, const char *country, enum residency_source by)
{
	bool allowed = is_allowed(w->r, country);

	w->to->contradicted |= w->n > 0 && strcmp(w->to->country, country) != 0;
	if (w->n++ == 0 || (!allowed && !w->refused)) {
		memcpy(w->to->country, country, RESIDENCY_COUNTRY);
		w->to->by = by;
	}
	w->refused |= !allowed;
}

/* The longest blocks that hold it; equally long ones are all heard. */
static void hear_ranges(struct words *w, const uint8_t addr[16])
{
	const struct residency *r = w->r;
	unsigned bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < r->p->ranges.n; i++) {
		const struct range *g = &r->ranges[i];

		if (n > 0 && g->cidr.bits < bits)
			break;
		if (!cidr_has(&g->cidr, addr))
			continue;
		bits = g->cidr.bits;
		n++;
		hear(w, g->country, RESIDENCY_BY_RANGE);
	}
}

static void conclude(struct words *w)
{
	struct residency_answer *a = w->to;

	a->verdict = RESIDENCY_ALLOWED;
	if (w->refused)
		a->reason = RESIDENCY_COUNTRY_NOT_ALLOWED;
	else if (w->n == 0 && !w->r->p->allow_unknown)
		a->reason = RESIDENCY_UNKNOWN;
	if (a->reason != RESIDENCY_FITS)
		a->verdict = RESIDENCY_REFUSED;
}

/* A block that is declared makes a private address one that is somewhere: behind a tunnel, say. */
static void judge_private(struct words *w, const struct residency_question *q)
{
	if (w->n > 0) {
		conclude(w);
	} else if (q->named && !q->internal) {
		w->to->verdict = RESIDENCY_REFUSED;
		w->to->reason = RESIDENCY_REBOUND;
	}
}

void residency_judge(const struct residency *r, const struct residency_question *q,
		     struct residency_answer *ret)
{
	struct words w = { .r = r, .to = ret };
	uint8_t v4[16];
	char found[RESIDENCY_COUNTRY];
	bool folded = fold(q->addr, v4);

	*ret = (struct residency_answer){ .verdict = RESIDENCY_INSIDE };
	hear_ranges(&w, q->addr);
	if (residency_is_private(q->addr)) {
		judge_private(&w, q);
		return;
	}
	if (w.n == 0 && folded)
		hear_ranges(&w, v4);
	if (q->country[0] != '\0')
		hear(&w, q->country, RESIDENCY_BY_SERVICE);
	if (r->db && countries_find(r->db, folded ? v4 : q->addr, found))
		hear(&w, found, RESIDENCY_BY_DATABASE);
	conclude(&w);
}

void residency_judge_host(const struct residency *r, struct str host, struct residency_answer *ret)
{
	struct residency_question q = { 0 };
	struct words w = { .r = r, .to = ret };

	if (residency_read_address(host, q.addr)) {
		residency_judge(r, &q, ret);
		return;
	}
	*ret = (struct residency_answer){ .verdict = RESIDENCY_INSIDE };
	if (residency_of_host(r, host, &q) && q.internal)
		return;
	if (q.country[0] != '\0')
		hear(&w, q.country, RESIDENCY_BY_SERVICE);
	conclude(&w);
}

/* ---- in words -------------------------------------------------------------------------------- */

static const char *source_name(enum residency_source by)
{
	switch (by) {
	case RESIDENCY_BY_RANGE:
		return "range";
	case RESIDENCY_BY_SERVICE:
		return "declaration";
	case RESIDENCY_BY_DATABASE:
		return "database";
	case RESIDENCY_BY_NOBODY:
		break;
	}
	return "nobody";
}

const char *residency_text(const struct residency_answer *a, char buf[static RESIDENCY_TEXT_MAX])
{
	if (a->reason == RESIDENCY_REBOUND)
		snprintf(buf, RESIDENCY_TEXT_MAX, "residency_denied{private_address_of_name}");
	else if (a->country[0] == '\0')
		snprintf(buf, RESIDENCY_TEXT_MAX, "residency_denied{country=unknown}");
	else
		snprintf(buf, RESIDENCY_TEXT_MAX, "residency_denied{country=%s,by=%s}", a->country,
			 source_name(a->by));
	return buf;
}

const char *residency_words(const struct residency_answer *a, char buf[static RESIDENCY_TEXT_MAX])
{
	if (a->verdict == RESIDENCY_INSIDE)
		snprintf(buf, RESIDENCY_TEXT_MAX, "no egress");
	else if (a->reason == RESIDENCY_REBOUND)
		snprintf(buf, RESIDENCY_TEXT_MAX, "a name from outside leads to a private address");
	else if (a->country[0] == '\0')
		snprintf(buf, RESIDENCY_TEXT_MAX, "nobody knows in which country it is");
	else
		snprintf(buf, RESIDENCY_TEXT_MAX, "in %s by the %s, which is %sallowed", a->country,
			 source_name(a->by), a->verdict == RESIDENCY_REFUSED ? "not " : "");
	return buf;
}
