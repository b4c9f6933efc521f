/* SPDX-License-Identifier: Apache-2.0 */
/* systemctl: systemd asked and told by its own tool. Layer daemons/ctl. */
#pragma once

#include "ctl/ctl.h"

/* Is this node's systemd what the command is about? Not when other directories were named. */
bool systemctl_is_here(const struct ctl *c);
/* Run it with these words (NULL-ended); true when it exits with 0. What it says goes to stderr. */
bool systemctl_run(const char *const *words);
/* Its standard output, in c's arena; what it says on stderr is dropped. The exit code, or -1. */
int systemctl_read(struct ctl *c, const char *const *words, struct str *ret);
/* Value of KEY in lines "KEY=VALUE", as `systemctl show` prints them; "" when there is none. */
struct str systemctl_value(struct str lines, const char *key);
