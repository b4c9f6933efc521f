/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex: PCRE2 behind RE2's rules. Layer core. JIT stays off: units run under
 * MemoryDenyWriteExecute.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/regex.h"
#include "snap/re2.h"

#define MATCH_LIMIT 100000
#define DEPTH_LIMIT 1000
#define HEAP_LIMIT_KIB 1024
#define GROUPS_MAX 10                   /* \0 … \9 */

struct regex {
	pcre2_code *code;
	pcre2_match_context *limits;
};

struct regex_scratch {
	pcre2_match_data *data;
	uint32_t n_groups;              /* of the last match that have a place in data */
};

static int regex_compile(struct str pattern, uint32_t options, struct regex **ret, struct err *err)
{
	int r = re2_check(pattern, err);
	if (r < 0)
		return r;
	pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
	kv_assert(cc);
	pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
	pcre2_set_bsr(cc, PCRE2_BSR_ANYCRLF);
	int code = 0;
	PCRE2_SIZE at = 0;
	options |= PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
	pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)(pattern.p ? pattern.p : ""), pattern.n,
					     options, &code, &at, cc);
	pcre2_compile_context_free(cc);
	if (!compiled) {
		PCRE2_UCHAR text[128];
		pcre2_get_error_message(code, text, sizeof(text));
		return err_set(err, KV_ERR_SCHEMA, "regular expression: %s (byte %zu)",
			       (const char *)text, at + 1);
	}
	struct regex *re = kv_zalloc(sizeof(*re));
	re->code = compiled;
	re->limits = pcre2_match_context_create(NULL);
	kv_assert(re->limits);
	pcre2_set_match_limit(re->limits, MATCH_LIMIT);
	pcre2_set_depth_limit(re->limits, DEPTH_LIMIT);
	pcre2_set_heap_limit(re->limits, HEAP_LIMIT_KIB);
	*ret = re;
	return 0;
}

int regex_new(struct str pattern, struct regex **ret, struct err *err)
{
	return regex_compile(pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED, ret, err);
}

int regex_new_search(struct str pattern, struct regex **ret, struct err *err)
{
	return regex_compile(pattern, 0, ret, err);
}

void regex_free(struct regex *re)
{
	if (!re)
		return;
	pcre2_code_free(re->code);
	pcre2_match_context_free(re->limits);
	free(re);
}

struct regex_scratch *regex_scratch_new(void)
{
	struct regex_scratch *s = kv_zalloc(sizeof(*s));
	s->data = pcre2_match_data_create(GROUPS_MAX, NULL);
	kv_assert(s->data);
	return s;
}

void regex_scratch_free(struct regex_scratch *s)
{
	if (!s)
		return;
	pcre2_match_data_free(s->data);
	free(s);
}

static enum regex_result run(const struct regex *re, struct str subject, size_t from,
			     uint32_t options, struct regex_scratch *scratch)
{
	scratch->n_groups = 0;
	if (subject.n > REGEX_SUBJECT_MAX)
		return REGEX_LIMIT;
	int r = pcre2_match(re->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.n, from,
			    options, scratch->data, re->limits);
	if (r >= 0) {
		/* 0: more groups matched than there is room for. What lies behind is not set at
		 * all. */
		scratch->n_groups = r > 0 ? (uint32_t)r : GROUPS_MAX;
		return REGEX_YES;
	}
	return r == PCRE2_ERROR_NOMATCH ? REGEX_NO : REGEX_LIMIT;
}

enum regex_result regex_match(const struct regex *re, struct str subject,
			      struct regex_scratch *scratch)
{
	struct regex_scratch *own = scratch ? NULL : regex_scratch_new();
	enum regex_result r = run(re, subject, 0, 0, scratch ? scratch : own);
	regex_scratch_free(own);
	return r;
}

/* ---- replacing ------------------------------------------------------------------------------ */
struct out {
	char *p;
	size_t n;
	bool full;
};

static void out_add(struct out *o, const char *p, size_t n)
{
	if (n > REGEX_SUBJECT_MAX - o->n) {
		o->full = true;
		return;
	}
	if (n > 0)
		memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void out_substitution(struct out *o, struct str subject, struct str with,
			     const PCRE2_SIZE *ov, uint32_t n_groups)
{
	for (size_t i = 0; i < with.n; i++) {
		if (with.p[i] != '\\' || i + 1 == with.n) {
			out_add(o, with.p + i, 1);
			continue;
		}
		char c = with.p[++i];
		if (c < '0' || c > '9') {
			out_add(o, with.p + i, 1);
			continue;
		}
		uint32_t g = (uint32_t)(c - '0');
		if (g < n_groups && ov[2 * g] != PCRE2_UNSET)
			out_add(o, subject.p + ov[2 * g], ov[2 * g + 1] - ov[2 * g]);
	}
}

/* Bytes of the UTF-8 character at p; the subject has been checked by the first match. */
static size_t char_bytes(struct str s, size_t at)
{
	size_t n = 1;
	while (at + n < s.n && ((unsigned char)s.p[at + n] & 0xc0) == 0x80)
		n++;
	return n;
}

static enum regex_result replace_all(const struct regex *re, struct str subject, struct str with,
				     struct regex_scratch *scratch, struct out *o)
{
	const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(scratch->data);
	size_t at = 0, last_end = SIZE_MAX;
	bool any = false;
	uint32_t options = 0;
	while (at <= subject.n && !o->full) {
		enum regex_result r = run(re, subject, at, options, scratch);
		if (r == REGEX_LIMIT)
			return r;
		if (r == REGEX_NO)
			break;
		options = PCRE2_NO_UTF_CHECK;
		size_t begin = ov[0], end = ov[1];
		out_add(o, subject.p + at, begin - at);
		/* An empty match right behind a match does not count; step over one character. */
		if (begin == end && begin == last_end) {
			size_t step = begin < subject.n ? char_bytes(subject, begin) : 1;
			if (begin < subject.n)
				out_add(o, subject.p + begin, step);
			at = begin + step;
			last_end = SIZE_MAX;
			continue;
		}
		any = true;
		out_substitution(o, subject, with, ov, scratch->n_groups);
		at = last_end = end;
	}
	if (at < subject.n)
		out_add(o, subject.p + at, subject.n - at);
	return o->full ? REGEX_LIMIT : any ? REGEX_YES : REGEX_NO;
}

enum regex_result regex_replace(const struct regex *re, struct str subject, struct str substitution,
				struct regex_scratch *scratch, struct arena *a, struct str *ret)
{
	if (subject.n > REGEX_SUBJECT_MAX)
		return REGEX_LIMIT;
	if (!subject.p)
		subject.p = "";
	struct regex_scratch *own = scratch ? NULL : regex_scratch_new();
	struct out o = { .p = arena_alloc(a, REGEX_SUBJECT_MAX) };
	enum regex_result r = replace_all(re, subject, substitution, scratch ? scratch : own, &o);
	regex_scratch_free(own);
	*ret = str_from(o.p, o.n);
	return r;
}
