/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_ca: a whole CA without its sockets, in a directory of its own that goes with the process: one
 * identity, whose workload is whoever asks. Without keystore_init: LeakSanitizer does not see pointers in
 * OpenSSL's locked memory, and its random generators would look like leaks.
 */
#pragma once

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ca/authority.h"
#include "fuzz.h"

#define FUZZ_CA_ID "spiffe://td/ns/default/sa/app"

static struct authority fuzz_ca;
static char fuzz_ca_dir[64];

static inline bool fuzz_ca_is_user(uid_t uid, const char *name)
{
	(void)uid, (void)name;
	return true;
}

static inline int fuzz_ca_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static inline void fuzz_ca_leave(void)
{
	authority_close(&fuzz_ca);
	nftw(fuzz_ca_dir, fuzz_ca_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Once; again it does nothing. */
static inline void fuzz_ca_start(void)
{
	static const char list[] =
		"{\"generation\":1,\"trustDomain\":\"td\",\"signPerSecond\":1000,\"identities\":[{\"spiffe\":"
		"\"" FUZZ_CA_ID "\",\"workload\":\"app\",\"namespace\":\"default\",\"proxy\":\"node\","
		"\"user\":\"app\"}]}";
	const struct policy_rules rules = {
		.standalone = true, .own_uid = getuid() + 1, .is_user = fuzz_ca_is_user,
	};
	struct err err = { 0 };
	struct arena a;
	struct doc *d;
	char sub[80];
	bool changed;

	if (fuzz_ca_dir[0])
		return;
	log_set_level(LOG_ERR);
	snprintf(fuzz_ca_dir, sizeof(fuzz_ca_dir), "%s/kvmesh-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	fuzz_assert(mkdtemp(fuzz_ca_dir));
	snprintf(sub, sizeof(sub), "%s/ca", fuzz_ca_dir);
	fuzz_assert(mkdir(sub, 0700) == 0);
	atexit(fuzz_ca_leave);
	fuzz_assert(authority_open(fuzz_ca_dir, fuzz_ca_dir, &rules, clock_real_us(), &fuzz_ca, &err) == 0);
	arena_init(&a, 0);
	fuzz_assert(doc_read_json(str_c(list), &a, &d, &err) == 0);
	fuzz_assert(authority_set_registry(&fuzz_ca, d, clock_real_us(), &changed, &err) == 0);
	fuzz_assert(authority_advance_jwt(&fuzz_ca, clock_real_us(), &changed, &err) == 0);
	arena_done(&a);
}
