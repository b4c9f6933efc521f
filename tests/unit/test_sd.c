/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sd: what a supervisor hears over NOTIFY_SOCKET, sockets it passed, units; and silence without
 * one.
 */
#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.h"
#include "io/loop.h"
#include "io/sd.h"

#include "unit.h"

#define DIR_PATTERN "/tmp/kvmesh-test-sd-XXXXXX"
static char dir[] = DIR_PATTERN;
static char path[sizeof(dir) + 8];
static int supervisor;

static void start(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 30 };

	memcpy(dir, DIR_PATTERN, sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/notify", dir);
	memcpy(a.sun_path, path, strlen(path) + 1);
	supervisor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(supervisor, (const struct sockaddr *)&a, sizeof(a)), 0);
	setsockopt(supervisor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setenv("NOTIFY_SOCKET", path, 1);
}

static void end(void)
{
	close(supervisor);
	unlink(path);
	rmdir(dir);
}

static void heard(const char *want)
{
	char text[1000];
	ssize_t n = recv(supervisor, text, sizeof(text) - 1, 0);

	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_msg(strncmp(text, want, strlen(want)) == 0, "'%s', not '%s'", text, want);
}

START_TEST(states)
{
	start();
	sd_status("%d routes", 7);
	heard("STATUS=7 routes");
	sd_ready("serving %s\nREADY=0", "x");
	heard("READY=1\nWATCHDOG=1\nSTATUS=serving x READY=0");
	sd_reloading();
	heard("RELOADING=1\nMONOTONIC_USEC=");
	sd_stopping();
	heard("STOPPING=1");
	end();
}
END_TEST

START_TEST(ready_is_also_written_to_a_descriptor)
{
	char text[20];
	int fd[2];

	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(pipe(fd), 0);
	sd_ready_fd(fd[1]);
	sd_status("not yet");
	sd_ready("now");
	sd_ready("once is enough");
	ck_assert_int_eq(read(fd[0], text, sizeof(text)), 6);
	ck_assert_int_eq(memcmp(text, "ready\n", 6), 0);
	ck_assert_int_eq(read(fd[0], text, sizeof(text)), 0);    /* and closed */
	close(fd[0]);
}
END_TEST

static void stop(void *arg)
{
	loop_stop(arg);
}

START_TEST(the_watchdog_is_fed)
{
	struct loop *l = loop_new();
	struct loop_timer t;
	char pid[20];

	start();
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	setenv("WATCHDOG_USEC", "40000", 1);
	sd_watchdog_start(l);
	heard("WATCHDOG=1");
	loop_timer_init(&t, l, stop, l);
	loop_timer_set(&t, 100000);
	loop_run(l);
	heard("WATCHDOG=1");
	sd_watchdog_stop();
	loop_timer_done(&t);
	loop_free(l);
	end();
}
END_TEST

START_TEST(nothing_without_a_supervisor)
{
	struct loop *l = loop_new();

	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("LISTEN_FDS");
	sd_status("nobody hears");
	sd_ready("nobody hears");
	sd_stopping();
	sd_watchdog_start(l);
	sd_watchdog_stop();
	ck_assert_int_eq(sd_listen_fd("http"), -1);
	loop_free(l);
}
END_TEST

START_TEST(sockets_by_name)
{
	char pid[20];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	/* Check keeps a file of its own in one of them: what is open is taken as it is. */
	for (int fd = 3; fd <= 4; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			ck_assert_int_eq(dup2(STDOUT_FILENO, fd), fd);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "metrics:dashboard", 1);
	ck_assert_int_eq(sd_listen_fd("dashboard"), 4);
	ck_assert_int_eq(sd_listen_fd("metrics"), 3);
	ck_assert_int_eq(sd_listen_fd("other"), -1);
	ck_assert_int_ne(fcntl(3, F_GETFD) & FD_CLOEXEC, 0);
}
END_TEST

/* Under systemd or not: the name fits its buffer or there is none. */
START_TEST(units)
{
	char unit[256] = "x", tiny[2] = "x";
	int fd[2];

	if (!sd_unit_of(0, unit, sizeof(unit)))
		ck_assert_str_eq(unit, "");
	else
		ck_assert_ptr_nonnull(strchr(unit, '.'));
	ck_assert(!sd_unit_of(0, tiny, sizeof(tiny)));
	ck_assert_str_eq(tiny, "");
	ck_assert(!sd_unit_of(2147483646, unit, sizeof(unit)));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	char other[256];

	ck_assert_int_eq(sd_unit_of_peer(fd[0], other, sizeof(other)),
			 sd_unit_of(0, unit, sizeof(unit)));
	ck_assert_str_eq(other, unit);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

UNIT_MAIN("sd", states, ready_is_also_written_to_a_descriptor, the_watchdog_is_fed,
	  nothing_without_a_supervisor, sockets_by_name, units)
