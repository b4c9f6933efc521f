/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attest: what the kernel says about a caller (security-model §2.2). Layer daemons/ca. A pid alone
 * is no identity: the process is pinned by a pidfd, its facts are read, and the pin is looked at
 * again afterwards and once more when the certificate is handed over.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "io/sock.h"

struct attest {
	int pidfd;                      /* -1 none */
	pid_t pid;
	uid_t uid;
	uint64_t start_ticks;           /* since boot */
	char unit[256];                 /* system unit, "" none */
	char executable[256];           /* for the log; "" when it cannot be read */
	dev_t program_dev;              /* of its file, where program_check has looked at it; ino 0: has not */
	ino_t program_ino;
};

/*
 * connected_boot_us: when the connection was accepted (CLOCK_BOOTTIME); a process that started
 * after it cannot be the one that connected. KV_ERR_REFUSED with the reason; nothing to end then.
 */
int attest_begin(const struct sock_peer *peer, uint64_t connected_boot_us, struct attest *ret,
		 struct err *err);
/* Still the same living process, that runs what program_check has seen? */
int attest_confirm(const struct attest *a, struct err *err);
void attest_end(struct attest *a);
