/* SPDX-License-Identifier: Apache-2.0 */
/* The first bytes of a connection as a PROXY header: what is read says no more than it has. Layer test. */
#include "io/proxy_protocol.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_from((const char *)data, n);
	struct sock_addr from, again;
	int r = proxy_protocol_get(in, &from);

	kv_assert(r >= -1 && (r <= 0 || (size_t)r <= n));
	kv_assert(r > 0 || from.len == 0);
	/* More bytes behind it change nothing, fewer leave it open. */
	if (r > 0) {
		kv_assert(proxy_protocol_get(str_take(in, (size_t)r), &again) == r && sock_addr_eq(&from, &again));
		kv_assert(proxy_protocol_get(str_take(in, (size_t)r - 1), &again) == -1);
	}
	return 0;
}
