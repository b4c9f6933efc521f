/* SPDX-License-Identifier: Apache-2.0 */
/* cookie: what a request's Cookie fields carry (RFC 6265 4.2). Layer http. */
#pragma once

#include <stdbool.h>

#include "http/head.h"

/* First cookie of that name, over all Cookie fields; quotes around the value stay. Borrowed. */
bool cookie_get(const struct head *h, struct str name, struct str *ret_value);
