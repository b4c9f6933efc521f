/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report: the CA vouches for a compliance report. Layer daemons/ca, above authority; knows OpenSSL. The
 * key is made for one signature and thrown away; its certificate lives some minutes, can do nothing
 * else (io/tls_statement.h) and is in the ledger like any other.
 */
#pragma once

#include "ca/authority.h"
#include "io/tls_statement.h"

struct report_ask {
	struct str sha256;              /* of the report: 64 lower-case hex digits */
	uid_t uid;                      /* who asks */
	int64_t now_us;
};
struct report_signed {
	struct tls_statement statement;
	struct sign_serial serial;
};
/* All of *ret is in the arena. Errors as authority_issue. */
int report_sign(struct authority *a, const struct report_ask *ask, struct arena *arena,
		struct report_signed *ret, struct err *err);
