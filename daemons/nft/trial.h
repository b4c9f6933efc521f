/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial: the dead-man's switch: rules that go again unless somebody confirms, from a session that the rules did not cut
 * off. Layer daemons/nft. What is pending stands in two files below RUN/nft: who waits, and the way back. Whoever
 * waits is none of the caller's processes: a timer of systemd's, else a process of its own session.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct trial_options {
	const char *run_dir;
	unsigned seconds;
};

/* Load rules on trial. A trial that is pending goes on: the way back stays that of the first. */
int trial_begin(const struct trial_options *o, struct str rules, struct err *err);
/* Keep what is loaded. KV_ERR_NOT_FOUND: nothing waits for it. */
int trial_confirm(const char *run_dir, struct err *err);
/* The time is up: back to what was before, if it is still this trial that is pending. */
int trial_revert(const char *run_dir, const char *token, struct err *err);
/* Forget a trial, the way back with it. */
void trial_forget(const char *run_dir);
/* Is there one, and how long yet? */
bool trial_is_pending(const char *run_dir, int64_t *ret_seconds);
