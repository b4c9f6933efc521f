/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens: the keys that a snapshot's token rules trust, made usable once (semantics 2.12.6). Layer
 * proxy; read-only when made, so that every worker may ask.
 */
#pragma once

#include "core/jwt.h"
#include "io/loop.h"
#include "snap/snap.h"

struct tokens;
/* A key that is none is left out and told in the journal: tokens that it signed are refused. */
struct tokens *tokens_new(const struct snap *s);
void tokens_free(struct tokens *t);     /* NULL is fine */

/*
 * Control thread, before anybody asks: fn is posted to l when a token came that no fetched key can have
 * signed, and not again for that rule until it is forgotten.
 */
void tokens_watch(struct tokens *t, struct loop *l, loop_fn fn, void *arg);
/* Did such a token come for that rule? */
bool tokens_unknown(const struct tokens *t, size_t rule);
void tokens_forget(struct tokens *t);

/*
 * Is it signed by a key of that rule (index into snap.jwt_rules)? With a kid only that key is
 * tried, an algorithm only with keys of its kind, and with the one that a key names. NULL, or why
 * not in Envoy's words.
 */
const char *tokens_verify(const struct tokens *t, size_t rule, const struct jwt *token);
