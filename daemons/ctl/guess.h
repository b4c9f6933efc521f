/* SPDX-License-Identifier: Apache-2.0 */
/* guess: which protocol a port speaks, by who listens there and by its number. Layer daemons/ctl; pure. */
#pragma once

#include <stdint.h>

#include "base/str.h"

struct guess {
	const char *name;               /* of the port: "http", "redis"; NULL: no idea */
	const char *protocol;           /* as Workload.ports.protocol wants it; NULL: to be sniffed */
	const char *by;                 /* "the program's name", "the port's number"; NULL */
};
struct guess guess_port(uint16_t port, struct str program);
