/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_check: what both sides of a call are told about TLS, and whether that fits. Layer
 * daemons/ctl. Pure: asks config/names.h, which the compiler of snapshots asks too.
 */
#pragma once

#include "config/names.h"

enum tls_check_status { TLS_CHECK_OK, TLS_CHECK_CONFLICT, TLS_CHECK_AUTO, TLS_CHECK_UNKNOWN };

struct tls_check {
	enum tls_check_status status;
	struct str server;              /* "STRICT", joined by commas; "-" outside the mesh */
	struct str client;              /* "ISTIO_MUTUAL", "mTLS (auto)", "plain", … */
	struct str policy;              /* PeerAuthentication(s) "name/namespace", "" none */
	struct str rule;                /* DestinationRule "name/namespace", "" none */
	enum model_client_tls_mode explicit_mode;       /* when has_explicit */
	bool has_explicit;              /* a DestinationRule says so */
};

extern const char *const tls_check_status_names[];

/*
 * A call of c to a port of service s; subset "" for the service as a whole. Strings live in the
 * arena.
 */
void tls_check(const struct model *m, const struct names_client *c, const struct names_service *s,
	       const struct names_port *port, struct str subset, struct arena *a,
	       struct tls_check *ret);
