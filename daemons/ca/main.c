/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-ca: signs certificates for the identities that the kernel proves. Layer daemons/ca. One
 * thread; the only sockets are ca.sock and the client end towards the router.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/authority.h"
#include "ca/server.h"
#include "io/sd.h"
#include "ipc/daemon.h"
#include "ipc/db.h"
#include "ipc/rights.h"

static const char *libraries(void)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s, %s", keystore_library(), db_library());
	return text;
}

static const struct daemon_program program = {
	.name = "kvmesh-ca",
	.summary = "certificate authority of this node",
	.flags = DAEMON_HAS_TEST,
	.libraries = libraries,
};

static int test(const struct daemon_options *o)
{
	struct err err = { 0 };
	int r = keystore_init(&err);

	if (r == 0)
		r = authority_check(o->etc_dir, o->state_dir, &err);
	if (r < 0) {
		fprintf(stderr, "kvmesh-ca: %s\n", err.text);
		return DAEMON_EXIT_CONFIG;
	}
	return DAEMON_EXIT_OK;
}

/*
 * What another start might find better is a failure; what only a person can mend is "not
 * configured".
 */
static int start_failed(int code, const struct err *err)
{
	log_err("%s", err->text);
	return code == -ENOSPC || code == -EMFILE || code == -ENOMEM ? DAEMON_EXIT_FAILED
								     : DAEMON_EXIT_NOT_CONFIGURED;
}

static void on_reload(void *arg)
{
	server_reload(arg);
}

static int serve(const struct daemon_options *o, struct authority *a)
{
	struct err err = { 0 };
	int fd = daemon_listen(o, "ca", "ca.sock", &err);

	if (fd < 0) {
		log_err("%s", err.text);
		return DAEMON_EXIT_FAILED;
	}
	authority_sweep(a);             /* the socket is ours, so the directory is */
	struct loop *l = loop_new();
	struct server *s = server_new(l, o, a, fd);
	struct daemon_signals signals = { .loop = l, .reload = on_reload, .arg = s };

	daemon_on_signals(&signals);
	sd_watchdog_start(l);
	sd_ready("%s",
		 a->keystore ? "signing" : "waiting for the router's first list of identities");
	sd_ready_fd(o->ready_fd);
	loop_run(l);
	sd_stopping();
	server_free(s);
	loop_free(l);
	return DAEMON_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct daemon_options o;
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	daemon_init(&o);
	daemon_protect_memory();
	if (o.test)
		return test(&o);
	const struct policy_rules rules = {
		.standalone = o.standalone, .own_uid = geteuid(), .is_user = rights_is_user,
	};
	_cleanup_free_ char *dir = NULL;
	struct authority a;
	struct err err = { 0 };
	int r = daemon_state_dir(&o, "ca", &dir, &err);

	if (r == 0)
		r = keystore_init(&err);
	if (r == 0)
		r = authority_open(o.etc_dir, o.state_dir, &rules, clock_real_us(), &a, &err);
	if (r < 0)
		return start_failed(r, &err);
	code = serve(&o, &a);
	authority_close(&a);
	return code;
}
