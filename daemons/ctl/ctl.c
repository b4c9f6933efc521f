/* SPDX-License-Identifier: Apache-2.0 */
/* ctl: messages, exit codes and calls to the daemons, shared by all commands. Layer daemons/ctl. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/vec.h"
#include "ctl/ctl.h"
#include "ipc/ipc.h"

int ctl_fail(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("kvmeshctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

bool ctl_is_unanswered(const struct err *err)
{
	return err->code == -ENOENT || err->code == -ECONNREFUSED || err->code == -ENOTSOCK ||
	       err->code == KV_ERR_CLOSED;
}

static int exit_of(const struct err *err)
{
	if (ctl_is_unanswered(err))
		return CTL_EXIT_UNAVAILABLE;
	switch (err->code) {
	case KV_ERR_REFUSED:
	case -EACCES:
	case -EPERM:
		return CTL_EXIT_NO_PERMISSION;
	case KV_ERR_TIMEOUT:
	case -ETIMEDOUT:
		return CTL_EXIT_TIMEOUT;
	case KV_ERR_NOT_FOUND:
		return CTL_EXIT_NOT_FOUND;
	default:
		return CTL_EXIT_NO;
	}
}

int ctl_fail_err(const struct err *err)
{
	return ctl_fail(exit_of(err), "%s", err->text);
}

void ctl_note(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	if (c->quiet)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

const char *ctl_sock(struct ctl *c, const char *dir, const char *name)
{
	return arena_printf(&c->arena, "%s/%s/%s.sock", c->run, dir, name).p;
}

int ctl_call(struct ctl *c, const char *path, const char *method, const struct doc *parameters,
	     struct doc **ret, struct err *err)
{
	struct ipc_conn *conn;
	int r = ipc_dial(path, c->timeout_ms, &conn, err);

	if (r < 0)
		return r;
	r = ipc_call_sync(conn, method, parameters, &c->arena, ret, err);
	ipc_hangup(conn);
	return r;
}

int ctl_call_router(struct ctl *c, const char *method, const struct doc *parameters,
		    struct doc **ret, struct err *err)
{
	return ctl_call(c, c->socket ? c->socket : ctl_sock(c, "router", "router"), method,
			parameters, ret, err);
}

int ctl_reload(struct ctl *c, bool wait, struct doc **ret, struct err *err)
{
	struct doc *params = doc_new_map(&c->arena);

	doc_set_bool(&c->arena, params, "wait", wait);
	/* the router itself waits 10 s for the proxies */
	if (wait && c->timeout_ms < 12000)
		c->timeout_ms = 12000;
	return ctl_call_router(c, "Reload", params, ret, err);
}

static int by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

void ctl_proxies(struct ctl *c, const char ***ret, size_t *ret_n)
{
	const char **v = NULL;
	size_t n = 0, cap = 0;
	DIR *d = opendir(arena_printf(&c->arena, "%s/proxy", c->run).p);

	for (struct dirent *e; d && (e = readdir(d));) {
		struct str name = str_c(e->d_name);

		if (name.n > 5 && str_has_suffix(name, STR(".sock")))
			*vec_push_arena(&c->arena, v, n, cap) =
				arena_str(&c->arena, str_take(name, name.n - 5)).p;
	}
	if (d)
		closedir(d);
	if (n > 0)
		qsort(v, n, sizeof(*v), by_name);
	*ret = v;
	*ret_n = n;
}

bool ctl_time_parse(struct str text, int64_t *ret_us)
{
	char copy[CLOCK_RFC3339_MAX];
	struct tm tm = { 0 };
	const char *rest;
	int64_t us = 0, unit = 100000;

	if (text.n == 0 || text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	rest = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!rest)
		return false;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
			us += (*rest - '0') * unit;
	if (strcmp(rest, "Z") != 0)
		return false;
	*ret_us = (int64_t)timegm(&tm) * 1000000 + us;
	return true;
}
