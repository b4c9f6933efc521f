/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_values: the forms of names, hosts, addresses and labels, the same for every kind. Layer
 * config.
 */
#include <arpa/inet.h>

#include "config/check_parts.h"

static bool is_alnum_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool check_is_label(struct str s)
{
	if (s.n == 0 || s.n > 63 || !is_alnum_lower(s.p[0]) || !is_alnum_lower(s.p[s.n - 1]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum_lower(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

/* As check_is_label, upper case and underscores allowed: DNS names in the wild. */
static bool is_dns_label(struct str s)
{
	if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum_lower(s.p[i] | 0x20) && s.p[i] != '-' && s.p[i] != '_')
			return false;
	return true;
}

static bool is_all_digits(struct str s)
{
	uint64_t n;

	return str_to_u64(s, &n);
}

bool check_is_fqdn(struct str s)
{
	struct str rest, piece = STR_NULL;

	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	if (s.n == 0 || s.n > 255)
		return false;
	rest = s;
	while (str_split(&rest, '.', &piece))
		if (!is_dns_label(piece))
			return false;
	return !is_all_digits(piece);
}

bool check_is_token(struct str s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum_lower(s.p[i] | 0x20) &&
		    (s.p[i] == '\0' || strchr(others, s.p[i]) == NULL))
			return false;
	return s.n > 0;
}

bool check_is_cidr(struct str s)
{
	ptrdiff_t slash = str_find(s, '/');
	uint64_t bits;

	if (slash < 0)
		return names_is_ip(s);
	if (!str_to_u64(str_skip(s, (size_t)slash + 1), &bits))
		return false;
	s = str_take(s, (size_t)slash);
	return names_is_ip(s) && bits <= (str_find(s, ':') >= 0 ? 128 : 32);
}

bool check_host_port(struct str s, struct str *ret_host, int64_t *ret_port)
{
	ptrdiff_t colon = str_rfind(s, ':');
	uint64_t port;

	if (colon < 0 || !str_to_u64(str_skip(s, (size_t)colon + 1), &port) || port > 65535)
		return false;
	s = str_take(s, (size_t)colon);
	if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = str_from(s.p + 1, s.n - 2);
	*ret_host = s;
	*ret_port = (int64_t)port;
	return names_is_ip(s);
}

void check_host(struct check *c, struct origin at, const char *field, struct str host,
		bool allow_ip)
{
	struct str name = host;

	if (str_eq(host, STR("*")) || (allow_ip && check_is_cidr(host)))
		return;
	if (str_has_prefix(host, STR("*.")))
		name = str_skip(host, 2);
	else if (names_is_wildcard(host)) {
		check_add(
			c, "KVM0302", at,
			"%s '%.*s': a wildcard must be the whole first label, as in *.example.org",
			field, STR_ARG(host));
		return;
	}
	if (!check_is_fqdn(name))
		check_add(c, "KVM0302", at, "%s '%.*s' is no host name", field, STR_ARG(host));
}

/* "." is the resource's own namespace. */
static struct str exported_ns(const struct check *c, struct str ns)
{
	return str_eq(ns, STR(".")) ? c->r->ns : model_ns(c->m, ns);
}

void check_export_to(struct check *c, const struct str_list *l, bool allow_none)
{
	for (size_t i = 0; i < l->n; i++) {
		struct str ns = l->v[i];
		bool word = str_eq(ns, STR("*")) || str_eq(ns, STR(".")) ||
			    (allow_none && str_eq(ns, STR("~")));

		if (!word && !check_is_label(ns))
			check_add(c, "KVM0310", c->r->at, "exportTo '%.*s' is no namespace",
				  STR_ARG(ns));
		if (l->n > 1 && (str_eq(ns, STR("*")) || str_eq(ns, STR("~"))))
			check_add(c, "KVM0310", c->r->at, "exportTo '%.*s' must stand alone",
				  STR_ARG(ns));
		for (size_t j = 0; j < i; j++)
			if (str_eq(exported_ns(c, ns), exported_ns(c, l->v[j])))
				check_add(c, "KVM0310", c->r->at, "exportTo names '%.*s' twice",
					  STR_ARG(ns));
	}
}

/* Kubernetes' form of a label key: [DNS name/]name. */
static bool is_label_key(struct str key)
{
	ptrdiff_t slash = str_find(key, '/');
	struct str name = slash < 0 ? key : str_skip(key, (size_t)slash + 1);

	if (slash >= 0 && !check_is_fqdn(str_take(key, (size_t)slash)))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!is_alnum_lower(name.p[i] | 0x20) && str_find(STR("-_."), name.p[i]) < 0)
			return false;
	return name.n > 0 && name.n <= 63;
}

static bool is_label_value(struct str v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!is_alnum_lower(v.p[i] | 0x20) && str_find(STR("-_."), v.p[i]) < 0)
			return false;
	return v.n <= 63;
}

void check_labels(struct check *c, struct origin at, const char *field, const struct labels *l)
{
	for (size_t i = 0; i < l->n; i++) {
		if (!is_label_key(l->v[i].key))
			check_add(c, "KVM0303", at, "%s: '%.*s' is no label key", field,
				  STR_ARG(l->v[i].key));
		if (!is_label_value(l->v[i].val))
			check_add(c, "KVM0303", at,
				  "%s: the value '%.*s' of '%.*s' must be at most 63 letters, "
				  "digits, '-', '_' and '.', without wildcards",
				  field, STR_ARG(l->v[i].val), STR_ARG(l->v[i].key));
	}
}

void check_cidrs(struct check *c, struct origin at, const char *field, const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!check_is_cidr(l->v[i]))
			check_add(c, "KVM0309", at,
				  "%s: '%.*s' is neither an IP address nor a CIDR", field,
				  STR_ARG(l->v[i]));
}
