/* SPDX-License-Identifier: Apache-2.0 */
/* main: the table of commands, and nothing else. Layer daemons/ctl. */
#include "config.h"

#include <signal.h>

#include "config/model.h"
#include "ctl/ctl.h"
#include "ctl/print.h"

static const struct ctl_option run_options[] = {
	{ "ready-fd", 0, "N", "write \"ready\" to this descriptor once everything serves" },
	{ NULL },
};

static const struct ctl_option analyze_options[] = {
	{ "failure-threshold", 0, "LEVEL", "exit 79 from this level on (Error)" },
	{ "output-threshold", 0, "LEVEL", "show from this level on (Info)" },
	{ "suppress", 'S', "CODE=WHAT", "leave out CODE for \"Kind name.namespace\" (wildcards)" },
	{ "list-analyzers", 'L', NULL, "list the rules and their codes" },
	{ "recursive", 'R', NULL, "no effect: directories are always read whole" },
	{ "use-kube", 0, "BOOL", "false: judge the files alone, without what is installed" },
	{ NULL },
};

static const struct ctl_option validate_options[] = {
	{ "filename", 'f', "FILE", "file, directory or - (may be repeated)" },
	{ NULL },
};

static const struct ctl_option convert_options[] = {
	{ "to", 0, "SYNTAX", "conf, yaml or json (default: YAML becomes conf, conf becomes YAML)" },
	{ "check", 0, NULL, "print nothing; exit 1 when the way there and back loses anything" },
	{ "no-marks", 0, NULL, "without \"# from FILE:LINE\"" },
	{ NULL },
};

static const struct ctl_option reload_options[] = {
	{ "wait", 0, NULL, "until every proxy serves it" },
	{ NULL },
};

static const struct ctl_option history_options[] = {
	{ "limit", 0, "N", "the newest N (20)" },
	{ NULL },
};

static const struct ctl_option check_options[] = {
	{ "pre", 0, NULL, "only what must hold before anything runs" },
	{ "proxy", 0, NULL, "only certificates and proxies" },
	{ "wait", 0, "TIME", "try again until all is well or TIME is over (exit 75)" },
	{ NULL },
};

static const struct ctl_option cluster_options[] = {
	{ "fqdn", 0, "HOST", "only this service" },
	{ "port", 0, "N", "only this port" },
	{ "subset", 0, "NAME", "only this subset" },
	{ "direction", 0, "WAY", "inbound or outbound" },
	{ NULL },
};

static const struct ctl_option listener_options[] = {
	{ "address", 0, "IP", "only this address" },
	{ "port", 0, "N", "only this port" },
	{ "type", 0, "KIND", "only HTTP_PROXY, OUTBOUND, INBOUND, MESH, TCP, READY or GATEWAY" },
	{ NULL },
};

static const struct ctl_option route_options[] = {
	{ "name", 0, "PORT", "only routes of this port" },
	{ NULL },
};

static const struct ctl_option endpoint_options[] = {
	{ "address", 0, "IP", "only this address" },
	{ "port", 0, "N", "only this port" },
	{ "cluster", 0, "NAME", "only this cluster" },
	{ "status", 0, "STATUS", "HEALTHY or UNHEALTHY" },
	{ NULL },
};

static const struct ctl_option canary_options[] = {
	{ "dry-run", 0, NULL, "show the change of the file, make none" },
	{ NULL },
};
static const struct ctl_option explain_options[] = {
	{ "header", 'H', "NAME:VALUE", "a header of the request; repeatable" },
	{ "client", 0, "IP", "who calls a gateway from outside (127.0.0.1)" },
	{ NULL },
};
static const struct ctl_option edges_options[] = {
	{ "require-mtls", 0, NULL, "exit 1 when an edge is not secured" },
	{ NULL },
};

#define WORDS_MAX 64

static const struct ctl_command config_commands[] = {
	{ .name = "test", .run = cmd_config_test,
	  .help = "Read and check the files; exit 78 when they are unusable" },
	{ .name = "dump", .run = cmd_config_dump,
	  .help = "Every setting in force, with the place it is from" },
	{ .name = "reload", .run = cmd_config_reload, .options = reload_options,
	  .help = "Have the router read the files now; on an error nothing changes" },
	{ .name = "history", .run = cmd_config_history, .options = history_options,
	  .help = "What was in force when, and what was refused" },
	{ NULL },
};

static const struct ctl_command proxy_config_commands[] = {
	{ .name = "cluster", .aliases = "clusters c", .words = "[PROXY]", .max_words = 1,
	  .run = cmd_proxy_config_cluster, .options = cluster_options,
	  .help = "Services as the proxy knows them" },
	{ .name = "listener", .aliases = "listeners l", .words = "[PROXY]", .max_words = 1,
	  .run = cmd_proxy_config_listener, .options = listener_options,
	  .help = "Where it listens, what it does there" },
	{ .name = "route", .aliases = "routes r", .words = "[PROXY]", .max_words = 1,
	  .run = cmd_proxy_config_route, .options = route_options,
	  .help = "Routes in the order they are tried" },
	{ .name = "endpoint", .aliases = "endpoints ep e", .words = "[PROXY]", .max_words = 1,
	  .run = cmd_proxy_config_endpoint, .options = endpoint_options,
	  .help = "Endpoints and their health" },
	{ .name = "secret", .aliases = "secrets s", .words = "[PROXY]", .max_words = 1,
	  .run = cmd_proxy_config_secret, .help = "Certificates it holds" },
	{ NULL },
};

static const struct ctl_command authn_commands[] = {
	{ .name = "tls-check", .aliases = "tls", .words = "[WORKLOAD] [HOST]", .max_words = 2,
	  .run = cmd_authn_tls_check,
	  .help = "What both sides are told about mTLS, and what was seen; exit 1 on a conflict" },
	{ NULL },
};

static const struct ctl_option can_options[] = {
	{ "header", 'H', "NAME:VALUE", "a header of the request; repeatable" },
	{ "host", 0, "HOST", "its Host" },
	{ "port", 0, "PORT", "port of the workload (default: its first)" },
	{ "tcp", 0, NULL, "a connection that is no HTTP" },
	{ NULL },
};
static const struct ctl_command authz_commands[] = {
	{ .name = "check", .words = "WORKLOAD", .min_words = 1, .max_words = 1,
	  .run = cmd_authz_check, .help = "The rules that are for a workload, as they are asked" },
	{ .name = "can", .words = "CALLER WORKLOAD [METHOD PATH]", .min_words = 2, .max_words = 4,
	  .options = can_options, .run = cmd_authz_can,
	  .help = "Would it be allowed, and by which rule; exit 1 when not" },
	{ NULL },
};
static const struct ctl_option compliance_options[] = {
	{ "since", 0, "TIME", "begin of the period: 30d (the default), 12h, 2026-10-01T00:00:00.000Z" },
	{ "format", 0, "FORMAT", "text, json, html or csv (the edges)" },
	{ "out", 0, "FILE", "write it there" },
	{ "sign", 0, NULL, "with a signature of the CA; of CSV in FILE.sig" },
	{ NULL },
};
static const struct ctl_option verify_options[] = {
	{ "ca-file", 0, "FILE", "who is trusted: roots or issuers in PEM; a signature is demanded" },
	{ NULL },
};
static const struct ctl_command compliance_commands[] = {
	{ .name = "report", .options = compliance_options, .run = cmd_compliance_report,
	  .help = "What was encrypted, by whom and how; exit 1 when not all, 3 without proof" },
	{ .name = "verify", .words = "FILE", .min_words = 1, .max_words = 1,
	  .options = verify_options, .run = cmd_compliance_verify,
	  .help = "Is a report as it was made, and by whom; exit 1 when not" },
	{ NULL },
};
static const struct ctl_option rotate_options[] = {
	{ "root", 0, NULL, "another root as well, not the issuer alone" },
	{ "wait", 0, "TIME", "follow it until it is done; exit 75 when that takes longer" },
	{ "force", 0, NULL, "the present step waits for nobody any more" },
	{ "abort", 0, NULL, "back to what was, as long as the next one does not sign" },
	{ NULL },
};
static const struct ctl_option revoke_options[] = {
	{ "reason", 0, "TEXT", "why, for the list" },
	{ "lift", 0, NULL, "take it off the list" },
	{ NULL },
};
static const struct ctl_option ca_list_options[] = {
	{ "revoked", 0, NULL, "what is revoked" },
	{ "limit", 0, "N", "the newest N (100)" },
	{ NULL },
};
static const struct ctl_option issue_options[] = {
	{ "out", 0, "PREFIX", "write PREFIX.key, PREFIX.crt and PREFIX-ca.crt (NAME)" },
	{ "csr", 0, "FILE", "for the key of this request; no key is made" },
	{ "valid", 0, "TIME", "how long it is good: 1m to 2160h (168h)" },
	{ NULL },
};
static const struct ctl_option init_options[] = {
	{ "offline-root", 0, NULL, "ask for an issuing certificate of a root that is not here" },
	{ "csr", 0, "FILE", "write the request there" },
	{ "certificate", 0, "FILE", "its answer: the issuing certificate, and what is above it" },
	{ "root-certificate", 0, "FILE", "the root, when it is another" },
	{ "wait", 0, "TIME", "follow the change until it is done" },
	{ NULL },
};
static const struct ctl_command ca_commands[] = {
	{ .name = "status", .run = cmd_ca_status, .help = "Root, issuer and what was issued" },
	{ .name = "bundle", .run = cmd_ca_bundle, .help = "The trust anchors as PEM" },
	{ .name = "list", .words = "[SPIFFE-ID]", .max_words = 1, .options = ca_list_options,
	  .run = cmd_ca_list, .help = "Certificates that were issued, newest first" },
	{ .name = "rotate", .options = rotate_options, .run = cmd_ca_rotate,
	  .help = "Another issuer, or another root, without losing anybody" },
	{ .name = "revoke", .words = "SERIAL|SPIFFE-ID", .min_words = 1, .max_words = 1,
	  .options = revoke_options, .run = cmd_ca_revoke,
	  .help = "Trust it no more, and cut what it has open" },
	{ .name = "issue", .words = "NAME|SPIFFE-ID", .min_words = 1, .max_words = 1,
	  .options = issue_options, .run = cmd_ca_issue,
	  .help = "A certificate for a program that is no workload here" },
	{ .name = "init", .options = init_options, .run = cmd_ca_init,
	  .help = "An issuer below a root whose key is kept elsewhere" },
	{ NULL },
};

static const struct ctl_command describe_commands[] = {
	{ .name = "service", .aliases = "services svc", .words = "SERVICE", .min_words = 1,
	  .max_words = 1, .run = cmd_describe_service,
	  .help = "Routes, endpoints, what its workloads demand, who may, what is wrong" },
	{ .name = "workload", .aliases = "workloads wl pod", .words = "WORKLOAD", .min_words = 1,
	  .max_words = 1, .run = cmd_describe_workload,
	  .help = "Identity, ports and their mTLS, the rules that are for it" },
	{ .name = "unit", .words = "UNIT", .min_words = 1, .max_words = 1, .run = cmd_describe_unit,
	  .help = "The workload that a systemd unit is" },
	{ .name = "node", .words = "[NODE]", .max_words = 1, .run = cmd_describe_node,
	  .help = "This node: listeners, workloads, how their callers are told" },
	{ NULL },
};
static const struct ctl_option routes_options[] = {
	{ "time-window", 't', "TIME", "watch for so long (default: since the proxies started)" },
	{ NULL },
};

#define PROFILES_OPTION { "profiles", 0, "DIR", "where the profiles are (" VENDORDIR "/profiles)" }
static const struct ctl_option profile_options[] = {
	PROFILES_OPTION,
	{ NULL },
};
static const struct ctl_option install_options[] = {
	{ "profile", 0, "NAME", "default, demo, minimal, strict or empty (default)" },
	{ "set", 's', "profile=NAME", "the same, as istioctl writes it" },
	{ "dry-run", 0, NULL, "show the files and what would be done with them" },
	{ "force", 0, NULL, "replace files that were changed by hand, too" },
	{ "yes", 'y', NULL, "do not ask" },
	PROFILES_OPTION,
	{ NULL },
};
static const struct ctl_option bug_report_options[] = {
	{ "out", 0, "FILE", "the archive (kvmesh-DATE.tar.gz here)" },
	{ NULL },
};
static const struct ctl_option upgrade_options[] = {
	{ "hot", 0, NULL, "proxies start their successors and no connection is refused (always so)" },
	{ "local", 0, NULL, "this node alone (always so)" },
	{ "no-wait", 0, NULL, "do not wait until what the old proxies had begun has ended" },
	{ NULL },
};
static const struct ctl_command profile_commands[] = {
	{ .name = "list", .run = cmd_profile_list, .options = profile_options,
	  .help = "The presets there are" },
	{ .name = "dump", .words = "[PROFILE]", .max_words = 1, .run = cmd_profile_dump,
	  .options = profile_options, .help = "The files that one writes" },
	{ .name = "diff", .words = "PROFILE PROFILE", .min_words = 2, .max_words = 2,
	  .run = cmd_profile_diff, .options = profile_options,
	  .help = "How two of them differ; exit 1 when they do" },
	{ NULL },
};

static const struct ctl_option inject_options[] = {
	{ "dry-run", 0, NULL, "show the files, write none" },
	{ "label", 0, "KEY=VALUE", "a label of the Workload; repeatable" },
	{ "annotation", 0, "KEY=VALUE", "an annotation of it; repeatable" },
	{ "port", 0, "N[:NAME][/PROTOCOL]", "a port that it listens on; repeatable" },
	{ "address", 0, "IP", "where it listens (as found, else 127.0.0.1)" },
	{ "name", 0, "NAME", "of the Workload (by the unit's name)" },
	{ "service-account", 0, "NAME", "account of its identity (by the unit's name)" },
	{ "sidecar", 0, "FORM", "shared or dedicated" },
	{ "force", 0, NULL, "units that are better left alone, files changed by hand, too" },
	{ NULL },
};
static const struct ctl_option uninject_options[] = {
	{ "dry-run", 0, NULL, "show what would be removed" },
	{ "force", 0, NULL, "files that were changed by hand, too" },
	{ NULL },
};
static const struct ctl_option label_options[] = {
	{ "dry-run", 0, NULL, "show the file, write none" },
	{ "overwrite", 0, NULL, "a label that has another value, too" },
	{ NULL },
};

#define PROXY_USER_OPTION { "proxy-user", 0, "NAME", "the proxy runs as this user, besides kvmesh-proxy" }
static const struct ctl_option capture_options[] = {
	PROXY_USER_OPTION,
	{ NULL },
};
static const struct ctl_option capture_on_options[] = {
	{ "seconds", 0, "N", "it goes back after so long (60) unless confirmed" },
	{ "yes", 'y', NULL, "for good at once, without a trial" },
	PROXY_USER_OPTION,
	{ NULL },
};
static const struct ctl_command capture_commands[] = {
	{ .name = "status", .options = capture_options, .run = cmd_capture_status,
	  .help = "What is captured; exit 1 when the rules are not those that are wanted" },
	{ .name = "on", .options = capture_on_options, .run = cmd_capture_on,
	  .help = "Lead injected workloads through the proxy, on trial" },
	{ .name = "confirm", .options = capture_options, .run = cmd_capture_confirm,
	  .help = "Keep it, after a reboot too" },
	{ .name = "off", .options = capture_options, .run = cmd_capture_off,
	  .help = "Remove the rules, for good" },
	{ .name = "repair", .options = capture_options, .run = cmd_capture_repair,
	  .help = "Load what the configuration asks for once more" },
	{ NULL },
};

static const struct ctl_option certs_options[] = {
	{ "once", 0, NULL, "write them, tell the unit, and end" },
	{ NULL },
};

const struct ctl_command ctl_commands[] = {
	{ .name = "check", .category = "Health", .options = check_options, .run = cmd_check,
	  .help = "Is this node fit, and does the mesh on it work?" },
	{ .name = "status", .category = "Health", .words = "[COMPONENT]", .max_words = 1,
	  .run = cmd_status, .help = "Daemons and proxies on one screen" },
	{ .name = "proxy-status", .aliases = "ps", .category = "Health", .words = "[PROXY]",
	  .max_words = 1, .run = cmd_proxy_status, .help = "Which proxy runs which generation" },
	{ .name = "version", .category = "Health", .run = cmd_version,
	  .help = "Versions of kvmeshctl and the daemons" },

	{ .name = "analyze", .category = "Configuration", .words = "[FILE…|-]",
	  .max_words = WORDS_MAX, .options = analyze_options, .run = cmd_analyze,
	  .help = "Find mistakes in files, or in the configuration of this node" },
	{ .name = "validate", .aliases = "v", .category = "Configuration", .words = "-f FILE",
	  .max_words = WORDS_MAX, .options = validate_options, .run = cmd_validate,
	  .help = "Check syntax and fields of single files" },
	{ .name = "convert", .category = "Configuration", .words = "FILE…|-", .min_words = 1,
	  .max_words = WORDS_MAX, .options = convert_options, .run = cmd_convert,
	  .help = "Istio YAML to native syntax and back, without loss" },
	{ .name = "config", .category = "Configuration", .subs = config_commands,
	  .help = "Test, show, reload the configuration; its history" },
	{ .name = "get", .aliases = "list", .category = "Configuration", .words = "KIND|all [NAME]",
	  .min_words = 1, .max_words = 2, .run = cmd_get, .help = "Resources in force" },
	{ .name = "describe", .category = "Configuration", .subs = describe_commands,
	  .help = "All that concerns one service, workload or unit" },
	{ .name = "explain", .category = "Configuration",
	  .words = "[KIND[.FIELD…] | request SOURCE [METHOD] URL]", .max_words = 4,
	  .options = explain_options, .run = cmd_explain,
	  .help = "What a kind or field means; what happens to a request, and why" },

	{ .name = "authn", .category = "Security", .subs = authn_commands,
	  .help = "Mutual TLS between services" },
	{ .name = "authz", .category = "Security", .subs = authz_commands,
	  .help = "Who may call what" },
	{ .name = "compliance", .category = "Security", .subs = compliance_commands,
	  .help = "Proof for an auditor" },
	{ .name = "identity", .category = "Security", .words = "[WORKLOAD]", .max_words = 1,
	  .run = cmd_identity, .help = "Certificates in use; exit 1 when one has expired" },
	{ .name = "ca", .category = "Security", .subs = ca_commands,
	  .help = "The certificate authority of this node" },

	{ .name = "proxy-config", .aliases = "pc", .category = "Traffic",
	  .subs = proxy_config_commands, .help = "What a proxy really runs" },
	{ .name = "canary", .category = "Traffic",
	  .words = "[status|promote|abort] [SERVICE] [SUBSET=WEIGHT…]", .max_words = WORDS_MAX,
	  .options = canary_options, .run = cmd_canary,
	  .help = "Weights wanted and shares observed; change them in the file" },
	{ .name = "capture", .category = "Traffic", .subs = capture_commands,
	  .help = "Injected workloads' traffic through the proxy" },
	{ .name = "routes", .category = "Traffic", .words = "SERVICE", .min_words = 1,
	  .max_words = 1, .options = routes_options, .run = cmd_routes,
	  .help = "Where its requests go, and how that was" },
	{ .name = "edges", .category = "Traffic", .options = edges_options, .run = cmd_edges,
	  .help = "Who talks to whom, and is it secured" },

	{ .name = "inject", .category = "Units", .words = "UNIT…", .min_words = 1,
	  .max_words = WORDS_MAX, .options = inject_options, .run = cmd_inject,
	  .help = "Put a systemd unit into the mesh" },
	{ .name = "uninject", .category = "Units", .words = "UNIT…", .min_words = 1,
	  .max_words = WORDS_MAX, .options = uninject_options, .run = cmd_uninject,
	  .help = "Take it out again, without a trace" },
	{ .name = "check-inject", .category = "Units", .words = "[UNIT…]",
	  .max_words = WORDS_MAX, .run = cmd_check_inject,
	  .help = "Which units are injected, and why; exit 1 when one is not" },
	{ .name = "label", .category = "Units", .words = "namespace NAME KEY=VALUE…|KEY-…",
	  .min_words = 3, .max_words = WORDS_MAX, .options = label_options, .run = cmd_label,
	  .help = "Labels of a namespace: istio-injection=enabled injects its units" },

	{ .name = "install", .category = "Other", .options = install_options, .run = cmd_install,
	  .help = "Write a profile into /etc/kvmesh and run what it asks for" },
	{ .name = "upgrade", .category = "Other", .options = upgrade_options, .run = cmd_upgrade,
	  .help = "The installed programs take the place of the running ones" },
	{ .name = "profile", .category = "Other", .subs = profile_commands,
	  .help = "Presets of a node: list, show, compare" },
	{ .name = "bug-report", .category = "Other", .options = bug_report_options, .run = cmd_bug_report,
	  .help = "What a helper wants to know, in one archive, without keys and tokens" },
	{ .name = "run", .category = "Other", .options = run_options, .run = cmd_run,
	  .help = "The whole suite in the foreground, without systemd" },
	{ .name = "certs", .category = "Other", .words = "WORKLOAD", .min_words = 1, .max_words = 1,
	  .options = certs_options, .run = cmd_certs,
	  .help = "Keep the certificate of a workload in files; run by kvmesh-certs@.service" },
	{ .name = "completion", .category = "Other", .words = "bash", .min_words = 1,
	  .max_words = WORDS_MAX, .run = cmd_completion,
	  .help = "The script that completes command lines" },
	{ NULL },
};

int main(int argc, char **argv)
{
	struct ctl c = { 0 };
	int r;

	signal(SIGPIPE, SIG_IGN);
	arena_init(&c.arena, 64 << 10);
	r = ctl_args_parse(&c, argc, argv);
	if (r == 0) {
		print_open(&c);
		r = print_close(&c, c.command->run(&c));
	} else if (r < 0) {
		r = CTL_EXIT_OK;
	}
	model_free(c.model);
	arena_done(&c.arena);
	return r;
}
