/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program: is a caller's process the program that its registration names (security-model §2.2)? Its file
 * is the one that the kernel runs, compared by inode: a name can be made up in a mount namespace, and a
 * file can be replaced. Layer daemons/ca. Owns the digests that were computed.
 */
#pragma once

#include "base/str.h"
#include "ca/attest.h"
#include "ca/registry.h"

#define PROGRAM_BYTES_MAX (256ll << 20) /* of a file that is hashed */
#define PROGRAM_TIME_MAX_US 2000000u    /* for that */

/*
 * path: of its file, empty any; sha256: of the file's bytes in hex, empty any. 0, or KV_ERR_REFUSED with
 * the reason. What was found must still hold when attest_confirm is asked.
 */
int program_check(struct attest *a, struct str path, struct str sha256, struct err *err);
/* policy_caller.runs over a struct attest: says in the journal why not. */
bool program_runs(void *process, const struct registry_identity *id);
