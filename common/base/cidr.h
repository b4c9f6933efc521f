/* SPDX-License-Identifier: Apache-2.0 */
/* cidr: IP addresses and blocks of them, IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2). Layer base. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct cidr {
	uint8_t addr[16];
	unsigned bits;                  /* leading ones that count, 0 to 128 */
};

/* "10.0.0.0/8", "2001:db8::/32"; without bits the one address. False: neither. */
bool cidr_parse(struct str s, struct cidr *ret);
bool cidr_has(const struct cidr *c, const uint8_t addr[static 16]);
