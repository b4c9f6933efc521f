/* SPDX-License-Identifier: Apache-2.0 */
/*
 * re2: the dialect of regular expressions that configuration may use: Istio's RE2, as far as PCRE2
 * gives the same answer (Istio rule 2.3.11). Layer snap: the model check and the compiler of
 * patterns (core/regex.c) share this one judge, so that what check lets through never fails in a
 * proxy.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define RE2_PATTERN_MAX 1024            /* bytes; security-model 5.6 */

/* 0, or KV_ERR_SCHEMA and a sentence that quotes the part that is not allowed. */
int re2_check(struct str pattern, struct err *err);
