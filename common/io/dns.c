/* SPDX-License-Identifier: Apache-2.0 */
/* dns: see dns.h. Layer io; the one file that knows evdns. */
#include "config.h"

#include "io/dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/dns.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define HOSTS "/etc/hosts"
#define HOSTS_LINE_MAX 4096
#define OTHER_US (1u * 1000 * 1000)     /* for the other family, once one has addresses */

struct dns {
	struct loop *loop;
	struct evdns_base *base;        /* NULL until somebody asks */
	struct stat seen;               /* RESOLV_CONF as base has read it */
	struct list queries;
};
struct dns_query {
	struct list node;
	struct dns *d;
	struct loop_timer later;        /* tells what is known at once */
	struct evdns_request *request[2];       /* for IPv4, IPv6; NULL: none is under way */
	char *name;
	dns_fn fn;
	void *arg;
	const char *error;
	uint8_t v[DNS_ADDRESSES_MAX][16];
	size_t n;
	uint32_t ttl_s;
};

/* ---- answers -------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static void add_v4(struct dns_query *q, const void *addr)
{
	if (q->n == DNS_ADDRESSES_MAX)
		return;
	memset(q->v[q->n], 0, 10);
	memset(q->v[q->n] + 10, 0xff, 2);
	memcpy(q->v[q->n++] + 12, addr, 4);
}

static void add_v6(struct dns_query *q, const void *addr)
{
	if (q->n < DNS_ADDRESSES_MAX)
		memcpy(q->v[q->n++], addr, 16);
}

static void query_free(struct dns_query *q)
{
	list_del(&q->node);
	loop_timer_done(&q->later);
	free(q->name);
	free(q);
}

static void tell(void *arg)
{
	struct dns_query *q = arg;
	struct dns_answer a = { .error = q->n > 0 ? NULL : q->error, .v = q->v, .n = q->n, .ttl_s = q->ttl_s };

	if (q->n > 1)
		qsort(q->v, q->n, sizeof(q->v[0]), by_bytes);
	/* The query is gone for the one who asked once fn is called. */
	q->fn(q->arg, &a);
	dns_cancel(q);
}

/* ---- /etc/hosts ----------------------------------------------------------------------------- */

static bool names_host(struct str rest, const char *name)
{
	struct str word;

	while (str_split(&rest, ' ', &word))
		if (str_ieq(word, str_c(name)))
			return true;
	return false;
}

static void read_hosts_line(struct dns_query *q, char *line, bool v6)
{
	uint8_t addr[16];

	line[strcspn(line, "#\r\n")] = '\0';
	for (char *p = line; *p; p++)
		if (*p == '\t')
			*p = ' ';
	struct str text = str_trim(str_c(line));
	ptrdiff_t end = str_find(text, ' ');

	if (end < 0 || !names_host(str_skip(text, (size_t)end + 1), q->name))
		return;
	line[text.p - line + end] = '\0';
	if (!v6 && inet_pton(AF_INET, text.p, addr) == 1)
		add_v4(q, addr);
	else if (v6 && inet_pton(AF_INET6, text.p, addr) == 1)
		add_v6(q, addr);
}

static void read_hosts(struct dns_query *q, bool v6)
{
	char line[HOSTS_LINE_MAX];
	FILE *f = fopen(HOSTS, "re");

	while (f && fgets(line, sizeof(line), f))
		read_hosts_line(q, line, v6);
	if (f)
		fclose(f);
}

/* ---- the servers ---------------------------------------------------------------------------- */

static void add_all(struct dns_query *q, bool v6, int count, int ttl, const uint8_t *addresses)
{
	for (int i = 0; i < count; i++) {
		if (v6)
			add_v6(q, addresses + 16 * i);
		else
			add_v4(q, addresses + 4 * i);
	}
	if (ttl > 0 && (q->ttl_s == 0 || (uint32_t)ttl < q->ttl_s))
		q->ttl_s = (uint32_t)ttl;
}

static void on_answer(struct dns_query *q, bool v6, int result)
{
	bool last = !q->request[!v6];

	if (result != DNS_ERR_NONE && result != DNS_ERR_NOTEXIST && result != DNS_ERR_NODATA)
		q->error = evdns_err_to_string(result);
	if (last)
		tell(q);
	else if (q->n > 0)
		loop_timer_set(&q->later, OTHER_US);
}

/* A server without addresses of that kind tells no type; what was asked is known from the call. */
static void on_reply(struct dns_query *q, bool v6, int result, int count, int ttl, const void *addresses)
{
	q->request[v6] = NULL;
	if (!q->fn) {                   /* cancelled; its answer may have been on its way already */
		if (!q->request[!v6])
			query_free(q);
		return;
	}
	if (result == DNS_ERR_NONE)
		add_all(q, v6, count, ttl, addresses);
	on_answer(q, v6, result);
}

static void on_v4(int result, char type, int count, int ttl, void *addresses, void *arg)
{
	(void)type;
	on_reply(arg, false, result, count, ttl, addresses);
}

static void on_v6(int result, char type, int count, int ttl, void *addresses, void *arg)
{
	(void)type;
	on_reply(arg, true, result, count, ttl, addresses);
}

static void fail(struct dns_query *q, const char *why)
{
	q->error = why;
	loop_timer_set(&q->later, 0);
}

static void ask(struct dns_query *q)
{
	struct evdns_base *b = q->d->base;

	q->request[0] = evdns_base_resolve_ipv4(b, q->name, DNS_QUERY_NO_SEARCH, on_v4, q);
	q->request[1] = evdns_base_resolve_ipv6(b, q->name, DNS_QUERY_NO_SEARCH, on_v6, q);
	if (!q->request[0] && !q->request[1])
		fail(q, "the question could not be sent");
}

static bool is_changed(const struct stat *a, const struct stat *b)
{
	return a->st_ino != b->st_ino || a->st_size != b->st_size ||
	       a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

static void on_evdns_log(int is_warning, const char *text)
{
	(void)is_warning;
	log_debug("dns: %s", text);
}

/* Questions under way keep the servers that they went to: the old base goes when none is. */
static bool open_base(struct dns *d)
{
	struct stat st = { 0 };

	(void)stat(RESOLV_CONF, &st);
	if (d->base && (!is_changed(&st, &d->seen) || !list_is_empty(&d->queries)))
		return true;
	if (d->base)
		evdns_base_free(d->base, 0);
	evdns_set_log_fn(on_evdns_log);
	d->base = evdns_base_new(loop_base(d->loop), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	d->seen = st;
	if (!d->base)
		return false;
	if (evdns_base_resolv_conf_parse(d->base, DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC,
					 RESOLV_CONF) != 0)
		log_debug("dns: %s names no server, 127.0.0.1 is asked", RESOLV_CONF);
	return true;
}

struct dns_query *dns_ask(struct dns *d, const char *name, dns_fn fn, void *arg)
{
	struct dns_query *q = kv_zalloc(sizeof(*q));
	bool has_base = open_base(d);

	q->d = d;
	q->name = kv_strdup(name);
	q->fn = fn;
	q->arg = arg;
	loop_timer_init(&q->later, d->loop, tell, q);
	list_push_back(&d->queries, &q->node);
	read_hosts(q, false);
	read_hosts(q, true);
	if (q->n > 0)
		loop_timer_set(&q->later, 0);
	else if (strlen(name) > DNS_NAME_MAX)
		fail(q, "the name is too long");
	else if (!has_base)
		fail(q, "no resolver");
	else
		ask(q);
	return q;
}

void dns_cancel(struct dns_query *q)
{
	if (!q)
		return;
	if (!q->request[0] && !q->request[1]) {
		query_free(q);
		return;
	}
	/* evdns still calls back, with an error: on_reply lets it go then. */
	q->fn = NULL;
	loop_timer_stop(&q->later);
	for (int i = 0; i < 2; i++)
		if (q->request[i])
			evdns_cancel_request(q->d->base, q->request[i]);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct dns *dns_new(struct loop *l)
{
	struct dns *d = kv_zalloc(sizeof(*d));

	d->loop = l;
	list_init(&d->queries);
	return d;
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	if (d->base)
		evdns_base_free(d->base, 0);
	while (!list_is_empty(&d->queries))
		query_free(list_entry(d->queries.next, struct dns_query, node));
	free(d);
}
