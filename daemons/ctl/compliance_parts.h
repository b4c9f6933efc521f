/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compliance_parts: what a report says beside the traffic: what there is, who may decide what, who holds
 * the keys, how the policies came about, where traffic leaves to. Layer daemons/ctl. Pure, for compliance.
 */
#pragma once

#include "ctl/compliance.h"

static inline struct str compliance_text(const struct doc *d, const char *key)
{
	return doc_get_str(d, key, STR(""));
}

/* node, software, workloads with their identities, services, proxies. */
struct doc *compliance_inventory(struct arena *a, const struct compliance_inputs *in);
/* strict, since; policies in force; exceptions from STRICT and from mutual TLS; loads in the period. */
struct doc *compliance_policy(struct arena *a, const struct compliance_inputs *in);
struct doc *compliance_keys(struct arena *a, const struct compliance_inputs *in);
/* Of edges of the report: those that leave the mesh, by destination, with the declared country. */
struct doc *compliance_egress(struct arena *a, const struct compliance_inputs *in,
			      const struct doc *edges);
