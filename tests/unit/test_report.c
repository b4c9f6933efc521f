/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signed compliance report from the CA to the verifier: one changed byte anywhere is found, in every
 * form; so is another signer, another purpose, another time.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ca/report.h"
#include "ctl/compliance_sign.h"
#include "io/tls.h"
#include "unit.h"

static bool is_user(uid_t uid, const char *name)
{
	(void)uid;
	(void)name;
	return false;
}

static char dir[] = "/tmp/kvmesh-test-report-XXXXXX";
static struct authority ca;
static struct arena arena;

static void open_ca(const char *trust_domain)
{
	const struct policy_rules rules = { .standalone = true, .own_uid = geteuid(), .is_user = is_user };
	struct err err = { 0 };
	struct doc *p = doc_new_map(&arena);
	bool changed;
	char *state;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_ge(asprintf(&state, "%s/ca", dir), 0);
	ck_assert_int_eq(fs_mkdir(state, 0700, &err), 0);
	free(state);
	ck_assert_msg(authority_open(dir, dir, &rules, clock_real_us(), &ca, &err) == 0, "%s", err.text);
	doc_set_int(&arena, p, "generation", 1);
	doc_set_str(&arena, p, "trustDomain", str_c(trust_domain));
	doc_set(&arena, p, "identities", doc_new_list(&arena));
	ck_assert_msg(authority_set_registry(&ca, p, clock_real_us(), &changed, &err) == 0, "%s",
		      err.text);
}

static void setup(void)
{
	struct err err = { 0 };

	arena_init(&arena, 0);
	ck_assert_int_eq(keystore_init(&err), 0);
	open_ca("cluster.local");
}

static void teardown(void)
{
	char command[64];

	authority_close(&ca);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
	arena_done(&arena);
}

static struct tls_statement sign(struct str sha256)
{
	const struct report_ask ask = { .sha256 = sha256, .uid = 7, .now_us = clock_real_us() };
	struct report_signed done;
	struct err err = { 0 };

	ck_assert_msg(report_sign(&ca, &ask, &arena, &done, &err) == 0, "%s", err.text);
	return done.statement;
}

/* What kvmeshctl compliance verify does with the file and the one beside it. */
static bool verifies(struct str file, struct str block)
{
	struct compliance_signed s;
	struct arena a;
	struct err err = { 0 };

	arena_init(&a, 0);
	bool ok = compliance_sign_parse(file, block, &a, &s) == COMPLIANCE_FORM_OK && s.is_signed &&
		  tls_statement_verify(&s.st, keystore_bundle(ca.keystore), &err) == 0;

	arena_done(&a);
	return ok;
}

/* Where case might not count another case, elsewhere another value: no byte can be another. */
static unsigned char other_than(char c)
{
	bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

	return (unsigned char)(c ^ (letter ? 0x20 : 0x01));
}

static void flip_each(struct str text, struct str other, bool text_is_block)
{
	char *p = arena_alloc(&arena, text.n);
	const struct str changed = str_from(p, text.n);

	memcpy(p, text.p, text.n);
	for (size_t i = 0; i < text.n; i++) {
		p[i] = (char)other_than(p[i]);
		ck_assert_msg(!(text_is_block ? verifies(other, changed) : verifies(changed, other)),
			      "byte %zu of %zu is not noticed: %.40s", i, text.n,
			      p + (i > 20 ? i - 20 : 0));
		p[i] = text.p[i];
	}
	ck_assert(text_is_block ? verifies(other, changed) : verifies(changed, other));
}

static struct doc *some_report(void)
{
	struct doc *d = doc_new_map(&arena), *edges = doc_set(&arena, d, "edges", doc_new_list(&arena));

	for (int i = 0; i < 3; i++) {
		struct doc *e = doc_add(&arena, edges, doc_new_map(&arena));

		doc_set_str(&arena, e, "source", STR("wéb \"a\"\n"));
		doc_set_int(&arena, e, "requests", 1000 + i);
		doc_set_real(&arena, e, "percent", 99.9998 + i);
		doc_set_bool(&arena, e, "egress", i == 1);
	}
	doc_set_str(&arena, d, "verdict", STR("COMPLIANT"));
	return d;
}

START_TEST(one_byte_of_json)
{
	setup();
	struct doc *r = some_report();
	struct str digest = compliance_sign_digest(doc_to_json(r, &arena, false), &arena);
	struct tls_statement st = sign(digest);

	flip_each(compliance_sign_json(r, digest, &st, &arena), STR(""), false);
	teardown();
}
END_TEST

static void one_byte_of_embedded(bool html)
{
	setup();
	const struct str body = html ? STR("<!doctype html>\n<p>fine</p>\n</html>\n")
				     : STR("VERDICT   COMPLIANT\nREPORT  sha256 7d\n");
	struct tls_statement st = sign(compliance_sign_digest(body, &arena));
	struct str block = compliance_sign_block(&st, html, &arena);

	struct str whole = arena_printf(&arena, "%.*s%.*s", STR_ARG(body), STR_ARG(block));

	flip_each(whole, STR(""), false);
	teardown();
}

START_TEST(one_byte_of_text)
{
	one_byte_of_embedded(false);
}
END_TEST

START_TEST(one_byte_of_html)
{
	one_byte_of_embedded(true);
}
END_TEST

START_TEST(one_byte_of_csv_and_of_what_is_beside_it)
{
	setup();
	const struct str body = STR("\"source\",\"requests\"\r\n\"web\",\"7\"\r\n");
	struct tls_statement st = sign(compliance_sign_digest(body, &arena));
	struct str block = compliance_sign_block(&st, false, &arena);

	flip_each(body, block, false);
	flip_each(block, body, true);
	teardown();
}
END_TEST

/* Nothing may be in front, behind, or taken away. */
START_TEST(more_or_less_of_it)
{
	setup();
	const struct str body = STR("VERDICT NON-COMPLIANT\n");
	struct tls_statement st = sign(compliance_sign_digest(body, &arena));
	struct str block = compliance_sign_block(&st, false, &arena);
	struct str whole = arena_printf(&arena, "%.*s%.*s", STR_ARG(body), STR_ARG(block));

	ck_assert(verifies(whole, STR("")));
	ck_assert(!verifies(arena_printf(&arena, "%.*s\n", STR_ARG(whole)), STR("")));
	ck_assert(!verifies(arena_printf(&arena, " %.*s", STR_ARG(whole)), STR("")));
	ck_assert(!verifies(arena_printf(&arena, "%.*s%.*s", STR_ARG(whole), STR_ARG(block)), STR("")));
	ck_assert(!verifies(block, STR("")));
	for (size_t n = 0; n < whole.n; n++)
		ck_assert(!verifies(str_take(whole, n), STR("")));
	teardown();
}
END_TEST

static bool is_refused(const struct tls_statement *st, struct str anchors, const char *why)
{
	struct err err = { 0 };
	int r = tls_statement_verify(st, anchors, &err);

	ck_assert_msg(r == KV_ERR_REFUSED && strstr(err.text, why), "%d: %s", r, err.text);
	return true;
}

START_TEST(another_time_another_name_another_anchor)
{
	setup();
	struct str bundle = arena_str(&arena, keystore_bundle(ca.keystore));
	struct str sha256 = compliance_sign_digest(STR("x"), &arena);
	struct tls_statement st = sign(sha256), x = st;
	struct err err = { 0 };

	ck_assert_int_eq(tls_statement_verify(&st, bundle, &err), 0);
	x.signed_at_us += 3600ll * 1000000;
	ck_assert(is_refused(&x, bundle, "at the time of signing"));
	x.signed_at_us = st.signed_at_us - 3600ll * 1000000;
	ck_assert(is_refused(&x, bundle, "at the time of signing"));
	x = st;
	x.signed_by = STR("spiffe://cluster.local/compliancf");
	ck_assert(is_refused(&x, bundle, "is not that of"));
	x = st;
	x.sha256 = compliance_sign_digest(STR("y"), &arena);
	ck_assert(is_refused(&x, bundle, "does not fit"));
	ck_assert_int_eq(tls_statement_verify(&st, STR("no PEM"), &err), KV_ERR_SCHEMA);
	/* The same names, made by somebody else. */
	authority_close(&ca);
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	open_ca("cluster.local");
	ck_assert(is_refused(&st, keystore_bundle(ca.keystore), "certificate"));
	teardown();
}
END_TEST

/* A workload's certificate of the same CA, and one by that name for TLS, vouch for nothing. */
START_TEST(certificates_for_tls_do_not_sign_reports)
{
	setup();
	struct tls_statement st = sign(compliance_sign_digest(STR("x"), &arena));
	struct tls_key *key;
	struct err err = { 0 };
	char *csr;
	struct authority_cert cert = { 0 };

	ck_assert_int_eq(tls_key_new(&key, &err), 0);
	ck_assert_int_eq(tls_key_csr(key, st.signed_by, &csr, &err), 0);
	const struct authority_ask ask = {
		.caller = { .unit = "", .executable = "" }, .csr = str_c(csr), .now_us = clock_real_us(),
	};
	const struct authority_grant grant = {
		.spiffe = st.signed_by, .proxy = STR(""), .life_us = 60000000,
	};

	ck_assert_int_eq(authority_sign(&ca, &ask, &grant, &cert, &err), 0);
	st.certificate = str_c(cert.pem);
	ck_assert(is_refused(&st, keystore_bundle(ca.keystore), "is not for documents"));
	free(cert.pem);
	free(csr);
	tls_key_free(key);
	teardown();
}
END_TEST

/* … and the other way round: the signer's certificate is none for a peer in TLS. */
START_TEST(the_signer_is_no_peer)
{
	setup();
	struct tls_statement st = sign(compliance_sign_digest(STR("x"), &arena));
	FILE *f;
	char path[128], command[512];

	snprintf(path, sizeof(path), "%s/x.pem", dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%.*s%.*s", STR_ARG(st.certificate), STR_ARG(st.chain));
	fclose(f);
	snprintf(command, sizeof(command),
		 "openssl verify -CAfile %s/ca/root-cert.pem -untrusted %s %s >/dev/null 2>&1", dir, path,
		 path);
	ck_assert_int_eq(system(command), 0);
	snprintf(command, sizeof(command),
		 "openssl verify -purpose sslclient -CAfile %s/ca/root-cert.pem -untrusted %s %s "
		 ">/dev/null 2>&1", dir, path, path);
	ck_assert_int_ne(system(command), 0);
	teardown();
}
END_TEST

START_TEST(what_is_no_digest_is_not_signed)
{
	setup();
	static const char *const bad[] = { "", "abc",
		"7D0E000000000000000000000000000000000000000000000000000000000000",
		"7d0e00000000000000000000000000000000000000000000000000000000000\n" };
	const int64_t before = ledger_count(ca.ledger);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct report_ask ask = { .sha256 = str_c(bad[i]), .now_us = clock_real_us() };
		struct report_signed done;
		struct err err = { 0 };

		ck_assert_int_eq(report_sign(&ca, &ask, &arena, &done, &err), KV_ERR_SCHEMA);
	}
	ck_assert_int_eq(ledger_count(ca.ledger), before);
	sign(compliance_sign_digest(STR("x"), &arena));
	ck_assert_int_eq(ledger_count(ca.ledger), before + 1);
	teardown();
}
END_TEST

UNIT_MAIN("report", one_byte_of_json, one_byte_of_text, one_byte_of_html,
	  one_byte_of_csv_and_of_what_is_beside_it, more_or_less_of_it,
	  another_time_another_name_another_anchor, certificates_for_tls_do_not_sign_reports,
	  the_signer_is_no_peer, what_is_no_digest_is_not_signed)
