/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sd: what systemd wants to know and tells. Layer io; the only file here that knows libsystemd.
 * Owns the watchdog's timer. Everything is harmless when no systemd started us.
 */
#include "io/sd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-login.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"

#define STATUS_MAX 512

static int ready_fd = -1;

/* One line: a status with a newline would be read as further assignments. */
__attribute__((format(printf, 2, 0)))
static void format_status(char buf[static STATUS_MAX], const char *fmt, va_list ap)
{
	vsnprintf(buf, STATUS_MAX, fmt, ap);
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
}

static void tell_ready_fd(void)
{
	static const char line[] = "ready\n";

	if (ready_fd < 0)
		return;
	if (write(ready_fd, line, sizeof(line) - 1) < 0)
		log_warn("cannot say ready on descriptor %d: %s", ready_fd, err_code_name(-errno));
	close(ready_fd);
	ready_fd = -1;
}

void sd_ready(const char *fmt_status, ...)
{
	char status[STATUS_MAX];
	va_list ap;

	va_start(ap, fmt_status);
	format_status(status, fmt_status, ap);
	va_end(ap);
	sd_notifyf(0, "READY=1\nWATCHDOG=1\nSTATUS=%s", status);
	tell_ready_fd();
}

void sd_status(const char *fmt, ...)
{
	char status[STATUS_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_status(status, fmt, ap);
	va_end(ap);
	sd_notifyf(0, "STATUS=%s", status);
}

void sd_reloading(void)
{
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_us());
}

void sd_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void sd_ready_fd(int fd)
{
	ready_fd = fd;
}

/* ---- watchdog ------------------------------------------------------------ */

static struct loop_timer watchdog;
static uint64_t watchdog_us;

static void feed_watchdog(void *arg)
{
	(void)arg;
	sd_notify(0, "WATCHDOG=1");
	loop_timer_set(&watchdog, watchdog_us / 2);
}

void sd_watchdog_start(struct loop *l)
{
	if (sd_watchdog_enabled(0, &watchdog_us) <= 0)
		return;
	loop_timer_init(&watchdog, l, feed_watchdog, NULL);
	feed_watchdog(NULL);
}

void sd_watchdog_stop(void)
{
	loop_timer_done(&watchdog);
}

/* ---- sockets and units --------------------------------------------------- */

int sd_listen_fd(const char *name)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(0, &names), found = -1;

	for (int i = 0; i < n; i++) {
		if (found < 0 && strcmp(names[i], name) == 0)
			found = SD_LISTEN_FDS_START + i;
		free(names[i]);
	}
	free(names);
	return found;
}

/* In the names of the descriptor store; ':' is not allowed there. */
#define STORED "listener."

static void stored_name(const char *address, char buf[static STATUS_MAX])
{
	snprintf(buf, STATUS_MAX, STORED "%s", address);
	for (char *p = buf; *p; p++)
		if (*p == ':' || (unsigned char)*p <= ' ' || (unsigned char)*p >= 127)
			*p = '_';
}

void sd_listen_sockets(void (*fn)(void *arg, int fd, bool stored), void *arg)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(0, &names);

	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i, flags = fcntl(fd, F_GETFL);

		if (flags >= 0)
			(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		fn(arg, fd, strncmp(names[i], STORED, sizeof(STORED) - 1) == 0);
		free(names[i]);
	}
	free(names);
}

void sd_store_socket(const char *address, int fd)
{
	char name[STATUS_MAX], text[STATUS_MAX + 32];

	stored_name(address, name);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	(void)sd_pid_notify_with_fds(0, 0, text, &fd, 1);
}

void sd_unstore_socket(const char *address)
{
	char name[STATUS_MAX];

	stored_name(address, name);
	sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

#define BARRIER_US (5u * 1000 * 1000)

bool sd_main_pid(pid_t pid)
{
	if (sd_notifyf(0, "MAINPID=%d", (int)pid) <= 0)
		return !getenv("NOTIFY_SOCKET");
	return sd_notify_barrier(0, BARRIER_US) >= 0;
}

static bool take_unit(int r, char *unit, char *buf, size_t n)
{
	bool fits = r >= 0 && unit && strlen(unit) < n;

	if (fits)
		memcpy(buf, unit, strlen(unit) + 1);
	else if (n > 0)
		buf[0] = '\0';
	free(unit);
	return fits;
}

bool sd_unit_of(pid_t pid, char *buf, size_t n)
{
	char *unit = NULL;
	int r = sd_pid_get_unit(pid, &unit);

	return take_unit(r, unit, buf, n);
}

bool sd_unit_of_peer(int fd, char *buf, size_t n)
{
	char *unit = NULL;
	int r = sd_peer_get_unit(fd, &unit);

	return take_unit(r, unit, buf, n);
}
