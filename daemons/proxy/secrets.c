/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets: certificates by CSR, see secrets.h. Layer proxy; owns the connections to ca.sock.
 *
 * Time: what is due is kept in CLOCK_BOOTTIME, which also counts sleep, and one timerfd of that
 * clock wakes us. Validity is a matter of CLOCK_REALTIME; a second timerfd tells when somebody set
 * that clock, and then every certificate is looked at again (F12).
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/vec.h"
#include "ipc/ipc.h"
#include "proxy/secrets.h"

#define SECOND_US (1000u * 1000)
#define START_US (5 * SECOND_US)        /* so long a first certificate is asked for … */
#define START_STEP_US (100u * 1000)     /* … every so often */
#define BACKOFF_MIN_US (1 * SECOND_US)
#define BACKOFF_MAX_US (60 * SECOND_US)
#define ANSWER_US (5 * SECOND_US)       /* a CA that takes a request and never answers */
#define OPEN_REQUESTS_MAX 16
#define NEVER UINT64_MAX
#define ISSUER_MAX 65
#define REVOKED_MAX 100000             /* entries of a list; the CA keeps far fewer */
#define JUMP_US (60ll * SECOND_US)

struct secret {
	char *spiffe;
	struct tls_identity *id;        /* NULL: none yet */
	struct request *req;            /* NULL: none open */
	uint64_t wanted_boot_us, due_boot_us;
	int64_t due_real_us;            /* 0: none; the same moment by the other clock */
	uint64_t backoff_us;
	char *error;                    /* why the last try failed, NULL */
	char issuer[ISSUER_MAX];        /* who signed id, "" not told */
	bool revoked;                   /* by the CA: asks for nothing */
	bool keep;                      /* mark of secrets_want */
};

struct request {
	struct list node;
	struct secrets *s;
	struct secret *secret;          /* NULL: nobody wants it any more */
	struct tls_key *key;
	uint64_t sent_boot_us;
};

struct secrets {
	struct loop *loop;
	char *instance, *path;
	void (*changed)(void *arg);
	void *arg;
	struct ipc_client *sign, *roots;
	struct ipc_client *ack;         /* NULL: nothing to tell; its own, for an older CA closes it */
	struct tls_trust *trust;        /* NULL: the CA has not told it yet */
	uint64_t trust_generation;
	struct secrets_mark told;       /* by the CA; issuer: who signs now */
	struct secrets_mark in_force, acked;
	bool acking;
	struct map secrets;             /* SPIFFE ID → struct secret */
	struct map identities;          /* SPIFFE ID → struct tls_identity, for attach_new */
	struct list open;               /* struct request */
	size_t n_open;
	int boot_fd, real_fd;
	struct loop_fd boot_watch, real_watch;
	struct loop_timer roots_retry;
	struct loop_later tell;
	int64_t real_minus_boot_us;
	struct rng rng;
};

/* ---- time ---------------------------------------------------------------------------------- */

static void arm_boot(struct secrets *s, uint64_t at_us)
{
	struct itimerspec t = { .it_value = { .tv_sec = (time_t)(at_us / SECOND_US),
					      .tv_nsec = (long)(at_us % SECOND_US) * 1000 } };

	if (at_us == NEVER)
		t.it_value = (struct timespec){ 0 };
	else if (at_us == 0)
		t.it_value.tv_nsec = 1;
	if (timerfd_settime(s->boot_fd, TFD_TIMER_ABSTIME, &t, NULL) != 0)
		log_err("cannot set the timer of renewals: %s", strerror(errno));
}

/* A moment that never comes: only being cancelled by a change of the clock matters. */
static void arm_real(struct secrets *s)
{
	struct itimerspec t = { .it_value = { .tv_sec = INT32_MAX } };

	if (timerfd_settime(s->real_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &t, NULL) != 0)
		log_warn("changes of the clock are not noticed: %s", strerror(errno));
}

static int64_t real_minus_boot(void)
{
	return clock_real_us() - (int64_t)clock_boot_us();
}

static int64_t not_after_us(const struct secret *e)
{
	return tls_identity_not_after(e->id) * (int64_t)SECOND_US;
}

static bool is_valid(const struct tls_identity *id, int64_t now_real_us)
{
	return now_real_us >= tls_identity_not_before(id) * (int64_t)SECOND_US &&
	       now_real_us < tls_identity_not_after(id) * (int64_t)SECOND_US;
}

static bool is_live(const struct secret *e, int64_t now_real_us)
{
	return e->id && is_valid(e->id, now_real_us);
}

/* ---- telling the CA ------------------------------------------------------------------------ */

static bool is_same_mark(const struct secrets_mark *a, const struct secrets_mark *b)
{
	return a->generation == b->generation && a->revision == b->revision &&
	       strcmp(a->issuer, b->issuer) == 0;
}

static bool has_news(const struct secrets *s)
{
	return s->in_force.generation != 0 && !is_same_mark(&s->in_force, &s->acked);
}

static void on_acked(void *arg, const char *error_name, const struct doc *p, bool continues);

static void send_ack(struct secrets *s)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *p = doc_new_map(&a);

	doc_set_str(&a, p, "proxy", str_c(s->instance));
	doc_set_int(&a, p, "generation", s->in_force.generation);
	doc_set_int(&a, p, "revision", s->in_force.revision);
	doc_set_str(&a, p, "issuer", str_c(s->in_force.issuer));
	s->acking = true;
	s->acked = s->in_force;
	ipc_client_call(s->ack, "Ack", p, false, on_acked, s);
	arena_done(&a);
}

static void on_ack_connected(void *arg, bool connected)
{
	struct secrets *s = arg;

	if (connected && !s->acking)
		send_ack(s);
}

/* A connection for as long as there is something to tell: they are counted, and proxies are many. */
static void tell_ca(struct secrets *s)
{
	if (s->acking)
		return;
	if (!has_news(s)) {
		ipc_client_free(s->ack);
		s->ack = NULL;
	} else if (!s->ack) {
		s->ack = ipc_client_new(s->loop, s->path);
		ipc_client_on_connect(s->ack, on_ack_connected, s);
	} else if (ipc_client_is_connected(s->ack)) {
		send_ack(s);
	}
}

/*
 * Lost on the way: again, over the next connection. Refused (an older CA does not know the word): not
 * before the CA has something new to say.
 */
static void on_acked(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct secrets *s = arg;

	(void)continues;
	s->acking = false;
	if (error_name)
		log_debug("the CA does not take what is in force: %s: %.*s", error_name,
			  STR_ARG(doc_get_str(p, "message", STR(""))));
	if (error_name && strcmp(error_name, IPC_E_DISCONNECTED) == 0)
		s->acked = (struct secrets_mark){ 0 };
	else
		tell_ca(s);
}

struct secrets_mark secrets_mark(const struct secrets *s)
{
	struct secrets_mark m = s->told;

	for (struct map_entry *it = map_first(&s->secrets); it; it = map_next(&s->secrets, it)) {
		const struct secret *e = it->val;

		if (!e->revoked && (!e->id || strcmp(e->issuer, m.issuer) != 0))
			m.issuer[0] = '\0';
	}
	return m;
}

void secrets_in_force(struct secrets *s, const struct secrets_mark *m)
{
	s->in_force = *m;
	tell_ca(s);
}

/* ---- asking -------------------------------------------------------------------------------- */

static void request_free(struct request *q)
{
	if (q->secret)
		q->secret->req = NULL;
	q->s->n_open--;
	list_del(&q->node);
	tls_key_free(q->key);
	free(q);
}

static uint64_t jitter(struct secrets *s, uint64_t us)
{
	return us - us / 10 + rng_below(&s->rng, us / 5 + 1);
}

/* When to try again: quickly while starting, else doubling, but not beyond what is left of the
 * life. */
static uint64_t retry_after(struct secrets *s, struct secret *e, uint64_t now)
{
	int64_t left = e->id ? not_after_us(e) - clock_real_us() : 0;
	uint64_t wait;

	if (!e->id && now - e->wanted_boot_us < START_US)
		return START_STEP_US;
	wait = e->backoff_us;
	e->backoff_us = e->backoff_us * 2 < BACKOFF_MAX_US ? e->backoff_us * 2 : BACKOFF_MAX_US;
	if (left > 0 && wait > (uint64_t)left / 4)
		wait = (uint64_t)left / 4;
	return jitter(s, wait > BACKOFF_MIN_US ? wait : BACKOFF_MIN_US);
}

static void failed(struct secrets *s, struct secret *e, const char *why)
{
	uint64_t now = clock_boot_us();

	free(e->error);
	e->error = kv_strdup(why);
	e->due_real_us = 0;
	e->due_boot_us = now + retry_after(s, e, now);
	if (e->id || now - e->wanted_boot_us >= START_US)
		log_warn("no certificate for %s: %s", e->spiffe, why);
	else
		log_debug("no certificate for %s yet: %s", e->spiffe, why);
}

/* Half of what is left of its life, give or take a tenth of it. */
static void plan_renewal(struct secrets *s, struct secret *e)
{
	int64_t now = clock_real_us(), left = not_after_us(e) - now;
	int64_t wait = (int64_t)((double)left * (0.4 + 0.2 * rng_unit(&s->rng)));

	e->due_real_us = now + wait;
	e->due_boot_us = clock_boot_us() + (uint64_t)wait;
	e->backoff_us = BACKOFF_MIN_US;
}

static int accept_certificate(struct secrets *s, struct secret *e, struct request *q,
			      const struct doc *p, struct tls_identity **ret, struct err *err)
{
	struct str leaf = doc_get_str(p, "certificate", STR_NULL), chain = doc_get_str(p, "chain", STR(""));
	struct tls_identity *id;

	if (leaf.n == 0)
		return err_set(err, KV_ERR_PROTOCOL, "the CA's reply holds no certificate");
	_cleanup_free_ char *pem = kv_asprintf("%.*s%.*s", STR_ARG(leaf), STR_ARG(chain));
	int r = tls_identity_new(q->key, str_c(pem), s->trust, &id, err);

	if (r < 0)
		return r;
	q->key = NULL;
	if (!str_eq(tls_identity_spiffe(id), str_c(e->spiffe)))
		r = err_set(err, KV_ERR_PROTOCOL, "the CA signed another identity");
	else if (!is_valid(id, clock_real_us()))
		r = err_set(err, KV_ERR_PROTOCOL,
			    "the CA's certificate is not valid now: is a clock wrong?");
	if (r < 0) {
		tls_identity_unref(id);
		return r;
	}
	*ret = id;
	return 0;
}

static void use_certificate(struct secrets *s, struct secret *e, struct tls_identity *id,
			    struct str issuer)
{
	if (e->id)
		tls_identity_unref(e->id);
	e->id = id;
	snprintf(e->issuer, sizeof(e->issuer), "%.*s", STR_ARG(issuer));
	free(e->error);
	e->error = NULL;
	map_put(&s->identities, str_c(e->spiffe), id);
	plan_renewal(s, e);
	log_debug("certificate %s for %s", tls_identity_serial(id), e->spiffe);
	loop_later(s->loop, &s->tell);
}

static void run(struct secrets *s);

static void on_signed(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct request *q = arg;
	struct secrets *s = q->s;
	struct secret *e = q->secret;
	struct tls_identity *id;
	struct err err = { 0 };

	(void)continues;
	if (e && error_name)
		err_set(&err, KV_ERR_REFUSED, "%s: %.*s", error_name,
			STR_ARG(doc_get_str(p, "message", STR("the CA cannot be reached"))));
	else if (e)
		(void)accept_certificate(s, e, q, p, &id, &err);
	request_free(q);
	if (e && err.code == 0)
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): err.code is 0 only when accept_certificate has set id */
		use_certificate(s, e, id, doc_get_str(p, "issuer", STR("")));
	else if (e)
		failed(s, e, err.text);
	run(s);
}

static int send_csr(struct secrets *s, struct secret *e, struct err *err)
{
	struct request *q;
	struct tls_key *key;
	char *csr;
	int r = tls_key_new(&key, err);

	if (r < 0)
		return r;
	r = tls_key_csr(key, str_c(e->spiffe), &csr, err);
	if (r < 0) {
		tls_key_free(key);
		return r;
	}
	q = kv_zalloc(sizeof(*q));
	*q = (struct request){ .s = s, .secret = e, .key = key, .sent_boot_us = clock_boot_us() };
	list_push_back(&s->open, &q->node);
	s->n_open++;
	e->req = q;

	struct arena a;

	arena_init(&a, 0);
	struct doc *p = doc_new_map(&a);

	doc_set_str(&a, p, "csr", str_c(csr));
	doc_set_str(&a, p, "spiffe", str_c(e->spiffe));
	doc_set_str(&a, p, "proxy", str_c(s->instance));
	ipc_client_call(s->sign, "Sign", p, false, on_signed, q);
	arena_done(&a);
	free(csr);
	return 0;
}

static void on_sign_connected(void *arg, bool connected)
{
	if (connected)
		secrets_retry(arg);
}

static void connect_sign(struct secrets *s)
{
	s->sign = ipc_client_new(s->loop, s->path);
	ipc_client_on_connect(s->sign, on_sign_connected, s);
}

/*
 * The CA took a request and is silent: another connection, and all that were open on this one fail.
 */
static void give_up_open(struct secrets *s)
{
	ipc_client_free(s->sign);
	connect_sign(s);
	list_for_each_safe(it, &s->open) {
		struct request *q = list_entry(it, struct request, node);
		struct secret *e = q->secret;

		request_free(q);
		if (e)
			failed(s, e, "the CA does not answer");
	}
}

static uint64_t oldest_open_until(const struct secrets *s)
{
	if (list_is_empty(&s->open))
		return NEVER;
	return list_entry(s->open.next, struct request, node)->sent_boot_us + ANSWER_US;
}

static bool is_due(const struct secret *e, uint64_t now, int64_t now_real)
{
	if (e->req || e->revoked)
		return false;
	/* When the clock was set the other way of counting is right. */
	return now >= e->due_boot_us ||
	       (e->due_real_us > 0 && (now_real >= e->due_real_us || !is_live(e, now_real)));
}

/* Ask for everything that is due, and have us woken for the next. */
static void run(struct secrets *s)
{
	uint64_t now = clock_boot_us();
	int64_t now_real = clock_real_us();

	if (now >= oldest_open_until(s))
		give_up_open(s);
	uint64_t next = oldest_open_until(s);

	for (struct map_entry *m = map_first(&s->secrets); m && s->trust;
	     m = map_next(&s->secrets, m)) {
		struct secret *e = m->val;
		struct err err = { 0 };

		if (is_due(e, now, now_real) && s->n_open < OPEN_REQUESTS_MAX &&
		    send_csr(s, e, &err) < 0)
			failed(s, e, err.text);
		/* What waits for an open request to end is looked at when it ends. */
		if (!e->req && !e->revoked && e->due_boot_us > now && e->due_boot_us < next)
			next = e->due_boot_us;
	}
	arm_boot(s, next < oldest_open_until(s) ? next : oldest_open_until(s));
}

static void on_boot_timer(void *arg, unsigned what)
{
	struct secrets *s = arg;
	uint64_t ticks;

	(void)what;
	if (read(s->boot_fd, &ticks, sizeof(ticks)) == (ssize_t)sizeof(ticks))
		run(s);
}

static void on_clock_set(void *arg, unsigned what)
{
	struct secrets *s = arg;
	int64_t offset = real_minus_boot(), jump = offset - s->real_minus_boot_us;
	uint64_t ticks;

	(void)what;
	(void)!read(s->real_fd, &ticks, sizeof(ticks));         /* ECANCELED: that is the news */
	s->real_minus_boot_us = offset;
	arm_real(s);
	if (jump > JUMP_US || jump < -JUMP_US)
		log_warn("the clock was set by %lld s", (long long)(jump / (int64_t)SECOND_US));
	run(s);
}

/* ---- the trust bundle ---------------------------------------------------------------------- */

struct tls_trust *secrets_trust(const struct secrets *s)
{
	return s->trust;
}

/* The anchors do not vouch for it any more: it serves as it is until there is another one. */
static void follow_trust(struct secrets *s, struct secret *e)
{
	struct tls_identity *id;
	struct err err = { 0 };

	if (!e->id)
		return;
	if (tls_identity_retrust(e->id, s->trust, &id, &err) < 0) {
		log_warn("the certificate of %s cannot follow the trust bundle: %s", e->spiffe,
			 err.text);
		e->due_boot_us = 0;
		return;
	}
	tls_identity_unref(e->id);
	e->id = id;
	map_put(&s->identities, str_c(e->spiffe), id);
}

static void drop_certificate(struct secrets *s, struct secret *e)
{
	(void)map_del(&s->identities, str_c(e->spiffe));
	if (e->id)
		tls_identity_unref(e->id);
	e->id = NULL;
	e->issuer[0] = '\0';
	free(e->error);
	e->error = kv_strdup("the CA has revoked this identity");
}

/* Our own identities: one that is revoked goes, a certificate that is revoked is replaced. */
static void follow_revoked(struct secrets *s, struct secret *e)
{
	bool revoked = tls_trust_revokes(s->trust, str_c(e->spiffe));

	if (e->id && tls_trust_revokes(s->trust, str_c(tls_identity_serial(e->id))))
		e->due_boot_us = 0;
	if (revoked && !e->revoked)
		drop_certificate(s, e);
	if (!revoked && e->revoked) {
		free(e->error);
		e->error = NULL;
		e->due_boot_us = 0;
	}
	e->revoked = revoked;
}

/* Of the list in the CA's word: the strings stay the document's. */
static struct str_list texts_of(struct arena *a, const struct doc *list)
{
	struct str_list l = { 0 };

	if (!list || list->kind != DOC_LIST || list->n > REVOKED_MAX)
		return l;
	l.v = arena_new_n(a, struct str, list->n);
	for (size_t i = 0; i < list->n; i++)
		if (list->v[i]->kind == DOC_STR)
			l.v[l.n++] = list->v[i]->s;
	return l;
}

static int make_trust(const struct doc *p, uint64_t generation, struct tls_trust **ret,
		      struct err *err)
{
	struct str bundle = doc_get_str(p, "bundle", STR_NULL);
	struct arena a;

	if (bundle.n == 0)
		return err_set(err, KV_ERR_PROTOCOL, "it is empty");
	int r = tls_trust_new(bundle, doc_get_str(p, "trustDomain", STR_NULL), generation, ret,
			      err);

	if (r < 0)
		return r;
	arena_init(&a, 0);
	const struct str_list serials = texts_of(&a, doc_get(p, STR("revokedSerials")));
	const struct str_list ids = texts_of(&a, doc_get(p, STR("revokedIds")));

	tls_trust_revoke(*ret, &(struct tls_revoked){ .serials = serials.v,
						      .n_serials = serials.n,
						      .ids = ids.v,
						      .n_ids = ids.n });
	arena_done(&a);
	return 0;
}

/* Of the content too: a CA that was set up anew counts from the start again. */
static uint64_t generation_of(const struct doc *p)
{
	struct str bundle = doc_get_str(p, "bundle", STR(""));
	uint64_t seed = (uint64_t)doc_get_int(p, "generation", 0) ^
			(uint64_t)doc_get_int(p, "revision", 0) << 1;

	return hash_bytes(bundle.p, bundle.n, seed) ^
	       hash_str(doc_get_str(p, "trustDomain", STR("")));
}

/* Identities carry the anchors they verify peers against: other anchors, other identities. */
static void use_trust(struct secrets *s, struct tls_trust *trust, const struct doc *p)
{
	if (s->trust)
		tls_trust_unref(s->trust);
	s->trust = trust;
	s->trust_generation = generation_of(p);
	for (struct map_entry *m = map_first(&s->secrets); m; m = map_next(&s->secrets, m)) {
		follow_revoked(s, m->val);
		follow_trust(s, m->val);
	}
	loop_later(s->loop, &s->tell);
}

/* Another one signs: everything that the one before has signed is asked for anew. */
static void use_issuer(struct secrets *s)
{
	for (struct map_entry *m = map_first(&s->secrets); m; m = map_next(&s->secrets, m)) {
		struct secret *e = m->val;

		if (e->id && strcmp(e->issuer, s->told.issuer) != 0)
			e->due_boot_us = 0;
	}
}

static void take_roots(struct secrets *s, const struct doc *p)
{
	struct secrets_mark told = {
		.generation = doc_get_int(p, "generation", 0),
		.revision = doc_get_int(p, "revision", 0),
	};
	uint64_t generation = generation_of(p);
	struct tls_trust *trust;
	struct err err = { 0 };

	snprintf(told.issuer, sizeof(told.issuer), "%.*s",
		 STR_ARG(doc_get_str(p, "issuer", STR(""))));
	bool is_new = !s->trust || generation != s->trust_generation;

	if (is_new && make_trust(p, generation, &trust, &err) < 0) {
		log_err("the CA's trust bundle cannot be used, the one before stays: %s", err.text);
		return;
	}
	bool other_issuer = strcmp(told.issuer, s->told.issuer) != 0;

	s->told = told;
	if (is_new)
		use_trust(s, trust, p);
	if (other_issuer)
		use_issuer(s);
	run(s);
}

static void on_roots(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct secrets *s = arg;

	if (!continues)
		loop_timer_set(&s->roots_retry, s->trust ? SECOND_US : START_STEP_US);
	if (error_name)
		log_debug("trust bundle: %s: %.*s", error_name,
			  STR_ARG(doc_get_str(p, "message", STR(""))));
	else
		take_roots(s, p);
}

static void ask_roots(void *arg)
{
	struct secrets *s = arg;

	if (ipc_client_is_connected(s->roots))
		ipc_client_call(s->roots, "Roots", NULL, true, on_roots, s);
}

static void on_roots_connected(void *arg, bool connected)
{
	struct secrets *s = arg;

	loop_timer_stop(&s->roots_retry);
	/* Another CA process knows nothing of what the one before was told. */
	s->acked = (struct secrets_mark){ 0 };
	if (!connected)
		return;
	ask_roots(s);
	tell_ca(s);
}

/* ---- what is wanted ------------------------------------------------------------------------ */

static void secret_free(struct secrets *s, struct secret *e)
{
	if (e->req)
		e->req->secret = NULL;  /* its answer is dropped */
	(void)map_del(&s->identities, str_c(e->spiffe));
	if (e->id)
		tls_identity_unref(e->id);
	free(e->error);
	free(e->spiffe);
	free(e);
}

static void add_wanted(struct secrets *s, struct str id)
{
	struct secret *e = map_get(&s->secrets, id);

	if (!e) {
		e = kv_zalloc(sizeof(*e));
		e->spiffe = kv_asprintf("%.*s", STR_ARG(id));
		e->wanted_boot_us = clock_boot_us();
		e->backoff_us = BACKOFF_MIN_US;
		if (s->trust)
			follow_revoked(s, e);
		map_put(&s->secrets, str_c(e->spiffe), e);
	}
	e->keep = true;
}

void secrets_want(struct secrets *s, const struct str_list *ids)
{
	struct secret **gone = NULL;
	size_t n = 0, cap = 0;

	for (size_t i = 0; i < ids->n; i++)
		add_wanted(s, ids->v[i]);
	for (struct map_entry *m = map_first(&s->secrets); m; m = map_next(&s->secrets, m)) {
		struct secret *e = m->val;

		if (!e->keep)
			*vec_push(gone, n, cap) = e;
		e->keep = false;
	}
	for (size_t i = 0; i < n; i++) {
		(void)map_del(&s->secrets, str_c(gone[i]->spiffe));
		secret_free(s, gone[i]);
	}
	free(gone);
	run(s);
}

const struct map *secrets_identities(const struct secrets *s)
{
	return &s->identities;
}

bool secrets_are_live(const struct secrets *s, const struct str_list *ids)
{
	int64_t now = clock_real_us();

	for (size_t i = 0; i < ids->n; i++) {
		const struct secret *e = map_get(&s->secrets, ids->v[i]);

		if (!e || (!e->revoked && !is_live(e, now)))
			return false;
	}
	return true;
}

bool secrets_is_revoked(const struct secrets *s, struct str id)
{
	const struct secret *e = map_get(&s->secrets, id);

	return e && e->revoked;
}

void secrets_retry(struct secrets *s)
{
	for (struct map_entry *m = map_first(&s->secrets); m; m = map_next(&s->secrets, m)) {
		struct secret *e = m->val;

		if (e->error)
			e->due_boot_us = 0;
	}
	run(s);
}

struct doc *secrets_status(const struct secrets *s, struct arena *a)
{
	struct doc *list = doc_new_list(a);
	char when[CLOCK_RFC3339_MAX];

	for (struct map_entry *m = map_first(&s->secrets); m; m = map_next(&s->secrets, m)) {
		const struct secret *e = m->val;
		struct doc *d = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, d, "spiffe", str_c(e->spiffe));
		if (e->id) {
			doc_set_str(a, d, "serial", str_c(tls_identity_serial(e->id)));
			clock_rfc3339(tls_identity_not_before(e->id) * (int64_t)SECOND_US, when);
			doc_set_str(a, d, "notBefore", str_c(when));
			clock_rfc3339(not_after_us(e), when);
			doc_set_str(a, d, "notAfter", str_c(when));
		}
		if (e->error)
			doc_set_str(a, d, "error", str_c(e->error));
	}
	return list;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void tell_changed(void *arg)
{
	struct secrets *s = arg;

	s->changed(s->arg);
}

struct secrets *secrets_new(struct loop *l, const char *run_dir, const char *instance,
			    void (*changed)(void *arg), void *arg)
{
	struct secrets *s = kv_zalloc(sizeof(*s));

	s->loop = l;
	s->instance = kv_strdup(instance);
	s->path = kv_asprintf("%s/ca/ca.sock", run_dir);
	s->changed = changed;
	s->arg = arg;
	list_init(&s->open);
	map_init(&s->secrets);
	map_init(&s->identities);
	rng_init_random(&s->rng);
	s->real_minus_boot_us = real_minus_boot();
	s->boot_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	s->real_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	kv_assert(s->boot_fd >= 0 && s->real_fd >= 0);
	loop_fd_init(&s->boot_watch, l, s->boot_fd, LOOP_READ, on_boot_timer, s);
	loop_fd_init(&s->real_watch, l, s->real_fd, LOOP_READ, on_clock_set, s);
	arm_real(s);
	loop_timer_init(&s->roots_retry, l, ask_roots, s);
	loop_later_init(&s->tell, tell_changed, s);
	connect_sign(s);
	s->roots = ipc_client_new(l, s->path);
	ipc_client_on_connect(s->roots, on_roots_connected, s);
	return s;
}

void secrets_free(struct secrets *s)
{
	if (!s)
		return;
	ipc_client_free(s->sign);
	ipc_client_free(s->roots);
	ipc_client_free(s->ack);
	list_for_each_safe(it, &s->open)
		request_free(list_entry(it, struct request, node));
	for (struct map_entry *m = map_first(&s->secrets); m; m = map_next(&s->secrets, m))
		secret_free(s, m->val);
	map_done(&s->secrets);
	map_done(&s->identities);
	loop_fd_done(&s->boot_watch);
	loop_fd_done(&s->real_watch);
	close(s->boot_fd);
	close(s->real_fd);
	loop_timer_done(&s->roots_retry);
	loop_later_done(&s->tell);
	if (s->trust)
		tls_trust_unref(s->trust);
	free(s->instance);
	free(s->path);
	free(s);
}
