/* SPDX-License-Identifier: Apache-2.0 */
/* daemon: options, signals and surroundings of the four daemons. Layer ipc. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "io/sock.h"
#include "ipc/daemon.h"

enum option_code {
	OPTION_ETC = 256, OPTION_RUN, OPTION_STATE, OPTION_INSTANCE, OPTION_READY_FD,
	OPTION_STANDALONE, OPTION_LOG_LEVEL,
};

static const struct option long_options[] = {
	{ "etc", required_argument, NULL, OPTION_ETC },
	{ "run", required_argument, NULL, OPTION_RUN },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "instance", required_argument, NULL, OPTION_INSTANCE },
	{ "ready-fd", required_argument, NULL, OPTION_READY_FD },
	{ "standalone", no_argument, NULL, OPTION_STANDALONE },
	{ "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
	{ "test", no_argument, NULL, 't' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void print_help(const struct daemon_program *p)
{
	printf("%s: %s\n\n"
	       "Usage: %s [OPTION…]\n\n"
	       "  --etc DIR          configuration (%s/kvmesh, $KVMESH_ETC)\n"
	       "  --run DIR          control sockets (/run/kvmesh, $KVMESH_RUN)\n"
	       "  --state DIR        databases, keys, last good state (%s/lib/kvmesh, "
	       "$KVMESH_STATE)\n",
	       p->name, p->summary, p->name, SYSCONFDIR, LOCALSTATEDIR);
	if (p->flags & DAEMON_HAS_INSTANCE)
		puts("  --instance NAME    which proxy this is: node, ingressgateway, …");
	if (p->flags & DAEMON_HAS_TEST)
		puts("  -t, --test         test the configuration and exit: 0, or 78 with all "
		     "findings");
	if (p->flags & DAEMON_HAS_PRINT)
		puts("  -T                 print the effective configuration, each value with its "
		     "origin");
	puts("  --standalone       run by kvmeshctl run: there are no systemd units here\n"
	     "  --ready-fd N       write \"ready\" to this descriptor once ready\n"
	     "  --log-level LEVEL  debug, info, warning or error (info, $KVMESH_LOG)\n"
	     "  -V, --version      version\n"
	     "  -h, --help         this text\n\n"
	     "SIGHUP reloads, SIGTERM drains and ends.");
}

static int usage(const struct daemon_program *p, const char *what, const char *value)
{
	fprintf(stderr, "%s: %s%s%s (see %s --help)\n", p->name, what, value ? " " : "",
		value ? value : "", p->name);
	return DAEMON_EXIT_USAGE;
}

static bool is_instance_name(struct str s)
{
	if (s.n == 0 || s.n > 64)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9');

		if (!alnum && (i == 0 || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return true;
}

static const char *env_or(const char *name, const char *dflt)
{
	const char *v = getenv(name);

	return v && *v ? v : dflt;
}

/*
 * Sockets need absolute paths, and a daemon's messages should not depend on where it was started.
 */
static const char *absolute(const char *dir)
{
	if (dir[0] == '/')
		return dir;
	_cleanup_free_ char *cwd = getcwd(NULL, 0);

	return cwd ? kv_asprintf("%s/%s", cwd, dir) : dir;
}

static int set_ready_fd(struct daemon_options *o, const char *value)
{
	uint64_t n;

	if (!str_to_u64(str_c(value), &n) || n > 1023)
		return usage(o->program, "--ready-fd is no descriptor:", value);
	o->ready_fd = (int)n;
	return DAEMON_GO_ON;
}

static int take_option(struct daemon_options *o, int code, const char *value)
{
	const struct daemon_program *p = o->program;

	switch (code) {
	case OPTION_ETC:
		o->etc_dir = value;
		break;
	case OPTION_RUN:
		o->run_dir = value;
		break;
	case OPTION_STATE:
		o->state_dir = value;
		break;
	case OPTION_INSTANCE:
		if (!(p->flags & DAEMON_HAS_INSTANCE))
			return usage(p, "--instance is for kvmesh-proxy", NULL);
		if (!is_instance_name(str_c(value)))
			return usage(p, "--instance is no name of an instance:", value);
		o->instance = value;
		break;
	case OPTION_READY_FD:
		return set_ready_fd(o, value);
	case OPTION_STANDALONE:
		o->standalone = true;
		break;
	case OPTION_LOG_LEVEL:
		if (!log_level_parse(value, &o->log_level))
			return usage(p, "--log-level is debug, info, warning or error, not", value);
		break;
	case 't':
	case 'T':
		if (!(p->flags & (code == 't' ? DAEMON_HAS_TEST : DAEMON_HAS_PRINT)))
			return usage(p, code == 't' ? "there is no -t here" : "there is no -T here",
				     NULL);
		*(code == 't' ? &o->test : &o->print) = true;
		break;
	case 'V':
		printf("%s %s%s%s%s\n", p->name, PACKAGE_VERSION, p->libraries ? " (" : "",
		       p->libraries ? p->libraries() : "", p->libraries ? ")" : "");
		return DAEMON_EXIT_OK;
	case 'h':
		print_help(p);
		return DAEMON_EXIT_OK;
	default:
		return usage(p, "unknown option or missing value", NULL);
	}
	return DAEMON_GO_ON;
}

int daemon_args(const struct daemon_program *p, int argc, char **argv, struct daemon_options *ret)
{
	*ret = (struct daemon_options){
		.program = p,
		.etc_dir = env_or("KVMESH_ETC", SYSCONFDIR "/kvmesh"),
		.run_dir = env_or("KVMESH_RUN", "/run/kvmesh"),
		.state_dir = env_or("KVMESH_STATE", LOCALSTATEDIR "/lib/kvmesh"),
		.ready_fd = -1,
		.log_level = LOG_INFO,
	};
	const char *level = getenv("KVMESH_LOG");

	if (level && *level && !log_level_parse(level, &ret->log_level))
		return usage(p, "$KVMESH_LOG is debug, info, warning or error, not", level);
	opterr = 0;
	optind = 0;             /* from the beginning, also when called again */
	for (int code; (code = getopt_long(argc, argv, ":tTVh", long_options, NULL)) != -1; ) {
		int r = take_option(ret, code, optarg);

		if (r != DAEMON_GO_ON)
			return r;
	}
	ret->etc_dir = absolute(ret->etc_dir);
	ret->run_dir = absolute(ret->run_dir);
	ret->state_dir = absolute(ret->state_dir);
	if (optind < argc)
		return usage(p, "no argument is expected:", argv[optind]);
	if ((p->flags & DAEMON_HAS_INSTANCE) && !ret->instance)
		return usage(p, "--instance NAME is missing", NULL);
	return DAEMON_GO_ON;
}

void daemon_init(const struct daemon_options *o)
{
	const struct daemon_program *p = o->program;

	log_init(p->name);
	log_set_level(o->log_level);
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	if (!o->test && !o->print)
		log_info("%s %s starts%s%s", p->name, PACKAGE_VERSION, p->libraries ? " with " : "",
			 p->libraries ? p->libraries() : "");
}

void daemon_protect_memory(void)
{
	static const struct rlimit none = { 0, 0 };

	/*
	 * The unit forbids setrlimit and sets LimitCORE itself; there the first call fails
	 * harmlessly.
	 */
	(void)setrlimit(RLIMIT_CORE, &none);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		log_warn("cannot forbid core dumps and tracing: %s", strerror(errno));
}

static void on_signal(void *arg, int signo)
{
	struct daemon_signals *s = arg;

	if (signo == SIGHUP) {
		if (s->reload && !s->stopping)
			s->reload(s->arg);
		return;
	}
	if (s->stopping || !s->stop) {
		s->stopping = true;
		loop_stop(s->loop);
		return;
	}
	s->stopping = true;
	log_info("stopping after %s", signo == SIGTERM ? "SIGTERM" : "SIGINT");
	s->stop(s->arg);
}

void daemon_on_signals(struct daemon_signals *s)
{
	s->stopping = false;
	loop_on_signal(s->loop, SIGHUP, on_signal, s);
	loop_on_signal(s->loop, SIGTERM, on_signal, s);
	loop_on_signal(s->loop, SIGINT, on_signal, s);
}

int daemon_listen(const struct daemon_options *o, const char *dir, const char *name,
		  struct err *err)
{
	_cleanup_free_ char *folder = kv_asprintf("%s/%s", o->run_dir, dir);
	_cleanup_free_ char *path = kv_asprintf("%s/%s", folder, name);
	/* umask 077 is for state; the way to the socket must be open to every caller. */
	mode_t old = umask(022);
	int r = fs_mkdir(folder, 0755, err);

	umask(old);
	if (r < 0)
		return r;
	return sock_listen_unix(path, 0666, (gid_t)-1, err);
}

int daemon_state_dir(const struct daemon_options *o, const char *dir, char **ret, struct err *err)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", o->state_dir, dir);
	int r = fs_mkdir(path, 0700, err);

	if (r < 0)
		return r;
	*ret = take(&path);
	return 0;
}
