/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl: what every command of kvmeshctl is given: the global options, its own options and words, the
 * exit codes, and calls to the daemons. Layer daemons/ctl.
 * A command is one row {name, options, function} of the table in main.c; the parser, --help, the
 * completion and "did you mean" all come from the rows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/label.h"
#include "base/str.h"
#include "doc/doc.h"

/* What scripts rely on: conventions of LSB and sysexits.h. */
enum ctl_exit {
	CTL_EXIT_OK = 0,
	CTL_EXIT_NO = 1,                /* ran; the answer is "no", or the operation failed */
	CTL_EXIT_NOT_RUNNING = 3,
	CTL_EXIT_NOT_FOUND = 4,
	CTL_EXIT_USAGE = 64,
	CTL_EXIT_DATA = 65,             /* an input file cannot be parsed */
	CTL_EXIT_UNAVAILABLE = 69,      /* a daemon's socket does not answer */
	CTL_EXIT_TIMEOUT = 75,
	CTL_EXIT_NO_PERMISSION = 77,
	CTL_EXIT_CONFIG = 78,           /* the installed configuration is unusable */
	CTL_EXIT_FINDINGS = 79,         /* analysis found something at or above the threshold */
};

enum ctl_output {
	CTL_OUTPUT_TABLE,
	CTL_OUTPUT_WIDE,
	CTL_OUTPUT_JSON,
	CTL_OUTPUT_YAML,
	CTL_OUTPUT_SHORT,
	CTL_OUTPUT__N
};

struct ctl_option {
	const char *name;               /* long name without dashes; NULL ends a table */
	char letter;                    /* short form, 0 none */
	const char *value;              /* name of its value in --help; NULL: a switch */
	const char *help;
};

struct ctl;
struct model;

struct ctl_command {
	const char *name;               /* one word; NULL ends a table */
	const char *aliases;            /* further words, separated by spaces; NULL none */
	const char *category;           /* heading in --help; NULL below a group */
	const char *words;              /* "KIND [NAME]" for --help; NULL none */
	const char *help;               /* one line */
	const struct ctl_option *options;       /* besides the global ones; NULL none */
	const struct ctl_command *subs; /* a group: the next word chooses */
	int (*run)(struct ctl *c);      /* returns an enum ctl_exit */
	unsigned min_words, max_words;  /* of argv behind the command */
};

/* A value of one option, in the order of the command line. */
struct ctl_given {
	const struct ctl_option *option;
	const char *value;
};

struct ctl {
	enum ctl_output output;
	bool json_short;                /* --json=short: one line */
	bool no_legend, no_pager, quiet, verbose, all_namespaces;
	bool color;                     /* on standard output, decided */
	bool utf8;                      /* the locale can show √ ‼ × */
	const char *ns;                 /* -n, NULL when not given */
	struct labels *selector;        /* -l, NULL when not given */
	int timeout_ms;
	const char *socket;             /* --socket, NULL */
	const char *root;               /* --root, NULL */
	const char *etc, *run, *state;  /* with root in front when that is given */
	bool etc_given, run_given;

	const struct ctl_command *command;
	const char *words[64];          /* behind the command */
	unsigned n_words;
	struct ctl_given given[64];
	unsigned n_given;

	struct model *model;            /* what findings_load_* read; freed at the end */
	FILE *out;                      /* goes to standard output at the end (print.h) */
	char *out_text;
	size_t out_n;
	struct arena arena;             /* lives as long as the command */
};

extern const struct ctl_command ctl_commands[];
extern const struct ctl_option ctl_global_options[];

/* ---- args.c ---------------------------------------------------------------------------------- */
/*
 * Fill *c from environment and command line. 0; or an exit code when the program ends here (--help
 * and --version give -1: end with 0). Messages are already printed.
 */
int ctl_args_parse(struct ctl *c, int argc, char **argv);
bool ctl_has(const struct ctl *c, const char *option);
/* Last value of that option, or dflt. */
const char *ctl_value(const struct ctl *c, const char *option, const char *dflt);
/* The i-th value of a repeatable option, or NULL. */
const char *ctl_value_at(const struct ctl *c, const char *option, unsigned i);
/* Does word name the row, by its name or an alias? */
bool ctl_command_is(const struct ctl_command *row, const char *word);
void ctl_print_help(const struct ctl_command *group, const struct ctl_command *command, FILE *out);

/* ---- ctl.c ----------------------------------------------------------------------------------- */
/* "kvmeshctl: TEXT" on stderr; returns code. */
int ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Print the error; the exit code that fits it (not permitted 77, no answer 69, …). */
int ctl_fail_err(const struct err *err);
/* A remark on stderr; silent under -q. */
void ctl_note(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* In c's arena: ctl_sock(c, "proxy", "node") → RUN/proxy/node.sock */
const char *ctl_sock(struct ctl *c, const char *dir, const char *name);
/* One call to one daemon. Returns 0, or a negative code with err filled. */
int ctl_call(struct ctl *c, const char *path, const char *method, const struct doc *parameters,
	     struct doc **ret, struct err *err);
int ctl_call_router(struct ctl *c, const char *method, const struct doc *parameters,
		    struct doc **ret, struct err *err);
/* Reload; wait: until every proxy has answered, for which the time limit is raised. */
int ctl_reload(struct ctl *c, bool wait, struct doc **ret, struct err *err);
/* True when nobody serves that socket: no file, or nobody listening. */
bool ctl_is_unanswered(const struct err *err);
/* Names of the proxy instances that have a socket in RUN/proxy, sorted. */
void ctl_proxies(struct ctl *c, const char ***ret, size_t *ret_n);

/* "2020-12-01T10:00:00.123Z" (UTC only, as daemons write it) to microseconds since 1970. */
bool ctl_time_parse(struct str text, int64_t *ret_us);

/* ---- the commands, one file each or a small family ------------------------------------------- */
int cmd_analyze(struct ctl *c);
int cmd_authz_can(struct ctl *c);
int cmd_authz_check(struct ctl *c);
int cmd_canary(struct ctl *c);
int cmd_authn_tls_check(struct ctl *c);
int cmd_bug_report(struct ctl *c);
int cmd_ca_bundle(struct ctl *c);
int cmd_ca_init(struct ctl *c);
int cmd_ca_issue(struct ctl *c);
int cmd_ca_list(struct ctl *c);
int cmd_ca_revoke(struct ctl *c);
int cmd_ca_rotate(struct ctl *c);
int cmd_ca_status(struct ctl *c);
/* What Status says of a rotation, in one line (cmd_ca.c). */
struct str ctl_rotation_text(struct ctl *c, const struct doc *rotation);
int cmd_capture_confirm(struct ctl *c);
int cmd_capture_off(struct ctl *c);
int cmd_capture_on(struct ctl *c);
int cmd_capture_repair(struct ctl *c);
int cmd_capture_status(struct ctl *c);
int cmd_certs(struct ctl *c);
int cmd_check(struct ctl *c);
int cmd_check_inject(struct ctl *c);
int cmd_completion(struct ctl *c);
int cmd_compliance_report(struct ctl *c);
int cmd_compliance_verify(struct ctl *c);
int cmd_config_dump(struct ctl *c);
int cmd_config_history(struct ctl *c);
int cmd_config_reload(struct ctl *c);
int cmd_config_test(struct ctl *c);
int cmd_convert(struct ctl *c);
int cmd_describe_node(struct ctl *c);
int cmd_describe_service(struct ctl *c);
int cmd_describe_unit(struct ctl *c);
int cmd_describe_workload(struct ctl *c);
int cmd_edges(struct ctl *c);
int cmd_explain(struct ctl *c);
int cmd_get(struct ctl *c);
int cmd_identity(struct ctl *c);
int cmd_inject(struct ctl *c);
int cmd_install(struct ctl *c);
int cmd_label(struct ctl *c);
int cmd_profile_diff(struct ctl *c);
int cmd_profile_dump(struct ctl *c);
int cmd_profile_list(struct ctl *c);
int cmd_proxy_config_cluster(struct ctl *c);
int cmd_proxy_config_endpoint(struct ctl *c);
int cmd_proxy_config_listener(struct ctl *c);
int cmd_proxy_config_route(struct ctl *c);
int cmd_proxy_config_secret(struct ctl *c);
int cmd_proxy_status(struct ctl *c);
int cmd_routes(struct ctl *c);
int cmd_run(struct ctl *c);
int cmd_status(struct ctl *c);
int cmd_uninject(struct ctl *c);
int cmd_upgrade(struct ctl *c);
int cmd_validate(struct ctl *c);
int cmd_version(struct ctl *c);
