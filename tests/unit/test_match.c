/* SPDX-License-Identifier: Apache-2.0 */
/* core/match: virtual hosts, routes against a slow obvious oracle, L4 rows, weights. */
#include "core/match.h"

#include <arpa/inet.h>
#include <regex.h>

#include "http/url.h"

#include "unit.h"

#define TEXT_MAX 64

/* ---- making snapshots ------------------------------------------------------------------------------ */
static struct str copy(struct snap *s, const char *text)
{
	return text ? arena_str(&s->arena, str_c(text)) : STR_NULL;
}

static struct snap_string *text_match(struct snap *s, int kind, const char *value, bool icase)
{
	struct snap_string *m = arena_new(&s->arena, struct snap_string);
	*m = (struct snap_string){ .kind = kind, .value = copy(s, value), .icase = icase };
	return m;
}

static struct snap *snap_with(size_t n_vhosts)
{
	struct snap *s = snap_new();
	s->views.n = 1;
	s->views.v = arena_new(&s->arena, struct snap_view);
	s->views.v[0].vhosts.n = n_vhosts;
	s->views.v[0].vhosts.v = arena_new_n(&s->arena, struct snap_vhost, n_vhosts);
	return s;
}

static void name_vhost(struct snap *s, size_t i, int64_t port, const char *name, const char *domain)
{
	struct snap_vhost *h = &s->views.v[0].vhosts.v[i];
	h->name = copy(s, name);
	h->port = port;
	h->domains.n = 1;
	h->domains.v = arena_new(&s->arena, struct str);
	h->domains.v[0] = copy(s, domain);
}

static struct match *prepared(struct snap *s)
{
	struct match *m = NULL;
	struct err err = { 0 };
	ck_assert_msg(match_new(s, &m, &err) == 0, "%s", err.text);
	return m;
}

/* ---- virtual hosts ----------------------------------------------------------------------------------- */
START_TEST(host_precedence)
{
	static const struct { int64_t port; const char *name, *domain; } rows[] = {
		{ 80, "exact", "a.foo.com" }, { 0, "exact-any-port", "b.foo.com" }, { 80, "wild", "*.foo.com" },
		{ 80, "wild-long", "*.b.foo.com" }, { 0, "wild-any-port", "*.bar.com" }, { 80, "all", "*" },
		{ 80, "second", "a.foo.com" },
	};
	static const struct { int64_t port; const char *host, *want; } asked[] = {
		{ 80, "a.foo.com", "exact" }, { 80, "A.Foo.COM", "exact" }, { 80, "b.foo.com", "exact-any-port" },
		{ 81, "b.foo.com", "exact-any-port" }, { 80, "x.foo.com", "wild" }, { 80, "x.y.foo.com", "wild" },
		{ 80, "x.b.foo.com", "wild-long" }, { 80, "foo.com", "all" }, { 80, ".foo.com", "all" },
		{ 81, "a.foo.com", NULL }, { 81, "q.bar.com", "wild-any-port" }, { 80, "", "all" },
		{ 80, "afoo.com", "all" }, { 80, "other", "all" },
	};
	struct snap *s = snap_with(sizeof(rows) / sizeof(rows[0]));
	for (size_t i = 0; i < s->views.v[0].vhosts.n; i++)
		name_vhost(s, i, rows[i].port, rows[i].name, rows[i].domain);
	struct match *m = prepared(s);
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		const struct match_vhost *vh = match_vhost(m, 0, asked[i].port, str_c(asked[i].host));
		if (asked[i].want)
			ck_assert_msg(vh && str_eq(vh->snap->name, str_c(asked[i].want)), "%s:%d gave %.*s",
				      asked[i].host, (int)asked[i].port, vh ? (int)vh->snap->name.n : 4,
				      vh ? vh->snap->name.p : "NULL");
		else
			ck_assert_ptr_null(vh);
	}
	char longer[300];
	memset(longer, 'a', sizeof(longer));
	ck_assert(str_eq(match_vhost(m, 0, 80, str_from(longer, 300))->snap->name, STR("all")));
	match_free(m);
	snap_unref(s);
}
END_TEST

/* Random domains over a small alphabet: the table gives what a scan by specificity gives. */
static size_t host_oracle(const struct snap_view *v, int64_t port, struct str host)
{
	size_t best = SIZE_MAX;
	int64_t best_score = -1;
	for (size_t i = 0; i < v->vhosts.n; i++) {
		const struct snap_vhost *h = &v->vhosts.v[i];
		struct str d = h->domains.v[0];
		int64_t score;
		if (h->port != 0 && h->port != port)
			continue;
		if (str_eq(d, host))
			score = 1000;
		else if (str_eq(d, STR("*")))
			score = 0;
		else if (d.p[0] == '*' && host.n > d.n - 1 && str_has_suffix(host, str_skip(d, 1)))
			score = (int64_t)d.n;
		else
			continue;
		score = score * 2 + (h->port != 0);
		if (score > best_score) {
			best_score = score;
			best = i;
		}
	}
	return best;
}

static void append(char out[static TEXT_MAX], const char *more)
{
	size_t n = strlen(out);
	snprintf(out + n, TEXT_MAX - n, "%s", more);
}

static void random_host(struct rng *r, char *out, bool domain)
{
	static const char *const labels[] = { "a", "b", "cc" };
	out[0] = '\0';
	if (domain && rng_below(r, 12) == 0) {
		append(out, "*");
		return;
	}
	if (domain && rng_below(r, 2) == 0)
		append(out, "*.");
	for (uint64_t n = rng_below(r, 3) + 1; n > 0; n--) {
		append(out, labels[rng_below(r, 3)]);
		if (n > 1)
			append(out, ".");
	}
}

START_TEST(hosts_as_the_oracle)
{
	struct rng r;
	rng_init(&r, 3);
	for (int round = 0; round < 300; round++) {
		struct snap *s = snap_with(20);
		char text[TEXT_MAX];
		for (size_t i = 0; i < 20; i++) {
			random_host(&r, text, true);
			name_vhost(s, i, (int64_t)rng_below(&r, 3), "x", text);
		}
		struct match *m = prepared(s);
		for (int k = 0; k < 30; k++) {
			random_host(&r, text, false);
			int64_t port = (int64_t)rng_below(&r, 3);
			size_t want = host_oracle(&s->views.v[0], port, str_c(text));
			const struct match_vhost *got = match_vhost(m, 0, port, str_c(text));
			ck_assert_ptr_eq(got ? got->snap : NULL,
					 want == SIZE_MAX ? NULL : &s->views.v[0].vhosts.v[want]);
		}
		match_free(m);
		snap_unref(s);
	}
}
END_TEST

/* ---- routes --------------------------------------------------------------------------------------------- */
static bool oracle_regex(struct str pattern, struct str subject)
{
	/* POSIX extended is enough for the patterns of this test, and another engine than the one under test. */
	char text[256], sub[256];
	regex_t re;
	snprintf(text, sizeof(text), "^(%.*s)$", STR_ARG(pattern));
	snprintf(sub, sizeof(sub), "%.*s", STR_ARG(subject));
	ck_assert_int_eq(regcomp(&re, text, REG_EXTENDED | REG_NOSUB), 0);
	bool hit = regexec(&re, sub, 0, NULL, 0) == 0;
	regfree(&re);
	return hit;
}

static bool oracle_text(int kind, struct str want, bool icase, struct str s)
{
	if (kind == SNAP_MATCH_REGEX)
		return oracle_regex(want, s);
	struct str head = kind == SNAP_MATCH_PREFIX ? str_take(s, want.n) : s;
	return icase ? str_ieq(head, want) : str_eq(head, want);
}

static bool oracle_field(const struct snap_field_match *f, bool present, struct str value)
{
	if (f->kind == SNAP_MATCH_PRESENT)
		return present != f->invert;
	if (!present)
		return f->invert && !oracle_text(f->kind, f->value, false, STR(""));
	return oracle_text(f->kind, f->value, false, value) != f->invert;
}

static bool oracle_block(const struct snap_match *b, const struct match_facts *f)
{
	const struct { const struct snap_string *s; struct str v; } texts[] = {
		{ b->uri, f->path }, { b->method, f->method }, { b->scheme, f->scheme }, { b->authority, f->authority },
	};
	for (size_t i = 0; i < 4; i++) {
		if (texts[i].s && !oracle_text(texts[i].s->kind, texts[i].s->value, texts[i].s->icase, texts[i].v))
			return false;
	}
	for (size_t i = 0; i < b->headers.n; i++) {
		struct str v = head_joined(f->head, b->headers.v[i].name);
		if (!oracle_field(&b->headers.v[i], v.p != NULL, v))
			return false;
	}
	for (size_t i = 0; i < b->query.n; i++) {
		struct str v = STR_NULL;
		bool present = url_query_get(f->query, b->query.v[i].name, &v);
		if (!oracle_field(&b->query.v[i], present, v))
			return false;
	}
	return true;
}

static bool oracle_route(const struct snap_vhost *h, const struct match_facts *f, size_t *ret_route, size_t *ret_block)
{
	for (size_t i = 0; i < h->routes.n; i++) {
		const struct snap_route *r = &h->routes.v[i];
		*ret_route = i;
		*ret_block = SIZE_MAX;
		if (r->matches.n == 0)
			return true;
		for (size_t k = 0; k < r->matches.n; k++) {
			*ret_block = k;
			if (oracle_block(&r->matches.v[k], f))
				return true;
		}
	}
	return false;
}

static const char *random_path(struct rng *r, char *out)
{
	static const char *const parts[] = { "a", "b", "A", "api", "v1", "7", "" };
	out[0] = '\0';
	for (uint64_t n = rng_below(r, 4) + 1; n > 0; n--) {
		append(out, "/");
		append(out, parts[rng_below(r, 7)]);
	}
	return out;
}

/* Both engines read it the same way. */
static const char *random_pattern(struct rng *r, char *out)
{
	static const char *const parts[] = { "/a", "/b", "/A", "/api", "/v1", "/7", "/", ".*", "[^/]+", "/(a|b)", "(/api)?", "(/v1|/7)+",
					     "/ap?i", "/[0-9]+", "/api/v1/7", "/a/b" };
	out[0] = '\0';
	for (uint64_t n = rng_below(r, 4) + 1; n > 0; n--)
		append(out, parts[rng_below(r, 16)]);
	if (rng_below(r, 6) == 0) {
		append(out, "|");
		append(out, parts[rng_below(r, 16)]);
	}
	return out;
}

static struct snap_string *random_uri(struct snap *s, struct rng *r)
{
	char text[TEXT_MAX];
	switch (rng_below(r, 4)) {
	case 0:
		return NULL;
	case 1:
		return text_match(s, SNAP_MATCH_REGEX, random_pattern(r, text), false);
	default:
		return text_match(s, rng_below(r, 2) == 0 ? SNAP_MATCH_EXACT : SNAP_MATCH_PREFIX, random_path(r, text),
				  rng_below(r, 4) == 0);
	}
}

static void random_fields(struct snap *s, struct rng *r, bool headers, struct snap_match *b)
{
	static const char *const names[] = { "x-a", "x-b", "x-c" };
	static const char *const values[] = { "1", "on", "one", "on,1" };
	size_t n = rng_below(r, 4) == 0 ? rng_below(r, 2) + 1 : 0;
	struct snap_field_match *v = arena_new_n(&s->arena, struct snap_field_match, n);
	for (size_t i = 0; i < n; i++) {
		v[i] = (struct snap_field_match){ .name = str_c(names[rng_below(r, 3)]), .kind = (int)rng_below(r, 4),
						  .value = str_c(values[rng_below(r, 4)]),
						  .invert = headers && rng_below(r, 3) == 0 };
		if (v[i].kind == SNAP_MATCH_REGEX)
			v[i].value = STR("o.*|1?");
	}
	if (headers) {
		b->headers.v = v;
		b->headers.n = n;
	} else {
		b->query.v = v;
		b->query.n = n;
	}
}

static void random_route(struct snap *s, struct rng *r, struct snap_route *route)
{
	route->matches.n = rng_below(r, 40) == 0 ? 0 : rng_below(r, 3) + 1;
	route->matches.v = arena_new_n(&s->arena, struct snap_match, route->matches.n);
	for (size_t k = 0; k < route->matches.n; k++) {
		struct snap_match *b = &route->matches.v[k];
		b->uri = random_uri(s, r);
		if (rng_below(r, 4) == 0)
			b->method = text_match(s, SNAP_MATCH_EXACT, rng_below(r, 2) == 0 ? "GET" : "POST", false);
		if (rng_below(r, 8) == 0)
			b->scheme = text_match(s, SNAP_MATCH_EXACT, "https", false);
		if (rng_below(r, 8) == 0)
			b->authority = text_match(s, SNAP_MATCH_PREFIX, "my", false);
		random_fields(s, r, true, b);
		random_fields(s, r, false, b);
	}
}

static void random_head(struct rng *r, struct head *h)
{
	static const char *const names[] = { "x-a", "x-b", "x-c", "accept" };
	static const char *const values[] = { "1", "on", "one", "x" };
	for (uint64_t n = rng_below(r, 5); n > 0; n--)
		head_add(h, str_c(names[rng_below(r, 4)]), str_c(values[rng_below(r, 4)]));
}

static void one_request(const struct match *m, const struct snap *s, struct rng *r, struct regex_scratch *scratch)
{
	static const char *const queries[] = { "x-a=1", "x-b=on&x-b=one", "x-c", "x-c=", "" };
	struct arena a;
	struct head h;
	char path[TEXT_MAX];
	arena_init(&a, 0);
	head_init(&h, &a);
	random_head(r, &h);
	struct match_facts f = {
		.method = rng_below(r, 2) == 0 ? STR("GET") : STR("POST"),
		.scheme = rng_below(r, 2) == 0 ? STR("http") : STR("https"),
		.authority = rng_below(r, 2) == 0 ? STR("my-app:80") : STR("other"),
		.path = str_c(random_path(r, path)), .head = &h, .scratch = scratch,
		.query = rng_below(r, 2) == 0 ? STR_NULL : str_c(queries[rng_below(r, 5)]),
	};
	const struct snap_vhost *vhost = &s->views.v[0].vhosts.v[0];
	size_t route = 0, block = 0;
	struct match_hit hit;
	unsigned limits = 0;
	bool want = oracle_route(vhost, &f, &route, &block);
	bool got = match_route(match_vhost(m, 0, 80, STR("h")), &f, &hit, &limits);
	ck_assert_uint_eq(limits, 0);
	ck_assert_msg(want == got, "%s: oracle %d, got %d", path, want, got);
	if (want) {
		ck_assert_ptr_eq(hit.route, &vhost->routes.v[route]);
		ck_assert_ptr_eq(hit.match, block == SIZE_MAX ? NULL : &vhost->routes.v[route].matches.v[block]);
	}
	arena_done(&a);
}

START_TEST(routes_as_the_oracle)
{
	struct rng r;
	rng_init(&r, 11);
	struct regex_scratch *scratch = regex_scratch_new();
	for (int round = 0; round < 150; round++) {
		struct snap *s = snap_with(1);
		name_vhost(s, 0, 80, "h", "h");
		struct snap_vhost *h = &s->views.v[0].vhosts.v[0];
		/* Below and above the size from which the index is used. */
		h->routes.n = round % 2 == 0 ? 4 : 60;
		h->routes.v = arena_new_n(&s->arena, struct snap_route, h->routes.n);
		for (size_t i = 0; i < h->routes.n; i++)
			random_route(s, &r, &h->routes.v[i]);
		struct match *m = prepared(s);
		for (int k = 0; k < 100; k++)
			one_request(m, s, &r, scratch);
		match_free(m);
		snap_unref(s);
	}
	regex_scratch_free(scratch);
}
END_TEST

static struct snap *many_prefixes(size_t n)
{
	struct snap *s = snap_with(1);
	name_vhost(s, 0, 80, "h", "h");
	struct snap_vhost *h = &s->views.v[0].vhosts.v[0];
	h->routes.n = n;
	h->routes.v = arena_new_n(&s->arena, struct snap_route, n);
	for (size_t i = 0; i < n; i++) {
		/* "/", "/a", "/aa", …: a long path passes all of them, more lists than are merged at once. */
		char *text = arena_alloc(&s->arena, n + 2);
		memset(text, 'a', n + 1);
		text[0] = '/';
		text[i + 1] = '\0';
		struct snap_match *b = arena_new(&s->arena, struct snap_match);
		b->uri = text_match(s, SNAP_MATCH_PREFIX, text, false);
		b->method = text_match(s, SNAP_MATCH_EXACT, i == n - 2 ? "PUT" : "GET", false);
		h->routes.v[i].matches.v = b;
		h->routes.v[i].matches.n = 1;
	}
	return s;
}

START_TEST(nested_prefixes_beyond_the_merge)
{
	struct snap *s = many_prefixes(100);
	struct match *m = prepared(s);
	struct arena a;
	struct head h;
	arena_init(&a, 0);
	head_init(&h, &a);
	char path[200];
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	struct match_facts f = { .method = STR("PUT"), .path = str_from(path, sizeof(path)), .head = &h };
	struct match_hit hit;
	ck_assert(match_route(match_vhost(m, 0, 80, STR("h")), &f, &hit, NULL));
	ck_assert_ptr_eq(hit.route, &s->views.v[0].vhosts.v[0].routes.v[98]);
	f.path = str_from(path, 50);
	ck_assert(!match_route(match_vhost(m, 0, 80, STR("h")), &f, &hit, NULL));
	arena_done(&a);
	match_free(m);
	snap_unref(s);
}
END_TEST

START_TEST(limits_are_counted_and_do_not_fit)
{
	struct snap *s = snap_with(1);
	name_vhost(s, 0, 80, "h", "h");
	struct snap_vhost *h = &s->views.v[0].vhosts.v[0];
	h->routes.n = 1;
	h->routes.v = arena_new(&s->arena, struct snap_route);
	struct snap_match *b = arena_new(&s->arena, struct snap_match);
	b->headers.n = 1;
	b->headers.v = arena_new(&s->arena, struct snap_field_match);
	b->headers.v[0] = (struct snap_field_match){ .name = STR("x-a"), .kind = SNAP_MATCH_REGEX, .value = STR("(a+)+") };
	h->routes.v[0].matches.v = b;
	h->routes.v[0].matches.n = 1;
	for (int invert = 0; invert < 2; invert++) {
		b->headers.v[0].invert = invert == 1;
		struct match *m = prepared(s);
		struct arena a;
		struct head head;
		arena_init(&a, 0);
		head_init(&head, &a);
		head_add(&head, STR("x-a"), STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"));
		struct match_facts f = { .method = STR("GET"), .path = STR("/"), .head = &head };
		struct match_hit hit;
		unsigned limits = 0;
		ck_assert(!match_route(match_vhost(m, 0, 80, STR("h")), &f, &hit, &limits));
		ck_assert_uint_eq(limits, 1);
		arena_done(&a);
		match_free(m);
	}
	b->headers.v[0].value = STR("(?=a)");
	struct match *m = NULL;
	struct err err = { 0 };
	ck_assert_int_lt(match_new(s, &m, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "look-ahead"));
	snap_unref(s);
}
END_TEST

/* ---- L4 ----------------------------------------------------------------------------------------------------- */
static struct str_list list(struct snap *s, const char *one)
{
	if (!one)
		return (struct str_list){ 0 };
	struct str *v = arena_new(&s->arena, struct str);
	*v = copy(s, one);
	return (struct str_list){ v, 1 };
}

static struct match_l4_facts to(int64_t port, const char *v4, const char *sni, const char *service)
{
	struct match_l4_facts f = { .port = port, .sni = str_c(sni), .service = str_c(service) };
	if (v4) {
		f.has_addr = true;
		f.addr[10] = f.addr[11] = 0xff;
		ck_assert_int_eq(inet_pton(AF_INET, v4, f.addr + 12), 1);
	}
	return f;
}

START_TEST(l4_rows)
{
	static const struct { const char *name; int64_t port; const char *addr, *sni, *service; } rows[] = {
		{ "net", 6379, "10.8.0.0/13", NULL, "a" }, { "ip", 6379, "192.0.2.1", NULL, "b" },
		{ "any", 6379, NULL, NULL, "c" }, { "v6", 5432, "2001:db8::/33", NULL, "d" },
		{ "sni", 443, NULL, "web.example", "e" }, { "sni-wild", 443, NULL, "*.example", "e" },
		{ "default", 443, NULL, "e", "e" }, { "all-v4", 9000, "0.0.0.0/0", NULL, "f" },
	};
	static const struct { int64_t port; const char *v4, *sni, *service, *want; } asked[] = {
		{ 6379, "10.15.255.255", "", "", "net" }, { 6379, "10.16.0.0", "", "", "any" },
		{ 6379, "192.0.2.1", "", "", "ip" }, { 6379, NULL, "", "", "any" }, { 6379, NULL, "", "b", "ip" },
		{ 6380, "10.8.0.1", "", "", NULL }, { 443, "1.1.1.1", "WEB.example", "", "sni" },
		{ 443, "1.1.1.1", "x.example", "", "sni-wild" }, { 443, "1.1.1.1", "example", "", NULL },
		{ 443, "1.1.1.1", "", "", NULL }, { 443, NULL, "", "e", "default" },
		{ 443, NULL, "localhost", "e", "default" }, { 443, NULL, "x.example", "e", "sni-wild" },
		{ 9000, "8.8.8.8", "", "", "all-v4" },
	};
	struct snap *s = snap_with(0);
	struct snap_view *v = &s->views.v[0];
	v->l4.n = sizeof(rows) / sizeof(rows[0]);
	v->l4.v = arena_new_n(&s->arena, struct snap_l4, v->l4.n);
	for (size_t i = 0; i < v->l4.n; i++)
		v->l4.v[i] = (struct snap_l4){ .name = str_c(rows[i].name), .port = rows[i].port,
					       .service = str_c(rows[i].service), .addresses = list(s, rows[i].addr),
					       .sni = list(s, rows[i].sni) };
	struct match *m = prepared(s);
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct match_l4_facts f = to(asked[i].port, asked[i].v4, asked[i].sni, asked[i].service);
		const struct snap_l4 *got = match_l4(m, 0, &f);
		ck_assert_msg(got ? asked[i].want && str_eq(got->name, str_c(asked[i].want)) : !asked[i].want,
			      "row %zu: got %s", i, got ? got->name.p : "none");
	}
	struct match_l4_facts six = { .port = 5432, .has_addr = true, .addr = { 0x20, 0x01, 0x0d, 0xb8, 0x7f } };
	ck_assert(match_l4(m, 0, &six) != NULL);
	six.addr[4] = 0x80;
	ck_assert(match_l4(m, 0, &six) == NULL);
	match_free(m);
	v->l4.v[0].addresses.v[0] = STR("10.0.0.0/33");
	struct err err = { 0 };
	ck_assert_int_lt(match_new(s, &m, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "10.0.0.0/33"));
	snap_unref(s);
}
END_TEST

START_TEST(weights)
{
	static const struct snap_weighted w[] = { { .weight = 95 }, { .weight = 4 }, { .weight = 1 } };
	struct rng r;
	rng_init(&r, 1);
	long got[3] = { 0 };
	enum { N = 100000 };
	for (int i = 0; i < N; i++)
		got[match_weighted(w, 3, 100, &r)]++;
	/* Five standard deviations of a binomial: 1 in 1.7 million runs would fail were the seed not fixed. */
	ck_assert_int_lt(labs(got[0] - 95000), 5 * 69);
	ck_assert_int_lt(labs(got[1] - 4000), 5 * 62);
	ck_assert_int_lt(labs(got[2] - 1000), 5 * 32);
	ck_assert_uint_eq(match_weighted(w, 1, 95, &r), 0);
}
END_TEST

START_TEST(servers_by_name)
{
	static struct str one[] = { { "shop.example", 12 }, { "*.shop.example", 14 } };
	static struct str two[] = { { "*.example", 9 } }, any[] = { { "*", 1 } };
	static struct snap_server v[] = { { .hosts = { two, 1 } }, { .hosts = { one, 2 } }, { .hosts = { any, 1 } } };
	struct snap_listener l = { .servers = { v, 2 } };

	ck_assert_int_eq(match_server(&l, STR("shop.example")), 1);
	ck_assert_int_eq(match_server(&l, STR("SHOP.Example")), 1);
	ck_assert_int_eq(match_server(&l, STR("a.b.shop.example")), 1);
	ck_assert_int_eq(match_server(&l, STR("other.example")), 0);
	ck_assert_int_eq(match_server(&l, STR("example")), -1);
	ck_assert_int_eq(match_server(&l, STR("")), -1);
	l.servers.n = 3;
	ck_assert_int_eq(match_server(&l, STR("")), 2);
	ck_assert_int_eq(match_server(&l, STR("other.example")), 0);
}
END_TEST

UNIT_MAIN("match", servers_by_name, host_precedence, hosts_as_the_oracle, routes_as_the_oracle, nested_prefixes_beyond_the_merge,
	  limits_are_counted_and_do_not_fit, l4_rows, weights)
