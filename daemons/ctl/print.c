/* SPDX-License-Identifier: Apache-2.0 */
/* print: tables, JSON, YAML, pager; see print.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/print.h"

#define PRINT_COLUMNS_MAX 24

/* ---- values ---------------------------------------------------------------------------------- */

struct str print_value(struct arena *a, const struct doc *d)
{
	if (!d)
		return STR("-");
	switch (d->kind) {
	case DOC_BOOL:
		return d->b ? STR("true") : STR("false");
	case DOC_INT:
		return arena_printf(a, "%lld", (long long)d->i);
	case DOC_REAL:
		return arena_printf(a, "%g", d->r);
	case DOC_STR:
		return d->s.n > 0 ? d->s : STR("-");
	case DOC_LIST: {
		struct str s = STR_NULL;

		for (size_t i = 0; i < d->n; i++)
			s = arena_printf(a, "%.*s%s%.*s", STR_ARG(s), i > 0 ? "," : "",
					 STR_ARG(print_value(a, d->v[i])));
		return s.n > 0 ? s : STR("-");
	}
	case DOC_MAP:
		return doc_to_json(d, a, false);
	case DOC_NULL:
		break;
	}
	return STR("-");
}

struct str print_age(struct arena *a, int64_t seconds)
{
	if (seconds < 0)
		return STR("-");
	if (seconds < 120)
		return arena_printf(a, "%llds", (long long)seconds);
	if (seconds < 7200)
		return arena_printf(a, "%lldm", (long long)seconds / 60);
	if (seconds < 172800)
		return arena_printf(a, "%lldh", (long long)seconds / 3600);
	return arena_printf(a, "%lldd", (long long)seconds / 86400);
}

const char *print_esc(const struct ctl *c, enum print_style s)
{
	static const char *const esc[PRINT_STYLE__N] = { "\033[0m", "\033[32m", "\033[33m",
							 "\033[1;31m", "\033[1m" };

	return c->color ? esc[s] : "";
}

const char *print_glyph(const struct ctl *c, enum print_style s)
{
	static const char *const utf8[PRINT_STYLE__N] = { "-", "√", "‼", "×", "-" };
	static const char *const ascii[PRINT_STYLE__N] = { "-", "ok", "!!", "XX", "-" };

	return c->utf8 ? utf8[s] : ascii[s];
}

/* ---- documents ------------------------------------------------------------------------------- */

bool print_wants_doc(const struct ctl *c)
{
	return c->output == CTL_OUTPUT_JSON || c->output == CTL_OUTPUT_YAML;
}

void print_doc(struct ctl *c, const struct doc *d)
{
	struct str s = c->output == CTL_OUTPUT_YAML ? doc_to_yaml(d, &c->arena) :
						      doc_to_json(d, &c->arena, !c->json_short);

	fwrite(s.p, 1, s.n, c->out);
	if (s.n == 0 || s.p[s.n - 1] != '\n')
		fputc('\n', c->out);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Columns a terminal spends on UTF-8 text of ours and of names: one for each code point. */
static size_t width(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Peers and files choose some of the text: nothing of it may steer the terminal. */
static struct str harmless(struct arena *a, struct str s)
{
	char *copy = NULL;

	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f) {
			if (!copy) {
				copy = arena_alloc(a, s.n);
				memcpy(copy, s.p, s.n);
			}
			copy[i] = '?';
		}
	return copy ? str_from(copy, s.n) : s;
}

static struct str cell_text(struct arena *a, const struct print_column *col, const struct doc *row)
{
	struct str s =
		col->cell ? col->cell(a, row) : print_value(a, doc_get(row, str_c(col->key)));

	return s.n > 0 ? harmless(a, s) : STR("-");
}

static void print_cell(struct ctl *c, struct str s, size_t column, bool right, bool last,
		       enum print_style style)
{
	int pad = (int)(column > width(s) ? column - width(s) : 0);

	if (right)
		fprintf(c->out, "%*s", pad, "");
	fprintf(c->out, "%s%.*s%s", style != PRINT_PLAIN ? print_esc(c, style) : "", STR_ARG(s),
		style != PRINT_PLAIN ? print_esc(c, PRINT_PLAIN) : "");
	if (!last)
		fprintf(c->out, "%*s", (right ? 0 : pad) + 2, "");
}

static size_t choose_columns(const struct ctl *c, const struct print_column *cols,
			     const struct print_column *ret[static PRINT_COLUMNS_MAX])
{
	size_t n = 0;

	for (; cols->head && n < PRINT_COLUMNS_MAX; cols++) {
		if (cols->wide && c->output != CTL_OUTPUT_WIDE)
			continue;
		ret[n++] = cols;
		if (c->output == CTL_OUTPUT_SHORT)
			break;
	}
	return n;
}

static void print_summary(struct ctl *c, size_t n, const char *noun)
{
	if (noun && !c->no_legend && !c->quiet && c->output != CTL_OUTPUT_SHORT &&
	    isatty(STDOUT_FILENO))
		fprintf(c->out, "\n%zu %s listed.\n", n, noun);
}

void print_rows(struct ctl *c, const struct doc *rows, const struct print_column *cols,
		const char *noun)
{
	const struct print_column *col[PRINT_COLUMNS_MAX];
	size_t n = choose_columns(c, cols, col), w[PRINT_COLUMNS_MAX] = { 0 };
	bool legend = !c->no_legend && c->output != CTL_OUTPUT_SHORT;
	struct str *text = arena_new_n(&c->arena, struct str, (rows->n + 1) * n);

	for (size_t k = 0; k < n; k++) {
		text[k] = str_c(col[k]->head);
		w[k] = legend ? width(text[k]) : 0;
		for (size_t i = 0; i < rows->n; i++) {
			struct str s = cell_text(&c->arena, col[k], rows->v[i]);

			text[(i + 1) * n + k] = s;
			w[k] = width(s) > w[k] ? width(s) : w[k];
		}
	}
	for (size_t i = legend ? 0 : 1; i <= rows->n; i++) {
		for (size_t k = 0; k < n; k++) {
			enum print_style style = i == 0 ? PRINT_BOLD : PRINT_PLAIN;

			if (i > 0 && col[k]->style)
				style = col[k]->style(rows->v[i - 1]);
			print_cell(c, text[i * n + k], w[k], col[k]->right, k + 1 == n, style);
		}
		fputc('\n', c->out);
	}
	print_summary(c, rows->n, noun);
}

void print_list(struct ctl *c, const struct doc *rows, const struct print_column *cols,
		const char *noun)
{
	if (print_wants_doc(c))
		print_doc(c, rows);
	else
		print_rows(c, rows, cols, noun);
}

/* ---- the way out ----------------------------------------------------------------------------- */

void print_open(struct ctl *c)
{
	c->out = open_memstream(&c->out_text, &c->out_n);
	kv_assert(c->out);
}

/* NULL: none wanted. As systemd's tools: "cat" or empty switches it off. */
static const char *choose_pager(const struct ctl *c)
{
	static const char *const names[] = { "KVMESH_PAGER", "SYSTEMD_PAGER", "PAGER" };
	struct winsize ws;
	size_t lines = 0;

	if (c->no_pager || !isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) != 0)
		return NULL;
	for (size_t i = 0; i < c->out_n; i++)
		lines += c->out_text[i] == '\n';
	if (ws.ws_row == 0 || lines < ws.ws_row)
		return NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *v = getenv(names[i]);

		if (v)
			return v[0] && strcmp(v, "cat") != 0 ? v : NULL;
	}
	return "less";
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

static _Noreturn void become_pager(const char *pager, const int fds[2])
{
	dup2(fds[0], STDIN_FILENO);
	close(fds[0]);
	close(fds[1]);
	setenv("LESS", "FRSXMK", 0);
	execl("/bin/sh", "sh", "-c", pager, (char *)NULL);
	_exit(127);
}

/* False when the pager could not be started: the text has not gone out. */
static bool write_paged(const struct ctl *c, const char *pager)
{
	int fds[2], st;
	pid_t pid;

	if (pipe(fds) != 0)
		return false;
	pid = fork();
	if (pid == 0)
		become_pager(pager, fds);
	close(fds[0]);
	/* leaving the pager early is no error */
	if (pid > 0)
		write_all(fds[1], c->out_text, c->out_n);
	close(fds[1]);
	if (pid < 0)
		return false;
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return !(WIFEXITED(st) && WEXITSTATUS(st) == 127);
}

int print_close(struct ctl *c, int code)
{
	const char *pager;
	bool done = false;

	fclose(c->out);
	c->out = NULL;
	pager = choose_pager(c);
	if (pager)
		done = write_paged(c, pager);
	if (!done)
		done = write_all(STDOUT_FILENO, c->out_text, c->out_n);
	free(c->out_text);
	c->out_text = NULL;
	if (!done && code == CTL_EXIT_OK)
		return ctl_fail(CTL_EXIT_NO, "cannot write to standard output: %s",
				strerror(errno));
	return code;
}
