/* SPDX-License-Identifier: Apache-2.0 */
/* hash_key: the key by which an exchange sticks to an endpoint (Istio 2.8.3). Layer proxy. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct stream;

/*
 * Of s->cluster's hash policy; false: the exchange has no such key, any endpoint will do. A cookie
 * with a lifetime that is not there is made: s->hash_cookie goes out with the answer.
 */
bool hash_key(struct stream *s, uint64_t *ret);
