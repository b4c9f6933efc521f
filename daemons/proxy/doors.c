/* SPDX-License-Identifier: Apache-2.0 */
/* doors: see doors.h. Layer proxy, control thread. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/vec.h"
#include "io/sd.h"
#include "proxy/doors.h"

struct inherited {
	int fd;
	enum door_origin origin;
	bool told;                      /* that nobody wants it */
};

struct doors {
	struct door *v;
	size_t n, cap;
	uint64_t next_id;
	struct inherited *inherited;
	size_t n_inherited, cap_inherited;
	uint64_t patience_us;
};

/* ---- one door -------------------------------------------------------------------------------- */

static bool is_same(const struct snap_listener *a, const struct snap_listener *b)
{
	if (!str_eq(a->address, b->address) || a->port != b->port)
		return false;
	if (str_has_prefix(a->address, STR("unix:")))
		return true;
	/* Ports that the kernel chooses are told apart by what they are for. */
	return a->port != 0 || (a->kind == b->kind && str_eq(a->service, b->service) &&
				a->service_port == b->service_port && a->view == b->view);
}

static struct str own(struct str s)
{
	char *p = kv_malloc(s.n + 1);

	memcpy(p, s.n > 0 ? s.p : "", s.n);
	return str_from(p, s.n);
}

static void describe(struct door *d, const struct snap_listener *desc)
{
	struct str service = own(desc->service), address = own(desc->address);

	free((void *)(uintptr_t)d->desc.service.p);
	free((void *)(uintptr_t)d->desc.address.p);
	d->desc = *desc;
	d->desc.servers.v = NULL;       /* the snapshot's; it goes before the socket does */
	d->desc.servers.n = 0;
	d->desc.service = service;
	d->desc.address = address;
}

static void close_sockets(struct door *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->v[i].fd >= 0)
			close(d->v[i].fd);
		if (d->v[i].given >= 0)
			close(d->v[i].given);
	}
	free(d->v);
	d->v = NULL;
	d->n = 0;
}

static void door_done(struct door *d)
{
	close_sockets(d);
	free((void *)(uintptr_t)d->desc.service.p);
	free((void *)(uintptr_t)d->desc.address.p);
	gate_door_unref(d->count);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static int share(int fd, struct err *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy >= 0 ? copy : err_set(err, -errno, "cannot share a socket: %s", err_code_name(-errno));
}

/* A socket for a worker; fd is ours from then on, and closed when it cannot be had. -1: the worker's copy alone. */
static int add_socket(struct door *d, int fd, int from, size_t worker, struct err *err)
{
	int given = share(from, err);

	if (given < 0) {
		if (fd >= 0)
			close(fd);
		return given;
	}
	d->v = kv_realloc(d->v, (d->n + 1) * sizeof(*d->v));
	d->v[d->n++] = (struct door_socket){ .fd = fd, .given = given, .worker = worker };
	return 0;
}

/* Whoever may open a port of this host may come to a path. */
#define UNIX_MODE 0666

static int make_socket(const struct sock_addr *a, struct err *err)
{
	if (a->sa.sa_family == AF_UNIX)
		return sock_listen_unix(a->un.sun_path, UNIX_MODE, (gid_t)-1, err);
	return sock_listen_tcp(a, SOCK_REUSEPORT, err);
}

/* Of these there is one socket, and who of the workers comes first has the connection. */
static int open_shared(struct door *d, int fd, int from, size_t n, struct err *err)
{
	int r = add_socket(d, fd, from, 0, err);

	for (size_t i = 1; i < n && r == 0; i++)
		r = add_socket(d, -1, from, i, err);
	return r;
}

/* Those of an earlier process, all of them: whoever waits in one would be cut with it. */
static int take_ours(const struct doors *ds, struct door *d, size_t n, struct err *err)
{
	for (size_t i = 0; i < ds->n_inherited; i++) {
		const struct inherited *from = &ds->inherited[i];

		if (from->origin != DOOR_ORIGIN_OURS || !sock_listens_for(from->fd, &d->addr))
			continue;
		int fd = share(from->fd, err);

		if (fd < 0)
			return fd;
		d->patience_us = ds->patience_us;
		if (d->addr.sa.sa_family == AF_UNIX)
			return open_shared(d, fd, fd, n, err);
		int r = add_socket(d, fd, fd, d->n % n, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The workers that have none yet. */
static int make_rest(struct door *d, size_t n, struct err *err)
{
	int r = 0;

	while (r == 0 && d->n < n) {
		int fd = make_socket(&d->addr, err);

		if (fd < 0)
			return fd;
		if (d->addr.sa.sa_family == AF_UNIX)
			return open_shared(d, fd, fd, n, err);
		if (d->n == 0)          /* the others join the port that the kernel chose */
			(void)sock_local_addr(fd, &d->addr);
		r = add_socket(d, fd, fd, d->n, err);
	}
	return r;
}

static const struct inherited *managers(const struct doors *ds, const struct sock_addr *a)
{
	for (size_t i = 0; i < ds->n_inherited; i++)
		if (ds->inherited[i].origin == DOOR_ORIGIN_MANAGER && sock_listens_for(ds->inherited[i].fd, a))
			return &ds->inherited[i];
	return NULL;
}

static int open_sockets(const struct doors *ds, struct door *d, size_t n, struct err *err)
{
	const struct inherited *passed = managers(ds, &d->addr);

	if (passed)
		return open_shared(d, -1, passed->fd, n, err);
	int r = take_ours(ds, d, n, err);

	return r < 0 ? r : make_rest(d, n, err);
}

/* A low port is the service manager's to bind. */
static int refused(int code, const struct snap *s, struct err *err)
{
	struct err why = *err;

	if (code != -EACCES)
		return code;
	return err_set(err, code, "%s: systemctl enable --now kvmesh-proxy@%.*s.socket binds it",
		       why.text, STR_ARG(s->proxy));
}

static int door_open(const struct doors *ds, struct door *d, const struct snap_listener *desc, size_t n,
		     struct err *err)
{
	*d = (struct door){ .count = gate_door_new() };
	describe(d, desc);
	if (!sock_addr_parse(desc->address, (uint16_t)desc->port, &d->addr))
		return err_set(err, KV_ERR_SCHEMA, "listener address '%.*s' is neither an IP address nor a path",
			       STR_ARG(desc->address));
	return open_sockets(ds, d, n, err);
}

/* ---- the list -------------------------------------------------------------------------------- */

struct doors *doors_new(void)
{
	return kv_zalloc(sizeof(struct doors));
}

void doors_free(struct doors *ds)
{
	if (!ds)
		return;
	for (size_t i = 0; i < ds->n; i++)
		door_done(&ds->v[i]);
	for (size_t i = 0; i < ds->n_inherited; i++)
		if (ds->inherited[i].origin == DOOR_ORIGIN_OURS)
			close(ds->inherited[i].fd);
	free(ds->inherited);
	free(ds->v);
	free(ds);
}

void doors_inherit(struct doors *ds, int fd, enum door_origin origin)
{
	*vec_push(ds->inherited, ds->n_inherited, ds->cap_inherited) =
		(struct inherited){ .fd = fd, .origin = origin };
}

void doors_be_patient(struct doors *ds, uint64_t us)
{
	ds->patience_us = us;
}

struct door *doors_find(const struct doors *ds, const struct snap_listener *desc)
{
	for (size_t i = 0; i < ds->n; i++)
		if (is_same(&ds->v[i].desc, desc))
			return &ds->v[i];
	return NULL;
}

/* The service manager keeps a descriptor of what is ours, for the process after this one. */
static void store(const struct door *d)
{
	char text[SOCK_ADDR_TEXT_MAX];

	sock_addr_text(&d->addr, text);
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].fd >= 0)
			sd_store_socket(text, d->v[i].fd);
}

static void unstore(const struct sock_addr *a)
{
	char text[SOCK_ADDR_TEXT_MAX];

	sd_unstore_socket(sock_addr_text(a, text));
}

static bool is_used(const struct doors *ds, const struct inherited *from)
{
	for (size_t i = 0; i < ds->n; i++)
		if (sock_listens_for(from->fd, &ds->v[i].addr))
			return true;
	return false;
}

/* What an earlier process has left and the first snapshot does not want. */
static void forget_ours(struct doors *ds)
{
	struct sock_addr a;
	size_t kept = 0;

	for (size_t i = 0; i < ds->n_inherited; i++) {
		struct inherited *from = &ds->inherited[i];

		if (from->origin == DOOR_ORIGIN_MANAGER) {
			ds->inherited[kept++] = *from;
			continue;
		}
		if (!is_used(ds, from) && sock_local_addr(from->fd, &a) == 0)
			unstore(&a);
		close(from->fd);
	}
	ds->n_inherited = kept;
}

/* Who connects to a socket that nobody accepts from waits for ever: the operator is told. */
static void tell_idle(struct doors *ds)
{
	char text[SOCK_ADDR_TEXT_MAX];
	struct sock_addr a;

	for (size_t i = 0; i < ds->n_inherited; i++) {
		struct inherited *from = &ds->inherited[i];
		bool used = is_used(ds, from);

		if (!used && !from->told && sock_local_addr(from->fd, &a) == 0)
			log_warn("the socket for %s that was passed on is no Gateway server's: its clients wait in vain",
				 sock_addr_text(&a, text));
		from->told = !used;
	}
}

static int open_missing(const struct doors *ds, const struct snap *s, size_t n, struct door *v, size_t *ret_n,
			struct err *err)
{
	*ret_n = 0;
	for (size_t i = 0; i < s->listeners.n; i++) {
		if (doors_find(ds, &s->listeners.v[i]))
			continue;
		int r = door_open(ds, &v[(*ret_n)++], &s->listeners.v[i], n, err);

		if (r < 0 && s->listeners.v[i].optional) {
			log_debug("left out: %s", err->text);
			door_done(&v[--*ret_n]);
			continue;
		}
		if (r < 0) {
			while (*ret_n > 0)
				door_done(&v[--*ret_n]);
			return refused(r, s, err);
		}
	}
	return 0;
}

static void drop_unwanted(struct doors *ds, const struct snap *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < ds->n; i++)
		ds->v[i].keep = false;
	for (size_t i = 0; i < s->listeners.n; i++) {
		struct door *d = doors_find(ds, &s->listeners.v[i]);

		if (!d)
			continue;
		d->keep = true;
		describe(d, &s->listeners.v[i]);
	}
	for (size_t i = 0; i < ds->n; i++) {
		if (ds->v[i].keep) {
			ds->v[kept++] = ds->v[i];
			continue;
		}
		unstore(&ds->v[i].addr);
		door_done(&ds->v[i]);
	}
	ds->n = kept;
}

int doors_follow(struct doors *ds, const struct snap *s, size_t n_workers, struct err *err)
{
	struct door *v = kv_malloc(sizeof(*v) * (s->listeners.n + 1));
	size_t n;
	int r = open_missing(ds, s, n_workers, v, &n, err);

	if (r == 0) {
		drop_unwanted(ds, s);
		for (size_t i = 0; i < n; i++) {
			v[i].id = ++ds->next_id;
			store(&v[i]);
			*vec_push(ds->v, ds->n, ds->cap) = v[i];
		}
		forget_ours(ds);
		tell_idle(ds);
	}
	free(v);
	return r;
}

void doors_close(struct doors *ds)
{
	for (size_t i = 0; i < ds->n; i++)
		close_sockets(&ds->v[i]);
}

struct doc *doors_list(const struct doors *ds, struct arena *a)
{
	struct doc *list = doc_new_list(a);
	char host[SOCK_ADDR_TEXT_MAX];

	for (size_t i = 0; i < ds->n; i++) {
		const struct door *d = &ds->v[i];
		struct doc *row = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, row, "kind", str_c(snap_listener_kind_names[d->desc.kind]));
		doc_set_str(a, row, "address", str_c(sock_addr_host(&d->addr, host)));
		doc_set_int(a, row, "port", sock_addr_port(&d->addr));
		if (d->desc.service.n > 0)
			doc_set_str(a, row, "service", d->desc.service);
	}
	return list;
}

void doors_each(const struct doors *ds, bool (*fn)(void *arg, int fd, enum door_origin origin), void *arg)
{
	for (size_t i = 0; i < ds->n_inherited; i++)
		if (!fn(arg, ds->inherited[i].fd, ds->inherited[i].origin))
			return;
	for (size_t i = 0; i < ds->n; i++)
		for (size_t k = 0; k < ds->v[i].n; k++)
			if (ds->v[i].v[k].fd >= 0 && !fn(arg, ds->v[i].v[k].fd, DOOR_ORIGIN_OURS))
				return;
}
