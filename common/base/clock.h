/* SPDX-License-Identifier: Apache-2.0 */
/* clock: time in microseconds. Layer base. Pure code takes "now" as an argument instead. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_us(void); /* CLOCK_MONOTONIC, for timers and durations */
uint64_t clock_boot_us(void); /* CLOCK_BOOTTIME, also counts sleep */
int64_t clock_real_us(void);  /* CLOCK_REALTIME since 1970, for validity and logs */

#define CLOCK_RFC3339_MAX 32
/* "2020-12-01T10:00:00.123Z" into buf; returns buf. */
const char *clock_rfc3339(int64_t real_us, char buf[static CLOCK_RFC3339_MAX]);
