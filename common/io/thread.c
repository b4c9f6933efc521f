/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread: functions to run when a thread ends, by one pthread key whose destructor walks a short
 * list of the thread's own. Layer io; owns that list.
 */
#include "io/thread.h"

#include <pthread.h>
#include <stddef.h>

#include "base/err.h"

#define EXITS_MAX 4                     /* one for each module that asks; there are two */

static _Thread_local void (*exits[EXITS_MAX])(void);
static _Thread_local unsigned n_exits;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *unused)
{
	(void)unused;
	while (n_exits > 0)
		exits[--n_exits]();
}

static void make_key(void)
{
	kv_assert(pthread_key_create(&key, thread_ends) == 0);
}

void thread_at_exit(void (*fn)(void))
{
	pthread_once(&key_once, make_key);
	kv_assert(n_exits < EXITS_MAX);
	exits[n_exits++] = fn;
	kv_assert(pthread_setspecific(key, &key) == 0);
}
