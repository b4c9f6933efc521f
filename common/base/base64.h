/* SPDX-License-Identifier: Apache-2.0 */
/* base64: bytes written as text (RFC 4648). Layer base. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/str.h"

/* Standard or URL alphabet, padding optional. In the arena; false: it is none. */
bool base64_decode(struct str s, struct arena *a, struct str *ret);
/* The URL alphabet alone, no padding, unused bits zero (RFC 7515 2, RFC 4648 3.5): one spelling. */
bool base64url_decode(struct str s, struct arena *a, struct str *ret);
/* The URL alphabet, no padding; in the arena. */
struct str base64url_encode(struct str s, struct arena *a);
