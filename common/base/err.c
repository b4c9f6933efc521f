/* SPDX-License-Identifier: Apache-2.0 */
/* err: code + place + a finished sentence; lists of findings; how they are shown. Layer base. */
#include "base/err.h"

#include <stdarg.h>
#include <string.h>

#include "base/vec.h"

#define SOURCE_LINE_MAX 200 /* bytes of the offending line that are shown */

static void copy_cut(char *to, size_t size, const char *from)
{
	size_t n = from ? strnlen(from, size - 1) : 0;

	if (n > 0)
		memcpy(to, from, n);
	to[n] = '\0';
}

__attribute__((format(printf, 4, 0))) static void fill(struct err *e, int code, struct origin at,
						       const char *fmt, va_list ap)
{
	e->code = code;
	e->level = ERR_LEVEL_ERROR;
	e->rule[0] = '\0';
	e->line = at.line;
	e->col = at.col;
	copy_cut(e->file, sizeof(e->file), at.file);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
}

int (err_set)(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (e)
		fill(e, code, (struct origin){ 0 }, fmt, ap);
	va_end(ap);
	return code;
}

int (err_set_at)(struct err *e, int code, struct origin at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (e)
		fill(e, code, at, fmt, ap);
	va_end(ap);
	return code;
}

const char *err_code_name(int code)
{
	static const char *const names[] = {
		"syntax",    "schema", "check",    "protocol", "refused", "limit",
		"not found", "tls",    "database", "closed",   "timeout",
	};
	size_t own = (size_t)(KV_ERR_SYNTAX - code);

	if (code == 0)
		return "ok";
	if (code <= KV_ERR_SYNTAX && own < sizeof(names) / sizeof(names[0]))
		return names[own];
	return strerror(code < 0 ? -code : code);
}

void err_list_init(struct err_list *l)
{
	*l = (struct err_list){ 0 };
}

void err_list_done(struct err_list *l)
{
	free(l->v);
	err_list_init(l);
}

void err_list_push(struct err_list *l, const struct err *e)
{
	if (e->level == ERR_LEVEL_ERROR)
		l->n_errors++;
	if (l->n >= ERR_LIST_MAX) {
		l->n_dropped++;
		return;
	}
	struct err copy = *e; /* e may be an entry of this very list, which moves */
	*vec_push(l->v, l->n, l->cap) = copy;
}

int err_list_add(struct err_list *l, enum err_level level, int code, const char *rule,
		 struct origin at, const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	fill(&e, code, at, fmt, ap);
	va_end(ap);
	e.level = level;
	copy_cut(e.rule, sizeof(e.rule), rule);
	err_list_push(l, &e);
	return code;
}

static int by_place(const struct err *a, const struct err *b)
{
	int c = strcmp(a->file, b->file);

	if (c != 0)
		return c;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->col != b->col)
		return a->col < b->col ? -1 : 1;
	return 0;
}

/* Entries lie in one array, so their addresses tell the order in which they came. */
static int by_place_stable(const void *x, const void *y)
{
	const struct err *const *a = x, *const *b = y;
	int c = by_place(*a, *b);

	return c != 0 ? c : *a < *b ? -1 : *a > *b;
}

void err_list_sort(struct err_list *l)
{
	if (l->n < 2)
		return;
	const struct err **order = kv_malloc(l->n * sizeof(struct err *));
	struct err *sorted = kv_malloc(l->n * sizeof(*sorted));

	for (size_t i = 0; i < l->n; i++)
		order[i] = &l->v[i];
	qsort(order, l->n, sizeof(struct err *), by_place_stable);
	for (size_t i = 0; i < l->n; i++)
		sorted[i] = *order[i];
	free(order);
	free(l->v);
	l->v = sorted;
	l->cap = l->n;
}

/* Line number line of source, without its end. False when there is none. */
static bool find_line(struct str source, uint32_t line, struct str *ret)
{
	struct str rest = source, piece;

	while (line > 0 && str_split(&rest, '\n', &piece)) {
		if (--line == 0) {
			if (str_has_suffix(piece, STR("\r")))
				piece.n--;
			*ret = piece;
			return true;
		}
	}
	return false;
}

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* What a file or a peer wrote, safe for a terminal: no C0 or C1 controls, only UTF-8. */
static void print_safe(FILE *out, struct str text)
{
	while (text.n > 0) {
		uint32_t code = 0;
		size_t n = str_utf8(text, &code);
		bool control = (code < 0x20 && code != '\t') || (code >= 0x7f && code < 0xa0);
		if (n == 0 || control)
			putc('?', out);
		else
			fwrite(text.p, 1, n, out);
		text = str_skip(text, n > 0 ? n : 1);
	}
}

/* The line, then a caret under byte col. */
static void print_line(FILE *out, struct str text, uint32_t line, uint32_t col)
{
	fprintf(out, "%5u | ", line);
	print_safe(out, text);
	putc('\n', out);
	if (col == 0 || col > text.n + 1)
		return;
	fputs("      | ", out);
	for (size_t i = 0; i + 1 < col; i++) {
		if (!is_continuation(text.p[i]))
			putc(text.p[i] == '\t' ? '\t' : ' ', out);
	}
	fputs("^\n", out);
}

/* Of a very long line the part around the column is shown. */
static void print_source(FILE *out, struct str source, uint32_t line, uint32_t col)
{
	struct str text;

	if (!find_line(source, line, &text))
		return;
	if (text.n > SOURCE_LINE_MAX) {
		size_t from = col > SOURCE_LINE_MAX / 2 ? col - SOURCE_LINE_MAX / 2 : 0;
		if (from > text.n)
			from = 0;
		while (from > 0 && from < text.n && is_continuation(text.p[from]))
			from--;
		text = str_take(str_skip(text, from), SOURCE_LINE_MAX);
		col = col > from ? col - (uint32_t)from : 0;
	}
	print_line(out, text, line, col);
}

void err_print(FILE *out, const struct err *e, struct str source)
{
	static const char *const levels[] = { "error", "warning", "info" };

	if (e->file[0] != '\0') {
		print_safe(out, str_c(e->file));
		putc(':', out);
		if (e->line > 0)
			fprintf(out, "%u:", e->line);
		if (e->line > 0 && e->col > 0)
			fprintf(out, "%u:", e->col);
		putc(' ', out);
	}
	fprintf(out, "%s: ", levels[e->level]);
	print_safe(out, str_c(e->text));
	if (e->rule[0] != '\0')
		fprintf(out, " [%s]", e->rule);
	putc('\n', out);
	if (source.n > 0 && e->line > 0)
		print_source(out, source, e->line, e->col);
}

void kv_assert_failed(const char *what, const char *file, int line, const char *func)
{
	fprintf(stderr, "kvmesh: bug: %s does not hold in %s (%s:%d)\n", what, func, file, line);
	abort();
}
