/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials: are the certificates that Gateways name any good. The daemon that reads the
 * configuration never sees a key, so this is judged here, by whoever may read it. Layer daemons/ctl.
 */
#pragma once

#include "base/err.h"
#include "config/model.h"

/* Findings of KVM0161. etc NULL: another machine's configuration, nothing is judged. */
void credentials_check(const char *etc, const struct model *m, struct err_list *errs);
