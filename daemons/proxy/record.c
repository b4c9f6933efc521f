/* SPDX-License-Identifier: Apache-2.0 */
/* record: the one place where an exchange becomes counters, edges and a log line. Layer proxy. */
#include "config.h"

#include <stdio.h>

#include "base/err.h"
#include "proxy/access_log.h"
#include "proxy/record.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

static void add_flag(const char *flag, char buf[static RECORD_FLAGS_MAX])
{
	size_t n = strlen(buf);

	if (*flag)
		snprintf(buf + n, RECORD_FLAGS_MAX - n, "%s%s", n > 0 ? "," : "", flag);
}

/* Envoy writes those of the service first, then DI, FI and the client's. */
static bool is_behind_delay(enum fail fail)
{
	return fail == FAIL_FAULT || fail == FAIL_DOWN_CLOSED || fail == FAIL_DOWN_PROTOCOL ||
	       fail == FAIL_IDLE;
}

const char *record_flags(enum fail fail, unsigned more, char buf[static RECORD_FLAGS_MAX])
{
	kv_assert(fail >= FAIL_NONE && fail < FAIL__N);
	const char *flag = fail_rows[fail].flag ? fail_rows[fail].flag : "";
	const char *delayed = more & RECORD_DELAYED ? "DI" : "";
	bool behind = is_behind_delay(fail);

	buf[0] = '\0';
	add_flag(behind ? delayed : flag, buf);
	add_flag(behind ? flag : delayed, buf);
	if (more & RECORD_RETRY_LIMIT && strcmp(flag, "URX") != 0)
		add_flag("URX", buf);
	if (buf[0] == '\0')
		add_flag("-", buf);
	return buf;
}

void record_emit(struct worker *w, const struct record *r, enum record_phase phase)
{
	stats_record(w->stats, r, (int)phase);
	if (phase != RECORD_END || !w->log || !access_log_is_on(w->log))
		return;
	if (!access_log_add(w->log, r))
		stats_add(w->stats, STATS_LOG_DROPPED, 1);
}
