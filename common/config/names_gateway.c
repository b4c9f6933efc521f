/* SPDX-License-Identifier: Apache-2.0 */
/* names_gateway: what an edge proxy can do of what a Gateway's server asks for. Layer config. */
#include "config/names.h"

#define ETC_DIR "/etc/kvmesh"

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

static bool is_http(struct str protocol)
{
	static const char *const words[] = { "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_ieq(protocol, str_c(words[i])))
			return true;
	return false;
}

static const char *why_no_tls(const struct model_server_tls *t)
{
	if (!t || (t->mode != MODEL_SERVER_TLS_SIMPLE && t->mode != MODEL_SERVER_TLS_MUTUAL &&
		   t->mode != MODEL_SERVER_TLS_OPTIONAL_MUTUAL))
		return "of the TLS modes only SIMPLE, MUTUAL and OPTIONAL_MUTUAL are served";
	if (t->maxProtocolVersion != MODEL_TLS_AUTO && t->maxProtocolVersion < MODEL_TLS_V1_2)
		return "nothing below TLS 1.2 is spoken";
	if (t->credentialName.n == 0 && (t->serverCertificate.n == 0 || t->privateKey.n == 0))
		return "one certificate, by credentialName or by serverCertificate and privateKey";
	if (t->mode != MODEL_SERVER_TLS_SIMPLE && t->credentialName.n == 0 &&
	    t->caCertificates.n == 0)
		return "client certificates need caCertificates";
	if (t->verifyCertificateSpki.n + t->verifyCertificateHash.n > 0 ||
	    t->caCrl.n > 0)
		return "it asks more of client certificates than is checked";
	return NULL;
}

bool names_is_servable(const struct model_server *s, const char **ret_why)
{
	*ret_why = NULL;
	if (!is_http(s->port->protocol))
		*ret_why = "only HTTP and HTTPS ports are served";
	else if (s->port->number == 0)
		*ret_why = "Unix sockets are not listened on";
	else if (str_ieq(s->port->protocol, STR("HTTPS")))
		*ret_why = why_no_tls(s->tls);
	return *ret_why == NULL;
}
