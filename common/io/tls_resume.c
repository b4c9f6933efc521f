/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_resume: TLS sessions that can be taken up again. Layer io. A client keeps the newest session
 * for each (identity, key): owned by the identity, under its lock. A server's sessions are in
 * OpenSSL's cache of the process; only their life is set here. Neither outlives a certificate that
 * it rests on (P5).
 */
#include <stdlib.h>

#include <openssl/err.h>

#include "base/clock.h"
#include "io/tls_priv.h"

#define KEYS_MAX 256                    /* per identity; the oldest goes */

struct tls_resume {
	SSL_SESSION *session;
	bool asked_certificate;
	size_t n;
	char key[];
};

static struct tls_resume *entry_new(struct str key, SSL_SESSION *session, bool asked_certificate)
{
	struct tls_resume *e = kv_malloc(sizeof(*e) + key.n);

	e->session = session;
	e->asked_certificate = asked_certificate;
	e->n = key.n;
	memcpy(e->key, key.p, key.n);
	return e;
}

static void entry_free(struct tls_resume *e)
{
	if (!e)
		return;
	SSL_SESSION_free(e->session);
	free(e);
}

void tls_resume_clear(struct tls_identity *id)
{
	for (struct map_entry *m = map_first(&id->sessions); m; m = map_next(&id->sessions, m))
		entry_free(m->val);
	map_clear(&id->sessions);
}

static int64_t now_seconds(void)
{
	return clock_real_us() / 1000000;
}

/* Seconds that a session may live: an hour, or as long as both certificates do. */
static int64_t life_of(SSL_SESSION *session, const struct tls_identity *id)
{
	const X509 *peer = SSL_SESSION_get0_peer(session);
	int64_t end = now_seconds() + TLS_SESSION_SECONDS;

	if (peer && tls_time(X509_get0_notAfter(peer)) < end)
		end = tls_time(X509_get0_notAfter(peer));
	if (id && id->not_after < end)
		end = id->not_after;
	return end - now_seconds();
}

int tls_on_new_server_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_session *s = SSL_get_app_data(ssl);
	int64_t life = life_of(session, s->id);

	SSL_SESSION_set_timeout(session, life > 0 ? (long)life : 1);
	return 0;       /* OpenSSL's reference stays its own */
}

/* Under the lock. */
static void make_room(struct tls_identity *id)
{
	struct map_entry *oldest = map_first(&id->sessions);

	if (id->sessions.n >= KEYS_MAX)
		entry_free(map_del(&id->sessions, oldest->key));
}

/* A ticket came: it replaces the one that this key had. */
int tls_on_new_client_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_session *s = SSL_get_app_data(ssl);

	if (s->resume_key.n == 0 || life_of(session, s->id) <= 0)
		return 0;
	struct tls_resume *e = entry_new(s->resume_key, session, s->asked_certificate);

	pthread_mutex_lock(&s->id->lock);
	struct tls_resume *old = map_del(&s->id->sessions, s->resume_key);

	make_room(s->id);
	map_put(&s->id->sessions, str_from(e->key, e->n), e);
	pthread_mutex_unlock(&s->id->lock);
	entry_free(old);
	return 1;       /* the reference is ours */
}

void tls_resume_offer(struct tls_session *s)
{
	SSL_SESSION *copy = NULL;

	if (s->resume_key.n == 0)
		return;
	pthread_mutex_lock(&s->id->lock);
	struct tls_resume *e = map_get(&s->id->sessions, s->resume_key);

	if (e && life_of(e->session, s->id) > 0 && SSL_SESSION_is_resumable(e->session)) {
		/* A copy: OpenSSL writes to a connection's session, threads share this one. */
		copy = SSL_SESSION_dup(e->session);
		s->asked_before = e->asked_certificate;
	}
	pthread_mutex_unlock(&s->id->lock);
	if (copy && SSL_set_session(s->ssl, copy) != 1)
		ERR_clear_error();
	SSL_SESSION_free(copy);
}

void tls_resume_forget(struct tls_session *s)
{
	if (!s->id || s->server || s->resume_key.n == 0)
		return;
	pthread_mutex_lock(&s->id->lock);
	struct tls_resume *e = map_del(&s->id->sessions, s->resume_key);

	pthread_mutex_unlock(&s->id->lock);
	entry_free(e);
}
