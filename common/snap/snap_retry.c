/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap_retry: the words of retryOn (Istio 2.5.6): the compiler reads them in a VirtualService, the
 * proxy in the header of a caller that asks for itself. Layer snap.
 */
#include "snap/snap.h"

static const struct { const char *word; int64_t bit; } words[] = {
	{ "5xx", SNAP_RETRY_5XX },
	{ "gateway-error", SNAP_RETRY_GATEWAY_ERROR },
	{ "reset", SNAP_RETRY_RESET },
	{ "reset-before-request", SNAP_RETRY_RESET_BEFORE_REQUEST },
	{ "connect-failure", SNAP_RETRY_CONNECT_FAILURE },
	{ "retriable-4xx", SNAP_RETRY_RETRIABLE_4XX },
	{ "refused-stream", SNAP_RETRY_REFUSED_STREAM },
	{ "retriable-status-codes", SNAP_RETRY_STATUS_CODES },
	{ "retriable-headers", SNAP_RETRY_RETRIABLE_HEADERS },
	{ "envoy-ratelimited", SNAP_RETRY_ENVOY_RATELIMITED },
	{ "cancelled", SNAP_RETRY_GRPC_CANCELLED },
	{ "deadline-exceeded", SNAP_RETRY_GRPC_DEADLINE_EXCEEDED },
	{ "internal", SNAP_RETRY_GRPC_INTERNAL },
	{ "resource-exhausted", SNAP_RETRY_GRPC_RESOURCE_EXHAUSTED },
	{ "unavailable", SNAP_RETRY_GRPC_UNAVAILABLE },
};

int64_t snap_retry_condition(struct str word)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_eq(word, str_c(words[i].word)))
			return words[i].bit;
	return 0;
}

const char *snap_retry_word(size_t i, int64_t *ret_bit)
{
	if (i >= sizeof(words) / sizeof(words[0]))
		return NULL;
	*ret_bit = words[i].bit;
	return words[i].word;
}
