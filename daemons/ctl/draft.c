/* SPDX-License-Identifier: Apache-2.0 */
/* draft: see draft.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>

#include "base/vec.h"
#include "ctl/draft.h"
#include "ctl/guess.h"

#define NAME_MAX_BYTES 63               /* of a workload, which is a DNS label */
#define SSH_PORT 22

/* ---- names of units -------------------------------------------------------------------------- */

struct str draft_unit_name(struct str word, struct arena *a)
{
	static const char *const suffixes[] = { ".service", ".socket", ".target", ".timer",
						".mount",   ".slice",  ".scope",  ".path" };

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (str_has_suffix(word, str_c(suffixes[i])))
			return arena_str(a, word);
	return arena_printf(a, "%.*s.service", STR_ARG(word));
}

struct str draft_stem(struct str unit)
{
	ptrdiff_t dot = str_rfind(unit, '.');

	return dot > 0 ? str_take(unit, (size_t)dot) : unit;
}

static struct str prefix_of(struct str unit)
{
	struct str stem = draft_stem(unit);
	ptrdiff_t at = str_find(stem, '@');

	return at >= 0 ? str_take(stem, (size_t)at) : stem;
}

static struct str instance_of(struct str unit)
{
	struct str stem = draft_stem(unit);
	ptrdiff_t at = str_find(stem, '@');

	return at >= 0 ? str_skip(stem, (size_t)at + 1) : STR("");
}

/* "\x2d" → "-", "-" → "/": what systemd-escape(1) made of it. */
static struct str unescape(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint64_t byte;

		if (s.p[i] == '\\' && i + 3 < s.n && s.p[i + 1] == 'x' &&
		    str_hex_to_u64(str_from(s.p + i + 2, 2), &byte)) {
			p[n++] = (char)byte;
			i += 3;
		} else {
			p[n++] = s.p[i] == '-' ? '/' : s.p[i];
		}
	}
	p[n] = '\0';
	return str_from(p, n);
}

/* As a DNS label: lower case, everything else becomes '-', none at the ends. */
static struct str as_label(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n && n < NAME_MAX_BYTES; i++) {
		char c = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i];
		bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (good || (n > 0 && p[n - 1] != '-'))
			p[n++] = good ? c : '-';
	}
	while (n > 0 && p[n - 1] == '-')
		n--;
	p[n] = '\0';
	return str_from(p, n);
}

/* "my-app-v1" → "my-app" and "v1". */
static bool split_version(struct str name, struct str *ret_app, struct str *ret_version)
{
	ptrdiff_t dash = str_rfind(name, '-');
	struct str tail = dash > 0 ? str_skip(name, (size_t)dash + 1) : STR("");
	uint64_t number;

	if (tail.n < 2 || tail.p[0] != 'v' || !str_to_u64(str_skip(tail, 1), &number))
		return false;
	*ret_app = str_take(name, (size_t)dash);
	*ret_version = tail;
	return true;
}

/* ---- statements ------------------------------------------------------------------------------ */

void draft_init(struct draft *d, struct str unit, struct arena *a)
{
	*d = (struct draft){ .a = a, .unit = unit, .labels_why = STR("") };
}

static void put_pair(struct arena *a, struct labels *to, size_t *cap, struct str key,
		     struct str value)
{
	for (size_t i = 0; i < to->n; i++)
		if (str_eq(to->v[i].key, key)) {
			to->v[i].val = value;
			return;
		}
	*vec_push_arena(a, to->v, to->n, *cap) = (struct label){ key, value };
}

static int set_pairs(struct draft *d, struct labels *to, size_t *cap, struct str value,
		     struct err *err)
{
	struct str piece;

	while (str_split(&value, ' ', &piece)) {
		ptrdiff_t eq = str_find(piece, '=');

		if (piece.n == 0)
			continue;
		if (eq <= 0)
			return err_set(err, KV_ERR_SCHEMA, "'%.*s' must be KEY=VALUE",
				       STR_ARG(piece));
		put_pair(d->a, to, cap, arena_str(d->a, str_take(piece, (size_t)eq)),
			 arena_str(d->a, str_skip(piece, (size_t)eq + 1)));
	}
	return 0;
}

static struct draft_port *find_port(struct draft *d, uint16_t number)
{
	for (size_t i = 0; i < d->n_ports; i++)
		if (d->ports[i].number == number)
			return &d->ports[i];
	return NULL;
}

/* "8001", "8001:http", "8001:api/HTTP", "8001/GRPC" */
static int set_port(struct draft *d, struct str value, struct err *err)
{
	ptrdiff_t slash = str_find(value, '/');
	struct str head = slash >= 0 ? str_take(value, (size_t)slash) : value;
	struct str protocol = slash >= 0 ? str_skip(value, (size_t)slash + 1) : STR_NULL;
	ptrdiff_t colon = str_find(head, ':');
	struct str name = colon >= 0 ? str_skip(head, (size_t)colon + 1) : STR_NULL;
	uint64_t number;

	if (!str_to_u64(colon >= 0 ? str_take(head, (size_t)colon) : head, &number) ||
	    number < 1 || number > 65535 || (slash >= 0 && protocol.n == 0) ||
	    (colon >= 0 && name.n == 0))
		return err_set(err, KV_ERR_SCHEMA,
			       "'%.*s' must be a port like 8001, 8001:http or 8001:api/HTTP",
			       STR_ARG(value));
	struct draft_port *p = find_port(d, (uint16_t)number);

	if (!p)
		p = vec_push_arena(d->a, d->ports, d->n_ports, d->cap_ports);
	*p = (struct draft_port){ .number = (uint16_t)number };
	if (name.n > 0)
		p->name = arena_str(d->a, name);
	if (protocol.n > 0)
		p->protocol = arena_str(d->a, protocol);
	return 0;
}

int draft_set(struct draft *d, struct str key, struct str value, struct err *err)
{
	const struct {
		const char *key;
		struct str *to;
	} words[] = { { "Name", &d->name },
		      { "Namespace", &d->ns },
		      { "ServiceAccount", &d->account },
		      { "Address", &d->address },
		      { "Sidecar", &d->sidecar } };

	if (str_ieq(key, STR("Label")) || str_ieq(key, STR("Labels")))
		return set_pairs(d, &d->labels, &d->cap_labels, value, err);
	if (str_ieq(key, STR("Annotation")) || str_ieq(key, STR("Annotations")))
		return set_pairs(d, &d->annotations, &d->cap_annotations, value, err);
	if (str_ieq(key, STR("Port")))
		return set_port(d, value, err);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_ieq(key, str_c(words[i].key))) {
			if (value.n == 0)
				return err_set(err, KV_ERR_SCHEMA, "%s is empty", words[i].key);
			*words[i].to = arena_str(d->a, value);
			return 0;
		}
	return err_set(err, KV_ERR_SCHEMA,
		       "X-KVMesh-%.*s is unknown (Label, Annotation, Port, Name, Namespace, "
		       "ServiceAccount, Address or Sidecar)",
		       STR_ARG(key));
}

/* ---- the unit's files ------------------------------------------------------------------------ */

static struct str specifier(const struct draft *d, char c)
{
	switch (c) {
	case 'i':
		return instance_of(d->unit);
	case 'I':
		return unescape(instance_of(d->unit), d->a);
	case 'p':
		return prefix_of(d->unit);
	case 'n':
		return d->unit;
	case 'N':
		return draft_stem(d->unit);
	case '%':
		return STR("%");
	default:
		return STR_NULL;
	}
}

static int expand(const struct draft *d, struct str s, struct str *ret, struct err *err)
{
	struct str out = STR("");

	for (size_t i = 0; i < s.n; i++) {
		struct str piece = str_from(s.p + i, 1);

		if (s.p[i] == '%') {
			piece = i + 1 < s.n ? specifier(d, s.p[++i]) : STR_NULL;
			if (!piece.p)
				return err_set(err, KV_ERR_SCHEMA,
					       "'%.*s': only %%i %%I %%p %%n %%N and %%%% can "
					       "stand in X-KVMesh- lines",
					       STR_ARG(s));
		}
		out = arena_printf(d->a, "%.*s%.*s", STR_ARG(out), STR_ARG(piece));
	}
	*ret = out;
	return 0;
}

static struct str unquote(struct str s)
{
	if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0])
		return str_take(str_skip(s, 1), s.n - 2);
	return s;
}

int draft_read_unit(struct draft *d, struct str text, struct err *err)
{
	const struct str mark = STR("X-KVMesh-");
	struct str line;

	while (str_split(&text, '\n', &line)) {
		ptrdiff_t eq;
		struct str value;
		int r;

		line = str_trim(line);
		if (!str_has_iprefix(line, mark) || (eq = str_find(line, '=')) < 0)
			continue;
		value = unquote(str_trim(str_skip(line, (size_t)eq + 1)));
		r = expand(d, value, &value, err);
		if (r == 0)
			r = draft_set(d, str_trim(str_skip(str_take(line, (size_t)eq), mark.n)),
				      value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static bool has_port_name(const struct draft *d, struct str name)
{
	for (size_t i = 0; i < d->n_ports; i++)
		if (str_eq(d->ports[i].name, name))
			return true;
	return false;
}

static void remark(struct draft *d, struct str text)
{
	*vec_push_arena(d->a, d->remarks, d->n_remarks, d->cap_remarks) = text;
}

static void add_port(struct draft *d, const struct listening *l)
{
	struct str program = str_c(l->program);
	struct guess g = guess_port(l->port, program);
	struct draft_port p = { .number = l->port };

	if (g.name) {
		p.name = str_c(g.name);
		p.protocol = str_c(g.protocol);
		p.why = arena_printf(d->a, "%.*s listens; %s by %s", STR_ARG(program), g.protocol,
				     g.by);
		if (has_port_name(d, p.name))
			p.name = arena_printf(d->a, "%s-%u", g.name, (unsigned)l->port);
	} else {
		p.why = arena_printf(d->a, "%.*s listens; the protocol is found out by looking",
				     STR_ARG(program));
	}
	*vec_push_arena(d->a, d->ports, d->n_ports, d->cap_ports) = p;
}

/* All ports of a Workload share one address: that of the first, 127.0.0.1 for whatever reaches it. */
static struct str address_of(const struct draft *d, const struct listening *l)
{
	char text[SOCK_ADDR_TEXT_MAX];

	if (sock_addr_is_any(&l->at) ||
	    (sock_addr_is_loopback(&l->at) && l->at.sa.sa_family == AF_INET))
		return STR("127.0.0.1");
	return arena_str(d->a, str_c(sock_addr_host(&l->at, text)));
}

void draft_add_listening(struct draft *d, const struct listening *v, size_t n)
{
	bool named = d->address.p != NULL;

	for (size_t i = 0; i < n; i++) {
		struct str address = address_of(d, &v[i]);

		if (v[i].port == SSH_PORT) {
			remark(d, STR("port 22 is SSH's and stays out of the mesh"));
			continue;
		}
		if (find_port(d, v[i].port))
			continue;
		if (!named && !d->address.p)
			d->address = address;
		if (!named && !str_eq(d->address, address)) {
			remark(d, arena_printf(d->a,
					       "port %u is left out: it is at %.*s, a Workload has "
					       "one address",
					       (unsigned)v[i].port, STR_ARG(address)));
			continue;
		}
		add_port(d, &v[i]);
	}
}

/* ---- what nobody said ------------------------------------------------------------------------ */

static bool is_account(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || c == '.'))
			return false;
	}
	return s.n > 0;
}

void draft_complete(struct draft *d)
{
	struct str prefix = prefix_of(d->unit), app = as_label(prefix, d->a), version = STR_NULL;
	bool parted = split_version(app, &app, &version);

	if (!d->name.p)
		d->name = as_label(draft_stem(d->unit), d->a);
	if (!d->account.p && (parted || !is_account(prefix)))
		d->account = app;
	if (!labels_get(&d->labels, STR("app")).p) {
		put_pair(d->a, &d->labels, &d->cap_labels, STR("app"), app);
		d->labels_why = STR("by the unit's name");
	}
	if (parted && !labels_get(&d->labels, STR("version")).p) {
		put_pair(d->a, &d->labels, &d->cap_labels, STR("version"), version);
		d->labels_why = STR("by the unit's name");
	}
	if (str_eq(d->address, STR("127.0.0.1")))
		d->address = STR_NULL;
}

/* ---- the file -------------------------------------------------------------------------------- */

static struct str quoted(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, 4 * s.n + 3);
	size_t n = 0;

	p[n++] = '"';
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c == 0x7f) {
			n += (size_t)snprintf(p + n, 5, "\\x%02x", (unsigned)c);
			continue;
		}
		if (c == '"' || c == '\\')
			p[n++] = '\\';
		p[n++] = (char)c;
	}
	p[n++] = '"';
	p[n] = '\0';
	return str_from(p, n);
}

struct out {
	struct arena *a;
	struct str text;
};

static void __attribute__((format(printf, 2, 3))) put(struct out *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	struct str more = arena_vprintf(o->a, fmt, ap);

	va_end(ap);
	o->text = arena_printf(o->a, "%.*s%.*s", STR_ARG(o->text), STR_ARG(more));
}

static void put_word(struct out *o, const char *key, struct str value)
{
	if (value.p)
		put(o, "  %s = %.*s;\n", key, STR_ARG(quoted(value, o->a)));
}

static void put_pairs(struct out *o, const char *key, const struct labels *l)
{
	if (l->n == 0)
		return;
	put(o, "  %s = [", key);
	for (size_t i = 0; i < l->n; i++) {
		struct str pair = arena_printf(o->a, "%.*s=%.*s", STR_ARG(l->v[i].key),
					       STR_ARG(l->v[i].val));

		put(o, "%s %.*s", i > 0 ? "," : "", STR_ARG(quoted(pair, o->a)));
	}
	put(o, " ];\n");
}

static void put_ports(struct out *o, const struct draft *d)
{
	if (d->n_ports == 0)
		return;
	put(o, "  ports = (\n");
	for (size_t i = 0; i < d->n_ports; i++) {
		const struct draft_port *p = &d->ports[i];

		if (p->why.n > 0)
			put(o, "    # %.*s\n", STR_ARG(p->why));
		put(o, "    { ");
		if (p->name.n > 0)
			put(o, "name = %.*s; ", STR_ARG(quoted(p->name, o->a)));
		put(o, "number = %u; ", (unsigned)p->number);
		if (p->protocol.n > 0)
			put(o, "protocol = %.*s; ", STR_ARG(quoted(p->protocol, o->a)));
		put(o, "}%s\n", i + 1 < d->n_ports ? "," : "");
	}
	put(o, "  );\n");
}

struct str draft_text(const struct draft *d)
{
	struct out o = { .a = d->a, .text = STR("") };

	for (size_t i = 0; i < d->n_remarks; i++)
		put(&o, "# %.*s\n", STR_ARG(d->remarks[i]));
	put(&o, "Workload = {\n");
	put_word(&o, "name", d->name);
	put_word(&o, "namespace", d->ns);
	put_word(&o, "unit", d->unit);
	put_word(&o, "serviceAccount", d->account);
	put_word(&o, "address", d->address);
	put(&o, "  inject = true;\n");
	put_word(&o, "sidecar", d->sidecar);
	if (d->mesh_port > 0)
		put(&o, "  sidecarPorts = { mesh = %u; http = %u; };\n", (unsigned)d->mesh_port,
		    (unsigned)d->http_port);
	if (d->labels_why.n > 0)
		put(&o, "  # %.*s\n", STR_ARG(d->labels_why));
	put_pairs(&o, "labels", &d->labels);
	put_pairs(&o, "annotations", &d->annotations);
	put_ports(&o, d);
	put(&o, "};\n");
	return o.text;
}
