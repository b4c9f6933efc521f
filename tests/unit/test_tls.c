/* SPDX-License-Identifier: Apache-2.0 */
/* tls: sessions between two mesh peers: handshakes, data, ends, resumption. */
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"

#include "tls_unit.h"

#define A "spiffe://cluster.local/ns/default/sa/a"
#define B "spiffe://cluster.local/ns/default/sa/b"
#define C "spiffe://cluster.local/ns/default/sa/c"

static const char *const h2[] = { "h2", "http/1.1", NULL };
static const char *const h1[] = { "http/1.1", NULL };
static const char *const tcp[] = { "kvmesh-tcp", NULL };

static struct pki_ca *root, *sub;
static struct tls_trust *trust;
static struct tls_identity *a, *b;

/*
 * The node as it is shipped: roots and intermediates are anchors, leaves come from an intermediate.
 */
static void start(void)
{
	root = pki_root();
	sub = pki_sub(root, "critical,permitted;URI:cluster.local");
	trust = pki_trust(1, root, sub, NULL);
	a = pki_identity(sub, trust, A);
	b = pki_identity(sub, trust, B);
}

static void end(void)
{
	tls_identity_unref(a);
	tls_identity_unref(b);
	tls_trust_unref(trust);
	pki_ca_free(root);
	pki_ca_free(sub);
}

static struct tls_identity *pick(void *arg, struct str sni)
{
	return str_eq(sni, STR("nobody")) ? NULL : arg;
}

static void dial(struct wire *w, struct tls_identity *client, struct tls_identity *server,
		 const char *want, const char *key)
{
	struct str id = str_c(want);

	wire_init(w,
		  tls_client_new(client, "outbound_.80_._.b.default.svc.cluster.local", h2, &id, 1,
				 str_c(key)),
		  tls_server_new(pick, server, h2));
	wire_shake(w, 0);
}

/* ---- handshakes ---------------------------------------------------------- */

START_TEST(both_prove_who_they_are)
{
	struct wire w;

	start();
	dial(&w, a, b, B, "");
	wire_ok(&w);
	const struct tls_facts *c = tls_facts(w.client), *s = tls_facts(w.server);

	ck_assert_str_eq(c->version, "TLSv1.3");
	ck_assert_str_eq(s->cipher, c->cipher);
	ck_assert(strcmp(c->cipher, "TLS_AES_128_GCM_SHA256") == 0 ||
		  strcmp(c->cipher, "TLS_CHACHA20_POLY1305_SHA256") == 0);
	unit_str_eq(c->alpn, "h2");
	unit_str_eq(s->alpn, "h2");
	unit_str_eq(s->sni, "outbound_.80_._.b.default.svc.cluster.local");
	unit_str_eq(c->sni, "outbound_.80_._.b.default.svc.cluster.local");
	unit_str_eq(c->peer_spiffe, B);
	unit_str_eq(c->own_spiffe, A);
	unit_str_eq(s->peer_spiffe, A);
	unit_str_eq(s->own_spiffe, B);
	ck_assert(c->mutual && s->mutual && !c->resumed && !s->resumed);
	ck_assert_uint_eq(strlen(s->peer_cert_sha256), 64);
	ck_assert_str_ne(s->peer_cert_sha256, c->peer_cert_sha256);
	ck_assert_str_eq(s->peer_subject, "");
	wire_tickets(&w);
	wire_say(&w, true, "question");
	wire_say(&w, false, "answer");
	ck_assert_str_eq(tls_error(w.client), "");
	ck_assert_str_eq(tls_error_reason(w.client), "");
	wire_close(&w);
	end();
}
END_TEST

START_TEST(one_certificate_goes_over_the_wire)
{
	struct wire w;
	struct str id = STR(B);

	start();
	wire_init(&w, tls_client_new(a, "x", h2, &id, 1, STR("")), tls_server_new(pick, b, h2));
	tls_handshake(w.client, &w.down, &w.up);
	tls_handshake(w.server, &w.up, &w.down);
	/* Hello, one leaf of some 600 bytes, signature, finished. */
	ck_assert_uint_lt(w.down.n, 1300);
	wire_shake(&w, 0);
	wire_ok(&w);
	wire_close(&w);
	end();
}
END_TEST

START_TEST(bytes_may_trickle)
{
	struct wire w;
	struct str id = STR(B);

	start();
	for (size_t step = 1; step < 200; step += 61) {
		wire_init(&w, tls_client_new(a, "x", h2, &id, 1, STR("")),
			  tls_server_new(pick, b, h2));
		wire_shake(&w, step);
		wire_ok(&w);
		wire_tickets(&w);
		wire_say(&w, true, "hello");
		wire_close(&w);
	}
	end();
}
END_TEST

static void chosen(const char *const *client, const char *const *server, const char *want)
{
	struct wire w;
	struct str id = STR(B);

	wire_init(&w, tls_client_new(a, "x", client, &id, 1, STR("")),
		  tls_server_new(pick, b, server));
	wire_shake(&w, 0);
	if (want) {
		wire_ok(&w);
		unit_str_eq(tls_facts(w.client)->alpn, want);
		unit_str_eq(tls_facts(w.server)->alpn, want);
	} else {
		ck_assert_int_eq(w.server_result, TLS_FAILED);
		ck_assert_str_eq(tls_error_reason(w.server), "handshake");
		ck_assert_int_eq(w.client_result, TLS_FAILED);
		ck_assert_str_eq(tls_error_reason(w.client), "peer_alert");
	}
	wire_close(&w);
}

START_TEST(protocols)
{
	start();
	chosen(h2, h2, "h2");
	chosen(h1, h2, "http/1.1");
	chosen(h2, h1, "http/1.1");
	chosen(NULL, h2, "");
	chosen(h2, NULL, "");
	chosen(tcp, h2, NULL);
	end();
}
END_TEST

START_TEST(nobody_behind_that_name)
{
	struct wire w;
	struct str id = STR(B);

	start();
	wire_init(&w, tls_client_new(a, "nobody", h2, &id, 1, STR("")),
		  tls_server_new(pick, b, h2));
	wire_shake(&w, 0);
	ck_assert_int_eq(w.server_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.server), "unrecognized_name");
	ck_assert_str_eq(tls_error(w.server), "unrecognized_name: nobody here is called 'nobody'");
	ck_assert_int_eq(w.client_result, TLS_FAILED);
	ck_assert_msg(strstr(tls_error(w.client), "unrecognized name"), "%s", tls_error(w.client));
	wire_done(&w);
	end();
}
END_TEST

START_TEST(the_server_must_be_the_one_wanted)
{
	struct wire w;
	struct str some[] = { STR(C), STR(B) };

	start();
	dial(&w, a, b, C, "");
	ck_assert_int_eq(w.client_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.client), "unexpected_peer");
	ck_assert_msg(strstr(tls_error(w.client), B) && strstr(tls_error(w.client), C), "%s",
		      tls_error(w.client));
	ck_assert_int_eq(w.server_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.server), "peer_alert");
	wire_done(&w);
	wire_init(&w, tls_client_new(a, "x", h2, some, 2, STR("")), tls_server_new(pick, b, h2));
	wire_shake(&w, 0);
	wire_ok(&w);
	wire_close(&w);
	end();
}
END_TEST

START_TEST(another_mesh_is_not_trusted)
{
	struct pki_ca *other_root;
	struct tls_trust *other;
	struct tls_identity *stranger;
	struct wire w;

	start();
	other_root = pki_root();
	other = pki_trust(1, other_root, NULL);
	stranger = pki_identity(other_root, other, B);
	dial(&w, a, stranger, B, "");
	ck_assert_int_eq(w.client_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.client), "unknown_ca");
	wire_done(&w);
	tls_identity_unref(stranger);
	tls_trust_unref(other);
	pki_ca_free(other_root);
	end();
}
END_TEST

/* ---- data ---------------------------------------------------------------- */

static void fill(struct buf *to, struct rng *r, size_t n)
{
	while (n > 0) {
		char piece[40000];
		size_t now = 1 + rng_below(r, sizeof(piece));

		if (now > n)
			now = n;
		for (size_t i = 0; i < now; i++)
			piece[i] = (char)rng_next(r);
		buf_append(to, piece, now);
		n -= now;
	}
}

static void same_bytes(struct buf *x, struct rng *r, size_t n)
{
	struct buf want = { 0 };

	fill(&want, r, n);
	ck_assert_uint_eq(x->n, n);
	ck_assert_int_eq(memcmp(buf_pullup(x, n).p, buf_pullup(&want, n).p, n), 0);
	buf_done(&want);
}

START_TEST(records_are_full)
{
	struct wire w;
	struct buf plain = { 0 };
	struct rng r, again;
	size_t n = 64 * 16384;

	start();
	rng_init(&r, 1);
	again = r;
	dial(&w, a, b, B, "");
	wire_ok(&w);
	wire_tickets(&w);
	fill(&plain, &r, n);
	ck_assert_int_eq(tls_encrypt(w.client, &plain, &w.up), TLS_OK);
	ck_assert_uint_eq(w.up.n, n + 64 * 22);          /* header 5, type 1, tag 16 */
	while (w.up.n > 0) {
		size_t before = plain.n;

		ck_assert_int_eq(tls_decrypt(w.server, &w.up, &plain, 128 << 10, &w.down), TLS_OK);
		ck_assert_uint_le(plain.n - before, 128 << 10);
	}
	same_bytes(&plain, &again, n);
	buf_done(&plain);
	wire_close(&w);
	end();
}
END_TEST

/* A frame's head and body that fill a record make one each, whatever small piece came first. */
START_TEST(large_pieces_have_their_own_records)
{
	static const char body[16384];
	struct wire w;
	struct buf plain = { 0 }, piece;
	size_t bytes = 100 + 3 * sizeof(body);

	start();
	dial(&w, a, b, B, "");
	wire_ok(&w);
	wire_tickets(&w);
	buf_append(&plain, body, 100);
	for (int i = 0; i < 3; i++) {
		buf_init(&piece);
		buf_append(&piece, body, sizeof(body));
		buf_move(&plain, &piece);
	}
	ck_assert_int_eq(tls_encrypt(w.client, &plain, &w.up), TLS_OK);
	ck_assert_uint_eq(w.up.n, bytes + 4 * 22);
	while (w.up.n > 0)
		ck_assert_int_eq(tls_decrypt(w.server, &w.up, &plain, 128 << 10, &w.down), TLS_OK);
	ck_assert_uint_eq(plain.n, bytes);
	/* And come out so. */
	struct iovec iov[8];
	int n = buf_iov(&plain, iov, 8);

	ck_assert_uint_eq(iov[n - 1].iov_len, sizeof(body));
	buf_done(&plain);
	wire_close(&w);
	end();
}
END_TEST

/* Pieces of any size, cut anywhere on the way, both directions at once. */
START_TEST(large_transfers_in_any_pieces)
{
	struct wire w;
	struct buf got = { 0 }, out = { 0 }, part = { 0 };
	struct rng r, content, again;
	size_t sent = 0, total = 3u << 20;

	start();
	rng_init(&r, 5);
	rng_init(&content, 9);
	again = content;
	dial(&w, a, b, B, "");
	wire_ok(&w);
	fill(&out, &content, total);
	while (got.n < total) {
		struct buf plain = { 0 };
		size_t n = rng_below(&r, 50000);

		if (n > total - sent)
			n = total - sent;
		buf_move_n(&plain, &out, n);
		sent += n;
		ck_assert_int_eq(tls_encrypt(w.server, &plain, &w.down), TLS_OK);
		n = rng_below(&r, 70000);
		buf_move_n(&part, &w.down, n < w.down.n ? n : w.down.n);
		do {
			enum tls_result res =
				tls_decrypt(w.client, &part, &got, 1 + rng_below(&r, 30000), &w.up);

			ck_assert(res == TLS_OK || res == TLS_AGAIN);
		} while (tls_has_pending(w.client) || part.n > 0);
		wire_say(&w, true, "meanwhile");
	}
	same_bytes(&got, &again, total);
	buf_done(&got);
	buf_done(&part);
	wire_close(&w);
	end();
}
END_TEST

START_TEST(a_close_is_told_after_the_data)
{
	struct wire w;
	struct buf plain = { 0 };

	start();
	dial(&w, a, b, B, "");
	wire_ok(&w);
	buf_append_str(&plain, STR("last words"));
	ck_assert_int_eq(tls_encrypt(w.client, &plain, &w.up), TLS_OK);
	tls_shutdown(w.client, &w.up);
	tls_shutdown(w.client, &w.up);                   /* once is enough */
	ck_assert_int_eq(tls_decrypt(w.server, &w.up, &plain, 1000, &w.down), TLS_OK);
	unit_str_eq(buf_peek(&plain), "last words");
	ck_assert(tls_has_pending(w.server));
	ck_assert_int_eq(tls_decrypt(w.server, &w.up, &plain, 1000, &w.down), TLS_CLOSED);
	ck_assert(!tls_has_pending(w.server));
	ck_assert_int_eq(tls_eof(w.server), TLS_CLOSED);
	/* The other direction is still open. */
	buf_done(&plain);
	buf_append_str(&plain, STR("bye"));
	ck_assert_int_eq(tls_encrypt(w.server, &plain, &w.down), TLS_OK);
	ck_assert_int_eq(tls_decrypt(w.client, &w.down, &plain, 1000, &w.up), TLS_OK);
	unit_str_eq(buf_peek(&plain), "bye");
	buf_done(&plain);
	wire_close(&w);
	end();
}
END_TEST

START_TEST(an_end_without_close_is_a_truncation)
{
	struct wire w;

	start();
	dial(&w, a, b, B, "");
	wire_ok(&w);
	wire_tickets(&w);
	wire_say(&w, true, "x");
	ck_assert_int_eq(tls_eof(w.server), TLS_TRUNCATED);
	wire_done(&w);
	end();
}
END_TEST

START_TEST(a_flipped_bit_ends_it)
{
	struct wire w;
	struct buf plain = { 0 };

	start();
	dial(&w, a, b, B, "");
	wire_ok(&w);
	wire_tickets(&w);
	buf_append_str(&plain, STR("good"));
	tls_encrypt(w.client, &plain, &w.up);
	buf_append_str(&plain, STR("evil"));
	tls_encrypt(w.client, &plain, &w.up);
	struct str all = buf_pullup(&w.up, w.up.n);

	((char *)(uintptr_t)all.p)[all.n - 1] ^= 1;
	ck_assert_int_eq(tls_decrypt(w.server, &w.up, &plain, 1000, &w.down), TLS_OK);
	unit_str_eq(buf_peek(&plain), "good");
	ck_assert(tls_has_pending(w.server));
	ck_assert_int_eq(tls_decrypt(w.server, &w.up, &plain, 1000, &w.down), TLS_FAILED);
	ck_assert_uint_gt(w.down.n, 0);                  /* the alert */
	ck_assert_str_eq(tls_error_reason(w.server), "handshake");
	ck_assert_int_eq(tls_encrypt(w.server, &plain, &w.down), TLS_FAILED);
	buf_done(&plain);
	ck_assert_int_eq(tls_decrypt(w.client, &w.down, &plain, 1000, &w.up), TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.client), "peer_alert");
	buf_done(&plain);
	wire_done(&w);
	end();
}
END_TEST

START_TEST(what_is_no_tls)
{
	static const char *const junk[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
					    "\x16\x03\x01\xff\xff", "*1\r\n$4\r\nPING\r\n" };

	start();
	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
		struct tls_session *s = tls_server_new(pick, b, h2);
		struct buf in = { 0 }, out = { 0 };

		buf_append_str(&in, str_c(junk[i]));
		ck_assert_int_eq(tls_handshake(s, &in, &out), TLS_FAILED);
		ck_assert_int_eq(tls_handshake(s, &in, &out), TLS_FAILED);
		ck_assert_str_eq(tls_error_reason(s), "handshake");
		buf_done(&in);
		buf_done(&out);
		tls_session_free(s);
	}
	end();
}
END_TEST

/* ---- resumption ---------------------------------------------------------- */

static bool dial_resumes(struct tls_identity *client, struct tls_identity *server, const char *want,
			 const char *key)
{
	struct wire w;

	dial(&w, client, server, want, key);
	wire_ok(&w);
	const struct tls_facts *c = tls_facts(w.client), *s = tls_facts(w.server);

	ck_assert(c->resumed == s->resumed);
	ck_assert(c->mutual && s->mutual);
	ck_assert(str_eq(c->peer_spiffe, tls_identity_spiffe(server)));
	ck_assert(str_eq(s->peer_spiffe, tls_identity_spiffe(client)));
	unit_str_eq(s->sni, "outbound_.80_._.b.default.svc.cluster.local");
	ck_assert_uint_eq(strlen(s->peer_cert_sha256), 64);
	bool resumed = c->resumed;

	wire_tickets(&w);
	wire_say(&w, true, "hello");
	wire_close(&w);
	return resumed;
}

START_TEST(a_second_connection_resumes)
{
	start();
	ck_assert(!dial_resumes(a, b, B, "k"));
	ck_assert(dial_resumes(a, b, B, "k"));
	ck_assert(dial_resumes(a, b, B, "k"));
	ck_assert(!dial_resumes(a, b, B, "other key"));
	ck_assert(!dial_resumes(a, b, B, ""));           /* no key, no resumption */
	ck_assert(!dial_resumes(a, b, B, ""));
	end();
}
END_TEST

START_TEST(one_session_serves_several_connections)
{
	struct wire w[3];

	start();
	ck_assert(!dial_resumes(a, b, B, "k"));
	for (int i = 0; i < 3; i++) {
		dial(&w[i], a, b, B, "k");
		wire_ok(&w[i]);
		ck_assert(tls_facts(w[i].client)->resumed);
	}
	for (int i = 0; i < 3; i++)
		wire_close(&w[i]);
	ck_assert(dial_resumes(a, b, B, "k"));
	end();
}
END_TEST

START_TEST(resumption_never_crosses_identities)
{
	struct tls_identity *c;

	start();
	c = pki_identity(sub, trust, C);
	ck_assert(!dial_resumes(a, b, B, "k"));
	ck_assert(!dial_resumes(c, b, B, "k"));          /* another client, same key */
	ck_assert(!dial_resumes(a, c, C, "k"));          /* another server, same key */
	ck_assert(dial_resumes(a, c, C, "k"));
	ck_assert(!dial_resumes(a, b, B, "k"));          /* its session gave way to that of c */
	tls_identity_unref(c);
	end();
}
END_TEST

/*
 * A renewed certificate of the same identity under the same trust takes the server's sessions
 * along.
 */
START_TEST(renewal_keeps_the_servers_sessions)
{
	struct tls_identity *b2, *a2;

	start();
	b2 = pki_identity(sub, trust, B);
	a2 = pki_identity(sub, trust, A);
	ck_assert(!dial_resumes(a, b, B, "k"));
	ck_assert(dial_resumes(a, b2, B, "k"));
	ck_assert(!dial_resumes(a2, b2, B, "k"));        /* a client's start anew */
	tls_identity_unref(a2);
	tls_identity_unref(b2);
	end();
}
END_TEST

/* P5: the same certificates under a new generation, or with other anchors: sessions are gone. */
START_TEST(resumption_never_crosses_trust)
{
	struct pki_ca *more;
	struct tls_trust *next, *wider;
	struct tls_identity *b2, *b3;

	start();
	more = pki_root();
	next = pki_trust(2, root, sub, NULL);
	wider = pki_trust(1, root, sub, more, NULL);
	b2 = pki_identity(sub, next, B);
	b3 = pki_identity(sub, wider, B);
	ck_assert(!dial_resumes(a, b, B, "k"));
	ck_assert(!dial_resumes(a, b2, B, "k"));
	ck_assert(!dial_resumes(a, b3, B, "k"));
	ck_assert(dial_resumes(a, b3, B, "k"));
	tls_identity_unref(b2);
	tls_identity_unref(b3);
	tls_trust_unref(next);
	tls_trust_unref(wider);
	pki_ca_free(more);
	end();
}
END_TEST

/* The list of wanted peers is asked again: a session does not carry an old decision. */
START_TEST(the_wanted_peer_is_checked_again)
{
	struct wire w;

	start();
	ck_assert(!dial_resumes(a, b, B, "k"));
	dial(&w, a, b, C, "k");
	ck_assert_int_eq(w.client_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.client), "unexpected_peer");
	wire_done(&w);
	ck_assert(!dial_resumes(a, b, B, "k"));          /* and that session is not tried again */
	end();
}
END_TEST

static void wait_until(int64_t unix_seconds)
{
	while (clock_real_us() < unix_seconds * 1000000)
		usleep(20000);
}

/* notAfter passes between two connections: whoever of the two it belongs to, nothing is resumed. */
START_TEST(sessions_die_with_the_certificates)
{
	struct tls_identity *brief, *brief_server;
	struct wire w;

	start();
	brief = pki_identity_until(sub, trust, A, 2);
	brief_server = pki_identity_until(sub, trust, B, 2);
	ck_assert(!dial_resumes(brief, b, B, "k"));
	ck_assert(!dial_resumes(a, brief_server, B, "k"));
	wait_until(tls_identity_not_after(brief_server) + 1);
	dial(&w, brief, b, B, "k");
	ck_assert_int_eq(w.server_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.server), "expired");
	wire_done(&w);
	dial(&w, a, brief_server, B, "k");
	ck_assert_int_eq(w.client_result, TLS_FAILED);
	ck_assert_str_eq(tls_error_reason(w.client), "expired");
	wire_done(&w);
	ck_assert(!dial_resumes(a, b, B, "k"));
	tls_identity_unref(brief);
	tls_identity_unref(brief_server);
	end();
}
END_TEST

START_TEST(sessions_are_capped_per_identity)
{
	char key[20];

	start();
	for (int i = 0; i < 257; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(!dial_resumes(a, b, B, key));
	}
	ck_assert(dial_resumes(a, b, B, "key 256"));
	ck_assert(dial_resumes(a, b, B, "key 1"));
	ck_assert(!dial_resumes(a, b, B, "key 0"));
	end();
}
END_TEST

/* Contexts are shared by threads. */
static void *many_dials(void *arg)
{
	int *resumed = arg;

	for (int i = 0; i < 100; i++) {
		*resumed += dial_resumes(a, b, B, "k");
		*resumed += dial_resumes(b, a, A, "k");
	}
	return NULL;
}

START_TEST(threads_share_identities)
{
	pthread_t t[2];
	int resumed[2] = { 0 };

	start();
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, many_dials, &resumed[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_gt(resumed[0] + resumed[1], 390);
	end();
}
END_TEST

UNIT_MAIN("tls", both_prove_who_they_are, one_certificate_goes_over_the_wire, bytes_may_trickle,
	  protocols, nobody_behind_that_name, the_server_must_be_the_one_wanted,
	  another_mesh_is_not_trusted, records_are_full, large_pieces_have_their_own_records,
	  large_transfers_in_any_pieces,
	  a_close_is_told_after_the_data, an_end_without_close_is_a_truncation,
	  a_flipped_bit_ends_it, what_is_no_tls, a_second_connection_resumes,
	  one_session_serves_several_connections, resumption_never_crosses_identities,
	  renewal_keeps_the_servers_sessions, resumption_never_crosses_trust,
	  the_wanted_peer_is_checked_again, sessions_die_with_the_certificates,
	  sessions_are_capped_per_identity, threads_share_identities)
