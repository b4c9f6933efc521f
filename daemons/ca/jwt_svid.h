/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt_svid: an identity as a token (SPIFFE's JWT-SVID): issued to whom the kernel proves, for named
 * audiences, for minutes; and checked again. Layer daemons/ca, above authority. A token is in no log.
 */
#pragma once

#include "ca/authority.h"
#include "ca/svid.h"
#include "core/jwt.h"

#define JWT_SVID_AUDIENCES_MAX 16
#define JWT_SVID_AUDIENCE_BYTES_MAX 512

/* How many there are and what they hold: KV_ERR_SCHEMA, KV_ERR_LIMIT. */
int jwt_svid_check_audiences(const struct str_list *audiences, struct err *err);
/* Codes as authority_issue; the token is in the arena. */
int jwt_svid_issue(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		   const struct str_list *audiences, struct arena *arena, struct str *ret,
		   struct err *err);
/*
 * One of ours, for that audience, not ended, its identity not revoked; else KV_ERR_SCHEMA. What is in
 * *ret is in the arena.
 */
int jwt_svid_validate(const struct authority *a, struct str token, struct str audience,
		      int64_t now_s, struct arena *arena, struct jwt *ret, struct err *err);
