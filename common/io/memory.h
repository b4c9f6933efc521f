/* SPDX-License-Identifier: Apache-2.0 */
/* memory: where the libraries of the data path get theirs. Layer io. */
#pragma once

/*
 * OpenSSL and libevent allocate as kv_try_malloc does: what fails is tried again on the reserve of
 * base/arena.h, and only then do they see NULL. First thing in a program, before either is used.
 */
void memory_use_reserve(void);
