/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svid: an identity as the SPIFFE Workload API hands it over (certificate, key and trust as DER, in one
 * message), and as Envoy's SDS does (PEM). Layer daemons/ca, above authority; knows OpenSSL. Here
 * alone the CA makes a workload's key: it goes to the workload itself and is not kept.
 */
#pragma once

#include "ca/authority.h"
#include "io/buf.h"

struct svid_ask {
	struct policy_caller caller;
	int64_t now_us;
	uint64_t mono_us;
};
/*
 * Append one field "svids" of X509SVIDResponse for that identity; *ret_end_s: when its certificate
 * ends.
 */
int svid_append(struct authority *a, const struct svid_ask *ask, struct str spiffe, struct buf *to,
		int64_t *ret_end_s, struct err *err);
/* Append one entry "bundles" of X509BundlesResponse. */
int svid_append_bundle(const struct authority *a, struct buf *to, struct err *err);
/* Append one entry of a map from this mesh's trust domain (its SPIFFE ID) to the value. */
void svid_append_of_domain(const struct authority *a, struct str value, uint32_t number,
			   struct buf *to);
/* Append the chain and the key of an Envoy TlsCertificate. */
int svid_append_pair(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		     struct buf *to, int64_t *ret_end_s, struct err *err);
/* Append an Envoy DataSource that holds that text. */
void svid_append_source(struct str pem, uint32_t number, struct buf *to);
