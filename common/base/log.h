/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line per event on stderr with journald's "<priority>" prefix when stderr is the
 * journal or a pipe, with the program's name when it is a terminal. Layer base.
 * Never blocks on the caller's behalf longer than one write(2); limited per call site to 10 lines a
 * second, and the number suppressed is told with the next line that passes.
 * Bytes outside printable ASCII are written as \xHH: peers' text reaches logs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

struct log_site {
	uint64_t window_us;
	uint32_t in_window, suppressed;
};

void log_init(const char *program);
void log_set_level(int priority); /* LOG_DEBUG … LOG_ERR of syslog.h; default LOG_INFO */
int log_level(void);
bool log_level_parse(const char *name, int *ret_priority); /* debug, info, warning, error */
void log_write(struct log_site *site, int priority, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at(prio, ...)                                                                          \
	do {                                                                                       \
		static _Thread_local struct log_site _log_site;                                    \
		if ((prio) <= log_level())                                                         \
			log_write(&_log_site, (prio), __VA_ARGS__);                                \
	} while (0)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_err(...) log_at(LOG_ERR, __VA_ARGS__)
