/* SPDX-License-Identifier: Apache-2.0 */
/* exec: what the program does for attempt_exec: orphans come here, the dead are collected. */
#pragma once

#include <stdbool.h>

bool exec_init(void);                   /* once; false: what commands leave behind is not seen */
void exec_reap(void);                   /* on SIGCHLD */
