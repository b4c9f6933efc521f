/* SPDX-License-Identifier: Apache-2.0 */
/* hash_key: what of a request a consistent hash is made of (Istio 2.8.3). Layer core. */
#pragma once

#include <stdbool.h>

#include "http/head.h"
#include "snap/snap.h"

/*
 * The value of the header, cookie or query parameter that the policy names, borrowed or in the head's
 * arena; it may be empty. False: the request has none, or the policy is about its address.
 */
bool hash_key_text(const struct snap_hash *h, const struct head *req, struct str *ret);
