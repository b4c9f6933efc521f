/* SPDX-License-Identifier: Apache-2.0 */
/* credentials: see credentials.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "config/names.h"
#include "ctl/credentials.h"
#include "io/tls.h"

#define SOON_US (14 * 86400 * INT64_C(1000000))

struct judge {
	const char *etc;
	struct arena arena;
	const struct model_gateway *g;
	const struct model_server *s;
	struct err_list *errs;
};

static void tell(struct judge *j, struct str text)
{
	err_list_add(j->errs, ERR_LEVEL_WARNING, KV_ERR_CHECK, "KVM0161", j->s->tls->at, "%.*s: %.*s",
		     STR_ARG(model_label(&j->g->r, &j->arena)), STR_ARG(text));
}

/* Others than root may run this: what they cannot read is not judged. */
static bool is_hidden(const char *path)
{
	return access(path, R_OK) < 0 && errno == EACCES;
}

static void judge_dates(struct judge *j, const struct tls_ctx *c, const char *cert)
{
	int64_t left_us = tls_ctx_not_after(c) * 1000000 - clock_real_us();

	if (left_us < 0)
		tell(j, arena_printf(&j->arena, "the certificate %s has expired", cert));
	else if (left_us < SOON_US)
		tell(j, arena_printf(&j->arena, "the certificate %s expires in %lld days", cert,
				     (long long)(left_us / 86400 / 1000000)));
}

static void judge_names(struct judge *j, const struct tls_ctx *c, const char *cert)
{
	for (size_t i = 0; i < j->s->hosts.n; i++) {
		struct str host = j->s->hosts.v[i];
		ptrdiff_t slash = str_find(host, '/');

		host = str_skip(host, slash < 0 ? 0 : (size_t)slash + 1);
		if (host.p[0] != '*' && !tls_ctx_is_for(c, host))
			tell(j, arena_printf(&j->arena, "the certificate %s is not for host '%.*s'",
					     cert, STR_ARG(host)));
	}
}

static void judge_mode(struct judge *j, const char *key)
{
	struct stat st;

	if (stat(key, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) != 0)
		tell(j, arena_printf(&j->arena, "the key %s is open to every user: chmod o= %s", key,
				     key));
}

static void judge_server(struct judge *j)
{
	const struct model_server_tls *t = j->s->tls;
	bool clients = t->mode != MODEL_SERVER_TLS_SIMPLE;
	struct names_server_files f = names_server_files(t, j->etc, &j->arena);
	const struct tls_pair more = { arena_str(&j->arena, f.cert[1]).p, arena_str(&j->arena, f.key[1]).p };
	const struct tls_files files = {
		.cert = arena_str(&j->arena, f.cert[0]).p,
		.key = arena_str(&j->arena, f.key[0]).p,
		.more = &more,
		.n_more = f.n > 1,
		.ca = clients ? arena_str(&j->arena, f.ca).p : NULL,
		.crl = clients && t->caCrl.n > 0 ? arena_str(&j->arena, t->caCrl).p : NULL,
	};
	const struct tls_server_opts opts = {
		.clients = clients ? TLS_CLIENTS_PROVED : TLS_CLIENTS_ANY,
	};
	struct tls_ctx *c;
	struct err err = { 0 };

	if (is_hidden(files.cert) || is_hidden(files.key) || (files.ca && is_hidden(files.ca)) ||
	    (files.n_more > 0 && (is_hidden(more.cert) || is_hidden(more.key))))
		return;
	if (tls_ctx_new_server(&files, &opts, &c, &err) < 0) {
		tell(j, str_c(err.text));
		return;
	}
	judge_dates(j, c, files.cert);
	judge_names(j, c, files.cert);
	judge_mode(j, files.key);
	tls_ctx_unref(c);
}

static bool has_files(const struct model_server *s, struct arena *a)
{
	const char *why;

	return s->port && s->tls && names_is_servable(s, &why) &&
	       names_server_family(s) == NAMES_FAMILY_TLS && !names_server_passes_tls(s) &&
	       s->tls->mode != MODEL_SERVER_TLS_ISTIO_MUTUAL &&
	       names_server_files(s->tls, NULL, a).n > 0;
}

void credentials_check(const char *etc, const struct model *m, struct err_list *errs)
{
	struct judge j = { .etc = etc, .errs = errs };

	if (!etc)
		return;
	arena_init(&j.arena, 0);
	model_for_each(m, MODEL_KIND_GATEWAY, r) {
		j.g = model_as_gateway(r);
		for (size_t i = 0; i < j.g->servers.n; i++) {
			j.s = &j.g->servers.v[i];
			if (has_files(j.s, &j.arena))
				judge_server(&j);
		}
	}
	arena_done(&j.arena);
}
