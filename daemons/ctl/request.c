/* SPDX-License-Identifier: Apache-2.0 */
/* request: see request.h. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "ctl/request.h"
#include "http/url.h"

/* ---- headers --------------------------------------------------------------------------------- */

/* Framing is the protocol's; what Host says stands in the head as authority. */
static bool is_of_framing(enum head_id id)
{
	static const enum head_id ids[] = {
		HEAD_ID_CONTENT_LENGTH,
		HEAD_ID_TRANSFER_ENCODING,
		HEAD_ID_CONNECTION,
		HEAD_ID_UPGRADE,
		HEAD_ID_TE,
		HEAD_ID_TRAILER,
		HEAD_ID_KEEP_ALIVE,
		HEAD_ID_PROXY_CONNECTION,
		HEAD_ID_PROXY_AUTHORIZATION,
	};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		if (ids[i] == id)
			return true;
	return false;
}

static struct str lower(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n);

	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)head_token_lower[(uint8_t)s.p[i]];
	return str_from(p, s.n);
}

static int add_header(struct ctl *c, struct str one, struct head *h)
{
	ptrdiff_t colon = str_find(one, ':');
	struct str name = colon > 0 ? str_take(one, (size_t)colon) : STR_NULL;
	struct str value = colon > 0 ? str_trim(str_skip(one, (size_t)colon + 1)) : STR_NULL;

	if (!head_is_token(name) || !head_is_value(value))
		return ctl_fail(CTL_EXIT_USAGE, "--header NAME:VALUE is needed, not '%.*s'",
				STR_ARG(one));
	name = lower(&c->arena, name);
	enum head_id id = head_id_of(name);

	if (id == HEAD_ID_HOST)
		h->authority = value;
	else if (id == HEAD_ID_OTHER)
		head_add(h, name, value);
	else if (!is_of_framing(id))
		head_add_id(h, id, value);
	return 0;
}

int request_headers(struct ctl *c, struct head *h)
{
	int code = 0;

	for (unsigned i = 0; code == 0 && ctl_value_at(c, "header", i); i++)
		code = add_header(c, str_c(ctl_value_at(c, "header", i)), h);
	return code;
}

/* ---- URL ------------------------------------------------------------------------------------- */

static bool read_scheme(struct str *url, struct str *ret)
{
	static const char *const known[] = { "http", "https", "tcp", "tls" };
	ptrdiff_t end = str_find_str(*url, STR("://"));

	*ret = STR("http");
	if (end < 0)
		return true;
	struct str scheme = str_take(*url, (size_t)end);

	*url = str_skip(*url, (size_t)end + 3);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (str_ieq(scheme, str_c(known[i]))) {
			*ret = str_c(known[i]);
			return true;
		}
	return false;
}

/* What follows the authority: "/path?query", "?query", nothing. */
static struct str read_target(struct ctl *c, struct str rest)
{
	ptrdiff_t hash = str_find(rest, '#');

	if (hash >= 0) /* never sent */
		rest = str_take(rest, (size_t)hash);
	if (rest.n == 0)
		return STR("/");
	return rest.p[0] == '/' ? rest : arena_printf(&c->arena, "/%.*s", STR_ARG(rest));
}

static size_t authority_end(struct str url)
{
	size_t i = 0;

	while (i < url.n && url.p[i] != '/' && url.p[i] != '?' && url.p[i] != '#')
		i++;
	return i;
}

int request_parse(struct ctl *c, const char *method, const char *url, struct request *ret)
{
	struct str rest = str_c(url);

	*ret = (struct request){ 0 };
	head_init(&ret->head, &c->arena);
	if (!read_scheme(&rest, &ret->scheme))
		return ctl_fail(CTL_EXIT_USAGE, "%s: the scheme is http, https, tcp or tls", url);
	ret->http = str_has_prefix(ret->scheme, STR("http"));
	size_t n = authority_end(rest);

	ret->head.authority = str_take(rest, n);
	if (n == 0 || !url_split_authority(ret->head.authority, &ret->host, &ret->port))
		return ctl_fail(CTL_EXIT_USAGE, "%s: SCHEME://HOST[:PORT][/PATH] is needed", url);
	if (!ret->http && ret->port == 0)
		return ctl_fail(CTL_EXIT_USAGE, "%s: a port is needed", url);
	ret->head.version = HEAD_VERSION_11;
	ret->head.method = str_c(method);
	ret->head.scheme = STR("http");
	ret->head.path = read_target(c, str_skip(rest, n));
	if (!head_is_token(ret->head.method))
		return ctl_fail(CTL_EXIT_USAGE, "'%s' is no method", method);
	int code = request_headers(c, &ret->head);

	/* Host decides where a request goes; the URL's is only its default. */
	if (code == 0 && !url_split_authority(ret->head.authority, &ret->host, &ret->port))
		code = ctl_fail(CTL_EXIT_USAGE, "Host: HOST[:PORT] is needed");
	return code;
}

bool request_normalize(const struct snap *s, struct arena *a, struct head *h)
{
	return url_normalize(h->path, (enum url_normalize)s->settings.path_normalization, a,
			     &h->path);
}
