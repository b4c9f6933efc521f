/* SPDX-License-Identifier: Apache-2.0 */
/* names_gateway: what an edge proxy can do of what a Gateway's server asks for. Layer config. */
#include "base/base64.h"
#include "config/names.h"

#define ETC_DIR "/etc/kvmesh"
#define DIGEST_BYTES 32                 /* SHA-256 */

struct str names_credential(const char *etc_dir, struct str name, const char *file,
			    struct arena *a)
{
	return arena_printf(a, "%s/tls/%.*s/%s", etc_dir ? etc_dir : ETC_DIR, STR_ARG(name), file);
}

bool names_is_cipher(struct str s)
{
	static const char *const known[] = {
		"ECDHE-ECDSA-AES128-GCM-SHA256",
		"ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305",
		"ECDHE-RSA-CHACHA20-POLY1305",
		"ECDHE-ECDSA-AES128-SHA",
		"ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-SHA",
		"ECDHE-RSA-AES256-SHA",
		"AES128-GCM-SHA256",
		"AES256-GCM-SHA384",
		"AES128-SHA",
		"AES256-SHA",
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (str_eq(s, str_c(known[i])))
			return true;
	return false;
}

/* ---- certificates and pins ------------------------------------------------------------------ */

static void add_credential(struct names_server_files *f, const char *etc_dir, struct str name,
			   struct arena *a)
{
	f->cert[f->n] = names_credential(etc_dir, name, "tls.crt", a);
	f->key[f->n++] = names_credential(etc_dir, name, "tls.key", a);
}

static struct str authorities_of(const struct model_server_tls *t, const char *etc_dir, struct arena *a)
{
	if (t->caCertCredentialName.n > 0)
		return names_credential(etc_dir, t->caCertCredentialName, "ca.crt", a);
	if (t->caCertificates.n > 0)
		return t->caCertificates;
	if (t->credentialName.n > 0)
		return names_credential(etc_dir, t->credentialName, "ca.crt", a);
	return t->credentialNames.n > 0 ? names_credential(etc_dir, t->credentialNames.v[0], "ca.crt", a)
					: STR_NULL;
}

struct names_server_files names_server_files(const struct model_server_tls *t, const char *etc_dir,
					     struct arena *a)
{
	struct names_server_files f = { .ca = authorities_of(t, etc_dir, a) };

	if (t->credentialName.n > 0)
		add_credential(&f, etc_dir, t->credentialName, a);
	for (size_t i = 0; f.n < 2 && i < t->credentialNames.n; i++)
		add_credential(&f, etc_dir, t->credentialNames.v[i], a);
	if (f.n == 0 && t->serverCertificate.n > 0) {
		f.cert[f.n] = t->serverCertificate;
		f.key[f.n++] = t->privateKey;
	}
	for (size_t i = 0; f.n < 2 && i < t->tlsCertificates.n; i++) {
		f.cert[f.n] = t->tlsCertificates.v[i].serverCertificate;
		f.key[f.n++] = t->tlsCertificates.v[i].privateKey;
	}
	return f;
}

struct str names_digest_of_hex(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, 2 * DIGEST_BYTES + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i] >= 'A' && s.p[i] <= 'F' ? (char)(s.p[i] | 0x20) : s.p[i];
		bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

		if (c == ':' && n > 0 && n % 2 == 0)
			continue;
		if (!digit || n == 2 * DIGEST_BYTES)
			return STR_NULL;
		p[n++] = c;
	}
	return n == 2 * DIGEST_BYTES ? str_from(p, n) : STR_NULL;
}

struct str names_digest_of_base64(struct str s, struct arena *a)
{
	static const char digits[] = "0123456789abcdef";
	char *p = arena_alloc(a, 2 * DIGEST_BYTES + 1);
	struct str raw;

	if (!base64_decode(s, a, &raw) || raw.n != DIGEST_BYTES)
		return STR_NULL;
	for (size_t i = 0; i < raw.n; i++) {
		p[2 * i] = digits[(uint8_t)raw.p[i] >> 4];
		p[2 * i + 1] = digits[(uint8_t)raw.p[i] & 15];
	}
	return str_from(p, 2 * DIGEST_BYTES);
}

/* ---- what a server speaks ------------------------------------------------------------------ */

enum names_family names_server_family(const struct model_server *s)
{
	static const char *const http[] = { "HTTP", "HTTP2", "GRPC", "GRPC-WEB" };

	if (str_ieq(s->port->protocol, STR("HTTPS")) || str_ieq(s->port->protocol, STR("TLS")))
		return NAMES_FAMILY_TLS;
	for (size_t i = 0; i < sizeof(http) / sizeof(http[0]); i++)
		if (str_ieq(s->port->protocol, str_c(http[i])))
			return NAMES_FAMILY_HTTP;
	return NAMES_FAMILY_TCP;
}

const char *names_family_name(enum names_family f)
{
	switch (f) {
	case NAMES_FAMILY_HTTP:
		return "plain HTTP";
	case NAMES_FAMILY_TCP:
		return "plain TCP";
	case NAMES_FAMILY_TLS:
		break;
	}
	return "TLS";
}

bool names_server_passes_tls(const struct model_server *s)
{
	return names_server_family(s) == NAMES_FAMILY_TLS && s->tls &&
	       (s->tls->mode == MODEL_SERVER_TLS_PASSTHROUGH ||
		s->tls->mode == MODEL_SERVER_TLS_AUTO_PASSTHROUGH);
}

bool names_server_is_opaque(const struct model_server *s)
{
	return names_server_family(s) == NAMES_FAMILY_TCP || names_server_passes_tls(s) ||
	       str_ieq(s->port->protocol, STR("TLS"));
}

static int64_t target_of(const struct model_workload *w, const struct model_service_port *p)
{
	for (size_t i = 0; p->targetName.n > 0 && i < w->ports.n; i++)
		if (str_eq(w->ports.v[i].name, p->targetName))
			return w->ports.v[i].number;
	return p->targetNumber;
}

int64_t names_gateway_port(const struct model *m, const struct model_workload *w, int64_t number)
{
	model_for_each(m, MODEL_KIND_SERVICE, r) {
		const struct model_service *s = model_as_service(r);

		if (!str_eq(r->ns, w->r.ns) || s->selector.n == 0 ||
		    !labels_is_subset(&s->selector, &w->r.labels))
			continue;
		for (size_t i = 0; i < s->ports.n; i++)
			if (s->ports.v[i].port == number && target_of(w, &s->ports.v[i]) > 0)
				return target_of(w, &s->ports.v[i]);
	}
	return number;
}

/* ---- hosts --------------------------------------------------------------------------------- */

bool names_server_host(const struct model *m, const struct model_gateway *g, struct str served,
		       struct str ns, struct str *ret_name)
{
	ptrdiff_t slash = str_find(served, '/');
	struct str want = slash < 0 ? STR("*") : str_take(served, (size_t)slash);

	*ret_name = slash < 0 ? served : str_skip(served, (size_t)slash + 1);
	if (str_eq(want, STR(".")))
		return str_eq(g->r.ns, ns);
	return str_eq(want, STR("*")) || str_eq(model_ns(m, want), ns);
}

struct str names_narrower(struct str a, struct str b)
{
	if (names_subset_of(b, a))
		return b;
	return names_subset_of(a, b) ? a : STR_NULL;
}

/* ---- what is opened ------------------------------------------------------------------------ */

static const char *why_no_files(const struct model_server_tls *t)
{
	if (t->maxProtocolVersion != MODEL_TLS_AUTO && t->maxProtocolVersion < MODEL_TLS_V1_2)
		return "nothing below TLS 1.2 is spoken";
	return NULL;
}

static const char *why_no_tls(const struct model_server_tls *t)
{
	switch ((enum model_server_tls_mode)t->mode) {
	case MODEL_SERVER_TLS_PASSTHROUGH:
	case MODEL_SERVER_TLS_AUTO_PASSTHROUGH:
		return NULL;
	case MODEL_SERVER_TLS_ISTIO_MUTUAL:
		if (t->maxProtocolVersion != MODEL_TLS_AUTO && t->maxProtocolVersion < MODEL_TLS_V1_3)
			return "with the mesh's own certificates only TLS 1.3 is spoken";
		return NULL;
	case MODEL_SERVER_TLS_SIMPLE:
	case MODEL_SERVER_TLS_MUTUAL:
	case MODEL_SERVER_TLS_OPTIONAL_MUTUAL:
		break;
	}
	return why_no_files(t);
}

bool names_is_servable(const struct model_server *s, const char **ret_why)
{
	*ret_why = NULL;
	if (names_server_family(s) == NAMES_FAMILY_TLS && s->tls)
		*ret_why = why_no_tls(s->tls);
	return *ret_why == NULL;
}
