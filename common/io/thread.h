/* SPDX-License-Identifier: Apache-2.0 */
/* thread: what a thread keeps for itself (spare memory, a descriptor) goes with it. Layer io. */
#pragma once

/*
 * Run fn when the calling thread ends; not at the end of the process. Once for each fn and thread:
 * the caller remembers that it asked.
 */
void thread_at_exit(void (*fn)(void));
