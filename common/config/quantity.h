/* SPDX-License-Identifier: Apache-2.0 */
/* quantity: Kubernetes' amounts of CPU and memory. Layer config. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* "100m", "0.5", "2" cores → thousandths of a core, rounded up. */
bool quantity_cpu(struct str s, int64_t *ret_milli);
/* "128Mi", "1G", "1048576" → bytes, rounded down; at most 1 EiB. */
bool quantity_memory(struct str s, int64_t *ret_bytes);
