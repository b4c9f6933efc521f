/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compliance_sign: where a signature stands in a report, and finding it again. Layer daemons/ctl. Pure.
 * Each form is written in one way only and compared with the file byte for byte, so that no byte of a
 * signed report can be another: JSON has a member, text and HTML end with a block, CSV has it in a file
 * beside it.
 */
#pragma once

#include <stdio.h>

#include "base/arena.h"
#include "doc/doc.h"
#include "io/tls_statement.h"

/* The reply of the CA's SignReport for that digest. */
bool compliance_sign_read(const struct doc *reply, struct str sha256, struct tls_statement *ret);

/* {report, sha256[, signature]}, as it is written. st may be NULL. */
struct str compliance_sign_json(struct doc *report, struct str sha256, const struct tls_statement *st,
				struct arena *a);
/* The block; html: inside of a comment. */
struct str compliance_sign_block(const struct tls_statement *st, bool html, struct arena *a);

struct compliance_signed {
	struct str body;                /* what the digest is of; JSON: the report alone, in one line */
	struct str claimed;             /* its digest, as the file says */
	bool is_signed;
	struct tls_statement st;        /* if it is */
	const struct doc *report;       /* JSON, else NULL */
};
enum compliance_form {
	COMPLIANCE_FORM_OK,
	COMPLIANCE_FORM_CHANGED,        /* it is a report, and not as it was made */
	COMPLIANCE_FORM_NONE,           /* no report, or no signature in or beside it */
};
/* block: what is in the file beside it, empty: none. */
enum compliance_form compliance_sign_parse(struct str file, struct str block, struct arena *a,
					   struct compliance_signed *ret);
struct str compliance_sign_digest(struct str body, struct arena *a);
