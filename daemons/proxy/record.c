/* SPDX-License-Identifier: Apache-2.0 */
/* record: the one place where an exchange becomes counters, edges and a log line. Layer proxy. */
#include "config.h"

#include <stdio.h>

#include "base/err.h"
#include "proxy/access_log.h"
#include "proxy/record.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

const char *record_flags(enum fail fail, bool retry_limit, char buf[static RECORD_FLAGS_MAX])
{
	kv_assert(fail >= FAIL_NONE && fail < FAIL__N);
	const char *flag = fail_rows[fail].flag ? fail_rows[fail].flag : "";

	if (retry_limit && strcmp(flag, "URX") != 0)
		snprintf(buf, RECORD_FLAGS_MAX, "%s%sURX", flag, *flag ? "," : "");
	else
		snprintf(buf, RECORD_FLAGS_MAX, "%s", *flag ? flag : "-");
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
