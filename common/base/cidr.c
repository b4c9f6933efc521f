/* SPDX-License-Identifier: Apache-2.0 */
/* cidr: see cidr.h. Layer base. */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <string.h>

bool cidr_parse(struct str s, struct cidr *ret)
{
	char text[INET6_ADDRSTRLEN];
	ptrdiff_t slash = str_find(s, '/');
	struct str host = slash < 0 ? s : str_take(s, (size_t)slash);
	uint64_t bits;

	if (host.n >= sizeof(text))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	bool v4 = inet_pton(AF_INET, text, ret->addr + 12) == 1;
	if (v4) {
		memset(ret->addr, 0, 10);
		memset(ret->addr + 10, 0xff, 2);
	} else if (inet_pton(AF_INET6, text, ret->addr) != 1) {
		return false;
	}
	unsigned width = v4 ? 32 : 128;
	if (slash < 0)
		bits = width;
	else if (!str_to_u64(str_skip(s, (size_t)slash + 1), &bits) || bits > width)
		return false;
	ret->bits = (unsigned)bits + 128 - width;
	return true;
}

bool cidr_has(const struct cidr *c, const uint8_t addr[static 16])
{
	unsigned bytes = c->bits / 8, rest = c->bits % 8;
	if (memcmp(c->addr, addr, bytes) != 0)
		return false;
	return rest == 0 || ((c->addr[bytes] ^ addr[bytes]) >> (8 - rest)) == 0;
}
