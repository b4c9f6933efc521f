/* SPDX-License-Identifier: Apache-2.0 */
/* clock: time in microseconds. Layer base. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/err.h"

static int64_t read_us(clockid_t id)
{
	struct timespec ts;

	kv_assert(clock_gettime(id, &ts) == 0);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

uint64_t clock_mono_us(void)
{
	return (uint64_t)read_us(CLOCK_MONOTONIC);
}

uint64_t clock_boot_us(void)
{
	return (uint64_t)read_us(CLOCK_BOOTTIME);
}

int64_t clock_real_us(void)
{
	return read_us(CLOCK_REALTIME);
}

const char *clock_rfc3339(int64_t real_us, char buf[static CLOCK_RFC3339_MAX])
{
	int64_t us = real_us % 1000000, sec = real_us / 1000000;
	struct tm tm = { 0 };

	if (us < 0) {
		us += 1000000;
		sec--;
	}
	time_t t = (time_t)sec;
	gmtime_r(&t, &tm);
	snprintf(buf, CLOCK_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us / 1000));
	return buf;
}
