/* SPDX-License-Identifier: Apache-2.0 */
/* doc_out: the growing text of the writers. Layer doc. */
#include "doc/doc_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/vec.h"

void doc_out_init(struct doc_out *o)
{
	*o = (struct doc_out){ 0 };
	vec_reserve(o->p, o->cap, 256);
}

struct str doc_out_finish(struct doc_out *o, struct arena *a)
{
	struct str s = arena_str(a, str_from(o->p, o->n));

	free(o->p);
	*o = (struct doc_out){ 0 };
	return s;
}

void doc_out_str(struct doc_out *o, struct str s)
{
	if (s.n == 0)
		return;
	vec_reserve(o->p, o->cap, o->n + s.n);
	memcpy(o->p + o->n, s.p, s.n);
	o->n += s.n;
}

void doc_out_char(struct doc_out *o, char c)
{
	*vec_push(o->p, o->n, o->cap) = c;
}

void doc_out_spaces(struct doc_out *o, size_t n)
{
	vec_reserve(o->p, o->cap, o->n + n);
	memset(o->p + o->n, ' ', n);
	o->n += n;
}

void doc_out_fmt(struct doc_out *o, const char *fmt, ...)
{
	char buf[128];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	kv_assert(n >= 0 && (size_t)n < sizeof(buf));
	doc_out_str(o, str_from(buf, (size_t)n));
}

void doc_out_real(struct doc_out *o, double r)
{
	char buf[40];

	/* No syntax of ours has a word for these; 0/0 is nobody's setting. */
	if (!isfinite(r)) {
		doc_out_c(o, "null");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(buf, sizeof(buf), "%.*g", digits, r);
		double back = strtod(buf, NULL);
		/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c): bit for bit is meant, -0 too */
		if (memcmp(&back, &r, sizeof(r)) == 0)
			break;
	}
	doc_out_c(o, buf);
	if (!strpbrk(buf, ".e"))
		doc_out_c(o, ".0");
}

void doc_out_scalar(struct doc_out *o, const struct doc *d)
{
	if (d->kind == DOC_BOOL)
		doc_out_c(o, d->b ? "true" : "false");
	else if (d->kind == DOC_INT)
		doc_out_fmt(o, "%" PRId64, d->i);
	else if (d->kind == DOC_REAL)
		doc_out_real(o, d->r);
	else
		doc_out_c(o, "null");
}

bool doc_next_char(struct str *rest, uint32_t *ret_code, struct str *ret_bytes)
{
	if (rest->n == 0)
		return false;
	size_t n = str_utf8(*rest, ret_code);
	if (n > 0) {
		*ret_bytes = str_take(*rest, n);
	} else {
		*ret_code = 0xfffd;
		*ret_bytes = STR("\xef\xbf\xbd");
	}
	*rest = str_skip(*rest, n > 0 ? n : 1);
	return true;
}
