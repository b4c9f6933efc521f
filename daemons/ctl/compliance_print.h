/* SPDX-License-Identifier: Apache-2.0 */
/* compliance_print: a report of compliance.h for people and spreadsheets. Layer daemons/ctl. */
#pragma once

#include <stdio.h>

#include "base/arena.h"
#include "doc/doc.h"

struct compliance_titles {
	struct str sha256;              /* of the report as JSON, in hex */
	struct str signer;              /* SPIFFE ID of who signs what is printed; empty: nobody */
};
void compliance_print_text(FILE *out, const struct doc *report, const struct compliance_titles *t,
			   struct arena *a);
/* A page that stands alone: no script, nothing loaded. */
void compliance_print_html(FILE *out, const struct doc *report, const struct compliance_titles *t,
			   struct arena *a);
void compliance_print_csv(FILE *out, const struct doc *report, struct arena *a);        /* edges */
