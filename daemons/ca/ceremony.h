/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ceremony: an issuing certificate from a root whose key is never here: a request goes out, its
 * answer comes in. Layer daemons/ca, above authority. The key is made here and stays here.
 */
#pragma once

#include "ca/authority.h"

/* PKCS#10 in PEM, malloc'ed; asked again it is for the same key until the answer was taken. */
int ceremony_request(struct authority *a, char **ret_pem, struct err *err);

struct ceremony_answer {
	struct str certificate;         /* PEM: the issuer, then what is between it and the root */
	struct str root;                /* PEM; empty: the root there is */
};
/*
 * Judged as every peer will judge it; then it becomes the next issuer, as rotation.h says. KV_ERR_TLS,
 * KV_ERR_CHECK: what is wrong with it; -EBUSY: a rotation is under way.
 */
int ceremony_install(struct authority *a, const struct ceremony_answer *answer, int64_t now_us,
		     bool *ret_changed, struct err *err);
