/* SPDX-License-Identifier: Apache-2.0 */
/* units: see units.h. Owns the connection to the bus and one match a unit. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "router/units.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define RETRY_US (5u * 1000 * 1000)
#define ASK_AGAIN_US (30u * 1000 * 1000)        /* should a signal ever be lost */

struct unit {
	struct list node;
	struct units *units;
	char *name, *path;
	sd_bus_slot *match, *question;
	bool wanted;                    /* found in the list, while units_want looks */
	bool again;                     /* it changed while a question was open */
};

struct units {
	struct loop *loop;
	units_fn fn;
	void *arg;
	struct list all;                /* struct unit */
	size_t n;
	sd_bus *bus;                    /* NULL: none at the moment */
	bool told_missing;
	struct loop_fd fd;
	struct loop_timer wake, retry, ask;
};

bool units_is_active(struct str state)
{
	static const char *const at_work[] = { "active", "reloading", "refreshing" };

	for (size_t i = 0; i < sizeof(at_work) / sizeof(at_work[0]); i++)
		if (str_eq(state, str_c(at_work[i])))
			return true;
	return false;
}

/* ---- asking -------------------------------------------------------------------------------- */

static void ask(struct unit *u);

static int on_answer(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct unit *u = arg;
	const char *state;

	(void)error;
	u->question = sd_bus_slot_unref(u->question);
	if (sd_bus_message_is_method_error(m, NULL)) {
		log_debug("unit %s: %s", u->name, sd_bus_message_get_error(m)->message);
		return 1;
	}
	if (sd_bus_message_read(m, "v", "s", &state) < 0)
		return 1;
	u->units->fn(u->units->arg, u->name, state);
	if (u->again)
		ask(u);
	return 1;
}

/* A unit that is not loaded is loaded by the question. */
static void ask(struct unit *u)
{
	if (!u->units->bus)
		return;
	u->again = u->question != NULL;
	if (u->question)
		return;
	if (sd_bus_call_method_async(u->units->bus, &u->question, SYSTEMD, u->path, PROPERTIES,
				     "Get", on_answer, u, "ss", SYSTEMD ".Unit",
				     "ActiveState") < 0)
		u->question = NULL;
}

static int on_changed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)m;
	(void)error;
	ask(arg);
	return 0;
}

static void watch(struct unit *u)
{
	if (sd_bus_match_signal_async(u->units->bus, &u->match, SYSTEMD, u->path, PROPERTIES,
				      "PropertiesChanged", on_changed, NULL, u) < 0)
		u->match = NULL;
	ask(u);
}

static void unwatch(struct unit *u)
{
	u->match = sd_bus_slot_unref(u->match);
	u->question = sd_bus_slot_unref(u->question);
	u->again = false;
}

/* ---- the connection ------------------------------------------------------------------------ */

static void update(struct units *u);

static void lose(struct units *u, int r)
{
	if (!u->told_missing)
		log_info("units are not watched for now: %s", err_code_name(r));
	u->told_missing = true;
	list_for_each(it, &u->all)
		unwatch(list_entry(it, struct unit, node));
	loop_fd_done(&u->fd);
	loop_timer_stop(&u->wake);
	u->bus = sd_bus_close_unref(u->bus);
	loop_timer_set(&u->retry, RETRY_US);
}

static void process(struct units *u)
{
	int r;

	while ((r = sd_bus_process(u->bus, NULL)) > 0)
		;
	if (r < 0)
		lose(u, r);
	else
		update(u);
}

static void on_fd(void *arg, unsigned what)
{
	(void)what;
	process(arg);
}

static void on_wake(void *arg)
{
	struct units *u = arg;

	if (u->bus)
		process(u);
}

/* What the bus waits for, given to the loop. */
static void update(struct units *u)
{
	int events = sd_bus_get_events(u->bus);
	uint64_t at_us;

	if (events < 0) {
		lose(u, events);
		return;
	}
	loop_fd_want(&u->fd, (events & POLLIN ? LOOP_READ : 0u) |
				     (events & POLLOUT ? LOOP_WRITE : 0u));
	if (sd_bus_get_timeout(u->bus, &at_us) > 0 && at_us != UINT64_MAX) {
		uint64_t now_us = clock_mono_us();

		loop_timer_set(&u->wake, at_us > now_us ? at_us - now_us : 0);
	} else {
		loop_timer_stop(&u->wake);
	}
}

static int on_subscribed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct units *u = arg;

	(void)error;
	if (sd_bus_message_is_method_error(m, NULL)) {
		log_warn("systemd tells no changes of units: %s",
			 sd_bus_message_get_error(m)->message);
		return 1;
	}
	if (u->told_missing)
		log_info("units are watched again");
	u->told_missing = false;
	return 1;
}

static int open_bus(struct units *u)
{
	int r = sd_bus_open_system(&u->bus);

	if (r < 0) {
		u->bus = NULL;
		return r;
	}
	return sd_bus_call_method_async(u->bus, NULL, SYSTEMD, "/org/freedesktop/systemd1",
					SYSTEMD ".Manager", "Subscribe", on_subscribed, u, NULL);
}

static void on_retry(void *arg)
{
	struct units *u = arg;
	int r = open_bus(u);

	if (r >= 0)
		r = sd_bus_get_fd(u->bus);
	if (r < 0) {
		u->bus = sd_bus_close_unref(u->bus);
		if (!u->told_missing)
			log_info("there is no system bus (%s): units count as active",
				 err_code_name(r));
		u->told_missing = true;
		loop_timer_set(&u->retry, RETRY_US);
		return;
	}
	loop_fd_init(&u->fd, u->loop, r, 0, on_fd, u);
	list_for_each(it, &u->all)
		watch(list_entry(it, struct unit, node));
	process(u);
}

static void on_ask(void *arg)
{
	struct units *u = arg;

	list_for_each(it, &u->all)
		ask(list_entry(it, struct unit, node));
	if (u->bus)
		process(u);
	loop_timer_set(&u->ask, ASK_AGAIN_US);
}

/* ---- which units --------------------------------------------------------------------------- */

static struct unit *find(struct units *u, struct str name)
{
	list_for_each(it, &u->all) {
		struct unit *x = list_entry(it, struct unit, node);

		if (str_eq(str_c(x->name), name))
			return x;
	}
	return NULL;
}

static void unit_free(struct unit *x)
{
	unwatch(x);
	list_del(&x->node);
	x->units->n--;
	free(x->name);
	free(x->path);
	free(x);
}

static struct unit *unit_new(struct units *u, struct str name)
{
	struct unit *x = kv_zalloc(sizeof(*x));

	x->units = u;
	x->name = kv_asprintf("%.*s", STR_ARG(name));
	list_init(&x->node);
	list_push_back(&u->all, &x->node);
	u->n++;
	if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", x->name, &x->path) < 0) {
		unit_free(x);
		return NULL;
	}
	if (u->bus)
		watch(x);
	return x;
}

void units_want(struct units *u, const struct str *names, size_t n)
{
	list_for_each(it, &u->all)
		list_entry(it, struct unit, node)->wanted = false;
	for (size_t i = 0; i < n; i++) {
		struct unit *x = find(u, names[i]);

		if (!x && u->n < UNITS_MAX)
			x = unit_new(u, names[i]);
		if (x)
			x->wanted = true;
	}
	list_for_each_safe(it, &u->all) {
		struct unit *x = list_entry(it, struct unit, node);

		if (!x->wanted)
			unit_free(x);
	}
	if (u->bus)
		process(u);
}

struct units *units_new(struct loop *l, units_fn fn, void *arg)
{
	struct units *u = kv_zalloc(sizeof(*u));

	*u = (struct units){ .loop = l, .fn = fn, .arg = arg };
	list_init(&u->all);
	loop_timer_init(&u->wake, l, on_wake, u);
	loop_timer_init(&u->retry, l, on_retry, u);
	loop_timer_init(&u->ask, l, on_ask, u);
	loop_timer_set(&u->retry, 0);
	loop_timer_set(&u->ask, ASK_AGAIN_US);
	return u;
}

void units_free(struct units *u)
{
	if (!u)
		return;
	list_for_each_safe(it, &u->all)
		unit_free(list_entry(it, struct unit, node));
	if (u->bus)
		loop_fd_done(&u->fd);
	u->bus = sd_bus_close_unref(u->bus);
	loop_timer_done(&u->wake);
	loop_timer_done(&u->retry);
	loop_timer_done(&u->ask);
	free(u);
}
