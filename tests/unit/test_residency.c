/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency: the decision against a slow oracle, written from docs/residency.md by other means (text and
 * single bits); and databases of countries that are not what they say.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "snap/countries.h"
#include "snap/snap.h"
#include "unit.h"

/*
 * libmaxminddb 1.7 forgets a pool of 4 KiB when the lists in a header are broken: once for a bad file,
 * and nothing that its caller could give back. The leak sanitizer is told so.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libmaxminddb";
}

#define PAIRS 100000
#define MUTATIONS 20000

static uint64_t seed = 88172645463325252u;
static size_t any(size_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (size_t)(seed % n);
}

/* ---- databases ------------------------------------------------------------------------------- */

static struct str corpus(const char *name)
{
	const char *srcdir = getenv("srcdir");
	_cleanup_free_ char *path = kv_asprintf("%s/tests/fuzz/corpus/countries/%s", srcdir ? srcdir : ".", name);
	char *text = NULL;
	size_t n;

	ck_assert_msg(fs_read(path, 1 << 20, &text, &n, NULL) == 0, "%s", path);
	return str_from(text, n);
}

static int open_bytes(struct str bytes, struct countries **ret, struct err *err)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	char path[64];

	ck_assert(fd >= 0 && write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = countries_open(path, ret, err);

	close(fd);
	return r;
}

static struct countries *open_corpus(const char *name)
{
	struct str bytes = corpus(name);
	struct countries *c = NULL;
	struct err err = { 0 };

	ck_assert_msg(open_bytes(bytes, &c, &err) == 0, "%s: %s", name, err.text);
	free((char *)(uintptr_t)bytes.p);
	return c;
}

static const char *find(const struct countries *c, const char *address)
{
	static char code[RESIDENCY_COUNTRY];
	uint8_t a[16];

	ck_assert(residency_read_address(str_c(address), a));
	return countries_find(c, a, code) ? code : "-";
}

START_TEST(every_form_of_a_database_is_read)
{
	static const char *const forms[] = { "geolite-24", "geolite-28", "geolite-32", "flat", "string" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct countries *c = open_corpus(forms[i]);

		ck_assert_str_eq(find(c, "203.0.113.5"), "DE");
		ck_assert_str_eq(find(c, "203.0.113.200"), "FR");
		ck_assert_str_eq(find(c, "198.51.100.255"), "US");
		ck_assert_str_eq(find(c, "2001:db8:de::5"), "DE");
		ck_assert_str_eq(find(c, "2001:db8:a:1::"), "US");
		ck_assert_str_eq(find(c, "192.0.2.1"), "-");
		countries_free(c);
	}
	struct countries *c = open_corpus("other");

	ck_assert_str_eq(find(c, "203.0.113.5"), "-");
	countries_free(c);
}
END_TEST

START_TEST(what_is_no_database_is_refused_with_a_sentence)
{
	static const char *const bad[] = { "cut", "no-tree", "marker" };
	struct countries *c = NULL;
	struct err err = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct str bytes = corpus(bad[i]);

		ck_assert_int_lt(open_bytes(bytes, &c, &err), 0);
		ck_assert_ptr_nonnull(strstr(err.text, "cannot be used: "));
		free((char *)(uintptr_t)bytes.p);
	}
	ck_assert_int_lt(open_bytes(STR(""), &c, &err), 0);
	ck_assert_int_lt(countries_open("/nonexistent", &c, &err), 0);
	ck_assert_int_lt(countries_open("/dev/zero", &c, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "it is no file"));
	ck_assert_int_lt(countries_open("/", &c, &err), 0);
}
END_TEST

START_TEST(a_huge_file_is_refused_unread)
{
	char path[] = "/tmp/kvmesh-test-XXXXXX";
	struct countries *c = NULL;
	struct err err = { 0 };
	int fd = mkstemp(path);

	ck_assert(fd >= 0 && ftruncate(fd, (off_t)COUNTRIES_BYTES_MAX + 1) == 0);
	ck_assert_int_lt(countries_open(path, &c, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "larger than 256 MiB"));
	unlink(path);
	close(fd);
}
END_TEST

START_TEST(a_file_that_is_cut_afterwards_changes_nothing)
{
	struct str bytes = corpus("geolite-28");
	char path[] = "/tmp/kvmesh-test-XXXXXX";
	struct countries *c = NULL;
	struct err err = { 0 };
	int fd = mkstemp(path);

	ck_assert(fd >= 0 && write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n);
	ck_assert_int_eq(countries_open(path, &c, &err), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_str_eq(find(c, "203.0.113.5"), "DE");
	unlink(path);
	close(fd);
	countries_free(c);
	free((char *)(uintptr_t)bytes.p);
}
END_TEST

/* Bytes that were turned, cut or doubled: refused, or asked; never more than a code comes out. */
START_TEST(mutated_databases_harm_nobody)
{
	static const char *const asked[] = { "203.0.113.5", "203.0.113.200", "198.51.100.1", "2001:db8:de::1", "::", "ffff::" };
	struct str good = corpus("geolite-28");
	char *b = kv_malloc(good.n);
	size_t n_opened = 0, n_refused = 0;

	for (size_t i = 0; i < MUTATIONS; i++) {
		struct countries *c = NULL;
		struct err err = { 0 };
		size_t n = any(8) == 0 ? any(good.n) + 1 : good.n;

		memcpy(b, good.p, n);
		for (size_t k = any(6) + 1; k > 0; k--)
			b[any(2) ? any(n) : n - 1 - any(n < 250 ? n : 250)] = (char)any(256);
		if (open_bytes(str_from(b, n), &c, &err) < 0) {
			n_refused++;
			continue;
		}
		n_opened++;
		for (size_t k = 0; k < sizeof(asked) / sizeof(asked[0]); k++) {
			const char *code = find(c, asked[k]);

			ck_assert(strcmp(code, "-") == 0 || residency_is_country(str_c(code)));
		}
		countries_free(c);
	}
	ck_assert(n_opened > 1000 && n_refused > 1000);
	free(b);
	free((char *)(uintptr_t)good.p);
}
END_TEST

/* ---- the oracle ------------------------------------------------------------------------------ */

struct net {
	const char *address;
	unsigned bits;                  /* of 128, IPv4 as ::ffff:… */
	const char *country;
};
/* What the corpus' databases hold. */
static const struct net in_database[] = {
	{ "203.0.113.200", 128, "FR" }, { "203.0.113.0", 120, "DE" }, { "198.51.100.0", 120, "US" },
	{ "2001:db8:de::", 48, "DE" }, { "2001:db8:a::", 48, "US" },
};
static const struct net in_private[] = {
	{ "10.0.0.0", 104, "" }, { "172.16.0.0", 108, "" }, { "192.168.0.0", 112, "" }, { "127.0.0.0", 104, "" },
	{ "169.254.0.0", 112, "" }, { "100.64.0.0", 106, "" }, { "0.0.0.0", 104, "" }, { "::", 128, "" },
	{ "::1", 128, "" }, { "fc00::", 7, "" }, { "fe80::", 10, "" },
};
static const struct net to_declare[] = {        /* ranges that policies are made of */
	{ "203.0.113.0", 120, "" }, { "203.0.113.128", 121, "" }, { "198.51.100.0", 120, "" }, { "192.0.2.0", 120, "" },
	{ "0.0.0.0", 96, "" }, { "2001:db8::", 32, "" }, { "2001:db8:de::", 48, "" }, { "10.9.0.0", 112, "" },
	{ "64:ff9b::", 96, "" }, { "fd00::", 8, "" },
};

static bool bit(const uint8_t *a, unsigned i)
{
	return a[i / 8] >> (7 - i % 8) & 1;
}

static bool is_in(const struct net *n, const uint8_t *addr)
{
	uint8_t net[16];

	ck_assert(residency_read_address(str_c(n->address), net));
	for (unsigned i = 0; i < n->bits; i++)
		if (bit(net, i) != bit(addr, i))
			return false;
	return true;
}

struct policy {
	struct snap_residency p;
	struct str allow[3];
	struct net ranges[4];
	struct snap_range rows[4];
	char text[4][64];
	bool has_db;
};

static bool may(const struct policy *p, const char *country)
{
	for (size_t i = 0; i < p->p.allow.n; i++)
		if (str_eq(p->allow[i], str_c(country)))
			return true;
	return false;
}

/* How many ranges of the longest kind hold it; each of them that is not allowed sets *refused. */
static size_t ask_ranges(const struct policy *p, const uint8_t *a, bool *refused)
{
	size_t n = 0;
	int longest = -1;

	for (size_t i = 0; i < p->p.ranges.n; i++)
		if (is_in(&p->ranges[i], a) && (int)p->ranges[i].bits > longest)
			longest = (int)p->ranges[i].bits;
	for (size_t i = 0; i < p->p.ranges.n; i++)
		if (is_in(&p->ranges[i], a) && (int)p->ranges[i].bits == longest) {
			n++;
			*refused |= !may(p, p->ranges[i].country);
		}
	return n;
}

static bool is_private(const uint8_t *a)
{
	for (size_t i = 0; i < sizeof(in_private) / sizeof(in_private[0]); i++)
		if (is_in(&in_private[i], a))
			return true;
	return false;
}

/* inner: the IPv4 address that the IPv6 one carries, or NULL. */
static enum residency_verdict oracle(const struct policy *p, const struct residency_question *q, const uint8_t *inner)
{
	bool refused = false;
	size_t said = ask_ranges(p, q->addr, &refused);

	if (said == 0 && is_private(q->addr))
		return q->named && !q->internal ? RESIDENCY_REFUSED : RESIDENCY_INSIDE;
	if (!is_private(q->addr)) {
		if (said == 0 && inner)
			said = ask_ranges(p, inner, &refused);
		if (q->country[0]) {
			said++;
			refused |= !may(p, q->country);
		}
		for (size_t i = 0; p->has_db && i < sizeof(in_database) / sizeof(in_database[0]); i++)
			if (is_in(&in_database[i], inner ? inner : q->addr)) {
				said++;
				refused |= !may(p, in_database[i].country);
				break;
			}
	}
	return refused || (said == 0 && !p->p.allow_unknown) ? RESIDENCY_REFUSED : RESIDENCY_ALLOWED;
}

static const char *const codes[] = { "DE", "FR", "US" };

static void make_policy(struct policy *p)
{
	*p = (struct policy){ .has_db = any(2) };
	for (size_t i = 0; i < 3; i++)
		if (any(2) || (i == 2 && p->p.allow.n == 0))
			p->allow[p->p.allow.n++] = str_c(codes[i]);
	p->p.allow.v = p->allow;
	p->p.allow_unknown = any(2);
	p->p.ranges.v = p->rows;
	p->p.ranges.n = any(5);
	for (size_t i = 0; i < p->p.ranges.n; i++) {
		const struct net *n = &to_declare[any(sizeof(to_declare) / sizeof(to_declare[0]))];
		unsigned bits = strchr(n->address, ':') ? n->bits : n->bits - 96;

		p->ranges[i] = (struct net){ n->address, n->bits, codes[any(3)] };
		snprintf(p->text[i], sizeof(p->text[i]), "%s/%u", n->address, bits);
		p->rows[i] = (struct snap_range){ str_c(p->text[i]), str_c(p->ranges[i].country) };
	}
}

static const char *const plain[] = {
	"203.0.113.1", "203.0.113.130", "203.0.113.200", "198.51.100.7", "192.0.2.3", "8.8.8.8", "10.0.0.1", "10.9.1.1",
	"172.15.255.255", "172.16.0.1", "172.31.255.255", "172.32.0.0", "192.168.1.1", "127.0.0.1", "169.254.169.254",
	"100.63.255.255", "100.64.0.1", "100.127.255.255", "100.128.0.0", "0.0.0.0", "255.255.255.255",
};
static const char *const six[] = { "2001:db8:de::1", "2001:db8:a::1", "2001:db8::1", "2a00::1", "::", "::1", "fd00::1",
				   "fe80::1", "fec0::1", "fbff::1", "ff02::1" };

/* An address; ret_inner: what it carries, if it does. */
static bool make_address(uint8_t addr[16], uint8_t inner[16])
{
	uint8_t v4[16];

	if (any(3) == 0) {
		ck_assert(residency_read_address(str_c(six[any(sizeof(six) / sizeof(six[0]))]), addr));
		/* :: and ::1 are of the block that carries IPv4 addresses, and private before that matters */
		return false;
	}
	ck_assert(residency_read_address(str_c(plain[any(sizeof(plain) / sizeof(plain[0]))]), v4));
	memcpy(addr, v4, 16);
	memcpy(inner, v4, 16);
	switch (any(6)) {
	case 0:
		memcpy(addr, "\x00\x64\xff\x9b\0\0\0\0\0\0\0\0", 12);
		return true;
	case 1:
		memset(addr, 0, 16);
		memcpy(addr, "\x20\x02", 2);
		memcpy(addr + 2, v4 + 12, 4);
		return true;
	case 2:
		memset(addr, 0, 12);
		return true;
	default:
		return false;
	}
}

START_TEST(decides_as_a_slow_oracle_does)
{
	struct countries *db = open_corpus("geolite-24");
	size_t seen[3] = { 0 };

	for (size_t i = 0; i < PAIRS; i += 20) {
		struct policy p;
		struct err err = { 0 };

		make_policy(&p);
		ck_assert_msg(residency_check(&p.p, &err) == 0, "%s", err.text);
		struct residency *r = residency_new(&p.p, p.has_db ? db : NULL);

		for (size_t k = 0; k < 20; k++) {
			struct residency_question q = { .named = any(2), .internal = any(2) };
			struct residency_answer a;
			uint8_t inner[16];
			bool carries = make_address(q.addr, inner);

			if (any(2))
				memcpy(q.country, codes[any(3)], 3);
			residency_judge(r, &q, &a);
			ck_assert_msg(a.verdict == oracle(&p, &q, carries ? inner : NULL), "pair %zu", i + k);
			ck_assert_int_eq(a.verdict == RESIDENCY_REFUSED, a.reason != RESIDENCY_FITS);
			seen[a.verdict]++;
		}
		residency_free(r);
	}
	ck_assert(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
	countries_free(db);
}
END_TEST

/* ---- hosts, words, snapshots ----------------------------------------------------------------- */

START_TEST(hosts_are_found_by_name_and_longest_wildcard)
{
	struct str allow[] = { STR("DE") };
	struct snap_declared hosts[] = { { STR("a.example"), STR("US"), false }, { STR("*.example"), STR("FR"), false },
					 { STR("*.b.example"), STR("DE"), true } };
	struct snap_residency p = { .allow = { allow, 1 }, .hosts = { hosts, 3 } };
	struct residency *r = residency_new(&p, NULL);
	const struct { const char *host, *country; } rows[] = {
		{ "a.example", "US" }, { "x.example", "FR" }, { "y.x.example", "FR" }, { "c.b.example", "DE" },
		{ "b.example", "FR" }, { "*.example", "FR" }, { "example", "" }, { "xexample", "" }, { "", "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct residency_question q = { 0 };

		ck_assert_int_eq(residency_of_host(r, str_c(rows[i].host), &q), rows[i].country[0] != '\0');
		ck_assert_str_eq(q.country, rows[i].country);
	}
	struct residency_answer a;

	residency_judge_host(r, STR("a.example"), &a);
	ck_assert_int_eq(a.verdict, RESIDENCY_REFUSED);
	residency_judge_host(r, STR("c.b.example"), &a);
	ck_assert_int_eq(a.verdict, RESIDENCY_INSIDE);
	residency_judge_host(r, STR("nowhere.test"), &a);
	ck_assert_int_eq(a.reason, RESIDENCY_UNKNOWN);
	residency_judge_host(r, STR("[2001:db8::1]"), &a);
	ck_assert_int_eq(a.reason, RESIDENCY_UNKNOWN);
	residency_judge_host(r, STR("127.0.0.1"), &a);
	ck_assert_int_eq(a.verdict, RESIDENCY_INSIDE);
	residency_free(r);
}
END_TEST

START_TEST(what_a_snapshot_may_not_say)
{
	struct str good[] = { STR("DE") }, bad[] = { STR("de") };
	struct snap_range range = { STR("203.0.113.0/24"), STR("DE") };
	struct snap_declared host = { STR("a.example"), STR("Germany"), false };
	struct snap_residency p = { .allow = { good, 1 }, .ranges = { &range, 1 } };
	struct err err = { 0 };

	ck_assert_int_eq(residency_check(&p, &err), 0);
	p.allow.v = bad;
	ck_assert_int_lt(residency_check(&p, &err), 0);
	p.allow.v = good;
	range.cidr = STR("203.0.113.0/33");
	ck_assert_int_lt(residency_check(&p, &err), 0);
	range = (struct snap_range){ STR("203.0.113.0/24"), STR("D1") };
	ck_assert_int_lt(residency_check(&p, &err), 0);
	range.country = STR("DE");
	p.hosts.v = &host;
	p.hosts.n = 1;
	ck_assert_int_lt(residency_check(&p, &err), 0);
	p.hosts.n = 0;
	p.ranges.n = RESIDENCY_RANGES_MAX + 1;
	ck_assert_int_eq(residency_check(&p, &err), KV_ERR_LIMIT);
}
END_TEST

UNIT_MAIN("residency", every_form_of_a_database_is_read, what_is_no_database_is_refused_with_a_sentence,
	  a_huge_file_is_refused_unread, a_file_that_is_cut_afterwards_changes_nothing, mutated_databases_harm_nobody,
	  decides_as_a_slow_oracle_does, hosts_are_found_by_name_and_longest_wildcard, what_a_snapshot_may_not_say)
