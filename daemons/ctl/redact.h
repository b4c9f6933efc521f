/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redact: text that may be given away: private keys, tokens, passwords and query strings are taken out. Layer
 * daemons/ctl. Rather too much than too little: a line that cannot be looked through is taken out whole.
 */
#pragma once

#include "base/arena.h"
#include "base/str.h"

struct redact;
struct redact *redact_new(void);
void redact_free(struct redact *r);
/* The same text without what is secret, in the arena; *ret_n counts the places. */
struct str redact_text(struct redact *r, struct str text, struct arena *a, size_t *ret_n);
