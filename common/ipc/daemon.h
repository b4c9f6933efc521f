/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon: what the four daemons share: options, exit codes, signals, control socket, hardening.
 * Layer ipc (it stands on base and io alone and sits here because every daemon links ipc).
 *
 * The start of every daemon:
 *     int code = daemon_args(&program, argc, argv, &o);
 *     if (code != DAEMON_GO_ON)
 *             return code;
 *     daemon_init(&o);
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "io/loop.h"

enum daemon_exit {
	DAEMON_GO_ON = -1,              /* of daemon_args only */
	DAEMON_EXIT_OK = 0,
	DAEMON_EXIT_FAILED = 1,         /* start failed, or an operation did; systemd restarts */
	DAEMON_EXIT_NOT_CONFIGURED = 6, /* start with an unusable configuration; no restart helps */
	DAEMON_EXIT_USAGE = 64,
	DAEMON_EXIT_CONFIG = 78,        /* -t or -T: the configuration is unusable */
};

#define DAEMON_HAS_INSTANCE 0x1u        /* takes --instance NAME and needs it */
#define DAEMON_HAS_TEST 0x2u            /* takes -t */
#define DAEMON_HAS_PRINT 0x4u           /* takes -T */

struct daemon_program {
	const char *name;               /* "kvmesh-ca" */
	const char *summary;            /* one line for --help */
	unsigned flags;                 /* DAEMON_HAS_* */
	const char *(*libraries)(void); /* "OpenSSL 3.0.22", for -V and the first line; or NULL */
};

struct daemon_options {
	const struct daemon_program *program;
	/* The option, else $KVMESH_ETC …, else the default; absolute. */
	const char *etc_dir, *run_dir, *state_dir;
	const char *instance;           /* --instance: [A-Za-z0-9][A-Za-z0-9._-]*; or NULL */
	int ready_fd;                   /* --ready-fd N, -1 when not given */
	int log_level;                  /* --log-level or $KVMESH_LOG, LOG_INFO */
	bool standalone;                /* --standalone: under kvmeshctl run, no units here */
	bool test, print;               /* -t, -T */
};

/*
 * DAEMON_GO_ON, or the exit code when the program ends here (-h, -V, usage); messages are printed.
 */
int daemon_args(const struct daemon_program *p, int argc, char **argv, struct daemon_options *ret);
/* log, SIGPIPE ignored, umask 077, the line that says which version starts with which libraries. */
void daemon_init(const struct daemon_options *o);
/* No core, no ptrace by the same user (ca and proxy hold keys). */
void daemon_protect_memory(void);

struct daemon_signals {
	struct loop *loop;
	void (*reload)(void *arg);      /* SIGHUP; NULL: ignored */
	void (*stop)(void *arg);        /* first SIGTERM or SIGINT; NULL, or a second: loop_stop */
	void *arg;
	bool stopping;
};
/* s outlives the loop. */
void daemon_on_signals(struct daemon_signals *s);

/*
 * Listen on RUN/DIR/NAME (the directory is made when missing, 0755). The file's mode is 0666: who
 * may do what is decided by peer credentials for each method. Returns the descriptor or a negative
 * code.
 */
int daemon_listen(const struct daemon_options *o, const char *dir, const char *name,
		  struct err *err);
/* STATE/DIR, made 0700 when missing; malloc'ed path in *ret. */
int daemon_state_dir(const struct daemon_options *o, const char *dir, char **ret, struct err *err);
