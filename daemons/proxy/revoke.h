/* SPDX-License-Identifier: Apache-2.0 */
/*
 * revoke: what is open with a certificate that is not trusted any more is cut, whichever side it
 * stands on. Layer proxy, a worker's thread.
 */
#pragma once

#include <stdbool.h>

struct conn;
struct lease;
struct worker;

/* The worker has another lease than before (old; NULL none). */
void revoke_follow(struct worker *w, const struct lease *old);
/* A handshake that began under an older list ended just now. */
bool revoke_forbids(const struct conn *c);
