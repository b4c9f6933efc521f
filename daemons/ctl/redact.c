/* SPDX-License-Identifier: Apache-2.0 */
/* redact: see redact.h. Layer daemons/ctl. */
#include "config.h"

#include <stdlib.h>

#include "core/regex.h"
#include "ctl/redact.h"

#define REMOVED "[removed]"
/* Of a member, a header or a variable. */
#define SECRET_NAME "[\\w.-]*(?:passw(?:or)?d|secret|token|api[_-]?key|private[_-]?key|authorization|cookie|assertion|signature)[\\w.-]*"

static const struct rule {
	const char *pattern, *substitution;
} rules[] = {
	/* A key in one line, its ends of line escaped. */
	{ "-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", REMOVED },
	{ "eyJ[\\w-]{6,}\\.[\\w-]{4,}\\.[\\w-]*", REMOVED },
	{ "(?i)\\b(bearer|basic|digest)(\\s+)[\\w+/=.~-]{6,}", "\\1\\2" REMOVED },
	{ "(?i)(" SECRET_NAME "[\"']?\\s*[:=]\\s*)\"(?:[^\"\\\\]|\\\\.)*\"", "\\1\"" REMOVED "\"" },
	{ "(?i)(" SECRET_NAME "[\"']?\\s*[:=]\\s*)[^\\s\"'{}\\[\\],;][^\\s,;}\\]]*", "\\1" REMOVED },
	{ "(://)[^/\\s:@\"]+:[^/\\s@\"]+@", "\\1" REMOVED "@" },
	/* Request targets of access logs. */
	{ "(\"[A-Z]+ [^\"?\\s]*\\?)[^\"\\s]+", "\\1" REMOVED },
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

struct redact {
	struct regex *v[RULES];
	struct regex_scratch *scratch;
};

struct redact *redact_new(void)
{
	struct redact *r = kv_zalloc(sizeof(*r));

	r->scratch = regex_scratch_new();
	for (size_t i = 0; i < RULES; i++)
		kv_assert(regex_new_search(str_c(rules[i].pattern), &r->v[i], &(struct err){ 0 }) == 0);
	return r;
}

void redact_free(struct redact *r)
{
	for (size_t i = 0; i < RULES; i++)
		regex_free(r->v[i]);
	regex_scratch_free(r->scratch);
	free(r);
}

static struct str redact_line(struct redact *r, struct str line, struct arena *a, size_t *ret_n)
{
	for (size_t i = 0; i < RULES; i++) {
		struct str to;

		switch (regex_replace(r->v[i], line, str_c(rules[i].substitution), r->scratch, a, &to)) {
		case REGEX_NO:
			break;
		case REGEX_YES:
			*ret_n += !str_eq(line, to);
			line = to;
			break;
		case REGEX_LIMIT:
		default:
			(*ret_n)++;
			return arena_printf(a, "[a line of %zu bytes was removed]", line.n);
		}
	}
	return line;
}

static bool holds(struct str line, const char *word)
{
	return memmem(line.p, line.n, word, strlen(word)) != NULL;
}

struct text {
	char *p;
	size_t n, room;
};

static void put(struct text *t, struct str s)
{
	if (t->n + s.n + 1 > t->room) {
		t->room = 2 * (t->n + s.n + 1);
		t->p = kv_realloc(t->p, t->room);
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): n + 1 > room at the first time: there is a p */
	memcpy(t->p + t->n, s.n > 0 ? s.p : "", s.n);
	t->n += s.n;
	t->p[t->n++] = '\n';
}

struct str redact_text(struct redact *r, struct str text, struct arena *a, size_t *ret_n)
{
	struct text out = { 0 };
	bool in_key = false;
	struct str line;

	*ret_n = 0;
	if (text.n == 0)
		return STR("");
	if (text.p[text.n - 1] == '\n')
		text.n--;
	while (str_split(&text, '\n', &line)) {
		struct arena scratch;

		if (in_key) {
			in_key = !holds(line, "PRIVATE KEY-----");
			continue;
		}
		arena_init(&scratch, 0);
		struct str clean = redact_line(r, line, &scratch, ret_n);

		/* Over several lines. */
		in_key = holds(clean, "-----BEGIN ") && holds(clean, "PRIVATE KEY-----");
		*ret_n += in_key;
		put(&out, in_key ? STR(REMOVED) : clean);
		arena_done(&scratch);
	}
	struct str ret = arena_str(a, str_from(out.p, out.n));

	free(out.p);
	return ret;
}
