/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one write(2) per line on stderr. Layer base. The level and the program's name are set once
 * at start (level also by a control command) and read by all threads.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 2048
#define SITE_MAX 10
#define SITE_WINDOW_US 1000000u

static const char *program_name = "kvmesh";
static bool to_terminal;
static atomic_int max_priority = LOG_INFO;

static const struct {
	const char *name;
	int priority;
} levels[] = {
	{ "debug", LOG_DEBUG },
	{ "info", LOG_INFO },
	{ "warning", LOG_WARNING },
	{ "error", LOG_ERR },
};

void log_init(const char *program)
{
	program_name = program;
	to_terminal = isatty(STDERR_FILENO) == 1;
}

void log_set_level(int priority)
{
	atomic_store_explicit(&max_priority, priority, memory_order_relaxed);
}

int log_level(void)
{
	return atomic_load_explicit(&max_priority, memory_order_relaxed);
}

bool log_level_parse(const char *name, int *ret_priority)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(name, levels[i].name) == 0) {
			*ret_priority = levels[i].priority;
			return true;
		}
	}
	return false;
}

/* May this site write now? *ret_suppressed: how many it could not write before. */
static bool site_pass(struct log_site *site, uint32_t *ret_suppressed)
{
	uint64_t now = clock_mono_us();

	*ret_suppressed = 0;
	if (site->window_us == 0 || now - site->window_us >= SITE_WINDOW_US) {
		site->window_us = now;
		site->in_window = 0;
	}
	if (site->in_window >= SITE_MAX) {
		site->suppressed++;
		return false;
	}
	site->in_window++;
	*ret_suppressed = site->suppressed;
	site->suppressed = 0;
	return true;
}

/* Appends src to line[n…max) with everything but printable ASCII escaped; the new n. */
static size_t escape(char *line, size_t n, size_t max, const char *src)
{
	static const char hex[] = "0123456789abcdef";

	for (; *src != '\0'; src++) {
		unsigned char c = (unsigned char)*src;
		bool plain = c >= 0x20 && c < 0x7f;
		if (n + (plain ? 1 : 4) > max)
			break;
		if (plain) {
			line[n++] = (char)c;
			continue;
		}
		line[n++] = '\\';
		line[n++] = 'x';
		line[n++] = hex[c >> 4];
		line[n++] = hex[c & 15];
	}
	return n;
}

static void write_line(int priority, const char *text, uint32_t suppressed)
{
	char line[LINE_MAX_BYTES], tail[64] = "\n";
	int n = to_terminal ? snprintf(line, 128, "%.100s: ", program_name)
			    : snprintf(line, 128, "<%d>", priority);

	if (suppressed > 0)
		snprintf(tail, sizeof(tail), " (%u like this suppressed)\n", suppressed);
	size_t end = escape(line, (size_t)n, sizeof(line) - sizeof(tail), text);
	size_t tail_n = strlen(tail);
	memcpy(line + end, tail, tail_n);
	/* A log that cannot be written is no reason to stop or to wait. */
	if (write(STDERR_FILENO, line, end + tail_n) < 0)
		return;
}

void log_write(struct log_site *site, int priority, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES];
	uint32_t suppressed;
	va_list ap;

	if (!site_pass(site, &suppressed))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_line(priority, text, suppressed);
}
