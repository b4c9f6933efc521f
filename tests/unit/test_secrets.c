/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of the proxy's identities against a CA on a socket: first ones, renewals, outages,
 * new roots. */
#include "base/clock.h"
#include "fake_ca.h"
#include "proxy/secrets.h"
#include "unit.h"
#include "until.h"

#define ALPHA "spiffe://cluster.local/ns/default/sa/alpha"
#define BETA "spiffe://cluster.local/ns/default/sa/beta"

static char dir[] = "/tmp/kvmesh-secrets-XXXXXX";
static struct loop *loop;
static struct fake_ca ca;
static struct secrets *secrets;
static struct arena arena;
static unsigned n_changed;
static struct str ids[] = { { ALPHA, sizeof(ALPHA) - 1 }, { BETA, sizeof(BETA) - 1 } };
static const struct str_list one = { ids, 1 }, both = { ids, 2 };

static void on_changed(void *arg)
{
	(void)arg;
	n_changed++;
}

static void setup(bool with_ca)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	arena_init(&arena, 0);
	loop = loop_new();
	fake_ca_init(&ca, loop, dir);
	if (with_ca)
		fake_ca_start(&ca);
	secrets = secrets_new(loop, dir, "node", on_changed, NULL);
}

static void teardown(void)
{
	char path[128];

	secrets_free(secrets);
	fake_ca_done(&ca);
	loop_free(loop);
	arena_done(&arena);
	snprintf(path, sizeof(path), "%s/ca", dir);
	rmdir(path);
	rmdir(dir);
}

static bool are_live(void *arg)
{
	return secrets_are_live(secrets, arg);
}

static void wait_live(const struct str_list *l)
{
	struct str_list copy = *l;

	run_until(loop, are_live, &copy);
}

static struct tls_identity *identity(struct str id)
{
	return map_get(secrets_identities(secrets), id);
}

/* Serial of the current certificate, a copy. */
static char *serial(struct str id)
{
	return arena_strdup(&arena, tls_identity_serial(identity(id)));
}

static bool was_asked(void *arg)
{
	return ca.n_asked >= *(unsigned *)arg;
}
static bool was_signed(void *arg)
{
	return ca.n_signed >= *(unsigned *)arg;
}
static void wait_asked(unsigned n)
{
	run_until(loop, was_asked, &n);
}
static void wait_signed(unsigned n)
{
	run_until(loop, was_signed, &n);
}

static bool has_error(void *arg)
{
	struct doc *list = secrets_status(secrets, &arena);

	return list->n > 0 &&
	       str_find_str(doc_get_str(list->v[0], "error", STR("")), str_c(arg)) >= 0;
}

static void wait_error(const char *text)
{
	run_until(loop, has_error, arena_strdup(&arena, text));
}

START_TEST(identities_get_certificates)
{
	setup(true);
	ck_assert(!secrets_are_live(secrets, &both));
	secrets_want(secrets, &both);
	wait_live(&both);
	ck_assert_uint_gt(n_changed, 0);
	ck_assert_uint_eq(ca.n_signed, 2);
	unit_str_eq(tls_identity_spiffe(identity(ids[0])), ALPHA);
	struct doc *status = secrets_status(secrets, &arena);

	ck_assert_uint_eq(status->n, 2);
	unit_str_eq(doc_get_str(status->v[1], "spiffe", STR("")), BETA);
	unit_str_eq(doc_get_str(status->v[1], "serial", STR("")), serial(ids[1]));
	ck_assert(doc_get_str(status->v[0], "notAfter", STR("")).n > 0);
	ck_assert(!doc_get(status->v[0], STR("error")));
	teardown();
}
END_TEST

START_TEST(a_ca_that_comes_late_is_found)
{
	setup(false);
	secrets_want(secrets, &one);
	run_for(loop, 300000);
	ck_assert(!secrets_are_live(secrets, &one));
	fake_ca_start(&ca);
	wait_live(&one);
	teardown();
}
END_TEST

START_TEST(certificates_are_renewed_with_fresh_keys)
{
	setup(true);
	ca.life_s = 3;
	secrets_want(secrets, &one);
	wait_live(&one);
	char *first = serial(ids[0]);

	/* half of three seconds, again and again, and never a moment without a live one */
	while (ca.n_signed < 4) {
		run_for(loop, 10000);
		ck_assert(secrets_are_live(secrets, &one));
	}
	ck_assert_str_ne(first, serial(ids[0]));
	ck_assert_uint_eq(ca.n_same_key, 0);
	teardown();
}
END_TEST

START_TEST(renewal_waits_for_half_of_the_life)
{
	setup(true);
	ca.life_s = 3600;
	secrets_want(secrets, &one);
	wait_live(&one);
	run_for(loop, 500000);
	ck_assert_uint_eq(ca.n_asked, 1);
	teardown();
}
END_TEST

START_TEST(while_the_ca_refuses_the_old_one_stays)
{
	setup(true);
	ca.life_s = 4;
	secrets_want(secrets, &one);
	wait_live(&one);
	char *first = serial(ids[0]);

	ca.refuse = true;
	wait_error("not today");
	ck_assert_str_eq(first, serial(ids[0]));
	ca.refuse = false;
	wait_signed(2);
	wait_live(&one);
	teardown();
}
END_TEST

static bool is_expired(void *arg)
{
	(void)arg;
	return !secrets_are_live(secrets, &one);
}

START_TEST(an_expired_certificate_is_not_live_and_comes_back)
{
	setup(true);
	ca.life_s = 2;
	secrets_want(secrets, &one);
	wait_live(&one);
	fake_ca_stop(&ca);
	run_until(loop, is_expired, NULL);
	/* handshakes fail as expired, they do not fall back to anything */
	ck_assert_ptr_nonnull(identity(ids[0]));
	ca.life_s = 3600;
	fake_ca_start(&ca);
	wait_live(&one);
	teardown();
}
END_TEST

START_TEST(a_certificate_for_another_identity_is_refused)
{
	setup(true);
	ca.wrong_name = true;
	secrets_want(secrets, &one);
	wait_error("another identity");
	ck_assert_ptr_null(identity(ids[0]));
	ca.wrong_name = false;
	wait_live(&one);
	teardown();
}
END_TEST

START_TEST(a_certificate_that_is_over_is_refused)
{
	setup(true);
	ca.life_s = -10;
	secrets_want(secrets, &one);
	wait_error("not valid now");
	ca.life_s = 3600;
	wait_live(&one);
	teardown();
}
END_TEST

START_TEST(a_silent_ca_is_given_up)
{
	setup(true);
	ca.silent = true;
	secrets_want(secrets, &one);
	wait_asked(1);
	ca.silent = false;
	wait_live(&one);                /* after the five seconds that an answer may take */
	teardown();
}
END_TEST

START_TEST(a_new_trust_bundle_means_new_certificates)
{
	setup(true);
	secrets_want(secrets, &both);
	wait_live(&both);
	char *first = serial(ids[0]), *second = serial(ids[1]);
	unsigned changed = n_changed;

	fake_ca_new_trust(&ca);
	wait_signed(4);
	run_for(loop, 100000);
	ck_assert_str_ne(first, serial(ids[0]));
	ck_assert_str_ne(second, serial(ids[1]));
	ck_assert_uint_gt(n_changed, changed);
	/* the same bundle again, after a restart of the CA, is no news */
	fake_ca_stop(&ca);
	fake_ca_start(&ca);
	run_for(loop, 1500000);
	ck_assert_uint_eq(ca.n_signed, 4);
	teardown();
}
END_TEST

START_TEST(what_is_not_wanted_any_more_is_dropped)
{
	const struct str_list none = { NULL, 0 };

	setup(true);
	secrets_want(secrets, &both);
	wait_live(&both);
	secrets_want(secrets, &one);
	ck_assert_ptr_null(identity(ids[1]));
	ck_assert_ptr_nonnull(identity(ids[0]));
	ck_assert_uint_eq(secrets_status(secrets, &arena)->n, 1);
	secrets_want(secrets, &none);
	ck_assert_uint_eq(secrets_identities(secrets)->n, 0);
	teardown();
}
END_TEST

START_TEST(an_answer_for_what_was_dropped_is_ignored)
{
	const struct str_list none = { NULL, 0 };

	setup(true);
	ca.hold = true;
	secrets_want(secrets, &one);
	wait_asked(1);
	secrets_want(secrets, &none);
	secrets_want(secrets, &one);    /* wanted again while the old request is still open */
	ca.hold = false;
	fake_ca_release(&ca);
	wait_live(&one);
	ck_assert_uint_eq(ca.n_signed, 2);
	ck_assert_uint_eq(ca.n_same_key, 0);
	teardown();
}
END_TEST

START_TEST(many_identities_at_once)
{
	struct str many[60];
	struct str_list list = { many, 60 };

	setup(true);
	for (size_t i = 0; i < 60; i++)
		many[i] = arena_printf(&arena, "spiffe://cluster.local/ns/default/sa/s%zu", i);
	secrets_want(secrets, &list);
	wait_live(&list);
	ck_assert_uint_eq(ca.n_signed, 60);
	teardown();
}
END_TEST

/* ---- told to the CA ------------------------------------------------------------------------ */

static bool was_acked(void *arg)
{
	return ca.n_acks > *(unsigned *)arg;
}

/* What workers serve is what there is: as control does it after a publication. */
static void put_in_force(void)
{
	const struct secrets_mark m = secrets_mark(secrets);
	unsigned n = ca.n_acks;

	secrets_in_force(secrets, &m);
	run_until(loop, was_acked, &n);
}

static bool is_of_issuer(void *arg)
{
	return strcmp(secrets_mark(secrets).issuer, arg) == 0;
}

START_TEST(another_issuer_has_everything_renewed_and_the_ca_is_told)
{
	setup(true);
	ca.issuer = "first";
	secrets_want(secrets, &both);
	wait_live(&both);
	put_in_force();
	ck_assert_str_eq(ca.acked_issuer, "first");
	ck_assert_int_eq(ca.acked_generation, ca.generation);
	char *before = serial(ids[0]);

	ca.refuse = true;
	ca.issuer = "second";
	fake_ca_tell_all(&ca);
	wait_asked(3);
	/* Until all of them are of the new one it is not told. */
	ck_assert_str_eq(secrets_mark(secrets).issuer, "");
	put_in_force();
	ck_assert_str_eq(ca.acked_issuer, "");
	ca.refuse = false;
	run_until(loop, is_of_issuer, arena_strdup(&arena, "second"));
	ck_assert_str_ne(serial(ids[0]), before);
	put_in_force();
	ck_assert_str_eq(ca.acked_issuer, "second");
	teardown();
}
END_TEST

static bool is_revoked(void *arg)
{
	(void)arg;
	return secrets_is_revoked(secrets, ids[1]);
}

static bool is_back(void *arg)
{
	(void)arg;
	return !secrets_is_revoked(secrets, ids[1]) && identity(ids[1]);
}

START_TEST(a_revoked_identity_has_no_certificate_and_is_not_waited_for)
{
	setup(true);
	secrets_want(secrets, &both);
	wait_live(&both);
	char *other = serial(ids[0]);
	unsigned n = ca.n_signed;

	ca.revoked_id = BETA;
	ca.revision = 2;
	fake_ca_tell_all(&ca);
	run_until(loop, is_revoked, NULL);
	ck_assert_ptr_null(identity(ids[1]));
	ck_assert(secrets_are_live(secrets, &both));
	ck_assert_str_eq(serial(ids[0]), other);
	ck_assert_uint_eq(ca.n_signed, n);
	put_in_force();
	ck_assert_int_eq(ca.acked_revision, 2);
	ca.revoked_id = NULL;
	ca.revision = 3;
	fake_ca_tell_all(&ca);
	run_until(loop, is_back, NULL);
	teardown();
}
END_TEST

static bool is_another(void *arg)
{
	return strcmp(tls_identity_serial(identity(ids[0])), arg) != 0;
}

START_TEST(a_revoked_certificate_of_our_own_is_replaced)
{
	setup(true);
	secrets_want(secrets, &one);
	wait_live(&one);
	char *before = serial(ids[0]);

	ca.revoked_serial = before;
	ca.revision = 2;
	fake_ca_tell_all(&ca);
	run_until(loop, is_another, before);
	teardown();
}
END_TEST

UNIT_MAIN("secrets", identities_get_certificates, a_ca_that_comes_late_is_found,
	  certificates_are_renewed_with_fresh_keys, renewal_waits_for_half_of_the_life,
	  while_the_ca_refuses_the_old_one_stays, an_expired_certificate_is_not_live_and_comes_back,
	  a_certificate_for_another_identity_is_refused, a_certificate_that_is_over_is_refused,
	  a_silent_ca_is_given_up, a_new_trust_bundle_means_new_certificates,
	  what_is_not_wanted_any_more_is_dropped, an_answer_for_what_was_dropped_is_ignored,
	  many_identities_at_once, another_issuer_has_everything_renewed_and_the_ca_is_told,
	  a_revoked_identity_has_no_certificate_and_is_not_waited_for,
	  a_revoked_certificate_of_our_own_is_replaced)
