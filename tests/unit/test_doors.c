/* SPDX-License-Identifier: Apache-2.0 */
/* Doors: what stays open over snapshots and processes, and who waits in a socket that is passed on. */
#include <fcntl.h>
#include <unistd.h>

#include "proxy/doors.h"
#include "unit.h"

/* A snapshot that wants these ports of 127.0.0.1. */
static struct snap *wants(const uint16_t *ports, size_t n)
{
	struct snap *s = snap_new();

	s->listeners.v = arena_new_n(&s->arena, struct snap_listener, n);
	s->listeners.n = n;
	for (size_t i = 0; i < n; i++)
		s->listeners.v[i] = (struct snap_listener){ .address = STR("127.0.0.1"), .port = ports[i] };
	return s;
}

static struct sock_addr loopback(uint16_t port)
{
	struct sock_addr a;

	ck_assert(sock_addr_parse(STR("127.0.0.1"), port, &a));
	return a;
}

static int listening(uint16_t port, unsigned flags)
{
	struct sock_addr a = loopback(port);
	struct err err = { 0 };
	int fd = sock_listen_tcp(&a, flags, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sock_addr a;

	ck_assert_int_eq(sock_local_addr(fd, &a), 0);
	return sock_addr_port(&a);
}

/* One that was free a moment ago. */
static uint16_t hold_port(void)
{
	int fd = listening(0, SOCK_REUSEPORT);
	uint16_t port = port_of(fd);

	close(fd);
	return port;
}

static void follow(struct doors *ds, const uint16_t *ports, size_t n, size_t workers)
{
	struct snap *s = wants(ports, n);
	struct err err = { 0 };

	ck_assert_msg(doors_follow(ds, s, workers, &err) == 0, "%s", err.text);
	snap_unref(s);
}

static struct door *door_at(const struct doors *ds, uint16_t port)
{
	return doors_find(ds, &(struct snap_listener){ .address = STR("127.0.0.1"), .port = port });
}

static bool is_open(uint16_t port)
{
	struct sock_addr a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool open = connect(fd, &a.sa, a.len) == 0;

	close(fd);
	return open;
}

/* Everything that waits in the door's sockets is taken. */
static size_t accept_all(const struct door *d)
{
	size_t taken = 0;

	for (size_t i = 0; i < d->n; i++) {
		struct sock_addr peer;
		int fd;

		while ((fd = sock_accept(d->v[i].given, &peer)) >= 0) {
			close(fd);
			taken++;
		}
	}
	return taken;
}

START_TEST(a_door_is_opened_once_and_closed_when_nobody_wants_it)
{
	struct doors *ds = doors_new();
	uint16_t ports[2] = { hold_port(), hold_port() };

	follow(ds, ports, 2, 2);
	uint64_t id = door_at(ds, ports[0])->id;
	int fd = door_at(ds, ports[0])->v[0].fd;

	ck_assert_uint_eq(door_at(ds, ports[0])->n, 2);
	follow(ds, ports, 1, 2);
	ck_assert_uint_eq(door_at(ds, ports[0])->id, id);
	ck_assert_int_eq(door_at(ds, ports[0])->v[0].fd, fd);
	ck_assert_ptr_null(door_at(ds, ports[1]));
	ck_assert(is_open(ports[0]) && !is_open(ports[1]));
	doors_free(ds);
	ck_assert(!is_open(ports[0]));
}
END_TEST

START_TEST(when_one_cannot_be_opened_nothing_changes)
{
	struct doors *ds = doors_new();
	int foreign = listening(0, 0);
	uint16_t ports[3] = { hold_port(), hold_port(), port_of(foreign) };
	struct err err = { 0 };

	follow(ds, ports, 1, 1);
	struct snap *s = wants(&ports[1], 2);

	ck_assert_int_lt(doors_follow(ds, s, 1, &err), 0);
	ck_assert_msg(strstr(err.text, "127.0.0.1"), "%s", err.text);
	ck_assert(is_open(ports[0]) && !is_open(ports[1]));
	ck_assert_ptr_nonnull(door_at(ds, ports[0]));
	snap_unref(s);
	doors_free(ds);
	close(foreign);
}
END_TEST

static bool count_one(void *arg, int fd, enum door_origin origin)
{
	size_t *n = arg;

	(void)fd;
	n[origin]++;
	return true;
}

/* Whoever waits in a socket of the process before is served by this one, however many workers each has. */
START_TEST(who_waits_in_an_earlier_process_is_not_lost)
{
	static const size_t before[] = { 1, 2, 3, 4 }, after[] = { 4, 2, 2, 1 };

	for (size_t i = 0; i < 4; i++) {
		struct doors *old = doors_new(), *now = doors_new();
		uint16_t port = hold_port();
		int clients[40];

		follow(old, &port, 1, before[i]);
		for (size_t k = 0; k < 40; k++) {
			struct sock_addr a = loopback(port);

			clients[k] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			ck_assert_int_eq(connect(clients[k], &a.sa, a.len), 0);
		}
		for (size_t k = 0; k < door_at(old, port)->n; k++)
			doors_inherit(now, fcntl(door_at(old, port)->v[k].fd, F_DUPFD_CLOEXEC, 0), DOOR_ORIGIN_OURS);
		doors_free(old);
		follow(now, &port, 1, after[i]);
		const struct door *d = door_at(now, port);

		ck_assert_uint_eq(d->n, before[i] > after[i] ? before[i] : after[i]);
		for (size_t k = 0; k < d->n; k++)
			ck_assert_uint_eq(d->v[k].worker, k % after[i]);
		ck_assert_uint_eq(accept_all(d), 40);
		for (size_t k = 0; k < 40; k++)
			close(clients[k]);
		size_t n[2] = { 0 };

		doors_each(now, count_one, n);
		ck_assert_uint_eq(n[DOOR_ORIGIN_OURS], d->n);
		ck_assert_uint_eq(n[DOOR_ORIGIN_MANAGER], 0);
		doors_free(now);
	}
}
END_TEST

START_TEST(what_an_earlier_process_left_and_nobody_wants_is_closed)
{
	struct doors *ds = doors_new();
	int left = listening(0, SOCK_REUSEPORT);
	uint16_t port = port_of(left), wanted = hold_port();

	doors_inherit(ds, left, DOOR_ORIGIN_OURS);
	follow(ds, &wanted, 1, 1);
	ck_assert(!is_open(port) && is_open(wanted));
	doors_free(ds);
}
END_TEST

START_TEST(the_service_managers_stays_whatever_snapshots_want)
{
	struct doors *ds = doors_new();
	int from = listening(0, 0);
	uint16_t port = port_of(from), other = hold_port();

	doors_inherit(ds, from, DOOR_ORIGIN_MANAGER);
	follow(ds, &port, 1, 3);
	ck_assert_uint_eq(door_at(ds, port)->n, 3);
	follow(ds, &other, 1, 3);
	ck_assert(is_open(port));
	follow(ds, &port, 1, 3);
	size_t n[2] = { 0 };

	doors_each(ds, count_one, n);
	ck_assert_uint_eq(n[DOOR_ORIGIN_MANAGER], 1);
	ck_assert_uint_eq(n[DOOR_ORIGIN_OURS], 0);
	doors_free(ds);
	ck_assert(is_open(port));
	close(from);
}
END_TEST

UNIT_MAIN("doors", a_door_is_opened_once_and_closed_when_nobody_wants_it, when_one_cannot_be_opened_nothing_changes,
	  who_waits_in_an_earlier_process_is_not_lost, what_an_earlier_process_left_and_nobody_wants_is_closed,
	  the_service_managers_stays_whatever_snapshots_want)
