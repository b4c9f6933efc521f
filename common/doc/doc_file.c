/* SPDX-License-Identifier: Apache-2.0 */
/* doc_file: from a path or a text to docs. Layer doc; the only place of it that reads files. */
#include "doc/doc_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"

bool doc_syntax_of(const char *path, enum doc_syntax *ret)
{
	static const struct {
		const char *suffix;
		enum doc_syntax syntax;
	} known[] = {
		{ ".conf", DOC_SYNTAX_NATIVE },
		{ ".yaml", DOC_SYNTAX_YAML },
		{ ".yml", DOC_SYNTAX_YAML },
		{ ".json", DOC_SYNTAX_JSON },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (str_has_suffix(str_c(path), str_c(known[i].suffix))) {
			*ret = known[i].syntax;
			return true;
		}
	}
	return false;
}

void doc_cursor_init(struct doc_cursor *c, const char *file, struct str text)
{
	*c = (struct doc_cursor){ .file = file, .text = text, .line = 1 };
}

struct origin doc_cursor_at(struct doc_cursor *c, size_t off)
{
	if (off < c->off)
		doc_cursor_init(c, c->file, c->text);
	if (off > c->text.n)
		off = c->text.n;
	for (; c->off < off; c->off++) {
		if (c->text.p[c->off] == '\n') {
			c->line++;
			c->line_start = c->off + 1;
		}
	}
	return (struct origin){ .file = c->file,
				.line = c->line,
				.col = (uint32_t)(off - c->line_start) + 1 };
}

int doc_syntax_err(struct err_list *errs, struct origin at, const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SYNTAX, NULL, at, "%s", e.text);
}

/* NULL, or why no file of ours may hold what rest starts with. */
static const char *bad_start(struct str rest, size_t *ret_n)
{
	uint32_t code = 0;

	*ret_n = str_utf8(rest, &code);
	if (*ret_n == 0)
		return "this byte is not UTF-8";
	if (code == 0)
		return "a NUL byte (is the file text in UTF-8?)";
	if (code < 0x20 && code != '\t' && code != '\n' && code != '\r' && code != '\f')
		return "a control character";
	return NULL;
}

/* The first byte that no file of ours may hold, or text.n. */
static size_t find_bad_byte(struct str text, const char **ret_why)
{
	struct str rest = text;
	size_t n;

	while (rest.n > 0) {
		*ret_why = bad_start(rest, &n);
		if (*ret_why)
			break;
		rest = str_skip(rest, n);
	}
	return text.n - rest.n;
}

int doc_check_bytes(struct str *text, const char *file, struct err_list *errs)
{
	struct origin whole = { .file = file };
	const char *why = NULL;

	if (text->n > DOC_FILE_MAX)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, whole,
				    "larger than %u bytes", DOC_FILE_MAX);
	if (str_has_prefix(*text, STR("\xef\xbb\xbf")))
		*text = str_skip(*text, 3);
	size_t bad = find_bad_byte(*text, &why);
	if (bad == text->n)
		return 0;
	struct doc_cursor c;
	doc_cursor_init(&c, file, *text);
	return doc_syntax_err(errs, doc_cursor_at(&c, bad), "%s", why);
}

/* The code of the first error among the findings from number from on. */
static int first_code(const struct err_list *errs, size_t from, size_t n_errors_before)
{
	for (size_t i = from; i < errs->n; i++) {
		if (errs->v[i].level == ERR_LEVEL_ERROR)
			return errs->v[i].code;
	}
	return errs->n_errors > n_errors_before ? KV_ERR_SYNTAX : 0;
}

static int parse(struct doc_file *ret, const struct doc_include *inc, struct arena *a,
		 struct err_list *errs)
{
	size_t from = errs->n, n_errors = errs->n_errors;
	int rc = doc_check_bytes(&ret->text, ret->path, errs);

	if (rc < 0)
		return rc;
	switch (ret->syntax) {
	case DOC_SYNTAX_NATIVE:
		doc_parse_native(ret, inc, a, errs);
		break;
	case DOC_SYNTAX_YAML:
		doc_parse_yaml(ret, a, errs);
		break;
	case DOC_SYNTAX_JSON:
		doc_parse_json(ret, a, errs);
		break;
	}
	return first_code(errs, from, n_errors);
}

int doc_read_text(struct str text, const char *path, enum doc_syntax syntax, struct arena *a,
		  struct doc_file *ret, struct err_list *errs)
{
	struct doc_include none = { .allowed = false };

	*ret = (struct doc_file){ .path = arena_strdup(a, path), .syntax = syntax };
	if (text.n <= DOC_FILE_MAX)
		text = arena_str(a, text);
	ret->text = text;
	return parse(ret, &none, a, errs);
}

int doc_read_file(const char *path, const char *include_root, struct arena *a, struct doc_file *ret,
		  struct err_list *errs)
{
	struct doc_include inc = { .allowed = true, .root = include_root };
	_cleanup_free_ char *text = NULL;
	struct err err;
	size_t n;

	*ret = (struct doc_file){ .path = arena_strdup(a, path) };
	struct origin whole = { .file = ret->path };
	if (!doc_syntax_of(path, &ret->syntax))
		return err_list_add(errs, ERR_LEVEL_ERROR, -EINVAL, NULL, whole,
				    "the name must end in .conf, .yaml, .yml or .json");
	int rc = fs_read(path, DOC_FILE_MAX, &text, &n, &err);
	if (rc < 0)
		return err_list_add(errs, ERR_LEVEL_ERROR, rc, NULL, whole, "%s", err.text);
	ret->text = arena_str(a, str_from(text, n));
	return parse(ret, &inc, a, errs);
}

/* ---- @include ------------------------------------------------------------------------------- */

static char *include_path(const char *from, struct str name, struct arena *a)
{
	const char *slash = from ? strrchr(from, '/') : NULL;

	if (name.n > 0 && name.p[0] == '/')
		slash = NULL;
	size_t dir = slash ? (size_t)(slash - from) + 1 : 0;
	char *path = arena_zalloc(a, dir + name.n + 1);
	if (dir > 0)
		memcpy(path, from, dir);
	memcpy(path + dir, name.p, name.n);
	return path;
}

/* Where the path really leads is below where root really is. */
static bool is_below(const char *path, const char *root)
{
	_cleanup_free_ char *real = realpath(path, NULL), *real_root = realpath(root, NULL);

	if (!real || !real_root)
		return false;
	size_t n = strlen(real_root);
	if (n > 0 && real_root[n - 1] == '/')
		n--;
	return strncmp(real, real_root, n) == 0 && real[n] == '/';
}

static int include_err(struct err_list *errs, const struct origin *at, int code, const char *text)
{
	return err_list_add(errs, ERR_LEVEL_ERROR, code, NULL, *at, "@include: %s", text);
}

int doc_include_read(const struct doc_include *inc, const struct origin *at, struct str name,
		     struct arena *a, char **ret_path, struct str *ret_text, struct err_list *errs)
{
	_cleanup_free_ char *text = NULL;
	struct err err;
	size_t n;

	if (!inc->allowed)
		return include_err(errs, at, KV_ERR_REFUSED, "refused here");
	if (str_is_empty(name) || str_find(name, '\\') >= 0 || str_find(name, '\n') >= 0)
		return include_err(errs, at, KV_ERR_SYNTAX, "this is no file name");
	char *path = include_path(at->file, name, a);
	int rc = fs_read(path, DOC_FILE_MAX, &text, &n, &err);
	if (rc < 0)
		return include_err(errs, at, rc, err.text);
	if (inc->root && !is_below(path, inc->root))
		return include_err(errs, at, KV_ERR_REFUSED,
				   "the file is outside of the configuration");
	struct str s = arena_str(a, str_from(text, n));
	rc = doc_check_bytes(&s, path, errs);
	if (rc < 0)
		return rc;
	*ret_path = path;
	*ret_text = s;
	return 0;
}
