/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs: keeps the certificate of one workload in files, as long as it runs. Layer daemons/ctl. A
 * client of the CA like a proxy: the key is made here, only a request for a certificate travels, and
 * the stream of roots says when something is new. Under systemd it is kvmesh-certs@WORKLOAD.service,
 * by which the CA knows it.
 */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctl/certs.h"
#include "ctl/findings.h"
#include "ctl/systemctl.h"
#include "io/loop.h"
#include "io/sd.h"
#include "io/tls.h"
#include "ipc/daemon.h"
#include "ipc/ipc.h"

#define SECOND_US 1000000ull
#define AGAIN_MIN_US (1 * SECOND_US)
#define AGAIN_MAX_US (60 * SECOND_US)
#define TICK_US (SECOND_US / 2)
/* Exit codes of systemctl is-active. */
#define IS_INACTIVE 3
#define IS_UNKNOWN 4

struct certs {
	struct ctl *ctl;
	struct loop *loop;
	struct certs_place place;
	const char *spiffe, *reload, *signal;   /* reload NULL: nobody is told */
	struct ipc_client *roots, *sign;
	struct loop_timer tick;
	char *trust_domain, *bundle, *issuer;   /* as the CA said last; NULL not yet */
	int64_t generation;
	bool wanted, asking, once, told_ready;
	struct tls_key *key;                    /* of the request that is under way */
	char serial[64];                        /* of what was written; "" nothing yet */
	int64_t renew_s;
	uint64_t ask_at_us, ask_pause_us;       /* not before; doubled with every failure */
	bool tell;                              /* the unit has not been told of the present files */
	uint64_t tell_at_us, tell_pause_us;
	int code;
};

/* ---- telling the unit ---------------------------------------------------------------------- */

static bool tell_unit(struct certs *s)
{
	const char *const active[] = { "is-active", "--quiet", s->reload, NULL };
	const char *const reload[] = { "reload", s->reload, NULL };
	const char *const kill_[] = { "kill", "--kill-who=main", "--signal", s->signal, s->reload, NULL };

	struct str ignored;
	int state = systemctl_read(s->ctl, active, &ignored);

	/* Who is not there reads the files when it starts. */
	if (state == IS_INACTIVE || state == IS_UNKNOWN)
		return true;
	return state == 0 && systemctl_run(s->signal ? kill_ : reload);
}

static void slow_down(uint64_t *pause_us)
{
	*pause_us = *pause_us < AGAIN_MAX_US / 2 ? *pause_us * 2 : AGAIN_MAX_US;
}

static void tell_if_due(struct certs *s, uint64_t now_us)
{
	if (!s->tell || now_us < s->tell_at_us)
		return;
	s->tell = !tell_unit(s);
	if (!s->tell) {
		log_info("certs_told: %s", s->reload);
		return;
	}
	log_err("certs_untold: %s could not be told of its new certificate; again in %llu s", s->reload,
		(unsigned long long)(s->tell_pause_us / SECOND_US));
	s->tell_at_us = now_us + s->tell_pause_us;
	slow_down(&s->tell_pause_us);
	s->code = CTL_EXIT_NO;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* What a peer will see: certificate, key and trust belong together. */
static int judge(struct certs *s, struct str leaf, int64_t *ret_end_s, struct err *err)
{
	struct tls_trust *trust = NULL;
	struct tls_identity *id = NULL;
	int r = tls_trust_new(str_c(s->bundle), str_c(s->trust_domain), (uint64_t)s->generation, &trust, err);

	if (r == 0)
		r = tls_identity_new(s->key, leaf, trust, &id, err);
	if (r == 0) {
		s->key = NULL;
		*ret_end_s = tls_identity_not_after(id);
		snprintf(s->serial, sizeof(s->serial), "%s", tls_identity_serial(id));
	}
	tls_identity_unref(id);
	tls_trust_unref(trust);
	return r;
}

static int write_files(struct certs *s, const struct doc *p, struct err *err)
{
	int64_t now_s = clock_real_us() / (int64_t)SECOND_US, end_s = now_s;
	char *key = NULL;
	struct certs_set set = {
		.leaf = doc_get_str(p, "certificate", STR("")), .bundle = str_c(s->bundle),
		.issuer = doc_get_str(p, "issuer", STR("")),
	};
	int r = tls_key_pem(s->key, &key, err);

	if (r == 0)
		r = judge(s, set.leaf, &end_s, err);
	if (r == 0) {
		set.key = str_c(key);
		r = certs_write(&s->place, &set, err);
	}
	if (key)
		explicit_bzero(key, strlen(key));
	free(key);
	s->renew_s = now_s + (end_s - now_s) / 2;
	return r;
}

static void written(struct certs *s)
{
	log_info("certs_written: %s, serial %s, in %s", s->spiffe, s->serial, s->place.dir);
	s->wanted = false;
	s->ask_pause_us = AGAIN_MIN_US;
	s->tell = s->reload != NULL;
	s->tell_at_us = 0;
	s->tell_pause_us = AGAIN_MIN_US;
	s->code = CTL_EXIT_OK;
	tell_if_due(s, loop_now_us(s->loop));
	if (!s->told_ready)
		sd_ready("files in %s", s->place.dir);
	s->told_ready = true;
	if (s->once)
		loop_stop(s->loop);
}

/* ---- asking -------------------------------------------------------------------------------- */

static void failed(struct certs *s, const char *why)
{
	log_err("certs_failed: %s; again in %llu s", why,
		(unsigned long long)(s->ask_pause_us / SECOND_US));
	s->ask_at_us = loop_now_us(s->loop) + s->ask_pause_us;
	slow_down(&s->ask_pause_us);
	s->code = CTL_EXIT_NO;
	if (s->once)
		loop_stop(s->loop);
}

static void on_signed(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct certs *s = arg;
	struct err err = { 0 };

	(void)continues;
	s->asking = false;
	if (error_name)
		err_set(&err, KV_ERR_REFUSED, "%.*s",
			STR_ARG(doc_get_str(p, "message", str_c(error_name))));
	if (!error_name && write_files(s, p, &err) == 0)
		written(s);
	else
		failed(s, err.text);
	tls_key_free(s->key);
	s->key = NULL;
}

static void ask_if_due(struct certs *s, uint64_t now_us)
{
	char *csr = NULL;
	struct err err = { 0 };
	struct arena a;

	if (!s->wanted || s->asking || !s->bundle || now_us < s->ask_at_us ||
	    !ipc_client_is_connected(s->sign))
		return;
	int r = tls_key_new(&s->key, &err);

	if (r == 0)
		r = tls_key_csr(s->key, str_c(s->spiffe), &csr, &err);
	if (r < 0) {
		failed(s, err.text);
		return;
	}
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_str(&a, d, "csr", str_c(csr));
	doc_set_str(&a, d, "spiffe", str_c(s->spiffe));
	s->asking = true;
	ipc_client_call(s->sign, "Sign", d, false, on_signed, s);
	arena_done(&a);
	free(csr);
}

static bool holds(const struct doc *list, const char *word)
{
	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++)
		if (list->v[i]->kind == DOC_STR && str_eq(list->v[i]->s, str_c(word)))
			return true;
	return false;
}

static bool replace(char **have, struct str word)
{
	bool other = !*have || !str_eq(str_c(*have), word);

	free(*have);
	*have = kv_asprintf("%.*s", STR_ARG(word));
	return other;
}

static void on_roots(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct certs *s = arg;

	(void)continues;
	if (error_name)
		return;
	bool news = replace(&s->trust_domain, doc_get_str(p, "trustDomain", STR("")));

	news = replace(&s->bundle, doc_get_str(p, "bundle", STR(""))) || news;
	news = replace(&s->issuer, doc_get_str(p, "issuer", STR(""))) || news;
	s->generation = doc_get_int(p, "generation", 0);
	if (news || (s->serial[0] && holds(doc_get(p, STR("revokedSerials")), s->serial)))
		s->wanted = true;
	ask_if_due(s, loop_now_us(s->loop));
}

static void on_roots_connected(void *arg, bool connected)
{
	struct certs *s = arg;

	if (connected)
		ipc_client_call(s->roots, "Roots", NULL, true, on_roots, s);
}

static void on_sign_connected(void *arg, bool connected)
{
	struct certs *s = arg;

	if (connected)
		ask_if_due(s, loop_now_us(s->loop));
}

/* The clock of the wall decides: it may be set, and the machine may have slept. */
static void on_tick(void *arg)
{
	struct certs *s = arg;
	uint64_t now_us = loop_now_us(s->loop);

	if (s->serial[0] && clock_real_us() / (int64_t)SECOND_US >= s->renew_s)
		s->wanted = true;
	ask_if_due(s, now_us);
	tell_if_due(s, now_us);
	loop_timer_set(&s->tick, TICK_US);
}

/* ---- the command --------------------------------------------------------------------------- */

static const struct model_workload *find_workload(struct ctl *c, const struct model *m)
{
	struct str name = str_c(c->words[0]), ns = str_c(c->ns ? c->ns : "default");
	ptrdiff_t dot = str_find(name, '.');

	if (dot >= 0 && !c->ns) {
		ns = str_skip(name, (size_t)dot + 1);
		name = str_take(name, (size_t)dot);
	}
	const struct model_resource *r = model_find(m, MODEL_KIND_WORKLOAD, ns, name);

	return r ? model_as_workload(r) : NULL;
}

static const char *word_or_null(struct ctl *c, struct str s)
{
	return s.n > 0 ? arena_str(&c->arena, s).p : NULL;
}

static int configure(struct ctl *c, struct certs *s)
{
	struct model *m;
	struct err err = { 0 };
	int code = findings_load_or_fail(c, &m);

	if (code != CTL_EXIT_OK)
		return code;
	const struct model_workload *w = find_workload(c, m);

	if (!w)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no Workload '%s'", c->words[0]);
	if (!w->certificate)
		return ctl_fail(CTL_EXIT_CONFIG, "the Workload '%s' wants no files: it has no certificate = { }",
				c->words[0]);
	if (certs_place_of(w, c->run, &c->arena, &s->place, &err) < 0)
		return ctl_fail(CTL_EXIT_CONFIG, "%s", err.text);
	s->spiffe = arena_printf(&c->arena, "spiffe://%.*s/ns/%.*s/sa/%.*s",
				 STR_ARG(m->mesh.mesh.trustDomain), STR_ARG(w->r.ns),
				 STR_ARG(w->serviceAccount)).p;
	s->reload = word_or_null(c, w->certificate->reload);
	s->signal = word_or_null(c, w->certificate->signal);
	return CTL_EXIT_OK;
}

static void serve(struct ctl *c, struct certs *s)
{
	struct daemon_signals signals = { .loop = s->loop };

	daemon_on_signals(&signals);
	s->roots = ipc_client_new(s->loop, ctl_sock(c, "ca", "ca"));
	s->sign = ipc_client_new(s->loop, ctl_sock(c, "ca", "ca"));
	ipc_client_on_connect(s->roots, on_roots_connected, s);
	ipc_client_on_connect(s->sign, on_sign_connected, s);
	loop_timer_init(&s->tick, s->loop, on_tick, s);
	loop_timer_set(&s->tick, TICK_US);
	loop_run(s->loop);
	sd_stopping();
	loop_timer_done(&s->tick);
	ipc_client_free(s->roots);
	ipc_client_free(s->sign);
}

int cmd_certs(struct ctl *c)
{
	struct certs s = {
		.ctl = c, .wanted = true, .once = ctl_has(c, "once"), .ask_pause_us = AGAIN_MIN_US,
		.code = CTL_EXIT_OK,
	};
	int code = configure(c, &s);

	if (code != CTL_EXIT_OK)
		return code;
	daemon_protect_memory();
	log_init("kvmesh-certs");
	signal(SIGPIPE, SIG_IGN);
	s.loop = loop_new();
	serve(c, &s);
	loop_free(s.loop);
	tls_key_free(s.key);
	free(s.trust_domain);
	free(s.bundle);
	free(s.issuer);
	return s.once ? s.code : CTL_EXIT_OK;
}
